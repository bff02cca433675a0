//! `/_miroir/indexes/{uid}/ttl-policy`: how the expired documents of one index are deleted.

use std::ops::RangeInclusive;
use std::sync::Arc;

use serde_json::{json, Value};

use crate::api::{json_body, whole_body, Answer, Body, Verb};
use crate::app::App;
use crate::cluster::{AliasKind, Index, IndexUid, TtlPolicy, MAX_DELETES_RANGE, SWEEP_INTERVAL_RANGE_S};
use crate::error::{ApiError, Code};
use crate::store::IndexChange;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlRoute {
    /// An index, or an alias for one.
    name: IndexUid,
    verb: Verb,
}

impl TtlRoute {
    pub const TEMPLATE: &'static str = "/_miroir/indexes/{uid}/ttl-policy";

    pub fn recognise(name: &str, verb: Verb) -> Option<Self> {
        let name = IndexUid::parse(name).ok()?;
        matches!(verb, Verb::Get | Verb::Post).then_some(Self { name, verb })
    }

    pub fn writes(&self) -> bool {
        self.verb != Verb::Get
    }
}

/// `GET` shows the policy. `POST` replaces it: what the body does not name is as the configuration has it.
pub async fn answer(app: &App, route: &TtlRoute, body: &mut dyn Body) -> Result<Answer, ApiError> {
    if route.writes() {
        if !app.config.ttl.enabled {
            return Err(ApiError::new(Code::MiroirNotSupported, "TTL is off in the configuration (`ttl.enabled`)."));
        }
        let policy = policy_in(json_body::parse(&whole_body(body).await?)?)?;
        let node_uid = index_of(app, &route.name)?.node_uid.clone();
        let amendment = app.catalog.amend(&IndexChange::TtlPolicy { node_uid, policy }).await;
        app.store.apply(amendment.changes()).await?;
        amendment.publication(|snapshot| snapshot)();
    }
    Ok(Answer::json(200, &view(app, &*index_of(app, &route.name)?)))
}

fn index_of(app: &App, name: &IndexUid) -> Result<Arc<Index>, ApiError> {
    let snapshot = app.cluster.snapshot();
    let uid = match snapshot.alias(name) {
        Some(alias) if alias.kind == AliasKind::Multi => {
            let message = format!("Alias `{name}` stands for several indexes; name that whose policy is meant.");
            return Err(ApiError::new(Code::MiroirMultiAliasNotWritable, message));
        }
        Some(alias) => alias.targets.first().unwrap_or(name),
        None => name,
    };
    snapshot.index_for_writes(uid).cloned().ok_or_else(|| ApiError::index_not_found(uid.as_str()))
}

/// What holds for the index, and what of it is its own.
fn view(app: &App, index: &Index) -> Value {
    let effective = index.expiry.policy.over(app.config.ttl.default_policy());
    json!({
        "indexUid": index.uid,
        "enabled": effective.enabled,
        "sweep_interval_s": effective.sweep_interval.as_secs(),
        "max_deletes_per_sweep": effective.max_deletes_per_sweep,
        "filter_expired": app.config.ttl.enabled && app.config.ttl.filter_expired,
        "policy": index.expiry.policy,
    })
}

fn policy_in(body: Value) -> Result<TtlPolicy, ApiError> {
    let invalid = |message: String| ApiError::new(Code::MiroirInvalidTtlPolicy, message);
    let Value::Object(members) = body else { return Err(invalid("A policy is a JSON object.".to_owned())) };
    let mut policy = TtlPolicy::default();
    for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
        let number = |range: RangeInclusive<u64>| {
            let found = value.as_u64().filter(|number| range.contains(number));
            found.map(Some).ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                invalid(format!("`{name}` has to be a whole number from {least} to {most}, but is `{value}`."))
            })
        };
        match name.as_str() {
            "enabled" => {
                let not_truth = || invalid(format!("`enabled` has to be true or false, but is `{value}`."));
                policy.enabled = Some(value.as_bool().ok_or_else(not_truth)?);
            }
            "sweep_interval_s" => policy.sweep_interval_s = number(SWEEP_INTERVAL_RANGE_S)?,
            "max_deletes_per_sweep" => policy.max_deletes_per_sweep = number(MAX_DELETES_RANGE)?,
            _ => {
                return Err(invalid(format!(
                    "A policy has no `{name}`; it has `enabled`, `sweep_interval_s` and `max_deletes_per_sweep`."
                )))
            }
        }
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_whole_or_refused_with_the_reason() {
        let read = |body: Value| policy_in(body).map_err(|error| error.body.message);
        assert_eq!(read(json!({})), Ok(TtlPolicy::default()));
        assert_eq!(
            read(json!({ "enabled": false, "sweep_interval_s": 1, "max_deletes_per_sweep": null })),
            Ok(TtlPolicy { enabled: Some(false), sweep_interval_s: Some(1), max_deletes_per_sweep: None })
        );
        for (body, word) in [
            (json!([]), "object"),
            (json!({ "enabled": "yes" }), "`enabled` has to be true or false"),
            (json!({ "sweep_interval_s": 0 }), "from 1 to 31536000"),
            (json!({ "max_deletes_per_sweep": 1.5 }), "from 1 to 1000000"),
            (json!({ "sweep_interval": 5 }), "has no `sweep_interval`"),
        ] {
            let message = read(body.clone()).unwrap_err();
            assert!(message.contains(word), "{body}: {message}");
        }
    }
}
