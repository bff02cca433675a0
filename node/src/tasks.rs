//! `/tasks` and `/batches`, and the answer to every request that becomes a task.

use axum::extract::{Path, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{json, Value};

use crate::error::{feature_not_enabled, Code, ResponseError};
use crate::queue::{Batch, Filter, NewTask, Operation, Page, Queue, Task, TaskSet, TaskUid};
use crate::search::parse::read_query;
use crate::state::AppState;
use crate::task_filter::{ChosenTasks, ListParameters};

/// The filters that a cancelation or deletion can have, as refusals of one without any list them.
const FILTERS: &str = "`uids`, `indexUids`, `statuses`, `types`, `canceledBy`, `beforeEnqueuedAt`, `afterEnqueuedAt`, \
                       `beforeStartedAt`, `afterStartedAt`, `beforeFinishedAt`, `afterFinishedAt`";

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/tasks", get(list).delete(delete))
        .route("/tasks/cancel", post(cancel))
        .route("/tasks/{uid}", get(show))
        .route("/tasks/{uid}/documents", get(documents))
        .route("/batches", get(list_batches))
        .route("/batches/{uid}", get(show_batch))
}

/// The answer that a task has been accepted: its summary.
pub struct Accepted {
    status: StatusCode,
    summary: Value,
}

impl IntoResponse for Accepted {
    fn into_response(self) -> Response {
        (self.status, Json(self.summary)).into_response()
    }
}

impl From<&Task> for Accepted {
    fn from(task: &Task) -> Self {
        Self { status: StatusCode::ACCEPTED, summary: task.summary() }
    }
}

/// Enqueues the task and gives the answer that says so.
pub async fn accept(state: AppState, new: NewTask) -> Result<Accepted, ResponseError> {
    let enqueued = tokio::task::spawn_blocking(move || state.queue().enqueue(new));
    Ok(Accepted::from(&enqueued.await.map_err(ResponseError::internal)??))
}

type Parameters = Query<Vec<(String, String)>>;

async fn list(state: State<AppState>, parameters: Parameters) -> Result<Json<Value>, ResponseError> {
    list_any(state, parameters, Queue::list, |task| (task.uid, task.view())).await
}

async fn list_batches(state: State<AppState>, parameters: Parameters) -> Result<Json<Value>, ResponseError> {
    list_any(state, parameters, Queue::list_batches, |batch| (batch.uid, batch.view())).await
}

/// One page of a list. `find` finds the items and counts all that match, `view` gives an item's uid and how it is shown.
async fn list_any<T: Send + 'static>(
    State(state): State<AppState>,
    Query(parameters): Parameters,
    find: impl FnOnce(&Queue, &Filter, Page) -> Result<(Vec<T>, u64), ResponseError> + Send + 'static,
    view: impl Fn(&T) -> (u32, Value),
) -> Result<Json<Value>, ResponseError> {
    let asked: ListParameters = read_query(parameters)?;
    let page = asked.page();
    let filter = Filter::from(asked);
    let found = tokio::task::spawn_blocking(move || find(state.queue(), &filter, page));
    let (items, total) = found.await.map_err(ResponseError::internal)??;
    let (uids, mut results): (Vec<u32>, Vec<Value>) = items.iter().map(view).unzip();
    // The page was asked for with one more than it has.
    let limit = page.limit - 1;
    let next = uids.get(limit as usize);
    results.truncate(limit as usize);
    let from = uids.first().filter(|_| !results.is_empty());
    Ok(Json(json!({ "results": results, "total": total, "limit": limit, "from": from, "next": next })))
}

async fn show(State(state): State<AppState>, Path(uid): Path<String>) -> Result<Json<Value>, ResponseError> {
    let uid: TaskUid = uid.parse().map_err(|_| {
        ResponseError::new(
            Code::InvalidTaskUids,
            format!("Task uid `{uid}` is invalid. It should only contain numeric characters."),
        )
    })?;
    let found = tokio::task::spawn_blocking(move || state.queue().get(uid));
    let task = found
        .await
        .map_err(ResponseError::internal)??
        .ok_or_else(|| ResponseError::new(Code::TaskNotFound, format!("Task `{uid}` not found.")))?;
    Ok(Json(task.view()))
}

async fn show_batch(State(state): State<AppState>, Path(uid): Path<String>) -> Result<Json<Value>, ResponseError> {
    let uid: u32 = uid.parse().map_err(|_| {
        ResponseError::new(
            Code::InvalidBatchUids,
            format!("Batch uid `{uid}` is invalid. It should only contain numeric characters."),
        )
    })?;
    let filter = Filter { batch_uids: Some(vec![uid]), ..Filter::default() };
    let page = Page { from: None, reverse: false, limit: 1 };
    let found = tokio::task::spawn_blocking(move || state.queue().list_batches(&filter, page));
    let (batches, _) = found.await.map_err(ResponseError::internal)??;
    let batch = batches.first().map(Batch::view);
    batch.map(Json).ok_or_else(|| ResponseError::new(Code::BatchNotFound, format!("Batch `{uid}` not found.")))
}

async fn documents() -> ResponseError {
    feature_not_enabled("Getting the documents of an enqueued task", "get task documents route", 808)
}

async fn cancel(state: State<AppState>, query: RawQuery, parameters: Parameters) -> Result<Accepted, ResponseError> {
    let missing = "Query parameters to filter the tasks to cancel are missing.";
    on_chosen(state, query, parameters, missing, |query, tasks| Operation::TaskCancelation { query, tasks }).await
}

async fn delete(state: State<AppState>, query: RawQuery, parameters: Parameters) -> Result<Accepted, ResponseError> {
    let missing = "Query parameters to filter the tasks to delete are missing.";
    on_chosen(state, query, parameters, missing, |query, tasks| Operation::TaskDeletion { query, tasks }).await
}

/// Enqueues a task about the tasks that match at this moment. `missing` is what a request without filters is told.
async fn on_chosen(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
    Query(parameters): Parameters,
    missing: &str,
    operation: impl FnOnce(String, TaskSet) -> Operation + Send + 'static,
) -> Result<Accepted, ResponseError> {
    let is_unfiltered = parameters.is_empty();
    let filter = Filter::from(read_query::<ChosenTasks>(parameters)?);
    if is_unfiltered {
        let message = format!("{missing} Available query parameters are: {FILTERS}.");
        return Err(ResponseError::new(Code::MissingTaskFilters, message));
    }
    let query = format!("?{}", query.unwrap_or_default());
    let enqueued = tokio::task::spawn_blocking(move || {
        let tasks = state.queue().matching(&filter)?;
        state.queue().enqueue(NewTask::new(None, operation(query, tasks)))
    });
    let accepted = Accepted::from(&enqueued.await.map_err(ResponseError::internal)??);
    // The one kind of write that Meilisearch answers with 200.
    Ok(Accepted { status: StatusCode::OK, ..accepted })
}
