//! Federated searches of which some query is several searches to the nodes: lists of each query by itself.
//!
//! Nodes merge what the queries of one federated search find, and would compare the searches that stand for one query by scores
//! of their own. So each query's list is made as that of any search is, one document being in several, and Miroir puts the lists
//! together. How many documents there are in all of them, only the nodes can tell: they are asked for counts without hits.
//! The same is done where only some nodes know a query's last word (`exactness`), which decides the order of any search's list.

use futures_util::future::try_join_all;

use super::federated_search::Planned;
use super::frequency;
use super::index_read::IndexRead;
use super::search::{merge_failed, scattered};
use super::search_request::SearchRequest;
use crate::app::App;
use crate::cluster::Snapshot;
use crate::error::ApiError;
use crate::merge::federated::FederatedLeg;
use crate::merge::{query_list, Leg};

/// Whether lists can be had: hits must show by which key documents are told apart, and stand in no place but that of their rank.
/// (What a search by meaning finds depends on what else it is asked.)
pub fn can_be_had(planned: &[Planned<'_>]) -> bool {
    let can_be_list = |query: &Planned| {
        query.facts.shown_primary_key().is_some() && query.facts.pins.is_none() && query.search.meaning().is_none()
    };
    planned.iter().all(can_be_list)
}

/// The same query, hits of which show their key.
pub fn with_key(mut query: Planned<'_>) -> Planned<'_> {
    if let Some(key) = query.facts.shown_primary_key() {
        query.search = query.search.with_key(key);
    }
    query
}

/// The searches that together find whatever the query finds.
pub fn counting(query: &Planned<'_>) -> Vec<SearchRequest> {
    query.staged.as_ref().map_or_else(|| vec![query.search.clone()], |staged| staged.counting())
}

/// The first `end` hits of each query, as if a node had them all; with what they lack. Hits show their keys.
pub async fn of(
    app: &App,
    snapshot: &Snapshot,
    planned: &[Planned<'_>],
    end: usize,
    seed: u64,
) -> Result<(Vec<FederatedLeg>, Option<String>), ApiError> {
    let lists = planned.iter().map(|query| async move {
        let mut read = IndexRead::of_all_shards(app, snapshot, query.index, seed);
        read.shards.clone_from(&query.shards);
        match &query.staged {
            Some(staged) => frequency::answer(&read, staged.for_list(end, &query.facts)).await,
            None => scattered(&read, &query.search.clone().for_list(end, &query.facts)).await,
        }
    });
    let mut legs = Vec::with_capacity(planned.len());
    let mut degraded = None;
    for (n, answer) in try_join_all(lists).await?.into_iter().enumerate() {
        let body = query_list::federated(&answer.body, planned[n].options.weight).map_err(merge_failed)?;
        legs.push(FederatedLeg { leg: Leg { shards: Vec::new(), body }, queries: vec![n] });
        degraded = degraded.or(answer.degraded);
    }
    Ok((legs, degraded))
}
