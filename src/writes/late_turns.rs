//! Turns of writes that were refused to their clients while a node may still execute them.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

use super::order::Turn;
use crate::scatter::LateAnswer;

/// Keeps later writes of the same documents waiting until it is known what became of an earlier one: were they sent before, the
/// node could put the older version over the newer one. A write that waits for too long is refused as too busy.
///
/// As many as there were writes under way when a node began to hang: then it counts as failed and is sent no more.
#[derive(Default)]
pub struct LateTurns {
    held: Mutex<JoinSet<()>>,
}

impl LateTurns {
    /// Keeps `turn` until all of `late` have come, or their connections have ended.
    pub fn hold(&self, turn: Turn, late: Vec<LateAnswer>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        while held.try_join_next().is_some() {}
        held.spawn(async move {
            for late in late {
                late.ended().await;
            }
            drop(turn);
        });
    }
}
