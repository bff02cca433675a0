//! What is switched on and off on nodes as a whole, `/experimental-features`: the same on all of them, and on those that come back.
//!
//! Nodes change it at once, without a task, so it stands in the store and not in their logs: what the store says is what a node is
//! made to have whenever it is looked at.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde_json::Value;

use super::{Later, Settings};
use crate::app::App;
use crate::cluster::{NodeIndex, Snapshot};
use crate::error::{ApiError, Code};
use crate::scatter::NodeRequest;
use crate::store::Change;

pub const PATH: &str = "/experimental-features";
/// Under which the store keeps them.
pub const NAME: &str = "experimental_features";

/// Changes features on all nodes. The first that is up judges the request; what it makes of it holds for all.
pub async fn change(app: &App, body: Bytes) -> Result<Bytes, ApiError> {
    let _alone = app.changing_features.lock().await;
    let snapshot = app.cluster.snapshot();
    let answer =
        app.scatter.first_answer(&snapshot.serving_nodes(), &NodeRequest::json(Method::PATCH, PATH, body)).await?;
    let features: Settings = serde_json::from_slice(&answer.body)
        .map_err(|error| ApiError::new(Code::Internal, format!("A node's features cannot be read: {error}.")))?;
    let change = Change::PutConfiguration { name: NAME.to_owned(), value: Value::Object(features.clone()) };
    app.store.apply(vec![change]).await?;
    app.cluster.publish(|snapshot| {
        // Rules that were changed while nodes did not serve them are yet to be given to them.
        let nodes: Vec<NodeIndex> = snapshot.topology.node_indexes().collect();
        nodes.into_iter().fold(snapshot.with_features(features), Snapshot::missing_search_rules)
    });
    let nodes = snapshot.topology.node_indexes().filter(|&node| snapshot.state(node).takes_writes());
    for later in join_all(nodes.map(|node| equalize(app, node))).await.into_iter().filter_map(Result::err) {
        log::warn!("features are changed later: {later}");
    }
    Ok(answer.body)
}

/// Gives a node the features that were chosen through Miroir. Members that it does not know are another version's.
pub async fn equalize(app: &App, node: NodeIndex) -> Result<(), Later> {
    let snapshot = app.cluster.snapshot();
    let Some(chosen) = snapshot.features() else { return Ok(()) };
    let id = app.scatter.health.id(node);
    let later = |why: String| Later(format!("node {id} does not take its features: {why}"));
    let answer = app.scatter.ask(node, &NodeRequest::get(PATH)).await.map_err(|error| later(error.to_string()))?;
    let has: Settings = serde_json::from_slice(&answer.body).map_err(|error| later(error.to_string()))?;
    let different = chosen.iter().filter(|(name, value)| has.get(*name).is_some_and(|found| found != *value));
    let patch: Settings = different.map(|(name, value)| (name.clone(), value.clone())).collect();
    if patch.is_empty() {
        return Ok(());
    }
    log::info!("node {id} is given the features that the others have");
    let request = NodeRequest::json(Method::PATCH, PATH, Bytes::from(Value::Object(patch).to_string()));
    match app.scatter.ask(node, &request).await {
        Ok(answer) if answer.is_success() => Ok(()),
        Ok(answer) => Err(later(ApiError::from_node(answer.status, &answer.body).to_string())),
        Err(error) => Err(later(error.to_string())),
    }
}
