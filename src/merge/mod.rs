//! Many answers into one: search hits, facets, documents lists, facet searches.
//!
//! Everything here is a pure function from the bytes that nodes answered to the bytes that a client gets. No network, no
//! clock, no cluster state. Nodes' answers are never built into trees: [`json`] finds the ends of values, [`rank`] reads
//! the few fields that decide the order, [`splice`] copies what a client may see and leaves out what it may not.
//!
//! Measured on the 24,000 cities of `demo/` over three real 1.50 nodes with 64 shards, against one node with everything,
//! 2,300 generated queries (typos, cut words, filters, sorts, geo, facets, highlighting, distinct, both kinds of paging),
//! facets by `alpha`: totals, facets with their order, statistics and envelope equal in all; one page in another order (a
//! prefix of one letter, beyond the nodes' prefix limits). In 10 pages a hit was highlighted otherwise, because a node knows
//! other spellings of a cut or misspelt word than the whole does. With facets by `count`, values of equal count come in
//! another order in a tenth of the answers with facets: Meilisearch orders them by the shape of its facet tree.
//!
//! | file | question it answers |
//! |---|---|
//! | [`search`] | which hits make the page, and what stands around them |
//! | [`rank`] | which of two hits comes first |
//! | [`distinct`] | which values of the distinct attribute a hit has |
//! | [`exactness`] | which hits begin with the query only on their node |
//! | [`hidden`] | what fields that are not displayed say of a hit |
//! | [`distinct_total`] | how many different values of it there are |
//! | [`stages`] | where a hit ranks that one of several searches for one query found |
//! | [`pins`] | where hits stand that search rules pin |
//! | [`hybrid`] | how hits found by words and hits found by meaning become one list |
//! | [`splice`] | what of a hit the client may see |
//! | [`facets`] | counts and statistics over all legs |
//! | [`federated`] | the hits of several queries as one list |
//! | [`query_list`] | how the list of one query becomes a part of such a list |
//! | [`weighted`] | which of two hits of different queries comes first |
//! | [`multi_search`] | the answers of several searches in one |
//! | [`facet_search`] | the answer of `/facet-search` |
//! | [`only_leg`] | the answer of the only node that had to be asked |
//! | [`fields`] | the fields of an index |
//! | [`documents`] | lists of documents, and one document |
//! | [`sorted_documents`] | which of two documents of a sorted list comes first |
//! | [`request_uid`] | the number of a response |
//! | [`shape`] | whether a body is an answer at all |

pub mod distinct;
pub mod distinct_total;
pub mod documents;
pub mod exactness;
pub mod facet_search;
pub mod facets;
pub mod federated;
pub mod fields;
pub mod hidden;
pub mod hybrid;
pub mod json;
pub mod multi_search;
pub mod only_leg;
pub mod pins;
pub mod query_list;
pub mod rank;
pub mod request_uid;
pub mod search;
pub mod shape;
pub mod sorted_documents;
pub mod splice;
pub mod stages;
pub mod weighted;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use self::pins::Pins;
use crate::cluster::{PinOrder, Shard};

/// Meilisearch's default of `pagination.maxTotalHits`.
pub const MAX_TOTAL_HITS_DEFAULT: usize = 1_000;
/// Meilisearch's default of `faceting.maxValuesPerFacet`.
pub const MAX_VALUES_PER_FACET_DEFAULT: usize = 100;

/// One node's successful answer to its part of a request.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Shards that the node answered for. Ties between legs fall by the lowest of them.
    pub shards: Vec<Shard>,
    pub body: Bytes,
}

/// What a merge must know of an index's settings, as the client set them.
#[derive(Clone, Debug)]
pub struct IndexFacts {
    pub primary_key: Option<String>,
    /// The setting `distinctAttribute`; a request's own `distinct` goes before it.
    pub distinct_attribute: Option<String>,
    /// The setting `pagination.maxTotalHits`: nobody gets at hits beyond it. Totals count them all the same, and an `offset`
    /// beyond it is repeated as it was asked (measured on 1.50; the embedded node does so too).
    pub max_total_hits: usize,
    /// The client's `faceting.maxValuesPerFacet`. The nodes' own is held high, because a sum of truncated lists is wrong.
    pub max_values_per_facet: usize,
    pub facet_order: FacetOrders,
    /// The setting `displayedAttributes`; `None` when all are.
    pub displayed: Option<Vec<String>>,
    /// The setting `rankingRules`, read only where not all attributes are displayed.
    pub ranking_rules: Vec<String>,
    /// In which order documents are pinned by search rules; `None` when none can be.
    pub pins: Option<Arc<PinOrder>>,
    /// A facet that nodes count under `*` although the client has not made it one.
    pub hidden_facet: Option<&'static str>,
}

impl IndexFacts {
    /// The primary key, if hits show it and at their top level.
    pub fn shown_primary_key(&self) -> Option<&str> {
        let key = self.primary_key.as_deref().filter(|key| !key.contains('.'))?;
        let shows = |displayed: &Vec<String>| displayed.iter().any(|name| name == "*" || name == key);
        self.displayed.as_ref().is_none_or(shows).then_some(key)
    }

    /// The order of pins, if hits show by which of them they are pinned.
    pub fn pins(&self) -> Option<Pins<'_>> {
        Some(Pins { order: self.pins.as_deref()?, key: self.shown_primary_key()? })
    }

    /// Whether a facet, by its name as JSON has it between the quotes, is none of the client's.
    pub fn hides_facet(&self, raw_name: &[u8]) -> bool {
        crate::reserved::is_reserved(raw_name) || self.hidden_facet.is_some_and(|hidden| hidden.as_bytes() == raw_name)
    }

    /// How many hits more than the page needs legs are asked for: see [`pins`].
    pub fn pins_max(&self) -> usize {
        self.pins.as_ref().map_or(0, |order| order.pins_max())
    }
}

impl Default for IndexFacts {
    fn default() -> Self {
        Self {
            primary_key: None,
            distinct_attribute: None,
            max_total_hits: MAX_TOTAL_HITS_DEFAULT,
            max_values_per_facet: MAX_VALUES_PER_FACET_DEFAULT,
            facet_order: FacetOrders::default(),
            displayed: None,
            ranking_rules: Vec::new(),
            pins: None,
            hidden_facet: None,
        }
    }
}

/// The setting `faceting.sortFacetValuesBy`.
#[derive(Clone, Debug, Default)]
pub struct FacetOrders {
    /// Order of the entry `*`.
    pub default: FacetOrder,
    /// Orders of facets that have an entry of their own.
    pub by_facet: HashMap<String, FacetOrder>,
}

impl FacetOrders {
    pub fn of(&self, facet: &str) -> FacetOrder {
        self.by_facet.get(facet).copied().unwrap_or(self.default)
    }
}

/// Order of the values of one facet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FacetOrder {
    #[default]
    Alpha,
    Count,
}

/// Why answers could not be merged. Either is a node's or Miroir's fault, never the client's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    #[error("no node answered, so there is nothing to merge")]
    NoLegs,
    #[error("the answer of leg {leg} is not what Meilisearch answers: {what} at byte {at}")]
    Malformed { leg: usize, what: &'static str, at: usize },
}

impl MergeError {
    fn of_leg(leg: usize, error: json::JsonError) -> Self {
        Self::Malformed { leg, what: error.what, at: error.at }
    }

    fn missing(leg: usize, what: &'static str) -> Self {
        Self::Malformed { leg, what, at: 0 }
    }
}

/// Legs, with their places as given, in the order in which ties fall: by lowest shard, then as given.
fn in_tie_order(legs: &[Leg]) -> Vec<(usize, &Leg)> {
    let mut ordered: Vec<_> = legs.iter().enumerate().collect();
    ordered.sort_by_key(|(_, leg)| leg.shards.iter().min().copied());
    ordered
}
