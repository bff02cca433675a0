//! Every error that a client can see: one table of codes, one type, one shape.
//!
//! The shape is Meilisearch's: `{"message","code","type","link"}`. Where Meilisearch has the error, its code, type and
//! status are used; Miroir's own codes start with `miroir_`. Errors of nodes pass through as the nodes worded them.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reserved;

/// Meilisearch's `type` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    InvalidRequest,
    Internal,
    Auth,
    System,
}

impl ErrorType {
    pub const fn name(self) -> &'static str {
        match self {
            ErrorType::InvalidRequest => "invalid_request",
            ErrorType::Internal => "internal",
            ErrorType::Auth => "auth",
            ErrorType::System => "system",
        }
    }
}

macro_rules! codes {
    ($($variant:ident $name:literal $kind:ident $status:literal;)*) => {
        /// The code of an error, with its type and HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $($variant),* }

        impl Code {
            pub const fn name(self) -> &'static str {
                match self { $(Code::$variant => $name),* }
            }

            /// HTTP status of an answer that carries this code.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
            }

            pub const fn error_type(self) -> ErrorType {
                match self { $(Code::$variant => ErrorType::$kind),* }
            }
        }
    };
}

codes! {
    // Meilisearch's
    BadRequest                            "bad_request"                                 InvalidRequest 400;
    BatchNotFound                         "batch_not_found"                             InvalidRequest 404;
    DocumentNotFound                      "document_not_found"                          InvalidRequest 404;
    IndexAlreadyExists                    "index_already_exists"                        InvalidRequest 409;
    IndexNotFound                         "index_not_found"                             InvalidRequest 404;
    IndexPrimaryKeyAlreadyExists          "index_primary_key_already_exists"            InvalidRequest 400;
    IndexPrimaryKeyMultipleCandidatesFound "index_primary_key_multiple_candidates_found" InvalidRequest 400;
    IndexPrimaryKeyNoCandidateFound       "index_primary_key_no_candidate_found"        InvalidRequest 400;
    Internal                              "internal"                                    Internal       500;
    InvalidApiKey                         "invalid_api_key"                             Auth           403;
    InvalidBatchUids                      "invalid_batch_uids"                          InvalidRequest 400;
    InvalidContentType                    "invalid_content_type"                        InvalidRequest 415;
    InvalidDocumentEditionContext         "invalid_document_edition_context"            InvalidRequest 400;
    InvalidDocumentEditionFunctionFilter  "invalid_document_edition_function_filter"    InvalidRequest 400;
    InvalidDocumentFields                 "invalid_document_fields"                     InvalidRequest 400;
    InvalidDocumentFilter                 "invalid_document_filter"                     InvalidRequest 400;
    InvalidDocumentId                     "invalid_document_id"                         InvalidRequest 400;
    InvalidDocumentIds                    "invalid_document_ids"                        InvalidRequest 400;
    InvalidDocumentLimit                  "invalid_document_limit"                      InvalidRequest 400;
    InvalidDocumentOffset                 "invalid_document_offset"                     InvalidRequest 400;
    InvalidDocumentSort                   "invalid_document_sort"                       InvalidRequest 400;
    InvalidFacetSearchFacetName           "invalid_facet_search_facet_name"             InvalidRequest 400;
    InvalidIndexCsvDelimiter              "invalid_document_csv_delimiter"              InvalidRequest 400;
    InvalidIndexLimit                     "invalid_index_limit"                         InvalidRequest 400;
    InvalidIndexOffset                    "invalid_index_offset"                        InvalidRequest 400;
    InvalidIndexPrimaryKey                "invalid_index_primary_key"                   InvalidRequest 400;
    InvalidIndexUid                       "invalid_index_uid"                           InvalidRequest 400;
    InvalidSearchFacets                   "invalid_search_facets"                       InvalidRequest 400;
    InvalidSearchFilter                   "invalid_search_filter"                       InvalidRequest 400;
    InvalidSearchHitsPerPage              "invalid_search_hits_per_page"                InvalidRequest 400;
    InvalidSearchLimit                    "invalid_search_limit"                        InvalidRequest 400;
    InvalidSearchOffset                   "invalid_search_offset"                       InvalidRequest 400;
    InvalidSearchPage                     "invalid_search_page"                         InvalidRequest 400;
    InvalidSearchQ                        "invalid_search_q"                            InvalidRequest 400;
    InvalidSearchAttributesToRetrieve     "invalid_search_attributes_to_retrieve"       InvalidRequest 400;
    InvalidSearchShowRankingScore         "invalid_search_show_ranking_score"           InvalidRequest 400;
    InvalidSearchShowRankingScoreDetails  "invalid_search_show_ranking_score_details"   InvalidRequest 400;
    InvalidSearchDistinct                 "invalid_search_distinct"                     InvalidRequest 400;
    InvalidSearchRankingScoreThreshold    "invalid_search_ranking_score_threshold"      InvalidRequest 400;
    InvalidSearchSort                     "invalid_search_sort"                         InvalidRequest 400;
    InvalidTaskAfterEnqueuedAt            "invalid_task_after_enqueued_at"              InvalidRequest 400;
    InvalidTaskAfterFinishedAt            "invalid_task_after_finished_at"              InvalidRequest 400;
    InvalidTaskAfterStartedAt             "invalid_task_after_started_at"               InvalidRequest 400;
    InvalidTaskBeforeEnqueuedAt           "invalid_task_before_enqueued_at"             InvalidRequest 400;
    InvalidTaskBeforeFinishedAt           "invalid_task_before_finished_at"             InvalidRequest 400;
    InvalidTaskBeforeStartedAt            "invalid_task_before_started_at"              InvalidRequest 400;
    InvalidTaskCanceledBy                 "invalid_task_canceled_by"                    InvalidRequest 400;
    InvalidTaskFilter                     "invalid_task_filter"                         InvalidRequest 400;
    InvalidTaskFrom                       "invalid_task_from"                           InvalidRequest 400;
    InvalidTaskIndexUids                  "invalid_index_uid"                           InvalidRequest 400;
    InvalidTaskLimit                      "invalid_task_limit"                          InvalidRequest 400;
    InvalidTaskReverse                    "invalid_task_reverse"                        InvalidRequest 400;
    InvalidTaskStatuses                   "invalid_task_statuses"                       InvalidRequest 400;
    InvalidTaskTypes                      "invalid_task_types"                          InvalidRequest 400;
    InvalidTaskUids                       "invalid_task_uids"                           InvalidRequest 400;
    MalformedPayload                      "malformed_payload"                           InvalidRequest 400;
    MaxFieldsLimitExceeded                "max_fields_limit_exceeded"                   InvalidRequest 400;
    MethodNotAllowed                      "method_not_allowed"                          InvalidRequest 405;
    MissingAuthorizationHeader            "missing_authorization_header"                Auth           401;
    MissingContentType                    "missing_content_type"                        InvalidRequest 415;
    MissingDocumentEditionFunction        "missing_document_edition_function"           InvalidRequest 400;
    MissingDocumentFilter                 "missing_document_filter"                     InvalidRequest 400;
    MissingDocumentId                     "missing_document_id"                         InvalidRequest 400;
    MissingFacetSearchFacetName           "missing_facet_search_facet_name"             InvalidRequest 400;
    MissingIndexUid                       "missing_index_uid"                           InvalidRequest 400;
    MissingPayload                        "missing_payload"                             InvalidRequest 400;
    MissingTaskFilters                    "missing_task_filters"                        InvalidRequest 400;
    NotFound                              "not_found"                                   InvalidRequest 404;
    PayloadTooLarge                       "payload_too_large"                           InvalidRequest 413;
    RequestTimeout                        "request_timeout"                             InvalidRequest 408;
    TaskNotFound                          "task_not_found"                              InvalidRequest 404;
    TooManySearchRequests                 "too_many_search_requests"                    System         503;
    UnretrievableDocument                 "unretrievable_document"                      Internal       500;

    // Miroir's own
    MiroirIdempotencyKeyReused            "miroir_idempotency_key_reused"               InvalidRequest 409;
    MiroirInvalidAuth                     "miroir_invalid_auth"                         Auth           401;
    MiroirInvalidIdempotencyKey           "miroir_invalid_idempotency_key"              InvalidRequest 400;
    MiroirNoQuorum                        "miroir_no_quorum"                            System         503;
    MiroirNotSupported                    "miroir_not_supported"                        InvalidRequest 501;
    MiroirPrimaryKeyRequired              "miroir_primary_key_required"                 InvalidRequest 400;
    MiroirReservedField                   "miroir_reserved_field"                       InvalidRequest 400;
    MiroirShardUnavailable                "miroir_shard_unavailable"                    System         503;
    MiroirStoreUnavailable                "miroir_store_unavailable"                    System         503;
    MiroirTimeout                         "miroir_timeout"                              System         504;
    MiroirTooBusy                         "miroir_too_busy"                             System         503;
}

/// An error on its way to a client: HTTP status and the body to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub status: u16,
    pub body: ErrorBody,
}

/// Meilisearch's error object, as it stands in answers and in the `error` field of a failed task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub message: String,
    pub code: Cow<'static, str>,
    #[serde(rename = "type")]
    pub error_type: Cow<'static, str>,
    pub link: String,
}

impl ErrorBody {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            code: Cow::Borrowed(code.name()),
            error_type: Cow::Borrowed(code.error_type().name()),
            link: format!("https://docs.meilisearch.com/errors#{}", code.name()),
        }
    }
}

impl ErrorBody {
    /// An error as a node worded it, without Miroir's own names, which nodes list among an index's attributes.
    #[must_use]
    pub fn of_node(mut self) -> Self {
        if let Cow::Owned(message) = reserved::without_reserved_names(&self.message) {
            self.message = message;
        }
        self
    }
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { status: code.status(), body: ErrorBody::new(code, message) }
    }

    /// The error that a node answered with, unchanged; an unreadable body becomes an internal error that quotes the status.
    pub fn from_node(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<ErrorBody>(body) {
            Ok(body) => Self { status, body: body.of_node() },
            Err(_) => Self::new(Code::Internal, format!("A node answered with status {status} and no readable error.")),
        }
    }

    /// A body that is no JSON, in Meilisearch's words.
    pub fn malformed_json(error: &serde_json::Error) -> Self {
        Self::new(Code::MalformedPayload, format!("The json payload provided is malformed. `{error}`."))
    }

    pub fn index_not_found(uid: &str) -> Self {
        Self::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
    }

    pub fn is(&self, code: Code) -> bool {
        self.body.code == code.name()
    }

    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.body).expect("an object of four strings always serializes")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.body.message, self.body.code)
    }
}

impl std::error::Error for ApiError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_meilisearchs_shape() {
        let error = ApiError::index_not_found("movies");
        let body: serde_json::Value = serde_json::from_slice(&error.to_json()).unwrap();
        assert_eq!(error.status, 404);
        assert_eq!(
            body,
            serde_json::json!({
                "message": "Index `movies` not found.",
                "code": "index_not_found",
                "type": "invalid_request",
                "link": "https://docs.meilisearch.com/errors#index_not_found"
            })
        );
    }

    #[test]
    fn a_nodes_error_passes_unchanged_and_garbage_does_not() {
        let original = ApiError::new(Code::InvalidSearchFilter, "no such attribute");
        assert_eq!(ApiError::from_node(400, &original.to_json()), original);
        assert!(ApiError::from_node(502, b"<html>").is(Code::Internal));
    }
}
