//! A search by an alias that stands for several indexes: one list of all of them, in the shape of a search in one index.

use bytes::Bytes;
use serde_json::{json, Map, Value};

use super::federated_search::one_list;
use super::federation::Federation;
use super::members::Members;
use super::multi_search::Query;
use super::search_request::SearchRequest;
use super::{search_query_string, whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::auth::Rights;
use crate::cluster::{IndexUid, Snapshot};
use crate::error::{ApiError, Code};

/// What belongs to the list as a whole and not to the search in each index.
const OF_THE_LIST: [&str; 5] = ["offset", "limit", "page", "hitsPerPage", "distinct"];

pub async fn search(
    app: &App,
    snapshot: &Snapshot,
    targets: &[IndexUid],
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    let members: Members = match verb {
        Verb::Get => Members(search_query_string::to_members(request.query.unwrap_or("")).ok_or_else(unreadable)?),
        _ => {
            let body = whole_body(body).await?;
            let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
            serde_json::from_slice(&body).map_err(|error| ApiError::malformed_json(&error))?
        }
    };
    let (answer, query) = one_search(app, snapshot, targets, members, request.rights).await?;
    let said = format!("\"query\":{},", Value::from(query));
    Ok(Answer { body: beginning_with(&said, &answer.body), ..answer })
}

/// The result of one query of a `/multi-search`.
pub async fn result_of_query(
    app: &App,
    snapshot: &Snapshot,
    alias: &IndexUid,
    members: Members,
    rights: &Rights,
) -> Result<Answer, ApiError> {
    let (answer, query) = one_search(app, snapshot, snapshot.stands_for(alias), members, rights).await?;
    let said = format!("\"indexUid\":\"{alias}\",\"query\":{},", Value::from(query));
    Ok(Answer { body: beginning_with(&said, &answer.body), ..answer })
}

/// One list of what all targets have, each searched under the client's own rule for it; with the query.
async fn one_search(
    app: &App,
    snapshot: &Snapshot,
    targets: &[IndexUid],
    members: Members,
    rights: &Rights,
) -> Result<(Answer, String), ApiError> {
    let OneSearch { query, each, federation } = OneSearch::read(members, targets).ok_or_else(unreadable)?;
    let queries = targets.iter().map(|target| {
        let search = SearchRequest::from_members(each.clone())?;
        let search = match rights.search_filter(target.as_str()) {
            Some(rule) => search.under_rule(rule),
            None => search,
        };
        Some(Query { index_uid: target.clone(), search, options: None, source: None })
    });
    let queries: Vec<Query> = queries.collect::<Option<_>>().ok_or_else(unreadable)?;
    let federation = Federation::from_json(&federation.to_string()).ok_or_else(unreadable)?;
    Ok((one_list(app, snapshot, queries, &federation, false).await?, query))
}

fn unreadable() -> ApiError {
    ApiError::new(Code::BadRequest, "The search has a value that cannot be read.")
}

/// A search, taken apart into what each index is asked and what the list is made by.
struct OneSearch {
    query: String,
    each: Members,
    federation: Value,
}

impl OneSearch {
    fn read(mut members: Members, targets: &[IndexUid]) -> Option<Self> {
        let query = members.read::<Option<String>>("q")?.unwrap_or_default();
        let mut federation = Map::new();
        for name in OF_THE_LIST {
            if let Some(value) = members.take(name).filter(|value| value.get() != "null") {
                federation.insert(name.to_owned(), serde_json::from_str(value.get()).ok()?);
            }
        }
        if let Some(facets) = members.take("facets").filter(|facets| facets.get() != "null") {
            let facets: Value = serde_json::from_str(facets.get()).ok()?;
            let by_index = targets.iter().map(|target| (target.as_str().to_owned(), facets.clone()));
            federation.insert("facetsByIndex".to_owned(), Value::Object(by_index.collect()));
            federation.insert("mergeFacets".to_owned(), json!({}));
        }
        Some(Self { query, each: members, federation: Value::Object(federation) })
    }
}

/// A search in one index says what was asked; a list of several does not.
fn beginning_with(said: &str, list: &[u8]) -> Bytes {
    match list.split_first() {
        Some((b'{', rest)) => [b"{", said.as_bytes(), rest].concat().into(),
        _ => Bytes::copy_from_slice(list),
    }
}
