//! `/indexes/{uid}/similar`: documents whose vectors are near that of one document.
//!
//! The source document is on one shard. Its vector is read there, and then looked for everywhere: on the node of that shard by
//! its own `/similar`, which leaves the source out, on the others by a search for the vector.

use bytes::Bytes;
use http::Method;
use serde_json::{json, Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::client_filter::ClientFilter;
use super::document_list::canonical_id;
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::members::Members;
use super::multi_search::is_refusal;
use super::read_kinds::{DOCUMENTS, SIMILAR};
use super::search::{foreign_filter, merged, worded_by_a_node};
use super::search_request::{SearchRequest, Supplement};
use super::whole_index::index_path;
use super::{facts, query_string, restriction, whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, Snapshot};
use crate::documents::shard_of_document_id;
use crate::error::{ApiError, Code};
use crate::merge::search::with_total_up_to;
use crate::merge::Leg;
use crate::scatter::NodeRequest;

/// The request as the client made it.
struct SimilarRequest {
    /// The source document, as it decides on the shard.
    id: String,
    embedder: String,
    /// What is asked of the hits.
    members: Map<String, Value>,
    /// What must hold of the source too.
    rule: Option<Value>,
}

/// The vector of the source document.
enum Source {
    Vector(Value),
    /// The document is there, but has none: nothing is near it.
    NoVector,
    NoDocument,
}

pub async fn similar(
    app: &App,
    uid: &IndexUid,
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let (members, unchanged) = if verb == Verb::Get {
        let query = request.query.unwrap_or("");
        (members_of_query(request.query), NodeRequest::get(index_path(&index, "/similar?") + query))
    } else {
        let body = whole_body(body).await?;
        let unchanged = NodeRequest::json(Method::POST, index_path(&index, "/similar"), body.clone());
        (serde_json::from_slice(&body).ok(), unchanged)
    };
    let Some(similar) = members.and_then(SimilarRequest::new) else {
        return worded_by_a_node(app, &snapshot, &unchanged).await;
    };
    let similar = match request.rights.search_filter(uid.as_str()) {
        Some(rule) => similar.under_rule(rule),
        None => similar,
    };
    match similar.answer(app, &snapshot, &index).await {
        Err(error) if is_refusal(&error) || error.is(Code::MiroirNotSupported) => {
            // Other nodes than that of the source would find fault with its id.
            let read = similar.read(app, &snapshot, &index);
            match read.legs_of(SIMILAR, &[similar.shard(&index)], |_, _| unchanged.clone()).await {
                Err(worded) if is_refusal(&worded) => Err(worded),
                _ => Err(error),
            }
        }
        answered => answered,
    }
}

/// The parameters of a `GET` in the forms of a body; `None` where Meilisearch would refuse them.
fn members_of_query(query: Option<&str>) -> Option<Map<String, Value>> {
    let mut members = Map::new();
    for (name, value) in query_string::parameters(query) {
        let parsed = match name.as_ref() {
            "id" | "embedder" => value.into_owned().into(),
            "offset" | "limit" => value.parse::<usize>().ok()?.into(),
            "retrieveVectors" | "showRankingScore" | "showRankingScoreDetails" | "showPerformanceDetails" => {
                value.parse::<bool>().ok()?.into()
            }
            "attributesToRetrieve" => value.split(',').map(Value::from).collect(),
            "rankingScoreThreshold" => value.parse::<f64>().ok()?.into(),
            // A filter that reads as JSON is meant as JSON.
            "filter" => serde_json::from_str(&value).unwrap_or_else(|_| value.into_owned().into()),
            _ => return None,
        };
        members.insert(name.into_owned(), parsed);
    }
    Some(members)
}

impl SimilarRequest {
    /// `None` when a value cannot be read, so that Meilisearch will not accept it either.
    fn new(mut members: Map<String, Value>) -> Option<Self> {
        let id = canonical_id(&members.remove("id")?)?;
        let embedder = members.remove("embedder")?.as_str()?.to_owned();
        const OF_HITS: [&str; 9] = [
            "offset",
            "limit",
            "filter",
            "attributesToRetrieve",
            "retrieveVectors",
            "showRankingScore",
            "showRankingScoreDetails",
            "showPerformanceDetails",
            "rankingScoreThreshold",
        ];
        members.keys().all(|name| OF_HITS.contains(&name.as_str())).then_some(Self {
            id,
            embedder,
            members,
            rule: None,
        })
    }

    /// The same among the documents that a tenant token shows.
    fn under_rule(mut self, rule: &Value) -> Self {
        let filter = self.members.remove("filter").unwrap_or(Value::Null);
        self.members.insert("filter".to_owned(), restriction::with_rule(filter, rule));
        self.rule = Some(rule.clone());
        self
    }

    /// The shard of the source.
    fn shard(&self, index: &Index) -> Shard {
        shard_of_document_id(&self.id, index.shard_count)
    }

    /// All pages come from the same replicas while they live.
    fn read<'a>(&self, app: &'a App, snapshot: &'a Snapshot, index: &'a Index) -> IndexRead<'a> {
        IndexRead::of_all_shards(app, snapshot, index, xxh3_64(self.id.as_bytes()))
    }

    async fn answer(&self, app: &App, snapshot: &Snapshot, index: &Index) -> Result<Answer, ApiError> {
        let source_shard = self.shard(index);
        let read = self.read(app, snapshot, index);
        let hidden = hidden_until(app, index);
        let search = match self.source(&read, source_shard, hidden).await? {
            Source::NoDocument => {
                let message = format!("Document `{}` not found.", self.id);
                return Err(ApiError::new(Code::NotFoundSimilarId, message));
            }
            Source::NoVector => self.search(None)?,
            Source::Vector(vector) => self.search(Some(vector))?,
        };
        let search = search.hiding_expired(hidden);
        if search.filter().is_foreign() {
            return Err(foreign_filter());
        }
        let mut facts = facts::of(snapshot, index);
        // Each near document is shown, whatever others there are with the same value.
        facts.distinct_attribute = None;
        // No rule pins any.
        facts.pins = None;
        let request_for = |of_leg: &[Shard], shards: Option<&[Shard]>| {
            let body = search.leg_body(shards, &facts);
            match of_leg.contains(&source_shard) {
                true => NodeRequest::json(Method::POST, index_path(index, "/similar"), self.by_id(&body)),
                false => NodeRequest::json(Method::POST, index_path(index, "/search"), body),
            }
        };
        let (mut legs, missing) = read.legs_of(SIMILAR, &read.shards, request_for).await?;
        match legs.iter_mut().find(|leg| leg.shards.contains(&source_shard)) {
            // The answer reads like that of the leg that comes first.
            Some(leg) => leg.shards.clear(),
            None => return Err(super::index_read::shards_unavailable(&[source_shard])),
        }
        let answer = search.merge(&legs, &facts, &Supplement::NONE);
        merged(answer.and_then(|answer| with_total_up_to(&answer, facts.max_total_hits as u64)), &missing)
    }

    /// Reads the source document's vector.
    async fn source(&self, read: &IndexRead<'_>, shard: Shard, hidden: Option<i64>) -> Result<Source, ApiError> {
        let rule = ClientFilter::new(self.rule.clone().unwrap_or_default()).hiding_expired(hidden);
        let filter = rule.restricted(None).unwrap_or_else(|| rule.json().clone());
        let body = json!({ "ids": [self.id], "limit": 1, "retrieveVectors": true, "filter": filter });
        let path = index_path(read.index, "/documents/fetch");
        let request_for =
            |_: &[Shard], _: Option<&[Shard]>| NodeRequest::json(Method::POST, path.clone(), body.to_string().into());
        let (legs, _) = read.legs_of(DOCUMENTS, &[shard], request_for).await?;
        Ok(legs.first().map_or(Source::NoDocument, |leg| source_in(leg, &self.embedder)))
    }

    /// The search for the hits: for those near the vector, or, without one, for how many there are.
    fn search(&self, vector: Option<Value>) -> Result<SearchRequest, ApiError> {
        let mut members = self.members.clone();
        match vector {
            Some(vector) => {
                members.insert("vector".to_owned(), vector);
                members.insert("hybrid".to_owned(), json!({ "embedder": self.embedder, "semanticRatio": 1.0 }));
            }
            None => _ = members.insert("limit".to_owned(), 0.into()),
        }
        let members: Option<Members> = serde_json::from_str(&Value::Object(members).to_string()).ok();
        let unreadable = || ApiError::new(Code::BadRequest, "The request has a value that Miroir cannot read.");
        members.and_then(SearchRequest::from_members).ok_or_else(unreadable)
    }

    /// What the node of the source document is asked in place of a search.
    fn by_id(&self, search: &[u8]) -> Bytes {
        let mut members: Members = serde_json::from_slice(search).unwrap_or_default();
        for of_search in ["vector", "hybrid"] {
            members.take(of_search);
        }
        members.set("id", &self.id.as_str().into());
        members.set("embedder", &self.embedder.as_str().into());
        members.over(&Members::default())
    }
}

/// The vector of the one document in a list. Of several the first: the engine has each among its like.
fn source_in(leg: &Leg, embedder: &str) -> Source {
    let list: Value = serde_json::from_slice(&leg.body).unwrap_or_default();
    let Some(document) = list.pointer("/results/0") else { return Source::NoDocument };
    let embeddings = document.get("_vectors").and_then(|vectors| vectors.get(embedder));
    let embeddings = embeddings.map(|vectors| vectors.get("embeddings").unwrap_or(vectors));
    match embeddings.and_then(Value::as_array).and_then(|embeddings| embeddings.first()) {
        Some(Value::Array(first)) => Source::Vector(first.clone().into()),
        Some(_) => Source::Vector(embeddings.cloned().unwrap_or_default()),
        None => Source::NoVector,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(members: Value) -> Option<SimilarRequest> {
        SimilarRequest::new(members.as_object().unwrap().clone())
    }

    #[test]
    fn what_meilisearch_refuses_is_not_asked() {
        for refused in [
            json!({"embedder": "e"}),
            json!({"id": 1}),
            json!({"id": "a b", "embedder": "e"}),
            json!({"id": 1.5, "embedder": "e"}),
            json!({"id": 1, "embedder": 2}),
            json!({"id": 1, "embedder": "e", "q": "x"}),
        ] {
            assert!(request(refused.clone()).is_none(), "{refused}");
        }
        for refused in ["id=1&nonsense=2", "id=1&limit=x", "id=1&showRankingScore=1"] {
            assert!(members_of_query(Some(refused)).is_none(), "{refused}");
        }
        let members = members_of_query(Some("id=7&embedder=e&limit=3&filter=a%3D1&rankingScoreThreshold=0.5"));
        assert_eq!(
            Value::Object(members.unwrap()),
            json!({"id": "7", "embedder": "e", "limit": 3, "filter": "a=1", "rankingScoreThreshold": 0.5})
        );
    }

    #[test]
    fn the_node_of_the_source_is_asked_by_its_id() {
        let similar = request(json!({"id": 7, "embedder": "e", "limit": 3, "offset": 2, "filter": "a = 1"})).unwrap();
        let search = similar.search(Some(json!([1.0, 0.5]))).unwrap();
        let body = search.leg_body(Some(&[Shard(1)]), &crate::merge::IndexFacts::default());
        let searched: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&searched["vector"], &searched["limit"]), (&json!([1.0, 0.5]), &json!(5)));
        let by_id: Value = serde_json::from_slice(&similar.by_id(&body)).unwrap();
        assert_eq!(
            by_id,
            json!({"id": "7", "embedder": "e", "offset": 0, "limit": 5, "showRankingScoreDetails": true,
                   "filter": searched["filter"]})
        );
    }

    #[test]
    fn a_documents_vector_is_found_in_either_form() {
        let of = |vectors: Value| {
            let list = json!({ "results": [{ "id": 1, "_vectors": { "e": vectors } }] });
            source_in(&Leg { shards: vec![], body: Bytes::from(list.to_string()) }, "e")
        };
        for form in [
            json!({"embeddings": [[1.0, 2.0], [3.0, 4.0]], "regenerate": false}),
            json!([[1.0, 2.0]]),
            json!([1.0, 2.0]),
        ] {
            assert!(matches!(of(form.clone()), Source::Vector(vector) if vector == json!([1.0, 2.0])), "{form}");
        }
        assert!(matches!(of(json!({"embeddings": []})), Source::NoVector));
        let nothing = Leg { shards: vec![], body: Bytes::from_static(b"{\"results\":[]}") };
        assert!(matches!(source_in(&nothing, "e"), Source::NoDocument));
    }
}
