//! Types and statuses of tasks, by Meilisearch's names.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskStatus {
    Enqueued,
    Processing,
    Succeeded,
    Failed,
    Canceled,
}

impl TaskStatus {
    /// In the order in which Meilisearch lists them in its error messages.
    pub const ALL: [TaskStatus; 5] =
        [TaskStatus::Enqueued, TaskStatus::Processing, TaskStatus::Succeeded, TaskStatus::Failed, TaskStatus::Canceled];

    pub const fn name(self) -> &'static str {
        match self {
            TaskStatus::Enqueued => "enqueued",
            TaskStatus::Processing => "processing",
            TaskStatus::Succeeded => "succeeded",
            TaskStatus::Failed => "failed",
            TaskStatus::Canceled => "canceled",
        }
    }

    /// Accepts any case, as Meilisearch does.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }

    /// True once nothing can change the status any more.
    pub const fn is_final(self) -> bool {
        !matches!(self, TaskStatus::Enqueued | TaskStatus::Processing)
    }

    /// Progress of a status: a report of a lower stage is out of date.
    pub(super) const fn stage(self) -> u8 {
        match self {
            TaskStatus::Enqueued => 0,
            TaskStatus::Processing => 1,
            TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled => 2,
        }
    }
}

macro_rules! kinds {
    ($($variant:ident $name:literal;)*) => {
        /// What a task does: Meilisearch's `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum TaskKind { $($variant),* }

        impl TaskKind {
            /// In the order in which Meilisearch lists them in its error messages.
            pub const ALL: &'static [TaskKind] = &[$(TaskKind::$variant),*];

            pub const fn name(self) -> &'static str {
                match self { $(TaskKind::$variant => $name),* }
            }
        }
    };
}

kinds! {
    DocumentAdditionOrUpdate "documentAdditionOrUpdate";
    DocumentEdition          "documentEdition";
    DocumentDeletion         "documentDeletion";
    SettingsUpdate           "settingsUpdate";
    IndexCreation            "indexCreation";
    IndexDeletion            "indexDeletion";
    IndexUpdate              "indexUpdate";
    IndexSwap                "indexSwap";
    TaskCancelation          "taskCancelation";
    TaskDeletion             "taskDeletion";
    DumpCreation             "dumpCreation";
    SnapshotCreation         "snapshotCreation";
    Export                   "export";
    UpgradeDatabase          "upgradeDatabase";
    IndexCompaction          "indexCompaction";
    NetworkTopologyChange    "networkTopologyChange";
    DsrUpdate                "dsrUpdate";
    DsrClear                 "dsrClear";
}

impl TaskKind {
    /// What tasks of this kind name as their index although it is none: Meilisearch's own, which nobody can ask for.
    pub const fn hidden_index(self) -> Option<&'static str> {
        match self {
            TaskKind::DsrUpdate | TaskKind::DsrClear => Some(".meili_dsr"),
            _ => None,
        }
    }

    /// Accepts any case, as Meilisearch does.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
}

macro_rules! as_its_name {
    ($type:ident, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let name = std::borrow::Cow::<str>::deserialize(deserializer)?;
                $type::parse(&name)
                    .ok_or_else(|| serde::de::Error::custom(format!(concat!("`{}` is not a ", $what), name)))
            }
        }
    };
}

as_its_name!(TaskStatus, "task status");
as_its_name!(TaskKind, "task type");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_in_any_case() {
        for &kind in TaskKind::ALL {
            assert_eq!(TaskKind::parse(kind.name()), Some(kind));
            assert_eq!(TaskKind::parse(&kind.name().to_uppercase()), Some(kind));
        }
        for status in TaskStatus::ALL {
            assert_eq!(TaskStatus::parse(status.name()), Some(status));
        }
        assert_eq!(TaskKind::parse("documentAddition"), None);
        assert_eq!(TaskStatus::parse("done"), None);
    }
}
