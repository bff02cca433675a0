//! How long a Miroir may act as the one that leads.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::ApiError;

/// Shared by everything that acts on nodes. Nodes know nothing of terms, so that whoever has not been heard of for a while must stop by
/// its own clock before another one begins.
#[derive(Clone)]
pub struct Lead {
    held: Arc<watch::Sender<Held>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    ForGood,
    Until(Instant),
    No,
}

impl Held {
    fn is_now(self) -> bool {
        match self {
            Held::ForGood => true,
            Held::Until(end) => Instant::now() < end,
            Held::No => false,
        }
    }
}

impl Lead {
    /// Of a store that nobody else can have.
    pub fn for_good() -> Self {
        Self { held: Arc::new(watch::Sender::new(Held::ForGood)) }
    }

    pub fn until(end: Instant) -> Self {
        Self { held: Arc::new(watch::Sender::new(Held::Until(end))) }
    }

    pub fn none() -> Self {
        Self { held: Arc::new(watch::Sender::new(Held::No)) }
    }

    pub fn renew(&self, end: Instant) {
        self.held.send_replace(Held::Until(end));
    }

    /// Somebody else leads. This one never does again.
    pub fn lose(&self) {
        self.held.send_replace(Held::No);
    }

    pub fn is_held(&self) -> bool {
        self.held.borrow().is_now()
    }

    /// Returns while it is held: at once, or when the store has been reached again before `deadline`; else `miroir_no_leader`.
    pub async fn hold(&self, deadline: Instant) -> Result<(), ApiError> {
        if self.is_held() {
            return Ok(());
        }
        let mut changes = self.held.subscribe();
        let is_known = |held: &Held| held.is_now() || *held == Held::No;
        // In vain or not: what counts is how it stands then.
        drop(tokio::time::timeout_at(deadline, changes.wait_for(is_known)).await);
        match self.is_held() {
            true => Ok(()),
            false => Err(ApiError::no_leader(
                "This Miroir cannot tell whether it leads yet: its store has not answered for too long.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lead_ends_by_itself_and_whoever_needs_it_waits_until_it_is_renewed() {
        let lead = Lead::until(Instant::now() + Duration::from_secs(9));
        assert!(lead.is_held());
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!lead.is_held());
        let renewing = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            lead.renew(Instant::now() + Duration::from_secs(9));
        };
        let (held, ()) = tokio::join!(lead.hold(Instant::now() + Duration::from_secs(5)), renewing);
        assert!(held.is_ok() && lead.is_held());
        lead.lose();
        assert!(lead.hold(Instant::now() + Duration::from_secs(5)).await.is_err());
    }
}
