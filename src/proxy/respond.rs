//! Answers that Miroir writes itself. Errors become Meilisearch's JSON here and nowhere else.

use std::time::Duration;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::HeaderName;
use pingora::http::ResponseHeader;
use pingora::proxy::{FailToProxy, Session};
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::time::Instant;

use super::context::Context;
use super::cors;
use crate::api::{Answer, SettingsMark};
use crate::error::{ApiError, Code};

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Time for a client to finish sending a body that is not wanted any more: 100 MB pass in it at 400 Mbit/s.
const SPEAK_OUT_MAX: Duration = Duration::from_secs(2);
const SETTINGS_VERSION: HeaderName = HeaderName::from_static("x-miroir-settings-version");
const SETTINGS_INCONSISTENT: HeaderName = HeaderName::from_static("x-miroir-settings-inconsistent");
const DEGRADED: HeaderName = HeaderName::from_static("x-miroir-degraded");

pub async fn answer(session: &mut Session, ctx: &mut Context, answer: Answer) -> Result<()> {
    let mut header = ResponseHeader::build(answer.status, Some(8))?;
    // 204 has neither type nor length.
    if answer.status != http::StatusCode::NO_CONTENT.as_u16() {
        header.insert_header(CONTENT_TYPE, answer.content_type)?;
        header.insert_header(CONTENT_LENGTH, answer.body.len())?;
    }
    header.insert_header(REQUEST_ID, ctx.request_id.as_str())?;
    cors::allow(session.req_header(), &mut header)?;
    if let Some(degraded) = &answer.degraded {
        header.insert_header(DEGRADED, degraded.as_str())?;
    }
    mark_settings(&mut header, answer.settings)?;
    if let Some(seconds) = answer.retry_after_s {
        header.insert_header(RETRY_AFTER, seconds)?;
    }
    for (name, value) in answer.headers {
        header.append_header(name, value)?;
    }
    ctx.degraded = answer.degraded;
    // What was not read of the request stands in the way of the next one on this connection.
    if !session.as_mut().is_body_done() {
        session.set_keepalive(None);
    }
    let is_sending = !session.as_mut().is_body_done();
    let is_head = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(header), is_head).await?;
    if !is_head {
        session.write_response_body(Some(answer.body), true).await?;
    }
    if is_sending {
        let_speak_out(session).await;
    }
    Ok(())
}

/// Answers with a header alone.
pub async fn preflight(session: &mut Session, ctx: &Context, mut header: ResponseHeader) -> Result<()> {
    cors::allow(session.req_header(), &mut header)?;
    header.insert_header(REQUEST_ID, ctx.request_id.as_str())?;
    session.write_response_header(Box::new(header), true).await
}

/// Says how the settings stood by which the answer was made.
pub fn mark_settings(header: &mut ResponseHeader, settings: Option<SettingsMark>) -> Result<()> {
    if let Some(mark) = settings {
        header.insert_header(SETTINGS_VERSION, mark.version)?;
        if mark.is_inconsistent {
            header.insert_header(SETTINGS_INCONSISTENT, "true")?;
        }
    }
    Ok(())
}

/// Reads what a client still sends after its answer, for a while. A connection that is closed with bytes unread is reset,
/// and the answer is lost to a client that has not come to reading it.
async fn let_speak_out(session: &mut Session) {
    let deadline = Instant::now() + SPEAK_OUT_MAX;
    while let Ok(Ok(Some(_))) = tokio::time::timeout_at(deadline, session.read_request_body()).await {}
}

/// The last word on a request that Pingora could not carry out.
pub async fn failure(session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
    let shown = match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, _) if ctx.passed_on.is_some() => Some(ApiError::no_leader(
            "The Miroir that leads those on this store does not answer; another one will soon lead.",
        )),
        (ErrorSource::Upstream, _) => {
            Some(ApiError::new(Code::MiroirShardUnavailable, "No replica of the document answers."))
        }
        (_, ErrorType::HTTPStatus(status)) if *status < 500 => {
            Some(ApiError::new(Code::BadRequest, format!("The request cannot be read ({status}).")))
        }
        (ErrorSource::Downstream, ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed) => None,
        (ErrorSource::Downstream, _) => {
            Some(ApiError::new(Code::BadRequest, format!("The request cannot be read: {error}.")))
        }
        _ => Some(ApiError::new(Code::Internal, "The request could not be carried out.")),
    };
    let mut status = 0;
    if let (Some(shown), None) = (shown, session.response_written()) {
        status = shown.status;
        if let Err(error) = answer(session, ctx, Answer::error(&shown)).await {
            log::debug!("the client left before its error could be sent: {error}");
        }
    }
    FailToProxy { error_code: status, can_reuse_downstream: false }
}
