//! `/_miroir/admin/login` and `logout`: a cookie in place of the admin key, for browsers.

use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::api::{json_body, Answer, Body, Origin, Request};
use crate::app::App;
use crate::auth::{BeginError, SessionId, SessionStanding};
use crate::error::{ApiError, Code};

const COOKIE: &str = "miroir_admin_session";
const CSRF_TOKEN: &str = "x-csrf-token";
/// Bytes of a body that has a key in it. Whoever sends it is a stranger.
const BODY_BYTES_MAX: usize = 8 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    key: String,
}

/// A session for whoever presents the admin key: its cookie, and the token without which the cookie changes nothing.
pub async fn login(app: &App, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let gate = app.gate.state();
    if !gate.secrets.has_admin_api || !app.config.admin_ui.enabled {
        return Err(ApiError::new(Code::NotFound, "Nobody can log in: the admin API or its UI is off."));
    }
    let origin = origin(request)?;
    json_body::check_content_type(request.content_type)?;
    let Login { key } = login_in(body).await?;
    let Some(admin_key) = &gate.secrets.admin_key else {
        let message = "There is no admin key: the admin API is open, and nobody needs to log in.";
        return Err(ApiError::new(Code::MiroirNotSupported, message));
    };
    let outcome = |outcome: &str| app.metrics.admin_ui_logins.with_label_values(&[outcome]).inc();
    if let Err(wait) = app.login_attempts.begin(origin.client, Instant::now()) {
        outcome("limited");
        let message = "There were too many tries to log in from this address; come back later.";
        return Ok(Answer::too_many(&ApiError::new(Code::MiroirTooManyRequests, message), wait));
    }
    if !admin_key.matches(key.as_bytes()) {
        outcome("refused");
        log::warn!("somebody at {} tried to log in with a wrong admin key", origin.client);
        return Err(ApiError::new(Code::MiroirInvalidAuth, "The admin key is wrong."));
    }
    app.login_attempts.succeed(origin.client);
    let now = OffsetDateTime::now_utc();
    let id = app.admin_sessions.begin(admin_key, now).await?;
    // Whoever logs in again has left the session before.
    if let Some(before) = session_id(&origin.headers) {
        app.admin_sessions.end(&before).await?;
    }
    outcome("accepted");
    let age_max = app.admin_sessions.lifetimes.age_max;
    let expires_at = (now + age_max).format(&Rfc3339).unwrap_or_default();
    let answer = Answer::json(200, &json!({ "csrf_token": id.csrf_token(), "expires_at": expires_at }));
    with_cookie(app, origin, answer, &id.reveal(), age_max.as_secs())
}

/// Ends the session of the cookie, if there is one. Who may, has been found out before.
pub async fn logout(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let origin = origin(request)?;
    if let Some(id) = session_id(&origin.headers) {
        app.admin_sessions.end(&id).await?;
    }
    with_cookie(app, origin, Answer::empty(204), "", 0)
}

/// The cookie of a request, and what goes with it.
pub struct PresentedSession {
    id: SessionId,
    csrf_token: Option<Vec<u8>>,
    changes_something: bool,
}

impl PresentedSession {
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        let csrf_token = headers.get(CSRF_TOKEN).map(|value| value.as_bytes().to_vec());
        let changes_something = !matches!(*method, Method::GET | Method::HEAD);
        Some(Self { id: session_id(headers)?, csrf_token, changes_something })
    }

    /// Pages of other origins can make a browser send its cookie, but cannot know the token that goes with it.
    pub async fn standing(self, app: &App) -> Result<SessionStanding, ApiError> {
        let gate = app.gate.state();
        let Some(admin_key) = gate.secrets.admin_key.as_ref().filter(|_| app.config.admin_ui.enabled) else {
            return Ok(SessionStanding::Unknown);
        };
        if !app.admin_sessions.holds(&self.id, admin_key, OffsetDateTime::now_utc()).await? {
            return Ok(SessionStanding::Unknown);
        }
        let has_token = self.csrf_token.is_some_and(|token| self.id.is_csrf_token(&token));
        Ok(match self.changes_something && !has_token {
            true => SessionStanding::LacksToken,
            false => SessionStanding::Holds,
        })
    }
}

impl From<BeginError> for ApiError {
    fn from(error: BeginError) -> Self {
        match error {
            BeginError::Store(error) => error.into(),
            BeginError::Random(_) => ApiError::new(Code::Internal, error.to_string()),
        }
    }
}

fn origin<'r>(request: &Request<'r>) -> Result<&'r Origin, ApiError> {
    request.origin.ok_or_else(|| ApiError::new(Code::Internal, "It is not known who asks."))
}

/// What was wrong is not quoted: it may be a key.
async fn login_in(body: &mut dyn Body) -> Result<Login, ApiError> {
    let mut whole = Vec::new();
    while let Some(chunk) = body.next_chunk().await? {
        if whole.len() + chunk.len() > BODY_BYTES_MAX {
            let message = format!("The body has more than {BODY_BYTES_MAX} bytes; a key has not.");
            return Err(ApiError::new(Code::PayloadTooLarge, message));
        }
        whole.extend_from_slice(&chunk);
    }
    let unreadable = |_| ApiError::new(Code::BadRequest, "The body has to be an object such as `{\"key\": \"..\"}`.");
    serde_json::from_slice(&whole).map_err(unreadable)
}

/// The session that a cookie names.
fn session_id(headers: &HeaderMap) -> Option<SessionId> {
    let lines = headers.get_all(http::header::COOKIE).iter();
    let mut cookies = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    cookies.find_map(|cookie| {
        let value = cookie.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"=")?;
        SessionId::parse(value)
    })
}

/// No script reads it, no other site's page sends it, and it goes to the admin API alone.
fn with_cookie(
    app: &App,
    origin: &Origin,
    mut answer: Answer,
    value: &str,
    max_age_s: u64,
) -> Result<Answer, ApiError> {
    let secure = if origin.is_encrypted || app.config.admin_ui.secure_cookies { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={value}; Path=/_miroir; HttpOnly; SameSite=Strict; Max-Age={max_age_s}{secure}");
    let cookie = HeaderValue::from_str(&cookie);
    let cookie = cookie.map_err(|_| ApiError::new(Code::Internal, "The cookie cannot be put into a header."))?;
    answer.headers.push((SET_COOKIE, cookie));
    Ok(answer.uncached())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(http::header::COOKIE, cookie.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let id = SessionId::random().unwrap();
        let own = format!("{COOKIE}={}", id.reveal());
        for cookies in
            [&[own.as_str()][..], &[&format!("a=1; {own}; b=2")], &["a=1", &own], &[&format!("{COOKIE}=x;{own}")]]
        {
            assert_eq!(session_id(&headers(cookies)), Some(id.clone()), "{cookies:?}");
        }
        let elsewhere = format!("x{own}");
        for cookies in [&[][..], &["a=1"], &[elsewhere.as_str()], &["miroir_admin_session=", "miroir_admin_session"]] {
            assert_eq!(session_id(&headers(cookies)), None, "{cookies:?}");
        }
    }

    #[test]
    fn what_only_reads_needs_no_token() {
        let own = headers(&[&format!("{COOKIE}={}", SessionId::random().unwrap().reveal())]);
        let changes = |method: Method| PresentedSession::of(&method, &own).unwrap().changes_something;
        assert!(!changes(Method::GET) && !changes(Method::HEAD));
        assert!([Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS].into_iter().all(changes));
    }
}
