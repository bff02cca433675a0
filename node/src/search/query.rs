//! What a search may ask for: as a JSON body, as one query of several, and as query parameters.
//!
//! Names, defaults and the order of the fields are Meilisearch's; the order shows in the message that refuses an unknown
//! field.

use deserr::Deserr;
use milli_core::TermsMatchingStrategy;
use serde_json::Value;

use super::locales::Locale;
use super::multi::FederationOptions;
use super::parse::codes::*;
use super::parse::{missing_field, BodyError, FromParameter, IndexUid, List, NotAllowed, Param, QueryError, Several};
use crate::error::{Code, ResponseError};

pub const DEFAULT_LIMIT: usize = 20;
const DEFAULT_CROP_LENGTH: usize = 10;
const DEFAULT_CROP_MARKER: &str = "…";
const DEFAULT_HIGHLIGHT_PRE_TAG: &str = "<em>";
const DEFAULT_HIGHLIGHT_POST_TAG: &str = "</em>";

/// A search by itself, and one of several in a request. They have the same fields but for those that mean something else
/// when results are merged.
macro_rules! searches {
    ($($(#[$meta:meta])* $field:ident: $type:ty,)*) => {
        /// The body of `POST /indexes/{uid}/search`.
        #[derive(Debug, Clone, Deserr)]
        #[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
        pub struct SearchQuery {
            #[deserr(default, error = BodyError<InvalidSearchQ>)]
            pub q: Option<String>,
            #[deserr(default, error = BodyError<InvalidSearchOffset>)]
            pub offset: usize,
            #[deserr(default = DEFAULT_LIMIT, error = BodyError<InvalidSearchLimit>)]
            pub limit: usize,
            $($(#[$meta])* pub $field: $type,)*
            #[deserr(default, error = BodyError<InvalidSearchShowPerformanceDetails>)]
            pub show_performance_details: bool,
        }

        /// One of the `queries` of `POST /multi-search`.
        #[derive(Debug, Clone, Deserr)]
        #[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
        pub struct SearchQueryWithIndex {
            #[deserr(error = BodyError<InvalidIndexUid>, missing_field_error = missing_field::<InvalidIndexUid, MissingIndexUid>)]
            pub index_uid: IndexUid,
            #[deserr(default, error = BodyError<InvalidSearchQ>)]
            pub q: Option<String>,
            #[deserr(default, error = BodyError<InvalidSearchOffset>)]
            pub offset: Option<usize>,
            #[deserr(default, error = BodyError<InvalidSearchLimit>)]
            pub limit: Option<usize>,
            $($(#[$meta])* pub $field: $type,)*
            #[deserr(default, error = BodyError<InvalidSearchShowPerformanceDetails>)]
            pub show_performance_details: Option<bool>,
            #[deserr(default)]
            pub federation_options: Option<FederationOptions>,
        }

        impl From<SearchQueryWithIndex> for SearchQuery {
            fn from(query: SearchQueryWithIndex) -> Self {
                Self {
                    q: query.q,
                    offset: query.offset.unwrap_or_default(),
                    limit: query.limit.unwrap_or(DEFAULT_LIMIT),
                    $($field: query.$field,)*
                    show_performance_details: query.show_performance_details.unwrap_or_default(),
                }
            }
        }
    };
}

searches! {
    #[deserr(default, error = BodyError<InvalidSearchPage>)]
    page: Option<usize>,
    #[deserr(default, error = BodyError<InvalidSearchHitsPerPage>)]
    hits_per_page: Option<usize>,
    #[deserr(default, error = BodyError<InvalidSearchAttributesToRetrieve>)]
    attributes_to_retrieve: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidSearchAttributesToCrop>)]
    attributes_to_crop: Option<Vec<String>>,
    #[deserr(default = DEFAULT_CROP_LENGTH, error = BodyError<InvalidSearchCropLength>)]
    crop_length: usize,
    #[deserr(default = DEFAULT_CROP_MARKER.to_owned(), error = BodyError<InvalidSearchCropMarker>)]
    crop_marker: String,
    #[deserr(default, error = BodyError<InvalidSearchAttributesToHighlight>)]
    attributes_to_highlight: Option<Vec<String>>,
    #[deserr(default = DEFAULT_HIGHLIGHT_PRE_TAG.to_owned(), error = BodyError<InvalidSearchHighlightPreTag>)]
    highlight_pre_tag: String,
    #[deserr(default = DEFAULT_HIGHLIGHT_POST_TAG.to_owned(), error = BodyError<InvalidSearchHighlightPostTag>)]
    highlight_post_tag: String,
    #[deserr(default, error = BodyError<InvalidSearchShowMatchesPosition>)]
    show_matches_position: bool,
    #[deserr(default, error = BodyError<InvalidSearchFilter>)]
    filter: Option<Value>,
    #[deserr(default, error = BodyError<InvalidSearchSort>)]
    sort: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidSearchDistinct>)]
    distinct: Option<String>,
    #[deserr(default, error = BodyError<InvalidSearchFacets>)]
    facets: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidSearchMatchingStrategy>)]
    matching_strategy: MatchingStrategy,
    #[deserr(default, error = BodyError<InvalidSearchAttributesToSearchOn>)]
    attributes_to_search_on: Option<Vec<String>>,
    #[deserr(default, error = BodyError<InvalidSearchRankingScoreThreshold>)]
    ranking_score_threshold: Option<RankingScoreThreshold>,
    #[deserr(default, error = BodyError<InvalidSearchLocales>)]
    locales: Option<Vec<Locale>>,
    #[deserr(default, error = BodyError<InvalidSearchHybridQuery>)]
    hybrid: Option<HybridQuery>,
    #[deserr(default, error = BodyError<InvalidSearchVector>)]
    vector: Option<Vec<f32>>,
    #[deserr(default, error = BodyError<InvalidSearchRetrieveVectors>)]
    retrieve_vectors: bool,
    #[deserr(default, error = BodyError<InvalidSearchMedia>)]
    media: Option<Value>,
    #[deserr(default, error = BodyError<InvalidSearchPersonalize>)]
    personalize: Option<Personalize>,
    #[deserr(default, error = BodyError<InvalidSearchUseNetwork>)]
    use_network: Option<bool>,
    #[deserr(default, error = BodyError<InvalidSearchShowRankingScore>)]
    show_ranking_score: bool,
    #[deserr(default, error = BodyError<InvalidSearchShowRankingScoreDetails>)]
    show_ranking_score_details: bool,
}

impl Default for SearchQuery {
    /// What `{}` asks for.
    fn default() -> Self {
        Self {
            q: None,
            offset: 0,
            limit: DEFAULT_LIMIT,
            page: None,
            hits_per_page: None,
            attributes_to_retrieve: None,
            attributes_to_crop: None,
            crop_length: DEFAULT_CROP_LENGTH,
            crop_marker: DEFAULT_CROP_MARKER.to_owned(),
            attributes_to_highlight: None,
            highlight_pre_tag: DEFAULT_HIGHLIGHT_PRE_TAG.to_owned(),
            highlight_post_tag: DEFAULT_HIGHLIGHT_POST_TAG.to_owned(),
            show_matches_position: false,
            filter: None,
            sort: None,
            distinct: None,
            facets: None,
            matching_strategy: MatchingStrategy::Last,
            attributes_to_search_on: None,
            ranking_score_threshold: None,
            locales: None,
            hybrid: None,
            vector: None,
            retrieve_vectors: false,
            media: None,
            personalize: None,
            use_network: None,
            show_ranking_score: false,
            show_ranking_score_details: false,
            show_performance_details: false,
        }
    }
}

impl SearchQuery {
    /// Whether pages are numbered and totals exact, instead of `offset`, `limit` and an estimate.
    pub fn is_paged(&self) -> bool {
        self.page.is_some() || self.hits_per_page.is_some()
    }

    /// Offset and limit before the index's `maxTotalHits` is applied.
    pub fn window(&self) -> (usize, usize) {
        if !self.is_paged() {
            return (self.offset, self.limit);
        }
        let limit = self.hits_per_page.unwrap_or(DEFAULT_LIMIT);
        match self.page.unwrap_or(1).checked_sub(1) {
            Some(pages_before) => (limit.saturating_mul(pages_before), limit),
            None => (0, 0), // There is no page 0, so it is empty.
        }
    }

    /// Whether the query has words, as opposed to asking for everything.
    pub fn has_words(&self) -> bool {
        self.q.as_deref().is_some_and(|q| !q.trim().is_empty())
    }
}

/// Which words a document may lack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserr)]
#[deserr(rename_all = camelCase)]
pub enum MatchingStrategy {
    #[default]
    Last,
    All,
    Frequency,
}

impl From<MatchingStrategy> for TermsMatchingStrategy {
    fn from(strategy: MatchingStrategy) -> Self {
        match strategy {
            MatchingStrategy::Last => Self::Last,
            MatchingStrategy::All => Self::All,
            MatchingStrategy::Frequency => Self::Frequency,
        }
    }
}

/// The lowest score that a hit may have.
#[derive(Debug, Clone, Copy, PartialEq, Deserr)]
#[deserr(try_from(f64) = RankingScoreThreshold::new -> NotAllowed)]
pub struct RankingScoreThreshold(pub f64);

impl RankingScoreThreshold {
    fn new(score: f64) -> Result<Self, NotAllowed> {
        unit_interval("rankingScoreThreshold", score).map(Self)
    }
}

impl FromParameter for RankingScoreThreshold {
    fn from_parameter(text: &str) -> Result<Self, String> {
        // What is not a number is refused with the same words as a number out of range.
        Self::new(text.parse().unwrap_or(f64::INFINITY)).map_err(|error| error.0)
    }
}

/// How much of a hybrid search is semantic.
#[derive(Debug, Clone, Copy, PartialEq, Deserr)]
#[deserr(try_from(f64) = SemanticRatio::new -> NotAllowed)]
pub struct SemanticRatio(pub f64);

impl SemanticRatio {
    fn new(ratio: f64) -> Result<Self, NotAllowed> {
        unit_interval("semanticRatio", ratio).map(Self)
    }
}

impl Default for SemanticRatio {
    fn default() -> Self {
        Self(0.5)
    }
}

impl FromParameter for SemanticRatio {
    fn from_parameter(text: &str) -> Result<Self, String> {
        Self::new(text.parse().unwrap_or(f64::INFINITY)).map_err(|error| error.0)
    }
}

fn unit_interval(name: &str, number: f64) -> Result<f64, NotAllowed> {
    if (0.0..=1.0).contains(&number) {
        return Ok(number);
    }
    Err(NotAllowed(format!("the value of `{name}` is invalid, expected a float between `0.0` and `1.0`.")))
}

/// A search by meaning beside the one by words.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = BodyError<InvalidSearchHybridQuery>, rename_all = camelCase, deny_unknown_fields)]
pub struct HybridQuery {
    #[deserr(default, error = BodyError<InvalidSearchSemanticRatio>)]
    pub semantic_ratio: SemanticRatio,
    #[deserr(error = BodyError<InvalidSearchEmbedder>)]
    pub embedder: String,
}

/// Whom the results are for. Accepted, so that it can be refused in Meilisearch's words.
#[derive(Debug, Clone, Deserr)]
#[deserr(error = BodyError<InvalidSearchPersonalize>, rename_all = camelCase, deny_unknown_fields)]
pub struct Personalize {
    #[expect(dead_code, reason = "a request without it is refused before one with it")]
    #[deserr(error = BodyError<InvalidSearchPersonalizeUserContext>)]
    pub user_context: String,
}

/// The query parameters of `GET /indexes/{uid}/search`.
#[derive(Debug, Deserr)]
#[deserr(error = QueryError, rename_all = camelCase, deny_unknown_fields)]
pub struct SearchParameters {
    #[deserr(default, error = QueryError<InvalidSearchQ>)]
    q: Option<String>,
    #[deserr(default, error = QueryError<InvalidSearchOffset>)]
    offset: Param<usize>,
    #[deserr(default = Param(DEFAULT_LIMIT), error = QueryError<InvalidSearchLimit>)]
    limit: Param<usize>,
    #[deserr(default, error = QueryError<InvalidSearchPage>)]
    page: Option<Param<usize>>,
    #[deserr(default, error = QueryError<InvalidSearchHitsPerPage>)]
    hits_per_page: Option<Param<usize>>,
    #[deserr(default, error = QueryError<InvalidSearchAttributesToRetrieve>)]
    attributes_to_retrieve: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidSearchAttributesToCrop>)]
    attributes_to_crop: Option<List<String>>,
    #[deserr(default = Param(DEFAULT_CROP_LENGTH), error = QueryError<InvalidSearchCropLength>)]
    crop_length: Param<usize>,
    #[deserr(default = DEFAULT_CROP_MARKER.to_owned(), error = QueryError<InvalidSearchCropMarker>)]
    crop_marker: String,
    #[deserr(default, error = QueryError<InvalidSearchAttributesToHighlight>)]
    attributes_to_highlight: Option<List<String>>,
    #[deserr(default = DEFAULT_HIGHLIGHT_PRE_TAG.to_owned(), error = QueryError<InvalidSearchHighlightPreTag>)]
    highlight_pre_tag: String,
    #[deserr(default = DEFAULT_HIGHLIGHT_POST_TAG.to_owned(), error = QueryError<InvalidSearchHighlightPostTag>)]
    highlight_post_tag: String,
    #[deserr(default, error = QueryError<InvalidSearchShowMatchesPosition>)]
    show_matches_position: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSearchFilter>)]
    filter: Option<String>,
    #[deserr(default, error = QueryError<InvalidSearchSort>)]
    sort: Option<String>,
    #[deserr(default, error = QueryError<InvalidSearchDistinct>)]
    distinct: Option<String>,
    #[deserr(default, error = QueryError<InvalidSearchFacets>)]
    facets: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidSearchMatchingStrategy>)]
    matching_strategy: MatchingStrategy,
    #[deserr(default, error = QueryError<InvalidSearchAttributesToSearchOn>)]
    attributes_to_search_on: Option<List<String>>,
    #[deserr(default, error = QueryError<InvalidSearchRankingScoreThreshold>)]
    ranking_score_threshold: Option<Param<RankingScoreThreshold>>,
    #[deserr(default, error = QueryError<InvalidSearchLocales>)]
    locales: Option<Param<Several<Locale>>>,
    #[deserr(default, error = QueryError<InvalidSearchEmbedder>)]
    hybrid_embedder: Option<String>,
    #[deserr(default, error = QueryError<InvalidSearchSemanticRatio>)]
    hybrid_semantic_ratio: Option<Param<SemanticRatio>>,
    #[deserr(default, error = QueryError<InvalidSearchVector>)]
    vector: Option<Param<Several<f32>>>,
    #[deserr(default, error = QueryError<InvalidSearchRetrieveVectors>)]
    retrieve_vectors: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSearchPersonalizeUserContext>)]
    personalize_user_context: Option<String>,
    #[deserr(default, error = QueryError<InvalidSearchUseNetwork>)]
    use_network: Option<Param<bool>>,
    #[deserr(default, error = QueryError<InvalidSearchShowRankingScore>)]
    show_ranking_score: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSearchShowRankingScoreDetails>)]
    show_ranking_score_details: Param<bool>,
    #[deserr(default, error = QueryError<InvalidSearchShowPerformanceDetails>)]
    show_performance_details: Param<bool>,
}

impl TryFrom<SearchParameters> for SearchQuery {
    type Error = ResponseError;

    fn try_from(parameters: SearchParameters) -> Result<Self, ResponseError> {
        let hybrid = match (parameters.hybrid_embedder, parameters.hybrid_semantic_ratio) {
            (Some(embedder), ratio) => {
                let semantic_ratio = ratio.map(|ratio| ratio.0).unwrap_or_default();
                Some(HybridQuery { semantic_ratio, embedder })
            }
            (None, None) => None,
            (None, Some(_)) => {
                return Err(ResponseError::new(
                    Code::InvalidSearchHybridQuery,
                    "`hybridEmbedder` is mandatory when `hybridSemanticRatio` is present",
                ))
            }
        };
        if parameters.vector.is_some() && hybrid.is_none() {
            return Err(ResponseError::new(
                Code::MissingSearchHybrid,
                "`hybridEmbedder` is mandatory when `vector` is present",
            ));
        }
        Ok(Self {
            q: parameters.q,
            offset: parameters.offset.0,
            limit: parameters.limit.0,
            page: parameters.page.map(|page| page.0),
            hits_per_page: parameters.hits_per_page.map(|hits| hits.0),
            attributes_to_retrieve: parameters.attributes_to_retrieve.map(|list| list.0),
            attributes_to_crop: parameters.attributes_to_crop.map(|list| list.0),
            crop_length: parameters.crop_length.0,
            crop_marker: parameters.crop_marker,
            attributes_to_highlight: parameters.attributes_to_highlight.map(|list| list.0),
            highlight_pre_tag: parameters.highlight_pre_tag,
            highlight_post_tag: parameters.highlight_post_tag,
            show_matches_position: parameters.show_matches_position.0,
            filter: parameters.filter.map(filter_parameter),
            sort: parameters.sort.as_deref().map(sort_parameter),
            distinct: parameters.distinct,
            facets: parameters.facets.map(|list| list.0),
            matching_strategy: parameters.matching_strategy,
            attributes_to_search_on: parameters.attributes_to_search_on.map(|list| list.0),
            ranking_score_threshold: parameters.ranking_score_threshold.map(|score| score.0),
            locales: parameters.locales.map(|list| list.0 .0),
            hybrid,
            vector: parameters.vector.map(|list| list.0 .0),
            retrieve_vectors: parameters.retrieve_vectors.0,
            media: None,
            personalize: parameters.personalize_user_context.map(|user_context| Personalize { user_context }),
            use_network: parameters.use_network.map(|flag| flag.0),
            show_ranking_score: parameters.show_ranking_score.0,
            show_ranking_score_details: parameters.show_ranking_score_details.0,
            show_performance_details: parameters.show_performance_details.0,
        })
    }
}

/// A filter in a query parameter is JSON if it can be, and an expression otherwise.
pub fn filter_parameter(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Splits `a:asc,_geoPoint(1,2):desc` at the commas that are not inside `_geoPoint(...)`.
pub fn sort_parameter(text: &str) -> Vec<String> {
    let mut criteria: Vec<String> = Vec::new();
    let mut inside_point = false;
    for part in text.trim_matches('"').split(',').map(str::trim) {
        match criteria.last_mut().filter(|_| inside_point) {
            Some(point) => {
                point.push(',');
                point.push_str(part);
                inside_point = !(part.ends_with("):asc") || part.ends_with("):desc"));
            }
            None => {
                inside_point = part.starts_with("_geoPoint(");
                criteria.push(part.to_owned());
            }
        }
    }
    criteria
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_inside_a_point_do_not_split_a_sort_parameter() {
        assert_eq!(
            sort_parameter("name:asc, _geoPoint(1.5, 2):desc,age:desc"),
            ["name:asc", "_geoPoint(1.5,2):desc", "age:desc"]
        );
    }

    #[test]
    fn page_zero_is_empty_and_pages_win_over_offsets() {
        let query = |page, hits_per_page| SearchQuery { page, hits_per_page, offset: 7, ..SearchQuery::default() };
        assert_eq!(query(Some(0), Some(5)).window(), (0, 0));
        assert_eq!(query(Some(3), Some(5)).window(), (10, 5));
        assert_eq!(query(None, Some(5)).window(), (0, 5));
        assert_eq!(query(None, None).window(), (7, 20));
    }
}
