//! Writing documents: each request becomes a task.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{header, HeaderMap};
use axum::routing::{delete, post};
use axum::Router;
use bytes::{Buf, Bytes};
use deserr::Deserr;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::sync::mpsc;

use super::formats::Format;
use crate::error::{feature_not_enabled, field_codes, Code, ResponseError};
use crate::indexes::check_uid;
use crate::queue::{Method, NewTask, Operation, Queue, Task};
use crate::search::filter;
use crate::search::parse::codes::{BadRequest, InvalidDocumentFilter};
use crate::search::parse::{missing_field, read_body, read_query, BodyError, QueryError};
use crate::state::AppState;
use crate::tasks::{accept, Accepted};

/// Pieces of a body that wait between the network and the disk. They are at most some hundred kilobytes each.
const WAITING_PIECES_MAX: usize = 16;

/// How long a client may take for the next piece of its body, before it is given up.
const PIECE_TIMEOUT: Duration = Duration::from_secs(60);

const CONTENT_TYPES: &str = "`application/json`, `application/x-ndjson`, `text/csv`";

pub fn routes() -> Router<AppState> {
    let add = post(replace).put(update).delete(clear);
    Router::new()
        .route("/indexes/{uid}/documents", add)
        .route("/indexes/{uid}/documents/{id}", delete(delete_one))
        .route("/indexes/{uid}/documents/delete-batch", post(delete_batch))
        .route("/indexes/{uid}/documents/delete", post(delete_by_filter))
        .route("/indexes/{uid}/documents/edit", post(edit))
}

field_codes! {
    InvalidIndexPrimaryKey
    InvalidDocumentCsvDelimiter
    InvalidDocumentEditionContext
    InvalidDocumentEditionFunctionFilter
    InvalidIndexCustomMetadata
    InvalidSkipCreation
    MissingDocumentEditionFunction
    MissingDocumentFilter
}

use self::codes::*;

/// The parameters of an addition.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct AdditionParameters {
    #[deserr(default, error = QueryError<InvalidIndexPrimaryKey>)]
    primary_key: Option<String>,
    #[deserr(default, error = QueryError<InvalidDocumentCsvDelimiter>)]
    csv_delimiter: Option<char>,
    #[deserr(default, error = QueryError<InvalidIndexCustomMetadata>)]
    custom_metadata: Option<String>,
    #[deserr(default, error = QueryError<InvalidSkipCreation>)]
    skip_creation: Option<String>,
}

/// The parameters of every other write.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
struct WriteParameters {
    #[deserr(default, error = QueryError<InvalidIndexCustomMetadata>)]
    custom_metadata: Option<String>,
}

type Parameters = Query<Vec<(String, String)>>;

async fn replace(
    state: State<AppState>,
    uid: Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Accepted, ResponseError> {
    add(Method::Replace, state, uid, parameters, headers, body).await
}

async fn update(
    state: State<AppState>,
    uid: Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Accepted, ResponseError> {
    add(Method::Update, state, uid, parameters, headers, body).await
}

async fn add(
    method: Method,
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Accepted, ResponseError> {
    check_uid(&uid)?;
    let AdditionParameters { primary_key, csv_delimiter, custom_metadata, skip_creation } = read_query(parameters)?;
    let skip_creation = parse_skip_creation(skip_creation)?;
    let format = format(&headers, csv_delimiter)?;
    let queue = state.queue().clone();
    let (pieces, waiting) = mpsc::channel(WAITING_PIECES_MAX);
    // Copying and enqueueing are one job that nothing interrupts: a client that leaves in between leaves no payload
    // without a task.
    let enqueued = tokio::task::spawn_blocking(move || {
        let body = BodyReader { pieces: waiting, piece: Bytes::new(), is_complete: false };
        enqueue(&queue, format, body, Addition { uid, method, primary_key, custom_metadata, skip_creation })
    });
    send_body(body, state.payload_bytes_max(), format, &pieces).await;
    drop(pieces);
    Ok(Accepted::from(&enqueued.await.map_err(ResponseError::internal)??))
}

/// What `skipCreation` says, in words that differ from those of other parameters.
fn parse_skip_creation(text: Option<String>) -> Result<bool, ResponseError> {
    match text {
        None => Ok(false),
        Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(text) => Err(ResponseError::new(
            Code::InvalidSkipCreation,
            format!("skipCreation must be either `true` or `false`. Found: `{text}`"),
        )),
    }
}

/// What an addition is besides its documents.
struct Addition {
    uid: String,
    method: Method,
    primary_key: Option<String>,
    custom_metadata: Option<String>,
    skip_creation: bool,
}

/// Copies the documents and enqueues their task.
fn enqueue(queue: &Queue, format: Format, body: BodyReader, addition: Addition) -> Result<Task, ResponseError> {
    let mut writer = queue.payload_writer();
    let documents = format.copy(body, &mut writer)?;
    let written = writer.finish()?;
    let Addition { uid, method, primary_key, custom_metadata, skip_creation } = addition;
    let operation = Operation::DocumentAddition {
        method,
        primary_key,
        payload: written.payload,
        payload_bytes: written.bytes,
        documents,
        skip_creation,
    };
    let new =
        NewTask { index_uid: Some(uid), operation: operation.clone(), inline_payload: written.inline, custom_metadata };
    queue.enqueue(new).inspect_err(|_| queue.discard_payload(&operation))
}

fn format(headers: &HeaderMap, csv_delimiter: Option<char>) -> Result<Format, ResponseError> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Err(ResponseError::new(
            Code::MissingContentType,
            format!(
                "A Content-Type header is missing. Accepted values for the Content-Type header are: {CONTENT_TYPES}"
            ),
        ));
    };
    let content_type = String::from_utf8_lossy(content_type.as_bytes());
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let delimiter = match csv_delimiter {
        None => None,
        Some(delimiter) => Some(u8::try_from(delimiter).ok().filter(u8::is_ascii).ok_or_else(|| {
            ResponseError::new(
                Code::InvalidDocumentCsvDelimiter,
                format!("csv delimiter must be an ascii character. Found: `{delimiter}`"),
            )
        })?),
    };
    match (essence.as_str(), delimiter) {
        ("application/json", None) => Ok(Format::Json),
        ("application/x-ndjson", None) => Ok(Format::Ndjson),
        ("text/csv", delimiter) => Ok(Format::Csv { delimiter: delimiter.unwrap_or(b',') }),
        ("application/json" | "application/x-ndjson", Some(_)) => Err(ResponseError::new(
            Code::InvalidContentType,
            format!("The Content-Type `{essence}` does not support the use of a csv delimiter. The csv delimiter can only be used with the Content-Type `text/csv`."),
        )),
        _ => Err(ResponseError::new(
            Code::InvalidContentType,
            format!("The Content-Type `{essence}` is invalid. Accepted values for the Content-Type header are: {CONTENT_TYPES}"),
        )),
    }
}

/// A piece of a body, or its end; or why there will be no more.
type Piece = Result<Option<Bytes>, ResponseError>;

/// Passes the body on to who copies it, up to the limit. A body is read to its end even when the copying has already
/// failed, because a client hears the answer only when it has sent everything.
async fn send_body(body: Body, bytes_max: u64, format: Format, pieces: &mpsc::Sender<Piece>) {
    let mut body = body.into_data_stream();
    let mut bytes = 0;
    let last = loop {
        let Ok(piece) = tokio::time::timeout(PIECE_TIMEOUT, body.next()).await else {
            break Err(ResponseError::new(Code::BadRequest, "The request body did not come to its end in time."));
        };
        match piece {
            None if bytes == 0 => break Err(missing_payload(format)),
            None => break Ok(None),
            Some(Err(error)) => {
                break Err(ResponseError::new(Code::BadRequest, error.to_string()));
            }
            Some(Ok(piece)) => {
                bytes += piece.len() as u64;
                if bytes > bytes_max {
                    break Err(payload_too_large(bytes_max));
                }
                // Whoever copies may have given up, and has said why in its result.
                let _ = pieces.send(Ok(Some(piece))).await;
            }
        }
    };
    let _ = pieces.send(last).await;
}

fn missing_payload(format: Format) -> ResponseError {
    ResponseError::new(Code::MissingPayload, format!("A {} payload is missing.", format.name()))
}

/// The refusal of a body that is larger than allowed.
pub fn payload_too_large(bytes_max: u64) -> ResponseError {
    let limit = match bytes_max {
        bytes if bytes % (1024 * 1024) == 0 => format!("{} MiB", bytes / (1024 * 1024)),
        bytes if bytes % 1024 == 0 => format!("{} KiB", bytes / 1024),
        bytes => format!("{bytes} B"),
    };
    ResponseError::new(
        Code::PayloadTooLarge,
        format!("The provided payload reached the size limit. The maximum accepted payload size is {limit}."),
    )
}

/// The body as something to read from, on a thread that may block. It ends well only if the whole body came.
struct BodyReader {
    pieces: mpsc::Receiver<Piece>,
    piece: Bytes,
    is_complete: bool,
}

impl Read for BodyReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_complete {
            match self.pieces.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.is_complete = true,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => {
                    let error = ResponseError::new(Code::BadRequest, "The request was given up.");
                    return Err(io::Error::other(error));
                }
            }
        }
        let bytes = to.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut to[..bytes]);
        Ok(bytes)
    }
}

async fn clear(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Parameters,
) -> Result<Accepted, ResponseError> {
    write(state, uid, parameters, Operation::DocumentClear).await
}

async fn delete_one(
    State(state): State<AppState>,
    Path((uid, id)): Path<(String, String)>,
    Query(parameters): Parameters,
) -> Result<Accepted, ResponseError> {
    write(state, uid, parameters, Operation::DocumentDeletion { ids: vec![id] }).await
}

async fn delete_batch(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Accepted, ResponseError> {
    let ids = match read_body(&headers, &body)? {
        Value::Array(ids) => ids,
        other => return Err(not_a_list(&other)),
    };
    let ids = ids.into_iter().map(|id| match id {
        Value::String(id) => id,
        other => other.to_string(),
    });
    write(state, uid, parameters, Operation::DocumentDeletion { ids: ids.collect() }).await
}

fn not_a_list(value: &Value) -> ResponseError {
    let error = serde_json::from_value::<Vec<Value>>(value.clone()).err();
    let error = error.map(|error| error.to_string()).unwrap_or_default();
    ResponseError::new(Code::BadRequest, format!("Json deserialize error: {error}"))
}

async fn delete_by_filter(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    Query(parameters): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Accepted, ResponseError> {
    check_uid(&uid)?;
    let ByFilter { filter: asked } = read_body(&headers, &body)?;
    if filter::parse(&asked, Code::InvalidDocumentFilter, state.features())?.is_none() {
        return Err(ResponseError::new(Code::InvalidDocumentFilter, "Sending an empty filter is forbidden."));
    }
    write(state, uid, parameters, Operation::DocumentDeletionByFilter { filter: asked }).await
}

/// The body of a deletion by filter.
#[derive(Debug, Deserr)]
#[deserr(error = BodyError, deny_unknown_fields)]
struct ByFilter {
    #[deserr(missing_field_error = missing_field::<BadRequest, MissingDocumentFilter>)]
    filter: Value,
}

/// Editing by function is an experimental feature, which is off. What is wrong with the request is said first.
async fn edit(Query(parameters): Parameters, headers: HeaderMap, body: Bytes) -> Result<Accepted, ResponseError> {
    let WriteParameters { custom_metadata: _ } = read_query(parameters)?;
    let _: Edition = read_body(&headers, &body)?;
    Err(feature_not_enabled("Using the documents edit route", "edit documents by function", 762))
}

/// The body of an edition.
#[expect(dead_code, reason = "it is read only to refuse what is wrong with it")]
#[derive(Debug, Deserr)]
#[deserr(error = BodyError, deny_unknown_fields)]
struct Edition {
    #[deserr(default, error = BodyError<InvalidDocumentFilter>)]
    filter: Option<Value>,
    #[deserr(default, error = BodyError<InvalidDocumentEditionContext>)]
    context: Option<Value>,
    #[deserr(
        error = BodyError<InvalidDocumentEditionFunctionFilter>,
        missing_field_error = missing_field::<InvalidDocumentEditionFunctionFilter, MissingDocumentEditionFunction>
    )]
    function: String,
}

async fn write(
    state: AppState,
    uid: String,
    parameters: Vec<(String, String)>,
    operation: Operation,
) -> Result<Accepted, ResponseError> {
    check_uid(&uid)?;
    let WriteParameters { custom_metadata } = read_query(parameters)?;
    accept(state, NewTask { custom_metadata, ..NewTask::new(Some(uid), operation) }).await
}
