//! The master key.

use axum::extract::{Request, State};
use axum::http::{header, HeaderMap};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;

use crate::error::{Code, ResponseError};
use crate::state::AppState;

/// Lets a request through that carries the master key, and every request if there is none.
pub async fn require_master_key(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ResponseError> {
    if let Some(master_key) = state.master_key() {
        check(request.headers(), master_key)?;
    }
    Ok(next.run(request).await)
}

fn check(headers: &HeaderMap, master_key: &str) -> Result<(), ResponseError> {
    let missing = || {
        ResponseError::new(
            Code::MissingAuthorizationHeader,
            "The Authorization header is missing. It must use the bearer authorization method.",
        )
    };
    let invalid = || ResponseError::new(Code::InvalidApiKey, "The provided API key is invalid.");
    let header = headers.get(header::AUTHORIZATION).ok_or_else(missing)?;
    let (method, key) = match header.to_str().unwrap_or_default().split_once(' ') {
        Some((method, key)) => (method, Some(key)),
        None => (header.to_str().unwrap_or_default(), None),
    };
    if method != "Bearer" {
        return Err(missing());
    }
    let key = key.ok_or_else(invalid)?;
    // The time that this takes tells nothing but the length of the key.
    match bool::from(key.as_bytes().ct_eq(master_key.as_bytes())) {
        true => Ok(()),
        false => Err(invalid()),
    }
}
