//! Requests that are the leader's, at a Miroir that follows: they go there as they are, and its answer comes back.

use std::time::Duration;

use http::HeaderValue;
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, OrErr, Result};

use super::context::Context;
use super::respond::REQUEST_ID;
use crate::api::{Needs, Route};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::peers::{Following, PEER_SECRET};
use crate::scatter::{CONNECT_TIMEOUT, IDLE_CONNECTION_TIMEOUT};
use crate::store::Peer;

const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Notes in `ctx` that the request is the leader's, if it is. An error if it is and nobody leads.
pub fn decide(app: &App, session: &Session, ctx: &mut Context) -> Result<(), ApiError> {
    if app.leads() && app.reads.is_held() {
        return Ok(());
    }
    let header = session.req_header();
    let Ok(route) = Route::recognise(&header.method, header.uri.path()) else { return Ok(()) };
    let is_ours = match route.needs() {
        Needs::Anyone => true,
        Needs::Picture => app.reads.is_held(),
        Needs::Leader => app.leads(),
    };
    if is_ours {
        return Ok(());
    }
    ctx.route = Some(route);
    if ctx.permit.is_none() {
        return Err(ApiError::new(Code::MiroirTooBusy, "Too many requests are under way; come back later."));
    }
    if is_from_peer(app, session) {
        // Whoever sent it has not heard yet who leads; it does not go round.
        return Err(ApiError::no_leader("The Miroir that this was passed on to does not lead any more."));
    }
    let leader = app.following().and_then(Following::leader);
    // One that is about to take this address over cannot pass anything on to whoever leaves it.
    let leader = leader.filter(|leader| leader.address != app.me.address);
    ctx.passed_on =
        Some(leader.ok_or_else(|| ApiError::no_leader("Of the Miroirs on this store none leads yet; one soon will."))?);
    Ok(())
}

/// Whether another Miroir on the same store has passed the request on.
pub fn is_from_peer(app: &App, session: &Session) -> bool {
    let presented = session.get_header(PEER_SECRET);
    presented.is_some_and(|presented| app.is_peer_secret(presented.as_bytes()))
}

pub async fn choose(app: &App, leader: &Peer) -> Result<Box<HttpPeer>> {
    let unknown = || Error::explain(ErrorType::ConnectError, "the leader's name cannot be resolved").into_up();
    let lookup = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(leader.address.as_str())).await;
    let address = lookup.ok().and_then(Result::ok).and_then(|mut addresses| addresses.next()).ok_or_else(unknown)?;
    let mut peer = HttpPeer::new(address, false, String::new());
    peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
    peer.options.total_connection_timeout = Some(CONNECT_TIMEOUT);
    peer.options.idle_timeout = Some(IDLE_CONNECTION_TIMEOUT);
    peer.options.read_timeout = Some(patience(app));
    peer.options.write_timeout = Some(app.request_timeout());
    Ok(Box::new(peer))
}

/// How long the leader may take: it sees writes through, whose legs may time out twice.
fn patience(app: &App) -> Duration {
    app.request_timeout() + 2 * app.scatter.limits.write_timeout
}

/// Everything that the client said goes with it, its key above all, and where it came from.
pub fn address_request(app: &App, session: &Session, request: &mut RequestHeader, ctx: &Context) -> Result<()> {
    let client = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_string());
    if let Some(client) = client {
        request.append_header(FORWARDED_FOR, client)?;
    }
    if session.digest().is_some_and(|digest| digest.ssl_digest.is_some()) {
        request.append_header(FORWARDED_PROTO, "https")?;
    }
    let secret = HeaderValue::from_str(app.peer_secret.reveal());
    request.insert_header(
        PEER_SECRET,
        secret.or_err(ErrorType::InternalError, "the store's secret is no header value")?,
    )?;
    request.insert_header(REQUEST_ID, ctx.request_id.as_str())?;
    Ok(())
}

/// It may have been carried out, so it is not sent again.
pub fn failed(app: &App, mut error: Box<Error>) -> Box<Error> {
    if *error.esource() != ErrorSource::Downstream {
        if let Some(following) = app.following() {
            following.lose_leader();
        }
        error.as_up();
    }
    error.set_retry(false);
    error
}
