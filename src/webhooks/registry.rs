//! All webhooks: in memory for who calls them, in the store first.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{watch, Mutex};

use super::{Webhook, WebhookError, WebhookPatch, WebhookUid};
use crate::auth::random_uid;
use crate::store::{Change, Store, StoreError};

/// Each is called once per task. The number is Meilisearch's.
const WEBHOOKS_MAX: usize = 20;

pub type WebhookTable = BTreeMap<WebhookUid, Webhook>;

pub struct Webhooks {
    table: ArcSwap<WebhookTable>,
    store: Arc<dyn Store>,
    /// One change at a time, from the look at what there is until it is seen.
    turn: Mutex<()>,
    /// Whether there is any: what the end of each task asks.
    are_there: Arc<AtomicBool>,
    changes: watch::Sender<()>,
}

impl Webhooks {
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let webhooks = Self {
            table: ArcSwap::default(),
            store,
            turn: Mutex::default(),
            are_there: Arc::default(),
            changes: watch::Sender::new(()),
        };
        webhooks.refresh().await?;
        Ok(webhooks)
    }

    pub fn all(&self) -> Arc<WebhookTable> {
        self.table.load_full()
    }

    pub fn are_there(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.are_there)
    }

    /// Changes whenever a webhook has.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The uid in a path.
    pub fn parse_uid(text: &str) -> Result<WebhookUid, WebhookError> {
        text.parse().map_err(WebhookError::InvalidUid)
    }

    pub fn find(&self, uid: WebhookUid) -> Result<Webhook, WebhookError> {
        self.table.load().get(&uid).cloned().ok_or(WebhookError::NotFound(uid))
    }

    pub async fn create(self: &Arc<Self>, patch: WebhookPatch) -> Result<Webhook, WebhookError> {
        let uid = random_uid()?;
        self.seen_through(move |webhooks| async move {
            if webhooks.table.load().len() >= WEBHOOKS_MAX {
                return Err(WebhookError::TooMany);
            }
            webhooks.put(Webhook::new(uid, patch)?).await
        })
        .await
    }

    pub async fn update(self: &Arc<Self>, uid: WebhookUid, patch: WebhookPatch) -> Result<Webhook, WebhookError> {
        refuse_reserved(uid)?;
        self.seen_through(move |webhooks| async move { webhooks.put(webhooks.find(uid)?.patched(patch)?).await }).await
    }

    pub async fn delete(self: &Arc<Self>, uid: WebhookUid) -> Result<(), WebhookError> {
        refuse_reserved(uid)?;
        self.seen_through(move |webhooks| async move {
            webhooks.find(uid)?;
            webhooks.store.apply(vec![Change::DeleteWebhook(uid)]).await?;
            let mut table = WebhookTable::clone(&webhooks.table.load());
            table.remove(&uid);
            webhooks.show(table);
            Ok(())
        })
        .await
    }

    /// Takes up what the store says: another Miroir may have changed it.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let _alone = self.turn.lock().await;
        let stored = self.store.webhooks().await?.into_iter().map(|webhook| (webhook.uid, webhook)).collect();
        if **self.table.load() != stored {
            self.show(stored);
        }
        Ok(())
    }

    async fn put(&self, webhook: Webhook) -> Result<Webhook, WebhookError> {
        self.store.apply(vec![Change::PutWebhook(webhook.clone())]).await?;
        let mut table = WebhookTable::clone(&self.table.load());
        table.insert(webhook.uid, webhook.clone());
        self.show(table);
        Ok(webhook)
    }

    fn show(&self, table: WebhookTable) {
        self.are_there.store(!table.is_empty(), Ordering::SeqCst);
        self.table.store(Arc::new(table));
        self.changes.send_replace(());
    }

    /// Carries a change out to its end, even if the client goes away, and no other one meanwhile.
    async fn seen_through<T, F>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T, WebhookError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, WebhookError>> + Send + 'static,
    {
        let own = Arc::clone(self);
        let changed = tokio::spawn(async move {
            let _alone = own.turn.lock().await;
            change(Arc::clone(&own)).await
        });
        changed.await.map_err(|_| WebhookError::GivenUp)?
    }
}

/// The uid of zeros stands for the webhook that Meilisearch takes from its command line.
fn refuse_reserved(uid: WebhookUid) -> Result<(), WebhookError> {
    if uid.is_nil() {
        return Err(WebhookError::Immutable(uid));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn patch() -> WebhookPatch {
        WebhookPatch { url: Some(Some("http://localhost/".to_owned())), headers: None }
    }

    #[tokio::test]
    async fn webhooks_are_stored_before_they_are_seen_and_there_are_at_most_twenty() {
        let store = Arc::new(MemoryStore::default());
        let webhooks = Arc::new(Webhooks::open(store.clone()).await.unwrap());
        assert!(!webhooks.are_there().load(Ordering::SeqCst));
        store.set_failing(true);
        assert!(matches!(webhooks.create(patch()).await, Err(WebhookError::Store(_))));
        assert!(webhooks.all().is_empty());
        store.set_failing(false);
        for _ in 0..WEBHOOKS_MAX {
            webhooks.create(patch()).await.unwrap();
        }
        assert!(matches!(webhooks.create(patch()).await, Err(WebhookError::TooMany)));
        let again = Webhooks::open(store).await.unwrap();
        assert_eq!(again.all(), webhooks.all());
        let uid = *webhooks.all().keys().next().unwrap();
        webhooks.delete(uid).await.unwrap();
        assert!(matches!(webhooks.delete(uid).await, Err(WebhookError::NotFound(_))));
        again.refresh().await.unwrap();
        assert_eq!(again.all(), webhooks.all());
        assert!(matches!(webhooks.delete(WebhookUid::nil()).await, Err(WebhookError::Immutable(_))));
    }
}
