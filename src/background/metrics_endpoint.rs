//! `GET /metrics` on its own port, in Prometheus' text format.

use async_trait::async_trait;
use http::{header, Response};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::stage::SharedApp;

pub struct MetricsEndpoint {
    app: SharedApp,
}

impl MetricsEndpoint {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl ServeHttp for MetricsEndpoint {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let (status, body) = match session.req_header().uri.path() {
            "/metrics" => match self.app.app().metrics.render() {
                Ok(text) => (200, text),
                Err(error) => (500, error.to_string().into_bytes()),
            },
            _ => (404, Vec::new()),
        };
        let mut response = Response::new(body);
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let length = header::HeaderValue::from(response.body().len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
        let content_type = header::HeaderValue::from_static("text/plain; version=0.0.4");
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }
}
