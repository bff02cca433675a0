//! Where a policy stands: stored before each thing that is done, so that it can be gone on with from there.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::cluster::{IndexUid, TaskUid};

/// What made an index give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// The series had none.
    First,
    MaxDocs,
    MaxAge,
    MaxSizeGb,
}

impl Trigger {
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::First => "first",
            Trigger::MaxDocs => "max_docs",
            Trigger::MaxAge => "max_age",
            Trigger::MaxSizeGb => "max_size_gb",
        }
    }
}

/// A rollover that has begun and has not been seen by any request: with its end, the flip of the aliases, there is no step any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The index that is to come.
    pub index: IndexUid,
    pub trigger: Trigger,
    #[serde(with = "time::serde::rfc3339")]
    pub begun_at: OffsetDateTime,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The index is created under this idempotency key, which leads to the task if it has been: whether an index of that name is
    /// ours is known by it.
    Creating { key: String },
    /// The index is there, and is given its settings, by this task if that is known; twice does no harm.
    Configuring { task: Option<TaskUid> },
}

impl Phase {
    pub const fn name(&self) -> &'static str {
        match self {
            Phase::Creating { .. } => "creating",
            Phase::Configuring { .. } => "configuring",
        }
    }
}

/// An index that no alias stands for any more, and that is to be deleted if it is still the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doomed {
    pub index: IndexUid,
    /// Tells it from a later one of the same name.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// The last one that came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollover {
    pub index: IndexUid,
    pub trigger: Trigger,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doomed: Vec<Doomed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rollover: Option<Rollover>,
}

impl Progress {
    /// Whether something has been begun and not ended.
    pub fn is_under_way(&self) -> bool {
        self.step.is_some() || !self.doomed.is_empty()
    }
}
