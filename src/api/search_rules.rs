//! `/dynamic-search-rules`: kept by Miroir, and given to all nodes alike (`settings::rules`).
//!
//! A request that Miroir cannot read is put to a node, whose refusal is the client's answer.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{json, Value};

use super::experimental_features::{self, Feature};
use super::renaming::accept;
use super::search::worded_by_a_node;
use super::whole_index::custom_metadata;
use super::{json_body, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{IndexUid, RuleChange, RuleUpdate, SearchRule, Snapshot};
use crate::error::{ApiError, Code};
use crate::scatter::NodeRequest;
use crate::settings::rules::PATH;
use crate::tasks::{Conclusion, NewTask, TaskKind};

/// Meilisearch's default of `limit`.
const LIMIT_DEFAULT: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[serde(default)]
    offset: usize,
    #[serde(default = "limit_default")]
    limit: usize,
    filter: Option<ListFilter>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFilter {
    query: Option<String>,
    active: Option<bool>,
}

fn limit_default() -> usize {
    LIMIT_DEFAULT
}

/// `POST /dynamic-search-rules`: the rules, those that were changed last first. What a query finds, and in which order, a node says.
pub async fn list(app: &App, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    let snapshot = app.cluster.snapshot();
    let asked = json_body::parse(&body)?;
    let asked = if asked.is_object() { serde_json::from_value::<List>(asked).ok() } else { None };
    let Some(List { offset, limit, filter }) = asked else {
        return worded_by_a_node(app, &snapshot, &NodeRequest::json(Method::POST, PATH, body)).await;
    };
    check_feature(app, "Calling the `POST /dynamic-search-rules` route").await?;
    let ListFilter { query, active } = filter.unwrap_or_default();
    let rules = snapshot.search_rules();
    let mut found: Vec<&SearchRule> = match query.filter(|query| !query.trim().is_empty()) {
        Some(query) => found_by_a_node(app, &snapshot, &query).await?.iter().filter_map(|uid| rules.get(uid)).collect(),
        None => {
            let mut all: Vec<&SearchRule> = rules.iter().collect();
            all.sort_by_key(|rule| std::cmp::Reverse(rule.last_updated_at));
            all
        }
    };
    found.retain(|rule| active.is_none_or(|active| rule.active == active));
    let total = found.len();
    let results: Vec<&SearchRule> = found.into_iter().skip(offset).take(limit).collect();
    Ok(Answer::json(200, &json!({ "results": results, "offset": offset, "limit": limit, "total": total })))
}

async fn found_by_a_node(app: &App, snapshot: &Snapshot, query: &str) -> Result<Vec<IndexUid>, ApiError> {
    #[derive(Deserialize)]
    struct Found {
        results: Vec<FoundRule>,
    }
    #[derive(Deserialize)]
    struct FoundRule {
        uid: IndexUid,
    }
    let all = json!({ "limit": snapshot.search_rules().len().max(1), "filter": { "query": query } });
    let request = NodeRequest::json(Method::POST, PATH, Bytes::from(all.to_string()));
    let answer = app.scatter.first_answer(&snapshot.serving_nodes(), &request).await?;
    let found: Found = serde_json::from_slice(&answer.body).map_err(|_| unread())?;
    Ok(found.results.into_iter().map(|rule| rule.uid).collect())
}

pub async fn get(app: &App, uid: &str) -> Result<Answer, ApiError> {
    let uid = rule_uid(uid)?;
    check_feature(app, "Calling the `GET /dynamic-search-rules/{:ruleUid}` route").await?;
    let snapshot = app.cluster.snapshot();
    let not_found =
        || ApiError::new(Code::DynamicSearchRuleNotFound, format!("Dynamic search rule `{uid}` not found."));
    snapshot.search_rules().get(&uid).map(|rule| Answer::json(200, rule)).ok_or_else(not_found)
}

/// `PATCH`: makes the rule or changes it.
pub async fn update(app: &App, uid: &str, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let uid = rule_uid(uid)?;
    let metadata = custom_metadata(request)?;
    let body = whole_body(body).await?;
    let Some(update) = RuleUpdate::parse(json_body::parse(&body)?) else {
        let unchanged = NodeRequest::json(Method::PATCH, format!("{PATH}/{uid}"), body);
        return worded_by_a_node(app, &app.cluster.snapshot(), &unchanged).await;
    };
    let details = json!({ "rule": update, "updatedRules": 1 });
    change(app, request, metadata, TaskKind::DsrUpdate, RuleChange::Update(uid, update), details).await
}

pub async fn delete(app: &App, uid: &str, request: &Request<'_>) -> Result<Answer, ApiError> {
    let uid = rule_uid(uid)?;
    let metadata = custom_metadata(request)?;
    change(app, request, metadata, TaskKind::DsrUpdate, RuleChange::Delete(uid), json!({ "updatedRules": 1 })).await
}

pub async fn clear(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let metadata = custom_metadata(request)?;
    change(app, request, metadata, TaskKind::DsrClear, RuleChange::Clear, json!({ "deletedDocuments": null })).await
}

async fn change(
    app: &App,
    request: &Request<'_>,
    custom_metadata: Option<String>,
    kind: TaskKind,
    change: RuleChange,
    details: Value,
) -> Result<Answer, ApiError> {
    check_feature(app, "Using the `/dynamic-search-rules` routes").await?;
    let task = NewTask::concluded(kind, None, Conclusion::Rules(change)).with_details(details);
    accept(app, request, NewTask { custom_metadata, ..task }).await
}

/// Meilisearch answers so with plain text.
fn rule_uid(uid: &str) -> Result<IndexUid, ApiError> {
    IndexUid::parse(uid).map_err(|error| ApiError { status: 404, ..error })
}

/// Refuses an action while the nodes do not serve rules.
async fn check_feature(app: &App, action: &str) -> Result<(), ApiError> {
    experimental_features::check(app, &RULES, action).await
}

const RULES: Feature = Feature { flag: "dynamicSearchRules", name: "dynamic search rules", discussion: 884 };

fn unread() -> ApiError {
    ApiError::new(Code::Internal, "A node's answer cannot be read.")
}
