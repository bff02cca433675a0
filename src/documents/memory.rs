//! How much memory all bodies that are being taken in may hold together.
//!
//! Whoever keeps bytes of a body has a share of the budget that covers them. A share waits for room only before anything
//! has been read, while it holds nothing; one that turns out too small later grows at once or not at all. So no two
//! half-read bodies ever wait for each other.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{ApiError, Code};

/// What every body may hold without asking: searches, settings and single documents are never turned away because others
/// send much. The number of requests under way bounds what this adds up to.
const FREE_BYTES: u64 = 256 << 10;

/// By how much a share grows at least, so that a body of many small documents does not ask for each.
const GROWTH_BYTES: u64 = 1 << 20;

/// How long a new body may wait for room. Bodies of some megabytes are gone within a second; a client that has waited
/// longer is served better by an answer that it can act on.
const RESERVATION_WAIT: Duration = Duration::from_secs(2);

/// The memory that bodies share (`writes.buffer_bytes_max`).
#[derive(Debug)]
pub struct MemoryBudget {
    bytes_max: u64,
    held: AtomicU64,
    freed: Notify,
}

impl MemoryBudget {
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { bytes_max, held: AtomicU64::new(0), freed: Notify::new() })
    }

    /// A share that covers nothing yet.
    pub fn share(self: &Arc<Self>) -> MemoryShare {
        MemoryShare { budget: Some(Arc::clone(self)), covered: 0 }
    }

    /// Bytes that shares hold at this moment.
    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn try_take(&self, bytes: u64) -> bool {
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            let before = self.held.fetch_sub(bytes, Ordering::AcqRel);
            debug_assert!(before >= bytes, "{bytes} given back of {before}");
            self.freed.notify_waiters();
        }
    }
}

/// A part of the budget, given back when it is dropped.
pub struct MemoryShare {
    /// `None`: memory that nobody counts.
    budget: Option<Arc<MemoryBudget>>,
    covered: u64,
}

impl MemoryShare {
    /// A share that covers everything, for bytes that are not a client's.
    pub fn uncounted() -> Self {
        Self { budget: None, covered: 0 }
    }

    /// Makes room for a body of about `bytes` bytes, and waits briefly if others have to finish first. For a share that
    /// holds nothing.
    pub async fn reserve(&mut self, bytes: u64) -> Result<(), ApiError> {
        let Some(budget) = &self.budget else { return Ok(()) };
        debug_assert_eq!(self.covered, 0, "only who holds nothing may wait");
        // What is announced may be less than what comes of it, so even the whole budget is no promise.
        let needed = bytes.saturating_sub(FREE_BYTES).min(budget.bytes_max);
        if budget.try_take(needed) {
            self.covered = needed;
            return Ok(());
        }
        let deadline = Instant::now() + RESERVATION_WAIT;
        loop {
            // Before the second look: what is freed between it and the wait is not missed.
            let freed = budget.freed.notified();
            if budget.try_take(needed) {
                self.covered = needed;
                return Ok(());
            }
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return Err(too_busy());
            }
        }
    }

    /// Makes the share cover `bytes` bytes, without waiting.
    ///
    /// Errors: 503 `miroir_too_busy` when others hold too much, 413 `payload_too_large` when it would not fit alone.
    pub fn cover(&mut self, bytes: u64) -> Result<(), ApiError> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let needed = bytes.saturating_sub(FREE_BYTES);
        if needed <= self.covered {
            return Ok(());
        }
        if needed > budget.bytes_max {
            return Err(too_large(budget.bytes_max));
        }
        let missing = needed - self.covered;
        let growth = if missing < GROWTH_BYTES && budget.try_take(GROWTH_BYTES) {
            GROWTH_BYTES
        } else if budget.try_take(missing) {
            missing
        } else {
            return Err(too_busy());
        };
        self.covered += growth;
        Ok(())
    }

    /// Gives back what is covered beyond `bytes` bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let Some(budget) = &self.budget else { return };
        let surplus = self.covered.saturating_sub(bytes.saturating_sub(FREE_BYTES));
        self.covered -= surplus;
        budget.give_back(surplus);
    }

    /// Takes the part that covers `bytes` bytes out of this share, as far as it has that much.
    #[must_use]
    pub fn split_off(&mut self, bytes: u64) -> Self {
        let part = bytes.min(self.covered);
        self.covered -= part;
        Self { budget: self.budget.clone(), covered: part }
    }

    /// Ties the share to memory that it covers: it is given back with the last reference to those bytes.
    pub fn attach(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Covered { bytes, _share: self })
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        if let Some(budget) = &self.budget {
            budget.give_back(self.covered);
        }
    }
}

impl fmt::Debug for MemoryShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryShare({} bytes)", self.covered)
    }
}

struct Covered {
    bytes: Vec<u8>,
    _share: MemoryShare,
}

impl AsRef<[u8]> for Covered {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn too_busy() -> ApiError {
    ApiError::new(
        Code::MiroirTooBusy,
        "Other requests' bodies fill the memory that is set aside for them; come back later.",
    )
}

fn too_large(bytes_max: u64) -> ApiError {
    let message = format!(
        "The documents of this payload take more memory than the {bytes_max} bytes that all payloads may hold together; \
         send fewer at a time."
    );
    ApiError::new(Code::PayloadTooLarge, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[tokio::test(start_paused = true)]
    async fn a_body_waits_for_room_and_is_refused_when_none_comes() {
        let budget = MemoryBudget::new(10 * MIB);
        let mut first = budget.share();
        first.reserve(10 * MIB + FREE_BYTES).await.unwrap();
        assert_eq!(budget.held_bytes(), 10 * MIB);

        let started = Instant::now();
        let refusal = budget.share().reserve(MIB).await.unwrap_err();
        assert!(refusal.is(Code::MiroirTooBusy) && refusal.status == 503);
        assert_eq!(started.elapsed(), RESERVATION_WAIT);

        let waiting = tokio::spawn({
            let mut second = budget.share();
            async move { second.reserve(5 * MIB).await.map(|()| second) }
        });
        tokio::time::sleep(RESERVATION_WAIT / 2).await;
        drop(first);
        let second = waiting.await.unwrap().expect("room came in time");
        assert_eq!(budget.held_bytes(), 5 * MIB - FREE_BYTES);
        drop(second);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_share_grows_at_once_or_not_at_all() {
        let budget = MemoryBudget::new(4 * MIB);
        let (mut one, mut other) = (budget.share(), budget.share());
        one.cover(2 * MIB).unwrap();
        other.cover(2 * MIB).unwrap();
        assert!(one.cover(4 * MIB).unwrap_err().is(Code::MiroirTooBusy));
        assert!(one.cover(5 * MIB).unwrap_err().is(Code::PayloadTooLarge), "which no waiting would help");
        drop(other);
        one.cover(4 * MIB).unwrap();
        one.shrink_to(MIB);
        assert_eq!(budget.held_bytes(), MIB - FREE_BYTES);
    }

    #[tokio::test]
    async fn small_bodies_are_free() {
        let budget = MemoryBudget::new(MIB);
        let mut all = budget.share();
        all.reserve(MIB + FREE_BYTES).await.unwrap();
        let mut small = budget.share();
        small.reserve(FREE_BYTES).await.unwrap();
        small.cover(FREE_BYTES).unwrap();
        assert!(small.cover(FREE_BYTES + 1).unwrap_err().is(Code::MiroirTooBusy));
    }

    #[tokio::test]
    async fn parts_of_a_share_are_given_back_each_with_what_it_covers() {
        let budget = MemoryBudget::new(8 * MIB);
        let mut share = budget.share();
        share.reserve(5 * MIB + FREE_BYTES).await.unwrap();
        let part = share.split_off(2 * MIB);
        let bytes = share.attach(vec![1; 100]);
        drop(part);
        assert_eq!(budget.held_bytes(), 3 * MIB);
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_eq!((budget.held_bytes(), slice.len()), (3 * MIB, 10));
        drop(slice);
        assert_eq!(budget.held_bytes(), 0);
    }
}
