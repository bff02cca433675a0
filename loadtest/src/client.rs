//! A small client of Meilisearch's HTTP API: what the measurements need and nothing else.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};

/// A search on a slow, loaded machine may take seconds; one that takes longer than this is a failure to report.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Connecting happens on one machine or one network, where this is ample.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server takes a large body and flushes it to its disk before it answers.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Documents fetched per request while reading an index.
const DOCUMENTS_PER_REQUEST: usize = 1_000;

/// The fields of a search request or of a JSON object in general.
pub type Object = Map<String, Value>;

/// Why a server could not be asked, as opposed to an answer with an error in it (see [`Answer`]).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("could not ask {url}")]
    Transport { url: String, source: reqwest::Error },
    #[error("{url} answered {status} with a body that is not a JSON object: {body}")]
    NotJson { url: String, status: u16, body: String },
    #[error("{url} answered {status}: {message}")]
    Refused { url: String, status: u16, message: String },
}

/// Where a server is and the key to show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub url: String,
    pub key: Option<String>,
}

impl Server {
    pub fn new(url: impl Into<String>, key: Option<String>) -> Self {
        let url: String = url.into();
        Self { url: url.trim_end_matches('/').to_owned(), key }
    }
}

/// A server's answer: its status and the JSON object in its body, whether it is a result or an error.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub body: Object,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The hits of a search answer, empty when there are none or the answer is an error.
    pub fn hits(&self) -> &[Value] {
        self.body.get("hits").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// A connection pool to one server.
#[derive(Debug, Clone)]
pub struct Client {
    server: Server,
    http: reqwest::Client,
}

impl Client {
    pub fn new(server: Server) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .map_err(|source| ClientError::Transport { url: server.url.clone(), source })?;
        Ok(Self { server, http })
    }

    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Searches `index`; an error answer is an `Answer` too.
    pub async fn search(&self, index: &str, query: &Object) -> Result<Answer, ClientError> {
        self.post(&format!("/indexes/{index}/search"), json_bytes(query)).await
    }

    /// Searches among the values of a facet; an error answer is an `Answer` too.
    pub async fn facet_search(&self, index: &str, query: &Object) -> Result<Answer, ClientError> {
        self.post(&format!("/indexes/{index}/facet-search"), json_bytes(query)).await
    }

    /// Searches `index` and says how long it took from the first byte sent to the last one received. The body is
    /// not parsed, so that the measurement does not contain this program's own work.
    pub async fn time_search(&self, index: &str, body: &[u8]) -> Result<Duration, ClientError> {
        let path = format!("/indexes/{index}/search");
        let started = Instant::now();
        let (status, bytes) = self.send(self.request(reqwest::Method::POST, &path).body(body.to_vec())).await?;
        let elapsed = started.elapsed();
        if !(200..300).contains(&status) {
            let message = String::from_utf8_lossy(&bytes).into_owned();
            return Err(ClientError::Refused { url: self.server.url.clone(), status, message });
        }
        Ok(elapsed)
    }

    /// The primary key of `index`, if it has one yet.
    pub async fn primary_key(&self, index: &str) -> Result<Option<String>, ClientError> {
        let answer = self.get(&format!("/indexes/{index}")).await?;
        Ok(answer.get("primaryKey").and_then(Value::as_str).map(str::to_owned))
    }

    pub async fn settings(&self, index: &str) -> Result<Object, ClientError> {
        self.get(&format!("/indexes/{index}/settings")).await
    }

    /// Up to `documents_max` documents of `index`, in the server's order.
    pub async fn documents(&self, index: &str, documents_max: usize) -> Result<Vec<Object>, ClientError> {
        let mut documents = Vec::new();
        while documents.len() < documents_max {
            let limit = DOCUMENTS_PER_REQUEST.min(documents_max - documents.len());
            let offset = documents.len();
            let mut page = self.get(&format!("/indexes/{index}/documents?limit={limit}&offset={offset}")).await?;
            let Some(Value::Array(results)) = page.remove("results") else { break };
            let received = results.len();
            documents.extend(results.into_iter().filter_map(|value| match value {
                Value::Object(document) => Some(document),
                _ => None,
            }));
            if received < limit {
                break;
            }
        }
        Ok(documents)
    }

    /// Sends JSON with any method to any path; what the administrative parts of tests need.
    pub async fn send_json(
        &self,
        method: reqwest::Method,
        path: &str,
        body: impl Into<Vec<u8>>,
    ) -> Result<Answer, ClientError> {
        self.answer(self.request(method, path).body(body.into())).await
    }

    /// Sends documents, one a line.
    pub async fn send_ndjson(&self, path: &str, lines: &str) -> Result<Answer, ClientError> {
        let request = self.request(reqwest::Method::POST, path).timeout(UPLOAD_TIMEOUT);
        // `header` would add a second content type.
        let mut headers = reqwest::header::HeaderMap::new();
        let ndjson = reqwest::header::HeaderValue::from_static("application/x-ndjson");
        headers.insert(reqwest::header::CONTENT_TYPE, ndjson);
        self.answer(request.headers(headers).body(lines.to_owned())).await
    }

    async fn get(&self, path: &str) -> Result<Object, ClientError> {
        let answer = self.answer(self.request(reqwest::Method::GET, path)).await?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        let message = answer.body.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
        Err(ClientError::Refused { url: format!("{}{path}", self.server.url), status: answer.status, message })
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> Result<Answer, ClientError> {
        self.answer(self.request(reqwest::Method::POST, path).body(body)).await
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .http
            .request(method, format!("{}{path}", self.server.url))
            .header(reqwest::header::CONTENT_TYPE, "application/json");
        match &self.server.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, ClientError> {
        let (status, bytes) = self.send(request).await?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(body)) => Ok(Answer { status, body }),
            _ => Err(ClientError::NotJson {
                url: self.server.url.clone(),
                status,
                body: String::from_utf8_lossy(&bytes).chars().take(200).collect(),
            }),
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), ClientError> {
        let transport = |source| ClientError::Transport { url: self.server.url.clone(), source };
        let response = request.send().await.map_err(transport)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(transport)?;
        Ok((status, bytes.to_vec()))
    }
}

/// The JSON text of an object.
pub fn json_bytes(object: &Object) -> Vec<u8> {
    Value::Object(object.clone()).to_string().into_bytes()
}
