//! Writes whose effect on the documents is known, for tests that compare all replicas with a model.

use std::collections::BTreeMap;

use serde_json::{json, Map, Value};

use super::{Answer, Client};

/// One client write.
#[derive(Clone, Debug)]
pub enum Operation {
    Replace(Vec<Value>),
    Update(Vec<Value>),
    DeleteOne(u64),
    DeleteBatch(Vec<u64>),
}

impl Operation {
    /// Of some of the documents below `ids`, every second time of one alone.
    pub fn random(random: &mut fastrand::Rng, ids: u64, version: u64) -> Self {
        let some = |random: &mut fastrand::Rng, most: usize| -> Vec<u64> {
            let most = if random.bool() { most } else { 1 };
            (0..random.usize(1..=most)).map(|_| random.u64(0..ids)).collect()
        };
        match random.u32(0..10) {
            0..=3 => Operation::replace(some(random, 20), version),
            4..=6 => Operation::update(some(random, 10), random.u32(0..3), version),
            7 | 8 => Operation::DeleteOne(random.u64(0..ids)),
            _ => Operation::DeleteBatch(some(random, 5)),
        }
    }

    /// Adds or updates one of the documents below `ids`.
    pub fn of_one_document(random: &mut fastrand::Rng, ids: u64, version: u64) -> Self {
        match random.bool() {
            true => Operation::replace(vec![random.u64(0..ids)], version),
            false => Operation::update(vec![random.u64(0..ids)], random.u32(0..3), version),
        }
    }

    fn replace(ids: Vec<u64>, version: u64) -> Self {
        let document = |id: u64| json!({ "id": id, "version": version, "text": format!("word{}", version % 97) });
        Operation::Replace(ids.into_iter().map(document).collect())
    }

    fn update(ids: Vec<u64>, field: u32, version: u64) -> Self {
        let field = format!("field{field}");
        let document = |id: u64| json!({ "id": id, field.as_str(): version });
        Operation::Update(ids.into_iter().map(document).collect())
    }

    pub fn send(&self, client: &Client) -> Result<Answer, ureq::Error> {
        let json = [("content-type", "application/json")];
        let documents = |documents: &[Value]| Some(json!(documents).to_string().into_bytes());
        match self {
            Operation::Replace(of) => client.try_send("POST", "/indexes/i/documents", &json, documents(of)),
            Operation::Update(of) => client.try_send("PUT", "/indexes/i/documents", &json, documents(of)),
            Operation::DeleteOne(id) => client.try_send("DELETE", &format!("/indexes/i/documents/{id}"), &[], None),
            Operation::DeleteBatch(ids) => {
                let body = Some(json!(ids).to_string().into_bytes());
                client.try_send("POST", "/indexes/i/documents/delete-batch", &json, body)
            }
        }
    }

    /// What it makes of the documents.
    pub fn apply(&self, model: &mut BTreeMap<String, Map<String, Value>>) {
        let object = |document: &Value| document.as_object().expect("an object").clone();
        match self {
            Operation::Replace(documents) => {
                for document in documents {
                    model.insert(document["id"].to_string(), object(document));
                }
            }
            Operation::Update(documents) => {
                for document in documents {
                    model.entry(document["id"].to_string()).or_default().extend(object(document));
                }
            }
            Operation::DeleteOne(id) => drop(model.remove(&id.to_string())),
            Operation::DeleteBatch(ids) => ids.iter().for_each(|id| drop(model.remove(&id.to_string()))),
        }
    }
}
