//! The supervisor's HTTP client: what it started is talked to as any client would.

use std::time::Duration;

use anyhow::{bail, Context};
use serde_json::Value;

/// Longest time for one call. The largest is a batch of demo data, which is acknowledged before it is indexed.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to connect on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A server on this machine and the key for it.
#[derive(Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    header: (&'static str, String),
    key: String,
}

/// An answer: its status, and its body as JSON (null if it is none).
pub(super) struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Client {
    /// Presents `key` as Meilisearch's clients do.
    pub fn with_bearer(url: &str, key: &str) -> Self {
        Self::new(url, key, ("authorization", format!("Bearer {key}")))
    }

    /// Presents `key` as Miroir's administrators do.
    pub fn with_admin_key(url: &str, key: &str) -> Self {
        Self::new(url, key, ("x-admin-key", key.to_owned()))
    }

    fn new(url: &str, key: &str, header: (&'static str, String)) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(CALL_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .http_status_as_error(false)
            // An HTTP_PROXY in the environment is not for this machine's own servers.
            .proxy(None)
            .build();
        Self { agent: config.new_agent(), url: url.to_owned(), header, key: key.to_owned() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call("GET", path, "application/json", Vec::new()).await
    }

    pub async fn send(&self, method: &'static str, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.call(method, path, "application/json", body.to_string().into_bytes()).await
    }

    /// One call, on a thread where it may block.
    pub async fn call(
        &self,
        method: &'static str,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let client = self.clone();
        let url = format!("{}{path}", self.url);
        tokio::task::spawn_blocking(move || client.call_blocking(method, &url, content_type, body))
            .await
            .context("the HTTP call was cut off")?
    }

    fn call_blocking(
        &self,
        method: &'static str,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Answer> {
        let request = http::Request::builder()
            .method(method)
            .uri(url)
            .header(self.header.0, &self.header.1)
            .header("content-type", content_type);
        let response = match method {
            "GET" => self.agent.run(request.body(())?),
            _ => self.agent.run(request.body(body)?),
        };
        let mut response = response.with_context(|| format!("{method} {url}"))?;
        let text = response.body_mut().read_to_string().with_context(|| format!("{method} {url}"))?;
        Ok(Answer { status: response.status().as_u16(), body: serde_json::from_str(&text).unwrap_or(Value::Null) })
    }
}

impl Answer {
    /// The body of a success; the server's own words otherwise.
    pub fn success(self, doing: &str) -> anyhow::Result<Value> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let message = self.body["message"].as_str().map_or_else(|| self.body.to_string(), str::to_owned);
        bail!("{doing}: the server answered {}: {message}", self.status)
    }
}
