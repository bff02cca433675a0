//! `/chats`: workspaces are configured on all nodes alike (`settings::chats`). Any node says how, since all have the same.

use super::{whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::IndexUid;
use crate::error::{ApiError, Code};
use crate::scatter::NodeRequest;
use crate::settings::chats::{self, Chosen};

/// The list, a workspace, or its settings.
pub async fn show(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let nodes = app.cluster.snapshot().serving_nodes();
    let answer = app.scatter.first_answer(&nodes, &NodeRequest::get(request.path_and_query)).await;
    Ok(Answer::json_bytes(200, answer.map_err(worded)?.body))
}

pub async fn update(app: &App, uid: &IndexUid, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    let answer = chats::change(app, uid.as_str(), Chosen::Patch(body)).await;
    Ok(Answer::json_bytes(200, answer.map_err(worded)?))
}

pub async fn reset(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    let answer = chats::change(app, uid.as_str(), Chosen::Reset).await;
    Ok(Answer::json_bytes(200, answer.map_err(worded)?))
}

pub async fn delete(app: &App, uid: &IndexUid) -> Result<Answer, ApiError> {
    chats::change(app, uid.as_str(), Chosen::Delete).await.map_err(worded)?;
    Ok(Answer::empty(204))
}

/// A node without such a route answers as one that has it switched off.
fn worded(error: ApiError) -> ApiError {
    if !matches!(error.status, 404 | 405) || error.is(Code::ChatNotFound) {
        return error;
    }
    let message = "using the /chats/settings route requires enabling the `chat completions` experimental feature. See \
                   https://github.com/orgs/meilisearch/discussions/835";
    ApiError::new(Code::FeatureNotEnabled, message)
}
