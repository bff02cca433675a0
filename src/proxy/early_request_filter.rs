//! First phase: the request gets its id and its place.

use std::sync::Arc;

use pingora::proxy::Session;

use super::context::Context;
use super::Proxy;

/// Longest request id that is taken over from a client.
const REQUEST_ID_LENGTH_MAX: usize = 128;

pub fn run(proxy: &Proxy, session: &Session, ctx: &mut Context) {
    let app = proxy.app.app();
    ctx.request_id = match session.get_header("x-request-id").and_then(|value| value.to_str().ok()) {
        Some(id) if is_sane(id) => id.to_owned(),
        _ => format!("{:032x}", fastrand::u128(..)),
    };
    ctx.permit = Arc::clone(&proxy.admission).try_acquire_owned().ok();
    app.metrics.requests_in_flight.inc();
    ctx.counted_in_flight = true;
    ctx.begin(app);
}

/// Ids appear in logs and headers: printable, without quotes, and short.
fn is_sane(id: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    !id.is_empty() && id.len() <= REQUEST_ID_LENGTH_MAX && id.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::is_sane;

    #[test]
    fn request_ids_are_taken_over_if_they_are_harmless() {
        assert!(is_sane("0af7651916cd43dd8448eb211c80319c"));
        assert!(!is_sane(""));
        assert!(!is_sane("a\"b"));
        assert!(!is_sane(&"x".repeat(129)));
    }
}
