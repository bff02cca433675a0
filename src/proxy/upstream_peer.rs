//! A plan for one node: which node is asked, what it is sent, and which is next when it fails.

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, OrErr, Result};

use super::context::Context;
use crate::app::App;
use crate::cluster::NodeIndex;

fn candidate(ctx: &Context) -> Option<NodeIndex> {
    ctx.forward.as_ref()?.candidates.get(ctx.attempt).copied()
}

pub async fn choose(app: &App, ctx: &Context) -> Result<Box<HttpPeer>> {
    let node = candidate(ctx).ok_or_else(|| Error::explain(ErrorType::ConnectError, "no replica is left").into_up())?;
    let peer = app.scatter.nodes.peer(node).await;
    let mut peer =
        peer.or_err(ErrorType::ConnectError, "the node's name cannot be resolved").map_err(|e| e.into_up())?;
    peer.options.read_timeout = Some(app.scatter.limits.read_timeout);
    peer.options.write_timeout = Some(app.scatter.limits.read_timeout);
    Ok(Box::new(peer))
}

/// The node gets its own name and key. Its answer must be readable here, so it is not compressed.
pub fn address_request(app: &App, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let (Some(node), Some(forward)) = (candidate(ctx), &ctx.forward) else { return Ok(()) };
    let uri = forward.path_and_query.parse().or_err(ErrorType::InternalError, "the node's path is no URI")?;
    request.set_uri(uri);
    request.insert_header(HOST, app.scatter.nodes.authority(node))?;
    request.remove_header(&ACCEPT_ENCODING);
    request.remove_header(&AUTHORIZATION);
    request.remove_header("x-admin-key");
    if let Some(authorization) = app.scatter.nodes.authorization() {
        request.insert_header(AUTHORIZATION, authorization.clone())?;
    }
    Ok(())
}

/// After a node failed: the next candidate, if there is one. Only `GET`s are forwarded, so that asking twice does no harm.
pub fn next_after(app: &App, ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
    if *error.esource() == ErrorSource::Downstream {
        return error;
    }
    if let Some(node) = candidate(ctx) {
        app.scatter.health.failed(node, &app.cluster);
        app.metrics.scatter_retries.inc();
    }
    ctx.attempt += 1;
    error.set_retry(candidate(ctx).is_some());
    error.as_up();
    error
}
