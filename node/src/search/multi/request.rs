//! What a multi-search may ask for.

use std::collections::BTreeMap;

use deserr::Deserr;

use crate::search::parse::codes::*;
use crate::search::parse::{BodyError, IndexUid, NotAllowed};
use crate::search::query::{Personalize, SearchQueryWithIndex, DEFAULT_LIMIT};

/// The body of `POST /multi-search`.
#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
pub struct MultiSearch {
    pub queries: Vec<SearchQueryWithIndex>,
    /// If it is there, the results of all queries are merged into one list.
    #[deserr(default)]
    pub federation: Option<Federation>,
}

/// How the results of several queries are merged.
#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
pub struct Federation {
    #[deserr(default = DEFAULT_LIMIT, error = BodyError<InvalidSearchLimit>)]
    pub limit: usize,
    #[deserr(default, error = BodyError<InvalidSearchOffset>)]
    pub offset: usize,
    #[deserr(default, error = BodyError<InvalidSearchPage>)]
    pub page: Option<usize>,
    #[deserr(default, error = BodyError<InvalidSearchHitsPerPage>)]
    pub hits_per_page: Option<usize>,
    #[deserr(default, error = BodyError<InvalidMultiSearchFacetsByIndex>)]
    pub facets_by_index: BTreeMap<IndexUid, Option<Vec<String>>>,
    #[deserr(default, error = BodyError<InvalidMultiSearchMergeFacets>)]
    pub merge_facets: Option<MergeFacets>,
    #[deserr(default, error = BodyError<InvalidSearchDistinct>)]
    pub distinct: Option<String>,
    #[deserr(default, error = BodyError<InvalidSearchShowPerformanceDetails>)]
    pub show_performance_details: bool,
    #[deserr(default, error = BodyError<InvalidSearchPersonalize>)]
    pub personalize: Option<Personalize>,
}

#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(error = BodyError<InvalidMultiSearchMergeFacets>, rename_all = camelCase, deny_unknown_fields)]
pub struct MergeFacets {
    #[deserr(default, error = BodyError<InvalidMultiSearchMaxValuesPerFacet>)]
    pub max_values_per_facet: Option<usize>,
}

/// What a query is to the merged list.
#[derive(Debug, Clone, Default, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
pub struct FederationOptions {
    #[deserr(default, error = BodyError<InvalidMultiSearchWeight>)]
    pub weight: Weight,
    #[deserr(default, error = BodyError<InvalidMultiSearchRemote>)]
    pub remote: Option<String>,
    #[deserr(default, error = BodyError<InvalidMultiSearchQueryPosition>)]
    pub query_position: Option<usize>,
}

/// What the scores of a query's hits are multiplied with.
#[derive(Debug, Clone, Copy, Deserr)]
#[deserr(try_from(f64) = Weight::new -> NotAllowed)]
pub struct Weight(pub f64);

impl Weight {
    fn new(weight: f64) -> Result<Self, NotAllowed> {
        match weight < 0.0 {
            true => Err(NotAllowed("the value of `weight` is invalid, expected a positive float (>= 0.0).".to_owned())),
            false => Ok(Self(weight)),
        }
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1.0)
    }
}

impl Federation {
    /// Whether pages are numbered and totals exact.
    pub fn is_paged(&self) -> bool {
        self.page.is_some() || self.hits_per_page.is_some()
    }

    /// Offset and limit in the merged list.
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
}
