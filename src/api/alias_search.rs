//! A search by an alias that stands for several indexes: one list of all of them, in the shape of a search in one index.

use bytes::Bytes;
use serde_json::{json, Map, Value};

use super::federated_search::{one_list, Federation};
use super::multi_search::Query;
use super::search_request::{Members, SearchRequest};
use super::{search_query_string, whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::auth::Action;
use crate::cluster::{Alias, Snapshot};
use crate::error::{ApiError, Code};

/// What belongs to the list as a whole and not to the search in each index.
const OF_THE_LIST: [&str; 5] = ["offset", "limit", "page", "hitsPerPage", "distinct"];

pub async fn search(
    app: &App,
    snapshot: &Snapshot,
    alias: &Alias,
    verb: Verb,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    for target in &alias.targets {
        if !request.rights.may(Action::Search, target.as_str()) {
            return Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid."));
        }
    }
    let unreadable = || ApiError::new(Code::BadRequest, "The search has a value that cannot be read.");
    let members: Members = match verb {
        Verb::Get => Members(search_query_string::to_members(request.query.unwrap_or("")).ok_or_else(unreadable)?),
        _ => {
            let body = whole_body(body).await?;
            let body = if body.is_empty() { Bytes::from_static(b"{}") } else { body };
            serde_json::from_slice(&body).map_err(|error| ApiError::malformed_json(&error))?
        }
    };
    let OneSearch { query, each, federation } = OneSearch::read(members, alias).ok_or_else(unreadable)?;
    let queries = alias.targets.iter().map(|target| {
        let search = SearchRequest::from_members(each.clone())?;
        let search = match request.rights.search_filter(target.as_str()) {
            Some(rule) => search.under_rule(rule),
            None => search,
        };
        Some(Query { index_uid: target.clone(), search, options: None })
    });
    let queries: Vec<Query> = queries.collect::<Option<_>>().ok_or_else(unreadable)?;
    let federation = Federation::from_json(&federation.to_string()).ok_or_else(unreadable)?;
    let answer = one_list(app, snapshot, queries, &federation, false).await?;
    Ok(Answer { body: with_query(&answer.body, &query), ..answer })
}

/// A search, taken apart into what each index is asked and what the list is made by.
struct OneSearch {
    query: String,
    each: Members,
    federation: Value,
}

impl OneSearch {
    fn read(mut members: Members, alias: &Alias) -> Option<Self> {
        let query = members.read::<Option<String>>("q")?.unwrap_or_default();
        let mut federation = Map::new();
        for name in OF_THE_LIST {
            if let Some(value) = members.take(name).filter(|value| value.get() != "null") {
                federation.insert(name.to_owned(), serde_json::from_str(value.get()).ok()?);
            }
        }
        if let Some(facets) = members.take("facets").filter(|facets| facets.get() != "null") {
            let facets: Value = serde_json::from_str(facets.get()).ok()?;
            let by_index = alias.targets.iter().map(|target| (target.as_str().to_owned(), facets.clone()));
            federation.insert("facetsByIndex".to_owned(), Value::Object(by_index.collect()));
            federation.insert("mergeFacets".to_owned(), json!({}));
        }
        Some(Self { query, each: members, federation: Value::Object(federation) })
    }
}

/// A search in one index says what was asked; a list of several does not.
fn with_query(list: &[u8], query: &str) -> Bytes {
    match list.split_first() {
        Some((b'{', rest)) => {
            let said = format!("{{\"query\":{},", Value::from(query));
            [said.as_bytes(), rest].concat().into()
        }
        _ => Bytes::copy_from_slice(list),
    }
}
