//! A complete answer to a client.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::Route;
use crate::app::App;
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
    /// How the settings of the index that it concerns stand.
    pub settings: Option<SettingsMark>,
    /// Value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u32>,
    /// Further headers, of the few answers that have any.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// How the settings of an index stand, as answers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsMark {
    /// Value of `X-Miroir-Settings-Version`.
    pub version: u64,
    /// Whether nodes may have ranked by different settings: `X-Miroir-Settings-Inconsistent`.
    pub is_inconsistent: bool,
}

impl SettingsMark {
    /// `None` if the route concerns no index that exists.
    pub fn of(app: &App, route: &Route) -> Option<Self> {
        let snapshot = app.cluster.snapshot();
        let index = snapshot.index(route.index_uid()?)?;
        let is_inconsistent = snapshot.has_inconsistent_settings(index);
        Some(Self { version: index.settings_version, is_inconsistent })
    }

    /// What holds for an answer that took from one moment to another.
    pub fn and(self, later: Option<Self>) -> Self {
        let Some(later) = later else { return self };
        Self {
            version: self.version.min(later.version),
            is_inconsistent: self.is_inconsistent || later.is_inconsistent || self.version != later.version,
        }
    }
}

/// When to come back after a 503. Meilisearch's own value for a full search queue.
const RETRY_AFTER_S: u32 = 10;

impl Answer {
    pub fn json_bytes(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: body.into(),
            degraded: None,
            settings: None,
            retry_after_s: None,
            headers: Vec::new(),
        }
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

    /// An error that passes with time: says when to come back, in whole seconds.
    pub fn too_many(error: &ApiError, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { retry_after_s: Some(u32::try_from(seconds).unwrap_or(u32::MAX).max(1)), ..Self::error(error) }
    }

    /// The same for one client alone: nothing on the way keeps it.
    #[must_use]
    pub fn uncached(mut self) -> Self {
        self.headers.push((http::header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
        self
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
