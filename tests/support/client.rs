use std::time::{Duration, Instant};

use serde_json::Value;

use super::TASK_PATIENCE;

/// Longest time for one call; a test that needs more waits for a task instead.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// A small JSON client of one server.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    pub url: String,
    header: Option<(String, String)>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    /// Null if the body is no JSON; then `text` has it.
    pub body: Value,
    pub text: String,
}

impl Client {
    /// Presents `key` as Meilisearch's clients do.
    pub fn new(url: &str, key: Option<&str>) -> Self {
        let header = key.map(|key| ("authorization".to_owned(), format!("Bearer {key}")));
        Self { agent: agent(), url: url.to_owned(), header }
    }

    /// The same server, asked with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self::new(&self.url, Some(key))
    }

    pub fn with_header(url: &str, name: &str, value: &str) -> Self {
        Self { agent: agent(), url: url.to_owned(), header: Some((name.to_owned(), value.to_owned())) }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.send_json("POST", path, body)
    }

    pub fn put(&self, path: &str, body: Value) -> Answer {
        self.send_json("PUT", path, body)
    }

    pub fn patch(&self, path: &str, body: Value) -> Answer {
        self.send_json("PATCH", path, body)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], None)
    }

    /// Documents in any format.
    #[track_caller]
    pub fn post_as(&self, path: &str, content_type: &str, body: &str) -> Answer {
        self.send("POST", path, &[("content-type", content_type)], Some(body.as_bytes().to_vec()))
    }

    /// The answer to a search that must succeed.
    #[track_caller]
    pub fn search(&self, index: &str, body: Value) -> Value {
        self.post(&format!("/indexes/{index}/search"), body).expect_status(200)
    }

    /// The task once it has ended, however it ended.
    #[track_caller]
    pub fn wait_task(&self, uid: u64) -> Value {
        let deadline = Instant::now() + TASK_PATIENCE;
        loop {
            let task = self.get(&format!("/tasks/{uid}")).expect_status(200);
            if matches!(task["status"].as_str(), Some("succeeded" | "failed" | "canceled")) {
                return task;
            }
            assert!(Instant::now() < deadline, "task {uid} did not end within {TASK_PATIENCE:?}: {task}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The ended task that `accepted` (an answer of 202) names.
    #[track_caller]
    pub fn ended(&self, accepted: Answer) -> Value {
        let uid = accepted.task_uid();
        self.wait_task(uid)
    }

    /// Like [`Client::ended`], for a task that must succeed.
    #[track_caller]
    pub fn succeed(&self, accepted: Answer) -> Value {
        let task = self.ended(accepted);
        assert_eq!(task["status"], "succeeded", "{task}");
        task
    }

    /// Like [`Client::ended`], for a task that must fail with the error `code`.
    #[track_caller]
    pub fn fail(&self, accepted: Answer, code: &str) -> Value {
        let task = self.ended(accepted);
        assert_eq!((&task["status"], &task["error"]["code"]), (&"failed".into(), &code.into()), "{task}");
        task
    }

    fn send_json(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], Some(body.to_string().into_bytes()))
    }

    /// Any request; panics if no answer comes.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Vec<u8>>) -> Answer {
        self.try_send(method, path, headers, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Any request, where no answer may be what the test is about.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        let own = self.header.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request = request.header(name, value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body)?)?,
            None => self.agent.run(request.body(())?)?,
        };
        // Tests read answers of any size.
        let text = response.body_mut().with_config().limit(u64::MAX).read_to_string()?;
        Ok(Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(CALL_TIMEOUT))
        .http_status_as_error(false)
        .proxy(None)
        // A server under test may be restarted between two calls.
        .max_idle_connections(0)
        .allow_non_standard_methods(true)
        .build()
        .new_agent()
}

impl Answer {
    /// The body, if the status is the expected one.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.body
    }

    /// The body of an error, if status and code are the expected ones.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.code()), (status, Some(code)), "{}", self.text);
        self.body
    }

    /// Uid of the task that an accepted write has become.
    #[track_caller]
    pub fn task_uid(&self) -> u64 {
        assert_eq!(self.status, 202, "{}", self.text);
        self.body["taskUid"].as_u64().unwrap_or_else(|| panic!("no integer taskUid in {}", self.text))
    }

    /// A header's value; `None` if there is none.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Code of the error that the answer carries.
    pub fn code(&self) -> Option<&str> {
        self.body["code"].as_str()
    }
}
