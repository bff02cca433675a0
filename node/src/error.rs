//! The one error that leaves this server, in Meilisearch's shape, and how the engine's errors become it.

use std::fmt;

use axum::http::{header, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::Json;
use milli_core::heed;
use milli_core::heed::MdbError;
use milli_core::UserError;

pub use crate::error_codes::{Code, ErrorType};

/// Makes a module `codes` with one type per error code, to name in `#[deserr(error = ...)]`.
macro_rules! field_codes {
    ($($name:ident)*) => {
        pub mod codes {
            $(
                pub struct $name;
                impl $crate::search::parse::FieldCode for $name {
                    const CODE: $crate::error::Code = $crate::error::Code::$name;
                }
            )*
        }
    };
}
pub(crate) use field_codes;

/// Seconds after which a client that was turned away because of load may try again.
const RETRY_AFTER_S: &str = "10";

/// An error as clients see it: `{"message", "code", "type", "link"}`. A failed task stores the same object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseError {
    pub code: Code,
    pub message: String,
}

impl ResponseError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An error that no client caused.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(Code::Internal, format!("An internal error has occurred. `{cause}`."))
    }

    /// The index does not exist.
    pub fn index_not_found(uid: &str) -> Self {
        Self::new(Code::IndexNotFound, format!("Index `{uid}` not found."))
    }

    /// An error of the engine about one index, which Meilisearch prefixes with the index's name.
    pub fn in_index(uid: &str, error: milli_core::Error) -> Self {
        let error = Self::from(error);
        Self { message: format!("Index `{uid}`: {}", error.message), ..error }
    }

    /// The object that clients see.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "message": self.message,
            "code": self.code.name(),
            "type": self.code.kind().name(),
            "link": self.link(),
        })
    }

    /// Where the documentation explains the code.
    pub fn link(&self) -> String {
        format!("https://docs.meilisearch.com/errors#{}", self.code.name())
    }
}

/// The refusal of an experimental feature, all of which are off. `action` and `feature` are Meilisearch's names for what
/// was tried, `discussion` is where it explains the feature.
pub fn feature_not_enabled(action: &str, feature: &str, discussion: u32) -> ResponseError {
    ResponseError::new(
        Code::FeatureNotEnabled,
        format!(
            "{action} requires enabling the `{feature}` experimental feature. \
             See https://github.com/orgs/meilisearch/discussions/{discussion}"
        ),
    )
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ResponseError {}

impl IntoResponse for ResponseError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.code.kind() == ErrorType::Internal {
            log::error!("{}: {}", self.code.name(), self.message);
        }
        let mut response = (status, Json(self.to_json())).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}

impl From<std::io::Error> for ResponseError {
    fn from(error: std::io::Error) -> Self {
        Self::new(io_code(&error), error.to_string())
    }
}

impl From<heed::Error> for ResponseError {
    fn from(error: heed::Error) -> Self {
        let code = match &error {
            heed::Error::Mdb(MdbError::MapFull) => Code::DatabaseSizeLimitReached,
            heed::Error::Mdb(MdbError::Invalid) => Code::InvalidStoreFile,
            heed::Error::Io(error) => io_code(error),
            _ => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<milli_core::Error> for ResponseError {
    fn from(error: milli_core::Error) -> Self {
        let code = match &error {
            milli_core::Error::InternalError(_) => Code::Internal,
            milli_core::Error::IoError(error) => io_code(error),
            milli_core::Error::UserError(error) => user_error_code(error),
        };
        Self::new(code, error.to_string())
    }
}

/// The operating system's error numbers that Meilisearch gives codes of their own: EIO, EMFILE, ENOSPC.
fn io_code(error: &std::io::Error) -> Code {
    match error.raw_os_error() {
        Some(5) => Code::IoError,
        Some(24) => Code::TooManyOpenFiles,
        Some(28) => Code::NoSpaceLeftOnDevice,
        _ => Code::Internal,
    }
}

fn user_error_code(error: &UserError) -> Code {
    match error {
        UserError::SerdeJson(_)
        | UserError::EnvAlreadyOpened
        | UserError::DocumentLimitReached
        | UserError::UnknownInternalDocumentId { .. } => Code::Internal,
        UserError::InvalidStoreFile => Code::InvalidStoreFile,
        UserError::NoSpaceLeftOnDevice => Code::NoSpaceLeftOnDevice,
        UserError::MaxDatabaseSizeReached => Code::DatabaseSizeLimitReached,
        UserError::AttributeLimitReached => Code::MaxFieldsLimitExceeded,
        UserError::InvalidFilter(_)
        | UserError::InvalidFilterExpression(..)
        | UserError::FilterOperatorNotAllowed { .. } => Code::InvalidSearchFilter,
        UserError::MissingDocumentId { .. } => Code::MissingDocumentId,
        UserError::InvalidDocumentId { .. } | UserError::TooManyDocumentIds { .. } => Code::InvalidDocumentId,
        UserError::MissingDocumentField(_) => Code::InvalidDocumentFields,
        UserError::NoPrimaryKeyCandidateFound => Code::IndexPrimaryKeyNoCandidateFound,
        UserError::MultiplePrimaryKeyCandidatesFound { .. } => Code::IndexPrimaryKeyMultipleCandidatesFound,
        UserError::PrimaryKeyCannotBeChanged(_) => Code::IndexPrimaryKeyAlreadyExists,
        UserError::InvalidDistinctAttribute { .. } => Code::InvalidSearchDistinct,
        UserError::SortRankingRuleMissing | UserError::InvalidSortableAttribute { .. } | UserError::SortError(_) => {
            Code::InvalidSearchSort
        }
        UserError::InvalidFacetsDistribution { .. } => Code::InvalidSearchFacets,
        UserError::InvalidSearchableAttribute { .. } => Code::InvalidSearchAttributesToSearchOn,
        UserError::InvalidFacetSearchFacetName { .. } => Code::InvalidFacetSearchFacetName,
        UserError::CriterionError(_) => Code::InvalidSettingsRankingRules,
        UserError::InvalidGeoField(_) => Code::InvalidDocumentGeoField,
        UserError::InvalidVectorDimensions { .. } | UserError::InvalidIndexingVectorDimensions { .. } => {
            Code::InvalidVectorDimensions
        }
        UserError::InvalidVectorsMapType { .. } | UserError::InvalidVectorsEmbedderConf { .. } => {
            Code::InvalidVectorsType
        }
        UserError::TooManyVectors(..) => Code::TooManyVectors,
        UserError::InvalidMinTypoWordLenSetting(..) => Code::InvalidSettingsTypoTolerance,
        UserError::InvalidSearchEmbedder(_) => Code::InvalidSearchEmbedder,
        UserError::InvalidSimilarEmbedder(_) => Code::InvalidSimilarEmbedder,
        UserError::VectorEmbeddingError(_) | UserError::DocumentEmbeddingError(_) => Code::VectorEmbeddingError,
        UserError::DocumentEditionCannotModifyPrimaryKey
        | UserError::DocumentEditionDocumentMustBeObject
        | UserError::DocumentEditionRuntimeError(_)
        | UserError::DocumentEditionCompilationError(_) => Code::EditDocumentsByFunctionError,
        UserError::InvalidFieldForSource { .. }
        | UserError::MissingFieldForSource { .. }
        | UserError::InvalidOpenAiModel { .. }
        | UserError::InvalidOpenAiModelDimensions { .. }
        | UserError::InvalidOpenAiModelDimensionsMax { .. }
        | UserError::InvalidSettingsDimensions { .. }
        | UserError::InvalidUrl { .. }
        | UserError::InvalidSettingsDocumentTemplateMaxBytes { .. }
        | UserError::InvalidPrompt(_)
        | UserError::InvalidDisableBinaryQuantization { .. }
        | UserError::InvalidSourceForNested { .. }
        | UserError::MissingSourceForNested { .. }
        | UserError::InvalidSettingsEmbedder { .. }
        | UserError::TooManyEmbedders(_)
        | UserError::InvalidPromptForEmbeddings(..) => Code::InvalidSettingsEmbedders,
    }
}
