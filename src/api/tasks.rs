//! `/tasks` and `/tasks/{uid}`, from the registry.

use serde_json::json;

use super::whole_index::accepted;
use super::{Answer, Request};
use crate::app::App;
use crate::cluster::TaskUid;
use crate::error::ApiError;
use crate::tasks::{NewTask, Outcome, TaskFilter, TaskKind, TaskQuery};

pub async fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = TaskQuery::parse(request.query.unwrap_or(""))?;
    let page = app.tasks.list(&query).await?;
    Ok(Answer::json_bytes(200, page.to_json(query.limit)))
}

pub async fn get(app: &App, uid: TaskUid) -> Result<Answer, ApiError> {
    let task = app.tasks.get(uid).await?;
    Ok(Answer::json(200, &task.view()))
}

/// `DELETE /tasks`: forgets tasks that have ended, with the idempotency keys that led to them. The nodes' own lists are left alone:
/// Miroir shows nothing of them, other clients of the nodes may read them, and nodes prune them by themselves.
pub async fn delete(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = request.query.unwrap_or("");
    let filter = TaskFilter::parse_to("delete", query)?;
    let matched = app.tasks.count(&filter).await?;
    let deleted = app.tasks.delete(filter).await?;
    let details = json!({ "matchedTasks": matched, "deletedTasks": deleted, "originalFilter": format!("?{query}") });
    let task = NewTask::settled(TaskKind::TaskDeletion, None, Outcome::Succeeded).with_details(details);
    Ok(Answer { status: 200, ..accepted(app, request, task).await? })
}
