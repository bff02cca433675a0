//! `/batches` and `/batches/{uid}`, from the registry.

use super::tasks::{is_visible, visible};
use super::{Answer, Request};
use crate::app::App;
use crate::auth::Rights;
use crate::cluster::TaskUid;
use crate::error::{ApiError, Code};
use crate::tasks::TaskQuery;

pub async fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = TaskQuery::parse(request.query.unwrap_or(""))?.of_batches();
    let page = visible(app, query.clone(), request.rights).await?;
    Ok(Answer::json(200, &page.batches(query.limit)))
}

/// A batch has the number of its only task.
pub async fn get(app: &App, uid: TaskUid, rights: &Rights) -> Result<Answer, ApiError> {
    let not_found = || ApiError::new(Code::BatchNotFound, format!("Batch `{uid}` not found."));
    let task =
        app.tasks.get(uid).await.map_err(|error| if error.is(Code::TaskNotFound) { not_found() } else { error })?;
    if !is_visible(&task, rights) {
        return Err(not_found());
    }
    Ok(Answer::json(200, &task.batch_view().ok_or_else(not_found)?))
}
