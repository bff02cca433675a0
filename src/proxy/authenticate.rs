//! Who may pass: the master key on Meilisearch's routes, the admin key on `/_miroir`.

use http::HeaderMap;

use crate::api::Access;
use crate::conf::{Config, Secret};
use crate::error::{ApiError, Code};

pub fn authenticate(config: &Config, access: Access, headers: &HeaderMap) -> Result<(), ApiError> {
    match access {
        Access::Anyone => Ok(()),
        Access::MasterKey => match (&config.master_key, bearer(headers)) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(ApiError::new(
                Code::MissingAuthorizationHeader,
                "The Authorization header is missing. It must use the bearer authorization method.",
            )),
            (Some(key), Some(presented)) if key.matches(presented) => Ok(()),
            (Some(_), Some(_)) => Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid.")),
        },
        Access::AdminKey => match &config.admin.api_key {
            _ if !config.admin.enabled => Err(ApiError::new(Code::NotFound, "The admin API is off.")),
            None => Ok(()),
            Some(key) if presents(headers, key) => Ok(()),
            Some(_) => Err(ApiError::new(
                Code::MiroirInvalidAuth,
                "The admin key is missing or wrong. Present it as bearer or in X-Admin-Key.",
            )),
        },
    }
}

fn presents(headers: &HeaderMap, key: &Secret) -> bool {
    let in_header = headers.get("x-admin-key").map(|value| value.as_bytes());
    in_header.into_iter().chain(bearer(headers)).any(|presented| key.matches(presented))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(http::header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}
