//! What a follower knows of the leader, and how long it may read by that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ReadLease;
use crate::store::Peer;

/// Two services keep it: the one that asks the leader for news, and the one that asks the store who leads.
#[derive(Default)]
pub struct Following {
    leader: ArcSwapOption<Peer>,
    /// The ids of all Miroirs on the store.
    peers: ArcSwap<Vec<String>>,
    ends: Mutex<Ends>,
    /// Somebody has to find out who leads.
    lost: Notify,
}

/// Reads may go on until both are over.
#[derive(Default)]
struct Ends {
    /// When the leader stops to wait for this Miroir. `None`: it tells nothing at the moment.
    news: Option<Instant>,
    /// When the store forgets it, so that a new leader would not wait for it.
    roll: Option<Instant>,
    is_leader_silent: bool,
}

impl Following {
    pub fn leader(&self) -> Option<Arc<Peer>> {
        self.leader.load_full()
    }

    /// Who there is, as the store tells.
    pub fn set_roll(&self, leader: Option<Peer>, peers: Vec<Peer>) {
        self.leader.store(leader.map(Arc::new));
        self.peers.store(Arc::new(peers.into_iter().map(|peer| peer.id).collect()));
    }

    pub fn peers(&self) -> Arc<Vec<String>> {
        self.peers.load_full()
    }

    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leader has told all that was new, it has been taken in, and the leader waits for this Miroir until `end`.
    pub fn told(&self, reads: &ReadLease, end: Instant) {
        let mut ends = self.ends();
        ends.news = Some(end);
        ends.is_leader_silent = false;
        ends.show(reads);
    }

    /// The store has this Miroir on its roll until `end`.
    pub fn enrolled(&self, reads: &ReadLease, end: Instant) {
        let mut ends = self.ends();
        ends.roll = Some(end);
        ends.show(reads);
    }

    /// The store cannot be reached. If the leader is silent, too, it is away for everybody, nobody can change anything, and what is known
    /// holds until `end`. Else it is away from here alone.
    pub fn unenrolled(&self, reads: &ReadLease, end: Instant) {
        if self.ends().is_leader_silent {
            reads.extend_known(end);
        }
    }

    /// The leader does not answer.
    pub fn lose_leader(&self) {
        self.ends().is_leader_silent = true;
        self.lost.notify_one();
    }

    pub async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Ends {
    fn show(&self, reads: &ReadLease) {
        if let (Some(news), Some(roll)) = (self.news, self.roll) {
            reads.extend(news.min(roll));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reads_last_while_both_the_leader_and_the_store_count_on_them() {
        let (following, reads) = (Following::default(), ReadLease::none());
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        following.enrolled(&reads, at(10));
        assert!(!reads.is_held(), "nothing has been told");
        following.told(&reads, at(15));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!reads.is_held(), "a new leader would not know of it");
        following.enrolled(&reads, at(10));
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(reads.is_held());
        following.enrolled(&reads, at(10));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!reads.is_held(), "the leader does not wait any more");
        following.unenrolled(&reads, at(10));
        assert!(!reads.is_held(), "the store is away from here alone");
        following.lose_leader();
        following.unenrolled(&reads, at(10));
        assert!(reads.is_held(), "the store is away");
    }
}
