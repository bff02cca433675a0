//! All routes together, and the server that listens for them.

use std::future::Future;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{from_fn_with_state, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{json, Value};
use tokio::net::TcpListener;
use tower_http::decompression::RequestDecompressionLayer;

use crate::auth::require_key;
use crate::documents::write::payload_too_large;
use crate::error::{Code, ResponseError};
use crate::state::AppState;
use crate::{documents, features, fields, index_routes, keys, search, settings, stats, tasks};

/// How long a stop waits for requests that are being answered.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The version of Meilisearch whose engine this is.
const ENGINE_VERSION: &str = "1.15.1";

/// Answers requests until `stop`.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    stop: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let (stopped, mut stopping) = tokio::sync::watch::channel(false);
    let graceful = async move {
        stop.await;
        // Nobody listens any more if the server has ended by itself.
        let _ = stopped.send(true);
    };
    let server = axum::serve(listener, routes(state)).with_graceful_shutdown(graceful);
    let deadline = async move {
        // An error means that the server has ended by itself, and the other branch is taken.
        let _ = stopping.wait_for(|stopped| *stopped).await;
        tokio::time::sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = deadline => log::warn!("requests were still being answered when the node stopped"),
    }
    Ok(())
}

fn routes(state: AppState) -> Router {
    let payload_bytes_max = usize::try_from(state.payload_bytes_max()).unwrap_or(usize::MAX);
    Router::new()
        .route("/version", get(version))
        .merge(features::routes())
        .merge(keys::routes())
        .merge(index_routes::routes())
        .merge(settings::routes())
        .merge(documents::read::routes())
        .merge(documents::write::routes())
        .merge(search::routes())
        .merge(fields::routes())
        .merge(stats::routes())
        .merge(tasks::routes())
        .route_layer(from_fn_with_state(state.clone(), require_key))
        .route("/health", get(health))
        .layer(DefaultBodyLimit::max(payload_bytes_max))
        .layer(from_fn_with_state(state.clone(), in_meilisearch_shape))
        .layer(RequestDecompressionLayer::new())
        .with_state(state)
}

/// Refusals that come from the HTTP library are plain text; clients expect Meilisearch's error object.
async fn in_meilisearch_shape(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let is_json = response
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type == "application/json");
    match response.status() {
        StatusCode::PAYLOAD_TOO_LARGE if !is_json => payload_too_large(state.payload_bytes_max()).into_response(),
        StatusCode::BAD_REQUEST if !is_json => {
            ResponseError::new(Code::BadRequest, "The request could not be read.").into_response()
        }
        _ => response,
    }
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "available" }))
}

async fn version() -> Json<Value> {
    Json(json!({ "commitSha": "unknown", "commitDate": "unknown", "pkgVersion": ENGINE_VERSION }))
}
