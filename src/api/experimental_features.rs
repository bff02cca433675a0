//! `/experimental-features`: switched on and off on all nodes alike.

use super::{whole_body, Answer, Body};
use crate::app::App;
use crate::error::ApiError;
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
