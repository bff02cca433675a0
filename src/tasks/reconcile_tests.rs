//! The loop against nodes that a test steers, with the clock stopped.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::cluster::{Cluster, GroupId, IndexUid, Node, NodeIndex, NodeState, Shard, Snapshot, TaskUid, Topology};
use crate::error::Code;
use crate::store::memory::MemoryStore;
use crate::store::{Store, StoreError};
use crate::tasks::{Counts, NewTask, NodeTask, Task, TaskKind, TaskQuery, TaskStatus};

const T0: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

/// How a node of the test behaves.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Answers,
    Refuses,
    Silent,
}

/// Nodes whose task lists the test writes; they count what they are asked.
#[derive(Default)]
struct FakeNodes {
    lists: Mutex<BTreeMap<(NodeId, u32), TaskStatus>>,
    moods: Mutex<BTreeMap<NodeId, Mood>>,
    requests: AtomicUsize,
}

impl FakeNodes {
    fn lists(&self) -> MutexGuard<'_, BTreeMap<(NodeId, u32), TaskStatus>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, node: &str, uid: u32, status: TaskStatus) {
        self.lists().insert((NodeId::new(node), uid), status);
    }

    fn set_mood(&self, node: &str, mood: Mood) {
        self.moods.lock().unwrap().insert(NodeId::new(node), mood);
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl NodeTasks for FakeNodes {
    async fn tasks(&self, node: &NodeId, uids: &[u32]) -> Result<Vec<NodeTaskReport>, ApiError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        assert!(!uids.is_empty() && uids.len() <= 200);
        let mood = self.moods.lock().unwrap().get(node).copied().unwrap_or(Mood::Answers);
        match mood {
            Mood::Refuses => return Err(ApiError::new(Code::Internal, "refused")),
            Mood::Silent => std::future::pending().await,
            Mood::Answers => tokio::time::sleep(Duration::from_millis(3)).await,
        }
        let lists = self.lists();
        let known = uids.iter().filter_map(|uid| Some((*uid, *lists.get(&(node.clone(), *uid))?)));
        Ok(known.map(|(uid, status)| report(uid, status)).collect())
    }
}

fn report(uid: u32, status: TaskStatus) -> NodeTaskReport {
    NodeTaskReport {
        uid,
        status,
        error: None,
        counts: Counts { indexed_documents: status.is_final().then_some(1), ..Counts::default() },
        enqueued_at: T0,
        started_at: (status != TaskStatus::Enqueued).then_some(T0),
        finished_at: status.is_final().then_some(T0),
    }
}

/// A registry over an empty store, its loop running against nodes of the test.
struct Setup {
    store: Arc<MemoryStore>,
    nodes: Arc<FakeNodes>,
    registry: Arc<TaskRegistry>,
    stop: watch::Sender<bool>,
    running: tokio::task::JoinHandle<()>,
}

/// Two nodes, of which each holds every shard.
fn cluster() -> Arc<Cluster> {
    let node = |id: &str| Node { id: NodeId::new(id), address: format!("{id}:1"), group: GroupId(0) };
    Arc::new(Cluster::new(Snapshot::new(Topology::new(vec![node("a"), node("b")], 2))))
}

impl Setup {
    async fn new() -> Self {
        Self::over(Arc::default(), Arc::default()).await
    }

    async fn over(store: Arc<MemoryStore>, nodes: Arc<FakeNodes>) -> Self {
        let registry = TaskRegistry::open(store.clone(), TaskRegistry::TTL_DEFAULT, cluster()).await.unwrap();
        let (stop, shutdown) = watch::channel(false);
        let running = tokio::spawn(registry.clone().run(nodes.clone(), shutdown));
        Self { store, nodes, registry, stop, running }
    }

    async fn stop(self) -> (Arc<MemoryStore>, Arc<FakeNodes>) {
        self.stop.send(true).unwrap();
        self.running.await.unwrap();
        (self.store, self.nodes)
    }

    /// A write whose node tasks have been acknowledged.
    async fn write(&self, legs: &[(&str, u32)]) -> TaskUid {
        for (node, uid) in legs {
            self.nodes.set(node, *uid, TaskStatus::Enqueued);
        }
        let legs = legs.iter().map(|(node, uid)| NodeTask::enqueued(NodeId::new(node), *uid, Some(T0))).collect();
        let new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, None, 1, legs)
            .with_details(json!({"receivedDocuments": 2, "indexedDocuments": null}));
        self.registry.register(new, Vec::new()).await.unwrap().uid
    }

    async fn finished(&self, uid: TaskUid, within: Duration) -> Result<Arc<Task>, ApiError> {
        self.registry.wait_finished(uid, Instant::now() + within).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_polls_learns_of_the_end_within_50_ms() {
    let setup = Setup::new().await;
    let uid = setup.write(&[("a", 1), ("b", 1)]).await;
    setup.nodes.set("a", 1, TaskStatus::Succeeded);
    // Long after the write: only the client's own polling keeps the pace up.
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(setup.registry.get(uid).await.unwrap().status, TaskStatus::Processing);
    }
    setup.nodes.set("b", 1, TaskStatus::Succeeded);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let task = setup.registry.get(uid).await.unwrap();
    assert_eq!(task.status, TaskStatus::Succeeded);
    assert_eq!(task.details.as_ref().unwrap()["indexedDocuments"], 2);
    assert_eq!(setup.store.task(uid).await.unwrap().as_ref(), Some(&*task), "what is told is stored");
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_polling_clients_cost_what_one_costs() {
    let setup = Setup::new().await;
    let mut uids = Vec::new();
    for n in 0..1_000 {
        uids.push(setup.write(&[("a", n)]).await);
    }
    let before = setup.nodes.requests();
    for _ in 0..20 {
        for uid in &uids {
            setup.registry.get(*uid).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let requests = setup.nodes.requests() - before;
    assert!((20..=60).contains(&requests), "{requests} requests in a second, for 20,000 polls");
    (0..1_000).for_each(|n| setup.nodes.set("a", n, TaskStatus::Succeeded));
    for uid in uids {
        setup.finished(uid, Duration::from_secs(1)).await.unwrap();
    }
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nodes_are_asked_rarely_when_nobody_waits_and_never_when_nothing_is_owed() {
    let setup = Setup::new().await;
    let uid = setup.write(&[("a", 1)]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let before = setup.nodes.requests();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let requests = setup.nodes.requests() - before;
    assert!((15..=25).contains(&requests), "{requests} requests in 10 s");

    setup.nodes.set("a", 1, TaskStatus::Succeeded);
    setup.finished(uid, Duration::from_millis(50)).await.unwrap();
    let before = setup.nodes.requests();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(setup.nodes.requests(), before);

    let next = setup.write(&[("a", 2)]).await;
    setup.nodes.set("a", 2, TaskStatus::Succeeded);
    setup.finished(next, Duration::from_millis(50)).await.unwrap();
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_or_is_silent_holds_up_no_other_and_is_asked_again() {
    let setup = Setup::new().await;
    setup.nodes.set_mood("refusing", Mood::Refuses);
    setup.nodes.set_mood("silent", Mood::Silent);
    let stuck = setup.write(&[("refusing", 1), ("silent", 1), ("good", 1)]).await;
    let quick = setup.write(&[("good", 2)]).await;
    for (node, uid) in [("refusing", 1), ("silent", 1), ("good", 1), ("good", 2)] {
        setup.nodes.set(node, uid, TaskStatus::Succeeded);
    }
    setup.finished(quick, Duration::from_millis(50)).await.unwrap();
    let error = setup.finished(stuck, Duration::from_secs(120)).await.unwrap_err();
    assert!(error.is(Code::MiroirTimeout));
    assert!(setup.registry.metrics().node_request_failures < 120, "a failing node is not hammered");
    setup.nodes.set_mood("refusing", Mood::Answers);
    setup.nodes.set_mood("silent", Mood::Answers);
    let task = setup.finished(stuck, Duration::from_secs(11)).await.unwrap();
    assert_eq!(task.status, TaskStatus::Succeeded);
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_lost_its_disk_fails_its_leg_and_a_node_that_fails_to_answer_does_not() {
    let setup = Setup::new().await;
    let uid = setup.write(&[("a", 1)]).await;
    setup.nodes.set_mood("a", Mood::Refuses);
    setup.nodes.lists().clear();
    assert!(setup.finished(uid, Duration::from_secs(30)).await.is_err());
    setup.nodes.set_mood("a", Mood::Answers);
    let task = setup.finished(uid, Duration::from_secs(11)).await.unwrap();
    assert_eq!(task.status, TaskStatus::Failed);
    assert!(task.error.as_ref().unwrap().message.contains("Node `a` no longer knows its task 1"));
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_told_before_it_is_stored() {
    let setup = Setup::new().await;
    let uid = setup.write(&[("a", 1)]).await;
    setup.store.set_failing(true);
    setup.nodes.set("a", 1, TaskStatus::Succeeded);
    assert!(setup.finished(uid, Duration::from_secs(10)).await.is_err());
    assert_eq!(setup.registry.get(uid).await.unwrap().status, TaskStatus::Enqueued);
    let refused = setup
        .registry
        .register(NewTask::settled(TaskKind::DumpCreation, None, super::super::Outcome::Succeeded), Vec::new());
    assert!(matches!(refused.await.unwrap_err(), StoreError::Backend(_)));
    setup.store.set_failing(false);
    setup.finished(uid, Duration::from_secs(11)).await.unwrap();
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_unfinished_tasks_are_followed_to_their_end_after_a_restart() {
    let setup = Setup::new().await;
    let nodes = ["a", "b", "c"];
    for n in 0..10_000 {
        setup.write(&nodes.map(|node| (node, n))).await;
    }
    let (store, nodes) = setup.stop().await;
    nodes.lists().values_mut().for_each(|status| *status = TaskStatus::Succeeded);

    let setup = Setup::over(store, nodes).await;
    assert_eq!(setup.registry.metrics().unfinished, 10_000);
    for n in 0..10_000 {
        let task = setup.finished(TaskUid(n), Duration::from_secs(60)).await.unwrap();
        assert_eq!(task.status, TaskStatus::Succeeded);
    }
    assert_eq!((setup.registry.metrics().unfinished, setup.registry.metrics().open_node_tasks), (0, 0));
    assert!(setup.nodes.requests() < 1_000, "{} requests for 30,000 node tasks", setup.nodes.requests());
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn finished_tasks_are_pruned_after_their_time() {
    let setup = Setup::new().await;
    for n in 0..2_500 {
        setup.write(&[("a", n)]).await;
        setup.nodes.set("a", n, if n == 0 { TaskStatus::Processing } else { TaskStatus::Succeeded });
    }
    setup.finished(TaskUid(2_499), Duration::from_secs(5)).await.unwrap();
    let mut last = setup.registry.list(&TaskQuery::parse("statuses=succeeded").unwrap()).await.unwrap();
    while last.total < 2_499 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = setup.registry.list(&TaskQuery::parse("statuses=succeeded").unwrap()).await.unwrap();
    }
    let now = OffsetDateTime::now_utc();
    assert_eq!(setup.registry.prune(now + Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(setup.registry.prune(now + TaskRegistry::TTL_DEFAULT + Duration::from_secs(60)).await.unwrap(), 2_499);
    assert_eq!(setup.registry.get(TaskUid(0)).await.unwrap().status, TaskStatus::Processing);
    assert!(setup.registry.get(TaskUid(1)).await.unwrap_err().is(Code::TaskNotFound));
    setup.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_before_its_absence_is_stored_does_not_lag() {
    let cluster = cluster();
    let registry = TaskRegistry::open(Arc::<MemoryStore>::default(), TaskRegistry::TTL_DEFAULT, Arc::clone(&cluster));
    let registry = registry.await.unwrap();
    let (id, node) = (NodeId::new("b"), NodeIndex(1));
    let index_uid = Some(IndexUid::parse("i").unwrap());
    let leg = |node: &str| NodeTask {
        uid: Some(7),
        ..NodeTask::planned(NodeId::new(node), 0, [Shard(1)].into_iter().collect())
    };
    let new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, index_uid, 2, vec![leg("a"), leg("b")]);
    let uid = registry.register(new, Vec::new()).await.unwrap().uid;
    let lags = || registry.followed(uid).unwrap().legs[1].lags;
    let is = |state| cluster.publish(|snapshot| snapshot.with_state(node, state));

    is(NodeState::Failed);
    let commit_of_others = registry.committing.lock().await;
    let leaves = tokio::spawn({
        let (registry, id) = (Arc::clone(&registry), id.clone());
        async move { registry.node_left(&id).await }
    });
    tokio::task::yield_now().await;
    is(NodeState::Active);
    drop(commit_of_others);
    leaves.await.unwrap().unwrap();
    assert!(!lags(), "it is back");

    is(NodeState::Failed);
    registry.node_left(&id).await.unwrap();
    assert!(lags());
}
