//! Identical searches that are under way at the same time are carried out once.
//!
//! The first is the leader, the others wait for its answer. A leader that leaves without one (its client went away, its time was
//! up) leaves the search to a waiter. One that fails tells the others: they try once more, together, and then believe it. What is
//! said of the request itself (4xx) is said to all.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3Default;

use super::Answer;
use crate::auth::RightsIdentity;
use crate::cluster::IndexUid;
use crate::error::ApiError;
use crate::merge::request_uid;
use crate::metrics::Metrics;

/// Everything that must be equal for two searches to have one answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SearchIdentity {
    pub index: IndexUid,
    /// What the nodes were told of the index, and which of them serve: changes with settings.
    pub snapshot_epoch: u64,
    /// The oldest settings that the request accepts.
    pub settings_floor: Option<u64>,
    /// How many tasks have ended. Whoever has seen a task succeed must find what it did, so that such a search never joins one
    /// that began before.
    pub tasks_ended: u64,
    /// Whoever has other rights may see something else.
    pub rights: RightsIdentity,
    /// How many times more hits nodes are asked for in a search by meaning.
    pub over_fetch: usize,
    /// The request in one of its spellings.
    pub canonical_search: Vec<u8>,
}

impl SearchIdentity {
    /// A short name of the identity, to compare by eye.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = Xxh3Default::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

type Outcome = Result<Answer, ApiError>;

/// The searches under way, by identity. As many as there are requests under way, at most.
pub struct SearchesUnderWay {
    enabled: bool,
    metrics: Arc<Metrics>,
    under_way: Mutex<HashMap<SearchIdentity, watch::Receiver<Option<Outcome>>>>,
}

enum Part<'a> {
    Leader(Leadership<'a>),
    Waiter(watch::Receiver<Option<Outcome>>),
}

impl SearchesUnderWay {
    pub fn new(enabled: bool, metrics: Arc<Metrics>) -> Self {
        Self { enabled, metrics, under_way: Mutex::default() }
    }

    /// The answer to a search, which `execute` gets, or somebody else who is at it already. Without an identity it is shared
    /// with nobody. Waiting ends with the caller's own deadline.
    pub async fn share<F>(&self, identity: Option<SearchIdentity>, execute: impl FnOnce() -> F) -> Outcome
    where
        F: Future<Output = Outcome>,
    {
        let Some(identity) = identity else { return execute().await };
        let mut failures = 0;
        // Ends: whoever does not get an answer from a leader becomes one, sooner or later.
        loop {
            let mut answered = match self.join(&identity) {
                Part::Leader(leadership) => {
                    self.count("leader");
                    let outcome = execute().await;
                    leadership.end(&outcome);
                    return outcome;
                }
                Part::Waiter(answered) => answered,
            };
            let outcome = answered.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
            match outcome {
                Some(Err(error)) if error.status >= 500 && failures == 0 => failures += 1,
                Some(outcome) => {
                    self.count("waiter");
                    return outcome.map(of_its_own);
                }
                None => self.count("abandoned"),
            }
        }
    }

    /// Whether such a search is under way.
    pub fn has(&self, identity: &SearchIdentity) -> bool {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).contains_key(identity)
    }

    /// Whether searches are shared at all.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    fn count(&self, part: &str) {
        self.metrics.query_coalesce.with_label_values(&[part]).inc();
    }

    fn join(&self, identity: &SearchIdentity) -> Part<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // One whose leader has just left is as good as none.
        if let Some(answered) = under_way.get(identity).filter(|answered| answered.has_changed().is_ok()) {
            return Part::Waiter(answered.clone());
        }
        let (answer, answered) = watch::channel(None);
        under_way.insert(identity.clone(), answered);
        Part::Leader(Leadership { searches: self, identity: identity.clone(), answer })
    }
}

/// The duty to get an answer. Dropped without one, a waiter takes it over.
struct Leadership<'a> {
    searches: &'a SearchesUnderWay,
    identity: SearchIdentity,
    answer: watch::Sender<Option<Outcome>>,
}

impl Leadership<'_> {
    fn end(self, outcome: &Outcome) {
        // First: whoever tries again must not find this one.
        self.leave();
        self.answer.send_replace(Some(outcome.clone()));
    }

    fn leave(&self) {
        let mut under_way = self.searches.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        // A successor may have come already.
        if under_way.get(&self.identity).is_some_and(|answered| answered.same_channel(&self.answer.subscribe())) {
            under_way.remove(&self.identity);
        }
    }
}

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// An answer as a response of its own.
fn of_its_own(answer: Answer) -> Answer {
    match request_uid::renewed(&answer.body) {
        Some(body) => Answer { body, ..answer },
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;
    use crate::error::Code;

    fn searches() -> SearchesUnderWay {
        SearchesUnderWay::new(true, Arc::new(Metrics::new().unwrap()))
    }

    fn identity(query: &str) -> SearchIdentity {
        SearchIdentity {
            index: IndexUid::parse("i").unwrap(),
            snapshot_epoch: 1,
            settings_floor: None,
            tasks_ended: 0,
            rights: RightsIdentity::Everything,
            over_fetch: 3,
            canonical_search: query.as_bytes().to_vec(),
        }
    }

    fn answer(n: usize) -> Answer {
        Answer::json_bytes(200, format!(r#"{{"hits":[],"n":{n},"requestUid":"0"}}"#))
    }

    #[tokio::test]
    async fn a_thousand_identical_searches_are_carried_out_once_and_each_answer_is_a_response_of_its_own() {
        let (searches, executions) = (searches(), AtomicUsize::new(0));
        let execute = || async {
            executions.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(answer(7))
        };
        let answers = join_all((0..1_000).map(|_| searches.share(Some(identity("a")), execute))).await;
        assert_eq!(executions.load(Ordering::Relaxed), 1);
        let bodies: std::collections::HashSet<_> = answers.into_iter().map(|answer| answer.unwrap().body).collect();
        assert_eq!(bodies.len(), 1_000);
        assert!(bodies.iter().all(|body| body.starts_with(br#"{"hits":[],"n":7,"#)));
        assert!(searches.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn searches_that_differ_in_anything_are_not_shared() {
        let (searches, executions) = (searches(), AtomicUsize::new(0));
        let execute = || async {
            executions.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(answer(0))
        };
        let other_key = RightsIdentity::Nothing;
        let identities = [
            identity("a"),
            identity("b"),
            SearchIdentity { index: IndexUid::parse("j").unwrap(), ..identity("a") },
            SearchIdentity { snapshot_epoch: 2, ..identity("a") },
            SearchIdentity { settings_floor: Some(3), ..identity("a") },
            SearchIdentity { tasks_ended: 1, ..identity("a") },
            SearchIdentity { over_fetch: 4, ..identity("a") },
            SearchIdentity { rights: other_key, ..identity("a") },
        ];
        let count = identities.len();
        join_all(identities.into_iter().map(|identity| searches.share(Some(identity), execute))).await;
        assert_eq!(executions.load(Ordering::Relaxed), count);
    }

    #[tokio::test]
    async fn when_the_leader_leaves_a_waiter_takes_over() {
        let (searches, executions, stuck) = (searches(), AtomicUsize::new(0), Notify::new());
        let execute = || async {
            if executions.fetch_add(1, Ordering::Relaxed) == 0 {
                stuck.notified().await;
            }
            tokio::task::yield_now().await;
            Ok(answer(executions.load(Ordering::Relaxed)))
        };
        let mut leader = Box::pin(searches.share(Some(identity("a")), execute));
        assert!(futures_util::poll!(&mut leader).is_pending());
        let waiters = join_all((0..10).map(|_| searches.share(Some(identity("a")), execute)));
        let mut waiters = Box::pin(waiters);
        assert!(futures_util::poll!(&mut waiters).is_pending());
        drop(leader);
        assert!(waiters.await.into_iter().all(|answer| answer.is_ok()));
        assert_eq!(executions.load(Ordering::Relaxed), 2);
        assert!(searches.under_way.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_said_of_the_request_is_said_to_all_and_a_failure_only_to_the_one_it_happened_to() {
        for (code, executed, refused) in [(Code::InvalidSearchFilter, 1, 10), (Code::MiroirShardUnavailable, 2, 1)] {
            let (searches, executions) = (searches(), AtomicUsize::new(0));
            let execute = || async {
                let is_first = executions.fetch_add(1, Ordering::Relaxed) == 0;
                tokio::task::yield_now().await;
                if is_first {
                    Err(ApiError::new(code, "no"))
                } else {
                    Ok(answer(1))
                }
            };
            let outcomes = join_all((0..10).map(|_| searches.share(Some(identity("a")), execute))).await;
            assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), refused, "{code:?}");
            assert_eq!(executions.load(Ordering::Relaxed), executed, "{code:?}");
        }
    }
}
