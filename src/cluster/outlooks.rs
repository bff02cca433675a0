//! What a snapshot says of replicas that lack something: the part of it that only the one who follows tasks can know.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::search_rules::RulesState;
use super::settings_state::SettingsState;
use super::{Index, IndexUid, NodeIndex, SearchRules, ShardSet, Snapshot};

/// By the numbers of nodes in one topology, and the names of indexes on them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlooks {
    lags: Arc<HashMap<IndexUid, Vec<(NodeIndex, ShardSet)>>>,
    settings: Arc<HashMap<IndexUid, SettingsState>>,
    rules: Arc<RulesState>,
}

impl Snapshot {
    pub fn outlooks(&self) -> Outlooks {
        Outlooks {
            lags: Arc::clone(&self.lags),
            settings: Arc::clone(&self.settings),
            rules: Arc::clone(&self.rules_state),
        }
    }

    /// `rules` are those that the outlooks speak of.
    #[must_use]
    pub fn with_outlooks(mut self, outlooks: Outlooks, rules: SearchRules) -> Self {
        (self.lags, self.settings, self.rules_state) = (outlooks.lags, outlooks.settings, outlooks.rules);
        self.search_rules = Arc::new(rules);
        self
    }

    /// These indexes and no others.
    #[must_use]
    pub fn with_all_indexes(mut self, indexes: impl Iterator<Item = Index>) -> Self {
        self.indexes.clear();
        indexes.fold(self, |snapshot, index| snapshot.with_index(Arc::new(index)))
    }
}
