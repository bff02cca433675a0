//! Rolling time-series indexes: policies by which an index that is full or old gives way to a new one, and the oldest are deleted.
//!
//! A policy has a write alias, for the newest index of its series, and a read alias, for all of them. `policy` says what one is,
//! `name_pattern` what its indexes are called, `progress` where it stands between two phases, `due` when something is to be done;
//! all of that is plain state. `registry` keeps policies in memory and in the store, together with the aliases that they own.
//! What is done to indexes is done by `background/rollovers.rs`, and policies come in by `admin/rollover_policies.rs`.

mod due;
mod name_pattern;
mod policy;
mod progress;
mod registry;

pub use due::{ended, IndexSize, Member};
pub use name_pattern::{NamePattern, PatternError};
pub use policy::{Age, Policy, PolicyName, Retention, Template, Triggers};
pub use progress::{Doomed, Phase, Progress, Rollover, Step, Trigger};
pub use registry::{aliases_of, Holding, PolicyError, Rolling, Rollovers, Trouble, POLICIES_MAX};
