//! The last phase: every request is counted and leaves one line.

use pingora::proxy::Session;
use pingora::Error;

use super::context::Context;
use crate::api::Route;
use crate::app::App;

pub fn run(app: &App, session: &Session, error: Option<&Error>, ctx: &mut Context) {
    if ctx.counted_in_flight {
        app.metrics.requests_in_flight.dec();
    }
    ctx.permit = None;
    let method = session.req_header().method.as_str();
    let path = ctx.route.as_ref().map_or("unknown", Route::template);
    let status = session.response_written().map_or(0, |header| header.status.as_u16());
    let elapsed = ctx.started.elapsed();
    app.metrics.requests.with_label_values(&[method, path, &status.to_string()]).inc();
    app.metrics.request_duration.with_label_values(&[method, path]).observe(elapsed.as_secs_f64());
    log::info!(
        request_id = ctx.request_id.as_str(),
        method = method,
        path = session.req_header().uri.path(),
        status = status,
        duration_ms = elapsed.as_secs_f64() * 1e3,
        degraded = ctx.degraded.as_deref().unwrap_or(""),
        error = error.map(ToString::to_string).unwrap_or_default().as_str();
        "request"
    );
}
