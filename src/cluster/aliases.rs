//! Aliases: names that stand for indexes. Plain tables and how they change; who keeps them is not known here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::IndexUid;

/// Indexes that one alias may stand for at once.
pub const TARGETS_MAX: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AliasKind {
    /// For one index, read and written.
    Single,
    /// For several, searched as one and not written.
    Multi,
}

/// What an alias stood for before it was flipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flip {
    pub version: u64,
    pub targets: Vec<IndexUid>,
    /// When it was flipped away from these.
    #[serde(with = "time::serde::rfc3339")]
    pub flipped_at: OffsetDateTime,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alias {
    pub name: IndexUid,
    pub kind: AliasKind,
    /// Names of indexes, at least one; exactly one of a single-target alias.
    pub targets: Vec<IndexUid>,
    /// Counts flips, from 1.
    pub version: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// The last flips, newest first.
    pub history: Vec<Flip>,
}

/// All aliases, by name.
pub type AliasTable = BTreeMap<IndexUid, Alias>;

/// One change. Several are made at once or not at all; only what they come to counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AliasAction {
    /// From now on the alias stands for these.
    Set {
        name: IndexUid,
        kind: AliasKind,
        targets: Vec<IndexUid>,
    },
    Add {
        name: IndexUid,
        index: IndexUid,
    },
    /// An alias without targets is gone.
    Remove {
        name: IndexUid,
        index: IndexUid,
    },
    Delete {
        name: IndexUid,
    },
    /// The index will be deleted: no alias may stand for it any more.
    RemoveIndex {
        index: IndexUid,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    #[error("Alias `{0}` not found.")]
    NotFound(IndexUid),
    #[error("Alias `{name}` does not stand for index `{index}`.")]
    NotATarget { name: IndexUid, index: IndexUid },
    #[error("Index `{0}` not found.")]
    NoSuchIndex(IndexUid),
    #[error("Alias `{0}` cannot be made: an index has that name.")]
    ShadowsIndex(IndexUid),
    #[error("Alias `{name}` would stand for {count} indexes; an alias that can be written stands for one.")]
    SeveralTargets { name: IndexUid, count: usize },
    #[error("Alias `{0}` would stand for more than {TARGETS_MAX} indexes.")]
    TooManyTargets(IndexUid),
    #[error("Index `{index}` cannot be deleted or renamed: alias `{name}` stands for it.")]
    StillTargeted { name: IndexUid, index: IndexUid },
    #[error(
        "Alias `{0}` is, or would be, one for several indexes; those are made and changed by rollover policies alone."
    )]
    OfSeveral(IndexUid),
    #[error("Alias `{name}` belongs to rollover policy `{policy}`, which alone changes it; delete the policy first.")]
    Managed { name: IndexUid, policy: String },
}

/// The table after all of `actions`. `history_max` flips are remembered of each alias.
pub fn change_aliases(
    table: &AliasTable,
    actions: &[AliasAction],
    is_index: impl Fn(&IndexUid) -> bool,
    history_max: usize,
    now: OffsetDateTime,
) -> Result<AliasTable, AliasError> {
    let mut targets: BTreeMap<IndexUid, (AliasKind, Vec<IndexUid>)> =
        table.values().map(|alias| (alias.name.clone(), (alias.kind, alias.targets.clone()))).collect();
    let mut removed = Vec::new();
    for action in actions {
        match action {
            AliasAction::Set { name, kind, targets: wanted } => {
                let mut distinct: Vec<IndexUid> = Vec::with_capacity(wanted.len());
                for index in wanted {
                    if !distinct.contains(index) {
                        distinct.push(index.clone());
                    }
                }
                targets.insert(name.clone(), (*kind, distinct));
            }
            AliasAction::Add { name, index } => {
                let (_, of_alias) = targets.entry(name.clone()).or_insert((AliasKind::Single, Vec::new()));
                if !of_alias.contains(index) {
                    of_alias.push(index.clone());
                }
            }
            AliasAction::Remove { name, index } => {
                let Some((_, of_alias)) = targets.get_mut(name) else { return Err(AliasError::NotFound(name.clone())) };
                let Some(at) = of_alias.iter().position(|target| target == index) else {
                    return Err(AliasError::NotATarget { name: name.clone(), index: index.clone() });
                };
                of_alias.remove(at);
            }
            AliasAction::Delete { name } => {
                targets.remove(name).ok_or_else(|| AliasError::NotFound(name.clone()))?;
            }
            AliasAction::RemoveIndex { index } => removed.push(index),
        }
    }
    targets.retain(|_, (_, targets)| !targets.is_empty());
    if let Some(index) = removed.iter().find(|index| !is_index(index)) {
        return Err(AliasError::NoSuchIndex((*index).clone()));
    }
    let mut changed = AliasTable::new();
    for (name, (kind, targets)) in targets {
        let before = table.get(&name);
        if let Some(alias) = before.filter(|alias| alias.kind == kind && alias.targets == targets) {
            if let Some(index) = targets.iter().find(|target| removed.contains(target)) {
                return Err(AliasError::StillTargeted { name, index: index.clone() });
            }
            changed.insert(name, alias.clone());
            continue;
        }
        if is_index(&name) {
            return Err(AliasError::ShadowsIndex(name));
        }
        if kind == AliasKind::Single && targets.len() > 1 {
            return Err(AliasError::SeveralTargets { name, count: targets.len() });
        }
        if targets.len() > TARGETS_MAX {
            return Err(AliasError::TooManyTargets(name));
        }
        for target in &targets {
            if !is_index(target) {
                return Err(AliasError::NoSuchIndex(target.clone()));
            }
            if removed.contains(&target) {
                return Err(AliasError::StillTargeted { name, index: target.clone() });
            }
        }
        let alias = flipped(before, name.clone(), kind, targets, history_max, now);
        changed.insert(name, alias);
    }
    Ok(changed)
}

/// What an operator may not make of the aliases: one for several indexes, which is a rollover policy's work, nor anything of one
/// that belongs to a policy. An alias for several that is nobody's may be deleted.
pub fn refuse_to_operators(
    before: &AliasTable,
    after: &AliasTable,
    owner: impl Fn(&IndexUid) -> Option<String>,
) -> Result<(), AliasError> {
    let names = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
    for name in names {
        if let Some(policy) = owner(name) {
            return Err(AliasError::Managed { name: name.clone(), policy });
        }
        let is_of_several = |alias: Option<&Alias>| alias.is_some_and(|alias| alias.kind == AliasKind::Multi);
        let after = after.get(name);
        if is_of_several(after) || after.is_some() && is_of_several(before.get(name)) {
            return Err(AliasError::OfSeveral(name.clone()));
        }
    }
    Ok(())
}

fn flipped(
    before: Option<&Alias>,
    name: IndexUid,
    kind: AliasKind,
    targets: Vec<IndexUid>,
    history_max: usize,
    now: OffsetDateTime,
) -> Alias {
    let Some(before) = before else {
        return Alias { name, kind, targets, version: 1, created_at: now, updated_at: now, history: Vec::new() };
    };
    let flip = Flip { version: before.version, targets: before.targets.clone(), flipped_at: now };
    let mut history = vec![flip];
    history.extend(before.history.iter().cloned());
    history.truncate(history_max);
    Alias { name, kind, targets, version: before.version + 1, created_at: before.created_at, updated_at: now, history }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn uid(name: &str) -> IndexUid {
        IndexUid::parse(name).unwrap()
    }

    fn set(name: &str, targets: &[&str]) -> AliasAction {
        let kind = if targets.len() == 1 { AliasKind::Single } else { AliasKind::Multi };
        AliasAction::Set { name: uid(name), kind, targets: targets.iter().map(|target| uid(target)).collect() }
    }

    fn add(name: &str, index: &str) -> AliasAction {
        AliasAction::Add { name: uid(name), index: uid(index) }
    }

    fn remove(name: &str, index: &str) -> AliasAction {
        AliasAction::Remove { name: uid(name), index: uid(index) }
    }

    fn change(table: &AliasTable, actions: &[AliasAction]) -> Result<AliasTable, AliasError> {
        change_aliases(table, actions, |index| index.as_str().starts_with("idx"), 2, NOW)
    }

    #[test]
    fn a_flip_is_counted_and_the_last_ones_are_remembered() {
        let mut table = AliasTable::new();
        for index in ["idx1", "idx2", "idx3", "idx4"] {
            table = change(&table, &[set("a", &[index])]).unwrap();
        }
        let alias = &table[&uid("a")];
        assert_eq!((alias.version, &alias.targets), (4, &vec![uid("idx4")]));
        let remembered: Vec<(u64, &str)> =
            alias.history.iter().map(|flip| (flip.version, flip.targets[0].as_str())).collect();
        assert_eq!(remembered, [(3, "idx3"), (2, "idx2")]);
        let same = change(&table, &[set("a", &["idx4"])]).unwrap();
        assert_eq!(same, table, "what is so already is no flip");
    }

    #[test]
    fn several_actions_count_for_what_they_come_to() {
        let table = change(&AliasTable::new(), &[add("a", "idx1"), add("b", "idx1")]).unwrap();
        let moved = change(&table, &[add("a", "idx2"), remove("a", "idx1"), remove("b", "idx1")]).unwrap();
        assert_eq!(moved.keys().collect::<Vec<_>>(), [&uid("a")]);
        assert_eq!((moved[&uid("a")].targets.clone(), moved[&uid("a")].version), (vec![uid("idx2")], 2));
        let deleting = AliasAction::RemoveIndex { index: uid("idx1") };
        assert!(change(&moved, std::slice::from_ref(&deleting)).is_ok());
        let name = uid("a");
        assert_eq!(change(&table, &[deleting]).unwrap_err(), AliasError::StillTargeted { name, index: uid("idx1") });
    }

    #[test]
    fn operators_neither_make_nor_change_aliases_for_several_indexes_nor_those_of_policies() {
        let table =
            change(&AliasTable::new(), &[set("a", &["idx1"]), set("m", &["idx1", "idx2"]), set("own", &["idx1"])]);
        let table = table.unwrap();
        let tried = |action: AliasAction| {
            let after = change(&table, &[action]).unwrap();
            refuse_to_operators(&table, &after, |name| (name.as_str() == "own").then(|| "p".to_owned()))
        };
        let of_several = |name: &str| Err(AliasError::OfSeveral(uid(name)));
        assert_eq!(tried(set("new", &["idx1", "idx2"])), of_several("new"));
        assert_eq!(tried(set("a", &["idx1", "idx2"])), of_several("a"));
        assert_eq!(tried(add("m", "idx3")), of_several("m"));
        assert_eq!(tried(remove("m", "idx1")), of_several("m"));
        assert_eq!(tried(set("m", &["idx1"])), of_several("m"));
        assert_eq!(tried(AliasAction::Delete { name: uid("m") }), Ok(()));
        let managed = Err(AliasError::Managed { name: uid("own"), policy: "p".to_owned() });
        assert_eq!(tried(set("own", &["idx2"])), managed);
        assert_eq!(tried(AliasAction::Delete { name: uid("own") }), managed);
        for allowed in
            [set("a", &["idx2"]), set("b", &["idx1"]), AliasAction::Delete { name: uid("a") }, set("own", &["idx1"])]
        {
            assert_eq!(tried(allowed.clone()), Ok(()), "{allowed:?}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_whole() {
        let table = change(&AliasTable::new(), &[set("a", &["idx1"]), set("m", &["idx1", "idx2"])]).unwrap();
        let refused = |actions: &[AliasAction]| change(&table, actions).unwrap_err();
        assert_eq!(refused(&[set("a", &["none"])]), AliasError::NoSuchIndex(uid("none")));
        assert_eq!(refused(&[set("idx3", &["idx1"])]), AliasError::ShadowsIndex(uid("idx3")));
        assert_eq!(refused(&[add("a", "idx2")]), AliasError::SeveralTargets { name: uid("a"), count: 2 });
        assert_eq!(refused(&[remove("x", "idx1")]), AliasError::NotFound(uid("x")));
        assert_eq!(refused(&[AliasAction::Delete { name: uid("x") }]), AliasError::NotFound(uid("x")));
        assert_eq!(refused(&[remove("a", "idx2")]), AliasError::NotATarget { name: uid("a"), index: uid("idx2") });
        assert_eq!(change(&table, &[add("m", "idx3")]).unwrap()[&uid("m")].targets.len(), 3);
        // The target of an alias is never an alias.
        assert_eq!(refused(&[set("b", &["a"])]), AliasError::NoSuchIndex(uid("a")));
    }
}
