//! What a key may allow, by Meilisearch's names.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! actions {
    ($($variant:ident $name:literal;)*) => {
        /// One action, or a family of them (`documents.*`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($variant),* }

        impl Action {
            /// In the order in which Meilisearch lists them in its error messages.
            pub const ALL: &'static [Action] = &[$(Action::$variant),*];
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            pub const fn name(self) -> &'static str {
                match self { $(Action::$variant => $name),* }
            }
        }
    };
}

actions! {
    Everything                 "*";
    Search                     "search";
    DocumentsAll               "documents.*";
    DocumentsAdd               "documents.add";
    DocumentsGet               "documents.get";
    DocumentsDelete            "documents.delete";
    IndexesAll                 "indexes.*";
    IndexesCreate              "indexes.create";
    IndexesGet                 "indexes.get";
    IndexesUpdate              "indexes.update";
    IndexesDelete              "indexes.delete";
    IndexesSwap                "indexes.swap";
    TasksAll                   "tasks.*";
    TasksCancel                "tasks.cancel";
    TasksDelete                "tasks.delete";
    TasksGet                   "tasks.get";
    SettingsAll                "settings.*";
    SettingsGet                "settings.get";
    SettingsUpdate             "settings.update";
    StatsAll                   "stats.*";
    StatsGet                   "stats.get";
    MetricsAll                 "metrics.*";
    MetricsGet                 "metrics.get";
    DumpsAll                   "dumps.*";
    DumpsCreate                "dumps.create";
    SnapshotsAll               "snapshots.*";
    SnapshotsCreate            "snapshots.create";
    Version                    "version";
    KeysCreate                 "keys.create";
    KeysGet                    "keys.get";
    KeysUpdate                 "keys.update";
    KeysDelete                 "keys.delete";
    ExperimentalGet            "experimental.get";
    ExperimentalUpdate         "experimental.update";
    Export                     "export";
    NetworkGet                 "network.get";
    NetworkUpdate              "network.update";
    ChatCompletions            "chatCompletions";
    ChatsAll                   "chats.*";
    ChatsGet                   "chats.get";
    ChatsDelete                "chats.delete";
    ChatsSettingsAll           "chatsSettings.*";
    ChatsSettingsGet           "chatsSettings.get";
    ChatsSettingsUpdate        "chatsSettings.update";
    EverythingGet              "*.get";
    WebhooksGet                "webhooks.get";
    WebhooksUpdate             "webhooks.update";
    WebhooksDelete             "webhooks.delete";
    WebhooksCreate             "webhooks.create";
    WebhooksAll                "webhooks.*";
    IndexesCompact             "indexes.compact";
    FieldsPost                 "fields.post";
    TasksCompact               "tasks.compact";
    DynamicSearchRulesGet      "dynamicSearchRules.get";
    DynamicSearchRulesCreate   "dynamicSearchRules.create";
    DynamicSearchRulesUpdate   "dynamicSearchRules.update";
    DynamicSearchRulesDelete   "dynamicSearchRules.delete";
    DynamicSearchRulesAll      "dynamicSearchRules.*";
}

impl Action {
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }

    /// Whether a key for some indexes cannot have it, since it concerns all of them.
    pub const fn is_global(self) -> bool {
        use Action::*;
        matches!(
            self,
            TasksCompact
                | MetricsAll
                | MetricsGet
                | DumpsAll
                | DumpsCreate
                | SnapshotsAll
                | SnapshotsCreate
                | Version
                | KeysCreate
                | KeysGet
                | KeysUpdate
                | KeysDelete
                | ExperimentalGet
                | ExperimentalUpdate
                | Export
                | NetworkGet
                | NetworkUpdate
                | ChatsAll
                | ChatsGet
                | ChatsDelete
                | ChatsSettingsAll
                | ChatsSettingsGet
                | ChatsSettingsUpdate
                | WebhooksGet
                | WebhooksUpdate
                | WebhooksDelete
                | WebhooksCreate
                | WebhooksAll
                | DynamicSearchRulesGet
                | DynamicSearchRulesCreate
                | DynamicSearchRulesUpdate
                | DynamicSearchRulesDelete
                | DynamicSearchRulesAll
        )
    }

    /// Whether a key for some indexes may use it on a route that names none: the handler shows what the key may see.
    pub const fn is_filtered_by_handlers(self) -> bool {
        use Action::*;
        matches!(
            self,
            DocumentsGet
                | Search
                | IndexesCreate
                | IndexesGet
                | IndexesSwap
                | TasksCancel
                | TasksDelete
                | TasksGet
                | SettingsGet
                | StatsAll
                | StatsGet
                | ChatCompletions
        )
    }

    /// What `*.get` stands for. Keys are not among it: whoever reads them can do everything that they can.
    const READING: &'static [Action] = &[
        Action::Search,
        Action::DocumentsGet,
        Action::Export,
        Action::IndexesGet,
        Action::TasksGet,
        Action::SettingsGet,
        Action::StatsGet,
        Action::MetricsGet,
        Action::Version,
        Action::ExperimentalGet,
        Action::NetworkGet,
        Action::ChatsGet,
        Action::ChatsSettingsGet,
        Action::WebhooksGet,
        Action::FieldsPost,
        Action::DynamicSearchRulesGet,
    ];

    /// What a family stands for, as Meilisearch expands it: the members without the family itself, so that a route which asks
    /// for the family (`documents.*` for editing by a function) is open to `*` alone.
    fn members(self) -> &'static [Action] {
        use Action::*;
        match self {
            EverythingGet => Action::READING,
            DocumentsAll => &[DocumentsGet, DocumentsDelete, DocumentsAdd],
            IndexesAll => &[IndexesCreate, IndexesDelete, IndexesGet, IndexesUpdate, IndexesSwap, IndexesCompact],
            SettingsAll => &[SettingsGet, SettingsUpdate],
            DumpsAll => &[DumpsCreate],
            SnapshotsAll => &[SnapshotsCreate],
            TasksAll => &[TasksGet, TasksDelete, TasksCancel, TasksCompact],
            StatsAll => &[StatsGet],
            MetricsAll => &[MetricsGet],
            ChatsAll => &[ChatsGet, ChatsDelete],
            ChatsSettingsAll => &[ChatsSettingsGet, ChatsSettingsUpdate],
            WebhooksAll => &[WebhooksGet, WebhooksUpdate, WebhooksDelete, WebhooksCreate],
            DynamicSearchRulesAll => {
                &[DynamicSearchRulesGet, DynamicSearchRulesCreate, DynamicSearchRulesUpdate, DynamicSearchRulesDelete]
            }
            _ => &[],
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&name).ok_or_else(|| serde::de::Error::custom(format!("`{name}` is no action of an API key")))
    }
}

/// The actions that a key allows, families expanded. One bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionSet(u64);

const _: () = assert!(Action::ALL.len() <= u64::BITS as usize);

impl ActionSet {
    pub fn expand(actions: &[Action]) -> Self {
        let mut set = Self::default();
        for &action in actions {
            match action {
                Action::Everything => {
                    Action::ALL.iter().filter(|&&one| one != Action::EverythingGet).for_each(|&one| set.insert(one));
                }
                family if !family.members().is_empty() => family.members().iter().for_each(|&one| set.insert(one)),
                single => set.insert(single),
            }
        }
        set
    }

    fn insert(&mut self, action: Action) {
        self.0 |= 1 << action as u64;
    }

    pub fn contains(self, action: Action) -> bool {
        self.0 & (1 << action as u64) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for &action in Action::ALL {
            assert_eq!(Action::parse(action.name()), Some(action));
        }
        assert_eq!((Action::parse("doc.add"), Action::parse("")), (None, None));
    }

    #[test]
    fn families_are_expanded_as_meilisearch_expands_them() {
        let documents = ActionSet::expand(&[Action::DocumentsAll]);
        assert!(documents.contains(Action::DocumentsAdd) && documents.contains(Action::DocumentsGet));
        assert!(!documents.contains(Action::DocumentsAll) && !documents.contains(Action::Search));
        let reading = ActionSet::expand(&[Action::EverythingGet]);
        assert!(reading.contains(Action::Search) && reading.contains(Action::StatsGet));
        assert!(!reading.contains(Action::KeysGet) && !reading.contains(Action::DocumentsAdd));
        let everything = ActionSet::expand(&[Action::Everything]);
        assert!(Action::ALL.iter().all(|&one| everything.contains(one) || one == Action::EverythingGet));
        assert_eq!(ActionSet::expand(&[]), ActionSet::default());
    }
}
