//! The state machine of a task, report by report.

use proptest::prelude::*;
use serde_json::json;
use time::macros::datetime;

use super::*;
use crate::store::PayloadId;

const T0: OffsetDateTime = datetime!(2025-01-01 00:00 UTC);

fn shards(shards: &[u32]) -> ShardSet {
    shards.iter().copied().map(crate::cluster::Shard).collect()
}

fn leg(node: &str, uid: u32) -> NodeTask {
    NodeTask::enqueued(NodeId::new(node), uid, Some(T0))
}

fn addition(copies: u32, legs: Vec<NodeTask>) -> Task {
    let mut new = NewTask::followed(TaskKind::DocumentAdditionOrUpdate, None, copies, legs)
        .with_details(json!({"receivedDocuments": 10, "indexedDocuments": null}));
    new.enqueued_at = T0;
    Task::numbered(TaskUid(5), new)
}

fn report(uid: u32, status: TaskStatus) -> NodeTaskReport {
    let started = status != TaskStatus::Enqueued;
    NodeTaskReport {
        uid,
        status,
        error: (status == TaskStatus::Failed).then(|| ErrorBody::new(Code::Internal, format!("node task {uid}"))),
        counts: Counts { indexed_documents: (status == TaskStatus::Succeeded).then_some(10), ..Counts::default() },
        enqueued_at: T0,
        started_at: started.then(|| T0 + Duration::seconds(i64::from(uid))),
        finished_at: status.is_final().then(|| T0 + Duration::seconds(60 + i64::from(uid))),
    }
}

#[test]
fn a_task_starts_with_its_first_node_and_ends_with_its_last() {
    let (a, b) = (NodeId::new("a"), NodeId::new("b"));
    let mut task = addition(2, vec![leg("a", 1), leg("b", 2)]);
    assert_eq!((task.status, task.batch_uid()), (TaskStatus::Enqueued, None));

    assert!(task.observe(&b, &report(2, TaskStatus::Processing)));
    assert_eq!((task.status, task.started_at), (TaskStatus::Processing, Some(T0 + Duration::seconds(2))));
    assert!(task.observe(&b, &report(2, TaskStatus::Succeeded)));
    assert_eq!((task.status, task.finished_at), (TaskStatus::Processing, None));
    assert!(!task.observe(&b, &report(2, TaskStatus::Processing)), "an overtaken answer changes nothing");

    assert!(task.observe(&a, &report(1, TaskStatus::Succeeded)));
    assert_eq!(task.status, TaskStatus::Succeeded);
    assert_eq!(task.duration(), Some(Duration::seconds(61)));
    assert_eq!(task.details.unwrap()["indexedDocuments"], 10, "two replicas, each document counted once");
}

#[test]
fn a_failed_node_fails_the_task_once_all_have_ended() {
    let mut task = addition(1, vec![leg("a", 1), leg("b", 2)]);
    task.observe(&NodeId::new("a"), &report(1, TaskStatus::Failed));
    assert_eq!(task.status, TaskStatus::Processing);
    task.observe(&NodeId::new("b"), &report(2, TaskStatus::Succeeded));
    assert_eq!(task.status, TaskStatus::Failed);
    assert_eq!(task.error.unwrap().message, "node task 1");
}

#[test]
fn a_node_that_lost_its_tasks_fails_the_leg() {
    let mut lost = addition(1, vec![leg("a", 1)]);
    assert!(lost.observe_lost(&NodeId::new("a"), 1));
    assert_eq!(lost.status, TaskStatus::Failed);
    assert!(lost.error.unwrap().message.contains("no longer knows its task 1"));

    let mut renumbered = addition(1, vec![leg("a", 1)]);
    let mut of_another = report(1, TaskStatus::Succeeded);
    of_another.enqueued_at = T0 + Duration::DAY;
    assert!(renumbered.observe(&NodeId::new("a"), &of_another));
    assert_eq!(renumbered.status, TaskStatus::Failed, "a task of the same number is not ours");
}

#[test]
fn a_task_whose_outcome_is_known_is_finished_from_the_start() {
    let error = ErrorBody::new(Code::InvalidDocumentId, "no");
    let new = NewTask::settled(TaskKind::DocumentAdditionOrUpdate, None, Outcome::Failed(error.clone()))
        .with_details(json!({"receivedDocuments": 3, "indexedDocuments": null}));
    let task = Task::numbered(TaskUid(0), new);
    assert_eq!((task.status, task.error.as_ref()), (TaskStatus::Failed, Some(&error)));
    assert_eq!(task.details.as_ref().unwrap()["indexedDocuments"], 0);
    assert_eq!(task.duration(), Some(Duration::ZERO));
}

/// Shard 0 on `a` and `b`, shard 1 on `b` and `c`, all in their nodes' logs.
fn replicated() -> Task {
    let planned = |(node, of): (&str, &[u32])| NodeTask::planned(NodeId::new(node), 0, shards(of));
    addition(2, [("a", &[0][..]), ("b", &[0, 1]), ("c", &[1])].map(planned).into())
}

fn acknowledge(task: &mut Task, node: &str, uid: u32) {
    task.acknowledge(&NodeId::new(node), 0, Acknowledgement { uid, enqueued_at: Some(T0), shared_by: 1 });
}

#[test]
fn a_task_does_not_wait_for_a_node_that_is_away_while_others_have_its_shards() {
    let mut task = replicated();
    acknowledge(&mut task, "a", 1);
    acknowledge(&mut task, "c", 3);
    assert!(task.let_lag(|node| node.as_str() == "b"));
    task.observe(&NodeId::new("a"), &report(1, TaskStatus::Succeeded));
    assert_eq!(task.status, TaskStatus::Processing);
    task.observe(&NodeId::new("c"), &report(3, TaskStatus::Succeeded));
    assert_eq!(task.status, TaskStatus::Succeeded);
    assert_eq!(task.details.as_ref().unwrap()["indexedDocuments"], 10);
    assert!(task.is_followed(), "b still has to get it");

    acknowledge(&mut task, "b", 2);
    assert!(task.observe(&NodeId::new("b"), &report(2, TaskStatus::Failed)));
    assert_eq!((task.status, task.is_followed()), (TaskStatus::Succeeded, false));
}

#[test]
fn a_task_waits_for_the_last_replica_of_a_shard_though_its_node_is_away() {
    let mut task = replicated();
    acknowledge(&mut task, "a", 1);
    assert!(!task.let_lag(|node| node.as_str() != "a"), "shard 1 is nowhere but on nodes that are away");
    acknowledge(&mut task, "c", 3);
    assert!(!task.let_lag(|node| node.as_str() != "c"), "shard 0 would be nowhere");
    task.observe(&NodeId::new("a"), &report(1, TaskStatus::Succeeded));
    task.observe(&NodeId::new("c"), &report(3, TaskStatus::Succeeded));
    assert_eq!(task.status, TaskStatus::Processing);
    assert!(task.let_lag(|node| node.as_str() == "b"));
    assert_eq!(task.status, TaskStatus::Succeeded);
}

#[test]
fn the_requests_are_kept_until_the_last_leg_is_delivered() {
    let mut task = replicated();
    task.replay = Some(Replay { payload: PayloadId(1), bytes: 10, heads: Vec::new(), marker: "m".to_owned() });
    acknowledge(&mut task, "a", 1);
    acknowledge(&mut task, "b", 2);
    assert!(task.replay.is_some());
    task.refuse(&NodeId::new("c"), 0, ErrorBody::new(Code::Internal, "no"));
    assert!(task.replay.is_none());
}

#[test]
fn a_write_that_was_refused_is_over_for_its_client_and_followed_to_its_end() {
    let mut task = replicated();
    acknowledge(&mut task, "a", 1);
    task.fail(ErrorBody::new(Code::MiroirNoQuorum, "no"), T0 + Duration::SECOND);
    assert_eq!((task.status, task.is_followed()), (TaskStatus::Failed, true));
    task.observe(&NodeId::new("a"), &report(1, TaskStatus::Succeeded));
    assert_eq!(task.status, TaskStatus::Failed);
}

#[test]
fn a_stored_task_reads_back() {
    let mut task = addition(2, vec![leg("a", 1), leg("b", 2)]);
    task.index_uid = Some(IndexUid::parse("movies").unwrap());
    task.observe(&NodeId::new("a"), &report(1, TaskStatus::Failed));
    let text = serde_json::to_string(&task).unwrap();
    assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task);
}

/// Each leg's reports in order, then shuffled over legs and time, some twice.
fn reports_in_any_order() -> impl Strategy<Value = Vec<(usize, NodeTaskReport)>> {
    let ends = proptest::collection::vec(2_usize..5, 1..6);
    ends.prop_flat_map(|ends| {
        let mut all = Vec::new();
        for (index, end) in ends.into_iter().enumerate() {
            for status in [TaskStatus::Enqueued, TaskStatus::Processing, TaskStatus::ALL[end]] {
                let report = report(index as u32, status);
                all.extend([(index, report.clone()), (index, report)]);
            }
        }
        Just(all).prop_shuffle()
    })
}

proptest! {
    #[test]
    fn any_interleaving_of_reports_leads_to_the_same_end(shuffled in reports_in_any_order()) {
        let nodes = shuffled.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
        let fresh = || addition(1, (0..nodes).map(|n| leg(&format!("n{n}"), n as u32)).collect());
        let mut in_order = shuffled.clone();
        in_order.sort_by_key(|(index, report)| (*index, report.status.stage()));

        let mut expected = fresh();
        for (index, report) in &in_order {
            expected.observe(&NodeId::new(&format!("n{index}")), report);
        }
        let mut task = fresh();
        let mut stage = 0;
        for (index, report) in &shuffled {
            task.observe(&NodeId::new(&format!("n{index}")), report);
            prop_assert!(task.status.stage() >= stage, "a task never goes back");
            stage = task.status.stage();
        }
        prop_assert!(task.status.is_final());
        prop_assert_eq!(task, expected);
    }
}
