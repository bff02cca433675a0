//! Takes up what the leader tells, where another Miroir leads.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::Instant;

use crate::app::App;
use crate::peers::{CallFailed, Following, Known, LeaderClient, News};
use crate::stage::SharedApp;

/// Wait after a call that failed. Many fit into the time that reads last without news.
const RETRY_WAIT: Duration = Duration::from_millis(200);

pub struct LeaderNews {
    app: SharedApp,
}

impl LeaderNews {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for LeaderNews {
    async fn start(&self, shutdown: ShutdownWatch) {
        let following = |app: Arc<App>| async move {
            if let Some(following) = app.following() {
                follow(&app, following).await;
            }
        };
        self.app.for_each_app(shutdown, following).await;
        let app = self.app.app();
        if let Some(leader) = app.following().and_then(Following::leader) {
            // So that nobody waits for this one. What is still asked here the leader answers.
            app.reads.end();
            let client = LeaderClient::new(app.me.clone(), app.peer_secret.clone());
            let left = tokio::task::spawn_blocking(move || client.leave(&leader)).await;
            if !matches!(left, Ok(Ok(_))) {
                log::warn!("the Miroir that leads is not told that this one leaves");
            }
        }
    }
}

/// How far this Miroir has come with what the leader tells.
#[derive(Default)]
struct Progress {
    known: Known,
    /// The epoch here from which requests go by that.
    adopted_at: u64,
    /// The leader's epoch before which no request goes by any more.
    left: u64,
}

async fn follow(app: &App, following: &Following) {
    let client = Arc::new(LeaderClient::new(app.me.clone(), app.peer_secret.clone()));
    let mut progress = Progress::default();
    let mut is_told = false;
    loop {
        let Some(leader) = following.leader() else {
            tokio::time::sleep(RETRY_WAIT).await;
            continue;
        };
        let asked_at = Instant::now();
        if app.cluster.is_left(progress.adopted_at) {
            progress.left = progress.known.epoch;
        }
        let asking = {
            let (client, leader, known, left) =
                (Arc::clone(&client), Arc::clone(&leader), progress.known, progress.left);
            tokio::task::spawn_blocking(move || client.news(&leader, known, left))
        };
        match taken_in(app, &mut progress, asking.await) {
            Ok(reads_last) => {
                following.told(&app.reads, asked_at + reads_last);
                is_told = false;
            }
            Err(why) => {
                if !std::mem::replace(&mut is_told, true) {
                    log::warn!("{leader} leads, and tells nothing that this one can go by: {why}");
                }
                following.lose_leader();
                tokio::time::sleep(RETRY_WAIT).await;
            }
        }
    }
}

/// Goes by what the leader tells from now on. Says how long reads may.
fn taken_in(
    app: &App,
    progress: &mut Progress,
    told: Result<Result<News, CallFailed>, tokio::task::JoinError>,
) -> Result<Duration, String> {
    let news = told.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if let Some(picture) = news.picture {
        let show = picture.read(&app.cluster.snapshot()).map_err(|error| error.to_string())?;
        app.cluster.publish(show);
        // What was read of the term before has not been left yet.
        progress.left = if progress.known.term == news.known.term { progress.left } else { 0 };
        progress.adopted_at = app.cluster.snapshot().epoch;
    }
    progress.known = news.known;
    app.overdue.replace(news.overdue);
    Ok(Duration::from_millis(news.reads_last_ms))
}
