//! `/indexes/{uid}/fields`: the fields that documents and settings have named, and what each can be used for.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use deserr::Deserr;
use milli_core::heed::RoTxn;
use milli_core::{AttributePatterns, Criterion, Index, OrderBy, PatternMatch};
use serde_json::{json, Value};

use crate::error::{field_codes, ResponseError};
use crate::indexes::check_uid;
use crate::search::parse::{read_body, BodyError};
use crate::state::AppState;

const DEFAULT_LIMIT: usize = 20;

field_codes! {
    InvalidIndexFieldsFilter
    InvalidIndexFieldsFilterAttributePatterns
    InvalidIndexFieldsFilterDisplayed
    InvalidIndexFieldsFilterDistinct
    InvalidIndexFieldsFilterFilterable
    InvalidIndexFieldsFilterRankingRule
    InvalidIndexFieldsFilterSearchable
    InvalidIndexFieldsFilterSortable
    InvalidIndexLimit
    InvalidIndexOffset
}

use self::codes::*;

pub fn routes() -> Router<AppState> {
    Router::new().route("/indexes/{uid}/fields", post(list))
}

#[derive(Debug, Deserr)]
#[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
struct ListFields {
    #[deserr(default, error = BodyError<InvalidIndexOffset>)]
    offset: usize,
    #[deserr(default = DEFAULT_LIMIT, error = BodyError<InvalidIndexLimit>)]
    limit: usize,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilter>)]
    filter: Option<FieldsFilter>,
}

/// All that is said must be true of a field.
#[derive(Debug, Default, Deserr)]
#[deserr(error = BodyError<InvalidIndexFieldsFilter>, rename_all = camelCase, deny_unknown_fields)]
struct FieldsFilter {
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterAttributePatterns>)]
    attribute_patterns: Option<AttributePatterns>,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterDisplayed>)]
    displayed: Option<bool>,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterSearchable>)]
    searchable: Option<bool>,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterSortable>)]
    sortable: Option<bool>,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterDistinct>)]
    distinct: Option<bool>,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterRankingRule>)]
    ranking_rule: Option<bool>,
    #[deserr(default, error = BodyError<InvalidIndexFieldsFilterFilterable>)]
    filterable: Option<bool>,
}

impl FieldsFilter {
    fn matches(&self, name: &str, field: &Value) -> bool {
        let is_named = |patterns: &AttributePatterns| patterns.match_str(name) == PatternMatch::Match;
        let wanted = [
            ("displayed", self.displayed),
            ("searchable", self.searchable),
            ("sortable", self.sortable),
            ("distinct", self.distinct),
            ("rankingRule", self.ranking_rule),
            ("filterable", self.filterable),
        ];
        self.attribute_patterns.as_ref().is_none_or(is_named)
            && wanted.iter().all(|(use_, wanted)| wanted.is_none_or(|wanted| field[use_]["enabled"] == wanted))
    }
}

async fn list(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ResponseError> {
    let ListFields { offset, limit, filter } = read_body(&headers, &body)?;
    check_uid(&uid)?;
    let shown = state.clone();
    state
        .run_search(move || {
            let index = shown.index(&uid)?;
            let rtxn = index.read_txn()?;
            let mut fields = all(&index, &rtxn)?;
            let filter = filter.unwrap_or_default();
            fields.retain(|(name, field)| filter.matches(name, field));
            fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            let total = fields.len();
            let page: Vec<Value> = fields.into_iter().skip(offset).take(limit).map(|(_, field)| field).collect();
            Ok(Json(json!({ "results": page, "offset": offset, "limit": limit, "total": total })))
        })
        .await
}

fn all(index: &Index, rtxn: &RoTxn<'_>) -> Result<Vec<(String, Value)>, ResponseError> {
    let fields = index.fields_ids_map_with_metadata(rtxn)?;
    let (rules, localized) = (index.filterable_attributes_rules(rtxn)?, index.localized_attributes_rules(rtxn)?);
    let displayed = index.displayed_fields(rtxn)?;
    let orders = index.sort_facet_values_by(rtxn)?;
    let criteria = index.criteria(rtxn)?;
    let shown = fields.iter().map(|(_, name, metadata)| {
        let is_displayed = displayed
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| milli_core::is_faceted_by(name, pattern)));
        let direction = criteria.iter().find_map(|criterion| match criterion {
            Criterion::Asc(field) if field == name => Some("asc"),
            Criterion::Desc(field) if field == name => Some("desc"),
            _ => None,
        });
        let mut ranking_rule = json!({ "enabled": metadata.is_asc_desc() });
        if let Some(direction) = direction.filter(|_| metadata.is_asc_desc()) {
            ranking_rule["order"] = direction.into();
        }
        let filter = metadata.filterable_attributes_features(&rules);
        let locales = localized.as_ref().and_then(|rules| metadata.locales(rules)).unwrap_or_default();
        let sort_by = match orders.get(name) {
            OrderBy::Lexicographic => "alpha",
            OrderBy::Count => "count",
        };
        let field = json!({
            "name": name,
            "displayed": { "enabled": is_displayed },
            "searchable": { "enabled": metadata.is_searchable() },
            "sortable": { "enabled": metadata.is_sortable() },
            "distinct": { "enabled": metadata.is_distinct() },
            "rankingRule": ranking_rule,
            "filterable": {
                "enabled": filter.is_filterable() || filter.is_facet_searchable(),
                "sortBy": sort_by,
                "facetSearch": filter.is_facet_searchable(),
                "equality": filter.is_filterable_equality(),
                "comparison": filter.is_filterable_comparison(),
            },
            "localized": { "locales": locales.iter().map(|language| language.code()).collect::<Vec<_>>() },
        });
        (name.to_owned(), field)
    });
    Ok(shown.collect())
}
