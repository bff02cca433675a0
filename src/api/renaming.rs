//! `POST /swap-indexes`, and what renaming an index shares with it: names change in Miroir alone, no node has a part in it.
//!
//! The writes before a swap must have ended before readers see it: who fills an index and swaps it into place without waiting
//! expects it to be full when it is seen. Writes after it go by the new names at once.

use std::collections::{BTreeSet, HashSet};

use serde_json::{json, Value};

use super::indexes::kind_of;
use super::whole_index::{accepted, refuse_if_alias, refuse_if_targeted, turn};
use super::{whole_body, Answer, Body, Request};
use crate::app::App;
use crate::cluster::{AliasKind, Index, IndexUid, Renaming};
use crate::error::wording::described;
use crate::error::{ApiError, Code, ErrorBody};
use crate::tasks::{Conclusion, NewTask, Outcome, TaskKind};
use crate::writes::{Scope, Turn};

/// Pairs in one request: each takes two turns, one after the other.
const SWAPS_MAX: usize = 1_000;

/// Turns for all of these names, always taken in the same order, so that two that want the same never wait for each other.
pub async fn names_of<'a>(app: &App, uids: impl Iterator<Item = &'a IndexUid>) -> Result<Vec<Turn>, ApiError> {
    let sorted: BTreeSet<&IndexUid> = uids.collect();
    let mut turns = Vec::with_capacity(sorted.len());
    for uid in sorted {
        turns.push(turn(app, uid, Scope::Whole).await?);
    }
    Ok(turns)
}

pub fn rename_one(index: &Index, uid: &IndexUid) -> Renaming {
    Renaming { node_uid: index.node_uid.clone(), uid: uid.clone() }
}

/// Registers a task that only renames; later writes go by the new names when this returns. The caller holds the names' turns.
pub async fn accept(app: &App, request: &Request<'_>, mut task: NewTask) -> Result<Answer, ApiError> {
    task.idempotency = request.idempotency()?;
    app.metrics.tasks.with_label_values(&[task.kind.name()]).inc();
    let task = app.tasks.register(task, Vec::new()).await?;
    app.show_conclusion(&task);
    Ok(Answer::json(202, &task.summary()))
}

/// One pair of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Swap {
    lhs: IndexUid,
    rhs: IndexUid,
    rename: bool,
}

fn parse(body: &[u8]) -> Result<Vec<Swap>, ApiError> {
    let refused = |code, message: String| Err(ApiError::new(code, message));
    if body.is_empty() {
        return refused(Code::MissingPayload, "A json payload is missing.".to_owned());
    }
    let swaps = match serde_json::from_slice(body).map_err(|error| ApiError::malformed_json(&error))? {
        Value::Array(swaps) if swaps.len() <= SWAPS_MAX => swaps,
        Value::Array(_) => {
            return refused(Code::InvalidSwapIndexes, format!("At most {SWAPS_MAX} pairs can be swapped at once."))
        }
        other => {
            let message = format!("Invalid value type: expected an array, but found {}", described(&other));
            return refused(Code::BadRequest, message);
        }
    };
    swaps.into_iter().enumerate().map(|(at, swap)| parse_one(at, swap)).collect()
}

fn parse_one(at: usize, swap: Value) -> Result<Swap, ApiError> {
    let refused = |code, message: String| Err(ApiError::new(code, message));
    let Value::Object(mut members) = swap else {
        let message =
            format!("Invalid value type at `[{at}]`: expected an object, but found {}: `{swap}`", kind_of(&swap));
        return refused(Code::BadRequest, message);
    };
    let rename = match members.remove("rename") {
        None => false,
        Some(Value::Bool(rename)) => rename,
        Some(other) => {
            let found = kind_of(&other);
            let message =
                format!("Invalid value type at `[{at}].rename`: expected a boolean, but found {found}: `{other}`");
            return refused(Code::InvalidSwapRename, message);
        }
    };
    let indexes = match members.remove("indexes") {
        Some(Value::Array(indexes)) => indexes,
        None => return refused(Code::MissingSwapIndexes, format!("Missing field `indexes` inside `[{at}]`")),
        Some(other) => {
            let found = kind_of(&other);
            let message =
                format!("Invalid value type at `[{at}].indexes`: expected an array, but found {found}: `{other}`");
            return refused(Code::InvalidSwapIndexes, message);
        }
    };
    if let Some(name) = members.keys().next() {
        let message = format!("Unknown field `{name}` inside `[{at}]`: expected one of `indexes`, `rename`");
        return refused(Code::BadRequest, message);
    }
    let mut uids = Vec::with_capacity(indexes.len());
    for (n, uid) in indexes.iter().enumerate() {
        let Some(text) = uid.as_str() else {
            let found = kind_of(uid);
            let message =
                format!("Invalid value type at `[{at}].indexes[{n}]`: expected a string, but found {found}: `{uid}`");
            return refused(Code::InvalidSwapIndexes, message);
        };
        match IndexUid::parse(text) {
            Ok(uid) => uids.push(uid),
            Err(error) => {
                let message = format!("Invalid value at `[{at}].indexes[{n}]`: {}", error.body.message);
                return refused(Code::InvalidSwapIndexes, message);
            }
        }
    }
    match <[IndexUid; 2]>::try_from(uids) {
        Ok([lhs, rhs]) => Ok(Swap { lhs, rhs, rename }),
        Err(uids) => {
            let list: Vec<String> = uids.iter().map(|uid| format!("\"{uid}\"")).collect();
            let message = format!(
                "Two indexes must be given for each swap. The list `[{}]` contains {} indexes.",
                list.join(", "),
                uids.len()
            );
            refused(Code::InvalidSwapIndexes, message)
        }
    }
}

/// Meilisearch refuses a request that names an index twice, before it makes a task.
fn refuse_duplicates(swaps: &[Swap]) -> Result<(), ApiError> {
    let mut seen = HashSet::new();
    let names = swaps.iter().flat_map(|swap| [&swap.lhs, &swap.rhs]);
    let twice: BTreeSet<&IndexUid> = names.filter(|uid| !seen.insert(*uid)).collect();
    let message = match twice.len() {
        0 => return Ok(()),
        1 => {
            format!("Indexes must be declared only once during a swap. {} was specified several times.", listed(twice))
        }
        _ => {
            format!("Indexes must be declared only once during a swap. {} were specified several times.", listed(twice))
        }
    };
    Err(ApiError::new(Code::InvalidSwapDuplicateIndexFound, message))
}

fn listed<'a>(uids: impl IntoIterator<Item = &'a IndexUid>) -> String {
    uids.into_iter().map(|uid| format!("`{uid}`")).collect::<Vec<_>>().join(", ")
}

/// Why the task fails, if it does, in Meilisearch's words.
fn obstacle(swaps: &[Swap], exists: impl Fn(&IndexUid) -> bool) -> Option<ErrorBody> {
    let (mut missing, mut in_the_way) = (BTreeSet::new(), BTreeSet::new());
    for swap in swaps {
        if !exists(&swap.lhs) {
            missing.insert(&swap.lhs);
        }
        match (exists(&swap.rhs), swap.rename) {
            (true, true) => drop(in_the_way.insert((&swap.lhs, &swap.rhs))),
            (false, false) => drop(missing.insert(&swap.rhs)),
            (true, false) | (false, true) => {}
        }
    }
    if !missing.is_empty() {
        let message = match missing.len() {
            1 => format!("Index {} not found.", listed(missing)),
            _ => format!("Indexes {} not found.", listed(missing)),
        };
        return Some(ErrorBody::new(Code::IndexNotFound, message));
    }
    let (lhs, rhs) = in_the_way.first()?;
    let message = if in_the_way.len() == 1 {
        format!(
            "Cannot rename `{lhs}` to `{rhs}` as the index already exists. Hint: You can remove `{rhs}` first and then do \
             your remove."
        )
    } else {
        format!(
            "The following indexes are being renamed but cannot because their new name conflicts with an already existing \
             index: {}. Renaming doesn't overwrite the other index name.",
            listed(in_the_way.iter().map(|(_, rhs)| *rhs))
        )
    };
    Some(ErrorBody::new(Code::IndexAlreadyExists, message))
}

pub async fn swap(app: &App, request: &Request<'_>, body: &mut dyn Body) -> Result<Answer, ApiError> {
    let mut swaps = parse(&whole_body(body).await?)?;
    let snapshot = app.cluster.snapshot();
    for swap in &mut swaps {
        for uid in [&mut swap.lhs, &mut swap.rhs] {
            match snapshot.alias(uid) {
                // A name to be given must be an index's own.
                Some(alias) if swap.rename || alias.kind == AliasKind::Multi => refuse_if_alias(app, &alias.name)?,
                Some(alias) => *uid = alias.targets[0].clone(),
                None if swap.rename => refuse_if_targeted(app, uid)?,
                None => {}
            }
        }
    }
    drop(snapshot);
    if !swaps.iter().all(|swap| request.rights.sees(swap.lhs.as_str()) && request.rights.sees(swap.rhs.as_str())) {
        return Err(ApiError::new(Code::InvalidApiKey, "The provided API key is invalid."));
    }
    refuse_duplicates(&swaps)?;
    let shown: Vec<Value> = swaps
        .iter()
        .map(|swap| json!({ "indexes": [swap.lhs.as_str(), swap.rhs.as_str()], "rename": swap.rename }))
        .collect();
    let details = json!({ "swaps": shown });
    let _turns = names_of(app, swaps.iter().flat_map(|swap| [&swap.lhs, &swap.rhs])).await?;
    if let Some(error) = obstacle(&swaps, |uid| app.index_for_writes(uid).is_some()) {
        let task = NewTask::settled(TaskKind::IndexSwap, None, Outcome::Failed(error));
        return accepted(app, request, task.with_details(details)).await;
    }
    let mut renamings = Vec::new();
    for swap in &swaps {
        let lhs = app.index_for_writes(&swap.lhs);
        let rhs = app.index_for_writes(&swap.rhs).filter(|_| !swap.rename);
        renamings.extend(lhs.map(|lhs| rename_one(&lhs, &swap.rhs)));
        renamings.extend(rhs.map(|rhs| rename_one(&rhs, &swap.lhs)));
    }
    let task = NewTask::concluded(TaskKind::IndexSwap, None, Conclusion::Rename(renamings));
    accept(app, request, task.with_details(details)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    fn refusal(body: &str) -> (String, String) {
        let error = parse(body.as_bytes()).and_then(|swaps| refuse_duplicates(&swaps)).unwrap_err();
        (error.body.code.into_owned(), error.body.message)
    }

    #[test]
    fn requests_that_meilisearch_refuses_are_refused_alike() {
        for (body, code, message) in [
            ("", "missing_payload", "A json payload is missing."),
            ("{}", "bad_request", "Invalid value type: expected an array, but found an object: `{}`"),
            (r#"[{}]"#, "missing_swap_indexes", "Missing field `indexes` inside `[0]`"),
            (
                r#"[{"indexes":["a"]}]"#,
                "invalid_swap_indexes",
                "Two indexes must be given for each swap. The list `[\"a\"]` contains 1 indexes.",
            ),
            (
                r#"[{"indexes":["a","b"],"rename":1}]"#,
                "invalid_swap_rename",
                "Invalid value type at `[0].rename`: expected a boolean, but found a positive integer: `1`",
            ),
            (
                r#"[{"indexes":["a","b"]},{"indexes":["c","a"]}]"#,
                "invalid_swap_duplicate_index_found",
                "Indexes must be declared only once during a swap. `a` was specified several times.",
            ),
            (
                r#"[{"indexes":["a","b"]},{"indexes":["b","a"]}]"#,
                "invalid_swap_duplicate_index_found",
                "Indexes must be declared only once during a swap. `a`, `b` were specified several times.",
            ),
        ] {
            assert_eq!(refusal(body), (code.to_owned(), message.to_owned()), "{body}");
        }
    }

    #[test]
    fn the_task_fails_for_what_is_missing_and_for_what_is_in_the_way() {
        let swap = |lhs: &str, rhs: &str, rename| Swap { lhs: uid(lhs), rhs: uid(rhs), rename };
        let exists = |name: &IndexUid| matches!(name.as_str(), "a" | "b" | "c" | "d");
        let message = |swaps: &[Swap]| obstacle(swaps, exists).map(|error| error.message);
        assert_eq!(message(&[swap("a", "b", false), swap("c", "x", true)]), None);
        assert_eq!(message(&[swap("a", "x", false)]).unwrap(), "Index `x` not found.");
        assert_eq!(message(&[swap("y", "x", false), swap("a", "b", true)]).unwrap(), "Indexes `x`, `y` not found.");
        assert!(message(&[swap("a", "b", true)]).unwrap().starts_with("Cannot rename `a` to `b` as"));
        let several = message(&[swap("a", "b", true), swap("c", "d", true)]).unwrap();
        assert!(several.contains("index: `b`, `d`. Renaming"), "{several}");
    }
}
