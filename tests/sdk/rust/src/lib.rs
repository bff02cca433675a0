//! What all tests of the Rust client share: the server under test, the films, and indexes of each test's own.
//!
//! `MEILI_URL` and `MEILI_KEY` name the server; `MEILI_ENGINE` is `embedded` where its nodes are Miroir's own, whose
//! engine is an older Meilisearch's.

use std::time::Duration;

use meilisearch_sdk::client::Client;
use meilisearch_sdk::errors::{Error, ErrorCode};
use meilisearch_sdk::indexes::Index;
use meilisearch_sdk::search::SearchResult;
use meilisearch_sdk::settings::Settings;
use meilisearch_sdk::task_info::TaskInfo;
use meilisearch_sdk::tasks::Task;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A task may wait for others on a busy machine.
const TASK_PATIENCE: Duration = Duration::from_secs(120);
const TASK_POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Film {
    pub id: u32,
    pub title: String,
    pub year: u32,
    pub genres: Vec<String>,
    pub rating: f64,
    pub director: String,
    pub minutes: u32,
    pub _geo: Place,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub lat: f64,
    pub lng: f64,
}

/// A document of which only this much matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Titled {
    pub id: u32,
    pub title: String,
}

impl Titled {
    pub fn new(id: u32, title: &str) -> Self {
        Self { id, title: title.to_owned() }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is to be set"))
}

/// A client with the master key.
pub fn client() -> Client {
    client_with(Some(&variable("MEILI_KEY")))
}

pub fn client_with(key: Option<&str>) -> Client {
    Client::new(variable("MEILI_URL"), key).expect("a client")
}

pub fn films() -> Vec<Film> {
    serde_json::from_str(include_str!("../../films.json")).expect("films")
}

/// Ids of the films that `condition` holds for, in order.
pub fn ids_where(condition: impl Fn(&Film) -> bool) -> Vec<u32> {
    films().iter().filter(|film| condition(film)).map(|film| film.id).collect()
}

/// Ids of hits, in order.
pub fn sorted_ids(hits: &[SearchResult<Film>]) -> Vec<u32> {
    let mut ids: Vec<u32> = hits.iter().map(|hit| hit.result.id).collect();
    ids.sort_unstable();
    ids
}

/// A name that no other test has.
pub fn new_name() -> String {
    format!("rust-{}", uuid::Uuid::new_v4().simple())
}

pub async fn ended(client: &Client, task: TaskInfo) -> Task {
    task.wait_for_completion(client, Some(TASK_POLL), Some(TASK_PATIENCE)).await.expect("the task ends")
}

pub async fn succeed(client: &Client, task: Result<TaskInfo, Error>) -> Task {
    let task = ended(client, task.expect("it is accepted")).await;
    assert!(task.is_success(), "{task:?}");
    task
}

pub async fn fail_with(client: &Client, code: ErrorCode, task: Result<TaskInfo, Error>) {
    let task = ended(client, task.expect("it is accepted")).await;
    assert!(task.is_failure(), "{task:?}");
    assert_eq!(task.unwrap_failure().error_code, code);
}

/// What a refused call is refused with.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorCode {
    match result {
        Err(Error::Meilisearch(error)) => error.error_code,
        // The client keeps what it cannot read as it came.
        Err(Error::MeilisearchCommunication(error)) => panic!("no error of Meilisearch: {error}"),
        other => panic!("it was not refused: {other:?}"),
    }
}

/// An empty index with the primary key `id`.
pub async fn new_index(client: &Client) -> Index {
    let name = new_name();
    succeed(client, client.create_index(&name, Some("id")).await).await;
    client.index(name)
}

/// An index of all films.
pub async fn film_index(client: &Client, settings: Settings) -> Index {
    let index = client.index(new_name());
    succeed(client, index.add_documents(&films(), Some("id")).await).await;
    succeed(client, index.set_settings(&settings).await).await;
    index
}

/// A setting as JSON, the elements of lists in order where order says nothing.
pub fn in_any_order(value: impl Serialize) -> Value {
    let mut value = serde_json::to_value(value).expect("JSON");
    if let Value::Array(items) = &mut value {
        items.sort_by_key(Value::to_string);
    }
    value
}
