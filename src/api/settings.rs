//! `/indexes/{uid}/settings` and its sub-routes: every node gets the same settings, and the client reads what it wrote.
//!
//! A sub-route is one member of the whole, so all of them become one `PATCH` of the whole on the nodes. What Miroir adds
//! (its filterable field, the nodes' own number of listed facet values) goes in on the way to the nodes and comes out on the way back.

use bytes::Bytes;
use http::Method;
use serde_json::{json, Map, Value};

use super::search::worded_by_a_node;
use super::whole_index::{accepted, index_missing, index_path, node_path, submit, to_all, turn, Creation};
use super::{facts, json_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::auth::Rights;
use crate::cluster::{Index, IndexUid, Snapshot, TaskUid};
use crate::error::{ApiError, Code};
use crate::merge::MAX_VALUES_PER_FACET_DEFAULT;
use crate::reserved::SHARD_FIELD;
use crate::scatter::NodeRequest;
use crate::settings::{proposed, record_patch, recorded_part, with_own, without_own};
use crate::store::IndexChange;
use crate::tasks::{Conclusion, NewTask, Outcome, TaskKind};
use crate::writes::{Reach, Scope, Spread, StepBody, Write};

/// Sub-routes and whether they are changed by `PATCH` (objects, which are merged) or by `PUT`.
const SUB_ROUTES: [(&str, Verb); 23] = [
    ("chat", Verb::Patch),
    ("dictionary", Verb::Put),
    ("displayed-attributes", Verb::Put),
    ("distinct-attribute", Verb::Put),
    ("embedders", Verb::Patch),
    ("facet-search", Verb::Put),
    ("faceting", Verb::Patch),
    ("filterable-attributes", Verb::Put),
    ("foreign-keys", Verb::Put),
    ("localized-attributes", Verb::Put),
    ("non-separator-tokens", Verb::Put),
    ("pagination", Verb::Patch),
    ("prefix-search", Verb::Put),
    ("proximity-precision", Verb::Put),
    ("ranking-rules", Verb::Put),
    ("search-cutoff-ms", Verb::Put),
    ("searchable-attributes", Verb::Put),
    ("separator-tokens", Verb::Put),
    ("sortable-attributes", Verb::Put),
    ("stop-words", Verb::Put),
    ("synonyms", Verb::Put),
    ("typo-tolerance", Verb::Patch),
    ("vector-store", Verb::Patch),
];

pub async fn handle(
    app: &App,
    uid: &IndexUid,
    sub_route: Option<&str>,
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let member = match sub_route {
        None => None,
        Some(name) => {
            match SUB_ROUTES.iter().find(|(known, _)| *known == name) {
                Some((_, changes)) if verb == *changes || matches!(verb, Verb::Get | Verb::Delete) => {}
                Some(_) => {
                    let message = format!("The setting `{name}` has no such method.");
                    return Err(ApiError::new(Code::MethodNotAllowed, message));
                }
                // One of a later version, which changes by either method: only the nodes know by which.
                None if is_shown_by_nodes(app, uid, name).await? => {}
                None => return Err(ApiError::new(Code::NotFound, format!("There is no setting `{name}`."))),
            }
            Some(camel_case(name))
        }
    };
    match (verb, member) {
        (Verb::Get, member) => read(app, uid, member.as_deref()).await,
        (Verb::Delete, Some(member)) => write(app, request, uid, Map::from_iter([(member, Value::Null)])).await,
        (Verb::Delete, None) => reset_all(app, request, uid).await,
        (_, Some(member)) => {
            let value = json_body::read(body).await?;
            let written = write(app, request, uid, Map::from_iter([(member.clone(), value)])).await;
            written.map_err(|error| told_of_member(error, &member))
        }
        (_, None) => write(app, request, uid, json_body::object(json_body::read(body).await?)?).await,
    }
}

/// Whether the nodes have a setting that this sub-route could be of.
async fn is_shown_by_nodes(app: &App, uid: &IndexUid, name: &str) -> Result<bool, ApiError> {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if !name.split('-').all(is_part) {
        return Ok(false);
    }
    let Ok((snapshot, index)) = app.index(uid) else { return Ok(false) };
    Ok(of_one_node(app, &snapshot, &index).await?.contains_key(&camel_case(name)))
}

/// The error that the patch of one member was refused with, as the member's own sub-route words it: the value is the whole
/// body there, so its place in the patch goes.
fn told_of_member(mut error: ApiError, member: &str) -> ApiError {
    for preposition in [" at", " inside"] {
        let Some((before, place)) = error.body.message.split_once(&format!("{preposition} `.{member}")) else {
            continue;
        };
        let reworded = match place.as_bytes().first() {
            Some(b'`') => format!("{before}{}", &place[1..]),
            Some(b'.' | b'[') => format!("{before}{preposition} `{place}"),
            _ => continue,
        };
        error.body.message = reworded;
    }
    error
}

/// `displayed-attributes` becomes `displayedAttributes`. No part may be empty, nor begin with anything beyond ASCII.
fn camel_case(kebab: &str) -> String {
    let mut parts = kebab.split('-');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| {
        let (head, tail) = part.split_at(1);
        name + &head.to_ascii_uppercase() + tail
    })
}

async fn read(app: &App, uid: &IndexUid, member: Option<&str>) -> Result<Answer, ApiError> {
    let (snapshot, index) = app.index(uid)?;
    let mut settings = of_one_node(app, &snapshot, &index).await?;
    remove_own(&mut settings, &index);
    match member {
        None => Ok(Answer::json(200, &settings)),
        Some(member) => match settings.get(member) {
            Some(value) => Ok(Answer::json(200, value)),
            // The nodes' version lacks it, or names the sub-route otherwise: their answer is the right one.
            None => {
                let sub_route =
                    SUB_ROUTES.iter().find(|(name, _)| camel_case(name) == member).map_or("", |(name, _)| *name);
                worded_by_a_node(
                    app,
                    &snapshot,
                    &NodeRequest::get(index_path(&index, &format!("/settings/{sub_route}"))),
                )
                .await
            }
        },
    }
}

pub async fn of_one_node(app: &App, snapshot: &Snapshot, index: &Index) -> Result<Map<String, Value>, ApiError> {
    let answer =
        app.scatter.first_answer(&snapshot.nodes_for(index), &NodeRequest::get(index_path(index, "/settings"))).await?;
    serde_json::from_slice(&answer.body)
        .map_err(|error| ApiError::new(Code::Internal, format!("A node's settings cannot be read: {error}.")))
}

/// Takes out what [`add_own`] put in.
fn remove_own(settings: &mut Map<String, Value>, index: &Index) {
    if let Some(Value::Array(attributes)) = settings.get_mut("filterableAttributes") {
        *attributes = without_own(std::mem::take(attributes));
    }
    if let Some(Value::Object(faceting)) = settings.get_mut("faceting") {
        let own = index.settings.pointer("/faceting/maxValuesPerFacet").cloned();
        faceting.insert("maxValuesPerFacet".to_owned(), own.unwrap_or_else(|| json!(MAX_VALUES_PER_FACET_DEFAULT)));
    }
}

/// The patch for the nodes. `recorded` are the index's recorded settings as they will be after it; `expires` says whether its
/// documents may expire.
fn add_own(mut patch: Map<String, Value>, recorded: &Value, expires: bool) -> Map<String, Value> {
    match patch.get_mut("filterableAttributes") {
        Some(Value::Array(attributes)) => *attributes = with_own(std::mem::take(attributes), expires),
        Some(reset @ Value::Null) => *reset = with_own(Vec::new(), expires).into(),
        _ => {}
    }
    let node_max = || json!(facts::node_max_values_per_facet(recorded));
    match patch.get_mut("faceting") {
        // What is no number is left for the nodes to refuse.
        Some(Value::Object(faceting))
            if faceting.get("maxValuesPerFacet").is_none_or(|max| max.is_u64() || max.is_null()) =>
        {
            faceting.insert("maxValuesPerFacet".to_owned(), node_max());
        }
        Some(reset @ Value::Null) => *reset = json!({ "maxValuesPerFacet": node_max(), "sortFacetValuesBy": null }),
        _ => {}
    }
    patch
}

async fn write(
    app: &App,
    request: &Request<'_>,
    uid: &IndexUid,
    patch: Map<String, Value>,
) -> Result<Answer, ApiError> {
    if patch.get("filterableAttributes").is_some_and(mentions_own_field) {
        let message = format!("`{SHARD_FIELD}` is Miroir's own field and cannot be set.");
        return Err(ApiError::new(Code::MiroirReservedField, message));
    }
    let turn = turn(app, uid, Scope::Whole).await?;
    let (mut steps, node_uid, shard_count, settings, change) = match app.index_for_writes(uid) {
        Some(index) => (Vec::new(), index.node_uid.clone(), index.shard_count, proposed(app, &index), None),
        // A reset makes no index.
        None if *request.method == Method::DELETE || !request.rights.may_create(uid.as_str()) => {
            return index_missing(app, request, uid, TaskKind::SettingsUpdate, Value::Object(patch)).await;
        }
        None => {
            let Creation { steps, record } = match Creation::of(app, uid, None).await {
                Ok(creation) => creation,
                Err(error) => {
                    let failed = Outcome::Failed(error);
                    let task = NewTask::settled(TaskKind::SettingsUpdate, Some(uid.clone()), failed);
                    return accepted(app, request, task.with_details(Value::Object(patch))).await;
                }
            };
            let (node_uid, settings) = (record.node_uid().clone(), record.settings.clone());
            (steps, node_uid, record.shard_count, settings, Some(IndexChange::Put(record)))
        }
    };
    let conclusion = Conclusion::Settings { patch: recorded_part(&patch) };
    let settings = record_patch(&settings, &patch);
    let body = StepBody::Whole(Bytes::from(
        Value::Object(add_own(patch.clone(), &settings, app.config.ttl.enabled)).to_string(),
    ));
    let path = node_path(&node_uid, "/settings");
    steps.push(to_all(TaskKind::SettingsUpdate, Method::PATCH, path, body, shard_count));
    // A new index is on all nodes or on none, whatever its settings are.
    let spread = if change.is_some() { Spread::SideBySide } else { app.config.settings_broadcast.strategy };
    let write = Write {
        kind: TaskKind::SettingsUpdate,
        reach: Reach::WholeIndex,
        index_uid: uid.clone(),
        node_uid,
        shard_count,
        details: Value::Object(patch),
        custom_metadata: None,
        steps,
        change,
        spread,
        conclusion: Some(conclusion),
        idempotency: None,
    };
    submit(app, request, write, turn).await
}

/// Changes settings of an index that exists, for Miroir itself, and says by which task.
pub async fn change_for_us(app: &App, uid: &IndexUid, patch: Map<String, Value>) -> Result<TaskUid, ApiError> {
    let rights = Rights::everything();
    let request = Request::of_ours(&Method::PATCH, &rights);
    let accepted = write(app, &request, uid, patch).await?;
    let summary: Value = serde_json::from_slice(&accepted.body).unwrap_or_default();
    let task = summary["taskUid"].as_u64().and_then(|uid| u32::try_from(uid).ok());
    task.map(TaskUid).ok_or_else(|| ApiError::new(Code::Internal, "A change of settings has no task."))
}

fn mentions_own_field(attributes: &Value) -> bool {
    attributes.as_array().is_some_and(|attributes| attributes.iter().any(|attribute| attribute == SHARD_FIELD))
}

/// Every setting that the nodes have is set to its default in one patch, so that Miroir's field stays filterable throughout.
async fn reset_all(app: &App, request: &Request<'_>, uid: &IndexUid) -> Result<Answer, ApiError> {
    let names = match app.index(uid) {
        Ok((snapshot, index)) => of_one_node(app, &snapshot, &index).await?,
        // The task will say so.
        Err(_) => Map::new(),
    };
    write(app, request, uid, names.into_iter().map(|(name, _)| (name, Value::Null)).collect()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn miroirs_field_stays_filterable_whatever_the_client_sets() {
        let sent = |patch: Value| Value::Object(add_own(object(patch), &json!({}), false));
        assert_eq!(
            sent(json!({ "filterableAttributes": ["a"] })),
            json!({ "filterableAttributes": ["a", "_miroir_shard"] })
        );
        assert_eq!(sent(json!({ "filterableAttributes": null })), json!({ "filterableAttributes": ["_miroir_shard"] }));
        assert_eq!(sent(json!({ "stopWords": ["the"] })), json!({ "stopWords": ["the"] }));
    }

    #[test]
    fn nodes_list_all_values_where_facets_are_ordered_by_count() {
        let patch = object(json!({ "faceting": { "maxValuesPerFacet": 10, "sortFacetValuesBy": { "*": "count" } } }));
        let recorded = record_patch(&json!({}), &patch);
        assert_eq!(recorded, json!({ "faceting": { "maxValuesPerFacet": 10, "sortFacetValuesBy": { "*": "count" } } }));
        assert_eq!(add_own(patch, &recorded, false)["faceting"]["maxValuesPerFacet"], 100_000);
    }

    #[test]
    fn a_sub_route_is_named_as_its_setting_whatever_a_later_version_calls_it() {
        for (sub_route, member) in
            [("synonyms", "synonyms"), ("search-cutoff-ms", "searchCutoffMs"), ("some-2-settings", "some2Settings")]
        {
            assert_eq!(camel_case(sub_route), member);
        }
    }

    #[test]
    fn an_error_of_a_sub_route_does_not_name_the_member() {
        let told =
            |message: &str, member: &str| told_of_member(ApiError::new(Code::BadRequest, message), member).body.message;
        assert_eq!(told("Invalid value type at `.stopWords`: expected", "stopWords"), "Invalid value type: expected");
        assert_eq!(told("Invalid value at `.rankingRules[0]`: no", "rankingRules"), "Invalid value at `[0]`: no");
        assert_eq!(told("Unknown value `a` at `.faceting.b.c`: d", "faceting"), "Unknown value `a` at `.b.c`: d");
        assert_eq!(told("Unknown field `a` inside `.typoTolerance`: b", "typoTolerance"), "Unknown field `a`: b");
        let other = "Invalid value type at `.facetingOther`: expected";
        assert_eq!(told(other, "faceting"), other);
    }

    #[test]
    fn sub_routes_name_members_of_the_whole() {
        assert_eq!(camel_case("non-separator-tokens"), "nonSeparatorTokens");
        assert_eq!(camel_case("synonyms"), "synonyms");
        assert_eq!(camel_case("search-cutoff-ms"), "searchCutoffMs");
    }
}
