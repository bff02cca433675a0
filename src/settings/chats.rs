//! Chat workspaces, `/chats`: the same settings on all nodes, and on those that join or come back.
//!
//! As [`features`](super::features), nodes change them at once and without a task. The store says what was chosen: what nodes show of
//! each workspace, and the key of the model's provider, which they show masked.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Later, Settings};
use crate::app::App;
use crate::cluster::NodeIndex;
use crate::error::{ApiError, Code};
use crate::scatter::NodeRequest;
use crate::store::Change;

/// Under which the store keeps them.
const NAME: &str = "chat_workspaces";
/// Workspaces that a node is asked for; a node beyond that many keeps what it has.
const LISTED_MAX: usize = 10_000;

/// What was chosen of a workspace. No `Debug`: it has a secret.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Workspace {
    shown: Settings,
    api_key: Option<String>,
}

type Workspaces = std::collections::BTreeMap<String, Workspace>;

/// What a request does to a workspace.
pub enum Chosen {
    /// Its settings change by this body.
    Patch(Bytes),
    Reset,
    Delete,
}

/// Changes a workspace on all nodes, and returns the answer of the first that is up, which judges the request. `uid` is as
/// it stands in the path.
pub async fn change(app: &App, uid: &str, chosen: Chosen) -> Result<Bytes, ApiError> {
    let _alone = app.changing_features.lock().await;
    let nodes = app.cluster.snapshot().serving_nodes();
    let request = match &chosen {
        Chosen::Patch(body) => NodeRequest::json(Method::PATCH, settings_path(uid), body.clone()),
        Chosen::Reset => NodeRequest::delete(settings_path(uid)),
        Chosen::Delete => NodeRequest::delete(format!("/chats/{uid}")),
    };
    let answer = app.scatter.first_answer(&nodes, &request).await?;
    let unread = |_| ApiError::new(Code::Internal, "A node's chat settings cannot be read.");
    let mut workspaces =
        chosen_workspaces(app).await.map_err(|later| ApiError::new(Code::Internal, later.to_string()))?;
    let key_before = workspaces.as_ref().and_then(|workspaces| workspaces.get(uid)?.api_key.clone());
    let all = workspaces.get_or_insert_default();
    match chosen {
        Chosen::Delete => drop(all.remove(uid)),
        Chosen::Reset => {
            let shown = serde_json::from_slice(&answer.body).map_err(unread)?;
            all.insert(uid.to_owned(), Workspace { shown, api_key: None });
        }
        Chosen::Patch(body) => {
            let shown = serde_json::from_slice(&answer.body).map_err(unread)?;
            let patch: Settings = serde_json::from_slice(&body).map_err(unread)?;
            let api_key = match patch.get("apiKey") {
                None => key_before,
                Some(key) => key.as_str().map(str::to_owned),
            };
            all.insert(uid.to_owned(), Workspace { shown, api_key });
        }
    }
    let value = serde_json::to_value(all).map_err(unread)?;
    app.store.apply(vec![Change::PutConfiguration { name: NAME.to_owned(), value }]).await?;
    let snapshot = app.cluster.snapshot();
    let nodes = snapshot.topology.node_indexes().filter(|&node| snapshot.state(node).takes_writes());
    for later in join_all(nodes.map(|node| make_equal(app, node, true))).await.into_iter().filter_map(Result::err) {
        log::warn!("chat workspaces are changed later: {later}");
    }
    Ok(answer.body)
}

/// Gives a node all that was chosen, whatever it shows: of a key it shows only how it begins.
pub async fn give(app: &App, node: NodeIndex) -> Result<(), Later> {
    let _alone = app.changing_features.lock().await;
    make_equal(app, node, true).await
}

/// Gives a node what it shows otherwise than it was chosen.
pub async fn equalize(app: &App, node: NodeIndex) -> Result<(), Later> {
    let _alone = app.changing_features.lock().await;
    make_equal(app, node, false).await
}

async fn make_equal(app: &App, node: NodeIndex, gives_all: bool) -> Result<(), Later> {
    let Some(workspaces) = chosen_workspaces(app).await? else { return Ok(()) };
    let Some(found) = listed(app, node).await? else { return Ok(()) };
    for uid in found.iter().filter(|uid| !workspaces.contains_key(*uid)) {
        tell(app, node, NodeRequest::delete(format!("/chats/{uid}"))).await?;
    }
    for (uid, workspace) in &workspaces {
        let shown = match found.contains(uid) && !gives_all {
            true => tell(app, node, NodeRequest::get(settings_path(uid))).await?,
            false => Bytes::new(),
        };
        if serde_json::from_slice::<Settings>(&shown).ok().as_ref() != Some(&workspace.shown) {
            let mut body = workspace.shown.clone();
            body.insert("apiKey".to_owned(), workspace.api_key.clone().into());
            let body = Bytes::from(Value::Object(body).to_string());
            tell(app, node, NodeRequest::json(Method::PATCH, settings_path(uid), body)).await?;
        }
    }
    Ok(())
}

/// The workspaces of a node; `None` while it does not serve them, since nobody can use them then.
async fn listed(app: &App, node: NodeIndex) -> Result<Option<Vec<String>>, Later> {
    let request = NodeRequest::get(format!("/chats?limit={LISTED_MAX}"));
    let answer = app.scatter.ask(node, &request).await.map_err(|error| Later(error.to_string()))?;
    if matches!(answer.status, 400 | 404 | 405) {
        return Ok(None);
    }
    let list: Map<String, Value> = serde_json::from_slice(&answer.body).map_err(|error| Later(error.to_string()))?;
    let results = list.get("results").and_then(Value::as_array).into_iter().flatten();
    Ok(Some(results.filter_map(|workspace| workspace.get("uid")?.as_str().map(str::to_owned)).collect()))
}

async fn tell(app: &App, node: NodeIndex, request: NodeRequest) -> Result<Bytes, Later> {
    let id = app.scatter.health.id(node);
    let later = |why: String| Later(format!("node {id} does not take its chat workspaces: {why}"));
    match app.scatter.ask(node, &request).await {
        Ok(answer) if answer.is_success() => Ok(answer.body),
        Ok(answer) => Err(later(ApiError::from_node(answer.status, &answer.body).to_string())),
        Err(error) => Err(later(error.to_string())),
    }
}

fn settings_path(uid: &str) -> String {
    format!("/chats/{uid}/settings")
}

/// What was chosen through Miroir, if anything ever was.
async fn chosen_workspaces(app: &App) -> Result<Option<Workspaces>, Later> {
    let Some(value) = app.store.configuration(NAME).await? else { return Ok(None) };
    // Not the error itself, which may quote a secret.
    serde_json::from_value(value)
        .map(Some)
        .map_err(|_| Later("the chat workspaces in the store cannot be read".to_owned()))
}
