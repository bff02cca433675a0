//! Indexes that were made before TTL was switched on, or are left from when it was: their nodes learn to look for expired documents,
//! or forget it, by a change of settings like a client's.

use bytes::Bytes;
use http::Method;
use serde_json::{json, Map, Value};
use tokio::time::Instant;

use super::expired_documents::TASK_METADATA;
use super::settings::of_one_node;
use super::whole_index::{index_path, to_all, turn, write_of};
use crate::app::App;
use crate::cluster::{Index, IndexUid};
use crate::error::{ApiError, Code};
use crate::settings::{with_own, without_own};
use crate::store::IndexChange;
use crate::tasks::{Conclusion, Task, TaskKind, TaskStatus};
use crate::writes::{carry_out, Scope, StepBody, Write};

/// How long the nodes may take to apply the change: they may have to index all documents anew.
const APPLY_WAIT: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Makes the nodes of an index able to filter by the time at which its documents expire, or takes that back. Nothing is done while
/// its settings change otherwise: the error says so, and it is to be tried again.
pub async fn set_filterable(app: &App, node_uid: &IndexUid, is_filterable: bool) -> Result<(), ApiError> {
    let snapshot = app.cluster.snapshot();
    let Some(index) = snapshot.index_on_nodes(node_uid) else { return Ok(()) };
    let turn = turn(app, &index.uid, Scope::Whole).await?;
    let later = |why: &str| ApiError::new(Code::MiroirTooBusy, format!("Index `{}` {why}.", index.uid));
    let is_same = |of_name: &std::sync::Arc<Index>| of_name.node_uid == *node_uid;
    let Some(index) = app.index_for_writes(&index.uid).filter(is_same) else {
        return Err(later("is being renamed"));
    };
    // Whoever comes now waits for the turn, so what is read here is what the change is made to.
    let changes_settings =
        |task: &Task| task.concerns(node_uid) && (task.conclusion.is_some() || task.awaits_creation());
    if !app.tasks.followed_where(changes_settings).is_empty() {
        return Err(later("is being made, or its settings are being changed"));
    }
    let attributes = match &index.verified {
        Some(verified) => verified.get("filterableAttributes").cloned(),
        None => of_one_node(app, &app.cluster.snapshot(), &index).await?.remove("filterableAttributes"),
    };
    let Some(Value::Array(attributes)) = attributes else {
        return Err(later("does not tell its filterable attributes"));
    };
    let attributes = without_own(attributes);
    let shown = json!({ "filterableAttributes": attributes });
    let sent = json!({ "filterableAttributes": with_own(attributes, is_filterable) });
    let body = StepBody::Whole(Bytes::from(sent.to_string()));
    let path = index_path(&index, "/settings");
    let step = to_all(TaskKind::SettingsUpdate, Method::PATCH, path, body, index.shard_count);
    let write = Write {
        custom_metadata: Some(TASK_METADATA.to_owned()),
        spread: app.config.settings_broadcast.strategy,
        // Nothing that a client has set changes.
        conclusion: Some(Conclusion::Settings { patch: Map::new() }),
        ..write_of(&index.uid, &index, TaskKind::SettingsUpdate, shown, step, None)
    };
    let taken = carry_out(app, write, turn).await?;
    let task = app.tasks.wait_finished(taken.task.uid, Instant::now() + APPLY_WAIT).await?;
    if task.status != TaskStatus::Succeeded {
        let why = task.error.as_ref().map_or("its task did not succeed", |error| &error.message);
        return Err(later(&format!("has not got the filterable attribute for documents that expire: {why}")));
    }
    let change = IndexChange::ExpiryFilterable { node_uid: node_uid.clone(), is_filterable };
    let amendment = app.catalog.amend(&change).await;
    app.store.apply(amendment.changes()).await?;
    amendment.publication(|snapshot| snapshot)();
    Ok(())
}
