//! The main phase: authenticate, recognise the route, make the plan, and carry it out unless one node is to answer.

use pingora::proxy::Session;
use pingora::time::timeout;
use pingora::Result;

use super::authenticate::{authenticate, Asked};
use super::body::ClientBody;
use super::context::Context;
use super::cors;
use super::pass_on;
use super::respond;
use crate::admin::PresentedSession;
use crate::api::{self, Access, Answer, Body, IdempotencyKey, Origin, Plan, Request, Resolved, Route};
use crate::app::App;
use crate::auth::{Rights, SearchUiUse, SessionStanding};
use crate::cluster::IndexUid;
use crate::error::{ApiError, Code};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MIN_SETTINGS_VERSION: http::HeaderName = http::HeaderName::from_static("x-miroir-min-settings-version");

/// Returns whether the client has been answered.
pub async fn run(app: &App, session: &mut Session, ctx: &mut Context) -> Result<bool> {
    // Browsers present no key when they ask.
    if let Some(header) = cors::preflight(session.req_header())? {
        respond::preflight(session, ctx, header).await?;
        return Ok(true);
    }
    let passed_on = pass_on::decide(app, session, ctx);
    if passed_on.is_ok() && ctx.passed_on.is_some() {
        return Ok(false);
    }
    let planned = match passed_on {
        Ok(()) => plan(app, session, ctx).await,
        Err(error) => Err(error),
    };
    let answer = match planned {
        Ok(Plan::Forward(forward)) => {
            ctx.settings = forward.settings;
            ctx.forward = Some(forward);
            return Ok(false);
        }
        Ok(Plan::Answer(answer)) => answer,
        Err(error) => Answer::error(&error),
    };
    respond::answer(session, ctx, answer).await?;
    Ok(true)
}

async fn plan(app: &App, session: &mut Session, ctx: &mut Context) -> Result<Plan, ApiError> {
    // Handlers hold the body, and so the session, while they read the rest: what they need of the header is copied out.
    let header = session.req_header();
    let method = header.method.clone();
    let path = header.uri.path().to_owned();
    let path_and_query = header.uri.path_and_query().map_or_else(|| path.clone(), |whole| whole.as_str().to_owned());
    let text =
        |name| header.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok()).map(str::to_owned);
    let content_type = text(http::header::CONTENT_TYPE);
    let content_encoding = text(http::header::CONTENT_ENCODING);
    let over_fetch = text(http::HeaderName::from_static(api::search::OVER_FETCH));
    let key: Vec<Vec<u8>> =
        header.headers.get_all(IDEMPOTENCY_KEY).iter().map(|value| value.as_bytes().to_vec()).collect();
    let min_settings_version = text(MIN_SETTINGS_VERSION);
    let recognised = Route::recognise(&method, &path);
    let Resolved { route, needed, alias } = match recognised {
        Ok(route) if route.index_uid().is_some() => {
            let snapshot = app.cluster.snapshot();
            let resolved = api::resolve(&snapshot, route);
            ctx.held = Some(snapshot);
            resolved
        }
        Ok(route) => Resolved { needed: vec![route.clone()], route: Ok(route), alias: None },
        Err(error) => Resolved { route: Err(error), needed: Vec::new(), alias: None },
    };
    ctx.route = route.as_ref().ok().or(needed.first()).cloned();
    // Whoever may not see anything does not learn which routes there are, nor what an alias can be used for.
    let access = needed.first().map_or_else(|| Access::of_unknown(&path), Route::access);
    let cookie = (access == Access::AdminKey).then(|| PresentedSession::of(&method, &header.headers)).flatten();
    let session_standing = match cookie {
        Some(cookie) => cookie.standing(app).await?,
        None => SessionStanding::Unknown,
    };
    let search_ui = needed.first().and_then(|route| search_ui_use(route, alias.as_ref()));
    let asked = Asked { access, search_ui, session: session_standing };
    let rights = authenticate(&app.gate.state(), asked, &session.req_header().headers);
    let rights = rights.and_then(|rights| needs_all(rights, &needed)).map_err(|error| match &alias {
        Some(alias) => error.not_naming(needed.iter().filter_map(Route::index_uid), alias),
        None => error,
    })?;
    let needs_permit = access != Access::Anyone;
    let route = route?;
    if ctx.permit.is_none() && needs_permit {
        return Err(ApiError::new(Code::MiroirTooBusy, "Too many requests are under way; come back later."));
    }

    let asks_for_origin = matches!(&route, Route::Admin(route) if route.asks_for_origin());
    let origin = asks_for_origin.then(|| origin(app, session));
    let writes = route.writes();
    // Reading may be repeated as it is.
    let key = if writes { idempotency_key(&key)? } else { None };
    let request = Request {
        method: &method,
        path_and_query: &path_and_query,
        query: path_and_query.split_once('?').map(|(_, query)| query),
        content_type: content_type.as_deref(),
        rights: &rights,
        min_settings_version: min_settings_version.as_deref().map(settings_version).transpose()?,
        over_fetch: over_fetch.as_deref(),
        origin: origin.as_ref(),
        keyed: None,
    };
    let mut body = ClientBody::new(
        session,
        content_encoding.as_deref(),
        app.config.server.max_body_bytes,
        &app.body_memory,
        app.request_timeout(),
    );
    if writes {
        // Never cut short: a write that some nodes have taken must be seen through. Each of its waits has its own deadline.
        return api::plan(app, &route, &request, key.as_ref(), &mut body as &mut dyn Body).await;
    }
    match timeout(app.request_timeout(), api::plan(app, &route, &request, None, &mut body)).await {
        Ok(plan) => plan,
        Err(_) => Err(ApiError::new(Code::MiroirTimeout, "The request could not be answered in time.")),
    }
}

/// What a route asks of a token of the search UI. Such a token goes by the name that the client has for the index.
fn search_ui_use<'r>(route: &'r Route, alias: Option<&'r IndexUid>) -> Option<SearchUiUse<'r>> {
    route.search_ui_scope().map(|scope| SearchUiUse { scope, index: alias.or(route.index_uid()) })
}

fn origin(app: &App, session: &Session) -> Origin {
    let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
    let is_encrypted = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    let mut trusted = app.config.server.trusted_proxies.clone();
    if let Some(peer) = peer.filter(|_| pass_on::is_from_peer(app, session)) {
        trusted.push(peer.to_canonical().into());
    }
    Origin::new(peer, is_encrypted, session.req_header().headers.clone(), &trusted)
}

/// Whoever reads several indexes as one needs the right to each. The first has been checked.
fn needs_all(rights: Rights, needed: &[Route]) -> Result<Rights, ApiError> {
    for route in needed.iter().skip(1) {
        if let Access::Action(action, Some(index)) = route.access() {
            rights.check(action, Some(index.as_str()))?;
        }
    }
    Ok(rights)
}

fn settings_version(text: &str) -> Result<u64, ApiError> {
    text.trim().parse().map_err(|_| {
        let message = format!("`X-Miroir-Min-Settings-Version` is a whole number, got `{text}`.");
        ApiError::new(Code::BadRequest, message)
    })
}

/// Two keys would leave it open which one counts, so they are refused like one that cannot be read.
fn idempotency_key(values: &[Vec<u8>]) -> Result<Option<IdempotencyKey>, ApiError> {
    match values {
        [] => Ok(None),
        [value] => IdempotencyKey::parse(value).map(Some),
        _ => IdempotencyKey::parse(b"").map(Some),
    }
}
