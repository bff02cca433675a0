use serde_json::{json, Value};

use super::{Answer, Client, Cluster, ClusterOptions, SingleServer};

/// Three nodes and one server with the same documents and settings.
pub struct Both {
    pub cluster: Cluster,
    pub single: SingleServer,
}

impl Both {
    /// With one index, `i`, whose primary key is `id`.
    pub fn with(settings: Value, documents: Vec<Value>) -> Self {
        Self::with_cluster(ClusterOptions::default(), settings, documents)
    }

    /// The same with another cluster.
    pub fn with_cluster(cluster: ClusterOptions, settings: Value, documents: Vec<Value>) -> Self {
        let both = Self { cluster: Cluster::start(cluster), single: SingleServer::start() };
        both.add_index("i", settings, documents);
        both
    }

    /// Another index, whose primary key is `id`.
    pub fn add_index(&self, uid: &str, settings: Value, documents: Vec<Value>) {
        for client in self.clients() {
            client.succeed(client.patch(&format!("/indexes/{uid}/settings"), settings.clone()));
            client.succeed(client.post(&format!("/indexes/{uid}/documents?primaryKey=id"), json!(documents)));
        }
    }

    /// Of the cluster and of the single server.
    pub fn clients(&self) -> [&Client; 2] {
        [self.cluster.client(), self.single.client()]
    }

    /// The answers of the cluster and of the single server.
    pub fn post(&self, path: &str, body: &Value) -> [Answer; 2] {
        self.clients().map(|client| client.post(path, body.clone()))
    }

    /// The same for a `GET`.
    pub fn get(&self, path: &str) -> [Answer; 2] {
        self.clients().map(|client| client.get(path))
    }

    /// A request that both must refuse in the same words.
    #[track_caller]
    pub fn refuse_alike(&self, path: &str, body: &Value) -> Value {
        let [got, expected] = self.post(path, body);
        assert!(expected.status >= 400, "{body}: {}", expected.text);
        assert_eq!((got.status, &got.body), (expected.status, &expected.body), "{body}");
        assert!(!got.text.contains("_miroir"), "{}", got.text);
        expected.body
    }
}
