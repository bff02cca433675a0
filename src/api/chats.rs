//! `/chats`: workspaces are configured on all nodes alike (`settings::chats`). Any node says how, since all have the same.

use super::experimental_features::{self, Feature};
use super::{whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::IndexUid;
use crate::error::ApiError;
use crate::scatter::NodeRequest;
use crate::settings::chats::{self, Chosen};

const CHATS: Feature = Feature { flag: "chatCompletions", name: "chat completions", discussion: 835 };
/// What a client does who asks for settings, as refusals name it.
const SETTINGS: &str = "using the /chats/settings route";

pub async fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    show(app, request, "listing the chats").await
}

pub async fn get(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    show(app, request, "displaying a chat").await
}

pub async fn settings(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    show(app, request, SETTINGS).await
}

async fn show(app: &App, request: &Request<'_>, action: &str) -> Result<Answer, ApiError> {
    experimental_features::check(app, &CHATS, action).await?;
    let nodes = app.cluster.snapshot().serving_nodes();
    let answer = app.scatter.first_answer(&nodes, &NodeRequest::get(request.path_and_query)).await?;
    Ok(Answer::json_bytes(200, answer.body))
}

pub async fn update(app: &App, uid: &IndexUid, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    experimental_features::check(app, &CHATS, SETTINGS).await?;
    Ok(Answer::json_bytes(200, chats::change(app, uid.as_str(), Chosen::Patch(body)).await?))
}

pub async fn reset(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    experimental_features::check(app, &CHATS, SETTINGS).await?;
    Ok(Answer::json_bytes(200, chats::change(app, uid.as_str(), Chosen::Reset).await?))
}

pub async fn delete(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    experimental_features::check(app, &CHATS, "deleting a chat").await?;
    chats::change(app, uid.as_str(), Chosen::Delete).await?;
    Ok(Answer::empty(204))
}
