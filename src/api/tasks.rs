//! `/tasks` and `/tasks/{uid}`, from the registry.

use serde_json::json;

use super::whole_index::accepted;
use super::{Answer, Request};
use crate::app::App;
use crate::auth::Rights;
use crate::cluster::TaskUid;
use crate::error::{ApiError, Code};
use crate::tasks::{NewTask, Outcome, Task, TaskFilter, TaskKind, TaskPage, TaskQuery};

/// Tasks that are read at a time for a client who does not see all of them.
const PAGE: u32 = 1_000;
/// How many such pages one request reads: a tenth of a second or two.
const PAGES_READ_MAX: usize = 20;

pub async fn list(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = TaskQuery::parse(request.query.unwrap_or(""))?;
    let page = visible(app, query.clone(), request.rights).await?;
    Ok(Answer::json_bytes(200, page.to_json(query.limit)))
}

pub async fn get(app: &App, uid: TaskUid, rights: &Rights) -> Result<Answer, ApiError> {
    let task = app.tasks.get(uid).await?;
    if !is_visible(&task, rights) {
        return Err(ApiError::new(Code::TaskNotFound, format!("Task `{uid}` not found.")));
    }
    Ok(Answer::json(200, &task.view()))
}

/// Whether a client sees a task: what belongs to no index is for those who see all.
pub fn is_visible(task: &Task, rights: &Rights) -> bool {
    rights.sees_all_indexes() || task.index_uid.as_ref().is_some_and(|uid| rights.sees(uid.as_str()))
}

/// A page of the tasks that a client sees. `total` counts all that match, as Meilisearch's does.
///
/// A client who sees few of many tasks gets a page that is not full, and goes on at its `next`: one request reads no more than
/// [`PAGES_READ_MAX`] pages of the store.
pub async fn visible(app: &App, mut query: TaskQuery, rights: &Rights) -> Result<TaskPage, ApiError> {
    if rights.sees_all_indexes() {
        return app.tasks.list(&query).await;
    }
    let limit = query.limit as usize;
    query.limit = query.limit.max(PAGE);
    let mut shown = app.tasks.list(&query).await?;
    shown.tasks.retain(|task| is_visible(task, rights));
    for _ in 1..PAGES_READ_MAX {
        // One more than the page holds tells where the next one starts.
        let (Some(next), true) = (shown.next, shown.tasks.len() <= limit) else { break };
        query.from = Some(next);
        let page = app.tasks.list(&query).await?;
        shown.next = page.next;
        shown.tasks.extend(page.tasks.into_iter().filter(|task| is_visible(task, rights)));
    }
    if shown.tasks.len() > limit {
        shown.next = Some(shown.tasks[limit].uid.0);
        shown.tasks.truncate(limit);
    }
    Ok(shown)
}

/// A filter for changing only tasks that the client sees: of the indexes that there are, and of those that the filter names.
pub fn restricted(app: &App, mut filter: TaskFilter, rights: &Rights) -> TaskFilter {
    if rights.sees_all_indexes() {
        return filter;
    }
    let named = match filter.index_uids.take() {
        Some(named) => named,
        None => app.cluster.snapshot().indexes().map(|index| index.uid.clone()).collect(),
    };
    filter.index_uids = Some(named.into_iter().filter(|uid| rights.sees(uid.as_str())).collect());
    filter
}

/// `DELETE /tasks`: forgets tasks that have ended, with the idempotency keys that led to them. The nodes' own lists are left alone:
/// Miroir shows nothing of them, other clients of the nodes may read them, and nodes prune them by themselves.
pub async fn delete(app: &App, request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = request.query.unwrap_or("");
    let filter = restricted(app, TaskFilter::parse_to("delete", query)?, request.rights);
    let matched = app.tasks.count(&filter).await?;
    let deleted = app.tasks.delete(filter).await?;
    let details = json!({ "matchedTasks": matched, "deletedTasks": deleted, "originalFilter": format!("?{query}") });
    let task = NewTask::settled(TaskKind::TaskDeletion, None, Outcome::Succeeded).with_details(details);
    Ok(Answer { status: 200, ..accepted(app, request, task).await? })
}
