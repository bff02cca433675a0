//! Whether nodes know a query's last word, where the order of hits depends on it: see [`crate::merge::exactness`].
//!
//! Asked is only when some node took a hit without the word for a match, and the page would be another if it was none: one
//! question to all nodes whether any document has the word. Searches of one word, searches that end in a separator, and those
//! whose matches show the word pay nothing but a look at the hits.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{json, Value};

use super::index_read::IndexRead;
use super::query_words::{splits_as_usual, stop_words, OpenWord, QueryWords};
use super::read_kinds::{COUNT, SEARCH};
use super::restriction::restrict;
use super::search::merge_failed;
use super::search_request::SearchRequest;
use super::whole_index::index_path;
use crate::cluster::Shard;
use crate::error::{ApiError, Code};
use crate::merge::exactness::{may_show_match, Denied};
use crate::merge::{IndexFacts, Leg};
use crate::scatter::NodeRequest;

/// How many more hits than the page needs a leg is asked for whose matches are denied, first and then: behind them may be hits
/// that belong before. They are as many as have the same words in the same places, few unless documents are all alike.
const MORE_HITS: [usize; 2] = [200, 1_000];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Total {
    estimated_total_hits: u64,
}

/// The legs whose matches of attributes one server would not have; `None` if there are none, or the page does not depend on it.
/// Such legs are asked for more hits where it does.
pub async fn denied(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    legs: &mut [Leg],
    facts: &IndexFacts,
) -> Result<Option<Denied>, ApiError> {
    if legs.len() < 2 || search.meaning().is_some() || !legs.iter().any(|leg| may_show_match(&leg.body)) {
        return Ok(None);
    }
    let Some(open) = open_last_word(search, &read.index.settings) else { return Ok(None) };
    let deniable = search.deniable(legs, facts, &open.word, open.words_before).map_err(merge_failed)?;
    let Some(mut denied) = deniable else { return Ok(None) };
    let shards_with_word = shards_with_word(read, &open).await?;
    // A node that knew the word would show it in its matches.
    denied.legs.retain(|&n| !legs[n].shards.iter().any(|shard| shards_with_word.contains(shard)));
    if shards_with_word.is_empty() || denied.legs.is_empty() {
        return Ok(None);
    }
    for more in MORE_HITS {
        ask_for_more(read, search, legs, &denied, facts, more).await?;
    }
    Ok(Some(denied))
}

/// The last word of a search, if a node may not know it and would rank by the words before it then.
pub fn open_last_word(search: &SearchRequest, settings: &Value) -> Option<OpenWord> {
    if search.has("locales") || !search.query().ends_with(char::is_alphanumeric) || !splits_as_usual(settings) {
        return None;
    }
    let stop_words = stop_words(settings);
    QueryWords::split(search.query(), &stop_words)?.open_last_word(&stop_words)
}

/// The shards of the legs some document of which has the word: all shards of a node count as one.
pub async fn shards_with_word(read: &IndexRead<'_>, open: &OpenWord) -> Result<Vec<Shard>, ApiError> {
    let path = index_path(read.index, "/search");
    let request_for = |shards: Option<&[Shard]>| {
        let mut body = json!({ "q": format!("\"{}\"", open.word), "limit": 0 });
        if let Some(language) = open.language {
            body["locales"] = json!([language]);
        }
        if let Some(shards) = shards {
            body["filter"] = restrict(Value::Null, shards);
        }
        NodeRequest::json(Method::POST, path.clone(), Bytes::from(body.to_string()))
    };
    let (counted, _missing) = read.over_all_shards().legs(COUNT, request_for).await?;
    let mut shards = Vec::new();
    for leg in counted {
        let total: Total = serde_json::from_slice(&leg.body)
            .map_err(|error| ApiError::new(Code::Internal, format!("A node's count cannot be read: {error}.")))?;
        if total.estimated_total_hits > 0 {
            shards.extend(leg.shards);
        }
    }
    Ok(shards)
}

/// Replaces the legs that are cut off by longer ones. What cannot be had stays as it is.
async fn ask_for_more(
    read: &IndexRead<'_>,
    search: &SearchRequest,
    legs: &mut [Leg],
    denied: &Denied,
    facts: &IndexFacts,
    more: usize,
) -> Result<(), ApiError> {
    let page_end = search.paging().positions(facts.max_total_hits).end.max(1);
    let search = &search.clone().with_over_fetch(1 + more.div_ceil(page_end));
    let path = &index_path(read.index, "/search");
    let request_for =
        |shards: Option<&[Shard]>| NodeRequest::json(Method::POST, path.clone(), search.leg_body(shards, facts));
    let mut cut_off = Vec::new();
    for &n in &denied.legs {
        if search.is_cut_off(&legs[n], facts).map_err(merge_failed)? {
            cut_off.push((n, legs[n].shards.clone()));
        }
    }
    let reads =
        cut_off.iter().map(|(_, shards)| read.legs_of(SEARCH, shards, |_, restriction| request_for(restriction)));
    for ((n, shards), longer) in cut_off.iter().zip(join_all(reads).await) {
        if let Ok((mut longer, _missing)) = longer {
            longer.retain(|leg| leg.shards == *shards);
            if let Some(leg) = longer.pop() {
                legs[*n] = leg;
            }
        }
    }
    Ok(())
}
