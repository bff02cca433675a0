//! Who may do what: the master key everything, an API key what it was made for.

use axum::extract::{Request, State};
use axum::http::{header, HeaderMap};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use crate::error::{Code, ResponseError};
use crate::keys::{action_of, with_value};
use crate::state::AppState;

/// Lets a request through that carries the master key or an API key that is good for it. Without a master key all requests
/// are let through but those about keys.
pub async fn require_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ResponseError> {
    let path = request.uri().path();
    match state.master_key() {
        Some(master_key) => check(&state, &request, path, master_key)?,
        None if path == "/keys" || path.starts_with("/keys/") => {
            return Err(ResponseError::new(
                Code::MissingMasterKey,
                "Meilisearch is running without a master key. To access this API endpoint, you must have set a master \
                 key at launch.",
            ));
        }
        None => {}
    }
    Ok(next.run(request).await)
}

fn check(state: &AppState, request: &Request, path: &str, master_key: &str) -> Result<(), ResponseError> {
    let presented = presented(request.headers())?;
    // The time that this takes tells nothing but the length of the key.
    if presented.as_bytes().ct_eq(master_key.as_bytes()).into() {
        return Ok(());
    }
    let invalid = || ResponseError::new(Code::InvalidApiKey, "The provided API key is invalid.");
    let keys = state.keys().get();
    let key = with_value(&keys, presented, master_key).ok_or_else(invalid)?;
    let (action, index) = action_of(request.method(), path).ok_or_else(invalid)?;
    key.check(action, index)
}

fn presented(headers: &HeaderMap) -> Result<&str, ResponseError> {
    let missing = || {
        ResponseError::new(
            Code::MissingAuthorizationHeader,
            "The Authorization header is missing. It must use the bearer authorization method.",
        )
    };
    let header = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    match header.to_str().unwrap_or_default().split_once(' ') {
        Some(("Bearer", key)) => Ok(key),
        None if header == "Bearer" => Err(ResponseError::new(Code::InvalidApiKey, "The provided API key is invalid.")),
        _ => Err(missing()),
    }
}
