//! All policies: in memory for who goes by them, in the store first, and in one commit with the aliases that they change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard as SyncMutexGuard, PoisonError};

use anyhow::Context;
use arc_swap::ArcSwap;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::{watch, Mutex, MutexGuard};

use super::{Policy, PolicyName, Progress};
use crate::app::App;
use crate::cluster::{Alias, AliasAction, AliasKind, IndexUid, Snapshot, TARGETS_MAX};
use crate::error::{ApiError, Code};
use crate::store::{Change, Store};

/// Policies that there may be: each is looked at in every check.
pub const POLICIES_MAX: usize = 100;

/// What policies say, and where they stand: two values, so that the second, which changes often, stays small.
const POLICIES: &str = "rollover_policies";
const PROGRESS: &str = "rollover_progress";

/// A policy, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Rolling {
    pub policy: Policy,
    pub progress: Progress,
}

pub type RolloverTable = BTreeMap<PolicyName, Rolling>;

/// What keeps a policy from going on. Found again by the next check, so it is in no store.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub message: String,
    pub at: OffsetDateTime,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("Rollover policy `{0}` not found.")]
    NotFound(PolicyName),
    #[error("There are {POLICIES_MAX} rollover policies already; no more can be kept.")]
    TooMany,
    #[error("Invalid value at `.{field}`: {why}")]
    Invalid { field: &'static str, why: String },
    #[error("Alias `{alias}` cannot be `{name}`'s: {why}")]
    AliasTaken { name: PolicyName, alias: IndexUid, why: String },
    #[error(transparent)]
    Other(#[from] ApiError),
}

impl From<PolicyError> for ApiError {
    fn from(error: PolicyError) -> Self {
        let code = match &error {
            PolicyError::NotFound(_) => Code::MiroirRolloverPolicyNotFound,
            PolicyError::TooMany | PolicyError::Invalid { .. } => Code::MiroirInvalidRolloverPolicy,
            PolicyError::AliasTaken { .. } => Code::MiroirAliasConflict,
            PolicyError::Other(_) => Code::Internal,
        };
        match error {
            PolicyError::Other(error) => error,
            error => ApiError::new(code, error.to_string()),
        }
    }
}

pub struct Rollovers {
    table: ArcSwap<RolloverTable>,
    /// Held by whoever changes policies, where they stand, or any alias, from looking at them until the change is seen.
    turn: Mutex<()>,
    troubles: SyncMutex<BTreeMap<PolicyName, Trouble>>,
    /// Changes whenever a policy has come or been replaced.
    posted: watch::Sender<()>,
    /// Changes whenever some policy has got on, or cannot.
    progressed: watch::Sender<()>,
}

impl Rollovers {
    pub async fn open(store: &dyn Store) -> anyhow::Result<Self> {
        let unreadable = || "the rollover policies in the store cannot be read";
        let policies = store.configuration(POLICIES).await?.unwrap_or_else(|| json!([]));
        let progress = store.configuration(PROGRESS).await?.unwrap_or_else(|| json!({}));
        let policies: Vec<Policy> = serde_json::from_value(policies).with_context(unreadable)?;
        let mut progress: BTreeMap<PolicyName, Progress> = serde_json::from_value(progress).with_context(unreadable)?;
        let table = policies.into_iter().map(|policy| {
            let progress = progress.remove(&policy.name).unwrap_or_default();
            (policy.name.clone(), Rolling { policy, progress })
        });
        Ok(Self {
            table: ArcSwap::from_pointee(table.collect()),
            turn: Mutex::default(),
            troubles: SyncMutex::default(),
            posted: watch::Sender::new(()),
            progressed: watch::Sender::new(()),
        })
    }

    pub fn all(&self) -> Arc<RolloverTable> {
        self.table.load_full()
    }

    pub fn find(&self, name: &PolicyName) -> Result<Rolling, PolicyError> {
        self.table.load().get(name).cloned().ok_or_else(|| PolicyError::NotFound(name.clone()))
    }

    /// The policy that `alias` belongs to, whether there is such an alias yet or not.
    pub fn owner(&self, alias: &IndexUid) -> Option<PolicyName> {
        let table = self.table.load();
        let owner = table.values().find(|rolling| rolling.policy.owns(alias));
        owner.map(|rolling| rolling.policy.name.clone())
    }

    pub fn posted(&self) -> watch::Receiver<()> {
        self.posted.subscribe()
    }

    pub fn progressed(&self) -> watch::Receiver<()> {
        self.progressed.subscribe()
    }

    fn troubles(&self) -> SyncMutexGuard<'_, BTreeMap<PolicyName, Trouble>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn trouble(&self, name: &PolicyName) -> Option<Trouble> {
        self.troubles().get(name).cloned()
    }

    /// Keeps what is wrong with a policy, or that nothing is.
    pub fn set_trouble(&self, name: &PolicyName, message: Option<String>) {
        match message {
            Some(message) => {
                let trouble = Trouble { message, at: OffsetDateTime::now_utc() };
                self.troubles().insert(name.clone(), trouble);
                self.progressed.send_replace(());
            }
            None => drop(self.troubles().remove(name)),
        }
    }

    /// Waits until nobody else changes policies or aliases, and keeps them from it.
    pub async fn hold(&self) -> Holding<'_> {
        Holding { rollovers: self, _turn: self.turn.lock().await }
    }
}

/// While this lives, policies and aliases are changed by its holder alone.
pub struct Holding<'a> {
    rollovers: &'a Rollovers,
    _turn: MutexGuard<'a, ()>,
}

impl Holding<'_> {
    pub fn owner(&self, alias: &IndexUid) -> Option<PolicyName> {
        self.rollovers.owner(alias)
    }

    /// Creates or replaces a policy, and says whether it is new. `adopted` are indexes that are there already, the oldest first: the
    /// series of a new policy begins with them, and its aliases stand for them at once.
    ///
    /// What a policy that is replaced has begun goes on, by its new word.
    pub async fn put(&self, app: &App, policy: Policy, adopted: &[IndexUid]) -> Result<bool, PolicyError> {
        let table = self.rollovers.all();
        let snapshot = app.cluster.snapshot();
        let others = || table.values().map(|rolling| &rolling.policy).filter(|other| other.name != policy.name);
        if let Some(other) = others().find(|other| other.pattern.overlaps(&policy.pattern)) {
            let why = format!("an index of this name could be one of policy `{}`, too", other.name);
            return Err(PolicyError::Invalid { field: "pattern", why });
        }
        let before = table.get(&policy.name);
        let mut actions = Vec::new();
        match before {
            Some(before) => refuse_other_series(&before.policy, &policy, adopted)?,
            None if table.len() >= POLICIES_MAX => return Err(PolicyError::TooMany),
            None => {
                refuse_taken_aliases(&snapshot, others(), &policy, adopted)?;
                refuse_taken_indexes(&snapshot, others(), adopted)?;
                actions = aliases_of(&policy, adopted);
            }
        }
        let is_new = before.is_none();
        let mut after = RolloverTable::clone(&table);
        let progress = before.map(|before| before.progress.clone()).unwrap_or_default();
        let name = policy.name.clone();
        after.insert(name.clone(), Rolling { policy, progress });
        self.commit(app, after, true, &actions).await?;
        // What was wrong may have been mended.
        self.rollovers.set_trouble(&name, None);
        self.rollovers.posted.send_replace(());
        Ok(is_new)
    }

    /// Deletes a policy. Its indexes and aliases stay; what it has begun is left as it is.
    pub async fn delete(&self, app: &App, name: &PolicyName) -> Result<(), PolicyError> {
        let mut table = RolloverTable::clone(&self.rollovers.all());
        table.remove(name).ok_or_else(|| PolicyError::NotFound(name.clone()))?;
        self.commit(app, table, true, &[]).await?;
        self.rollovers.set_trouble(name, None);
        Ok(())
    }

    /// A policy gets on from `before` to `after`, and aliases change with it, in one commit. `false`, and nothing is done, if the policy
    /// is gone or has got on without us.
    pub async fn advance(
        &self,
        app: &App,
        name: &PolicyName,
        before: &Progress,
        after: Progress,
        actions: &[AliasAction],
    ) -> Result<bool, ApiError> {
        let mut table = RolloverTable::clone(&self.rollovers.all());
        match table.get_mut(name) {
            Some(rolling) if rolling.progress == *before => rolling.progress = after,
            _ => return Ok(false),
        }
        self.commit(app, table, false, actions).await?;
        Ok(true)
    }

    async fn commit(
        &self,
        app: &App,
        after: RolloverTable,
        are_policies_changed: bool,
        actions: &[AliasAction],
    ) -> Result<(), ApiError> {
        let put = |name: &str, value| Change::PutConfiguration { name: name.to_owned(), value };
        let progress: BTreeMap<_, _> = after.iter().map(|(name, rolling)| (name, &rolling.progress)).collect();
        let mut changes = vec![put(PROGRESS, json!(progress))];
        if are_policies_changed {
            let policies: Vec<&Policy> = after.values().map(|rolling| &rolling.policy).collect();
            changes.push(put(POLICIES, json!(policies)));
        }
        let history_max = app.config.aliases.history;
        app.catalog.change_aliases(app.store.as_ref(), actions, history_max, |_, _| Ok(()), changes).await?;
        app.metrics.rollover_policies.set(after.len() as i64);
        self.rollovers.table.store(Arc::new(after));
        self.rollovers.progressed.send_replace(());
        Ok(())
    }
}

/// The aliases of a series of these indexes, the oldest first.
pub fn aliases_of(policy: &Policy, series: &[IndexUid]) -> Vec<AliasAction> {
    let Some(newest) = series.last().cloned() else { return Vec::new() };
    let (write, read) = (policy.write_alias.clone(), policy.read_alias.clone());
    vec![
        AliasAction::Set { name: write, kind: AliasKind::Single, targets: vec![newest] },
        AliasAction::Set { name: read, kind: AliasKind::Multi, targets: series.to_vec() },
    ]
}

/// A policy that is replaced keeps its series.
fn refuse_other_series(before: &Policy, policy: &Policy, adopted: &[IndexUid]) -> Result<(), PolicyError> {
    let invalid = |field, why: String| Err(PolicyError::Invalid { field, why });
    let fixed = |alias: &IndexUid| format!("it is `{alias}` for as long as the policy exists");
    if before.write_alias != policy.write_alias {
        return invalid("write_alias", fixed(&before.write_alias));
    }
    if before.read_alias != policy.read_alias {
        return invalid("read_alias", fixed(&before.read_alias));
    }
    if !adopted.is_empty() {
        return invalid("adopt_indexes", "a policy that exists has its series already".to_owned());
    }
    Ok(())
}

/// Aliases of a new policy are nobody's, or stand for exactly those indexes that it adopts.
fn refuse_taken_aliases<'a>(
    snapshot: &Snapshot,
    others: impl Iterator<Item = &'a Policy> + Clone,
    policy: &Policy,
    adopted: &[IndexUid],
) -> Result<(), PolicyError> {
    let newest = adopted.last().map_or(&[][..], std::slice::from_ref);
    for (alias, expected) in [(&policy.write_alias, newest), (&policy.read_alias, adopted)] {
        let taken = |why: String| PolicyError::AliasTaken { name: policy.name.clone(), alias: alias.clone(), why };
        if let Some(other) = others.clone().find(|other| other.owns(alias)) {
            return Err(taken(format!("it is policy `{}`'s", other.name)));
        }
        if snapshot.index(alias).is_some() || snapshot.index_for_writes(alias).is_some() {
            return Err(taken("an index has that name".to_owned()));
        }
        if let Some(there) = snapshot.alias(alias).filter(|there| there.targets != expected) {
            return Err(taken(why_not_taken_over(there)));
        }
    }
    Ok(())
}

fn why_not_taken_over(alias: &Alias) -> String {
    let targets: Vec<String> = alias.targets.iter().map(|target| format!("`{target}`")).collect();
    format!(
        "it stands for {}. Delete it, or name these in `adopt_indexes` (as the last, if it is the write alias) for the policy to go on \
         from there",
        targets.join(", ")
    )
}

/// An index is in one series only, or one policy would delete what is another's.
fn refuse_taken_indexes<'a>(
    snapshot: &Snapshot,
    mut others: impl Iterator<Item = &'a Policy>,
    adopted: &[IndexUid],
) -> Result<(), PolicyError> {
    let invalid = |why: String| Err(PolicyError::Invalid { field: "adopt_indexes", why });
    // The next index needs a place, too.
    if adopted.len() >= TARGETS_MAX {
        return invalid(format!("a series begins with fewer than {TARGETS_MAX} indexes"));
    }
    if let Some(twice) = adopted.iter().enumerate().find(|(n, index)| adopted[..*n].contains(index)) {
        return invalid(format!("`{}` stands in it twice", twice.1));
    }
    let is_in = |policy: &Policy| snapshot.stands_for(&policy.read_alias).iter().any(|index| adopted.contains(index));
    match others.find(|other| is_in(other)) {
        Some(other) => invalid(format!("policy `{}` has some of these indexes already", other.name)),
        None => Ok(()),
    }
}
