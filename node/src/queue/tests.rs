//! The store's side of the queue, without a worker: what runs next, and what canceling and deleting leave.

use serde_json::json;
use time::OffsetDateTime;

use super::filter::{Filter, Page};
use super::on_tasks;
use super::records::{self, Finish, NameChanges, NewTask, Outcome};
use super::store::Store;
use super::task::{Operation, Status, Task, TaskUid};
use super::task_set::TaskSet;
use super::{batch, batches};

const ALL: Page = Page { from: None, reverse: true, limit: 100 };

struct Queued {
    store: Store,
    _directory: tempfile::TempDir,
}

impl Queued {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(&directory.path().join("tasks.sqlite")).expect("the store opens");
        Self { store, _directory: directory }
    }

    fn enqueue(&self, index_uid: Option<&str>, operation: Operation) -> TaskUid {
        let new = NewTask::new(index_uid.map(String::from), operation);
        let task = self.store.write(move |connection| records::insert(connection, new, OffsetDateTime::now_utc()));
        task.expect("the task is enqueued").uid
    }

    fn clear(&self, index_uid: &str) -> TaskUid {
        self.enqueue(Some(index_uid), Operation::DocumentClear)
    }

    fn cancel(&self, uids: &[TaskUid]) -> TaskUid {
        let tasks = TaskSet::from_ordered(uids.iter().copied());
        self.enqueue(None, Operation::TaskCancelation { query: String::from("?"), tasks })
    }

    fn delete(&self, uids: &[TaskUid]) -> TaskUid {
        let tasks = TaskSet::from_ordered(uids.iter().copied());
        self.enqueue(None, Operation::TaskDeletion { query: String::from("?"), tasks })
    }

    /// Starts what runs next.
    fn start(&self) -> Vec<Task> {
        let chosen = self.store.read(|connection| batch::next(connection, |_| None)).expect("a batch is chosen");
        let uids: Vec<_> = chosen.tasks.iter().map(|task| task.uid).collect();
        let strategy = chosen.strategy;
        let started =
            self.store.write(move |connection| records::start(connection, &uids, &strategy, OffsetDateTime::now_utc()));
        started.expect("the batch starts");
        chosen.tasks
    }

    /// Starts what runs next and ends it well.
    fn run(&self) -> Vec<TaskUid> {
        let tasks = self.start();
        let now_ns = records::nanoseconds(OffsetDateTime::now_utc());
        let uids = tasks.iter().map(|task| task.uid).collect();
        let ended = self.store.write(move |connection| match &tasks[0].operation {
            Operation::TaskCancelation { tasks: canceled, .. } => {
                on_tasks::cancel(connection, &tasks[0], canceled, now_ns).map(|_| ())
            }
            Operation::TaskDeletion { .. } => on_tasks::delete(connection, &tasks, now_ns),
            operation => {
                let details = operation.details(None, Some(1));
                let outcomes = vec![Outcome { uid: tasks[0].uid, details, error: None }];
                let names = NameChanges::default();
                records::finish(connection, &Finish { outcomes, finished_at_ns: now_ns, names })
            }
        });
        ended.expect("the batch ends");
        uids
    }

    fn task(&self, uid: TaskUid) -> Option<Task> {
        self.store.read(|connection| records::get(connection, uid)).expect("the task is read")
    }

    fn status(&self, uid: TaskUid) -> Option<Status> {
        self.task(uid).map(|task| task.status)
    }

    fn tasks(&self, filter: &Filter) -> Vec<TaskUid> {
        let (tasks, total) =
            self.store.read(|connection| records::list(connection, filter, ALL)).expect("the tasks are listed");
        assert_eq!(tasks.len() as u64, total);
        tasks.iter().map(|task| task.uid).collect()
    }

    fn batches(&self, filter: &Filter) -> Vec<u32> {
        let (batches, total) =
            self.store.read(|connection| batches::list(connection, filter, ALL)).expect("the batches are listed");
        assert_eq!(batches.len() as u64, total);
        batches.iter().map(|batch| batch.uid).collect()
    }
}

#[test]
fn the_latest_cancelation_runs_first_then_all_deletions_then_the_rest_in_order() {
    let queued = Queued::new();
    let first = queued.clear("a");
    let deletion = queued.delete(&[]);
    let earlier = queued.cancel(&[]);
    let other_deletion = queued.delete(&[]);
    let latest = queued.cancel(&[]);
    let last = queued.clear("b");
    let order: Vec<_> = (0..5).map(|_| queued.run()).collect();
    assert_eq!(order, [vec![latest], vec![earlier], vec![deletion, other_deletion], vec![first], vec![last]]);
    assert!(queued.store.read(|connection| batch::next(connection, |_| None)).expect("it looks").tasks.is_empty());
}

#[test]
fn a_cancelation_spares_what_has_ended_and_can_cancel_an_earlier_one() {
    let queued = Queued::new();
    let ended = queued.clear("a");
    queued.run();
    let waiting = queued.clear("a");
    let earlier = queued.cancel(&[ended, waiting]);
    let latest = queued.cancel(&[ended, earlier]);
    assert_eq!(queued.run(), [latest]);
    assert_eq!(queued.status(ended), Some(Status::Succeeded));
    assert_eq!(queued.status(waiting), Some(Status::Enqueued));
    let earlier = queued.task(earlier).expect("it is kept");
    assert_eq!((earlier.status, earlier.canceled_by), (Status::Canceled, Some(latest)));
    assert_eq!(earlier.details, json!({ "matchedTasks": 2, "canceledTasks": 0, "originalFilter": "?" }));
    assert_eq!(queued.run(), [waiting], "a canceled cancelation cancels nothing");
}

#[test]
fn a_task_that_two_deletions_name_is_counted_for_the_first() {
    let queued = Queued::new();
    let ended: Vec<_> = (0..4).map(|_| queued.clear("a")).collect();
    ended.iter().for_each(|_| drop(queued.run()));
    let waiting = queued.clear("a");
    let one = queued.delete(&[ended[0], ended[1], waiting]);
    let other = queued.delete(&[ended[1], ended[2], one]);
    assert_eq!(queued.run(), [one, other]);
    let deleted = |uid| queued.task(uid).expect("it is kept").details["deletedTasks"].clone();
    assert_eq!((deleted(one), deleted(other)), (json!(2), json!(1)));
    assert_eq!(queued.tasks(&Filter::default()), [ended[3], waiting, one, other]);
    assert_eq!(queued.batches(&Filter::default()), [3, 4], "batches without tasks are forgotten");
}

#[test]
fn what_was_interrupted_waits_again_and_its_batch_is_forgotten() {
    let queued = Queued::new();
    let uid = queued.clear("a");
    queued.start();
    assert_eq!(queued.status(uid), Some(Status::Processing));
    let processing = Filter { statuses: Some(vec!["processing"]), ..Filter::default() };
    assert_eq!(queued.batches(&processing), [0]);
    assert_eq!(queued.store.write(records::put_back).expect("it is put back"), 1);
    assert_eq!(queued.status(uid), Some(Status::Enqueued));
    assert_eq!(queued.batches(&Filter::default()), [0; 0]);
    assert_eq!(queued.run(), [uid]);
    assert_eq!(queued.batches(&Filter::default()), [0], "the uid of a batch that never was is used again");
}

#[test]
fn every_filter_restricts_tasks_and_batches() {
    let queued = Queued::new();
    let before_ns = records::nanoseconds(OffsetDateTime::now_utc());
    queued.clear("a");
    queued.run();
    queued.clear("b");
    let canceler = queued.cancel(&[1]);
    queued.run();
    queued.clear("a");
    let after_ns = records::nanoseconds(OffsetDateTime::now_utc());
    let any = Filter::default;
    let cases = [
        (any(), vec![0, 1, 2, 3], vec![0, 1]),
        (Filter { uids: Some(vec![0, 3, 9]), ..any() }, vec![0, 3], vec![0]),
        (Filter { uids: Some(vec![]), ..any() }, vec![], vec![]),
        (Filter { batch_uids: Some(vec![1]), ..any() }, vec![1, 2], vec![1]),
        (Filter { statuses: Some(vec!["canceled", "enqueued"]), ..any() }, vec![1, 3], vec![1]),
        (Filter { kinds: Some(vec!["taskCancelation"]), ..any() }, vec![2], vec![1]),
        (Filter { index_uids: Some(vec![String::from("a")]), ..any() }, vec![0, 3], vec![0]),
        (Filter { canceled_by: Some(vec![canceler]), ..any() }, vec![1], vec![1]),
        (Filter { canceled_by: Some(vec![0]), ..any() }, vec![], vec![]),
        (Filter { after_ns: [Some(before_ns - 1), None, None], ..any() }, vec![0, 1, 2, 3], vec![0, 1]),
        (Filter { before_ns: [Some(before_ns), None, None], ..any() }, vec![], vec![]),
        (Filter { after_ns: [None, Some(before_ns - 1), None], ..any() }, vec![0, 1, 2], vec![0, 1]),
        (Filter { before_ns: [None, None, Some(after_ns + 1)], ..any() }, vec![0, 1, 2], vec![0, 1]),
        (Filter { after_ns: [None, None, Some(after_ns)], ..any() }, vec![], vec![]),
    ];
    for (filter, tasks, batches) in cases {
        assert_eq!(queued.tasks(&filter), tasks, "{filter:?}");
        assert_eq!(queued.batches(&filter), batches, "{filter:?}");
    }
    // A batch has a task of each wanted kind; they need not be the same task.
    let of_two = Filter { statuses: Some(vec!["canceled"]), kinds: Some(vec!["taskCancelation"]), ..any() };
    assert_eq!(queued.tasks(&of_two), [0; 0]);
    assert_eq!(queued.batches(&of_two), [1]);
}

#[test]
fn a_store_from_before_cancelations_is_opened() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("tasks.sqlite");
    let old = rusqlite::Connection::open(&path).expect("the old store opens");
    old.execute_batch(
        "CREATE TABLE tasks (uid INTEGER PRIMARY KEY, batch_uid INTEGER, index_uid TEXT, status TEXT NOT NULL, \
         kind TEXT NOT NULL, operation TEXT NOT NULL, payload BLOB, details TEXT NOT NULL, error TEXT, \
         custom_metadata TEXT, enqueued_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER) STRICT; \
         INSERT INTO tasks (uid, batch_uid, index_uid, status, kind, operation, details, enqueued_at) VALUES \
         (7, 3, 'a', 'succeeded', 'documentDeletion', '{\"operation\":\"documentClear\"}', '{}', 1)",
    )
    .expect("the old store is written");
    drop(old);
    let queued = Queued { store: Store::open(&path).expect("the store opens"), _directory: directory };
    assert_eq!(queued.task(7).map(|task| task.canceled_by), Some(None));
    let next = queued.clear("a");
    queued.run();
    assert_eq!((next, queued.batches(&Filter::default())), (8, vec![4]));
}
