//! Who may do what: keys, tokens, and the rights that come of them.
//!
//! | file | what lives there |
//! |---|---|
//! | [`action`] | what a key may allow, by Meilisearch's names |
//! | [`admin_session`] | who has logged in with the admin key |
//! | [`api_key`] | the record of an API key, and its value |
//! | [`index_pattern`] | which indexes a key or a token is for |
//! | [`gate`] | the secrets and keys that requests are judged by, as one immutable value |
//! | [`login_attempts`] | how often an address may try to |
//! | [`rights`] | what one request may do |
//! | [`search_ui_token`] | tokens that Miroir signs, for pages that search one index |
//! | [`session_limits`] | how many of them an address is given |
//! | [`tenant_token`] | tokens that clients sign with an API key |
//!
//! Nodes know nothing of all this: they are asked with their own key, whoever the client is. In which order a request's
//! credentials are looked at stands in `proxy/authenticate.rs`. Nothing here reads a request or answers one.

mod action;
mod admin_session;
mod api_key;
mod gate;
mod index_pattern;
mod login_attempts;
mod rights;
pub mod search_ui_token;
mod session_limits;
mod tenant_token;

pub use action::Action;
pub use admin_session::{AdminSession, AdminSessions, BeginError, SessionId, SessionLifetimes, SessionStanding};
pub use api_key::{random_uid, ApiKey, KeyUid};
pub use gate::{Gate, GateState, KeyError, KeyPatch, NewKey, Secrets};
pub use index_pattern::IndexPattern;
pub use login_attempts::LoginAttempts;
pub use rights::{Denial, Rights, RightsIdentity};
pub use search_ui_token::{claims_to_be_one as claims_to_be_search_ui_token, Scope, SearchUiUse};
pub use session_limits::SessionLimits;
pub use tenant_token::{has_token_shape, SearchRules};
