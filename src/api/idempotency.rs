//! `Idempotency-Key`: a write that is sent again is answered again, and carried out once.
//!
//! What makes two requests the same is known when the last byte of the body has come in, so this hangs at the body's end: a
//! handler reads the body, and at its end either goes on with the key for itself, or is stopped by an error because the key
//! has been used. Handlers know nothing of it but that they pass the key on to their task, with which it is stored in one commit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::{Answer, Body, Plan, Request, Route};
use crate::app::App;
use crate::documents::MemoryShare;
use crate::error::{ApiError, Code};
use crate::tasks::{Idempotency, Task};

/// Longest key: a UUID has 36 characters, and a million keys are to stay a few hundred megabytes at worst.
const KEY_CHARACTERS_MAX: usize = 255;
/// Keys in use at once; more than requests that may be under way by any sane configuration.
const KEYS_UNDER_WAY_MAX: usize = 100_000;

/// The value of an `Idempotency-Key` header: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    pub fn parse(value: &[u8]) -> Result<Self, ApiError> {
        let is_visible = value.iter().all(u8::is_ascii_graphic);
        match std::str::from_utf8(value) {
            Ok(key) if is_visible && (1..=KEY_CHARACTERS_MAX).contains(&key.len()) => Ok(Self(key.to_owned())),
            _ => Err(ApiError::new(
                Code::MiroirInvalidIdempotencyKey,
                format!("An `Idempotency-Key` has 1 to {KEY_CHARACTERS_MAX} visible ASCII characters, without spaces."),
            )),
        }
    }
}

/// Keys of the writes that this process is carrying out.
#[derive(Default)]
pub struct KeysUnderWay {
    keys: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A key that nobody else has while this lives.
struct Held {
    app_keys: Arc<KeysUnderWay>,
    key: String,
    /// Released before the entry is looked at, by whoever drops this.
    guard: Option<tokio::sync::OwnedMutexGuard<()>>,
}

impl KeysUnderWay {
    fn keys(&self) -> MutexGuard<'_, HashMap<String, Arc<tokio::sync::Mutex<()>>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other write has `key`, in the order in which they came. `miroir_too_busy` at `deadline`.
    async fn hold(self: &Arc<Self>, key: &str, deadline: Instant) -> Result<Held, ApiError> {
        let busy = |message: &str| ApiError::new(Code::MiroirTooBusy, message);
        let turn = {
            let mut keys = self.keys();
            if keys.len() >= KEYS_UNDER_WAY_MAX && !keys.contains_key(key) {
                return Err(busy("Too many writes with an `Idempotency-Key` are under way; come back later."));
            }
            Arc::clone(keys.entry(key.to_owned()).or_default())
        };
        // Made before the wait, so that a wait that is given up leaves nothing behind either.
        let mut held = Held { app_keys: Arc::clone(self), key: key.to_owned(), guard: None };
        match tokio::time::timeout_at(deadline, turn.lock_owned()).await {
            Ok(guard) => held.guard = Some(guard),
            Err(_) => {
                return Err(busy(
                    "The write with the same `Idempotency-Key` has not been taken in time; come back later.",
                ))
            }
        }
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut keys = self.app_keys.keys();
        self.guard = None;
        // Those who wait hold it too; it goes with the last.
        if keys.get(&self.key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            keys.remove(&self.key);
        }
    }
}

/// A request with a key, and what has come of it.
pub struct KeyedRequest<'a> {
    key: &'a IdempotencyKey,
    state: Mutex<State>,
}

enum State {
    /// The body is still being read.
    Reading,
    /// Nobody has used the key. It is held until the request has been answered.
    First(Idempotency, #[allow(dead_code, reason = "held, not read")] Held),
    /// The write that the key stands for.
    Repeated(Arc<Task>),
}

impl KeyedRequest<'_> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_state(self) -> State {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the write's task is to carry. An error if the body has not been read to its end.
    pub fn idempotency(&self) -> Result<Idempotency, ApiError> {
        match &*self.state() {
            State::First(idempotency, _) => Ok(idempotency.clone()),
            State::Reading | State::Repeated(_) => Err(ApiError::new(
                Code::Internal,
                "A write with an `Idempotency-Key` was begun before its body was read.",
            )),
        }
    }

    /// The body has been read. Goes on if the key is free; otherwise the error ends the handler.
    async fn settle(&self, app: &App, digest: [u8; 32]) -> Result<(), ApiError> {
        let key = &self.key.0;
        let held = app.keys_under_way.hold(key, Instant::now() + app.request_timeout()).await?;
        match app.store.idempotent_write(key).await? {
            None => {
                app.metrics.idempotency_requests.with_label_values(&["first"]).inc();
                *self.state() = State::First(Idempotency { key: key.clone(), digest }, held);
                Ok(())
            }
            Some(write) if write.digest == digest => {
                app.metrics.idempotency_requests.with_label_values(&["repeated"]).inc();
                let task = app.tasks.get(write.task).await?;
                *self.state() = State::Repeated(task);
                // Seen by no client: it only ends the handler.
                Err(key_taken())
            }
            Some(_) => {
                app.metrics.idempotency_requests.with_label_values(&["reused"]).inc();
                Err(key_taken())
            }
        }
    }
}

fn key_taken() -> ApiError {
    let message = "The `Idempotency-Key` has been used with another request; use a new key for each write.";
    ApiError::new(Code::MiroirIdempotencyKeyReused, message)
}

/// The request's body, digested on its way to the handler.
struct DigestedBody<'a> {
    app: &'a App,
    body: &'a mut dyn Body,
    keyed: &'a KeyedRequest<'a>,
    /// `None` once the end has been reached.
    digest: Option<Sha256>,
}

impl<'a> DigestedBody<'a> {
    fn new(app: &'a App, request: &Request<'_>, body: &'a mut dyn Body, keyed: &'a KeyedRequest<'a>) -> Self {
        let mut digest = Sha256::new();
        // Neither method nor path contains a line break.
        for part in [request.method.as_str(), "\n", request.path_and_query, "\n"] {
            digest.update(part.as_bytes());
        }
        Self { app, body, keyed, digest: Some(digest) }
    }
}

#[async_trait]
impl Body for DigestedBody<'_> {
    async fn reserve(&mut self) -> Result<MemoryShare, ApiError> {
        self.body.reserve().await
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(digest) = &mut self.digest else { return Ok(None) };
        if let Some(chunk) = self.body.next_chunk().await? {
            digest.update(&chunk);
            return Ok(Some(chunk));
        }
        if let Some(digest) = self.digest.take() {
            self.keyed.settle(self.app, digest.finalize().into()).await?;
        }
        Ok(None)
    }
}

/// Carries out a write under its key, or answers as the first one with the key was answered.
pub async fn once(
    app: &App,
    key: &IdempotencyKey,
    route: &Route,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Plan, ApiError> {
    let keyed = KeyedRequest { key, state: Mutex::new(State::Reading) };
    let mut body = DigestedBody::new(app, request, body, &keyed);
    let request = Request { keyed: Some(&keyed), ..*request };
    let planned = carry_out(app, route, &request, &mut body).await;
    let Err(error) = planned else { return planned };
    let first = match keyed.into_state() {
        State::Repeated(task) => Some(task),
        // Another Miroir, with the same store, was faster.
        State::First(own, _) if error.is(Code::MiroirIdempotencyKeyReused) => {
            match app.store.idempotent_write(&own.key).await? {
                Some(write) if write.digest == own.digest => Some(app.tasks.get(write.task).await?),
                _ => None,
            }
        }
        State::First(..) | State::Reading => None,
    };
    first.map_or(Err(error), |task| Ok(Answer::json(200, &task.summary()).into()))
}

async fn carry_out(
    app: &App,
    route: &Route,
    request: &Request<'_>,
    body: &mut DigestedBody<'_>,
) -> Result<Plan, ApiError> {
    if !route.reads_body(request.method) {
        while body.next_chunk().await?.is_some() {}
    }
    super::dispatch(app, route, request, body).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_is_short_visible_ascii() {
        let longest = "k".repeat(KEY_CHARACTERS_MAX);
        for good in ["a", "0d6b4c0e-6f0d-4a53-9d5c-8b2f0f9d3c11", longest.as_str(), "!~"] {
            assert_eq!(IdempotencyKey::parse(good.as_bytes()).unwrap().0, good);
        }
        let longer = "k".repeat(KEY_CHARACTERS_MAX + 1);
        for bad in ["", " ", "a b", "ö", longer.as_str(), "a\t"] {
            assert!(
                IdempotencyKey::parse(bad.as_bytes()).unwrap_err().is(Code::MiroirInvalidIdempotencyKey),
                "{bad:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_with_a_key_waits_for_the_first_and_nothing_is_left_behind() {
        let keys = Arc::new(KeysUnderWay::default());
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = keys.hold("a", soon()).await.unwrap();
        let other = keys.hold("b", soon()).await.unwrap();
        assert!(keys.hold("a", soon()).await.is_err_and(|error| error.is(Code::MiroirTooBusy)));

        let waiting = {
            let keys = Arc::clone(&keys);
            tokio::spawn(async move { keys.hold("a", Instant::now() + Duration::from_secs(1)).await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        let second = waiting.await.unwrap().unwrap();
        assert_eq!(keys.keys().len(), 2);
        drop((second, other));
        assert!(keys.keys().is_empty());
    }
}
