//! The answer of one node on its way through.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{Error, ErrorType, Result};

use super::context::Context;
use super::cors;
use super::respond::{mark_settings, REQUEST_ID};
use crate::merge::documents::strip_reserved;

/// Largest document that is held to take its reserved fields out. Nodes take no larger payload.
const DOCUMENT_BYTES_MAX: usize = 128 << 20;

fn is_document(ctx: &Context) -> bool {
    ctx.forward.as_ref().is_some_and(|forward| forward.document.is_some())
}

pub fn header(request: &RequestHeader, response: &mut ResponseHeader, ctx: &Context) -> Result<()> {
    cors::allow(request, response)?;
    response.insert_header(REQUEST_ID, ctx.request_id.as_str())?;
    mark_settings(response, ctx.settings)?;
    if is_document(ctx) {
        // What comes out shortens it.
        response.remove_header(&CONTENT_LENGTH);
        response.insert_header(TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}

pub fn body(body: &mut Option<Bytes>, end_of_stream: bool, ctx: &mut Context) -> Result<()> {
    if !is_document(ctx) {
        return Ok(());
    }
    if let Some(piece) = body.take() {
        if ctx.document.len() + piece.len() > DOCUMENT_BYTES_MAX {
            return Error::e_explain(ErrorType::InternalError, "a document is larger than any node takes");
        }
        ctx.document.extend_from_slice(&piece);
    }
    if end_of_stream {
        *body = Some(strip_reserved(&ctx.document));
    }
    Ok(())
}
