//! Search answers of several nodes into the answer of one.

use std::collections::HashSet;

use bytes::Bytes;

use super::distinct::{self, DistinctValue, SeenValues};
use super::exactness::{self, Denied};
use super::facets::Facets;
use super::hidden::HiddenValues;
use super::json::{self, Cursor, Member};
use super::pins::{in_order_taken, placed, taken, Pinned, Pins, PIN};
use super::rank::{Chooser, RankKeys, HIDDEN_RULE};
use super::splice::{self, Hit, Visibility};
use super::stages::StageWords;
use super::{in_tie_order, IndexFacts, Leg, MergeError};
use crate::cluster::PINS_MAX;

/// What the merge must know of the client's request.
#[derive(Clone, Debug)]
pub struct SearchMerge<'r> {
    /// `q` as the client sent it; the answer repeats it.
    pub query: &'r str,
    pub paging: Paging,
    /// The request's distinct attribute or the index's.
    pub distinct: Option<&'r str>,
    /// The primary key, when hits may be the same document; the first of them is shown.
    pub key: Option<&'r str>,
    /// Weight of hits found by vector in a hybrid search; hits found by words weigh the rest. `None` when all hits were
    /// found the same way.
    pub semantic_ratio: Option<f64>,
    /// What hits do not show and their order depends on, where it was found out.
    pub hidden: Option<&'r HiddenValues>,
    /// In which order hits are pinned, where any can be.
    pub pins: Option<Pins<'r>>,
    /// Legs whose matches of attributes are denied: see [`exactness`].
    pub denied: Option<&'r Denied>,
    /// The number of hits of different values of the distinct attribute, where it was counted: see [`super::distinct_total`].
    pub distinct_total: Option<u64>,
    /// The answers from which totals and facets add up, where they are not those with the hits: see [`threshold_total`].
    pub counted: Option<&'r [Leg]>,
    /// Answers of federated searches from which they add up instead, but which have no other members of a search's answer.
    pub found: Option<&'r [Leg]>,
    pub visible: &'r Visibility,
}

/// Which part of the ranking the client asked for, and in whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// `offset` and `limit`; totals are estimates.
    Window { offset: usize, limit: usize },
    /// `page` (the first is 1) and `hitsPerPage`; totals are exhaustive.
    Page { page: usize, hits_per_page: usize },
}

impl Paging {
    /// Positions of the first hit shown and behind the last. Nobody gets at hits beyond `maxTotalHits`. Page 0 is empty.
    pub fn positions(self, max_total_hits: usize) -> std::ops::Range<usize> {
        let (offset, limit) = match self {
            Self::Window { offset, limit } => (offset, limit),
            Self::Page { page, hits_per_page } => match page.checked_sub(1) {
                Some(before) => (before.saturating_mul(hits_per_page), hits_per_page),
                None => (0, 0),
            },
        };
        let offset = offset.min(max_total_hits);
        offset..offset.saturating_add(limit).min(max_total_hits)
    }
}

/// Merges the legs' answers into the answer to the client.
pub fn merge_searches(legs: &[Leg], request: &SearchMerge, facts: &IndexFacts) -> Result<Bytes, MergeError> {
    let answers = lists_of(legs, request)?;
    if answers.is_empty() {
        return Err(MergeError::NoLegs);
    }
    let page = choose_page(&answers, request, facts)?;
    let counted = read_all(request.counted.unwrap_or_default(), request)?;
    let counted = if counted.is_empty() { &answers } else { &counted };
    write_answer(&answers, counted, &page, request, facts)
}

fn read_all<'a>(legs: &'a [Leg], request: &SearchMerge) -> Result<Vec<LegAnswer<'a>>, MergeError> {
    legs.iter().enumerate().map(|(n, leg)| LegAnswer::read(n, leg, request)).collect()
}

/// The legs' lists of hits, of which each is in order.
pub(super) fn lists_of<'a>(legs: &'a [Leg], request: &SearchMerge) -> Result<Vec<LegAnswer<'a>>, MergeError> {
    let mut lists = Vec::with_capacity(legs.len());
    for (n, leg) in in_tie_order(legs) {
        let answer = LegAnswer::read(n, leg, request)?;
        match request.denied {
            Some(denied) if denied.legs.contains(&n) => {
                lists.extend(exactness::by_match(answer, denied.exact_words)?);
            }
            _ => lists.push(answer),
        }
    }
    Ok(lists)
}

/// Merges the answers to several searches into the answer to the one that they stand for, each document being shown where it
/// ranks best. The last stage finds whatever is found, so totals and facets are those of its legs.
pub fn merge_stages(
    stages: &[(StageWords, Vec<Leg>)],
    request: &SearchMerge,
    facts: &IndexFacts,
) -> Result<Bytes, MergeError> {
    let answers = stage_lists(stages, request)?;
    if answers.is_empty() {
        return Err(MergeError::NoLegs);
    }
    let page = choose_page(&answers, request, facts)?;
    let counted = read_all(request.counted.unwrap_or_default(), request)?;
    let last_stage = stages.last().map_or(0, |(_, legs)| legs.len());
    let counted = if counted.is_empty() { &answers[..last_stage] } else { &counted };
    write_answer(&answers, counted, &page, request, facts)
}

/// The lists of all stages, those of the last one first.
fn stage_lists<'a>(
    stages: &'a [(StageWords, Vec<Leg>)],
    request: &SearchMerge,
) -> Result<Vec<LegAnswer<'a>>, MergeError> {
    let mut lists = Vec::new();
    for (words, legs) in stages.iter().rev() {
        for (n, leg) in in_tie_order(legs) {
            lists.push(LegAnswer { words: Some(*words), ..LegAnswer::read(n, leg, request)? });
        }
    }
    Ok(lists)
}

/// The primary keys of all hits, as the nodes wrote them, if the order of the page depends on fields that are not displayed
/// (or, with `is_distinct_hidden`, in any case); none if it does not.
pub fn keys_of_undecided<'a>(
    legs: &'a [Leg],
    request: &SearchMerge,
    key: &str,
    is_distinct_hidden: bool,
    facts: &IndexFacts,
) -> Result<Vec<&'a [u8]>, MergeError> {
    let is_read = is_distinct_hidden || (legs.len() > 1 && legs.iter().any(has_hidden_rules));
    let request = &SearchMerge { key: Some(key), ..request.clone() };
    let lists = if is_read { lists_of(legs, request)? } else { Vec::new() };
    keys_of_undecided_in(&lists, request, key, is_distinct_hidden, facts)
}

/// The same of several searches that stand for one: see [`merge_stages`].
pub fn keys_of_undecided_stages<'a>(
    stages: &'a [(StageWords, Vec<Leg>)],
    request: &SearchMerge,
    key: &str,
    is_distinct_hidden: bool,
    facts: &IndexFacts,
) -> Result<Vec<&'a [u8]>, MergeError> {
    let is_read = is_distinct_hidden || stages.iter().flat_map(|(_, legs)| legs).any(has_hidden_rules);
    let request = &SearchMerge { key: Some(key), ..request.clone() };
    let lists = if is_read { stage_lists(stages, request)? } else { Vec::new() };
    keys_of_undecided_in(&lists, request, key, is_distinct_hidden, facts)
}

fn has_hidden_rules(leg: &Leg) -> bool {
    memchr::memmem::find(&leg.body, HIDDEN_RULE).is_some()
}

fn keys_of_undecided_in<'a>(
    lists: &[LegAnswer<'a>],
    request: &SearchMerge,
    key: &str,
    is_distinct_hidden: bool,
    facts: &IndexFacts,
) -> Result<Vec<&'a [u8]>, MergeError> {
    if !is_distinct_hidden && !hidden_rules_decide(lists, request, facts)? {
        return Ok(Vec::new());
    }
    let keys = lists.iter().flat_map(|list| (0..list.hits.len()).filter_map(|hit| list.key_of(hit, key)));
    Ok(keys.collect())
}

/// Whether a rule by a field that is not displayed has to choose between hits of the page.
pub(super) fn hidden_rules_decide(
    answers: &[LegAnswer],
    request: &SearchMerge,
    facts: &IndexFacts,
) -> Result<bool, MergeError> {
    let mut lists = RankedLists::open(answers, request)?;
    for _ in 0..request.paging.positions(facts.max_total_hits).end {
        if lists.next()?.is_none() {
            break;
        }
    }
    Ok(lists.chooser.met_hidden)
}

/// Whether some leg has more hits than it showed, so that it is not known how many of them are other legs' too. Asked only
/// where totals are exhaustive.
pub fn shows_too_few(legs: &[Leg], request: &SearchMerge) -> Result<bool, MergeError> {
    let read = |(n, leg)| LegAnswer::read(n, leg, request);
    let answers = in_tie_order(legs).into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let with_hits = answers.iter().filter(|answer| answer.total > 0).count();
    let shown = |answer: &LegAnswer| (0..answer.hits.len()).filter(|&hit| !answer.is_pinned(hit)).count() as u64;
    Ok(with_hits > 1 && answers.iter().any(|answer| shown(answer) < answer.total))
}

/// Which totals one server would report under a `rankingScoreThreshold`, compared with the sum of the legs'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThresholdTotal {
    /// Those of the legs.
    Sum,
    /// Those without the threshold.
    Unlimited,
}

/// One server looks at hits only until the page is full, and counts as a hit whatever it has not looked at: so does a leg that
/// fills the page by itself, but one that does not has looked at all it has. (With exhaustive totals everybody looks at
/// everything.) Measured on 1.50 by `loadtest fidelity`, kind `threshold`.
pub fn threshold_total(legs: &[Leg], request: &SearchMerge, facts: &IndexFacts) -> Result<ThresholdTotal, MergeError> {
    let positions = request.paging.positions(facts.max_total_hits);
    let read = |(n, leg)| LegAnswer::read(n, leg, request);
    let answers = in_tie_order(legs).into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let hits = answers.iter().map(|answer| answer.hits.len()).sum::<usize>();
    let fills_by_itself = |answer: &LegAnswer| answer.hits.len() >= positions.end;
    Ok(match request.paging {
        Paging::Window { .. } if hits >= positions.end && !answers.iter().all(fills_by_itself) => {
            ThresholdTotal::Unlimited
        }
        _ => ThresholdTotal::Sum,
    })
}

/// An answer that says of no more hits than `max`.
pub fn with_total_up_to(answer: &[u8], max: u64) -> Result<Bytes, MergeError> {
    let members = json::members(answer).map_err(|error| MergeError::of_leg(0, error))?;
    let total = members.iter().find(|member| member.raw_key(answer) == b"estimatedTotalHits");
    let Some(total) = total.filter(|total| json::count(total.value(answer)).is_some_and(|count| count > max)) else {
        return Ok(Bytes::copy_from_slice(answer));
    };
    let mut out = answer[..total.value_start].to_vec();
    json::push_count(max, &mut out);
    out.extend_from_slice(&answer[total.value_end..]);
    Ok(out.into())
}

/// One leg's answer, looked through once.
pub(super) struct LegAnswer<'a> {
    /// Place of the leg among those given, for errors.
    pub(super) leg: usize,
    pub(super) body: &'a [u8],
    pub(super) hits: Vec<Hit>,
    /// Members of hits that the merge cares about; each hit knows its range.
    marked: Vec<Member>,
    /// Members of the answer in their order; that of `hits` too.
    envelope: Vec<Member>,
    pub(super) total: u64,
    processing_time_ms: u64,
    /// What a words rule would say of all hits, if this leg is one of a stage.
    words: Option<StageWords>,
    /// Set when matches of attributes are denied: how many exact words such a hit has.
    pub(super) denied_match: Option<u64>,
}

impl<'a> LegAnswer<'a> {
    pub(super) fn read(leg: usize, answer: &'a Leg, request: &SearchMerge) -> Result<Self, MergeError> {
        let body: &[u8] = &answer.body;
        let mut read = Self {
            leg,
            body,
            hits: Vec::new(),
            marked: Vec::new(),
            envelope: Vec::new(),
            total: 0,
            processing_time_ms: 0,
            words: None,
            denied_match: None,
        };
        read.scan(request).map_err(|error| MergeError::of_leg(leg, error))?;
        if read.member(b"hits").is_none() {
            return Err(MergeError::missing(leg, "no hits"));
        }
        let total = read.member(b"estimatedTotalHits").or(read.member(b"totalHits")).and_then(json::count);
        read.total = total.ok_or(MergeError::missing(leg, "no total"))?;
        read.processing_time_ms = read.member(b"processingTimeMs").and_then(json::count).unwrap_or(0);
        Ok(read)
    }

    fn scan(&mut self, request: &SearchMerge) -> json::Result<()> {
        let hidden_key = request.hidden.map(|hidden| hidden.primary_key.as_str());
        let pin_key = request.pins.map(|pins| pins.key);
        let needed: Vec<&str> =
            request.distinct.into_iter().chain(request.key).chain(hidden_key).chain(pin_key).collect();
        let mut cursor = Cursor::new(self.body);
        cursor.enter_object()?;
        while let Some((start, key_end)) = cursor.next_key()? {
            let value_start = cursor.position();
            if &self.body[start + 1..key_end] == b"hits" {
                cursor.enter_array()?;
                while cursor.next_element()? {
                    self.hits.push(Hit::scan(self.body, &mut cursor, &needed, &mut self.marked)?);
                }
            } else {
                cursor.skip_value()?;
            }
            self.envelope.push(Member { start, key_end, value_start, value_end: cursor.position() });
        }
        Ok(())
    }

    /// Value of a member of the answer.
    fn member(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.envelope.iter().find(|member| member.raw_key(self.body) == name).map(|member| member.value(self.body))
    }

    pub(super) fn marked_of(&self, hit: usize) -> &[Member] {
        &self.marked[self.hits[hit].marked.clone()]
    }

    pub(super) fn is_pinned(&self, hit: usize) -> bool {
        self.details_of(hit).is_some_and(|details| details.starts_with(PIN))
    }

    pub(super) fn details_of(&self, hit: usize) -> Option<&'a [u8]> {
        splice::ranking_score_details(self.body, self.marked_of(hit))
    }

    /// The value of a hit's primary key, as the node wrote it.
    pub(super) fn key_of(&self, hit: usize, key: &str) -> Option<&'a [u8]> {
        let member = self.marked_of(hit).iter().find(|member| json::key_is(member.raw_key(self.body), key))?;
        Some(member.value(self.body))
    }

    /// The values of the distinct attribute that a hit has.
    pub(super) fn distinct_values(&self, hit: usize, attribute: &str, request: &SearchMerge) -> Vec<DistinctValue> {
        let hidden = request
            .hidden
            .and_then(|hidden| hidden.distinct_values(self.key_of(hit, &hidden.primary_key).unwrap_or_default()));
        hidden.unwrap_or_else(|| distinct::values_of(self.body, self.marked_of(hit), attribute))
    }

    /// A list for some of the hits, with nothing around it.
    pub(super) fn without_hits(&self) -> Self {
        let (hits, envelope) = (Vec::new(), Vec::new());
        Self { hits, marked: self.marked.clone(), envelope, total: 0, processing_time_ms: 0, ..*self }
    }

    /// Puts around the hits what stands around another's.
    pub(super) fn take_envelope(&mut self, other: Self) {
        self.envelope = other.envelope;
        (self.total, self.processing_time_ms) = (other.total, other.processing_time_ms);
    }

    /// What a hit shows of its document.
    pub(super) fn text_of(&self, hit: usize) -> &'a [u8] {
        let Hit { start, end, .. } = self.hits[hit];
        // Scores stand behind the document's own fields.
        let scores =
            self.marked_of(hit).iter().filter(|member| member.raw_key(self.body).starts_with(b"_rankingScore"));
        &self.body[start..scores.map(|member| member.start).min().unwrap_or(end)]
    }

    /// What the node's details say of a hit.
    pub(super) fn keys_from_node(&self, hit: usize) -> Result<RankKeys<'a>, MergeError> {
        match self.details_of(hit) {
            Some(details) => RankKeys::parse(details).map_err(|error| MergeError::of_leg(self.leg, error)),
            None => Ok(RankKeys::default()),
        }
    }

    fn rank_keys(&self, hit: usize, request: &SearchMerge) -> Result<RankKeys<'a>, MergeError> {
        let mut keys = self.keys_from_node(hit)?;
        if let Some(words) = self.words {
            words.rank_keys(&mut keys);
        }
        if let Some(exact_words) = self.denied_match {
            keys.deny_attribute_match(exact_words);
        }
        if let Some(hidden) = request.hidden.filter(|_| keys.has_hidden()) {
            let key = self.key_of(hit, &hidden.primary_key).unwrap_or_default();
            keys.reveal(|n| hidden.sort_value(key, n).map(|(direction, value)| (direction, value.clone())));
        }
        if let Some(ratio) = request.semantic_ratio {
            let weight = if keys.is_semantic { ratio } else { 1.0 - ratio };
            keys.put_weighted_score_first(
                splice::ranking_score(self.body, self.marked_of(hit)).unwrap_or(0.0) * weight,
            );
        }
        Ok(keys)
    }
}

/// A hit of some leg.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) leg: usize,
    pub(super) hit: usize,
    is_semantic: bool,
}

/// The hits of the page, in order: a k-way merge of the legs' lists that stops at the page's end, with pinned hits at their
/// positions.
pub(super) fn choose_page(
    answers: &[LegAnswer],
    request: &SearchMerge,
    facts: &IndexFacts,
) -> Result<Vec<Chosen>, MergeError> {
    let positions = request.paging.positions(facts.max_total_hits);
    let pinned = pinned_hits(answers, request)?;
    if pinned.is_empty() {
        return ranked_hits(answers, request, positions);
    }
    let mut ranked = ranked_hits(answers, request, 0..positions.end)?;
    let pinned = taken(pinned, &mut ranked, positions.end);
    Ok(placed(pinned, ranked, positions))
}

/// These positions of the list of hits that are not pinned.
fn ranked_hits(
    answers: &[LegAnswer],
    request: &SearchMerge,
    positions: std::ops::Range<usize>,
) -> Result<Vec<Chosen>, MergeError> {
    let mut lists = RankedLists::open(answers, request)?;
    let mut seen = SeenValues::default();
    let mut seen_documents = HashSet::new();
    let mut page = Vec::with_capacity(positions.len().min(answers.iter().map(|answer| answer.hits.len()).sum()));
    let mut position = 0;
    while position < positions.end {
        let Some(chosen) = lists.next()? else { break };
        if let Some(key) = request.key.and_then(|key| answers[chosen.leg].key_of(chosen.hit, key)) {
            if !seen_documents.insert(key) {
                continue;
            }
        }
        if let Some(attribute) = request.distinct {
            let answer = &answers[chosen.leg];
            if !seen.take(answer.distinct_values(chosen.hit, attribute, request)) {
                continue;
            }
        }
        if positions.contains(&position) {
            page.push(chosen);
        }
        position += 1;
    }
    Ok(page)
}

/// All pinned hits, in the order in which one server takes them, each document once.
pub(super) fn pinned_hits(answers: &[LegAnswer], request: &SearchMerge) -> Result<Vec<Pinned<Chosen>>, MergeError> {
    let mut pinned = Vec::new();
    for (leg, answer) in answers.iter().enumerate() {
        for hit in (0..answer.hits.len()).filter(|&hit| answer.is_pinned(hit)) {
            let position = answer.keys_from_node(hit)?.pinned_at;
            let chosen = Chosen { leg, hit, is_semantic: false };
            pinned.extend(position.map(|position| Pinned { position, hit: chosen }));
        }
    }
    if pinned.is_empty() {
        return Ok(pinned);
    }
    let key_of = |chosen: &Chosen, key: &str| answers[chosen.leg].key_of(chosen.hit, key);
    let mut pinned = in_order_taken(pinned, request.pins, key_of);
    if let Some(key) = request.key.or(request.pins.map(|pins| pins.key)) {
        let mut seen = HashSet::new();
        pinned.retain(|pin| key_of(&pin.hit, key).is_none_or(|key| seen.insert(key)));
    }
    pinned.truncate(PINS_MAX);
    Ok(pinned)
}

/// The legs' lists, taken from the front.
struct RankedLists<'a, 'r> {
    answers: &'r [LegAnswer<'a>],
    request: &'r SearchMerge<'r>,
    /// The first hit of each leg that has not been taken. Details are read when a hit comes to the front, not before.
    heads: Vec<Option<RankKeys<'a>>>,
    /// Place of each leg's head in its list.
    places: Vec<usize>,
    chooser: Chooser<'a>,
    /// The leg of the last choice, when its next hit is tied with the one that was chosen: the same choice again.
    standing: Option<usize>,
}

impl<'a, 'r> RankedLists<'a, 'r> {
    fn open(answers: &'r [LegAnswer<'a>], request: &'r SearchMerge<'r>) -> Result<Self, MergeError> {
        let mut lists = Self {
            answers,
            request,
            heads: answers.iter().map(|_| None).collect(),
            places: vec![0; answers.len()],
            chooser: Chooser::default(),
            standing: None,
        };
        for leg in 0..answers.len() {
            lists.fill_head(leg)?;
        }
        Ok(lists)
    }

    /// The next hit of the merged list. Pinned ones stand outside of it.
    fn next(&mut self) -> Result<Option<Chosen>, MergeError> {
        let Some(leg) = self.standing.take().or_else(|| self.chooser.choose(&self.heads)) else { return Ok(None) };
        let is_semantic = self.heads[leg].as_ref().is_some_and(|head| head.is_semantic);
        let chosen = Chosen { leg, hit: self.places[leg], is_semantic };
        self.places[leg] += 1;
        let is_tied = self.fill_head(leg)?;
        self.standing = (is_tied && self.chooser.depends_on_heads_alone()).then_some(leg);
        Ok(Some(chosen))
    }

    /// Reads the keys of the hit at the leg's place. Hits that are tied on their node have the same details to the byte, so
    /// a leg's keys are read again only when they change. Returns whether the keys stayed as they were.
    fn fill_head(&mut self, leg: usize) -> Result<bool, MergeError> {
        let answer = &self.answers[leg];
        while self.places[leg] < answer.hits.len() {
            let place = self.places[leg];
            // Not so where the details hide the value of a rule.
            let says_all = self.request.hidden.is_none();
            if says_all && self.heads[leg].is_some() && answer.details_of(place) == answer.details_of(place - 1) {
                return Ok(true);
            }
            let keys = answer.rank_keys(place, self.request)?;
            if keys.pinned_at.is_none() && !keys.is_of_other_stage {
                self.heads[leg] = Some(keys);
                return Ok(false);
            }
            self.heads[leg] = None;
            self.places[leg] += 1;
        }
        self.heads[leg] = None;
        Ok(false)
    }
}

/// Room for what stands around the hits, when there are no facets.
const ENVELOPE_BYTES: usize = 512;

/// Writes the answer with the members that the first leg has, in its order: whatever version the nodes are, clients see
/// what that version answers. `counted` are the answers that totals and facets add up from.
pub(super) fn write_answer(
    answers: &[LegAnswer],
    counted: &[LegAnswer],
    page: &[Chosen],
    request: &SearchMerge,
    facts: &IndexFacts,
) -> Result<Bytes, MergeError> {
    let found = read_all(request.found.unwrap_or_default(), request)?;
    // Only they have facets that are the answer's, if there are any, but not the members that stand around them.
    let (first, counted) = match (request.counted, found.as_slice()) {
        (None, []) => (&answers[0], counted),
        (Some(_), []) => (&counted[0], counted),
        (None, found) => (&answers[0], found),
        (Some(_), found) => (&counted[0], found),
    };
    let total = total_hits(counted, request);
    let slowest = answers.iter().max_by_key(|answer| answer.processing_time_ms).unwrap_or(&answers[0]);
    let mut facets = read_facets(counted, facts)?;
    if let (Some(attribute), Paging::Page { .. }) = (request.distinct, request.paging) {
        facets.count_distinct_once(attribute);
    }

    let hits_bytes: usize =
        page.iter().map(|chosen| &answers[chosen.leg].hits[chosen.hit]).map(|hit| hit.end - hit.start).sum();
    let mut out = Vec::with_capacity(hits_bytes + ENVELOPE_BYTES);
    for (n, member) in first.envelope.iter().enumerate() {
        out.push(if n == 0 { b'{' } else { b',' });
        out.extend_from_slice(&first.body[member.start..=member.key_end]);
        out.push(b':');
        let mut count = |count: u64| json::push_count(count, &mut out);
        match (member.raw_key(first.body), request.paging) {
            (b"hits", _) => push_hits(answers, page, request.visible, &mut out),
            (b"query", _) => json::push_string(request.query, &mut out),
            (b"processingTimeMs", _) => count(slowest.processing_time_ms),
            (b"limit", Paging::Window { limit, .. }) => count(limit as u64),
            (b"offset", Paging::Window { offset, .. }) => count(offset as u64),
            (b"estimatedTotalHits" | b"totalHits", _) => count(total),
            (b"page", Paging::Page { page, .. }) => count(page as u64),
            (b"hitsPerPage", Paging::Page { hits_per_page, .. }) => count(hits_per_page as u64),
            (b"totalPages", Paging::Page { hits_per_page: 0, .. }) => count(0),
            (b"totalPages", Paging::Page { hits_per_page, .. }) => count(total.div_ceil(hits_per_page as u64)),
            (b"semanticHitCount", _) => count(page.iter().filter(|chosen| chosen.is_semantic).count() as u64),
            (b"facetDistribution", _) => facets.push_distribution(facts, &mut out),
            (b"facetStats", _) => facets.push_stats(&mut out),
            (b"performanceDetails", _) => {
                out.extend_from_slice(slowest.member(b"performanceDetails").unwrap_or(b"null"));
            }
            _ => out.extend_from_slice(member.value(first.body)),
        }
    }
    out.push(b'}');
    Ok(out.into())
}

/// The number of hits over all legs. With a distinct attribute legs count values of which others have the same; as many of
/// them as can be seen are taken off: all where the legs showed all their hits, or the values were counted apart.
fn total_hits(counted: &[LegAnswer], request: &SearchMerge) -> u64 {
    if let Some(total) = request.distinct_total {
        return total;
    }
    let sum = counted.iter().fold(0u64, |sum, answer| sum.saturating_add(answer.total));
    let duplicates = request.distinct.map_or(0, |attribute| {
        let mut seen = SeenValues::default();
        let hits = counted.iter().flat_map(|answer| (0..answer.hits.len()).map(move |hit| (answer, hit)));
        // Pins are shown whatever their values: estimates count each, and exhaustive totals are values that others have too.
        let ranked = hits.filter(|(answer, hit)| !answer.is_pinned(*hit));
        ranked.filter(|(answer, hit)| !seen.take(answer.distinct_values(*hit, attribute, request))).count()
    });
    sum.saturating_sub(duplicates as u64)
}

fn push_hits(answers: &[LegAnswer], page: &[Chosen], visible: &Visibility, out: &mut Vec<u8>) {
    out.push(b'[');
    for (n, chosen) in page.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let answer = &answers[chosen.leg];
        splice::push_hit(
            answer.body,
            &answer.hits[chosen.hit],
            answer.marked_of(chosen.hit),
            visible,
            answer.words.as_ref(),
            out,
        );
    }
    out.push(b']');
}

fn read_facets<'a>(answers: &[LegAnswer<'a>], facts: &IndexFacts) -> Result<Facets<'a>, MergeError> {
    let mut facets = Facets::of(facts);
    for answer in answers {
        let of_leg = |error| MergeError::of_leg(answer.leg, error);
        if let Some(distribution) = answer.member(b"facetDistribution") {
            facets.add_distribution(distribution).map_err(of_leg)?;
        }
        if let Some(stats) = answer.member(b"facetStats") {
            facets.add_stats(stats).map_err(of_leg)?;
        }
    }
    Ok(facets)
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
