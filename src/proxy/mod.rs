//! A request's life. Miroir's logic hangs in the callbacks of Pingora's `ProxyHttp`; read the files in this order:
//!
//! | phase | file | what happens |
//! |---|---|---|
//! | `early_request_filter` | [`early_request_filter`] | request id, clock, admission |
//! | `request_filter` | [`request_filter`] | preflights ([`cors`]), authentication, route, plan; what is not for one node is answered here |
//! | | [`pass_on`] | what another Miroir leads goes to it as it is, and its answer comes back |
//! | `upstream_peer` | [`upstream_peer`] | which node answers a plan for one node, and which is next when it fails |
//! | `upstream_request_filter` | [`upstream_peer`] | the nodes' key in place of the client's |
//! | `upstream_response_filter` | [`upstream_peer`] | a node that refuses its key is asked with the other one |
//! | `response_filter`, `response_body_filter` | [`response_filter`] | reserved fields come out |
//! | `logging` | [`logging`] | metrics, access log |
//!
//! Why fan-outs run at the end of `request_filter`: `docs/decisions/001-fan-out.md`.

mod authenticate;
mod body;
mod context;
mod cors;
mod decode;
mod early_request_filter;
mod logging;
mod pass_on;
mod request_filter;
mod respond;
mod response_filter;
mod upstream_peer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use crate::app::App;
use crate::stage::SharedApp;
use context::Context;

/// The proxy as Pingora runs it.
pub struct Proxy {
    /// Filled by the start-up service before this one accepts connections.
    app: SharedApp,
    /// One permit for each request that may be under way.
    admission: Arc<tokio::sync::Semaphore>,
}

impl Proxy {
    pub fn new(app: SharedApp, max_concurrent_requests: usize) -> Self {
        Self { app, admission: Arc::new(tokio::sync::Semaphore::new(max_concurrent_requests)) }
    }

    fn next_after(&self, ctx: &mut Context, error: Box<Error>) -> Box<Error> {
        let app = self.app_of(ctx);
        match &ctx.passed_on {
            Some(_) => pass_on::failed(&app, error),
            None => upstream_peer::next_after(&app, ctx, error),
        }
    }

    /// What serves the request; of one that never began, whatever serves now.
    fn app_of(&self, ctx: &Context) -> Arc<App> {
        ctx.app().unwrap_or_else(|| self.app.app())
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new()
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<()> {
        early_request_filter::run(self, session, ctx);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        request_filter::run(&self.app_of(ctx), session, ctx).await
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        match &ctx.passed_on {
            Some(leader) => pass_on::choose(&self.app_of(ctx), leader).await,
            None => upstream_peer::choose(&self.app_of(ctx), ctx).await,
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        match &ctx.passed_on {
            Some(_) => pass_on::address_request(&self.app_of(ctx), session, request, ctx),
            None => upstream_peer::address_request(&self.app_of(ctx), request, ctx),
        }
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Context,
        e: Box<Error>,
    ) -> Box<Error> {
        self.next_after(ctx, e)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        ctx: &mut Context,
        _client_reused: bool,
    ) -> Box<Error> {
        // Once the client has seen a part of an answer, there is no other.
        if session.response_written().is_some() {
            return e;
        }
        self.next_after(ctx, e)
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        upstream_peer::judge_answer(&self.app_of(ctx), response, ctx)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        response_filter::header(session.req_header(), response, ctx)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Context,
    ) -> Result<Option<Duration>> {
        response_filter::body(body, end_of_stream, ctx)?;
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, e: &Error, ctx: &mut Context) -> FailToProxy {
        respond::failure(session, e, ctx).await
    }

    async fn logging(&self, session: &mut Session, e: Option<&Error>, ctx: &mut Context) {
        logging::run(&self.app_of(ctx), session, e, ctx);
    }

    /// One line per request is enough: `logging` writes it, with the error.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }
}
