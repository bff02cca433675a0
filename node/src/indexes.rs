//! The indexes of this node: which exist, under which directory, and their open LMDB environments.
//!
//! A directory is named by a random id and never by the index, so that renaming and swapping touch names alone and a
//! deleted index can go on being read by the search that has it open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use milli_core::heed::EnvOpenOptions;
use milli_core::Index;

use crate::error::{Code, ResponseError};
use crate::queue::NameChanges;

/// The address space that each index reserves, in bytes. It costs no memory, only bounds how far the index can grow.
const INDEX_MAP_BYTES: usize = 200 * 1024 * 1024 * 1024;

/// Read transactions that one index can have open: searches, and pages of documents.
const READERS_MAX: u32 = 1024;

/// Indexes of one node: each has its address space, and 47 bits of addresses have room for 655 of them.
const INDEXES_MAX: usize = 500;

/// The longest name of an index, in bytes.
const UID_BYTES_MAX: usize = 400;

/// Refuses what cannot be the name of an index.
pub fn check_uid(uid: &str) -> Result<(), ResponseError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !uid.is_empty() && uid.len() <= UID_BYTES_MAX && uid.chars().all(is_allowed) {
        return Ok(());
    }
    Err(ResponseError::new(Code::InvalidIndexUid, uid_refusal(uid)))
}

/// Why a name cannot be that of an index, in Meilisearch's words (which say 512 and mean 400).
pub fn uid_refusal(uid: &str) -> String {
    format!(
        "`{uid}` is not a valid index uid. Index uid can be an integer or a string containing only alphanumeric \
         characters, hyphens (-) and underscores (_), and can not be more than 512 bytes."
    )
}

/// The indexes, by name. Cheap to clone.
#[derive(Clone)]
pub struct Indexes {
    root: Arc<Path>,
    by_uid: Arc<RwLock<BTreeMap<String, Arc<Entry>>>>,
}

struct Entry {
    directory: String,
    /// Opened by whoever needs it first.
    index: Mutex<Option<Index>>,
}

/// An index and the name of its directory.
pub struct Opened {
    pub directory: String,
    pub index: Index,
}

impl Indexes {
    /// The indexes that `names` lists as (uid, directory), in directories below `root`.
    pub fn new(root: &Path, names: Vec<(String, String)>) -> Self {
        let by_uid = names.into_iter().map(|(uid, directory)| (uid, Entry::closed(directory)));
        Self { root: root.into(), by_uid: Arc::new(RwLock::new(by_uid.collect())) }
    }

    /// The index of that name, ready to be read.
    pub fn get(&self, uid: &str) -> Result<Index, ResponseError> {
        self.open(uid).map(|opened| opened.index)
    }

    pub fn open(&self, uid: &str) -> Result<Opened, ResponseError> {
        let entry = self.read().get(uid).cloned();
        let entry = entry.ok_or_else(|| ResponseError::index_not_found(uid))?;
        let mut index = entry.index.lock().unwrap_or_else(PoisonError::into_inner);
        let index = match &*index {
            Some(index) => index.clone(),
            None => index.insert(self.open_directory(&entry.directory)?).clone(),
        };
        Ok(Opened { directory: entry.directory.clone(), index })
    }

    /// The directory of that name holds an index: opens it.
    pub fn open_directory(&self, directory: &str) -> Result<Index, ResponseError> {
        self.open_environment(directory, false)
    }

    /// Makes an index that has no name yet; [`Indexes::apply`] gives it one.
    pub fn create(&self) -> Result<Opened, ResponseError> {
        if self.read().len() >= INDEXES_MAX {
            return Err(ResponseError::new(
                Code::IndexCreationFailed,
                format!("This node cannot hold more than {INDEXES_MAX} indexes. Delete one first."),
            ));
        }
        let directory = uuid::Uuid::new_v4().to_string();
        std::fs::create_dir_all(self.root.join(&directory))?;
        std::fs::File::open(&self.root)?.sync_all()?;
        let index = self.open_environment(&directory, true)?;
        Ok(Opened { directory, index })
    }

    /// Makes true what the store already knows: names come and go, directories without a name are deleted. `fresh` is
    /// an index that has just been created, so that it need not be opened twice (which LMDB forbids).
    pub fn apply(&self, changes: &NameChanges, fresh: Option<Opened>) {
        let mut by_uid = self.by_uid.write().unwrap_or_else(PoisonError::into_inner);
        let mut known: BTreeMap<String, Arc<Entry>> =
            by_uid.values().map(|entry| (entry.directory.clone(), Arc::clone(entry))).collect();
        if let Some(Opened { directory, index }) = fresh {
            let entry = Entry { directory: directory.clone(), index: Mutex::new(Some(index)) };
            known.insert(directory, Arc::new(entry));
        }
        let gone: Vec<_> = changes.removed.iter().filter_map(|uid| by_uid.remove(uid)).collect();
        for (uid, directory) in &changes.set {
            let entry = known.get(directory).cloned().unwrap_or_else(|| Entry::closed(directory.clone()));
            by_uid.insert(uid.clone(), entry);
        }
        for entry in gone {
            if !by_uid.values().any(|named| named.directory == entry.directory) {
                self.delete_directory(&entry.directory);
            }
        }
    }

    /// Names and directories, in the order of the names.
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    pub fn contains(&self, uid: &str) -> bool {
        self.read().contains_key(uid)
    }

    pub fn directory(&self, uid: &str) -> Option<String> {
        self.read().get(uid).map(|entry| entry.directory.clone())
    }

    /// Deletes the directories that no name stands for: what a crash left of an index being created or deleted.
    pub fn delete_nameless(&self) -> Result<(), ResponseError> {
        let named: Vec<String> = self.read().values().map(|entry| entry.directory.clone()).collect();
        for found in std::fs::read_dir(&self.root)? {
            let name = found?.file_name();
            if !named.iter().any(|directory| name.as_os_str() == directory.as_str()) {
                self.delete_directory(&name.to_string_lossy());
            }
        }
        Ok(())
    }

    /// Open readers keep their memory map until they end, so deleting under them is safe.
    fn delete_directory(&self, directory: &str) {
        if let Err(error) = std::fs::remove_dir_all(self.root.join(directory)) {
            log::warn!("the index directory {directory} could not be deleted: {error}");
        }
    }

    fn open_environment(&self, directory: &str, is_new: bool) -> Result<Index, ResponseError> {
        let path: PathBuf = self.root.join(directory);
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(INDEX_MAP_BYTES).max_readers(READERS_MAX);
        Ok(Index::new(options, path, is_new)?)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.by_uid.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn closed(directory: String) -> Arc<Self> {
        Arc::new(Self { directory, index: Mutex::new(None) })
    }
}
