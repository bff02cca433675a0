//! What is worth knowing of a search before it runs.

use serde_json::{json, Value};

use super::filterable::not_filterable;
use super::why;
use crate::api::index_read::IndexRead;
use crate::api::search_request::SearchRequest;
use crate::cluster::CoveringSet;
use crate::filter::narrowing::{Narrowing, Reason};
use crate::merge::search::Paging;
use crate::reserved::without_reserved_names;

/// End of a page beyond which each node's work, which begins at the first hit, is worth a warning.
const DEEP_END: usize = 1_000;

/// The warnings as `explain` shows them. Those that only an operator can do something about are for operators.
pub fn of(
    set: &CoveringSet,
    read: &IndexRead<'_>,
    search: &SearchRequest,
    narrowing: &Narrowing,
    is_operator: bool,
) -> Value {
    let mut warnings = Vec::new();
    let mut warn = |code: &str, message: String| warnings.push(json!({ "code": code, "message": message }));
    if let (Ok(Some(filter)), Some(settings)) = (search.filter().parse(), &read.index.verified) {
        let filterable = settings.get("filterableAttributes").unwrap_or(&Value::Null);
        for attribute in not_filterable(&filter, filterable) {
            let message = format!("The attribute `{attribute}` is not filterable: the search will be refused.");
            warn("not_filterable", without_reserved_names(&message).into_owned());
        }
    }
    if let Narrowing::No(reason @ (Reason::KeyNotForced | Reason::TooManyValues | Reason::TooManyIds)) = narrowing {
        let key = read.index.primary_key.as_deref().unwrap_or_default();
        if names(search, key) {
            warn(
                "not_narrowed",
                format!("All shards are asked, though the filter names the primary key. {}", why(*reason)),
            );
        }
    }
    let end = match search.paging() {
        Paging::Window { offset, limit } => offset.saturating_add(limit),
        Paging::Page { page, hits_per_page } => page.saturating_mul(hits_per_page),
    };
    if end > DEEP_END && set.legs.len() > 1 {
        warn(
            "deep_page",
            format!("The page ends at hit {end}: each node ranks and sends as many hits, and most are not shown."),
        );
    }
    if is_operator {
        operators_warnings(read, &mut warn);
    }
    Value::Array(warnings)
}

fn operators_warnings(read: &IndexRead<'_>, warn: &mut impl FnMut(&str, String)) {
    let snapshot = read.snapshot;
    if let Some(state) = snapshot.settings_state(read.index) {
        if !state.changing.is_empty() {
            let tasks: Vec<String> = state.changing.iter().map(|task| task.0.to_string()).collect();
            warn(
                "settings_in_flight",
                format!("Changes of settings have not been committed: tasks {}.", tasks.join(", ")),
            );
        }
        for (node, version) in &state.unverified {
            let id = &snapshot.topology.node(*node).id;
            let known =
                version.map_or("other settings".to_owned(), |version| format!("version {version} of the settings"));
            warn("settings_drift", format!("The node {id} was last known to have {known}, not the committed one."));
        }
    }
    for node in snapshot.topology.node_indexes() {
        let id = &snapshot.topology.node(node).id;
        if !snapshot.state(node).serves_reads() {
            warn("node_away", format!("The node {id} serves no reads."));
        } else if let Some(shards) = snapshot.lag(node, read.index) {
            warn("replica_behind", format!("The node {id} is behind in {} shards of this index.", shards.len()));
        }
    }
}

/// Whether a filter names an attribute.
fn names(search: &SearchRequest, name: &str) -> bool {
    let mut is_named = false;
    if let Ok(Some(filter)) = search.filter().parse() {
        filter.attributes(&mut |attribute| is_named |= attribute.name == name);
    }
    is_named
}
