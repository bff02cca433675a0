//! The loop that asks the nodes how their tasks stand.
//!
//! One request to a node covers up to 200 of its tasks, whoever waits for them, so that a thousand polling clients cost
//! what one costs. Nodes are asked side by side; a slow or silent one holds nobody up. Answers that come in while a
//! commit is under way become one commit together, and nothing is told to clients before it is stored.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::FutureExt;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::follow::Answer;
use super::registry::TaskRegistry;
use super::report::NodeTaskReport;
use crate::cluster::NodeId;
use crate::error::ApiError;

/// How nodes are asked; the proxy does it through its connection pools.
#[async_trait]
pub trait NodeTasks: Send + Sync + 'static {
    /// All of `uids` that the node knows. A uid that is missing from an `Ok` is taken as gone for good, so an answer
    /// that might be incomplete must be an error. At most 200 uids are asked for at a time.
    async fn tasks(&self, node: &NodeId, uids: &[u32]) -> Result<Vec<NodeTaskReport>, ApiError>;
}

/// Pause between two questions while somebody waits: with a node that answers in a few milliseconds and a commit, a
/// client learns of the end within 50 ms.
const PAUSE_WANTED: Duration = Duration::from_millis(20);
/// The same after an answer with news, since more is then likely to come.
const PAUSE_AFTER_NEWS: Duration = Duration::from_millis(10);
/// Longest pause while nobody waits; it doubles up to that.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Longest pause for a node that does not answer; it doubles up to that.
const PAUSE_FAILING_MAX: Duration = Duration::from_secs(5);
/// An answer that takes longer is not waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often finished tasks beyond their ttl are deleted.
const PRUNE_INTERVAL: Duration = Duration::from_secs(600);

/// How often idempotency keys are forgotten: at two thousand writes a second their number is at most an eighth too high.
const FORGET_KEYS_INTERVAL: Duration = Duration::from_secs(60);

/// When a node is asked next.
struct Pace {
    is_asking: bool,
    last_end: Instant,
    /// Pause while nobody waits for the node's tasks.
    pause: Duration,
    had_news: bool,
    failures: u32,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            is_asking: false,
            last_end: now.checked_sub(PAUSE_MAX).unwrap_or(now),
            pause: PAUSE_WANTED,
            had_news: false,
            failures: 0,
        }
    }

    fn due(&self, is_hot: bool) -> Instant {
        let pause = match (self.failures, is_hot) {
            (1.., _) => (PAUSE_WANTED * (1 << self.failures.min(10))).min(PAUSE_FAILING_MAX),
            (0, true) if self.had_news => PAUSE_AFTER_NEWS,
            (0, true) => PAUSE_WANTED,
            (0, false) => self.pause,
        };
        self.last_end + pause
    }

    fn ended(&mut self, end: End, now: Instant) {
        self.is_asking = false;
        self.last_end = now;
        self.had_news = end == End::News;
        match end {
            End::Failure => self.failures = self.failures.saturating_add(1),
            End::News => (self.failures, self.pause) = (0, PAUSE_WANTED),
            End::NoNews => (self.failures, self.pause) = (0, (self.pause * 2).min(PAUSE_MAX)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    News,
    NoNews,
    Failure,
}

type Asking = Pin<Box<dyn Future<Output = (NodeId, Option<Answer>)> + Send>>;
type Storing = Pin<Box<dyn Future<Output = (Vec<NodeId>, End)> + Send>>;

impl TaskRegistry {
    /// Follows all tasks until `shutdown` becomes true or its sender is gone. Cancel-safe: what was not stored is
    /// asked for again.
    pub async fn run(self: Arc<Self>, nodes: Arc<dyn NodeTasks>, mut shutdown: watch::Receiver<bool>) {
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => {}
            () = self.reconcile(nodes) => {}
            () = self.prune_regularly() => {}
            () = self.forget_keys_regularly() => {}
        }
    }

    async fn reconcile(self: &Arc<Self>, nodes: Arc<dyn NodeTasks>) {
        let mut paces: HashMap<NodeId, Pace> = HashMap::new();
        let mut asking: FuturesUnordered<Asking> = FuturesUnordered::new();
        let mut answers: Vec<Answer> = Vec::new();
        // At most one at a time: each starts from what the one before published.
        let mut storing: Option<Storing> = None;
        loop {
            if storing.is_none() && !answers.is_empty() {
                storing = Some(Box::pin(self.clone().take_in(std::mem::take(&mut answers))));
            }
            let next_due = self.ask_due_nodes(&nodes, &mut paces, &mut asking);
            let stored = async {
                match &mut storing {
                    Some(storing) => storing.await,
                    None => std::future::pending().await,
                }
            };
            let due = async {
                match next_due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(answered) = asking.next() => {
                    // Those that are in as well go into the same commit.
                    let mut next = Some(answered);
                    while let Some((node, answer)) = next {
                        match answer {
                            Some(answer) => answers.push(answer),
                            None => {
                                self.counters.node_request_failures.fetch_add(1, Ordering::Relaxed);
                                end(&mut paces, &[node], End::Failure);
                            }
                        }
                        next = asking.next().now_or_never().flatten();
                    }
                }
                (nodes, how) = stored => {
                    storing = None;
                    end(&mut paces, &nodes, how);
                }
                () = due => {}
                () = self.work.notified() => {}
            }
        }
    }

    /// Asks every node that is due and returns when the next one will be.
    fn ask_due_nodes(
        &self,
        nodes: &Arc<dyn NodeTasks>,
        paces: &mut HashMap<NodeId, Pace>,
        asking: &mut FuturesUnordered<Asking>,
    ) -> Option<Instant> {
        let now = Instant::now();
        let mut following = self.following();
        let mut due_now = Vec::new();
        let mut next_due: Option<Instant> = None;
        for (node, is_hot) in following.owing(now) {
            let pace = paces.entry(node.clone()).or_insert_with(|| Pace::new(now));
            if pace.is_asking {
                continue;
            }
            let due = pace.due(is_hot);
            if due <= now {
                pace.is_asking = true;
                due_now.push((node.clone(), pace.had_news));
            } else {
                next_due = Some(next_due.map_or(due, |next| next.min(due)));
            }
        }
        for (node, had_news) in due_now {
            let asked = following.question(&node, now, had_news);
            self.counters.node_requests.fetch_add(1, Ordering::Relaxed);
            asking.push(Box::pin(ask(nodes.clone(), node, asked)));
        }
        next_due
    }

    /// Stores what the answers change, then makes it visible.
    async fn take_in(self: Arc<Self>, answers: Vec<Answer>) -> (Vec<NodeId>, End) {
        let nodes: Vec<NodeId> = answers.iter().map(|answer| answer.node.clone()).collect();
        let count = answers.len();
        let taken_in = self.change(move |changes| answers.iter().for_each(|answer| changes.take_in(answer))).await;
        match taken_in {
            Ok(0) => (nodes, End::NoNews),
            Ok(_) => (nodes, End::News),
            Err(error) => {
                log::error!(
                    "what {count} nodes said of their tasks could not be stored and is asked for again: {error}"
                );
                (nodes, End::Failure)
            }
        }
    }

    async fn prune_regularly(&self) {
        let mut interval = tokio::time::interval(PRUNE_INTERVAL);
        loop {
            interval.tick().await;
            if let Err(error) = self.prune(OffsetDateTime::now_utc()).await {
                log::warn!("old tasks could not be deleted, which is tried again later: {error}");
            }
        }
    }

    async fn forget_keys_regularly(&self) {
        let mut interval = tokio::time::interval(FORGET_KEYS_INTERVAL);
        loop {
            interval.tick().await;
            if let Err(error) = self.forget_keys(OffsetDateTime::now_utc()).await {
                log::warn!("old idempotency keys could not be forgotten, which is tried again later: {error}");
            }
        }
    }
}

fn end(paces: &mut HashMap<NodeId, Pace>, nodes: &[NodeId], how: End) {
    let now = Instant::now();
    for node in nodes {
        if let Some(pace) = paces.get_mut(node) {
            pace.ended(how, now);
        }
    }
}

async fn ask(nodes: Arc<dyn NodeTasks>, node: NodeId, asked: Vec<u32>) -> (NodeId, Option<Answer>) {
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, nodes.tasks(&node, &asked)).await {
        Ok(Ok(reports)) => Some(Answer { node: node.clone(), asked, reports }),
        Ok(Err(error)) => {
            log::debug!("node {node} could not be asked for its tasks: {error}");
            None
        }
        Err(_) => {
            log::debug!("node {node} did not say in time how its tasks stand");
            None
        }
    };
    (node, answer)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
