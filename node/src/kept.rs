//! A small value that outlives the process: in memory for readers, in a JSON file for the next start.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::error::ResponseError;

pub struct Kept<T> {
    path: PathBuf,
    value: RwLock<Arc<T>>,
    /// Held by whoever changes the value, so that changes come one after the other.
    changing: Mutex<()>,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Kept<T> {
    /// The value of the file, or the default if there is no file yet.
    pub fn open(path: &Path) -> Result<Self, ResponseError> {
        let value = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(ResponseError::internal)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => T::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path: path.to_path_buf(), value: RwLock::new(Arc::new(value)), changing: Mutex::new(()) })
    }

    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.value.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes a copy of the value; if `change` does not refuse, the copy takes the value's place, durably. Blocks for the
    /// disk; not for an async thread.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> Result<R, ResponseError>) -> Result<R, ResponseError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut value = T::clone(&self.get());
        let result = change(&mut value)?;
        self.write(&value)?;
        *self.value.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
        Ok(result)
    }

    /// Writes beside the file and renames, so that a crash leaves the old value or the new one.
    fn write(&self, value: &T) -> Result<(), ResponseError> {
        let bytes = serde_json::to_vec(value).map_err(ResponseError::internal)?;
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn what_was_changed_is_there_after_a_restart_and_what_was_refused_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("numbers.json");
        let kept = Kept::<Vec<u32>>::open(&path).expect("a new value");
        kept.change(|numbers| {
            numbers.push(7);
            Ok(())
        })
        .expect("a change");
        let refused = kept.change(|numbers| {
            numbers.push(8);
            Err::<(), _>(ResponseError::new(Code::BadRequest, "no"))
        });
        assert!(refused.is_err());
        assert_eq!(*kept.get(), [7]);
        assert_eq!(*Kept::<Vec<u32>>::open(&path).expect("the value").get(), [7]);
    }
}
