//! `/_miroir/rollover-policies`: by which indexes give way to new ones.

use serde_json::{json, Value};
use tokio::time::Instant;

use crate::api::json_body::{self, missing_field, unknown_field, Place};
use crate::api::{Answer, Body, Verb};
use crate::app::App;
use crate::cluster::{IndexUid, TARGETS_MAX};
use crate::error::{ApiError, Code};
use crate::reserved::SHARD_FIELD;
use crate::rollover::{Age, NamePattern, Policy, PolicyError, PolicyName, Retention, Rolling, Template, Triggers};

/// Largest settings of a template, as JSON: the store keeps all templates in one value.
const SETTINGS_BYTES_MAX: usize = 256 << 10;

const FIELDS: [&str; 8] =
    ["name", "write_alias", "read_alias", "pattern", "triggers", "retention", "template", "adopt_indexes"];
const TRIGGERS: [&str; 3] = ["max_docs", "max_age", "max_size_gb"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolloverRoute {
    All(Verb),
    One(PolicyName, Verb),
}

impl RolloverRoute {
    /// `segments` come after `rollover-policies`.
    pub fn recognise(segments: &[&str], verb: Verb) -> Option<Self> {
        match (segments, verb) {
            ([], Verb::Get | Verb::Post) => Some(RolloverRoute::All(verb)),
            ([name], Verb::Get | Verb::Delete) => Some(RolloverRoute::One(PolicyName::parse(name).ok()?, verb)),
            _ => None,
        }
    }

    pub fn writes(&self) -> bool {
        !matches!(self, RolloverRoute::All(Verb::Get) | RolloverRoute::One(_, Verb::Get))
    }

    pub fn template(&self) -> &'static str {
        match self {
            RolloverRoute::All(_) => "/_miroir/rollover-policies",
            RolloverRoute::One(..) => "/_miroir/rollover-policies/{name}",
        }
    }
}

pub async fn answer(app: &App, route: &RolloverRoute, body: &mut dyn Body) -> Result<Answer, ApiError> {
    match route {
        RolloverRoute::All(Verb::Get) => {
            let all = app.rollovers.all();
            let views: Vec<Value> = all.values().map(|rolling| view(app, rolling)).collect();
            Ok(Answer::json(200, &json!({ "policies": views })))
        }
        RolloverRoute::All(_) => post(app, body).await,
        RolloverRoute::One(name, Verb::Get) => Ok(Answer::json(200, &view(app, &app.rollovers.find(name)?))),
        RolloverRoute::One(name, _) => {
            let rolling = app.rollovers.find(name)?;
            app.rollovers.hold().await.delete(app, name).await?;
            Ok(Answer::json(200, &view(app, &rolling)))
        }
    }
}

/// Answers once the aliases are there, so that who has a new policy may write by them, or when it is known why they are not.
async fn post(app: &App, body: &mut dyn Body) -> Result<Answer, ApiError> {
    if !app.config.ilm.enabled {
        let message = "Rollover policies are off in the configuration (`ilm.enabled`).";
        return Err(ApiError::new(Code::MiroirNotSupported, message));
    }
    let Proposal { policy, adopted } = Proposal::parse(json_body::read(body).await?)?;
    let name = policy.name.clone();
    let is_new = app.rollovers.hold().await.put(app, policy, &adopted).await?;
    let deadline = Instant::now() + app.request_timeout();
    let mut progressed = app.rollovers.progressed();
    let rolling = loop {
        let rolling = app.rollovers.find(&name)?;
        let has_aliases = app.cluster.snapshot().alias(&rolling.policy.read_alias).is_some();
        let is_stuck = app.rollovers.trouble(&name).is_some();
        let is_over = has_aliases || is_stuck || Instant::now() >= deadline;
        if is_over || tokio::time::timeout_at(deadline, progressed.changed()).await.is_err() {
            break rolling;
        }
    };
    Ok(Answer::json(if is_new { 201 } else { 200 }, &view(app, &rolling)))
}

/// A policy, and where it stands.
fn view(app: &App, Rolling { policy, progress }: &Rolling) -> Value {
    let snapshot = app.cluster.snapshot();
    let series: &[IndexUid] = snapshot.alias(&policy.read_alias).map_or(&[], |alias| &alias.targets);
    let mut view = json!(policy);
    view["progress"] = json!({
        "indexes": series,
        "phase": progress.step.as_ref().map(|step| step.phase.name()),
        "next_index": progress.step.as_ref().map(|step| &step.index),
        "deleting": progress.doomed.iter().map(|doomed| &doomed.index).collect::<Vec<_>>(),
        "last_rollover": progress.last_rollover,
        "trouble": app.rollovers.trouble(&policy.name).map(|trouble| {
            let at = trouble.at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
            json!({ "message": trouble.message, "at": at })
        }),
    });
    view
}

/// What is posted.
#[derive(Debug)]
struct Proposal {
    policy: Policy,
    adopted: Vec<IndexUid>,
}

const INVALID: Code = Code::MiroirInvalidRolloverPolicy;

impl Proposal {
    fn parse(body: Value) -> Result<Self, ApiError> {
        let (mut name, mut write_alias, mut read_alias, mut pattern, mut triggers) = (None, None, None, None, None);
        let (mut retention, mut template, mut adopted) = (Retention::default(), Template::default(), Vec::new());
        let members = json_body::object(body)?;
        for (member, value) in &members {
            let place = Place::member(member, value, INVALID);
            match member.as_str() {
                "name" => name = Some(PolicyName::parse(place.text()?).map_err(|why| place.invalid(why))?),
                "write_alias" => write_alias = Some(uid(&place)?),
                "read_alias" => read_alias = Some(uid(&place)?),
                "pattern" => pattern = Some(NamePattern::parse(place.text()?).map_err(|why| place.invalid(why))?),
                "triggers" => triggers = Some(triggers_of(&place)?),
                "retention" => retention = retention_of(&place)?,
                "template" => template = template_of(&place)?,
                "adopt_indexes" => adopted = place.elements()?.map(|index| uid(&index)).collect::<Result<_, _>>()?,
                unknown => return Err(unknown_field(unknown, &FIELDS)),
            }
        }
        let policy = Policy {
            name: name.ok_or_else(|| missing_field("name", INVALID))?,
            write_alias: write_alias.ok_or_else(|| missing_field("write_alias", INVALID))?,
            read_alias: read_alias.ok_or_else(|| missing_field("read_alias", INVALID))?,
            pattern: pattern.ok_or_else(|| missing_field("pattern", INVALID))?,
            triggers: triggers.ok_or_else(|| missing_field("triggers", INVALID))?,
            retention,
            template,
        };
        if policy.write_alias == policy.read_alias {
            let why = "the alias that is written stands for one index, and so is another than the one that is read";
            return Err(PolicyError::Invalid { field: "read_alias", why: why.to_owned() }.into());
        }
        Ok(Self { policy, adopted })
    }
}

fn uid(place: &Place<'_>) -> Result<IndexUid, ApiError> {
    IndexUid::parse(place.text()?).map_err(|error| place.invalid(error.body.message))
}

/// The members of an object; an object that is null has none.
fn members<'v>(place: &Place<'v>) -> Result<Vec<(&'v str, Place<'v>)>, ApiError> {
    Ok(place.members_or_null()?.into_iter().flatten().collect())
}

fn triggers_of(place: &Place<'_>) -> Result<Triggers, ApiError> {
    let mut triggers = Triggers::default();
    for (member, value) in members(place)? {
        match member {
            "max_docs" => triggers.max_docs = Some(positive(&value)?),
            "max_age" => triggers.max_age = Some(Age::parse(value.text()?).map_err(|why| value.invalid(why))?),
            "max_size_gb" => {
                let size = value.number()?;
                if !(size.is_finite() && size > 0.0) {
                    return Err(value.invalid("a size is more than 0"));
                }
                triggers.max_size_gb = Some(size);
            }
            unknown => return Err(place.unknown_member(unknown, &TRIGGERS)),
        }
    }
    if triggers == Triggers::default() {
        return Err(place.invalid(format!("at least one of `{}` is needed", TRIGGERS.join("`, `"))));
    }
    Ok(triggers)
}

fn retention_of(place: &Place<'_>) -> Result<Retention, ApiError> {
    let mut retention = Retention::default();
    for (member, value) in members(place)? {
        match member {
            "keep_indexes" => {
                let keep = positive(&value)? as usize;
                if keep >= TARGETS_MAX {
                    return Err(value
                        .invalid(format!("an alias stands for at most {TARGETS_MAX} indexes, of which one is new")));
                }
                retention.keep_indexes = Some(keep);
            }
            unknown => return Err(place.unknown_member(unknown, &["keep_indexes"])),
        }
    }
    Ok(retention)
}

fn template_of(place: &Place<'_>) -> Result<Template, ApiError> {
    let mut template = Template::default();
    for (member, value) in members(place)? {
        match member {
            "primary_key" => {
                let key = value.text_or_null()?.map(str::to_owned);
                if key.as_deref() == Some("") {
                    return Err(value.invalid("a primary key has a name"));
                }
                template.primary_key = key;
            }
            "settings" => {
                let settings = value.object()?.clone();
                if json!(settings).to_string().len() > SETTINGS_BYTES_MAX {
                    return Err(value.invalid(format!("settings have at most {SETTINGS_BYTES_MAX} bytes of JSON")));
                }
                let filterable = settings.get("filterableAttributes").and_then(Value::as_array);
                if filterable.is_some_and(|attributes| attributes.iter().any(|attribute| attribute == SHARD_FIELD)) {
                    return Err(value.invalid(format!("`{SHARD_FIELD}` is Miroir's own field")));
                }
                template.settings = settings;
            }
            unknown => return Err(place.unknown_member(unknown, &["primary_key", "settings"])),
        }
    }
    Ok(template)
}

fn positive(place: &Place<'_>) -> Result<u64, ApiError> {
    match place.count()? {
        0 => Err(place.invalid("it is at least 1")),
        count => Ok(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal() -> Value {
        json!({
            "name": "logs",
            "write_alias": "logs",
            "read_alias": "all-logs",
            "pattern": "logs-{YYYY-MM-DD}",
            "triggers": { "max_docs": 1_000, "max_age": "1d", "max_size_gb": 0.5 },
            "retention": { "keep_indexes": 30 },
            "template": { "primary_key": "id", "settings": { "filterableAttributes": ["level"] } },
            "adopt_indexes": ["logs-2025-01-01"],
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut changed = proposal();
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[member] = value;
        changed
    }

    #[test]
    fn a_policy_is_read_and_kept_as_it_was_written() {
        let Proposal { policy, adopted } = Proposal::parse(proposal()).unwrap();
        assert_eq!(adopted, [IndexUid::parse("logs-2025-01-01").unwrap()]);
        let mut written = proposal();
        written.as_object_mut().unwrap().remove("adopt_indexes");
        assert_eq!(json!(policy), written);
        assert_eq!(serde_json::from_value::<Policy>(written).unwrap(), policy);
    }

    #[test]
    fn mistakes_are_told_with_their_field() {
        let cases = [
            (with("/name", json!("a b")), "Invalid value at `.name`: a policy's name has 1 to 64"),
            (with("/name", json!(7)), "Invalid value type at `.name`: expected a string, but found"),
            (with("/write_alias", json!("a/b")), "Invalid value at `.write_alias`: `a/b` is not a valid index uid"),
            (with("/read_alias", json!("logs")), "Invalid value at `.read_alias`: the alias that is written"),
            (with("/pattern", json!("logs-{DD}")), "Invalid value at `.pattern`: a name has a date"),
            (with("/triggers", json!({})), "Invalid value at `.triggers`: at least one of `max_docs`, `max_age`"),
            (with("/triggers", json!([])), "Invalid value type at `.triggers`: expected an object, but found an array"),
            (with("/triggers/max_docs", json!(0)), "Invalid value at `.triggers.max_docs`: it is at least 1"),
            (
                with("/triggers/max_docs", json!(1.5)),
                "Invalid value type at `.triggers.max_docs`: expected a positive integer",
            ),
            (with("/triggers/max_age", json!("1w")), "Invalid value at `.triggers.max_age`: an age is"),
            (
                with("/triggers/max_size_gb", json!(0)),
                "Invalid value at `.triggers.max_size_gb`: a size is more than 0",
            ),
            (
                with("/triggers/max_doc", json!(1)),
                "Unknown field `max_doc` inside `.triggers`: did you mean `max_docs`?",
            ),
            (with("/retention/keep_indexes", json!(0)), "Invalid value at `.retention.keep_indexes`: it is at least 1"),
            (
                with("/retention/keep_indexes", json!(100)),
                "Invalid value at `.retention.keep_indexes`: an alias stands for at most 100",
            ),
            (
                with("/template/primary_key", json!("")),
                "Invalid value at `.template.primary_key`: a primary key has a name",
            ),
            (with("/template/settings", json!([])), "Invalid value type at `.template.settings`: expected an object"),
            (
                with("/template/settings/filterableAttributes", json!(["_miroir_shard"])),
                "Invalid value at `.template.settings`: `_miroir_shard` is Miroir's own field",
            ),
            (
                with("/template/settings/synonyms", json!({ "a": ["b".repeat(SETTINGS_BYTES_MAX)] })),
                "Invalid value at `.template.settings`: settings have at most",
            ),
            (with("/adopt_indexes", json!(["a", "b c"])), "Invalid value at `.adopt_indexes[1]`: `b c` is not"),
            (with("/keep", json!(1)), "Unknown field `keep`: expected one of `name`, `write_alias`"),
        ];
        for (body, expected) in cases {
            let error = Proposal::parse(body.clone()).unwrap_err();
            assert!(error.body.message.starts_with(expected), "{body}: {}", error.body.message);
            assert_eq!(error.status, 400);
        }
        for field in ["name", "write_alias", "read_alias", "pattern", "triggers"] {
            let mut body = proposal();
            body.as_object_mut().unwrap().remove(field);
            let error = Proposal::parse(body).unwrap_err();
            assert!(error.is(INVALID) && error.body.message == format!("Missing field `{field}`"), "{error}");
        }
    }
}
