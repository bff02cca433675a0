//! The application that serves now. Another one takes its place whenever the lead among several Miroirs changes.

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use crate::app::App;

/// Empty until start-up has opened the first application, before any request or background service looks.
pub struct Stage {
    app: ArcSwapOption<App>,
    changes: watch::Sender<()>,
}

pub type SharedApp = Arc<Stage>;

impl Stage {
    pub fn empty() -> Self {
        Self { app: ArcSwapOption::empty(), changes: watch::Sender::new(()) }
    }

    /// The application. Requests keep the one that they began with.
    pub fn app(&self) -> Arc<App> {
        self.app.load_full().expect("whoever looks depends on start-up, which fills it before it is ready")
    }

    pub fn set(&self, app: Arc<App>) {
        self.app.store(Some(app));
        self.changes.send_replace(());
    }

    /// Does `work` until `stop`, for one application after the other. What is cut short must be taken up by the next one, as after a crash.
    pub async fn for_each_app<F>(&self, mut stop: watch::Receiver<bool>, work: impl Fn(Arc<App>) -> F)
    where
        F: Future<Output = ()>,
    {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let work = work(self.app());
            let until_change = async {
                work.await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = until_change => {}
                // This outlives all who wait for it.
                _ = changes.changed() => {}
                _ = stop.changed() => return,
            }
        }
    }

    /// The same while this Miroir leads.
    pub async fn while_leading<F>(&self, stop: watch::Receiver<bool>, work: impl Fn(Arc<App>) -> F)
    where
        F: Future<Output = ()>,
    {
        self.for_each_app(stop, |app| {
            let work = app.leads().then(|| work(app));
            async move {
                if let Some(work) = work {
                    work.await;
                }
            }
        })
        .await;
    }
}
