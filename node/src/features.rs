//! `/experimental-features`: what is switched on. `containsFilter` and `network` have an effect here; the others are
//! remembered, so that a client reads back what it wrote.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use deserr::Deserr;
use serde::{Deserialize, Serialize};

use crate::error::{feature_not_enabled, ResponseError};
use crate::search::parse::{read_body, BodyError};
use crate::state::AppState;

macro_rules! features {
    ($($name:ident)*) => {
        /// Which features are on.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct Features {
            $(pub $name: bool,)*
        }

        /// A change: what is not in it stays.
        #[derive(Debug, Deserr)]
        #[deserr(error = BodyError, rename_all = camelCase, deny_unknown_fields)]
        struct Change {
            $(#[deserr(default)] $name: Option<bool>,)*
        }

        impl Change {
            fn apply(&self, features: &mut Features) {
                $(features.$name = self.$name.unwrap_or(features.$name);)*
            }
        }
    };
}

features! {
    metrics
    logs_route
    edit_documents_by_function
    contains_filter
    dynamic_search_rules
    network
    get_task_documents_route
    task_queue_compaction_route
    composite_embedders
    chat_completions
    multimodal
    foreign_keys
    disable_documents_fetch_queue
    legacy_search
    render_route
}

impl Features {
    /// Refuses `action` unless nodes may ask each other.
    pub fn check_network(self, action: &str) -> Result<(), ResponseError> {
        match self.network {
            true => Ok(()),
            false => Err(feature_not_enabled(action, "network", 805)),
        }
    }
}

pub fn routes() -> Router<AppState> {
    Router::new().route("/experimental-features", get(show).patch(change))
}

async fn show(State(state): State<AppState>) -> Json<Features> {
    Json(state.features())
}

async fn change(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Features>, ResponseError> {
    let change: Change = read_body(&headers, &body)?;
    let changed = tokio::task::spawn_blocking(move || {
        state.change_features(|features| {
            change.apply(features);
            Ok(*features)
        })
    });
    changed.await.map_err(ResponseError::internal)?.map(Json)
}
