//! `/_miroir/aliases`: names that stand for indexes.

use serde::Deserialize;
use serde_json::{json, Value};
use tokio::time::Instant;

use crate::api::{delete_index, whole_body, Answer, Body, Request, Verb};
use crate::app::App;
use crate::cluster::{refuse_to_operators, Alias, AliasAction, AliasKind, IndexUid};
use crate::error::{ApiError, Code};

/// Actions of one request.
const ACTIONS_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasRoute {
    All(Verb),
    One(IndexUid, Verb),
    Actions,
}

impl AliasRoute {
    /// `segments` come after `aliases`.
    pub fn recognise(segments: &[&str], verb: Verb) -> Option<Self> {
        match (segments, verb) {
            ([], Verb::Get | Verb::Post) => Some(AliasRoute::All(verb)),
            (["actions"], Verb::Post) => Some(AliasRoute::Actions),
            ([name], Verb::Get | Verb::Put | Verb::Delete) => Some(AliasRoute::One(IndexUid::parse(name).ok()?, verb)),
            _ => None,
        }
    }

    pub fn writes(&self) -> bool {
        !matches!(self, AliasRoute::All(Verb::Get) | AliasRoute::One(_, Verb::Get))
    }

    pub fn template(&self) -> &'static str {
        match self {
            AliasRoute::All(_) => "/_miroir/aliases",
            AliasRoute::One(..) => "/_miroir/aliases/{name}",
            AliasRoute::Actions => "/_miroir/aliases/actions",
        }
    }
}

pub async fn answer(
    app: &App,
    route: &AliasRoute,
    request: &Request<'_>,
    body: &mut dyn Body,
) -> Result<Answer, ApiError> {
    if route.writes() && !app.config.aliases.enabled {
        return Err(ApiError::new(
            Code::MiroirNotSupported,
            "Aliases are off in the configuration (`aliases.enabled`).",
        ));
    }
    match route {
        AliasRoute::All(Verb::Get) => {
            let snapshot = app.cluster.snapshot();
            Ok(Answer::json(200, &json!({ "aliases": snapshot.aliases().values().collect::<Vec<&Alias>>() })))
        }
        AliasRoute::All(_) => {
            let New { name, meaning } = parse(&whole_body(body).await?)?;
            let name = IndexUid::parse(&name)?;
            if app.cluster.snapshot().alias(&name).is_some() {
                let message = format!("Alias `{name}` exists; change it with PUT.");
                return Err(ApiError::new(Code::MiroirAliasConflict, message));
            }
            change(app, &[meaning.action(&name)?]).await?;
            Ok(Answer { status: 201, ..one(app, &name)? })
        }
        AliasRoute::One(name, Verb::Get) => one(app, name),
        AliasRoute::One(name, Verb::Delete) => {
            let gone = one(app, name)?;
            change(app, &[AliasAction::Delete { name: name.clone() }]).await?;
            Ok(gone)
        }
        AliasRoute::One(name, _) => {
            let meaning: Meaning = parse(&whole_body(body).await?)?;
            let is_new = app.cluster.snapshot().alias(name).is_none();
            change(app, &[meaning.action(name)?]).await?;
            Ok(Answer { status: if is_new { 201 } else { 200 }, ..one(app, name)? })
        }
        AliasRoute::Actions => actions(app, request, &whole_body(body).await?).await,
    }
}

fn one(app: &App, name: &IndexUid) -> Result<Answer, ApiError> {
    let snapshot = app.cluster.snapshot();
    match snapshot.alias(name) {
        Some(alias) => Ok(Answer::json(200, alias)),
        None => Err(ApiError::new(Code::MiroirAliasNotFound, format!("Alias `{name}` not found."))),
    }
}

async fn change(app: &App, actions: &[AliasAction]) -> Result<u64, ApiError> {
    let policies = app.rollovers.hold().await;
    let check = |before: &_, after: &_| {
        refuse_to_operators(before, after, |name| policies.owner(name).map(|policy| policy.to_string()))
    };
    let history_max = app.config.aliases.history;
    let changed = app.catalog.change_aliases(app.store.as_ref(), actions, history_max, check, Vec::new()).await;
    let outcome = if changed.is_ok() { "changed" } else { "refused" };
    app.metrics.alias_changes.with_label_values(&[outcome]).inc();
    changed
}

/// What an alias is to stand for: `target`, one index, or `targets`, several that are searched as one. Those are understood, to be
/// refused for what they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Meaning {
    target: Option<String>,
    targets: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct New {
    name: String,
    #[serde(flatten)]
    meaning: Meaning,
}

impl Meaning {
    fn action(&self, name: &IndexUid) -> Result<AliasAction, ApiError> {
        let (kind, targets) = match (&self.target, &self.targets) {
            (Some(target), None) => (AliasKind::Single, std::slice::from_ref(target)),
            (None, Some(targets)) if !targets.is_empty() => (AliasKind::Multi, targets.as_slice()),
            _ => {
                return Err(invalid("An alias has either a `target`, one index, or `targets`, a list of at least one."))
            }
        };
        let targets: Result<Vec<IndexUid>, ApiError> = targets.iter().map(|target| IndexUid::parse(target)).collect();
        Ok(AliasAction::Set { name: name.clone(), kind, targets: targets? })
    }
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(Code::MiroirInvalidAlias, message)
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => invalid(format!("The change of aliases cannot be read: {error}.")),
        _ => ApiError::malformed_json(&error),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Actions {
    actions: Vec<Action>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Action {
    Add { alias: String, index: String },
    Remove { alias: String, index: String },
    RemoveIndex { index: String },
}

/// All of the aliases' changes in one moment. Indexes are deleted after it, once no request goes by the old meaning any more.
async fn actions(app: &App, request: &Request<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let Actions { actions } = parse(body)?;
    if actions.len() > ACTIONS_MAX {
        return Err(invalid(format!("At most {ACTIONS_MAX} actions are taken at once.")));
    }
    let mut removed = Vec::new();
    let parsed = actions.iter().map(|action| {
        Ok(match action {
            Action::Add { alias, index } => {
                AliasAction::Add { name: IndexUid::parse(alias)?, index: IndexUid::parse(index)? }
            }
            Action::Remove { alias, index } => {
                AliasAction::Remove { name: IndexUid::parse(alias)?, index: IndexUid::parse(index)? }
            }
            Action::RemoveIndex { index } => {
                let index = IndexUid::parse(index)?;
                removed.push(index.clone());
                AliasAction::RemoveIndex { index }
            }
        })
    });
    let parsed: Result<Vec<AliasAction>, ApiError> = parsed.collect();
    let epoch = change(app, &parsed?).await?;
    if !removed.is_empty() {
        app.leave_behind(epoch, Instant::now() + app.request_timeout()).await;
    }
    let mut tasks: Vec<Value> = Vec::new();
    for index in &removed {
        let deleted = delete_index(app, index, &Request { keyed: None, ..*request }).await?;
        tasks.push(serde_json::from_slice(&deleted.body).unwrap_or_default());
    }
    Ok(Answer::json(200, &json!({ "acknowledged": true, "tasks": tasks })))
}
