//! A complete answer to a client.

use bytes::Bytes;
use serde::Serialize;

use crate::cluster::Shard;
use crate::error::ApiError;
use crate::writes::Taken;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Bytes,
    /// Value of `X-Miroir-Degraded`.
    pub degraded: Option<String>,
    /// Value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
}

/// When to come back after a 503. Meilisearch's own value for a full search queue.
const RETRY_AFTER_S: u32 = 10;

impl Answer {
    pub fn json_bytes(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "application/json", body: body.into(), degraded: None, retry_after_s: None }
    }

    /// An answer without a body.
    pub fn empty(status: u16) -> Self {
        Self::json_bytes(status, Bytes::new())
    }

    pub fn json(status: u16, body: &impl Serialize) -> Self {
        Self::json_bytes(status, serde_json::to_vec(body).expect("answers are structs and maps with string keys"))
    }

    pub fn error(error: &ApiError) -> Self {
        let mut answer = Self::json_bytes(error.status, error.to_json());
        answer.retry_after_s = (error.status == 503).then_some(RETRY_AFTER_S);
        answer
    }

    /// A write that became a task.
    pub fn accepted(taken: &Taken) -> Self {
        Self { degraded: taken.degraded.clone(), ..Self::json(202, &taken.task.summary()) }
    }

    /// Says which shards the answer lacks.
    #[must_use]
    pub fn without_shards(mut self, missing: &[Shard]) -> Self {
        if !missing.is_empty() {
            let list: Vec<String> = missing.iter().map(Shard::to_string).collect();
            self.degraded = Some(format!("shards={}", list.join(",")));
        }
        self
    }
}
