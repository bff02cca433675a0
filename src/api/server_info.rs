//! `/health` and `/version`.

use serde_json::json;

use super::{Answer, Forward, Plan};
use crate::app::App;
use crate::error::{ApiError, Code};

/// Miroir itself answers. Whether the nodes can be reached is told by `/_miroir/ready`.
pub fn health() -> Answer {
    Answer::json(200, &json!({ "status": "available" }))
}

/// The nodes' version: what SDKs ask for is which features they can use.
pub fn version(app: &App) -> Result<Plan, ApiError> {
    let candidates = app.cluster.snapshot().serving_nodes();
    if candidates.is_empty() {
        return Err(ApiError::new(Code::MiroirShardUnavailable, "No node can be reached."));
    }
    Ok(Plan::Forward(Forward { candidates, path_and_query: "/version".to_owned(), settings: None, document: None }))
}
