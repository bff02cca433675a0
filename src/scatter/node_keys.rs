//! What nodes are asked with: their master key and, while it is being changed, the one before.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::InvalidHeaderValue;
use http::HeaderValue;

use crate::cluster::NodeIndex;
use crate::conf::Secret;

/// The nodes' keys. Each node is asked with the one that it took last; a node that refuses it is asked again with the next. A
/// request that was refused for its key has not been carried out, so that even a write may be sent again.
pub struct NodeKeys {
    /// `Bearer <key>`, the configured key before the previous one; empty for nodes without a key.
    values: ArcSwap<Vec<HeaderValue>>,
    /// Position of the key that each node took last.
    preferred: Vec<AtomicUsize>,
}

/// The key that a request went with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresentedKey(usize);

impl NodeKeys {
    pub fn new<'k>(nodes: usize, keys: impl Iterator<Item = &'k Secret>) -> Result<Self, InvalidHeaderValue> {
        let preferred = (0..nodes).map(|_| AtomicUsize::new(0)).collect();
        Ok(Self { values: ArcSwap::from_pointee(header_values(keys)?), preferred })
    }

    /// Takes other keys from now on, or none of them.
    pub fn replace<'k>(&self, keys: impl Iterator<Item = &'k Secret>) -> Result<(), InvalidHeaderValue> {
        self.values.store(Arc::new(header_values(keys)?));
        self.preferred.iter().for_each(|preferred| preferred.store(0, Ordering::Relaxed));
        Ok(())
    }

    /// Value of the `Authorization` header for `node`.
    pub fn authorization(&self, node: NodeIndex) -> (PresentedKey, Option<HeaderValue>) {
        let values = self.values.load();
        let position = self.preferred[node.0 as usize].load(Ordering::Relaxed).min(values.len().saturating_sub(1));
        (PresentedKey(position), values.get(position).cloned())
    }

    /// How many keys a request can be tried with.
    pub fn count(&self) -> usize {
        self.values.load().len()
    }

    /// The node refused the key. Whether there is another one to ask it with.
    pub fn refused(&self, node: NodeIndex, presented: PresentedKey) -> bool {
        let count = self.count();
        if count < 2 {
            return false;
        }
        let next = (presented.0 + 1) % count;
        // Another request may have found out before.
        let _ =
            self.preferred[node.0 as usize].compare_exchange(presented.0, next, Ordering::Relaxed, Ordering::Relaxed);
        true
    }
}

fn header_values<'k>(keys: impl Iterator<Item = &'k Secret>) -> Result<Vec<HeaderValue>, InvalidHeaderValue> {
    keys.map(|key| {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.reveal()))?;
        value.set_sensitive(true);
        Ok(value)
    })
    .collect()
}

/// Whether an answer says that the key does not count. Meilisearch has no other reason for these.
pub fn is_refusal(status: u16) -> bool {
    matches!(status, 401 | 403)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_with_the_key_that_it_took_last() {
        let keys = [Secret::new("new"), Secret::new("old")];
        let keys = NodeKeys::new(2, keys.iter()).unwrap();
        let shown = |node| keys.authorization(NodeIndex(node)).1.unwrap().to_str().unwrap().to_owned();
        let (presented, _) = keys.authorization(NodeIndex(1));
        assert!(keys.refused(NodeIndex(1), presented));
        // A second request that was refused at the same time does not turn it back.
        assert!(keys.refused(NodeIndex(1), presented));
        assert_eq!((shown(0), shown(1)), ("Bearer new".to_owned(), "Bearer old".to_owned()));
        keys.replace([Secret::new("newest")].iter()).unwrap();
        assert_eq!(shown(1), "Bearer newest");
        assert!(!keys.refused(NodeIndex(1), keys.authorization(NodeIndex(1)).0), "there is no other key");
        let none = NodeKeys::new(1, [].iter()).unwrap();
        assert_eq!(none.authorization(NodeIndex(0)).1, None);
    }
}
