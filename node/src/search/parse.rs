//! From a body or a query string to a typed request, refusing what Meilisearch refuses and in its words.
//!
//! The words come from `deserr`, which Meilisearch uses too; this file adds the error code that each field has when its
//! value is wrong, and the parsing of query parameters, which are always strings.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::str::FromStr;

use axum::http::{header, HeaderMap};
use bytes::Bytes;
use deserr::errors::{JsonError, QueryParamError};
use deserr::{
    take_cf_content, DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, ValueKind, ValuePointerRef,
};
use serde_json::Value;

use crate::error::{Code, ResponseError};
use crate::indexes::{check_uid, uid_refusal};

/// The error code of a field whose value is wrong.
pub trait FieldCode {
    const CODE: Code;
}

macro_rules! field_codes {
    ($($name:ident)*) => {
        /// One type per error code, to name in `#[deserr(error = ...)]`.
        pub mod codes {
            $(
                pub struct $name;
                impl super::FieldCode for $name {
                    const CODE: super::Code = super::Code::$name;
                }
            )*
        }
    };
}

field_codes! {
    BadRequest
    InvalidIndexUid
    InvalidDocumentFields
    InvalidDocumentFilter
    InvalidDocumentIds
    InvalidDocumentLimit
    InvalidDocumentOffset
    InvalidDocumentRetrieveVectors
    InvalidDocumentSort
    InvalidDocumentUseNetwork
    InvalidFacetSearchExhaustiveFacetCount
    InvalidFacetSearchFacetName
    InvalidFacetSearchQuery
    InvalidMultiSearchFacetsByIndex
    InvalidMultiSearchMaxValuesPerFacet
    InvalidMultiSearchMergeFacets
    InvalidMultiSearchQueryPosition
    InvalidMultiSearchRemote
    InvalidMultiSearchWeight
    InvalidSearchAttributesToCrop
    InvalidSearchAttributesToHighlight
    InvalidSearchAttributesToRetrieve
    InvalidSearchAttributesToSearchOn
    InvalidSearchCropLength
    InvalidSearchCropMarker
    InvalidSearchDistinct
    InvalidSearchEmbedder
    InvalidSearchFacets
    InvalidSearchFilter
    InvalidSearchHighlightPostTag
    InvalidSearchHighlightPreTag
    InvalidSearchHitsPerPage
    InvalidSearchHybridQuery
    InvalidSearchLimit
    InvalidSearchLocales
    InvalidSearchMatchingStrategy
    InvalidSearchMedia
    InvalidSearchOffset
    InvalidSearchPage
    InvalidSearchPersonalize
    InvalidSearchPersonalizeUserContext
    InvalidSearchQ
    InvalidSearchRankingScoreThreshold
    InvalidSearchRetrieveVectors
    InvalidSearchSemanticRatio
    InvalidSearchShowMatchesPosition
    InvalidSearchShowPerformanceDetails
    InvalidSearchShowRankingScore
    InvalidSearchShowRankingScoreDetails
    InvalidSearchSort
    InvalidSearchUseNetwork
    InvalidSearchVector
    InvalidSimilarAttributesToRetrieve
    InvalidSimilarEmbedder
    InvalidSimilarFilter
    InvalidSimilarId
    InvalidSimilarLimit
    InvalidSimilarOffset
    InvalidSimilarRankingScoreThreshold
    InvalidSimilarRetrieveVectors
    InvalidSimilarShowPerformanceDetails
    InvalidSimilarShowRankingScore
    InvalidSimilarShowRankingScoreDetails
    MissingFacetSearchFacetName
    MissingIndexUid
}

/// Marks requests whose errors speak of JSON values (`` at `.limit` ``).
pub struct InBody;
/// Marks requests whose errors speak of query parameters (`` for parameter `limit` ``).
pub struct InQuery;

/// Why a request could not be read. `C` is the code of errors that arise while it is the error type of a field.
pub struct Unreadable<Place, C> {
    code: Code,
    message: String,
    marker: PhantomData<(Place, C)>,
}

/// Why a JSON body could not be read.
pub type BodyError<C = codes::BadRequest> = Unreadable<InBody, C>;
/// Why a query string could not be read.
pub type QueryError<C = codes::BadRequest> = Unreadable<InQuery, C>;

impl<Place, C> Unreadable<Place, C> {
    pub fn new(code: Code, message: String) -> Self {
        Self { code, message, marker: PhantomData }
    }
}

impl<Place, C> From<Unreadable<Place, C>> for ResponseError {
    fn from(error: Unreadable<Place, C>) -> Self {
        Self::new(error.code, error.message)
    }
}

/// The first error ends the reading, and keeps the code of the field that it arose in.
impl<Place, C, Inner> MergeWithError<Unreadable<Place, Inner>> for Unreadable<Place, C> {
    fn merge(
        _so_far: Option<Self>,
        inner: Unreadable<Place, Inner>,
        _location: ValuePointerRef,
    ) -> ControlFlow<Self, Self> {
        ControlFlow::Break(Self::new(inner.code, inner.message))
    }
}

impl<C: FieldCode> DeserializeError for BodyError<C> {
    fn error<V: IntoValue>(
        _so_far: Option<Self>,
        error: ErrorKind<V>,
        location: ValuePointerRef,
    ) -> ControlFlow<Self, Self> {
        let message = take_cf_content(JsonError::error(None, error, location)).to_string();
        ControlFlow::Break(Self::new(C::CODE, message))
    }
}

impl<C: FieldCode> DeserializeError for QueryError<C> {
    fn error<V: IntoValue>(
        _so_far: Option<Self>,
        error: ErrorKind<V>,
        location: ValuePointerRef,
    ) -> ControlFlow<Self, Self> {
        let message = take_cf_content(QueryParamError::error(None, error, location)).to_string();
        ControlFlow::Break(Self::new(C::CODE, message))
    }
}

/// A value of the right type that is not allowed; the text says why.
pub struct NotAllowed(pub String);

impl<Place, C> MergeWithError<NotAllowed> for Unreadable<Place, C>
where
    Self: DeserializeError,
{
    fn merge(so_far: Option<Self>, error: NotAllowed, location: ValuePointerRef) -> ControlFlow<Self, Self> {
        Self::error::<Infallible>(so_far, ErrorKind::Unexpected { msg: error.0 }, location)
    }
}

/// The name of an index in a body.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserr)]
#[deserr(try_from(String) = checked_uid -> NotAllowed)]
pub struct IndexUid(pub String);

fn checked_uid(uid: String) -> Result<IndexUid, NotAllowed> {
    match check_uid(&uid) {
        Ok(()) => Ok(IndexUid(uid)),
        Err(_) => Err(NotAllowed(uid_refusal(&uid))),
    }
}

impl FromStr for IndexUid {
    type Err = NotAllowed;

    fn from_str(uid: &str) -> Result<Self, NotAllowed> {
        checked_uid(uid.to_owned())
    }
}

/// A field that is missing and has an error code of its own for that, `M`.
pub fn missing_field<C: FieldCode, M: FieldCode>(field: &str, location: ValuePointerRef) -> BodyError<C> {
    let error = take_cf_content(BodyError::<C>::error::<Infallible>(None, ErrorKind::MissingField { field }, location));
    Unreadable::new(M::CODE, error.message)
}

/// A type that can be written as a query parameter. The error is the end of the sentence `Invalid value in parameter ...`.
pub trait FromParameter: Sized {
    fn from_parameter(text: &str) -> Result<Self, String>;
}

impl FromParameter for usize {
    fn from_parameter(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("could not parse `{text}` as a positive integer"))
    }
}

impl FromParameter for bool {
    fn from_parameter(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("could not parse `{text}` as a boolean, expected either `true` or `false`"))
    }
}

impl FromParameter for f32 {
    fn from_parameter(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: std::num::ParseFloatError| error.to_string())
    }
}

impl FromParameter for String {
    fn from_parameter(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

/// One value in a query parameter.
#[derive(Debug, Default, Clone, Copy)]
pub struct Param<T>(pub T);

impl<T: FromParameter, E: DeserializeError> Deserr<E> for Param<T> {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef) -> Result<Self, E> {
        let text = parameter_text(value, location)?;
        T::from_parameter(&text)
            .map(Self)
            .map_err(|msg| take_cf_content(E::error::<Infallible>(None, ErrorKind::Unexpected { msg }, location)))
    }
}

/// Values separated by commas in a query parameter. Empty ones are skipped.
#[derive(Debug, Default, Clone)]
pub struct List<T>(pub Vec<T>);

impl<T: FromParameter, E: DeserializeError> Deserr<E> for List<T> {
    fn deserialize_from_value<V: IntoValue>(value: deserr::Value<V>, location: ValuePointerRef) -> Result<Self, E> {
        let text = parameter_text(value, location)?;
        let parts: Vec<&str> = non_empty_parts(&text).collect();
        let values = parts.iter().enumerate().map(|(position, part)| {
            T::from_parameter(part).map_err(|msg| {
                let location = if parts.len() > 1 { location.push_index(position) } else { location };
                take_cf_content(E::error::<Infallible>(None, ErrorKind::Unexpected { msg }, location))
            })
        });
        values.collect::<Result<_, _>>().map(Self)
    }
}

/// Values separated by commas, of which a refusal does not say which it was about.
#[derive(Debug, Clone)]
pub struct Several<T>(pub Vec<T>);

impl<T: FromParameter> FromParameter for Several<T> {
    fn from_parameter(text: &str) -> Result<Self, String> {
        non_empty_parts(text).map(T::from_parameter).collect::<Result<_, _>>().map(Self)
    }
}

fn non_empty_parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

fn parameter_text<V: IntoValue, E: DeserializeError>(
    value: deserr::Value<V>,
    location: ValuePointerRef,
) -> Result<String, E> {
    match value {
        deserr::Value::String(text) => Ok(text),
        actual => Err(take_cf_content(E::error(
            None,
            ErrorKind::IncorrectValueKind { actual, accepted: &[ValueKind::String] },
            location,
        ))),
    }
}

/// Reads a JSON body. It must say that it is JSON.
pub fn read_body<T: Deserr<BodyError>>(headers: &HeaderMap, body: &Bytes) -> Result<T, ResponseError> {
    if !is_json(headers) {
        return Err(content_type_refused(headers));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| {
        if body.is_empty() {
            ResponseError::new(Code::MissingPayload, "A json payload is missing.")
        } else {
            let message = format!("The json payload provided is malformed. `{error}`.");
            ResponseError::new(Code::MalformedPayload, message)
        }
    })?;
    deserr::deserialize::<T, _, BodyError>(value).map_err(ResponseError::from)
}

/// Reads the part of a URL behind the `?`. Of a parameter given twice, the last counts.
pub fn read_query<T: Deserr<QueryError>>(parameters: Vec<(String, String)>) -> Result<T, ResponseError> {
    let object = parameters.into_iter().map(|(name, text)| (name, Value::String(text)));
    deserr::deserialize::<T, _, QueryError>(Value::Object(object.collect())).map_err(ResponseError::from)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
}

fn content_type_refused(headers: &HeaderMap) -> ResponseError {
    const ACCEPTED: &str = "Accepted values for the Content-Type header are: `application/json`";
    match headers.get(header::CONTENT_TYPE) {
        None => ResponseError::new(Code::MissingContentType, format!("A Content-Type header is missing. {ACCEPTED}")),
        Some(value) => ResponseError::new(
            Code::InvalidContentType,
            format!("The Content-Type `{}` is invalid. {ACCEPTED}", String::from_utf8_lossy(value.as_bytes())),
        ),
    }
}
