//! A write as its handler describes it, and the requests that nodes get for it.

use bytes::Bytes;
use http::Method;
use serde_json::Value;

use super::marker;
use crate::cluster::{IndexUid, Shard, ShardSet};
use crate::scatter::NodeRequest;
use crate::store::{IndexChange, PayloadPart};
use crate::tasks::{Conclusion, Idempotency, RequestHead, TaskKind};

/// What a write changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Documents, each on the replicas of its own shard.
    Documents,
    /// The same thing on every node, which must stay the same on all of them.
    WholeIndex,
}

/// In which order the nodes get a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// All of them side by side.
    #[default]
    SideBySide,
    /// One after another, each when the one before has applied it.
    NodeAfterNode,
}

/// A write that has been checked and only needs to be carried out.
#[derive(Debug)]
pub struct Write {
    pub kind: TaskKind,
    pub reach: Reach,
    /// What the client calls the index.
    pub index_uid: IndexUid,
    /// What nodes call it.
    pub node_uid: IndexUid,
    pub shard_count: u32,
    pub details: Value,
    pub custom_metadata: Option<String>,
    /// Sent to each node in this order. At least one.
    pub steps: Vec<Step>,
    pub spread: Spread,
    /// What it makes of the index's record.
    pub change: Option<IndexChange>,
    /// What Miroir itself does when the nodes have carried it out.
    pub conclusion: Option<Conclusion>,
    pub idempotency: Option<Idempotency>,
}

/// One request of a write, to every node that holds one of its shards.
#[derive(Debug)]
pub struct Step {
    pub method: Method,
    pub path_and_query: String,
    /// Type that the nodes' own tasks for it will have.
    pub kind: TaskKind,
    /// Whether the nodes' route takes `customMetadata`, which is how a request that got no answer is found again.
    pub takes_metadata: bool,
    pub shards: ShardSet,
    pub body: StepBody,
    /// Whether it may share a request with those of other writes: it is the only one of its write, adds or updates a single
    /// document of at most [`DOCUMENT_BYTES_MAX`](super::DOCUMENT_BYTES_MAX), and nodes find nothing wrong with that.
    pub is_shareable: bool,
}

/// What a step's request carries.
#[derive(Clone, Debug)]
pub enum StepBody {
    Empty,
    /// The same for every node.
    Whole(Bytes),
    /// A JSON array. Each shard's elements are separated by commas, cut into pieces anywhere, in ascending order of shards.
    Elements(Vec<(Shard, Vec<Bytes>)>),
}

impl StepBody {
    /// The parts that the store keeps. They share the body's memory.
    fn parts(&self, step: u8) -> Vec<PayloadPart> {
        let part = |shard, bytes: &Bytes| PayloadPart { step, shard, bytes: bytes.clone() };
        match self {
            StepBody::Empty => Vec::new(),
            StepBody::Whole(bytes) => vec![part(None, bytes)],
            StepBody::Elements(elements) => {
                let pieces = elements.iter().flat_map(|(shard, pieces)| pieces.iter().map(|bytes| (*shard, bytes)));
                pieces.map(|(shard, bytes)| part(Some(shard), bytes)).collect()
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            StepBody::Empty => 0,
            StepBody::Whole(bytes) => bytes.len(),
            StepBody::Elements(elements) => elements.iter().flat_map(|(_, pieces)| pieces).map(Bytes::len).sum(),
        }
    }
}

impl Write {
    /// Shards that it touches.
    pub fn shards(&self) -> ShardSet {
        let mut shards = ShardSet::default();
        self.steps.iter().for_each(|step| shards.extend(&step.shards));
        shards
    }

    pub fn heads(&self, marker: &str) -> Vec<RequestHead> {
        let head = |step: &Step| RequestHead {
            method: step.method.to_string(),
            path_and_query: match step.takes_metadata {
                true => marker::append(&step.path_and_query, [marker].into_iter()),
                false => step.path_and_query.clone(),
            },
            kind: step.kind,
        };
        self.steps.iter().map(head).collect()
    }

    pub fn payload(&self) -> Vec<PayloadPart> {
        self.steps.iter().enumerate().flat_map(|(step, described)| described.body.parts(step as u8)).collect()
    }

    pub fn bytes(&self) -> usize {
        self.steps.iter().map(|step| step.body.len()).sum()
    }
}

/// The request of one step to the node that holds `shards`.
///
/// `parts` are the step's, in order; those of other shards are left out.
pub fn node_request(head: &RequestHead, parts: &[PayloadPart], shards: &ShardSet) -> NodeRequest {
    let method = Method::from_bytes(head.method.as_bytes()).unwrap_or(Method::POST);
    if parts.is_empty() {
        return NodeRequest { method, ..NodeRequest::get(head.path_and_query.clone()) };
    }
    let body = if parts.iter().all(|part| part.shard.is_none()) {
        parts.iter().map(|part| part.bytes.clone()).collect()
    } else {
        elements(parts, shards)
    };
    NodeRequest { method, path_and_query: head.path_and_query.clone(), content_type: Some("application/json"), body }
}

fn elements(parts: &[PayloadPart], shards: &ShardSet) -> Vec<Bytes> {
    let mut body = vec![Bytes::from_static(b"[")];
    let mut previous = None;
    for part in parts.iter().filter(|part| part.shard.is_some_and(|shard| shards.contains(shard))) {
        if previous.is_some_and(|previous| previous != part.shard) {
            body.push(Bytes::from_static(b","));
        }
        previous = Some(part.shard);
        body.push(part.bytes.clone());
    }
    body.push(Bytes::from_static(b"]"));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_gets_the_elements_of_its_shards() {
        let pieces =
            |pieces: &[&'static str]| pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        let step = Step {
            method: Method::POST,
            path_and_query: "/indexes/i/documents?primaryKey=id".to_owned(),
            kind: TaskKind::DocumentAdditionOrUpdate,
            takes_metadata: true,
            shards: [Shard(1), Shard(4), Shard(7)].into_iter().collect(),
            is_shareable: false,
            body: StepBody::Elements(vec![
                (Shard(1), pieces(&[r#"{"id":1},{"#, r#""id":2}"#])),
                (Shard(4), pieces(&[r#"{"id":3}"#])),
                (Shard(7), pieces(&[r#"{"id":4}"#])),
            ]),
        };
        let write = Write {
            kind: TaskKind::DocumentAdditionOrUpdate,
            reach: Reach::Documents,
            index_uid: IndexUid::parse("i").unwrap(),
            node_uid: IndexUid::parse("i").unwrap(),
            shard_count: 8,
            details: Value::Null,
            custom_metadata: None,
            steps: vec![step],
            spread: Spread::SideBySide,
            change: None,
            conclusion: None,
            idempotency: None,
        };
        let heads = write.heads("m1");
        let sent = |shards: &[u32]| {
            let request = node_request(&heads[0], &write.payload(), &shards.iter().copied().map(Shard).collect());
            assert_eq!(request.path_and_query, "/indexes/i/documents?primaryKey=id&customMetadata=m1");
            String::from_utf8(request.body.concat()).unwrap()
        };
        assert_eq!(sent(&[1, 7]), r#"[{"id":1},{"id":2},{"id":4}]"#);
        assert_eq!(sent(&[4, 5]), r#"[{"id":3}]"#);
    }

    #[test]
    fn a_request_without_a_body_has_no_content_type() {
        let head = RequestHead {
            method: "DELETE".to_owned(),
            path_and_query: "/indexes/i".to_owned(),
            kind: TaskKind::IndexDeletion,
        };
        let request = node_request(&head, &[], &ShardSet::default());
        assert_eq!((request.method, request.content_type, request.body.len()), (Method::DELETE, None, 0));
    }
}
