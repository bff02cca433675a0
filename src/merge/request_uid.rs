//! The `requestUid` of an answer: each response has its own, also where several clients share one execution.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use uuid::{Builder, Uuid};

use super::json::Cursor;

/// The answer with another `requestUid`; `None` if it has none.
pub fn renewed(answer: &Bytes) -> Option<Bytes> {
    let mut cursor = Cursor::new(answer);
    cursor.enter_object().ok()?;
    while let Some(member) = cursor.next_member().ok()? {
        if member.raw_key(answer) == b"requestUid" {
            let (before, after) = (&answer[..member.value_start], &answer[member.value_end..]);
            return Some([before, format!("\"{}\"", new_uid()).as_bytes(), after].concat().into());
        }
    }
    None
}

/// As Meilisearch's: a UUID of version 7, ordered by time.
fn new_uid() -> Uuid {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    Builder::from_unix_timestamp_millis(since_epoch.as_millis() as u64, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_uid_of_the_answer_itself_changes() {
        let answer = Bytes::from_static(br#"{"hits":[{"requestUid":"x"}],"requestUid":"y","limit":1}"#);
        let first = renewed(&answer).unwrap();
        let text = std::str::from_utf8(&first).unwrap();
        let uid = text.strip_prefix(r#"{"hits":[{"requestUid":"x"}],"requestUid":""#).unwrap();
        let uid = uid.strip_suffix(r#"","limit":1}"#).unwrap();
        assert_eq!(Uuid::parse_str(uid).unwrap().get_version_num(), 7);
        assert_ne!(renewed(&answer), Some(first));
        assert_eq!(renewed(&Bytes::from_static(b"{}")), None);
    }
}
