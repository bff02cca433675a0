//! Puts the same documents with the same settings into a server, so that it can be compared with another.

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{json, Value};

use crate::client::{Client, ClientError};

/// Bytes of documents per request: large enough that a server indexes few batches, and below every default limit.
const REQUEST_BYTES: usize = 16 << 20;
/// How long a server may work on one request; a debug build on a busy machine takes minutes for large ones.
const TASK_TIMEOUT: Duration = Duration::from_secs(1_800);
const TASK_POLL: Duration = Duration::from_millis(200);

/// What to put into an index that does not exist yet.
#[derive(Debug, Clone)]
pub struct Content {
    pub primary_key: String,
    /// The body of `PATCH settings`.
    pub settings: String,
    /// One document a line.
    pub ndjson: String,
}

#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{path} cannot be read")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{url} refused the {what}: {answer}")]
    Refused { url: String, what: &'static str, answer: String },
    #[error("{url} failed at the {what}: {task}")]
    TaskFailed { url: String, what: &'static str, task: String },
    #[error("{url} has not finished the {what} after {TASK_TIMEOUT:?}")]
    TimedOut { url: String, what: &'static str },
}

impl Content {
    pub fn read(documents: &Path, settings: Option<&Path>, primary_key: String) -> Result<Self, SetupError> {
        let text = |path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|source| SetupError::Unreadable { path: path.display().to_string(), source })
        };
        let settings = settings.map_or(Ok("{}".to_owned()), text)?;
        Ok(Self { primary_key, settings, ndjson: text(documents)? })
    }

    /// Creates the index with all of this in it, and waits until it is there. Returns false, having done nothing, where there
    /// is such an index already.
    pub async fn put_into(&self, client: &Client, index: &str) -> Result<bool, SetupError> {
        let path = format!("/indexes/{index}");
        if client.send_json(Method::GET, &path, "").await?.is_success() {
            return Ok(false);
        }
        let creation = json!({ "uid": index, "primaryKey": self.primary_key }).to_string();
        let mut tasks = vec![
            ("creation", self.submit(client, "creation", Method::POST, "/indexes", creation).await?),
            (
                "settings",
                self.submit(client, "settings", Method::PATCH, &format!("{path}/settings"), self.settings.clone())
                    .await?,
            ),
        ];
        for batch in batches(&self.ndjson) {
            let answer = client.send_ndjson(&format!("{path}/documents"), batch).await?;
            tasks.push(("documents", task_uid(client, "documents", &answer.body)?));
        }
        for (what, uid) in tasks {
            wait(client, what, uid).await?;
        }
        Ok(true)
    }

    async fn submit(
        &self,
        client: &Client,
        what: &'static str,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<u64, SetupError> {
        task_uid(client, what, &client.send_json(method, path, body).await?.body)
    }
}

fn task_uid(client: &Client, what: &'static str, answer: &crate::client::Object) -> Result<u64, SetupError> {
    answer.get("taskUid").and_then(Value::as_u64).ok_or_else(|| SetupError::Refused {
        url: client.url().to_owned(),
        what,
        answer: Value::Object(answer.clone()).to_string(),
    })
}

async fn wait(client: &Client, what: &'static str, uid: u64) -> Result<(), SetupError> {
    let started = Instant::now();
    while started.elapsed() < TASK_TIMEOUT {
        let task = client.send_json(Method::GET, &format!("/tasks/{uid}"), "").await?.body;
        match task.get("status").and_then(Value::as_str) {
            Some("succeeded") => return Ok(()),
            Some("enqueued" | "processing") => tokio::time::sleep(TASK_POLL).await,
            _ => {
                let task = Value::Object(task).to_string();
                return Err(SetupError::TaskFailed { url: client.url().to_owned(), what, task });
            }
        }
    }
    Err(SetupError::TimedOut { url: client.url().to_owned(), what })
}

/// Whole lines, as many as fit into one request; a line that does not fit goes alone.
fn batches(ndjson: &str) -> Vec<&str> {
    let mut batches = Vec::new();
    let mut rest = ndjson;
    while !rest.is_empty() {
        let mut end = rest.len().min(REQUEST_BYTES);
        if end < rest.len() {
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let line_end = rest[..end].rfind('\n').or_else(|| rest[end..].find('\n').map(|at| end + at));
            end = line_end.map_or(rest.len(), |at| at + 1);
        }
        batches.push(&rest[..end]);
        rest = &rest[end..];
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_sent_in_whole_lines() {
        let line = format!("{{\"id\":1,\"text\":\"{}\"}}\n", "é".repeat(REQUEST_BYTES / 5));
        let ndjson = line.repeat(7);
        let batches = batches(&ndjson);
        assert!(batches.len() > 1);
        assert!(batches.iter().all(|batch| batch.ends_with('\n') && batch.len() <= REQUEST_BYTES));
        assert_eq!(batches.concat(), ndjson);
    }

    #[test]
    fn a_line_longer_than_a_request_goes_alone() {
        let long = format!("{}\n", "x".repeat(REQUEST_BYTES + 10));
        let ndjson = format!("a\n{long}b");
        assert_eq!(batches(&ndjson).concat(), ndjson);
        assert!(batches(&ndjson).contains(&long.as_str()));
    }
}
