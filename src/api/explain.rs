//! `POST /indexes/{uid}/explain`: how a search would be carried out, and why. With `?execute=true` it is, and each leg's part
//! of the work is told.

pub mod filterable;
mod warnings;

use std::time::Instant;

use http::Method;
use serde_json::{json, Value};

use super::coalescing::SearchIdentity;
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::query_string;
use super::read_kinds::SEARCH;
use super::search::{foreign_filter, identity, over_fetch_of, refused_by_a_node, worded_by_a_node};
use super::search_request::{ParsedSearch, SearchRequest};
use super::whole_index::index_path;
use super::{facts, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{CoveringLeg, IndexUid, NodeIndex, Shard};
use crate::error::{ApiError, Code};
use crate::filter::narrowing::{Narrowing, Reason, IDS_MAX, VALUES_MAX};
use crate::merge::json as raw_json;
use crate::scatter::{ChosenBy, NodeRequest, Outlook};

pub async fn explain(
    app: &App,
    uid: &IndexUid,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    if !app.config.explain.enabled {
        return Err(ApiError::new(Code::NotFound, "Searches are not explained: `explain.enabled` is false."));
    }
    let execute = wants_execution(request.query)?;
    let (snapshot, index) = request.index(app, uid)?;
    let body = whole_body(body).await?;
    let parsed = SearchRequest::from_json(&body);
    let unchanged = NodeRequest::json(Method::POST, index_path(&index, "/search"), body);
    let search = match parsed {
        ParsedSearch::Search(search) if search.filter().is_foreign() => {
            return refused_by_a_node(app, &snapshot, &unchanged, foreign_filter).await;
        }
        ParsedSearch::Search(search) => *search,
        ParsedSearch::PassThrough => return worded_by_a_node(app, &snapshot, &unchanged).await,
    };
    app.metrics.explain_requests.with_label_values(&[if execute { "yes" } else { "no" }]).inc();
    let narrowing = search.filter().narrowing(&index);
    let read = IndexRead::of_all_shards(app, &snapshot, &index, search.fingerprint()).narrowed(&narrowing);
    let search = search.hiding_expired(hidden_until(app, &index));
    let plan = Plan { search: &search, narrowing: &narrowing, read: &read, outlook: read.outlook(SEARCH) };
    let mut explanation = plan.describe();
    explanation["index"]["alias"] = called_by_alias(request, uid);
    let over_fetch = over_fetch_of(app, request, &search)?;
    let identity = identity(app, uid, &snapshot, request, &search, over_fetch);
    explanation["coalescing"] = describe_sharing(app, identity);
    explanation["warnings"] = warnings::of(&plan.outlook.set, &read, &search, &narrowing, request.rights.is_operator());
    if execute {
        explanation["execution"] = plan.execute().await?;
    }
    Ok(Answer::json(200, &explanation))
}

/// With whom the search would share its answer.
fn describe_sharing(app: &App, identity: Option<SearchIdentity>) -> Value {
    match identity {
        Some(identity) => json!({
            "shared": true,
            "identity": format!("{:016x}", identity.fingerprint()),
            "underWay": app.searches.has(&identity),
        }),
        None => json!({ "shared": false, "why": "`query_coalescing.enabled` is false." }),
    }
}

/// The alias that the client called the index by: the route has been told what it stands for.
fn called_by_alias(request: &Request<'_>, uid: &IndexUid) -> Value {
    let called = request.path_and_query.split('/').nth(2).map(query_string::percent_decode);
    called.filter(|called| called != uid.as_str()).map_or(Value::Null, |called| called.into_owned().into())
}

fn wants_execution(query: Option<&str>) -> Result<bool, ApiError> {
    let mut execute = false;
    for (name, value) in query_string::parameters(query) {
        match (name.as_ref(), value.as_ref()) {
            ("execute", "true") => execute = true,
            ("execute", "false") => execute = false,
            ("execute", other) => {
                let message =
                    format!("Invalid value in parameter `execute`: could not parse `{other}` as a boolean, expected either `true` or `false`");
                return Err(ApiError::new(Code::BadRequest, message));
            }
            (other, _) => return Err(query_string::unknown_parameter(other, &["execute"])),
        }
    }
    Ok(execute)
}

/// What will be asked of whom.
struct Plan<'p> {
    search: &'p SearchRequest,
    narrowing: &'p Narrowing,
    read: &'p IndexRead<'p>,
    outlook: Outlook,
}

impl Plan<'_> {
    fn describe(&self) -> Value {
        let IndexRead { snapshot, index, seed, shards, .. } = self.read;
        json!({
            "index": { "uid": index.uid.as_str(), "primaryKey": index.primary_key, "shards": index.shard_count },
            "settingsVersion": index.settings_version,
            "narrowing": self.describe_narrowing(),
            "shards": shards,
            "group": self.describe_group(),
            "legs": self.outlook.set.legs.iter().map(|leg| self.describe_leg(leg)).collect::<Vec<_>>(),
            "missingShards": self.outlook.set.missing,
            "replicas": self.describe_replicas(),
            "matchingStrategy": self.describe_strategy(),
            // Searches of the same fingerprint come from the same replicas, whatever their paging.
            "fingerprint": format!("{seed:016x}"),
            "snapshotEpoch": snapshot.epoch,
        })
    }

    fn describe_narrowing(&self) -> Value {
        match self.narrowing {
            Narrowing::Shards { shards, values } => json!({
                "narrowed": true,
                "values": values,
                "shards": shards.iter().collect::<Vec<_>>(),
                "why": "The filter forces the primary key to known values.",
            }),
            Narrowing::No(reason) => json!({ "narrowed": false, "reason": reason.name(), "why": why(*reason) }),
        }
    }

    fn describe_group(&self) -> Value {
        let topology = &self.read.snapshot.topology;
        let group_of = |node: NodeIndex| topology.node(node).group;
        let mut groups: Vec<_> = self.outlook.set.legs.iter().map(|leg| group_of(leg.node)).collect();
        groups.dedup();
        groups.sort_unstable();
        groups.dedup();
        let why = match (topology.groups.len(), groups.as_slice()) {
            (1, _) => "There is one group.",
            (_, [_]) => "The query's fingerprint chose it, and it has all shards that are asked for.",
            (_, []) => "No group has an eligible replica.",
            _ => "No group alone has an eligible replica of every shard that is asked for.",
        };
        json!({ "chosen": groups, "why": why })
    }

    fn describe_leg(&self, leg: &CoveringLeg) -> Value {
        let snapshot = self.read.snapshot;
        let node = snapshot.topology.node(leg.node);
        let is_whole = self.read.is_whole(&leg.shards);
        json!({
            "node": node.id.as_str(),
            "group": node.group,
            "shards": leg.shards,
            // Whether the node holds other shards, which its filter must leave out.
            "restricted": self.read.restriction(leg).is_some(),
            "asked": if is_whole { "the search as it is" } else { "all hits up to the end of the page, with score details" },
        })
    }

    /// What the choice between replicas goes by.
    fn describe_replicas(&self) -> Value {
        let topology = &self.read.snapshot.topology;
        let nodes = topology.node_indexes().zip(&self.outlook.nodes).map(|(node, outlook)| {
            json!({
                "node": topology.node(node).id.as_str(),
                "score": (outlook.score * 1e3).round() / 1e3,
                "avoided": outlook.is_avoided,
                "hedgeAfterMs": outlook.late_after.map(milliseconds),
            })
        });
        json!({
            "chosenBy": self.outlook.chosen_by.name(),
            "why": match self.outlook.chosen_by {
                ChosenBy::Memory => "The same replicas as for the query's last page.",
                ChosenBy::Load => "The lowest scores: latency, errors and requests under way.",
                ChosenBy::Turn => "`replica_selection.strategy` is `round_robin`.",
                ChosenBy::Chance => "At random: by strategy, or to see whether a slow node has recovered.",
            },
            "nodes": nodes.collect::<Vec<_>>(),
        })
    }

    fn describe_strategy(&self) -> Value {
        let is_counted = self.search.strategy_is("frequency") && !self.read.is_whole_on_every_node();
        match is_counted {
            true => json!({
                "strategy": "frequency",
                "why": "The words are counted over all shards first; the search is then put in one or several stages.",
            }),
            false => json!({ "strategy": "as asked" }),
        }
    }

    /// Runs the legs of the plan once, without merging them.
    async fn execute(&self) -> Result<Value, ApiError> {
        let facts = facts::of(self.read.snapshot, self.read.index);
        let path = index_path(self.read.index, "/search");
        let request_for = |leg: &[Shard], restriction: Option<&[Shard]>| {
            let body = match self.read.is_whole(leg) {
                true => self.search.whole_body(restriction),
                false => self.search.leg_body(restriction, &facts),
            };
            NodeRequest::json(Method::POST, path.clone(), body)
        };
        let started = Instant::now();
        let outcome = self.read.outcome(SEARCH, &self.read.shards, request_for).await?;
        let took = started.elapsed();
        let topology = &self.read.snapshot.topology;
        let legs = outcome.legs.iter().map(|leg| {
            json!({
                "node": topology.node(leg.node).id.as_str(),
                "shards": leg.shards,
                "ms": milliseconds(leg.answer.took),
                "nodeMs": member(&leg.answer.body, b"processingTimeMs"),
                "total": member(&leg.answer.body, b"estimatedTotalHits").or(member(&leg.answer.body, b"totalHits")),
                "bytes": leg.answer.body.len(),
            })
        });
        Ok(json!({
            "ms": milliseconds(took),
            "legs": legs.collect::<Vec<_>>(),
            "missingShards": outcome.missing,
        }))
    }
}

fn milliseconds(time: std::time::Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// A count in a node's answer.
fn member(body: &[u8], name: &[u8]) -> Option<u64> {
    let members = raw_json::members(body).ok()?;
    members.iter().find(|member| member.raw_key(body) == name).and_then(|member| raw_json::count(member.value(body)))
}

fn why(reason: Reason) -> String {
    match reason {
        Reason::NoFilter => "There is no filter.".to_owned(),
        Reason::NoPrimaryKey => "The index has no primary key yet.".to_owned(),
        Reason::Unreadable => "The filter cannot be read; a node will say why.".to_owned(),
        Reason::KeyNotForced => {
            "The filter also matches documents with other primary keys: `=` and `IN` narrow, alone or behind AND, but not beside \
             anything else behind OR, nor negated."
                .to_owned()
        }
        Reason::TooManyValues => format!("The filter names more than {VALUES_MAX} primary keys."),
        Reason::TooManyIds => format!(
            "Meilisearch compares strings without regard to case, and the values have more than {IDS_MAX} spellings, or are not ASCII."
        ),
    }
}
