//! What each webhook has yet to be told, and when: plain state, the time is passed in.
//!
//! A webhook is called by one call at a time, with everything that ended meanwhile, in the order in which it ended. A call that
//! fails is made again later, with the same tasks, and no other before it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::registry::WebhookTable;
use super::{Webhook, WebhookUid};
use crate::cluster::TaskUid;
use crate::tasks::Task;

/// Tasks of one call: a body of a few hundred kilobytes before it is compressed.
const TASKS_PER_CALL: usize = 1_000;
/// Tasks that wait for one webhook. A receiver that is away for longer loses the oldest; each is a few kilobytes of memory.
const WAITING_MAX: usize = 10_000;
/// Pause before a call is made for the second time; it doubles with each.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(60);
/// Calls with the same tasks: a receiver may be away for about ten minutes.
const TRIES_MAX: u32 = 16;

/// A call to make.
pub struct Call {
    pub webhook: Webhook,
    pub tasks: Vec<Arc<Task>>,
}

#[derive(Default)]
pub struct Outbox {
    lines: HashMap<WebhookUid, Line>,
    /// Tasks that somebody has yet to be told of, and how many.
    owed: HashMap<TaskUid, (Arc<Task>, usize)>,
    /// Tasks that nobody has to be told of any more, whose records do not say so yet.
    settled: Vec<TaskUid>,
    given_up: u64,
}

/// What one webhook has yet to be told.
struct Line {
    webhook: Webhook,
    waiting: VecDeque<TaskUid>,
    /// So many of the first are in a call, or were in one that failed.
    in_call: usize,
    is_calling: bool,
    tries: u32,
    not_before: Option<Instant>,
}

impl Outbox {
    /// From now on these are the webhooks. Whoever is gone is owed nothing; who has changed is tried at once.
    pub fn set_webhooks(&mut self, table: &WebhookTable) {
        let gone: Vec<WebhookUid> = self.lines.keys().filter(|uid| !table.contains_key(uid)).copied().collect();
        for uid in gone {
            let waiting = self.lines.remove(&uid).map(|line| line.waiting).unwrap_or_default();
            waiting.into_iter().for_each(|task| self.settle(task));
        }
        for (uid, webhook) in table {
            match self.lines.get_mut(uid) {
                Some(line) if line.webhook == *webhook => {}
                Some(line) => {
                    line.webhook = webhook.clone();
                    (line.tries, line.not_before) = (0, None);
                }
                None => drop(self.lines.insert(*uid, Line::new(webhook.clone()))),
            }
        }
    }

    /// A task has ended, of which nobody has been told.
    pub fn add(&mut self, task: Arc<Task>) {
        let uid = task.uid;
        if self.owed.contains_key(&uid) {
            return;
        }
        if self.lines.is_empty() {
            self.settled.push(uid);
            return;
        }
        self.owed.insert(uid, (task, self.lines.len()));
        let mut dropped = Vec::new();
        for line in self.lines.values_mut() {
            line.waiting.push_back(uid);
            if line.waiting.len() > WAITING_MAX {
                // Those in a call are the oldest; they may be told at this moment.
                dropped.extend(line.waiting.remove(line.in_call));
            }
        }
        self.given_up += dropped.len() as u64;
        dropped.into_iter().for_each(|uid| self.settle(uid));
    }

    /// A call that is to be made now; the caller says how it went with [`called`](Self::called).
    pub fn next_call(&mut self, now: Instant) -> Option<Call> {
        let line = self.lines.values_mut().find(|line| line.is_due(now))?;
        line.is_calling = true;
        if line.in_call == 0 {
            line.in_call = line.waiting.len().min(TASKS_PER_CALL);
        }
        let tasks = line.waiting.iter().take(line.in_call).filter_map(|uid| Some(Arc::clone(&self.owed.get(uid)?.0)));
        Some(Call { tasks: tasks.collect(), webhook: line.webhook.clone() })
    }

    /// How a call went. Says for how many tasks it was the last try.
    pub fn called(&mut self, uid: WebhookUid, succeeded: bool, now: Instant) {
        let Some(line) = self.lines.get_mut(&uid) else { return };
        line.is_calling = false;
        if !succeeded {
            line.tries += 1;
            if line.tries < TRIES_MAX {
                let pause = RETRY_PAUSE.saturating_mul(1 << (line.tries - 1).min(16)).min(RETRY_PAUSE_MAX);
                line.not_before = Some(now + pause);
                return;
            }
            self.given_up += line.in_call as u64;
        }
        (line.tries, line.not_before) = (0, None);
        let told: Vec<TaskUid> = line.waiting.drain(..line.in_call).collect();
        line.in_call = 0;
        told.into_iter().for_each(|task| self.settle(task));
    }

    fn settle(&mut self, uid: TaskUid) {
        let Some((_, left)) = self.owed.get_mut(&uid) else { return };
        *left -= 1;
        if *left == 0 {
            self.owed.remove(&uid);
            self.settled.push(uid);
        }
    }

    /// When the next call is due, if nothing happens until then.
    pub fn due_at(&self) -> Option<Instant> {
        let waiting = self.lines.values().filter(|line| !line.is_calling && !line.waiting.is_empty());
        waiting.filter_map(|line| line.not_before).min()
    }

    /// Tasks that nobody has to be told of any more.
    pub fn take_settled(&mut self) -> Vec<TaskUid> {
        std::mem::take(&mut self.settled)
    }

    /// What [`take_settled`](Self::take_settled) gave could not be recorded.
    pub fn put_back_settled(&mut self, uids: Vec<TaskUid>) {
        self.settled.extend(uids);
    }

    /// Times that a webhook was not told of a task, since the last question.
    pub fn take_given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Tasks that somebody has yet to be told of.
    pub fn waiting(&self) -> usize {
        self.owed.len()
    }
}

impl Line {
    fn new(webhook: Webhook) -> Self {
        Self { webhook, waiting: VecDeque::new(), in_call: 0, is_calling: false, tries: 0, not_before: None }
    }

    fn is_due(&self, now: Instant) -> bool {
        !self.is_calling && !self.waiting.is_empty() && self.not_before.is_none_or(|time| time <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{NewTask, Outcome, TaskKind};

    fn webhook(n: u128) -> Webhook {
        Webhook { uid: WebhookUid::from_u128(n), url: "http://h/".to_owned(), headers: Default::default() }
    }

    fn table(uids: &[u128]) -> WebhookTable {
        uids.iter().map(|&n| (WebhookUid::from_u128(n), webhook(n))).collect()
    }

    fn task(uid: u32) -> Arc<Task> {
        let new = NewTask::settled(TaskKind::IndexCreation, None, Outcome::Succeeded);
        Arc::new(Task::numbered(TaskUid(uid), new))
    }

    fn outbox(webhooks: &[u128], tasks: std::ops::Range<u32>) -> Outbox {
        let mut outbox = Outbox::default();
        outbox.set_webhooks(&table(webhooks));
        tasks.for_each(|uid| outbox.add(task(uid)));
        outbox
    }

    fn uids(call: &Call) -> Vec<u32> {
        call.tasks.iter().map(|task| task.uid.0).collect()
    }

    fn settled(outbox: &mut Outbox) -> Vec<u32> {
        outbox.take_settled().into_iter().map(|uid| uid.0).collect()
    }

    #[test]
    fn a_task_is_settled_once_every_webhook_has_been_told() {
        let now = Instant::now();
        let mut outbox = outbox(&[1, 2], 0..3);
        let (first, second) = (outbox.next_call(now).unwrap(), outbox.next_call(now).unwrap());
        assert_eq!((uids(&first), uids(&second)), (vec![0, 1, 2], vec![0, 1, 2]));
        outbox.add(task(3));
        assert!(outbox.next_call(now).is_none(), "each is called by one call at a time");
        outbox.called(first.webhook.uid, true, now);
        assert_eq!(settled(&mut outbox), [0_u32; 0]);
        outbox.called(second.webhook.uid, true, now);
        assert_eq!(settled(&mut outbox), [0, 1, 2]);
        assert_eq!(uids(&outbox.next_call(now).unwrap()), [3]);
    }

    #[test]
    fn a_call_that_fails_is_made_again_later_and_in_the_end_given_up() {
        let mut now = Instant::now();
        let mut outbox = outbox(&[1], 0..2);
        let mut pauses = Vec::new();
        for n in 0..TRIES_MAX {
            let call = outbox.next_call(now).unwrap();
            assert_eq!(uids(&call), [0, 1], "the same tasks, whatever came meanwhile");
            outbox.add(task(2 + n));
            outbox.called(call.webhook.uid, false, now);
            assert!(outbox.due_at().is_none_or(|_| outbox.next_call(now).is_none()));
            if let Some(due_at) = outbox.due_at() {
                pauses.push(due_at - now);
                now = due_at;
            }
        }
        assert_eq!((pauses[0], pauses[1], pauses[14]), (RETRY_PAUSE, RETRY_PAUSE * 2, RETRY_PAUSE_MAX));
        assert_eq!((settled(&mut outbox), outbox.take_given_up()), (vec![0, 1], 2));
        assert_eq!(outbox.next_call(now).unwrap().tasks.len(), TRIES_MAX as usize, "what came later has its own tries");
    }

    #[test]
    fn one_webhook_that_is_away_holds_up_no_other() {
        let now = Instant::now();
        let mut outbox = outbox(&[1, 2], 0..1);
        let (first, second) = (outbox.next_call(now).unwrap(), outbox.next_call(now).unwrap());
        outbox.called(first.webhook.uid, false, now);
        outbox.called(second.webhook.uid, true, now);
        outbox.add(task(1));
        let next = outbox.next_call(now).unwrap();
        assert_eq!((next.webhook.uid, uids(&next)), (second.webhook.uid, vec![1]));
        // Changed, it is tried at once; gone, it is owed nothing.
        let mut changed = table(&[1, 2]);
        changed.get_mut(&first.webhook.uid).unwrap().url = "http://i/".to_owned();
        outbox.set_webhooks(&changed);
        assert_eq!(outbox.next_call(now).unwrap().webhook.url, "http://i/");
        changed.remove(&first.webhook.uid);
        outbox.set_webhooks(&changed);
        assert_eq!(settled(&mut outbox), [0]);
        outbox.called(first.webhook.uid, true, now);
        outbox.called(second.webhook.uid, true, now);
        assert_eq!(settled(&mut outbox), [1]);
    }

    #[test]
    fn what_waits_has_a_bound_and_the_oldest_are_given_up() {
        let now = Instant::now();
        let mut outbox = outbox(&[1], 0..5);
        let call = outbox.next_call(now).unwrap();
        outbox.called(call.webhook.uid, false, now);
        (5..WAITING_MAX as u32 + 3).for_each(|uid| outbox.add(task(uid)));
        assert_eq!((outbox.waiting(), outbox.take_given_up()), (WAITING_MAX, 3));
        assert_eq!(settled(&mut outbox), [5, 6, 7], "those in a call may be told at this moment");
        let again = outbox.next_call(outbox.due_at().unwrap()).unwrap();
        assert_eq!(uids(&again), [0, 1, 2, 3, 4]);
        outbox.called(again.webhook.uid, true, now);
        let next = outbox.next_call(now).unwrap();
        assert_eq!((next.tasks.len(), next.tasks[0].uid), (TASKS_PER_CALL, TaskUid(8)));
    }

    #[test]
    fn without_webhooks_nobody_is_owed_anything() {
        let mut outbox = outbox(&[], 0..2);
        assert_eq!((settled(&mut outbox), outbox.waiting()), (vec![0, 1], 0));
    }
}
