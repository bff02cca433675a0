//! `/_miroir/ui/search/{index}/session`: a token with which a page searches one index for a while.

use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::api::{Answer, Origin, Request};
use crate::app::App;
use crate::auth::search_ui_token;
use crate::cluster::IndexUid;
use crate::conf::{SearchUiAccess, SearchUiConfig};
use crate::error::{ApiError, Code};
use crate::filter::template::FilterTemplate;

const SHARED_KEY: &str = "x-search-ui-key";
const USER: &str = "x-forwarded-user";
const GROUPS: &str = "x-forwarded-groups";

/// Most characters of a token: with the request's other headers it has to fit into the 8 KB that servers commonly take. Groups
/// make it grow.
const TOKEN_LENGTH_MAX: usize = 6 << 10;

/// A token for whoever may have one. Who that is, is found out before anything is said of the index; and an index that there are
/// no tokens for is answered as one that does not exist, so that strangers learn of neither.
pub fn session(app: &App, index: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    let outcome = |outcome: &str| app.metrics.search_ui_sessions.with_label_values(&[outcome]).inc();
    let gate = app.gate.state();
    let ui = &gate.secrets.search_ui;
    let unknown = || ApiError::index_not_found(index.as_str());
    let origin = request.origin.ok_or_else(|| ApiError::new(Code::Internal, "It is not known who asks."))?;
    if !ui.enabled {
        return Err(unknown());
    }
    if let SearchUiAccess::Public { sessions_per_minute } = ui.access {
        if let Err(wait) = app.session_limits.take(origin.client, sessions_per_minute, Instant::now()) {
            outcome("limited");
            let message = format!("An address is given {sessions_per_minute} tokens a minute; come back later.");
            return Ok(Answer::too_many(&ApiError::new(Code::MiroirTooManyRequests, message), wait));
        }
    }
    let filter = filter_for(ui, origin).inspect_err(|_| outcome("refused"))?;
    let snapshot = app.cluster.snapshot();
    let is_there = snapshot.index(index).is_some() || snapshot.alias(index).is_some();
    if !is_there || !ui.offers(index.as_str()) {
        outcome("unknown_index");
        return Err(unknown());
    }
    let issued = search_ui_token::issue(ui, index, filter, OffsetDateTime::now_utc());
    let (token, expires_at) = issued.ok_or_else(|| ApiError::new(Code::Internal, "The token cannot be signed."))?;
    if token.len() > TOKEN_LENGTH_MAX {
        outcome("refused");
        return Err(not_let_in("The user belongs to too many groups for a token."));
    }
    outcome("given");
    let expires_at = expires_at.format(&Rfc3339).unwrap_or_default();
    Ok(Answer::json(200, &json!({ "token": token, "expires_at": expires_at, "index": index })).uncached())
}

/// What must hold of all that this visitor finds, if the visitor may search at all.
fn filter_for(ui: &SearchUiConfig, origin: &Origin) -> Result<Option<String>, ApiError> {
    match &ui.access {
        SearchUiAccess::Public { .. } => Ok(None),
        SearchUiAccess::SharedKey { key, previous } => {
            let presented = origin.only(SHARED_KEY).unwrap_or_default();
            let is_known =
                std::iter::once(key).chain(previous).fold(false, |found, key| found | key.matches(presented));
            match is_known {
                true => Ok(None),
                false => Err(not_let_in("The key is missing or wrong. Present it in X-Search-UI-Key.")),
            }
        }
        SearchUiAccess::OauthProxy { proxies, filter } => {
            if !proxies.iter().any(|network| network.contains(&origin.peer)) {
                return Err(not_let_in("Who you are is only believed of the proxy that visitors log in at."));
            }
            for_user(filter.as_ref(), origin)
        }
    }
}

/// The filter for the user whom a proxy names. Without groups, what needs one is not found.
fn for_user(filter: Option<&FilterTemplate>, origin: &Origin) -> Result<Option<String>, ApiError> {
    let text = |name| origin.only(name).and_then(|value| std::str::from_utf8(value).ok());
    let user = text(USER).map(str::trim).filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| not_let_in("The proxy does not say in X-Forwarded-User, once, who you are."))?;
    let groups = match (text(GROUPS), origin.headers.contains_key(GROUPS)) {
        (Some(groups), _) => groups,
        (None, false) => "",
        (None, true) => return Err(not_let_in("X-Forwarded-Groups cannot be read, or stands there twice.")),
    };
    let groups: Vec<&str> = groups.split(',').map(str::trim).filter(|group| !group.is_empty()).collect();
    Ok(filter.map(|filter| filter.render(user, &groups)))
}

fn not_let_in(message: &str) -> ApiError {
    ApiError::new(Code::MiroirInvalidAuth, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::conf::Secret;

    fn origin(peer: &str, headers: &[(&'static str, &[u8])]) -> Origin {
        let mut map = http::HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        Origin::new(Some(peer.parse().unwrap()), false, map, &[])
    }

    fn with_access(access: SearchUiAccess) -> SearchUiConfig {
        SearchUiConfig { token_lifetime: Duration::from_secs(60), access, ..SearchUiConfig::off() }
    }

    fn proxied(template: Option<&str>) -> SearchUiConfig {
        let filter = template.map(|template| FilterTemplate::parse(template).unwrap());
        with_access(SearchUiAccess::OauthProxy { proxies: vec!["10.0.0.0/8".parse().unwrap()], filter })
    }

    #[test]
    fn the_proxy_alone_says_who_somebody_is() {
        let ui = proxied(Some("tenant IN [{groups}] OR owner = {user}"));
        let rendered = |peer: &str, headers: &[(&'static str, &[u8])]| filter_for(&ui, &origin(peer, headers));
        let headers: [(&str, &[u8]); 2] = [(USER, b"ann"), (GROUPS, b" a, b ,,")];
        let filter = rendered("10.0.0.5", &headers).unwrap().unwrap();
        assert_eq!(filter, r#""tenant" IN ["a", "b"] OR "owner" = "ann""#);
        assert!(rendered("11.0.0.5", &headers).unwrap_err().is(Code::MiroirInvalidAuth));
        let without_groups: [(&str, &[u8]); 1] = [(USER, b"ann")];
        assert_eq!(rendered("10.0.0.5", &without_groups).unwrap().unwrap(), r#""tenant" IN [] OR "owner" = "ann""#);
        let foreign: [(&str, &[u8]); 2] = [(USER, "žofie".as_bytes()), (GROUPS, "団体,\"]".as_bytes())];
        assert_eq!(
            rendered("10.0.0.5", &foreign).unwrap().unwrap(),
            r#""tenant" IN ["団体", "\"]"] OR "owner" = "žofie""#
        );
        let faults: [&[(&str, &[u8])]; 6] = [
            &[],
            &[(GROUPS, b"a")],
            &[(USER, b"  ")],
            &[(USER, b"ann"), (USER, b"root")],
            &[(USER, b"ann"), (GROUPS, b"a"), (GROUPS, b"root")],
            &[(USER, b"ann"), (GROUPS, b"\xff")],
        ];
        for headers in faults {
            assert!(rendered("10.0.0.5", headers).unwrap_err().is(Code::MiroirInvalidAuth), "{headers:?}");
        }
    }

    #[test]
    fn without_a_template_everyone_whom_the_proxy_names_sees_the_same() {
        let headers: [(&str, &[u8]); 1] = [(USER, b"ann")];
        assert_eq!(filter_for(&proxied(None), &origin("10.0.0.5", &headers)).unwrap(), None);
        assert!(filter_for(&proxied(None), &origin("10.0.0.5", &[])).is_err());
    }

    #[test]
    fn a_shared_key_counts_as_a_whole_and_once() {
        let ui = with_access(SearchUiAccess::SharedKey { key: Secret::new("new"), previous: Some(Secret::new("old")) });
        let passes = |keys: &[&[u8]]| {
            let headers: Vec<(&str, &[u8])> = keys.iter().map(|key| (SHARED_KEY, *key)).collect();
            filter_for(&ui, &origin("10.0.0.5", &headers)).is_ok()
        };
        assert!(passes(&[b"new"]) && passes(&[b"old"]));
        assert!(
            !passes(&[]) && !passes(&[b""]) && !passes(&[b"ne"]) && !passes(&[b"news"]) && !passes(&[b"new", b"old"])
        );
    }
}
