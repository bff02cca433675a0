//! A plan for one node: which node is asked, what it is sent, and which is next when it fails.

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, OrErr, Result};

use super::context::Context;
use crate::app::App;
use crate::cluster::NodeIndex;
use crate::scatter::is_refusal;

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
pub fn address_request(app: &App, request: &mut RequestHeader, ctx: &mut Context) -> Result<()> {
    let (Some(node), Some(forward)) = (candidate(ctx), &ctx.forward) else { return Ok(()) };
    let uri = forward.path_and_query.parse().or_err(ErrorType::InternalError, "the node's path is no URI")?;
    request.set_uri(uri);
    request.insert_header(HOST, app.scatter.nodes.authority(node))?;
    request.remove_header(&ACCEPT_ENCODING);
    request.remove_header(&AUTHORIZATION);
    request.remove_header("x-admin-key");
    let (key, authorization) = app.scatter.nodes.keys.authorization(node);
    if let Some(authorization) = authorization {
        request.insert_header(AUTHORIZATION, authorization)?;
    }
    ctx.node_key = Some(key);
    Ok(())
}

/// A node that refuses its key is asked again with the other one, if there is one: while keys are changed, no request is lost.
/// Its refusal is never an answer for a client, who would take its own key for a wrong one.
pub fn judge_answer(app: &App, response: &ResponseHeader, ctx: &mut Context) -> Result<()> {
    let (Some(node), Some(key)) = (candidate(ctx), ctx.node_key) else { return Ok(()) };
    if !is_refusal(response.status.as_u16()) {
        return Ok(());
    }
    ctx.key_refusals += 1;
    let keys = &app.scatter.nodes.keys;
    ctx.asks_again = keys.refused(node, key) && ctx.key_refusals < keys.count();
    if !ctx.asks_again {
        ctx.key_refusals = 0;
        log::warn!("node {} refuses the key that it is asked with", app.scatter.health.id(node));
    }
    Err(Error::explain(ErrorType::ConnectError, "the node refuses its key").into_up())
}

/// After a node failed: the next candidate, if there is one. Only `GET`s are forwarded, so that asking twice does no harm.
pub fn next_after(app: &App, ctx: &mut Context, mut error: Box<Error>) -> Box<Error> {
    if *error.esource() == ErrorSource::Downstream {
        return error;
    }
    if std::mem::take(&mut ctx.asks_again) {
        error.set_retry(true);
        return error;
    }
    if let Some(node) = candidate(ctx) {
        app.scatter.health.failed(node, &app.cluster);
        app.metrics.scatter_retries.inc();
    }
    ctx.attempt += 1;
    if candidate(ctx).is_none() {
        if let Some(forward) = &mut ctx.forward {
            forward.add_recovered(app);
        }
    }
    error.set_retry(candidate(ctx).is_some());
    error.as_up();
    error
}
