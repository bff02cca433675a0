//! `/experimental-features`: switched on and off on all nodes alike.

use serde_json::{Map, Value};

use super::{whole_body, Answer, Body};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::scatter::NodeRequest;
use crate::settings::features;

pub async fn show(app: &App) -> Result<Answer, ApiError> {
    let nodes = app.cluster.snapshot().serving_nodes();
    let answer = app.scatter.first_answer(&nodes, &NodeRequest::get(features::PATH)).await?;
    Ok(Answer::json_bytes(200, answer.body))
}

pub async fn change(app: &App, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    Ok(Answer::json_bytes(200, features::change(app, body).await?))
}

/// A feature of nodes without which some routes are refused.
pub struct Feature {
    pub flag: &'static str,
    pub name: &'static str,
    /// Number of the discussion that the refusal names.
    pub discussion: u32,
}

/// Refuses `action`, as Meilisearch does, while the nodes have the feature off.
pub async fn check(app: &App, feature: &Feature, action: &str) -> Result<(), ApiError> {
    let nodes = app.cluster.snapshot().serving_nodes();
    let answer = app.scatter.first_answer(&nodes, &NodeRequest::get(features::PATH)).await?;
    let found: Map<String, Value> = serde_json::from_slice(&answer.body)
        .map_err(|error| ApiError::new(Code::Internal, format!("A node's features cannot be read: {error}.")))?;
    let Feature { flag, name, discussion } = feature;
    if found.get(*flag) == Some(&Value::Bool(true)) {
        return Ok(());
    }
    let message = format!(
        "{action} requires enabling the `{name}` experimental feature. See \
         https://github.com/orgs/meilisearch/discussions/{discussion}"
    );
    Err(ApiError::new(Code::FeatureNotEnabled, message))
}
