//! How long a Miroir may answer reads by what it knows of the cluster.

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

/// A Miroir that hung while another one began to lead must not answer by what was before when it wakes.
pub struct ReadLease {
    is_for_good: bool,
    /// `None`: it has never known.
    until: ArcSwapOption<Instant>,
}

impl ReadLease {
    /// Of a Miroir whose store nobody else can have.
    pub fn for_good() -> Self {
        Self { is_for_good: true, until: ArcSwapOption::empty() }
    }

    /// Of one that is yet to be told.
    pub fn none() -> Self {
        Self { is_for_good: false, until: ArcSwapOption::empty() }
    }

    pub fn until(end: Instant) -> Self {
        let lease = Self::none();
        lease.extend(end);
        lease
    }

    pub fn extend(&self, end: Instant) {
        self.until.store(Some(end.into()));
    }

    /// Nobody could change anything until `end`, so that what is known still holds, if anything is.
    pub fn extend_known(&self, end: Instant) {
        if self.until.load().is_some() {
            self.extend(end);
        }
    }

    pub fn end(&self) {
        self.until.store(None);
    }

    pub fn is_held(&self) -> bool {
        self.is_for_good || self.until.load().as_deref().is_some_and(|end| Instant::now() < *end)
    }
}
