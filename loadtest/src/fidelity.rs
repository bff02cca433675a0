//! Does the cluster answer what one server with all the documents answers?
//!
//! Each generated query goes to both. What the single server would also have accepted (another order within a tie)
//! is found out by asking it once more, for a longer page with the details of the ranking (`_rankingScoreDetails`).

use std::ops::Range;
use std::sync::Arc;

use serde_json::{json, Value};
use tokio::task::JoinSet;

use crate::client::{Answer, Client, ClientError, Object, Server};
use crate::compare::{
    compare_contents, compare_facet_search, compare_facets, compare_page, compare_totals, PageDifference, RankedHit,
    SeenHit, Window,
};
use crate::corpus::{fold, Corpus, CorpusError};
use crate::filters::quoted;
use crate::generate::{self, Case, Kind};
use crate::prefix::is_in_prefix_class;
use crate::rank::RankKey;
use crate::report::{Difference, Outcome, Report, Verdict};

/// The page size of a search that names none.
const DEFAULT_LIMIT: usize = 20;
/// How far beyond the page the ranking of the single server is read at first; most ties end sooner.
const WINDOW_MARGIN: usize = 20;
/// How much longer the window gets while the tie at the page's end has not ended in it.
const WINDOW_GROWTH: usize = 4;

/// What to compare, and how much.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server that holds all documents and is right by definition.
    pub single: Server,
    pub cluster: Server,
    pub index: String,
    pub queries: usize,
    pub seed: u64,
    /// Of the queries that the seed gives, those of these kinds alone are asked; all if none is named.
    pub kinds: Vec<Kind>,
    /// How many differences the report explains; all are counted.
    pub differences_max: usize,
    /// Queries under way at a time.
    pub concurrency: usize,
}

/// Why nothing could be compared. A cluster that fails to answer a query is no such error but a difference.
#[derive(Debug, thiserror::Error)]
pub enum FidelityError {
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("a comparison ended early: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// Compares the two and reports. The same options on the same documents give the same queries.
pub async fn run(options: Options) -> Result<Report, FidelityError> {
    let single = Client::new(options.single.clone())?;
    let cluster = Client::new(options.cluster.clone())?;
    let corpus = Corpus::read(&single, &options.index).await?;
    let mut cases = generate::cases(&corpus, options.queries, options.seed);
    cases.retain(|case| options.kinds.is_empty() || options.kinds.contains(&case.kind));
    let both = Arc::new(Both { single, cluster, corpus, index: options.index.clone() });

    let mut outcomes: Vec<Option<Outcome>> = cases.iter().map(|_| None).collect();
    let mut under_way = JoinSet::new();
    let mut waiting = cases.into_iter().enumerate();
    loop {
        while under_way.len() < options.concurrency.max(1) {
            let Some((number, case)) = waiting.next() else { break };
            let both = Arc::clone(&both);
            under_way.spawn(async move { (number, both.compare(case).await) });
        }
        let Some(ended) = under_way.join_next().await else { break };
        let (number, outcome) = ended?;
        outcomes[number] = Some(outcome?);
    }
    let documents = both.corpus.documents.len();
    let mut report = Report::new(options.index, documents, options.seed, options.differences_max);
    outcomes.into_iter().flatten().for_each(|outcome| report.add(outcome));
    Ok(report)
}

struct Both {
    single: Client,
    cluster: Client,
    corpus: Corpus,
    index: String,
}

impl Both {
    async fn compare(&self, case: Case) -> Result<Outcome, ClientError> {
        let mut outcome = Outcome::equal(case.kind, is_in_prefix_class(&self.corpus, &case.body));
        if case.kind == Kind::FacetSearch {
            self.compare_facet_search(&case, &mut outcome).await?;
            return Ok(outcome);
        }
        let bodies = page_bodies(&case);
        let mut expected = Vec::new();
        let mut got = Vec::new();
        for body in &bodies {
            expected.push(self.single.search(&self.index, body).await?);
            match self.cluster.search(&self.index, body).await {
                Ok(answer) => got.push(answer),
                Err(error) => {
                    outcome.differ_wholly(Difference::new(&case, with_causes(&error)));
                    return Ok(outcome);
                }
            }
        }
        outcome.has_facets = case.body.contains_key("facets");
        if let Some(what) = expected.iter().zip(&got).find_map(|(expected, got)| refusal_difference(expected, got)) {
            outcome.differ_wholly(Difference::new(&case, what));
            return Ok(outcome);
        }
        if expected.iter().any(|answer| !answer.is_success()) {
            return Ok(outcome);
        }
        self.compare_hits(&case, &expected, &got, &mut outcome).await?;
        self.compare_rest(&case, &expected, &got, &mut outcome);
        Ok(outcome)
    }

    async fn compare_facet_search(&self, case: &Case, outcome: &mut Outcome) -> Result<(), ClientError> {
        let expected = self.single.facet_search(&self.index, &case.body).await?;
        outcome.has_facets = true;
        let difference = match self.cluster.facet_search(&self.index, &case.body).await {
            Err(error) => Some(with_causes(&error)),
            Ok(got) => refusal_difference(&expected, &got).or_else(|| {
                let facet = case.body.get("facetName").and_then(Value::as_str).unwrap_or_default();
                let order = self.corpus.facet_order(facet);
                compare_facet_search(&expected.body, &got.body, self.corpus.values_per_facet, order).err()
            }),
        };
        if let Some(what) = difference {
            outcome.facets_equal = false;
            outcome.differences.push(Difference::new(case, what));
        }
        Ok(())
    }

    async fn compare_hits(
        &self,
        case: &Case,
        expected: &[Answer],
        got: &[Answer],
        outcome: &mut Outcome,
    ) -> Result<(), ClientError> {
        let distinct = case.body.get("distinct").and_then(Value::as_str);
        let page = page_range(case);
        let got = self.seen_hits(got, distinct);
        let mut window = self.window(case, &page).await?;
        if distinct.is_some() {
            self.add_keys_without_distinct(case, &mut window).await?;
        }
        if distinct.is_some() || !window.complete {
            self.add_keys_of_strangers(case, &got, &mut window).await?;
        }
        if compare_page(&window, page.clone(), &self.seen_hits(expected, distinct)).is_err() {
            outcome.verdict = Verdict::Unsteady;
            return Ok(());
        }
        match compare_page(&window, page.clone(), &got) {
            Ok(()) => {}
            Err(PageDifference::Undecided { .. }) => outcome.verdict = Verdict::Undecided,
            Err(what) => {
                outcome.pages_equal = false;
                let ids = got.into_iter().map(|hit| hit.id).collect();
                outcome.differences.push(Difference::new(case, explain(&what)).with_page(&window, page, ids));
            }
        }
        Ok(())
    }

    /// Compares everything but the order of hits. Of a walk's pages, the first difference of each sort is told.
    fn compare_rest(&self, case: &Case, expected: &[Answer], got: &[Answer], outcome: &mut Outcome) {
        let is_distinct = case.body.contains_key("distinct");
        let order_of = |facet: &str| self.corpus.facet_order(facet);
        let id_of = |hit: &Value| self.corpus.id_of(hit);
        let values_max = self.corpus.values_per_facet;
        let first = |compare: &dyn Fn(&Answer, &Answer) -> Result<(), String>| {
            expected.iter().zip(got).find_map(|(expected, got)| compare(expected, got).err())
        };
        let totals = first(&|expected, got| compare_totals(&expected.body, &got.body, is_distinct));
        let facets = first(&|expected, got| compare_facets(&expected.body, &got.body, values_max, order_of));
        let contents = first(&|expected, got| compare_contents(expected.hits(), got.hits(), id_of));
        outcome.totals_equal = totals.is_none();
        outcome.facets_equal = facets.is_none();
        outcome.contents_equal = contents.is_none();
        let told = [totals, facets, contents].into_iter().flatten();
        outcome.differences.extend(told.map(|what| Difference::new(case, what)));
    }

    fn seen_hits(&self, answers: &[Answer], distinct: Option<&str>) -> Vec<SeenHit> {
        let hits = answers.iter().flat_map(Answer::hits);
        hits.map(|hit| SeenHit { id: self.corpus.id_of(hit), distinct_value: distinct_value(hit, distinct) }).collect()
    }

    /// The single server's ranking from its first hit to the end of the tie at the page's end.
    async fn window(&self, case: &Case, page: &Range<usize>) -> Result<Window, ClientError> {
        let distinct = case.body.get("distinct").and_then(Value::as_str);
        let mut limit = page.end + WINDOW_MARGIN;
        loop {
            limit = limit.min(self.corpus.total_hits_max);
            let answer = self.single.search(&self.index, &ranking_body(&case.body, limit)).await?;
            let window = Window {
                complete: answer.hits().len() < limit,
                hits: answer.hits().iter().map(|hit| self.ranked(case, hit, distinct)).collect(),
                ..Window::default()
            };
            if window.closes(page) || limit >= self.corpus.total_hits_max {
                return Ok(window);
            }
            limit *= WINDOW_GROWTH;
        }
    }

    fn ranked(&self, case: &Case, hit: &Value, distinct: Option<&str>) -> RankedHit {
        let (id, key) = self.key_of(case, hit);
        RankedHit { id, key, distinct_value: distinct_value(hit, distinct) }
    }

    /// A hit's id and rank.
    fn key_of(&self, case: &Case, hit: &Value) -> (String, RankKey) {
        let id = self.corpus.id_of(hit);
        let hidden = self.corpus.hidden_values(&case.body, &id);
        (id, RankKey::of_hit(hit, &hidden))
    }

    /// The ranking of the documents that `distinct` leaves out.
    async fn add_keys_without_distinct(&self, case: &Case, window: &mut Window) -> Result<(), ClientError> {
        let mut body = ranking_body(&case.body, self.corpus.total_hits_max);
        body.remove("distinct");
        let answer = self.single.search(&self.index, &body).await?;
        window.other_keys = answer.hits().iter().map(|hit| self.key_of(case, hit)).collect();
        Ok(())
    }

    /// The ranking of hits that the window does not show: asked for by their ids, which needs the primary key to be
    /// filterable.
    async fn add_keys_of_strangers(
        &self,
        case: &Case,
        got: &[SeenHit],
        window: &mut Window,
    ) -> Result<(), ClientError> {
        let is_known =
            |id: &String| window.hits.iter().any(|known| known.id == *id) || window.other_keys.contains_key(id);
        let strangers: Vec<String> = got.iter().filter(|hit| !is_known(&hit.id)).map(|hit| quoted(&hit.id)).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        if !self.is_primary_key_filterable() {
            window.others_unknown = true;
            return Ok(());
        }
        let mut body = ranking_body(&case.body, strangers.len());
        body.remove("distinct");
        let these = format!("{} IN [{}]", self.corpus.primary_key, strangers.join(", "));
        let filter = match body.remove("filter") {
            None => json!([these]),
            Some(Value::Array(mut all)) => {
                all.push(json!(these));
                Value::Array(all)
            }
            Some(one) => json!([one, these]),
        };
        body.insert("filter".to_owned(), filter);
        let answer = self.single.search(&self.index, &body).await?;
        window.other_keys.extend(answer.hits().iter().map(|hit| self.key_of(case, hit)));
        Ok(())
    }

    fn is_primary_key_filterable(&self) -> bool {
        let key = &self.corpus.primary_key;
        self.corpus.string_facets.contains_key(key) || self.corpus.number_facets.contains_key(key)
    }
}

/// The bodies of a case's requests: one, or one per page of a walk.
fn page_bodies(case: &Case) -> Vec<Object> {
    let range = page_range(case);
    let length = (range.end - range.start) / case.pages.max(1);
    let pages = (0..case.pages).map(|page| {
        let mut body = case.body.clone();
        if case.pages > 1 {
            body.insert("offset".to_owned(), json!(range.start + page * length));
        }
        body
    });
    pages.collect()
}

/// The positions that a case's pages cover together.
fn page_range(case: &Case) -> Range<usize> {
    let number = |name: &str| {
        let value = case.body.get(name).and_then(Value::as_u64);
        value.and_then(|value| usize::try_from(value).ok())
    };
    let (start, length) = match (number("page"), number("hitsPerPage")) {
        (None, None) => (number("offset").unwrap_or(0), number("limit").unwrap_or(DEFAULT_LIMIT)),
        (page, per_page) => {
            let length = per_page.unwrap_or(DEFAULT_LIMIT);
            (page.unwrap_or(1).saturating_sub(1) * length, length)
        }
    };
    start..start + length * case.pages
}

/// The query, asked for the ranking of its first `limit` hits instead of what the client wants of them.
fn ranking_body(body: &Object, limit: usize) -> Object {
    const ABOUT_THE_PAGE: [&str; 12] = [
        "offset",
        "limit",
        "page",
        "hitsPerPage",
        "facets",
        "attributesToRetrieve",
        "attributesToCrop",
        "attributesToHighlight",
        "showMatchesPosition",
        "showRankingScore",
        "cropLength",
        "cropMarker",
    ];
    let mut ranking = body.clone();
    ranking.retain(|name, _| !ABOUT_THE_PAGE.contains(&name.as_str()));
    ranking.insert("limit".to_owned(), json!(limit));
    ranking.insert("showRankingScoreDetails".to_owned(), json!(true));
    ranking
}

/// The value that `distinct` tells hits apart by, compared as facet values are: without case and accents.
fn distinct_value(hit: &Value, distinct: Option<&str>) -> Option<String> {
    match hit.get(distinct?)? {
        Value::String(text) => Some(fold(text)),
        Value::Null => None,
        other => Some(other.to_string()),
    }
}

/// What differs when either side refuses the query: a refusal must be the same one.
fn refusal_difference(expected: &Answer, got: &Answer) -> Option<String> {
    if expected.is_success() && got.is_success() {
        return None;
    }
    let told = |answer: &Answer| {
        let code = answer.body.get("code").and_then(Value::as_str).unwrap_or("no code");
        let message = answer.body.get("message").and_then(Value::as_str).unwrap_or("no message");
        format!("{} {code}: {message}", answer.status)
    };
    (told(expected) != told(got)).then(|| format!("expected {}, got {}", told(expected), told(got)))
}

/// An error's message and those of its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |message, cause| format!("{message}: {cause}"))
}

fn explain(difference: &PageDifference) -> String {
    match difference {
        PageDifference::Length { expected, got } => format!("expected {expected} hits, got {got}"),
        PageDifference::Twice { id, position } => format!("{id} appears again at position {position}"),
        PageDifference::SameDistinctValueTwice { value, position } => {
            format!("distinct value {value:?} appears again at position {position}")
        }
        PageDifference::NotAHit { id, position, expected } => {
            format!("{id} at position {position} is no hit there; expected {expected}")
        }
        PageDifference::Undecided { id, position } => format!("the rank of {id} at position {position} is not known"),
        PageDifference::WrongRank { id, rank, position, expected, expected_rank } => {
            format!("position {position}: expected {expected} [{expected_rank}], got {id} [{rank}]")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(body: Value, pages: usize) -> Case {
        Case { kind: Kind::Word, body: body.as_object().cloned().unwrap_or_default(), pages }
    }

    #[test]
    fn positions_follow_either_way_of_paging() {
        assert_eq!(page_range(&case(json!({}), 1)), 0..20);
        assert_eq!(page_range(&case(json!({ "offset": 5, "limit": 3 }), 1)), 5..8);
        assert_eq!(page_range(&case(json!({ "page": 3, "hitsPerPage": 10 }), 1)), 20..30);
        assert_eq!(page_range(&case(json!({ "page": 2 }), 1)), 20..40);
    }

    #[test]
    fn a_walk_reads_page_after_page_without_gap() {
        let walk = case(json!({ "offset": 0, "limit": 10 }), 3);
        let offsets: Vec<_> = page_bodies(&walk).iter().map(|body| body["offset"].clone()).collect();
        assert_eq!(offsets, [json!(0), json!(10), json!(20)]);
        assert_eq!(page_range(&walk), 0..30);
    }

    #[test]
    fn the_ranking_is_asked_for_without_the_page_but_with_what_decides_the_hits() {
        let body = json!({ "q": "x", "filter": "a = 1", "page": 2, "facets": ["a"], "distinct": "b" });
        let ranking = ranking_body(body.as_object().unwrap_or(&Object::new()), 50);
        let expected =
            json!({ "q": "x", "filter": "a = 1", "distinct": "b", "limit": 50, "showRankingScoreDetails": true });
        assert_eq!(Value::Object(ranking), expected);
    }
}
