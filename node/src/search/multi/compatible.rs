//! Whether the hits of two queries can be put in one order: what ranks them has to be of the same kinds, in the same order.

use std::collections::BTreeSet;

use milli_core::{AscDesc, Criterion, Member};

use super::super::kind::SearchKind;
use super::super::query::{MatchingStrategy, SearchQuery};
use crate::error::{Code, ResponseError};

/// What a query is ranked by, with everything that does not matter taken out.
pub struct RankedBy {
    query: usize,
    index_uid: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Relevancy,
    Sort { ascending: bool },
    GeoSort { ascending: bool },
}

struct Rule {
    kind: Kind,
    /// The positions in the canonical list that the rule stands for: several for rules of relevancy one after the other.
    span: (usize, usize),
    /// The position in the query's `sort`, for a rule that comes from there.
    sort_position: Option<usize>,
    /// What the rule is called in a message.
    text: String,
}

impl RankedBy {
    pub fn new(
        position: usize,
        index_uid: &str,
        criteria: &[Criterion],
        query: &SearchQuery,
        sort: &[AscDesc],
        kind: &SearchKind,
    ) -> Self {
        let canonical = match kind {
            SearchKind::Meaning(_) => Canonical::by_meaning(criteria),
            _ if query.has_words() => Canonical::by_words(criteria, query.matching_strategy),
            _ => Canonical::by_nothing(criteria),
        };
        Self { query: position, index_uid: index_uid.to_owned(), rules: canonical.rules(sort, query.sort.is_some()) }
    }

    /// Refuses `self` if its hits cannot be put among those of `previous`.
    pub fn check_against(&self, previous: &Self) -> Result<(), ResponseError> {
        let differing = previous.rules.iter().zip(&self.rules).find(|(before, now)| before.kind != now.kind);
        let Some((before, now)) = differing else { return Ok(()) };
        let message = format!(
            "The results of queries #{} and #{} are incompatible: \n  1. {}\n  2. {}\n  - {}\n",
            previous.query,
            self.query,
            previous.describe(before),
            self.describe(now),
            reason(before.kind, now.kind),
        );
        Err(ResponseError::new(Code::InvalidMultiSearchQueryRankingRules, message))
    }

    /// How much there is to be compatible with.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    fn describe(&self, rule: &Rule) -> String {
        let kind = match rule.kind {
            Kind::Relevancy => "relevancy",
            Kind::Sort { ascending: true } => "ascending sort",
            Kind::Sort { ascending: false } => "descending sort",
            Kind::GeoSort { ascending: true } => "ascending geo sort",
            Kind::GeoSort { ascending: false } => "descending geo sort",
        };
        let query = match rule.sort_position {
            Some(position) => format!("`queries[{}].sort[{position}]`", self.query),
            None => format!("`queries[{}]`", self.query),
        };
        let rules = match rule.span {
            (first, last) if first == last => format!("[{first}]"),
            (first, last) => format!("[{first}..={last}]"),
        };
        format!("{query}, `{}.rankingRules{rules}`: {kind} rule(s) {}", self.index_uid, rule.text)
    }
}

fn reason(before: Kind, now: Kind) -> &'static str {
    match (before, now) {
        (Kind::Relevancy, Kind::Sort { .. }) | (Kind::Sort { .. }, Kind::Relevancy) => {
            "cannot compare a relevancy rule with a sort rule"
        }
        (Kind::Relevancy, _) | (_, Kind::Relevancy) => "cannot compare a relevancy rule with a geosort rule",
        (Kind::Sort { .. }, Kind::Sort { .. }) => "cannot compare two sort rules in opposite directions",
        (Kind::GeoSort { .. }, Kind::GeoSort { .. }) => "cannot compare two geosort rules in opposite directions",
        _ => "cannot compare a sort rule with a geosort rule",
    }
}

/// The index's ranking rules that have an effect on one kind of query.
struct Canonical(Vec<Criterion>);

impl Canonical {
    /// Without words only sorting ranks.
    fn by_nothing(criteria: &[Criterion]) -> Self {
        Self::each_once(criteria.iter().filter(|criterion| !is_relevancy(criterion)).cloned())
    }

    /// The vector takes the place of the first rule of relevancy; after it comes nothing that another rule of relevancy
    /// would stand before.
    fn by_meaning(criteria: &[Criterion]) -> Self {
        let mut has_vector = false;
        let mut has_sorted = false;
        let mut kept = Vec::new();
        for criterion in criteria {
            match criterion {
                criterion if is_relevancy(criterion) && has_vector && has_sorted => break,
                criterion if is_relevancy(criterion) && has_vector => continue,
                criterion if is_relevancy(criterion) => has_vector = true,
                Criterion::Sort => {}
                _ => has_sorted = true,
            }
            kept.push(criterion.clone());
        }
        Self::each_once(kept)
    }

    /// `words` comes before every other rule of relevancy, unless all words have to be there.
    fn by_words(criteria: &[Criterion], strategy: MatchingStrategy) -> Self {
        let mut kept = Vec::new();
        for criterion in criteria {
            if strategy == MatchingStrategy::All {
                kept.extend((*criterion != Criterion::Words).then(|| criterion.clone()));
                continue;
            }
            if is_relevancy(criterion) && !kept.contains(&Criterion::Words) {
                kept.push(Criterion::Words);
            }
            kept.push(criterion.clone());
        }
        Self::each_once(kept)
    }

    fn each_once(criteria: impl IntoIterator<Item = Criterion>) -> Self {
        let mut kept: Vec<Criterion> = Vec::new();
        for criterion in criteria {
            if !kept.contains(&criterion) {
                kept.push(criterion);
            }
        }
        Self(kept)
    }

    fn rules(self, sort: &[AscDesc], has_sort: bool) -> Vec<Rule> {
        let criteria: Vec<Criterion> =
            self.0.into_iter().filter(|criterion| has_sort || *criterion != Criterion::Sort).collect();
        let mut sorted = BTreeSet::new();
        let mut rules: Vec<Rule> = Vec::new();
        for (position, criterion) in criteria.iter().enumerate() {
            let span = (position, position);
            match criterion {
                Criterion::Sort => rules.extend(sort_rules(sort, span, &mut sorted)),
                Criterion::Asc(field) | Criterion::Desc(field) => {
                    if sorted.insert(field.clone()) {
                        let ascending = matches!(criterion, Criterion::Asc(_));
                        let text = criterion.to_string();
                        rules.push(Rule { kind: sort_kind(field, ascending), span, sort_position: None, text });
                    }
                }
                relevancy => match rules.last_mut().filter(|rule| rule.kind == Kind::Relevancy) {
                    Some(rule) => {
                        rule.span.1 = position;
                        rule.text.push_str(&format!(", {relevancy}"));
                    }
                    None => {
                        let text = relevancy.to_string();
                        rules.push(Rule { kind: Kind::Relevancy, span, sort_position: None, text });
                    }
                },
            }
        }
        rules
    }
}

/// The rules that the query's `sort` is, each field once.
fn sort_rules(sort: &[AscDesc], span: (usize, usize), sorted: &mut BTreeSet<String>) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut has_point = false;
    for criterion in sort {
        let ascending = matches!(criterion, AscDesc::Asc(_));
        let (kind, text) = match criterion.member() {
            Member::Field(name) if sorted.insert(name.clone()) => {
                (Kind::Sort { ascending }, format!("on field `{name}`"))
            }
            Member::Geo(_) if !has_point => {
                has_point = true;
                (Kind::GeoSort { ascending }, "default".to_owned())
            }
            _ => continue,
        };
        rules.push(Rule { kind, span, sort_position: Some(rules.len()), text });
    }
    rules
}

fn sort_kind(field: &str, ascending: bool) -> Kind {
    match field {
        "_geo" => Kind::GeoSort { ascending },
        _ => Kind::Sort { ascending },
    }
}

fn is_relevancy(criterion: &Criterion) -> bool {
    !matches!(criterion, Criterion::Sort | Criterion::Asc(_) | Criterion::Desc(_))
}
