//! A search as a client asked for it, what each node is asked instead, and the way back.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client_filter::ClientFilter;
use super::members::{raw, Members};
use super::query_words::Split;
use super::search_query_string;
use crate::cluster::{Index, Shard};
use crate::merge::exactness::{self, Denied};
use crate::merge::hidden::{HiddenFields, HiddenValues};
use crate::merge::hybrid::{self, Fusion, Weights};
use crate::merge::only_leg::only_answer;
use crate::merge::search::{
    keys_of_undecided, keys_of_undecided_stages, merge_searches, merge_stages, shows_too_few, threshold_total, Paging,
    SearchMerge, ThresholdTotal,
};
use crate::merge::splice::{AddedAttribute, Visibility};
use crate::merge::stages::StageWords;
use crate::merge::{IndexFacts, Leg, MergeError};
use crate::reserved::{is_private_use, SHARD_FIELD};

/// Meilisearch's default of `limit` and `hitsPerPage`.
pub(super) const LIMIT_DEFAULT: usize = 20;
/// Meilisearch's default of `hybrid.semanticRatio`.
const SEMANTIC_RATIO_DEFAULT: f64 = 0.5;
/// A `semanticRatio` with which hits by words come after all that have a vector with the least likeness, and a node still
/// marks the query's words in all hits.
const ALMOST_ONLY_MEANING: f64 = 0.999_99;

/// What became of a client's request.
#[derive(Debug)]
pub enum ParsedSearch {
    Search(Box<SearchRequest>),
    /// Miroir cannot read some value that it needs, so Meilisearch will not accept it either. The request goes to one node
    /// unchanged, so that the error is Meilisearch's own.
    PassThrough,
}

/// How much of a search is by meaning, that is by vector.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Meaning {
    /// All of it.
    Alone,
    /// This much of it, from 0 to 1; the rest is by words.
    BesideWords(f64),
}

/// A search as the client asked for it, whether by POST or by GET.
#[derive(Clone, Debug)]
pub struct SearchRequest {
    members: Members,
    /// `q` as the client sent it.
    query: String,
    filter: ClientFilter,
    paging: Paging,
    attributes_to_retrieve: Option<Vec<String>>,
    /// Attributes to highlight or crop, crop lengths removed.
    formatted: Vec<String>,
    facets: Vec<String>,
    distinct: Option<String>,
    show_ranking_score: bool,
    show_ranking_score_details: bool,
    /// The primary key, when hits of several searches must be told apart by it.
    key: Option<String>,
    /// Weight of vector hits, when the search is one by words and by vector and each node weighs its own.
    semantic_ratio: Option<f64>,
    meaning: Option<Meaning>,
    embedder: Option<String>,
    /// How many times more hits legs are asked for than the page needs.
    over_fetch: usize,
    /// Whether legs show scores, because the merge weighs them.
    shows_scores_to_merge: bool,
}

impl SearchRequest {
    /// Reads the body of a `POST`.
    pub fn from_json(body: &[u8]) -> ParsedSearch {
        match serde_json::from_slice(body).ok().and_then(Self::from_members) {
            Some(request) => ParsedSearch::Search(Box::new(request)),
            None => ParsedSearch::PassThrough,
        }
    }

    /// Reads the query string of a `GET`, whose forms (lists with commas, numbers, booleans) become those of a body.
    pub fn from_query(query_string: &str) -> ParsedSearch {
        match search_query_string::to_members(query_string).and_then(|members| Self::from_members(Members(members))) {
            Some(request) => ParsedSearch::Search(Box::new(request)),
            None => ParsedSearch::PassThrough,
        }
    }

    /// Reads the members of a search, in the forms of a body; `None` when Meilisearch will not accept them either.
    pub(super) fn from_members(mut members: Members) -> Option<Self> {
        members.replace_reserved_attributes()?;
        // Filters of other types fail; restricted ones would fail in other words.
        if members.get("filter").is_some_and(|filter| !matches!(filter.as_bytes()[0], b'"' | b'[' | b'n')) {
            return None;
        }
        let query = members.read::<Option<String>>("q")?.unwrap_or_default();
        let page = members.read::<Option<usize>>("page")?;
        let hits_per_page = members.read::<Option<usize>>("hitsPerPage")?;
        let offset = members.read_or("offset", 0)?;
        let limit = members.read_or("limit", LIMIT_DEFAULT)?;
        let paging = match (page, hits_per_page) {
            (None, None) => Paging::Window { offset, limit },
            (page, hits) => Paging::Page { page: page.unwrap_or(1), hits_per_page: hits.unwrap_or(LIMIT_DEFAULT) },
        };
        let mut formatted = members.read::<Option<Vec<String>>>("attributesToHighlight")?.unwrap_or_default();
        let cropped = members.read::<Option<Vec<String>>>("attributesToCrop")?.unwrap_or_default();
        formatted.extend(cropped.iter().map(|crop| match crop.rsplit_once(':') {
            Some((attribute, _length)) => attribute.to_owned(),
            None => crop.clone(),
        }));
        let hybrid = members.read::<Option<Hybrid>>("hybrid")?;
        let ratio = hybrid.as_ref().map_or(0.0, |hybrid| hybrid.semantic_ratio.unwrap_or(SEMANTIC_RATIO_DEFAULT));
        if !(0.0..=1.0).contains(&ratio) {
            return None;
        }
        let has = |name| members.get(name).is_some_and(|value| value != "null");
        let has_words = !query.trim().is_empty();
        let meaning = match ratio {
            // Without words, and at the ends, there is only one kind of hit.
            0.0 => None,
            ratio if has_words && ratio < 1.0 => Some(Meaning::BesideWords(ratio)),
            _ if has_words || has("vector") || has("media") => Some(Meaning::Alone),
            _ => None,
        };
        Some(Self {
            filter: ClientFilter::new(members.read("filter")?),
            paging,
            attributes_to_retrieve: members.read("attributesToRetrieve")?,
            formatted,
            facets: members.read::<Option<Vec<String>>>("facets")?.unwrap_or_default(),
            distinct: members.read("distinct")?,
            show_ranking_score: members.read_or("showRankingScore", false)?,
            show_ranking_score_details: members.read_or("showRankingScoreDetails", false)?,
            key: None,
            semantic_ratio: match meaning {
                Some(Meaning::BesideWords(ratio)) => Some(ratio),
                _ => None,
            },
            meaning,
            embedder: hybrid.map(|hybrid| hybrid.embedder),
            over_fetch: 1,
            shows_scores_to_merge: false,
            query,
            members,
        })
    }

    pub fn filter(&self) -> &ClientFilter {
        &self.filter
    }

    /// The same search among the documents that a tenant token shows.
    pub fn under_rule(mut self, rule: &serde_json::Value) -> Self {
        self.filter = self.filter.under_rule(rule);
        self.members.set("filter", self.filter.json());
        self
    }

    /// The same search among the documents that had not expired at a time, if one is given. It is no other search for that: pages
    /// and sharing do not depend on it.
    pub fn hiding_expired(mut self, until: Option<i64>) -> Self {
        self.filter = self.filter.hiding_expired(until);
        self
    }

    /// `q` as the client sent it.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// Whether the client gave a member a value.
    pub fn has(&self, name: &str) -> bool {
        self.members.get(name).is_some_and(|value| value != "null")
    }

    pub fn strategy_is(&self, strategy: &str) -> bool {
        self.members.read::<Option<String>>("matchingStrategy").flatten().as_deref() == Some(strategy)
    }

    /// How many attributes and places the client sorts by.
    pub fn sort_count(&self) -> usize {
        self.members.read::<Option<Vec<String>>>("sort").flatten().map_or(0, |sort| sort.len())
    }

    /// The same search with another matching strategy.
    pub fn with_strategy(mut self, strategy: &str) -> Self {
        self.members.set("matchingStrategy", &strategy.into());
        self
    }

    /// The same search, of which nodes are told the language of its words.
    pub fn in_language(mut self, language: Option<&str>) -> Self {
        if let Some(language) = language {
            self.members.set("locales", &serde_json::json!([language]));
        }
        self
    }

    /// The same search for other words, of which a node drops those that no document has first, and then others: hits that
    /// lack more than it is meant to drop are left out by the merge.
    pub fn for_words_but(mut self, query: String) -> Self {
        self.members.set("q", &query.as_str().into());
        self.query = query;
        self.with_strategy("frequency")
    }

    /// The same search for other words, all of which are asked for.
    pub fn for_words(mut self, query: String) -> Self {
        self.members.set("q", &query.as_str().into());
        self.query = query;
        self.with_strategy("all")
    }

    /// The same search without facets.
    pub fn without_facets(mut self) -> Self {
        self.members.0.retain(|(name, _)| name != "facets");
        self.facets.clear();
        self
    }

    /// Whether the client asked for any facets.
    pub fn has_facets(&self) -> bool {
        !self.facets.is_empty()
    }

    /// The same search, the hits of which have different values of an attribute.
    pub fn with_distinct(mut self, attribute: &str) -> Self {
        self.members.set("distinct", &attribute.into());
        self.distinct = Some(attribute.to_owned());
        self
    }

    /// The same search, the hits of which can be told apart.
    pub fn with_key(mut self, primary_key: &str) -> Self {
        self.key = Some(primary_key.to_owned());
        self
    }

    /// The search for the first `end` hits, which show what a list of several queries' hits is put together by, as if the client
    /// had asked for it.
    pub fn for_list(mut self, end: usize, index: &IndexFacts) -> Self {
        let added: Vec<String> = self.added_attributes(index).into_iter().map(|added| added.name).collect();
        if let Some(asked) = self.attributes_to_retrieve.as_mut().filter(|_| !added.is_empty()) {
            asked.extend(added);
            self.members.set("attributesToRetrieve", &serde_json::json!(asked));
        }
        for shown in ["showRankingScore", "showRankingScoreDetails"] {
            self.members.set(shown, &true.into());
        }
        (self.show_ranking_score, self.show_ranking_score_details) = (true, true);
        self.members.set("limit", &end.into());
        self.paging = Paging::Window { offset: 0, limit: end };
        self
    }

    /// How much of the search is by meaning; `None` if nothing is.
    pub fn meaning(&self) -> Option<Meaning> {
        self.meaning
    }

    /// Whether the index has the embedder, and vectors of as many dimensions as the client's: if not, Meilisearch refuses the
    /// search, however good the words.
    pub fn fits_embedders(&self, settings: &serde_json::Value) -> bool {
        let embedders = settings.get("embedders");
        let Some(embedder) = self.embedder.as_deref().and_then(|name| embedders?.get(name)) else { return false };
        match self.members.read::<Option<Vec<f64>>>("vector") {
            Some(None) => true,
            Some(Some(vector)) => embedder.get("dimensions").is_none_or(|count| *count == vector.len()),
            None => false,
        }
    }

    /// The part of the search that is by words.
    pub fn by_words(mut self) -> Self {
        self.members.0.retain(|(name, _)| !matches!(name.as_str(), "hybrid" | "vector" | "media"));
        self.meaning = None;
        self.semantic_ratio = None;
        self.shows_scores_to_merge = true;
        self
    }

    /// Whether the client wants to see which words of the hits match.
    pub fn marks_words(&self) -> bool {
        !self.formatted.is_empty() || self.members.read_or("showMatchesPosition", false) == Some(true)
    }

    /// The part of the search that is by meaning. Nodes mark words in hits only if the search is by words too, which it is by
    /// a trace if the client wants them marked.
    pub fn by_meaning(mut self) -> Self {
        let ratio = if self.marks_words() { ALMOST_ONLY_MEANING } else { 1.0 };
        self.members.set("hybrid", &serde_json::json!({ "embedder": self.embedder, "semanticRatio": ratio }));
        self.semantic_ratio = None;
        self
    }

    /// The same search, of which legs are asked for `factor` times as many hits.
    pub fn with_over_fetch(mut self, factor: usize) -> Self {
        self.over_fetch = factor;
        self
    }

    /// Body of the search by which a node is asked what vector the words are; `None` if the client gave the vector.
    pub fn vector_body(&self) -> Option<Bytes> {
        self.meaning?;
        if self.has("vector") {
            return None;
        }
        let mut body = Members::default();
        body.set("hybrid", &serde_json::json!({ "embedder": self.embedder, "semanticRatio": 1.0 }));
        body.set("retrieveVectors", &true.into());
        body.set("limit", &1.into());
        body.set("attributesToRetrieve", &serde_json::Value::Array(Vec::new()));
        body.0.extend(self.members.0.iter().filter(|(name, _)| matches!(name.as_str(), "q" | "media")).cloned());
        Some(body.over(&Members::default()))
    }

    /// The same search for that vector.
    pub fn with_vector(mut self, vector: Box<RawValue>) -> Self {
        self.members.0.retain(|(name, _)| !matches!(name.as_str(), "vector" | "media"));
        self.members.0.push(("vector".to_owned(), vector));
        self
    }

    /// Body of a search that counts the documents that have the first word of a query, whatever the client filters by; for an
    /// uncertain word, with one hit whose details tell how many words it is.
    pub fn count_body(&self, query: &str, split: Split, shards: Option<&[Shard]>) -> Bytes {
        let mut body = self.counting(query, "last", shards);
        match split {
            Split::Certain => body.set("limit", &0.into()),
            Split::Uncertain => {
                body.set("limit", &1.into());
                body.set("showRankingScoreDetails", &true.into());
                body.set("attributesToRetrieve", &serde_json::Value::Array(Vec::new()));
            }
        }
        body.over(&Members::default())
    }

    /// Body of a federated search that counts the documents that have all words of any of these queries, whatever the client
    /// filters by.
    pub fn count_any_body(&self, queries: &[String], index: &str, shards: Option<&[Shard]>) -> Bytes {
        let searches = queries.iter().map(|query| {
            let mut search = self.counting(query, "all", shards);
            search.set("indexUid", &index.into());
            search
        });
        federated(searches, &serde_json::json!({ "limit": 0 }))
    }

    /// Body of a federated search that counts the documents that this search would find with all words of any of these queries,
    /// and the values of their facets.
    pub fn found_body(&self, queries: &[String], index: &Index, shards: Option<&[Shard]>) -> Bytes {
        let uid = index.node_uid.as_str();
        let searches = queries.iter().map(|query| {
            let mut search = self.counting(query, "all", None);
            if let Some(filter) = self.filter.restricted(shards) {
                search.set("filter", &filter);
            } else if let Some(filter) = self.members.0.iter().find(|(name, _)| name == "filter") {
                search.0.push(filter.clone());
            }
            search.set("indexUid", &uid.into());
            search
        });
        let mut federation = serde_json::json!({ "limit": 0 });
        if !self.facets.is_empty() {
            let max = super::facts::node_max_values_per_facet(&index.settings);
            federation["facetsByIndex"] = serde_json::json!({ uid: self.facets_of_legs() });
            federation["mergeFacets"] = serde_json::json!({ "maxValuesPerFacet": max });
        }
        federated(searches, &federation)
    }

    /// The facets that legs are asked for.
    fn facets_of_legs(&self) -> Vec<String> {
        let mut facets = self.facets.clone();
        if !facets.is_empty() && !facets.iter().any(|facet| facet == "*" || facet == SHARD_FIELD) {
            // Its counts add up to the number of matching documents, on which Meilisearch's order of values depends.
            facets.push(SHARD_FIELD.to_owned());
        }
        facets
    }

    /// A search for other words in the attributes that the client searches in.
    fn counting(&self, query: &str, strategy: &str, shards: Option<&[Shard]>) -> Members {
        let mut body = Members::default();
        body.set("q", &query.into());
        body.set("matchingStrategy", &strategy.into());
        if let Some(shards) = shards {
            body.set("filter", &super::restriction::restrict(serde_json::Value::Null, shards));
        }
        let kept = |name: &str| matches!(name, "attributesToSearchOn" | "locales");
        body.0.extend(self.members.0.iter().filter(|(name, _)| kept(name)).cloned());
        body
    }

    pub fn paging(&self) -> Paging {
        self.paging
    }

    /// Body of the search that one leg is asked: the client's members as they are, but for
    /// - `filter`, ANDed with the restriction to `shards`, without which a document on two nodes would count twice;
    /// - paging: from the first hit to the last of the page, since any of them may come from this leg alone;
    /// - score details, which decide the order, and the fields that the merge needs;
    /// - `q`, freed of the characters in which shards are written.
    pub fn leg_body(&self, shards: Option<&[Shard]>, index: &IndexFacts) -> Bytes {
        let mut members = Vec::with_capacity(self.members.0.len() + 8);
        let mut set = |name: &str, value: serde_json::Value| members.push((name.to_owned(), raw(&value)));
        let end = self.paging.positions(index.max_total_hits).end.saturating_mul(self.over_fetch);
        let end = if end > 0 { end.saturating_add(index.pins_max()) } else { 0 };
        match self.paging {
            Paging::Window { .. } => {
                set("offset", 0.into());
                set("limit", end.into());
            }
            Paging::Page { .. } => {
                set("page", 1.into());
                set("hitsPerPage", end.into());
            }
        }
        set("showRankingScoreDetails", true.into());
        if self.semantic_ratio.is_some() || self.shows_scores_to_merge {
            set("showRankingScore", true.into());
        }
        if let Some(filter) = self.filter.restricted(shards) {
            set("filter", filter);
        }
        let added = self.added_attributes(index);
        if !added.is_empty() {
            let mut attributes = self.attributes_to_retrieve.clone().unwrap_or_default();
            attributes.extend(added.into_iter().map(|added| added.name));
            set("attributesToRetrieve", attributes.into());
        }
        if !self.facets.is_empty() {
            set("facets", self.facets_of_legs().into());
        }
        if self.query.contains(is_private_use) {
            set("q", self.query.replace(is_private_use, "").into());
        }
        Members(members).over(&self.members)
    }

    /// Body of the search for the only node that is asked, which answers as the client asks: the client's members as they are,
    /// but for the restriction to `shards` and for what would show Miroir's own field.
    pub fn whole_body(&self, shards: Option<&[Shard]>) -> Bytes {
        let mut members = Members::default();
        if let Some(filter) = self.filter.restricted(shards) {
            members.set("filter", &filter);
        }
        if self.query.contains(is_private_use) {
            members.set("q", &self.query.replace(is_private_use, "").into());
        }
        members.over(&self.members)
    }

    /// The answer to the client, from that of the only node, which was asked with [`SearchRequest::whole_body`].
    pub fn only_answer(&self, leg: &Leg, index: &IndexFacts) -> Result<Bytes, MergeError> {
        let visible = Visibility {
            ranking_score: self.show_ranking_score,
            ranking_score_details: self.show_ranking_score_details,
            added: Vec::new(),
        };
        only_answer(leg, &self.query, &visible, index)
    }

    pub(super) fn distinct_attribute<'a>(&'a self, index: &'a IndexFacts) -> Option<&'a str> {
        self.distinct.as_deref().or(index.distinct_attribute.as_deref())
    }

    /// Fields that the order of hits, or their being different, depends on, and that hits do not show.
    pub fn hidden_fields(&self, index: &IndexFacts) -> HiddenFields {
        let Some(displayed) = &index.displayed else { return HiddenFields::default() };
        let sort = self.members.read::<Option<Vec<String>>>("sort").flatten().unwrap_or_default();
        HiddenFields::of(&index.ranking_rules, &sort, self.distinct_attribute(index), displayed)
    }

    /// The attributes that legs are asked for although the client did not ask for them: those that tell hits apart, and the
    /// primary key where something of a document must be read that hits do not show.
    fn added_attributes(&self, index: &IndexFacts) -> Vec<AddedAttribute> {
        let distinct = self.distinct_attribute(index);
        let to_read = || index.shown_primary_key().filter(|_| !self.hidden_fields(index).is_empty());
        let pin_key = || index.pins().map(|pins| pins.key);
        let key = self.key.as_deref().or_else(to_read).or_else(pin_key).filter(|key| Some(*key) != distinct);
        distinct.into_iter().chain(key).filter_map(|name| self.added_attribute(name)).collect()
    }

    fn added_attribute(&self, name: &str) -> Option<AddedAttribute> {
        let asked = self.attributes_to_retrieve.as_ref()?;
        // Asking for `seller` gives `seller.id` too.
        let gives = |attribute: &String| {
            attribute == "*"
                || name.strip_prefix(attribute.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if asked.iter().any(gives) {
            return None;
        }
        let top = name.split('.').next().unwrap_or(name);
        let is_in_top = |attribute: &String| attribute.strip_prefix(top).is_some_and(|rest| rest.starts_with('.'));
        Some(AddedAttribute {
            name: name.to_owned(),
            shares_member: asked.iter().any(is_in_top),
            stays_in_formatted: self.formatted.iter().any(gives),
        })
    }

    /// The same text for all requests that differ only in the order of their members.
    pub fn canonical(&self) -> Vec<u8> {
        let mut members: Vec<_> = self.members.0.iter().collect();
        members.sort_by_key(|(name, _)| name);
        let mut text = Vec::new();
        for (name, value) in members {
            // JSON holds no zero byte, so no two requests run into the same text.
            for part in [name.as_str(), "\0", value.get(), "\0"] {
                text.extend_from_slice(part.as_bytes());
            }
        }
        text
    }

    /// Hash of the query without its paging. Pages of one query must come from the same replicas, because nodes break ties
    /// in their own insertion order.
    pub fn fingerprint(&self) -> u64 {
        let mut members: Vec<_> = self.members.0.iter().collect();
        members.retain(|(name, _)| !matches!(name.as_str(), "offset" | "limit" | "page" | "hitsPerPage"));
        members.sort_by_key(|(name, _)| name);
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        for (name, value) in members {
            // JSON holds no zero byte, so no two queries run into the same text.
            hash.update(name.as_bytes());
            hash.update(&[0]);
            hash.update(value.get().as_bytes());
            hash.update(&[0]);
        }
        hash.digest()
    }

    /// The answer to the client, from those of the legs that were asked with [`SearchRequest::leg_body`], and from what else
    /// was found out.
    pub fn merge(&self, legs: &[Leg], index: &IndexFacts, supplement: &Supplement) -> Result<Bytes, MergeError> {
        let visible = self.visibility(index);
        merge_searches(legs, &self.merge_request(&visible, index, supplement), index)
    }

    /// The answer to the client, from those of several searches that stand for this one: see [`merge_stages`].
    pub fn merge_stages(
        &self,
        stages: &[(StageWords, Vec<Leg>)],
        index: &IndexFacts,
        supplement: &Supplement,
    ) -> Result<Bytes, MergeError> {
        let visible = self.visibility(index);
        merge_stages(stages, &self.merge_request(&visible, index, supplement), index)
    }

    /// The primary keys of the hits of which `hidden` fields must be read before they can be merged; none if they need not.
    pub fn keys_to_read<'a>(
        &self,
        legs: &'a [Leg],
        index: &IndexFacts,
        key: &str,
        hidden: &HiddenFields,
        known: &Supplement,
    ) -> Result<Vec<&'a [u8]>, MergeError> {
        let visible = self.visibility(index);
        let request = self.merge_request(&visible, index, known);
        keys_of_undecided(legs, &request, key, hidden.distinct.is_some(), index)
    }

    /// The same of several searches that stand for this one.
    pub fn keys_to_read_of_stages<'a>(
        &self,
        stages: &'a [(StageWords, Vec<Leg>)],
        index: &IndexFacts,
        key: &str,
        hidden: &HiddenFields,
    ) -> Result<Vec<&'a [u8]>, MergeError> {
        let visible = self.visibility(index);
        let request = self.merge_request(&visible, index, &Supplement::NONE);
        keys_of_undecided_stages(stages, &request, key, hidden.distinct.is_some(), index)
    }

    /// The legs whose matches of attributes would be denied if their nodes did not know the query's last `word` and others did;
    /// `None` if the page would be the same all the same.
    pub fn deniable(
        &self,
        legs: &[Leg],
        index: &IndexFacts,
        word: &str,
        exact_words: u64,
    ) -> Result<Option<Denied>, MergeError> {
        let visible = self.visibility(index);
        let request = self.merge_request(&visible, index, &Supplement::NONE);
        let denied = Denied { legs: exactness::suspects(legs, &request, word)?, exact_words };
        if denied.legs.is_empty() {
            return Ok(None);
        }
        let mut decides = exactness::decides(legs, &request, &denied, index)?;
        for &leg in &denied.legs {
            decides = decides || exactness::is_cut_off(&legs[leg], &request, index)?;
        }
        Ok(decides.then_some(denied))
    }

    /// Whether more hits must be had of a leg whose matches are denied.
    pub fn is_cut_off(&self, leg: &Leg, index: &IndexFacts) -> Result<bool, MergeError> {
        let visible = self.visibility(index);
        exactness::is_cut_off(leg, &self.merge_request(&visible, index, &Supplement::NONE), index)
    }

    /// The attribute whose values must be counted over the legs before the exhaustive total is known.
    pub fn distinct_to_count<'a>(&'a self, legs: &[Leg], index: &'a IndexFacts) -> Result<Option<&'a str>, MergeError> {
        let is_paged = matches!(self.paging, Paging::Page { .. });
        let Some(attribute) = self.distinct_attribute(index).filter(|_| is_paged) else { return Ok(None) };
        let visible = self.visibility(index);
        let too_few = shows_too_few(legs, &self.merge_request(&visible, index, &Supplement::NONE))?;
        Ok(too_few.then_some(attribute))
    }

    /// What totals one server would report under the client's threshold.
    pub fn threshold_total(&self, legs: &[Leg], index: &IndexFacts) -> Result<ThresholdTotal, MergeError> {
        if !self.has("rankingScoreThreshold") || legs.len() < 2 {
            return Ok(ThresholdTotal::Sum);
        }
        let visible = self.visibility(index);
        threshold_total(legs, &self.merge_request(&visible, index, &Supplement::NONE), index)
    }

    /// The same search without its threshold and without hits.
    pub fn for_counts(&self) -> Self {
        let mut search = self.clone();
        search.members.0.retain(|(name, _)| name != "rankingScoreThreshold");
        search.paging = match self.paging {
            Paging::Window { .. } => Paging::Window { offset: 0, limit: 0 },
            Paging::Page { .. } => Paging::Page { page: 1, hits_per_page: 0 },
        };
        search
    }

    /// Body of a search for the values of the distinct attribute alone, as hits and, where the attribute is certainly
    /// filterable because the request names it, as a facet.
    pub fn distinct_body(&self, attribute: &str, shards: Option<&[Shard]>, index: &IndexFacts) -> Bytes {
        const ABOUT_HITS: [&str; 13] = [
            "offset",
            "limit",
            "facets",
            "sort",
            "attributesToHighlight",
            "attributesToCrop",
            "showMatchesPosition",
            "showRankingScore",
            "showRankingScoreDetails",
            "retrieveVectors",
            "page",
            "hitsPerPage",
            "showPerformanceDetails",
        ];
        let mut members = self.members.clone();
        members.0.retain(|(name, _)| !ABOUT_HITS.contains(&name.as_str()));
        members.set("page", &1.into());
        members.set("hitsPerPage", &index.max_total_hits.into());
        members.set("attributesToRetrieve", &vec![attribute].into());
        if self.distinct.is_some() {
            members.set("facets", &vec![attribute].into());
        }
        if let Some(filter) = self.filter.restricted(shards) {
            members.set("filter", &filter);
        }
        if self.query.contains(is_private_use) {
            members.set("q", &self.query.replace(is_private_use, "").into());
        }
        members.over(&Members::default())
    }

    /// The answer to the client, from those of the legs that were asked for the search's parts.
    pub fn merge_hybrid(
        &self,
        words: &[Leg],
        meaning: &[Leg],
        how: (Weights, Fusion),
        index: &IndexFacts,
    ) -> Result<Bytes, MergeError> {
        let visible = self.visibility(index);
        hybrid::merge_hybrid(words, meaning, &self.merge_request_of_parts(&visible, index), how, index)
    }

    /// The answer to the client from the part by words, if it needs no other.
    pub fn words_suffice(
        &self,
        words: &[Leg],
        weights: Weights,
        index: &IndexFacts,
    ) -> Result<Option<Bytes>, MergeError> {
        let visible = self.visibility(index);
        hybrid::words_suffice(words, &self.merge_request_of_parts(&visible, index), weights, index)
    }

    /// The answer to the client from the part by words, when there can be no other.
    pub fn words_alone(&self, words: &[Leg], index: &IndexFacts) -> Result<Bytes, MergeError> {
        let visible = self.visibility(index);
        hybrid::words_alone(words, &self.merge_request_of_parts(&visible, index), index)
    }

    pub(super) fn visibility(&self, index: &IndexFacts) -> Visibility {
        Visibility {
            ranking_score: self.show_ranking_score,
            ranking_score_details: self.show_ranking_score_details,
            added: self.added_attributes(index),
        }
    }

    /// Of a part by words or by meaning, whose hits were all found the same way: it is in the order of its rules, which a weighed
    /// score is not where a sort stands among them.
    fn merge_request_of_parts<'r>(&'r self, visible: &'r Visibility, index: &'r IndexFacts) -> SearchMerge<'r> {
        SearchMerge { semantic_ratio: None, ..self.merge_request(visible, index, &Supplement::NONE) }
    }

    fn merge_request<'r>(
        &'r self,
        visible: &'r Visibility,
        index: &'r IndexFacts,
        supplement: &'r Supplement,
    ) -> SearchMerge<'r> {
        SearchMerge {
            query: &self.query,
            paging: self.paging,
            distinct: self.distinct_attribute(index),
            key: self.key.as_deref(),
            semantic_ratio: self.semantic_ratio,
            hidden: supplement.hidden.as_ref(),
            pins: index.pins(),
            denied: supplement.denied.as_ref(),
            distinct_total: supplement.distinct_total,
            counted: supplement.counted.as_deref(),
            found: supplement.found.as_deref(),
            visible,
        }
    }
}

/// Body of a federated search. A node counts each document once that any of the searches finds.
fn federated(searches: impl Iterator<Item = Members>, federation: &serde_json::Value) -> Bytes {
    let mut body = b"{\"queries\":[".to_vec();
    for (n, search) in searches.enumerate() {
        if n > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&search.over(&Members::default()));
    }
    body.extend_from_slice(b"],\"federation\":");
    body.extend_from_slice(federation.to_string().as_bytes());
    body.push(b'}');
    body.into()
}

/// What a merge must know that the legs' answers do not say.
#[derive(Debug, Default)]
pub struct Supplement {
    pub hidden: Option<HiddenValues>,
    pub denied: Option<Denied>,
    pub distinct_total: Option<u64>,
    /// Answers without hits, from which totals and facets add up in place of the legs'.
    pub counted: Option<Vec<Leg>>,
    /// Answers of federated searches from which they add up in place of either.
    pub found: Option<Vec<Leg>>,
}

impl Supplement {
    pub const NONE: Self = Self { hidden: None, denied: None, distinct_total: None, counted: None, found: None };
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hybrid {
    embedder: String,
    semantic_ratio: Option<f64>,
}

#[cfg(test)]
#[path = "search_request_tests.rs"]
mod tests;
