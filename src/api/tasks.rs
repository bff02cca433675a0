//! `/tasks` and `/tasks/{uid}`, from the registry.

use super::{Answer, Request};
use crate::app::App;
use crate::cluster::TaskUid;
use crate::error::ApiError;
use crate::tasks::TaskQuery;

pub async fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = TaskQuery::parse(request.query.unwrap_or(""))?;
    let page = app.tasks.list(&query).await?;
    Ok(Answer::json_bytes(200, page.to_json(query.limit)))
}

pub async fn get(app: &App, uid: TaskUid) -> Result<Answer, ApiError> {
    let task = app.tasks.get(uid).await?;
    Ok(Answer::json(200, &task.view()))
}
