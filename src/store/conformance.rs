//! What every backend must do, written against the trait. Each function takes an empty store.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::{IndexRecord, Store};
use crate::cluster::{IndexUid, NodeId, TaskUid};
use crate::error::{Code, ErrorBody};
use crate::tasks::{
    NewTask, NodeTask, NodeTaskReport, Outcome, Task, TaskFilter, TaskKind, TaskPage, TaskQuery, TaskStatus,
};

const T0: OffsetDateTime = datetime!(2025-01-01 00:00:00.123456789 UTC);

/// One test per rule for the backend that `$open` makes.
macro_rules! conformance_tests {
    ($open:expr) => {
        crate::store::conformance::conformance_tests!($open;
            indexes_are_kept_replaced_and_deleted
            task_uids_count_from_zero_and_are_unique_among_concurrent_writers
            a_task_reads_back_as_it_was_written
            a_task_uid_is_never_given_twice
            an_update_of_a_deleted_task_does_not_bring_it_back
            pages_lead_through_all_tasks_in_both_directions
            every_filter_selects_what_its_definition_says
            only_old_finished_tasks_are_deleted
        );
    };
    ($open:expr; $($rule:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let (store, _kept) = $open;
                crate::store::conformance::$rule(std::sync::Arc::new(store)).await;
            }
        )*
    };
}
pub(crate) use conformance_tests;

fn index(uid: &str) -> IndexUid {
    IndexUid::parse(uid).unwrap()
}

pub fn addition(index_uid: &str, node_task: u32) -> NewTask {
    let leg = NodeTask::enqueued(NodeId::new("n1"), node_task, None);
    let mut new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, Some(index(index_uid)), 1, vec![leg])
        .with_details(json!({"receivedDocuments": 1, "indexedDocuments": null}));
    new.enqueued_at = T0;
    new
}

fn succeed(task: &mut Task, node_task: u32, finished_at: OffsetDateTime) {
    let report = NodeTaskReport {
        uid: node_task,
        status: TaskStatus::Succeeded,
        error: None,
        counts: Default::default(),
        enqueued_at: T0,
        started_at: Some(T0 + Duration::SECOND),
        finished_at: Some(finished_at),
    };
    assert!(task.observe(&NodeId::new("n1"), &report));
}

pub async fn indexes_are_kept_replaced_and_deleted(store: Arc<dyn Store>) {
    let mut movies = IndexRecord {
        uid: index("movies"),
        primary_key: None,
        shard_count: 64,
        created_at: T0,
        updated_at: T0,
        settings: json!({"rankingRules": ["words"], "synonyms": {"é": ["\"e\""]}}),
    };
    let books = IndexRecord { uid: index("books"), ..movies.clone() };
    assert_eq!(store.indexes().await.unwrap(), []);
    store.put_index(&movies).await.unwrap();
    store.put_index(&books).await.unwrap();
    movies.primary_key = Some("id".to_owned());
    store.put_index(&movies).await.unwrap();
    assert_eq!(store.indexes().await.unwrap(), [books, movies.clone()]);
    assert!(store.delete_index(&index("books")).await.unwrap());
    assert!(!store.delete_index(&index("books")).await.unwrap());
    assert_eq!(store.indexes().await.unwrap(), [movies]);
}

pub async fn task_uids_count_from_zero_and_are_unique_among_concurrent_writers(store: Arc<dyn Store>) {
    let writers = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.insert_task(addition("i", n)).await.unwrap().uid.0 })
    });
    let uids = futures_util::future::join_all(writers).await;
    let uids: BTreeSet<u32> = uids.into_iter().map(Result::unwrap).collect();
    assert_eq!(uids, (0..50).collect());
}

pub async fn a_task_reads_back_as_it_was_written(store: Arc<dyn Store>) {
    let mut task = store.insert_task(addition("movies", 7)).await.unwrap();
    assert_eq!(store.task(task.uid).await.unwrap().as_ref(), Some(&task));
    assert_eq!(store.unfinished_tasks().await.unwrap(), [task.clone()]);
    succeed(&mut task, 7, T0 + Duration::MINUTE);
    store.update_tasks(vec![task.clone()]).await.unwrap();
    assert_eq!(store.task(task.uid).await.unwrap(), Some(task));
    assert_eq!(store.unfinished_tasks().await.unwrap(), []);
    assert_eq!(store.task(TaskUid(99)).await.unwrap(), None);

    let error = ErrorBody::new(Code::InvalidDocumentId, "no");
    let settled = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, None, Outcome::Failed(error));
    let refused = store.insert_task(settled).await.unwrap();
    assert_eq!(refused.status, TaskStatus::Failed);
    assert_eq!(store.unfinished_tasks().await.unwrap(), []);
}

pub async fn a_task_uid_is_never_given_twice(store: Arc<dyn Store>) {
    let mut task = store.insert_task(addition("movies", 1)).await.unwrap();
    succeed(&mut task, 1, T0 + Duration::MINUTE);
    store.update_tasks(vec![task.clone()]).await.unwrap();
    assert_eq!(store.delete_finished_tasks_before(T0 + Duration::HOUR, 10).await.unwrap(), 1);
    assert_eq!(store.task(task.uid).await.unwrap(), None);
    assert_eq!(store.insert_task(addition("movies", 2)).await.unwrap().uid.0, task.uid.0 + 1);
}

pub async fn an_update_of_a_deleted_task_does_not_bring_it_back(store: Arc<dyn Store>) {
    let mut task = store.insert_task(addition("movies", 1)).await.unwrap();
    succeed(&mut task, 1, T0 + Duration::MINUTE);
    store.update_tasks(vec![task.clone()]).await.unwrap();
    store.delete_finished_tasks_before(T0 + Duration::HOUR, 10).await.unwrap();
    store.update_tasks(vec![task]).await.unwrap();
    assert_eq!(store.tasks(&TaskQuery::default()).await.unwrap(), TaskPage::default());
}

pub async fn pages_lead_through_all_tasks_in_both_directions(store: Arc<dyn Store>) {
    for n in 0..7 {
        store.insert_task(addition("movies", n)).await.unwrap();
    }
    for reverse in [false, true] {
        let mut query = TaskQuery { limit: 3, reverse, ..TaskQuery::default() };
        let mut seen = Vec::new();
        loop {
            let page = store.tasks(&query).await.unwrap();
            assert_eq!(page.total, 7);
            seen.extend(page.tasks.iter().map(|task| task.uid.0));
            query.from = page.next;
            if page.next.is_none() {
                break;
            }
        }
        let expected: Vec<u32> = if reverse { (0..7).collect() } else { (0..7).rev().collect() };
        assert_eq!(seen, expected);
    }
    let none = store.tasks(&TaskQuery { limit: 0, ..TaskQuery::default() }).await.unwrap();
    assert_eq!((none.tasks.len(), none.next), (0, Some(6)));
}

pub async fn every_filter_selects_what_its_definition_says(store: Arc<dyn Store>) {
    let mut all = Vec::new();
    for n in 0..40_u32 {
        let mut new = addition(if n % 3 == 0 { "movies" } else { "books" }, n);
        new.kind = TaskKind::ALL[n as usize % 5];
        new.enqueued_at = T0 + Duration::seconds(i64::from(n));
        let mut task = store.insert_task(new).await.unwrap();
        if n % 2 == 0 {
            succeed(&mut task, n, T0 + Duration::minutes(i64::from(n)));
            task.canceled_by = (n % 4 == 0).then_some(TaskUid(n % 8));
            store.update_tasks(vec![task.clone()]).await.unwrap();
        }
        all.push(task);
    }
    let queries = [
        "",
        "uids=3,4,99",
        "uids=",
        "batchUids=3,4",
        "canceledBy=0",
        "types=documentAdditionOrUpdate,indexCreation",
        "statuses=succeeded",
        "statuses=enqueued,failed",
        "indexUids=movies",
        "indexUids=movies,none&statuses=enqueued&types=documentEdition",
        "afterEnqueuedAt=2025-01-01T00:00:20.123456789Z",
        "beforeEnqueuedAt=2025-01-01T00:00:20.123456789Z",
        "afterStartedAt=2025-01-01T00:00:10Z",
        "beforeStartedAt=2025-01-01T00:00:20Z",
        "afterFinishedAt=2025-01-01T00:10:00Z&beforeFinishedAt=2025-01-01T00:20:00Z",
    ];
    for text in queries {
        let query = TaskQuery { limit: 100, reverse: true, ..TaskQuery::parse(text).unwrap() };
        let expected: Vec<Task> = all.iter().filter(|task| query.filter.matches(task)).cloned().collect();
        assert!(text == "uids=" || !expected.is_empty(), "a query that proves nothing: {text}");
        assert!(text.is_empty() || expected.len() < all.len(), "a query that proves nothing: {text}");
        let total = expected.len() as u64;
        assert_eq!(store.tasks(&query).await.unwrap(), TaskPage { tasks: expected, total, next: None }, "{text}");
    }
}

pub async fn only_old_finished_tasks_are_deleted(store: Arc<dyn Store>) {
    for n in 0..6 {
        let mut task = store.insert_task(addition("movies", n)).await.unwrap();
        if n < 5 {
            succeed(&mut task, n, T0 + Duration::minutes(i64::from(n) + 1));
            store.update_tasks(vec![task]).await.unwrap();
        }
    }
    let cut = T0 + Duration::minutes(5);
    assert_eq!(store.delete_finished_tasks_before(cut, 3).await.unwrap(), 3);
    assert_eq!(store.delete_finished_tasks_before(cut, 3).await.unwrap(), 1);
    assert_eq!(store.delete_finished_tasks_before(cut, 3).await.unwrap(), 0);
    let query = TaskQuery { filter: TaskFilter::default(), ..TaskQuery::default() };
    let left: Vec<u32> = store.tasks(&query).await.unwrap().tasks.iter().map(|task| task.uid.0).collect();
    assert_eq!(left, [5, 4], "the newest finished one and the unfinished one stay");
}
