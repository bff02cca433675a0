//! The last phase: every request is counted and leaves one line.

use pingora::proxy::Session;
use pingora::Error;

use super::context::Context;
use crate::admin::AdminRoute;
use crate::api::Route;
use crate::app::App;

pub fn run(app: &App, session: &Session, error: Option<&Error>, ctx: &mut Context) {
    if ctx.counted_in_flight {
        app.metrics.requests_in_flight.dec();
    }
    ctx.permit = None;
    let method = session.req_header().method.as_str();
    let template = ctx.route.as_ref().map_or("unknown", Route::template);
    let status = session.response_written().map_or(0, |header| header.status.as_u16());
    let elapsed = ctx.started.elapsed();
    app.metrics.requests.with_label_values(&[method, template, &status.to_string()]).inc();
    app.metrics.request_duration.with_label_values(&[method, template]).observe(elapsed.as_secs_f64());
    // Miroirs ask each other all the time.
    let level = if matches!(ctx.route, Some(Route::Admin(AdminRoute::Peers(_)))) {
        log::Level::Debug
    } else {
        log::Level::Info
    };
    log::log!(
        level,
        request_id = ctx.request_id.as_str(),
        method = method,
        path = loggable(session.req_header().uri.path()),
        status = status,
        duration_ms = elapsed.as_secs_f64() * 1e3,
        degraded = ctx.degraded.as_deref().unwrap_or(""),
        error = error.map(ToString::to_string).unwrap_or_default().as_str();
        "request"
    );
}

/// A path without what may be secret in it: a key can be named by its value, and mistyped routes are logged too.
fn loggable(path: &str) -> &str {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    match (segments.next(), segments.next()) {
        (Some("keys"), Some(_)) => "/keys/{uid_or_key}",
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::loggable;

    #[test]
    fn values_of_keys_are_not_logged() {
        assert_eq!(loggable("/keys"), "/keys");
        assert_eq!(loggable("//keys/d0552b41/x"), "/keys/{uid_or_key}");
        assert_eq!(loggable("/indexes/keys/search"), "/indexes/keys/search");
    }
}
