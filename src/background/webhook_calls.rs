//! Tells webhooks of tasks that have ended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::time::Instant;

use crate::app::App;
use crate::conf::TaskStoreConfig;
use crate::stage::SharedApp;
use crate::webhooks::{Call, CallError, Caller, Outbox};

/// How often it is looked whether another Miroir has changed the webhooks, and how long it takes until what the store refused
/// is tried again.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

pub struct WebhookCalls {
    app: SharedApp,
}

impl WebhookCalls {
    pub fn new(app: SharedApp) -> Self {
        Self { app }
    }
}

#[async_trait]
impl BackgroundService for WebhookCalls {
    async fn start(&self, shutdown: ShutdownWatch) {
        // What is cut short here is told by the next start.
        self.app.while_leading(shutdown, |app| async move { work(&app).await }).await;
    }
}

async fn work(app: &Arc<App>) {
    let caller = Arc::new(Caller::new(&app.config.webhooks));
    let is_shared = matches!(app.config.task_store, TaskStoreConfig::Redis { .. });
    let mut outbox = Outbox::default();
    let mut calls = FuturesUnordered::new();
    let (mut news, mut changes) = (app.tasks.news(), app.webhooks.changes());
    let mut look_at = Instant::now() + LOOK_INTERVAL;
    loop {
        outbox.set_webhooks(&app.webhooks.all());
        app.tasks.take_untold().into_iter().for_each(|task| outbox.add(task));
        while let Some(call) = outbox.next_call(Instant::now()) {
            calls.push(made(Arc::clone(&caller), call));
        }
        record(app, &mut outbox).await;
        let wake_at = outbox.due_at().map_or(look_at, |due_at| due_at.min(look_at));
        tokio::select! {
            Some((call, result)) = calls.next(), if !calls.is_empty() => conclude(app, &mut outbox, &call, result),
            _ = news.changed() => {}
            _ = changes.changed() => {}
            () = tokio::time::sleep_until(wake_at) => {}
        }
        if is_shared && Instant::now() >= look_at {
            if let Err(error) = app.webhooks.refresh().await {
                log::warn!("webhooks cannot be read, those known count on: {error}");
            }
        }
        if Instant::now() >= look_at {
            look_at = Instant::now() + LOOK_INTERVAL;
        }
    }
}

async fn made(caller: Arc<Caller>, call: Call) -> (Arc<Call>, Result<(), CallError>) {
    let call = Arc::new(call);
    let making = Arc::clone(&call);
    let result = tokio::task::spawn_blocking(move || caller.make(&making)).await;
    (call, result.unwrap_or_else(|error| Err(CallError::NoAnswer(format!("the call was given up: {error}")))))
}

fn conclude(app: &App, outbox: &mut Outbox, call: &Call, result: Result<(), CallError>) {
    let (uid, count) = (call.webhook.uid, call.tasks.len());
    let outcome = match &result {
        Ok(()) => "succeeded",
        Err(why) => {
            log::warn!("webhook {uid} was not told of {count} tasks: {why}");
            "failed"
        }
    };
    app.metrics.webhook_calls.with_label_values(&[outcome]).inc();
    outbox.called(uid, result.is_ok(), Instant::now());
}

/// Puts down what has been told, and what will not be.
async fn record(app: &App, outbox: &mut Outbox) {
    let given_up = outbox.take_given_up();
    if given_up > 0 {
        log::error!("webhooks will not be told of {given_up} tasks: they were away for too long");
        app.metrics.webhook_given_up.inc_by(given_up);
    }
    let settled = outbox.take_settled();
    if !settled.is_empty() {
        if let Err(error) = app.tasks.told(settled.clone()).await {
            log::warn!("that webhooks were told cannot be put down, and they may be told again: {error}");
            outbox.put_back_settled(settled);
        }
    }
    // Not before that is put down: who sees that nothing waits any more may rely on it that nothing is told again.
    app.metrics.webhook_waiting.set(outbox.waiting() as i64);
}
