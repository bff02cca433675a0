//! What the leader knows of the others: how far each has come with its picture of the cluster.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The others, as they have made themselves heard.
pub struct Followers {
    known: Mutex<HashMap<String, Follower>>,
    /// How long one that is not heard of may go on reading.
    reads_last: Duration,
    /// Changes whenever one is heard of.
    heard: watch::Sender<()>,
}

struct Follower {
    heard_at: Instant,
    /// The epoch that it goes by.
    adopted: u64,
    /// The epoch before which none of its requests goes by any more.
    left: u64,
}

impl Followers {
    /// `expected` may still go by what the leader before this one told them.
    pub fn new(expected: impl IntoIterator<Item = String>, reads_last: Duration) -> Self {
        let heard_at = Instant::now();
        let known = expected.into_iter().map(|id| (id, Follower { heard_at, adopted: 0, left: 0 }));
        Self { known: Mutex::new(known.collect()), reads_last, heard: watch::Sender::new(()) }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Follower>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, follower| follower.heard_at.elapsed() < self.reads_last);
        known
    }

    pub fn hear(&self, id: &str, adopted: u64, left: u64) {
        self.known().insert(id.to_owned(), Follower { heard_at: Instant::now(), adopted, left });
        self.heard.send_replace(());
    }

    /// It reads no more.
    pub fn forget(&self, id: &str) {
        self.known().remove(id);
        self.heard.send_replace(());
    }

    pub fn reads_last(&self) -> Duration {
        self.reads_last
    }

    pub fn ids(&self) -> Vec<String> {
        self.known().keys().cloned().collect()
    }

    /// Returns once every other Miroir goes by `epoch` or a later one, or serves no reads by itself any more. Where one has just died that
    /// takes as long as its reads last.
    pub async fn adopt(&self, epoch: u64) {
        self.wait(|follower| follower.adopted >= epoch).await;
    }

    async fn wait(&self, is_there: impl Fn(&Follower) -> bool) {
        let mut heard = self.heard.subscribe();
        loop {
            let behind = self.known().values().filter(|follower| !is_there(follower)).map(|it| it.heard_at).min();
            let Some(heard_at) = behind else { return };
            let _ = tokio::time::timeout_at(heard_at + self.reads_last, heard.changed()).await;
        }
    }

    /// Whether no request at another Miroir goes by what was before `epoch`.
    pub fn have_left(&self, epoch: u64) -> bool {
        self.known().values().all(|follower| follower.left >= epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS_LAST: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn who_is_behind_is_waited_for_until_it_has_come_or_reads_no_more() {
        let followers = Followers::new(["a".to_owned()], READS_LAST);
        let began = Instant::now();
        followers.adopt(7).await;
        assert_eq!(began.elapsed(), READS_LAST, "`a` never came");
        followers.hear("b", 6, 6);
        let coming = async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            followers.hear("b", 7, 6);
        };
        let began = Instant::now();
        tokio::join!(followers.adopt(7), coming);
        assert_eq!(began.elapsed(), Duration::from_millis(3));
        assert!(followers.have_left(6) && !followers.have_left(7));
        let leaving = async {
            tokio::time::sleep(Duration::from_millis(3)).await;
            followers.forget("b");
        };
        tokio::join!(followers.adopt(8), leaving);
        assert!(followers.ids().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn without_others_nobody_waits() {
        let began = Instant::now();
        Followers::new([], READS_LAST).adopt(1).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
