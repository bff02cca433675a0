//! Documents that have expired and are still there: which of them reads do not show.

use time::OffsetDateTime;

use crate::app::App;
use crate::cluster::Index;
use crate::reserved::EXPIRY_FIELD;

/// Now, as documents say when they expire: in milliseconds since 1970.
pub fn now_ms() -> i64 {
    (OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000) as i64
}

/// The time until which expired documents of an index are not shown to anybody; `None` if all that are there are shown.
///
/// With `ttl.filter_expired` it is now. Otherwise expired documents are shown until they are deleted, but none that the sweep before the
/// last one should have deleted: where it has not, for whatever reason, they are hidden.
pub fn hidden_until(app: &App, index: &Index) -> Option<i64> {
    let ttl = &app.config.ttl;
    if !ttl.enabled || !index.expiry.is_filterable || !index.expiry.policy.over(ttl.default_policy()).enabled {
        return None;
    }
    match ttl.filter_expired {
        true => Some(now_ms()),
        false => app.overdue.of(&index.node_uid),
    }
}

/// The filter for documents that have expired at a time or before it.
///
/// To Meilisearch (1.50) a text is within bounds too if it is so by its letters, and a document with a text never expires: it may
/// be from before TTL was on. So each bound is written in a form in which no text is between them (`9e-999` is 0, and by its letters
/// behind every number without a fraction).
pub fn expired_at(time_ms: i64) -> String {
    match time_ms {
        0.. => format!("({EXPIRY_FIELD} 9e-999 TO {time_ms} OR {EXPIRY_FIELD} -9e300 TO -0)"),
        _ => format!("{EXPIRY_FIELD} -9e300 TO {time_ms}"),
    }
}

/// The filter for all other documents, also those that never expire.
pub fn shown_after(time_ms: i64) -> String {
    format!("NOT {}", expired_at(time_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_between_the_bounds_of_the_filter() {
        for (least, most) in [("9e-999", "0"), ("9e-999", "9223372036854775807"), ("-9e300", "-0")] {
            assert!(least > most, "by their letters");
            assert!(least.parse::<f64>().unwrap() <= most.parse::<f64>().unwrap(), "as numbers");
        }
        for filter in [shown_after(7), shown_after(-7)] {
            assert!(crate::filter::parse(&filter).unwrap().is_some(), "{filter}");
        }
    }
}
