//! What every backend must do, written against the trait. Each function takes an empty store.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

use super::{Change, IdempotentWrite, IndexRecord, PayloadId, PayloadPart, StaleReplica, Store, StoreError};
use crate::auth::{Action, AdminSession, ApiKey, IndexPattern, KeyUid};
use crate::cluster::{Alias, AliasKind, Expiry, Flip, IndexUid, NodeId, Shard, ShardSet, TaskUid, TtlPolicy};
use crate::error::{Code, ErrorBody};
use crate::tasks::{
    Acknowledgement, Idempotency, NewTask, NodeTask, NodeTaskReport, Outcome, Replay, Task, TaskFilter, TaskKind,
    TaskPage, TaskQuery, TaskStatus,
};
use crate::webhooks::{Webhook, WebhookUid};

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
            a_task_is_followed_until_its_last_leg_has_ended_and_is_not_pruned_before
            a_payload_is_read_by_step_and_shard_in_the_order_in_which_it_was_added
            payloads_of_writes_that_never_got_their_number_are_cleared_away
            changes_are_made_together
            aliases_are_kept_replaced_and_deleted
            a_configuration_is_what_was_last_put
            an_idempotency_key_leads_to_one_task
            idempotency_keys_are_forgotten_by_age_and_by_number
            stale_shards_add_up_until_they_have_been_copied
            api_keys_are_kept_replaced_and_deleted
            default_keys_are_made_only_where_there_is_none
            webhooks_are_kept_replaced_and_deleted
            admin_sessions_are_kept_until_they_are_ended
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

fn update(task: Task) -> Change {
    Change::UpdateTask(Box::new(task))
}

fn shards(shards: &[u32]) -> ShardSet {
    shards.iter().copied().map(Shard).collect()
}

fn part(step: u8, shard: Option<u32>, bytes: &'static str) -> PayloadPart {
    PayloadPart { step, shard: shard.map(Shard), bytes: bytes.as_bytes().into() }
}

/// An addition that its node has not been given yet.
fn undelivered(payload: PayloadId) -> NewTask {
    let leg = NodeTask::planned(NodeId::new("n1"), 0, shards(&[1]));
    let mut new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, Some(index("movies")), 1, vec![leg]);
    new.enqueued_at = T0;
    new.replay = Some(Replay { payload, bytes: 3, heads: Vec::new(), marker: "m".to_owned() });
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
        other_node_uid: None,
        primary_key: None,
        shard_count: 64,
        created_at: T0,
        updated_at: T0,
        settings: json!({"rankingRules": ["words"], "synonyms": {"é": ["\"e\""]}}),
        settings_version: 3,
        verified_settings: json!({"stopWords": ["é"]}).as_object().cloned(),
        is_frozen: true,
        expiry: Expiry {
            is_filterable: true,
            policy: TtlPolicy { enabled: Some(true), sweep_interval_s: Some(5), max_deletes_per_sweep: None },
        },
    };
    let books = IndexRecord { uid: index("books"), ..movies.clone() };
    assert_eq!(store.indexes().await.unwrap(), []);
    store.apply(vec![Change::PutIndex(movies.clone())]).await.unwrap();
    store.apply(vec![Change::PutIndex(books.clone())]).await.unwrap();
    movies.primary_key = Some("id".to_owned());
    store.apply(vec![Change::PutIndex(movies.clone())]).await.unwrap();
    assert_eq!(store.indexes().await.unwrap(), [books, movies.clone()]);
    for _ in 0..2 {
        store.apply(vec![Change::DeleteIndex(index("books"))]).await.unwrap();
    }
    assert_eq!(store.indexes().await.unwrap(), [movies]);
}

pub async fn aliases_are_kept_replaced_and_deleted(store: Arc<dyn Store>) {
    let mut alias = Alias {
        name: index("b"),
        kind: AliasKind::Single,
        targets: vec![index("movies")],
        version: 1,
        created_at: T0,
        updated_at: T0,
        history: Vec::new(),
    };
    let other = Alias { name: index("a"), kind: AliasKind::Multi, ..alias.clone() };
    assert_eq!(store.aliases().await.unwrap(), []);
    store.apply(vec![Change::PutAlias(alias.clone()), Change::PutAlias(other.clone())]).await.unwrap();
    alias.history = vec![Flip { version: 1, targets: vec![index("movies")], flipped_at: T0 + Duration::SECOND }];
    (alias.version, alias.targets) = (2, vec![index("books")]);
    store.apply(vec![Change::PutAlias(alias.clone())]).await.unwrap();
    assert_eq!(store.aliases().await.unwrap(), [other, alias.clone()]);
    for _ in 0..2 {
        store.apply(vec![Change::DeleteAlias(index("a"))]).await.unwrap();
    }
    assert_eq!(store.aliases().await.unwrap(), [alias]);
}

pub async fn a_configuration_is_what_was_last_put(store: Arc<dyn Store>) {
    assert_eq!(store.configuration("a").await.unwrap(), None);
    for value in [json!({ "x": 1 }), json!({ "y": ["é"] })] {
        store.apply(vec![Change::PutConfiguration { name: "a".to_owned(), value: value.clone() }]).await.unwrap();
        assert_eq!(store.configuration("a").await.unwrap(), Some(value));
    }
    assert_eq!(store.configuration("b").await.unwrap(), None);
}

pub async fn task_uids_count_from_zero_and_are_unique_among_concurrent_writers(store: Arc<dyn Store>) {
    let writers = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.insert_task(addition("i", n), Vec::new()).await.unwrap().uid.0 })
    });
    let uids = futures_util::future::join_all(writers).await;
    let uids: BTreeSet<u32> = uids.into_iter().map(Result::unwrap).collect();
    assert_eq!(uids, (0..50).collect());
}

pub async fn a_task_reads_back_as_it_was_written(store: Arc<dyn Store>) {
    let mut task = store.insert_task(addition("movies", 7), Vec::new()).await.unwrap();
    assert_eq!(store.task(task.uid).await.unwrap().as_ref(), Some(&task));
    assert_eq!(store.followed_tasks().await.unwrap(), [task.clone()]);
    succeed(&mut task, 7, T0 + Duration::MINUTE);
    store.apply(vec![update(task.clone())]).await.unwrap();
    assert_eq!(store.task(task.uid).await.unwrap(), Some(task));
    assert_eq!(store.followed_tasks().await.unwrap(), []);
    assert_eq!(store.task(TaskUid(99)).await.unwrap(), None);

    let error = ErrorBody::new(Code::InvalidDocumentId, "no");
    let settled = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, None, Outcome::Failed(error));
    let refused = store.insert_task(settled, Vec::new()).await.unwrap();
    assert_eq!(refused.status, TaskStatus::Failed);
    assert_eq!(store.followed_tasks().await.unwrap(), []);
}

pub async fn a_task_uid_is_never_given_twice(store: Arc<dyn Store>) {
    let mut task = store.insert_task(addition("movies", 1), Vec::new()).await.unwrap();
    succeed(&mut task, 1, T0 + Duration::MINUTE);
    store.apply(vec![update(task.clone())]).await.unwrap();
    assert_eq!(store.delete_finished_tasks_before(T0 + Duration::HOUR, 10).await.unwrap(), 1);
    assert_eq!(store.task(task.uid).await.unwrap(), None);
    assert_eq!(store.insert_task(addition("movies", 2), Vec::new()).await.unwrap().uid.0, task.uid.0 + 1);
}

pub async fn an_update_of_a_deleted_task_does_not_bring_it_back(store: Arc<dyn Store>) {
    let mut task = store.insert_task(addition("movies", 1), Vec::new()).await.unwrap();
    succeed(&mut task, 1, T0 + Duration::MINUTE);
    store.apply(vec![update(task.clone())]).await.unwrap();
    store.delete_finished_tasks_before(T0 + Duration::HOUR, 10).await.unwrap();
    store.apply(vec![update(task)]).await.unwrap();
    assert_eq!(store.tasks(&TaskQuery::default()).await.unwrap(), TaskPage::default());
}

pub async fn pages_lead_through_all_tasks_in_both_directions(store: Arc<dyn Store>) {
    for n in 0..7 {
        store.insert_task(addition("movies", n), Vec::new()).await.unwrap();
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
        let mut task = store.insert_task(new, Vec::new()).await.unwrap();
        if n % 2 == 0 {
            succeed(&mut task, n, T0 + Duration::minutes(i64::from(n)));
            task.canceled_by = (n % 4 == 0).then_some(TaskUid(n % 8));
            store.apply(vec![update(task.clone())]).await.unwrap();
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
        let mut task = store.insert_task(addition("movies", n), Vec::new()).await.unwrap();
        if n < 5 {
            succeed(&mut task, n, T0 + Duration::minutes(i64::from(n) + 1));
            store.apply(vec![update(task)]).await.unwrap();
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

pub async fn a_task_is_followed_until_its_last_leg_has_ended_and_is_not_pruned_before(store: Arc<dyn Store>) {
    let mut task = store.insert_task(undelivered(PayloadId(1)), Vec::new()).await.unwrap();
    task.fail(ErrorBody::new(Code::MiroirNoQuorum, "no"), T0);
    store.apply(vec![update(task.clone())]).await.unwrap();
    assert_eq!(store.followed_tasks().await.unwrap(), [task.clone()]);
    assert_eq!(store.delete_finished_tasks_before(T0 + Duration::DAY, 10).await.unwrap(), 0);

    task.acknowledge(&NodeId::new("n1"), 0, Acknowledgement { uid: 4, enqueued_at: Some(T0), shared_by: 3 });
    succeed(&mut task, 4, T0 + Duration::MINUTE);
    store.apply(vec![update(task)]).await.unwrap();
    assert_eq!(store.followed_tasks().await.unwrap(), []);
    assert_eq!(store.delete_finished_tasks_before(T0 + Duration::DAY, 10).await.unwrap(), 1);
}

pub async fn a_payload_is_read_by_step_and_shard_in_the_order_in_which_it_was_added(store: Arc<dyn Store>) {
    let id = PayloadId(u64::MAX);
    store.add_payload(id, vec![part(0, None, "settings"), part(1, Some(1), "a")]).await.unwrap();
    store.add_payload(id, vec![part(1, Some(1), "b"), part(1, Some(2), "c")]).await.unwrap();
    store.insert_task(undelivered(id), vec![part(1, Some(5), "d")]).await.unwrap();
    store.add_payload(PayloadId(7), vec![part(1, Some(1), "of another")]).await.unwrap();
    let read = |step, of: &[u32]| {
        let (store, of) = (store.clone(), shards(of));
        async move { store.payload(id, step, &of).await.unwrap() }
    };
    assert_eq!(read(0, &[]).await, [part(0, None, "settings")]);
    assert_eq!(read(1, &[1, 5]).await, [part(1, Some(1), "a"), part(1, Some(1), "b"), part(1, Some(5), "d")]);
    assert_eq!(read(2, &[1]).await, []);
    store.apply(vec![Change::DeletePayload(id)]).await.unwrap();
    assert_eq!(read(1, &[1]).await, []);
    assert_eq!(store.payload(PayloadId(7), 1, &shards(&[1])).await.unwrap().len(), 1);
}

pub async fn payloads_of_writes_that_never_got_their_number_are_cleared_away(store: Arc<dyn Store>) {
    for id in 1..=3 {
        store.add_payload(PayloadId(id), vec![part(0, None, "x"), part(0, None, "y")]).await.unwrap();
    }
    assert_eq!(store.retain_payloads(&[PayloadId(2), PayloadId(9)]).await.unwrap(), 2);
    assert_eq!(store.retain_payloads(&[PayloadId(2)]).await.unwrap(), 0);
    assert_eq!(store.payload(PayloadId(2), 0, &shards(&[])).await.unwrap().len(), 2);
    assert_eq!(store.payload(PayloadId(1), 0, &shards(&[])).await.unwrap(), []);
}

pub async fn changes_are_made_together(store: Arc<dyn Store>) {
    let record = IndexRecord {
        uid: index("movies"),
        other_node_uid: None,
        primary_key: None,
        shard_count: 8,
        created_at: T0,
        updated_at: T0,
        settings: json!({}),
        settings_version: 0,
        verified_settings: None,
        is_frozen: false,
        expiry: Default::default(),
    };
    let id = PayloadId(3);
    let mut task = store.insert_task(undelivered(id), vec![part(0, None, "x")]).await.unwrap();
    task.acknowledge(&NodeId::new("n1"), 0, Acknowledgement { uid: 4, enqueued_at: None, shared_by: 1 });
    let changes = vec![Change::PutIndex(record.clone()), update(task.clone()), Change::DeletePayload(id)];
    store.apply(changes).await.unwrap();
    assert_eq!(store.indexes().await.unwrap(), [record]);
    assert_eq!(store.task(task.uid).await.unwrap(), Some(task.clone()));
    assert_eq!(store.payload(id, 0, &shards(&[])).await.unwrap(), []);
    store.apply(vec![Change::DeleteTask(task.uid), Change::DeleteIndex(index("movies"))]).await.unwrap();
    assert_eq!((store.task(task.uid).await.unwrap(), store.indexes().await.unwrap()), (None, vec![]));
    assert_eq!(store.tasks(&TaskQuery::default()).await.unwrap(), TaskPage::default());
}

fn with_key(key: &str, age: Duration) -> NewTask {
    let mut new = addition("movies", 1);
    new.enqueued_at = T0 - age;
    new.idempotency = Some(Idempotency { key: key.to_owned(), digest: [7; 32] });
    new
}

pub async fn an_idempotency_key_leads_to_one_task(store: Arc<dyn Store>) {
    assert_eq!(store.idempotent_write("k").await.unwrap(), None);
    let task = store.insert_task(with_key("k", Duration::ZERO), Vec::new()).await.unwrap();
    let known = IdempotentWrite { digest: [7; 32], task: task.uid };
    assert_eq!(store.idempotent_write("k").await.unwrap(), Some(known.clone()));
    let again = store.insert_task(with_key("k", Duration::ZERO), Vec::new()).await.unwrap_err();
    assert!(matches!(again, StoreError::IdempotencyKeyTaken), "{again}");
    let other = store.insert_task(with_key("other", Duration::ZERO), Vec::new()).await.unwrap();
    assert_eq!(other.uid.0, task.uid.0 + 1, "a refused task takes no number");
    assert_eq!(store.idempotent_write("k").await.unwrap(), Some(known));

    store.apply(vec![Change::DeleteTask(task.uid)]).await.unwrap();
    assert_eq!(store.idempotent_write("k").await.unwrap(), None, "a write that was withdrawn may be tried again");
    assert!(store.idempotent_write("other").await.unwrap().is_some());
}

pub async fn idempotency_keys_are_forgotten_by_age_and_by_number(store: Arc<dyn Store>) {
    for n in 0..6_i64 {
        store.insert_task(with_key(&format!("k{n}"), Duration::hours(n)), Vec::new()).await.unwrap();
    }
    let known = || async {
        let mut known = Vec::new();
        for n in 0..6 {
            if store.idempotent_write(&format!("k{n}")).await.unwrap().is_some() {
                known.push(n);
            }
        }
        known
    };
    let old = T0 - Duration::minutes(210);
    assert_eq!(store.forget_idempotency_keys(old, 100, 1).await.unwrap(), 1);
    assert_eq!(known().await, [0, 1, 2, 3, 4]);
    assert_eq!(store.forget_idempotency_keys(old, 100, 10).await.unwrap(), 1);
    assert_eq!(store.forget_idempotency_keys(old, 100, 10).await.unwrap(), 0);
    assert_eq!(store.forget_idempotency_keys(old, 2, 10).await.unwrap(), 2);
    assert_eq!(known().await, [0, 1]);
}

pub async fn stale_shards_add_up_until_they_have_been_copied(store: Arc<dyn Store>) {
    let stale = |of: &[u32]| StaleReplica { node: NodeId::new("n1"), index_uid: index("movies"), shards: shards(of) };
    store.apply(vec![Change::AddStale(stale(&[1, 2]))]).await.unwrap();
    store.apply(vec![Change::AddStale(stale(&[2, 70]))]).await.unwrap();
    assert_eq!(store.stale_replicas().await.unwrap(), [stale(&[1, 2, 70])]);
    store.apply(vec![Change::RemoveStale(stale(&[2, 3]))]).await.unwrap();
    assert_eq!(store.stale_replicas().await.unwrap(), [stale(&[1, 70])]);
    store.apply(vec![Change::RemoveStale(stale(&[1, 70]))]).await.unwrap();
    assert_eq!(store.stale_replicas().await.unwrap(), []);
}

fn api_key(n: u128, name: &str) -> ApiKey {
    ApiKey {
        uid: KeyUid::from_u128(n),
        name: Some(name.to_owned()),
        description: None,
        actions: vec![Action::Search, Action::DocumentsAll],
        indexes: vec![IndexPattern::parse("movies_*").unwrap()],
        expires_at: Some(T0 + Duration::DAY),
        created_at: T0,
        updated_at: T0 + Duration::SECOND,
    }
}

pub async fn api_keys_are_kept_replaced_and_deleted(store: Arc<dyn Store>) {
    let keys = || async {
        let mut keys = store.api_keys().await.unwrap();
        keys.sort_by_key(|key| key.uid);
        keys
    };
    store.apply(vec![Change::PutApiKey(api_key(1, "a")), Change::PutApiKey(api_key(2, "b"))]).await.unwrap();
    store.apply(vec![Change::UpdateApiKey(api_key(2, "c"))]).await.unwrap();
    assert_eq!(keys().await, [api_key(1, "a"), api_key(2, "c")]);
    store.apply(vec![Change::DeleteApiKey(KeyUid::from_u128(1))]).await.unwrap();
    store.apply(vec![Change::UpdateApiKey(api_key(1, "back again"))]).await.unwrap();
    assert_eq!(keys().await, [api_key(2, "c")], "an update of a deleted key does not bring it back");
}

pub async fn default_keys_are_made_only_where_there_is_none(store: Arc<dyn Store>) {
    store.apply(vec![Change::PutDefaultKeys(vec![api_key(1, "a"), api_key(2, "b")])]).await.unwrap();
    assert_eq!(store.api_keys().await.unwrap().len(), 2);
    store
        .apply(vec![Change::PutDefaultKeys(vec![api_key(3, "of a Miroir that starts at the same time")])])
        .await
        .unwrap();
    assert_eq!(store.api_keys().await.unwrap().len(), 2);
}

pub async fn webhooks_are_kept_replaced_and_deleted(store: Arc<dyn Store>) {
    let webhook = |n: u128, url: &str| Webhook {
        uid: WebhookUid::from_u128(n),
        url: url.to_owned(),
        headers: [("X-Key".to_owned(), "é".to_owned())].into(),
    };
    let webhooks = || async {
        let mut webhooks = store.webhooks().await.unwrap();
        webhooks.sort_by_key(|webhook| webhook.uid);
        webhooks
    };
    store
        .apply(vec![Change::PutWebhook(webhook(1, "http://a/")), Change::PutWebhook(webhook(2, "http://b/"))])
        .await
        .unwrap();
    store.apply(vec![Change::PutWebhook(webhook(2, "http://c/"))]).await.unwrap();
    assert_eq!(webhooks().await, [webhook(1, "http://a/"), webhook(2, "http://c/")]);
    store.apply(vec![Change::DeleteWebhook(WebhookUid::from_u128(1))]).await.unwrap();
    assert_eq!(webhooks().await, [webhook(2, "http://c/")]);
}

pub async fn admin_sessions_are_kept_until_they_are_ended(store: Arc<dyn Store>) {
    let session = |digest: &str, used_s: i64| -> AdminSession {
        let used_at = T0 + Duration::seconds(used_s);
        let rfc3339 = |time: OffsetDateTime| time.format(&time::format_description::well_known::Rfc3339).unwrap();
        let record =
            json!({ "digest": digest, "key_proof": "p", "created_at": rfc3339(T0), "used_at": rfc3339(used_at) });
        serde_json::from_value(record).unwrap()
    };
    let put = |digest, used_s| Change::PutAdminSession(session(digest, used_s));
    store.apply(vec![put("a", 0), put("b", 0)]).await.unwrap();
    store.apply(vec![Change::UpdateAdminSession(session("b", 7))]).await.unwrap();
    assert_eq!(store.admin_session("a").await.unwrap(), Some(session("a", 0)));
    assert_eq!(store.admin_session("b").await.unwrap(), Some(session("b", 7)));
    assert_eq!(store.admin_session("c").await.unwrap(), None);
    store.apply(vec![Change::DeleteAdminSession("a".to_owned())]).await.unwrap();
    store.apply(vec![Change::UpdateAdminSession(session("a", 9))]).await.unwrap();
    assert_eq!(store.admin_session("a").await.unwrap(), None);
    assert_eq!(store.admin_sessions().await.unwrap(), [session("b", 7)]);
}
