//! `/indexes/{uid}/settings` and one route below it for each setting.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, MethodRouter};
use axum::{Json, Router};
use bytes::Bytes;
use milli_core::update::Setting;
use serde_json::{Map, Value};

use super::read::read;
use super::update::{codes, SettingsUpdate};
use crate::error::ResponseError;
use crate::indexes::check_uid;
use crate::queue::{NewTask, Operation};
use crate::search::parse::{read_body, BodyError};
use crate::state::AppState;
use crate::tasks::{accept, Accepted};

/// What a request to a setting's own route becomes.
type ReadOne = fn(Value) -> Result<SettingsUpdate, ResponseError>;

/// How a setting is changed at its own route: whole, or field by field.
enum Verb {
    Put,
    Patch,
}

/// The routes of one setting.
struct OneSetting {
    /// Its name in the settings object.
    name: &'static str,
    read: ReadOne,
    reset: fn() -> SettingsUpdate,
}

/// Adds the routes of settings: `verb "path" => name, field, error code`.
macro_rules! setting_routes {
    ($router:expr, $($verb:ident $path:literal => $name:literal, $field:ident, $code:ident;)*) => {
        $router$(.route(
            concat!("/indexes/{uid}/settings/", $path),
            one_setting(Verb::$verb, OneSetting {
                name: $name,
                read: |value| {
                    let value = deserr::deserialize::<Option<_>, _, BodyError<codes::$code>>(value)?;
                    let $field = value.map_or(Setting::Reset, Setting::Set);
                    Ok(SettingsUpdate { $field, ..SettingsUpdate::default() })
                },
                reset: || SettingsUpdate { $field: Setting::Reset, ..SettingsUpdate::default() },
            }),
        ))*
    };
}

pub fn routes() -> Router<AppState> {
    let router = Router::new().route("/indexes/{uid}/settings", get(show_all).patch(change_all).delete(reset_all));
    setting_routes! { router,
        Put "displayed-attributes" => "displayedAttributes", displayed_attributes, InvalidSettingsDisplayedAttributes;
        Put "searchable-attributes" => "searchableAttributes", searchable_attributes, InvalidSettingsSearchableAttributes;
        Put "filterable-attributes" => "filterableAttributes", filterable_attributes, InvalidSettingsFilterableAttributes;
        Put "sortable-attributes" => "sortableAttributes", sortable_attributes, InvalidSettingsSortableAttributes;
        Put "ranking-rules" => "rankingRules", ranking_rules, InvalidSettingsRankingRules;
        Put "stop-words" => "stopWords", stop_words, InvalidSettingsStopWords;
        Put "non-separator-tokens" => "nonSeparatorTokens", non_separator_tokens, InvalidSettingsNonSeparatorTokens;
        Put "separator-tokens" => "separatorTokens", separator_tokens, InvalidSettingsSeparatorTokens;
        Put "dictionary" => "dictionary", dictionary, InvalidSettingsDictionary;
        Put "synonyms" => "synonyms", synonyms, InvalidSettingsSynonyms;
        Put "distinct-attribute" => "distinctAttribute", distinct_attribute, InvalidSettingsDistinctAttribute;
        Put "proximity-precision" => "proximityPrecision", proximity_precision, InvalidSettingsProximityPrecision;
        Patch "typo-tolerance" => "typoTolerance", typo_tolerance, InvalidSettingsTypoTolerance;
        Patch "faceting" => "faceting", faceting, InvalidSettingsFaceting;
        Patch "pagination" => "pagination", pagination, InvalidSettingsPagination;
        Patch "embedders" => "embedders", embedders, InvalidSettingsEmbedders;
        Put "search-cutoff-ms" => "searchCutoffMs", search_cutoff_ms, InvalidSettingsSearchCutoffMs;
        Put "localized-attributes" => "localizedAttributes", localized_attributes, InvalidSettingsLocalizedAttributes;
        Put "facet-search" => "facetSearch", facet_search, InvalidSettingsFacetSearch;
        Put "prefix-search" => "prefixSearch", prefix_search, InvalidSettingsPrefixSearch;
    }
}

fn one_setting(verb: Verb, setting: OneSetting) -> MethodRouter<AppState> {
    let OneSetting { name, read: read_one, reset } = setting;
    let show = move |State(state): State<AppState>, Path(uid): Path<String>| async move {
        let mut settings = settings_of(state, uid).await?;
        Ok::<_, ResponseError>(Json(settings.remove(name).unwrap_or_default()))
    };
    let change = move |State(state): State<AppState>, Path(uid): Path<String>, headers: HeaderMap, body: Bytes| async move {
        let update = read_one(read_body(&headers, &body)?)?;
        enqueue(state, uid, update, true).await
    };
    let forget = move |State(state): State<AppState>, Path(uid): Path<String>| async move {
        enqueue(state, uid, reset(), false).await
    };
    let routes = get(show).delete(forget);
    match verb {
        Verb::Put => routes.put(change),
        Verb::Patch => routes.patch(change),
    }
}

async fn show_all(
    State(state): State<AppState>,
    Path(uid): Path<String>,
) -> Result<Json<Map<String, Value>>, ResponseError> {
    Ok(Json(settings_of(state, uid).await?))
}

async fn change_all(
    State(state): State<AppState>,
    Path(uid): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Accepted, ResponseError> {
    let update = read_body::<SettingsUpdate>(&headers, &body)?;
    enqueue(state, uid, update, true).await
}

async fn reset_all(State(state): State<AppState>, Path(uid): Path<String>) -> Result<Accepted, ResponseError> {
    enqueue(state, uid, SettingsUpdate::reset_all(), false).await
}

async fn settings_of(state: AppState, uid: String) -> Result<Map<String, Value>, ResponseError> {
    check_uid(&uid)?;
    let index = state.index(&uid)?;
    state
        .run_search(move || {
            let rtxn = index.read_txn()?;
            read(&index, &rtxn)
        })
        .await
}

async fn enqueue(
    state: AppState,
    uid: String,
    update: SettingsUpdate,
    creates_index: bool,
) -> Result<Accepted, ResponseError> {
    check_uid(&uid)?;
    let operation = Operation::SettingsUpdate { settings: update.into_task()?, creates_index };
    accept(state, NewTask::new(Some(uid), operation)).await
}
