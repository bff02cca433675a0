//! Turns of reads at one node: as many at a time as its limit allows, a short queue for the others, and a refusal beyond it.
//!
//! A turn costs a compare-and-swap while the node has room. Writes take none: they never wait behind searches, nor searches
//! behind them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pingora::time::timeout;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::cluster::concurrency_limit::{ConcurrencyLimit, LimitBounds};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    pub enabled: bool,
    /// Reads that a node is given at a time.
    pub per_node: LimitBounds,
    /// Reads that may wait for their turn at one node.
    pub queue_max: usize,
    /// How long they may wait.
    pub queue_wait: Duration,
}

/// Why a read got no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoTurn {
    QueueFull,
    WaitedTooLong,
}

impl NoTurn {
    pub fn name(self) -> &'static str {
        match self {
            NoTurn::QueueFull => "queue_full",
            NoTurn::WaitedTooLong => "waited_too_long",
        }
    }
}

pub(super) struct Gate {
    limits: AdmissionLimits,
    limit: Mutex<ConcurrencyLimit>,
    permits: Semaphore,
    /// Permits that the limit has lost while they were in use: taken out as they come back.
    owed: AtomicUsize,
    under_way: AtomicUsize,
    waiting: AtomicUsize,
}

impl Gate {
    pub fn new(limits: AdmissionLimits, now: Instant) -> Self {
        Self {
            limits,
            limit: Mutex::new(ConcurrencyLimit::new(limits.per_node, now)),
            permits: Semaphore::new(limits.per_node.initial),
            owed: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Whether a read would get its turn at once.
    pub fn has_room(&self) -> bool {
        !self.limits.enabled || self.permits.available_permits() > 0
    }

    /// Waits for a turn. Cancel-safe: whoever stops waiting leaves the queue.
    pub async fn turn(&self) -> Result<Turn<'_>, NoTurn> {
        if !self.limits.enabled {
            return Ok(self.begin(None));
        }
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(self.begin(Some(permit)));
        }
        let _place = Place::take(&self.waiting, self.limits.queue_max).ok_or(NoTurn::QueueFull)?;
        match timeout(self.limits.queue_wait, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(self.begin(Some(permit))),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(NoTurn::WaitedTooLong),
        }
    }

    fn begin<'a>(&'a self, permit: Option<SemaphorePermit<'a>>) -> Turn<'a> {
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        Turn { gate: self, permit, under_way }
    }

    fn change(&self, change: impl FnOnce(&mut ConcurrencyLimit) -> Option<usize>) -> Option<usize> {
        // The lock is kept until the permits follow, so that two changes do not cross.
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let before = limit.limit();
        let after = change(&mut limit)?;
        match after.checked_sub(before) {
            Some(more) => {
                let kept = self.pay(more);
                self.permits.add_permits(more - kept);
            }
            None => {
                let fewer = before - after;
                let forgotten = self.permits.forget_permits(fewer);
                self.owed.fetch_add(fewer - forgotten, Ordering::Relaxed);
            }
        }
        Some(after)
    }

    /// Takes up to `permits` off what is owed; returns how many it was.
    fn pay(&self, permits: usize) -> usize {
        let paid = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |owed| Some(owed - owed.min(permits)));
        paid.unwrap_or_default().min(permits)
    }
}

/// A place in a queue, given up when dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        let place = Self(waiting);
        // Given up again at once if it is one too many.
        (waiting.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A read under way at a node; its turn is over when it is dropped.
pub(super) struct Turn<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    /// Reads under way when it began, itself included.
    under_way: usize,
}

impl Turn<'_> {
    /// The node answered. Returns its limit if that has changed.
    pub fn answered(&self, latency: Duration, now: Instant) -> Option<usize> {
        self.permit.as_ref()?;
        self.gate.change(|limit| limit.answered(latency, self.under_way, now))
    }

    /// The node refused because of load, or did not answer in time. Returns its limit if that has changed.
    pub fn overloaded(&self) -> Option<usize> {
        self.permit.as_ref()?;
        self.gate.change(ConcurrencyLimit::overloaded)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, Ordering::Relaxed);
        if let Some(permit) = self.permit.take() {
            if self.gate.pay(1) == 1 {
                permit.forget();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    fn gate(initial: usize, queue_max: usize, queue_wait_ms: u64) -> Gate {
        let per_node = LimitBounds { initial, min: 1, max: 64 };
        let queue_wait = Duration::from_millis(queue_wait_ms);
        Gate::new(AdmissionLimits { enabled: true, per_node, queue_max, queue_wait }, Instant::now())
    }

    #[tokio::test]
    async fn beyond_its_limit_reads_queue_and_beyond_the_queue_they_are_refused() {
        let gate = gate(2, 3, 60_000);
        let held = (gate.turn().await.unwrap(), gate.turn().await.unwrap());
        assert!(!gate.has_room());
        let mut queued: Vec<_> = (0..3).map(|_| Box::pin(gate.turn())).collect();
        for turn in &mut queued {
            assert!(futures_util::poll!(turn).is_pending());
        }
        assert_eq!((gate.waiting.load(Ordering::Relaxed), gate.turn().await.err()), (3, Some(NoTurn::QueueFull)));
        drop(held);
        let turns = join_all(queued.drain(..2)).await;
        assert!(turns.iter().all(Result::is_ok) && gate.waiting.load(Ordering::Relaxed) == 1);
        drop(queued);
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0, "whoever stops waiting leaves the queue");
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_briefly() {
        let gate = gate(1, 3, 20);
        let _held = gate.turn().await.unwrap();
        assert_eq!(gate.turn().await.err(), Some(NoTurn::WaitedTooLong));
        assert_eq!(gate.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_smaller_limit_is_kept_to_as_turns_come_back_and_a_larger_one_at_once() {
        let gate = gate(10, 3, 20);
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(gate.turn().await.unwrap());
        }
        assert_eq!(held[0].overloaded(), Some(7));
        held.truncate(8);
        assert!(!gate.has_room(), "eight are under way, of seven");
        held.truncate(6);
        assert!(gate.has_room());
        held.push(gate.turn().await.unwrap());
        assert!(!gate.has_room());
        // Latency at leisure, at the limit.
        let later = Instant::now() + Duration::from_secs(1);
        let grown =
            (0..40).find_map(|n| held[6].answered(Duration::from_millis(1), later + Duration::from_millis(10 * n)));
        let grown = grown.unwrap_or_default();
        assert_eq!((grown, gate.limit.lock().unwrap().limit()), (8, 8));
        assert!(gate.has_room());
        drop(held);
        assert_eq!(gate.permits.available_permits(), 8);
    }

    #[tokio::test]
    async fn switched_off_it_lets_everybody_in() {
        let mut gate = gate(1, 1, 1);
        gate.limits.enabled = false;
        let turns: Vec<_> = join_all((0..100).map(|_| gate.turn())).await;
        assert!(turns.iter().all(Result::is_ok) && gate.has_room());
    }
}
