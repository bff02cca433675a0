//! Lists of documents: `GET /indexes/{uid}/documents` and `POST /indexes/{uid}/documents/fetch`.
//!
//! A page is read in two rounds, so that one deep inside asks each leg only for what it contributes. Without `sort` the
//! legs' totals come first, since documents stand shard by shard. With `sort`, the fields that are sorted by come first, up
//! to the page's end; when a page begins at the first document and shows those fields anyway, that is the page already.

use bytes::Bytes;
use futures_util::future::try_join_all;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{json, Map, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::client_filter::ClientFilter;
use super::hidden_expired::hidden_until;
use super::index_read::IndexRead;
use super::query_string;
use super::read_kinds::DOCUMENTS;
use super::search::{foreign_filter, merge_failed, merged, refused_by_a_node, worded_by_a_node};
use super::search_query_string::sort_criteria;
use super::whole_index::index_path;
use super::{reserved_attributes, whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{Index, IndexUid, Shard, Snapshot};
use crate::documents::{is_document_id, shard_of_document_id};
use crate::error::{ApiError, Code};
use crate::merge::documents::{merge_document_lists, merge_sorted_lists, total_of_list};
use crate::merge::sorted_documents::{SortCriterion, SortedPage};
use crate::merge::{Leg, MergeError};
use crate::scatter::NodeRequest;

/// Meilisearch's default of `limit` in lists of documents.
const LIMIT_DEFAULT: usize = 20;

/// How often a page is begun again when a node goes away between its two rounds. Each time one more replica is known to be
/// away; a cluster that loses more of them within one request has other troubles.
const ATTEMPTS_MAX: usize = 3;

pub async fn list(app: &App, uid: &IndexUid, request: &Request<'_>) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let unchanged = NodeRequest::get(index_path(&index, &format!("/documents{query}")));
    match members_of_query(request.query).and_then(DocumentList::new) {
        Some(list) => list.answer(app, &snapshot, &index, &unchanged).await,
        None => worded_by_a_node(app, &snapshot, &unchanged).await,
    }
}

pub async fn fetch(app: &App, uid: &IndexUid, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let (snapshot, index) = request.index(app, uid)?;
    let body = whole_body(body).await?;
    let members = serde_json::from_slice(if body.is_empty() { b"{}" } else { &body }).ok();
    let unchanged = NodeRequest::json(Method::POST, index_path(&index, "/documents/fetch"), body);
    match members.and_then(DocumentList::new) {
        Some(list) => list.answer(app, &snapshot, &index, &unchanged).await,
        None => worded_by_a_node(app, &snapshot, &unchanged).await,
    }
}

/// The only document that a list of one id can have, if it is there and shown. The parameters are those of `GET` of one document.
pub async fn only(
    app: &App,
    snapshot: &Snapshot,
    index: &Index,
    id: &str,
    query: Option<&str>,
    unchanged: &NodeRequest,
) -> Result<Answer, ApiError> {
    let members = members_of_query(query)
        .filter(|members| members.keys().all(|name| matches!(name.as_str(), "fields" | "retrieveVectors")));
    let Some(mut members) = members else { return worded_by_a_node(app, snapshot, unchanged).await };
    members.insert("ids".to_owned(), json!([id]));
    let list = DocumentList::new(members).ok_or_else(misread)?;
    let answer = list.answer(app, snapshot, index, unchanged).await?;
    let page: OnlyPage = serde_json::from_slice(&answer.body).map_err(|_| misread())?;
    match page.results.first() {
        Some(document) => Ok(Answer::json_bytes(200, Bytes::copy_from_slice(document.get().as_bytes()))),
        None => Err(ApiError::new(Code::DocumentNotFound, format!("Document `{id}` not found."))),
    }
}

#[derive(Deserialize)]
struct OnlyPage<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// `GET` of several indexes as one.
pub async fn list_of_several(app: &App, uids: &[IndexUid], request: &Request<'_>) -> Result<Answer, ApiError> {
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    let unchanged = |index: &Index| NodeRequest::get(index_path(index, &format!("/documents{query}")));
    of_several(app, uids, request, members_of_query(request.query), unchanged).await
}

/// `POST` of several indexes as one.
pub async fn fetch_of_several(
    app: &App,
    uids: &[IndexUid],
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let body = whole_body(body).await?;
    let members = serde_json::from_slice(if body.is_empty() { b"{}" } else { &body }).ok();
    let path = |index: &Index| index_path(index, "/documents/fetch");
    of_several(app, uids, request, members, |index| NodeRequest::json(Method::POST, path(index), body.clone())).await
}

/// The documents of each index after those of the one before it, or all of them in the order that the client asked for. Each
/// index's list is to the page what a leg's is to the list of one index.
async fn of_several(
    app: &App,
    uids: &[IndexUid],
    request: &Request<'_>,
    members: Option<Map<String, Value>>,
    unchanged: impl Fn(&Index) -> NodeRequest,
) -> Result<Answer, ApiError> {
    let indexes: Vec<_> = uids.iter().map(|uid| request.index(app, uid)).collect::<Result<_, _>>()?;
    let read = members.and_then(|members| Some((DocumentList::new(members.clone())?, members)));
    let Some((list, members)) = read else {
        let Some((snapshot, index)) = indexes.first() else { return Err(ApiError::index_not_found("")) };
        return worded_by_a_node(app, snapshot, &unchanged(index)).await;
    };
    // The part of the page that each index has, with the places of the indexes in the order of ties.
    let parts_of = async |parts: &[Part], shown: Shown| -> Result<(Vec<Leg>, Option<String>), ApiError> {
        let one = async |n: usize, part: &Part| {
            let (snapshot, index) = &indexes[n];
            let list = DocumentList::new(members_of_part(&members, &list, *part, shown)).ok_or_else(misread)?;
            list.answer(app, snapshot, index, &unchanged(index)).await
        };
        let answers = try_join_all(parts.iter().enumerate().map(|(n, part)| one(n, part))).await?;
        let degraded = answers.iter().find_map(|answer| answer.degraded.clone());
        let leg = |(n, answer): (usize, Answer)| Leg { shards: vec![Shard(n as u32)], body: answer.body };
        Ok((answers.into_iter().enumerate().map(leg).collect(), degraded))
    };
    let all = |part: Part| vec![part; indexes.len()];
    let (body, degraded) = if list.sort.is_empty() {
        let (counted, _) = parts_of(&all(Part::default()), Shown::AsAsked).await?;
        let parts = contributions(&counted, list.offset, list.limit)?;
        let (legs, degraded) = parts_of(&parts, Shown::AsAsked).await?;
        (merge_document_lists(&legs, list.offset, list.limit), degraded)
    } else {
        let up_to_end = Part { from: 0, count: list.offset.saturating_add(list.limit) };
        let (legs, _) = parts_of(&all(up_to_end), Shown::SortFields).await?;
        let page = SortedPage::choose(&legs, &list.sort, list.offset, list.limit).map_err(merge_failed)?;
        let part = |n: usize| Part { from: page.before[n], count: page.count_of(n) };
        let parts: Vec<Part> = (0..legs.len()).map(part).collect();
        let (legs, degraded) = parts_of(&parts, Shown::AsAsked).await?;
        (merge_sorted_lists(&legs, &page, list.offset, list.limit), degraded)
    };
    Ok(Answer { degraded, ..merged(body, &[])? })
}

fn misread() -> ApiError {
    ApiError::new(Code::Internal, "A part of a list could not be read as the list was.")
}

/// What a client would ask for to get this part of a list alone.
fn members_of_part(members: &Map<String, Value>, list: &DocumentList, part: Part, shown: Shown) -> Map<String, Value> {
    let mut members = members.clone();
    members.insert("offset".to_owned(), json!(part.from));
    members.insert("limit".to_owned(), json!(part.count));
    if shown == Shown::SortFields {
        members.insert("fields".to_owned(), list.sort.iter().map(SortCriterion::field).collect());
        members.remove("retrieveVectors");
    }
    members
}

/// The parameters of a `GET` in the forms of a body; `None` where Meilisearch would refuse them.
fn members_of_query(query: Option<&str>) -> Option<Map<String, Value>> {
    let mut members = Map::new();
    for (name, value) in query_string::parameters(query) {
        let parsed = match name.as_ref() {
            "offset" | "limit" => value.parse::<usize>().ok()?.into(),
            "retrieveVectors" => value.parse::<bool>().ok()?.into(),
            "fields" if value.split(',').any(|field| field == "*") => continue,
            "fields" | "ids" => value.split(',').map(Value::from).collect(),
            "sort" => sort_criteria(&value).into(),
            // A filter that reads as JSON is meant as JSON.
            "filter" => serde_json::from_str(&value).unwrap_or_else(|_| value.into_owned().into()),
            _ => return None,
        };
        members.insert(name.into_owned(), parsed);
    }
    Some(members)
}

/// A list as the client asked for it.
#[derive(Clone)]
pub(super) struct DocumentList {
    offset: usize,
    limit: usize,
    sort: Vec<SortCriterion>,
    /// The only documents that may be in the list.
    ids: Option<Vec<String>>,
    filter: ClientFilter,
    /// Whether the documents show all that they are sorted by.
    shows_sort_fields: bool,
    /// The rest, as the client sent it.
    members: Map<String, Value>,
}

/// What one leg adds to a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    from: usize,
    count: usize,
}

/// What the documents of a leg are to show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    AsAsked,
    SortFields,
}

impl DocumentList {
    /// `None` when a value cannot be read, so that Meilisearch will not accept it either.
    fn new(mut members: Map<String, Value>) -> Option<Self> {
        reserved_attributes::replace_in(&mut members);
        let number = |value: Option<Value>, default: usize| match value {
            None => Some(default),
            Some(value) => value.as_u64().map(|n| n as usize),
        };
        let offset = number(members.remove("offset"), 0)?;
        let limit = number(members.remove("limit"), LIMIT_DEFAULT)?;
        let sort = members.get("sort").filter(|sort| !sort.is_null()).map_or(Some(Vec::new()), |sort| {
            sort.as_array()?.iter().map(|criterion| SortCriterion::parse(criterion.as_str()?)).collect()
        })?;
        let ids = match members.remove("ids") {
            None | Some(Value::Null) => None,
            Some(ids) => Some(ids.as_array()?.iter().map(canonical_id).collect::<Option<Vec<_>>>()?),
        };
        let fields = members.get("fields").and_then(Value::as_array);
        let is_shown = |criterion: &SortCriterion| {
            fields.is_none_or(|fields| fields.iter().any(|field| field == criterion.field()))
        };
        let shows_sort_fields = sort.iter().all(is_shown);
        let filter = ClientFilter::new(members.get("filter").cloned().unwrap_or_default());
        Some(Self { offset, limit, sort, ids, filter, shows_sort_fields, members })
    }

    /// `unchanged` is the client's own request.
    async fn answer(
        &self,
        app: &App,
        snapshot: &Snapshot,
        index: &Index,
        unchanged: &NodeRequest,
    ) -> Result<Answer, ApiError> {
        if self.filter.is_foreign() {
            return refused_by_a_node(app, snapshot, unchanged, foreign_filter).await;
        }
        // The same for both rounds.
        let filter = self.filter.clone().hiding_expired(hidden_until(app, index));
        let shown = Self { filter, ..self.clone() };
        // Every page of every list comes from the same replicas while they live.
        let seed = xxh3_64(index.node_uid.as_str().as_bytes());
        let mut read = IndexRead::of_all_shards(app, snapshot, index, seed);
        if let Some(ids) = &self.ids {
            read.shards = ids.iter().map(|id| shard_of_document_id(id, index.shard_count)).collect();
            read.shards.sort_unstable();
            read.shards.dedup();
            if read.shards.is_empty() {
                // No document is asked for; a node still has a say on the rest of the request.
                read.shards.push(Shard(0));
            }
        } else {
            read = read.narrowed(&self.filter.narrowing(index));
        }
        for _ in 0..ATTEMPTS_MAX {
            let answer = match self.sort.is_empty() {
                true => shown.by_shard(&read).await?,
                false => shown.sorted(&read).await?,
            };
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(ApiError::new(Code::MiroirShardUnavailable, "Nodes go away while the page is read; ask for it again."))
    }

    /// The page in the order of the shards. `None` if a node went away in between.
    async fn by_shard(&self, read: &IndexRead<'_>) -> Result<Option<Answer>, ApiError> {
        let none = Part::default();
        let (counted, missing) = read
            .legs_of(DOCUMENTS, &read.shards, |leg, shards| self.request(read, leg, shards, none, Shown::AsAsked))
            .await?;
        let parts = contributions(&counted, self.offset, self.limit)?;
        let Some((legs, missing)) = self.parts(read, counted, missing, &parts).await? else { return Ok(None) };
        merged(merge_document_lists(&legs, self.offset, self.limit), &missing).map(Some)
    }

    /// The page in the order that the client asked for. `None` if a node went away in between.
    async fn sorted(&self, read: &IndexRead<'_>) -> Result<Option<Answer>, ApiError> {
        let up_to_end = Part { from: 0, count: self.offset.saturating_add(self.limit) };
        let is_whole = self.offset == 0 && self.shows_sort_fields;
        let shown = if is_whole { Shown::AsAsked } else { Shown::SortFields };
        let (legs, missing) = read
            .legs_of(DOCUMENTS, &read.shards, |leg, shards| self.request(read, leg, shards, up_to_end, shown))
            .await?;
        let page = match SortedPage::choose(&legs, &self.sort, self.offset, self.limit) {
            Ok(page) => page,
            Err(error) => return merged(Err(error), &missing).map(Some),
        };
        let (legs, missing) = if is_whole {
            (legs, missing)
        } else {
            let part = |n: usize| Part { from: page.before[n], count: page.count_of(n) };
            let parts: Vec<Part> = (0..legs.len()).map(part).collect();
            match self.parts(read, legs, missing, &parts).await? {
                Some(read) => read,
                None => return Ok(None),
            }
        };
        merged(merge_sorted_lists(&legs, &page, self.offset, self.limit), &missing).map(Some)
    }

    /// Reads each leg's part of the page in place of what the first round brought. `None` if a node went away since then: its
    /// shards come from elsewhere now, in another order.
    async fn parts(
        &self,
        read: &IndexRead<'_>,
        mut legs: Vec<Leg>,
        mut missing: Vec<Shard>,
        parts: &[Part],
    ) -> Result<Option<(Vec<Leg>, Vec<Shard>)>, ApiError> {
        let asked = legs.iter().zip(parts).filter(|(_, part)| part.count > 0);
        let asked: Vec<(Vec<Shard>, Part)> = asked.map(|(leg, part)| (leg.shards.clone(), *part)).collect();
        if asked.is_empty() {
            return Ok(Some((legs, missing)));
        }
        let part_of = |shards: &[Shard]| asked.iter().find(|(of, _)| of == shards).map(|(_, part)| *part);
        let mut shards: Vec<Shard> = asked.iter().flat_map(|(shards, _)| shards.iter().copied()).collect();
        shards.sort_unstable();
        let request_for = |leg: &[Shard], shards: Option<&[Shard]>| {
            self.request(read, leg, shards, part_of(leg).unwrap_or_default(), Shown::AsAsked)
        };
        let (answered, missing_now) = read.legs_of(DOCUMENTS, &shards, request_for).await?;
        missing.extend(missing_now);
        missing.sort_unstable();
        missing.dedup();
        for answered in answered {
            match legs.iter_mut().find(|leg| leg.shards == answered.shards) {
                Some(leg) => leg.body = answered.body,
                None => return Ok(None),
            }
        }
        Ok(Some((legs, missing)))
    }

    /// What the leg that answers for the shards `leg` is asked; `shards` are those that its filter must name.
    fn request(
        &self,
        read: &IndexRead<'_>,
        leg: &[Shard],
        shards: Option<&[Shard]>,
        part: Part,
        shown: Shown,
    ) -> NodeRequest {
        let mut members = self.members.clone();
        if let Some(ids) = &self.ids {
            // Nobody else is asked for them, so their shards need no filter.
            let is_here = |id: &&String| leg.contains(&shard_of_document_id(id, read.index.shard_count));
            members.insert("ids".to_owned(), ids.iter().filter(is_here).map(String::as_str).collect());
        }
        let shards = if self.ids.is_some() { None } else { shards };
        if let Some(filter) = self.filter.restricted(shards) {
            members.insert("filter".to_owned(), filter);
        }
        if shown == Shown::SortFields {
            members.insert("fields".to_owned(), self.sort.iter().map(SortCriterion::field).collect());
            members.remove("retrieveVectors");
        }
        members.insert("offset".to_owned(), json!(part.from));
        members.insert("limit".to_owned(), json!(part.count));
        let body = Bytes::from(Value::Object(members).to_string());
        NodeRequest::json(Method::POST, index_path(read.index, "/documents/fetch"), body)
    }
}

/// An id as it decides on the shard: integers and strings are one. `None` when no document can have it.
pub fn canonical_id(id: &Value) -> Option<String> {
    let id = match id {
        Value::String(id) => id.trim().to_owned(),
        Value::Number(number) if !number.is_f64() => number.to_string(),
        _ => return None,
    };
    is_document_id(&id).then_some(id)
}

fn contributions(counted: &[Leg], offset: usize, limit: usize) -> Result<Vec<Part>, ApiError> {
    let (mut skip, mut want) = (offset, limit);
    let mut parts = Vec::with_capacity(counted.len());
    for (n, leg) in counted.iter().enumerate() {
        let Some(total) = total_of_list(&leg.body) else {
            let error = MergeError::Malformed { leg: n, what: "no total", at: 0 };
            return Err(ApiError::new(Code::Internal, format!("The nodes' answers cannot be merged: {error}.")));
        };
        let from = skip.min(total as usize);
        let count = want.min(total as usize - from);
        skip -= from;
        want -= count;
        parts.push(Part { from, count });
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(total: usize) -> Leg {
        Leg {
            shards: Vec::new(),
            body: Bytes::from(format!(r#"{{"results":[],"offset":0,"limit":0,"total":{total}}}"#)),
        }
    }

    #[test]
    fn each_leg_is_asked_only_for_its_part_of_the_page() {
        let legs = [leg(10), leg(0), leg(5), leg(7)];
        let parts = |offset, limit| -> Vec<(usize, usize)> {
            contributions(&legs, offset, limit).unwrap().iter().map(|part| (part.from, part.count)).collect()
        };
        assert_eq!(parts(0, 3), [(0, 3), (0, 0), (0, 0), (0, 0)]);
        assert_eq!(parts(8, 9), [(8, 2), (0, 0), (0, 5), (0, 2)]);
        assert_eq!(parts(100, 9), [(10, 0), (0, 0), (5, 0), (7, 0)]);
    }

    #[test]
    fn parameters_take_the_forms_of_a_body() {
        let members = |query| members_of_query(Some(query)).map(Value::Object);
        assert_eq!(
            members("offset=1&limit=2&fields=a,b&ids=7,x&retrieveVectors=true&filter=a%20%3D%201"),
            Some(json!({"offset": 1, "limit": 2, "fields": ["a", "b"], "ids": ["7", "x"],
                        "retrieveVectors": true, "filter": "a = 1"}))
        );
        assert_eq!(
            members("fields=*&sort=_geoPoint(1,2):asc,a:desc&filter=%5B%22a%3D1%22%5D"),
            Some(json!({"sort": ["_geoPoint(1,2):asc", "a:desc"], "filter": ["a=1"]}))
        );
        for refused in ["offset=-1", "limit=x", "retrieveVectors=1", "nonsense=1"] {
            assert_eq!(members(refused), None, "{refused}");
        }
    }

    #[test]
    fn what_meilisearch_refuses_is_no_list() {
        let list = |members: Value| DocumentList::new(members.as_object().unwrap().clone());
        for refused in [
            json!({"ids": [1.5]}),
            json!({"ids": ["a b"]}),
            json!({"ids": 7}),
            json!({"sort": ["a"]}),
            json!({"sort": "a:asc"}),
            json!({"limit": null}),
            json!({"offset": "1"}),
        ] {
            assert!(list(refused.clone()).is_none(), "{refused}");
        }
        let shows = |members: Value| list(members).unwrap().shows_sort_fields;
        assert!(shows(json!({"sort": ["a.b:asc"]})) && shows(json!({"sort": ["a.b:asc"], "fields": ["a"]})));
        assert!(!shows(json!({"sort": ["a.b:asc", "c:asc"], "fields": ["a"]})));
        assert_eq!(list(json!({"ids": [7, "7", " x "]})).unwrap().ids.unwrap(), ["7", "7", "x"]);
    }
}
