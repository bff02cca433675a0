//! Where the documents of additions wait for their turn.
//!
//! Few documents are kept in the task's own record, so that enqueueing them costs the one fsync that all enqueues of
//! the moment share. Many go to a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapMut};

use super::records;
use super::store::Store;
use super::task::{Operation, Payload, Task};
use crate::error::ResponseError;

/// Documents up to this size, in bytes, are kept in the task's record.
const INLINE_BYTES_MAX: usize = 64 * 1024;

pub struct Payloads {
    directory: PathBuf,
}

/// Takes the documents of one task, as NDJSON.
pub struct PayloadWriter {
    directory: PathBuf,
    bytes: u64,
    to: Destination,
}

enum Destination {
    Memory(Vec<u8>),
    File { name: String, file: BufWriter<File> },
}

/// Documents that are where they will be found again.
pub struct WrittenPayload {
    pub payload: Payload,
    pub bytes: u64,
    pub inline: Option<Vec<u8>>,
}

impl Payloads {
    pub fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_path_buf() })
    }

    pub fn writer(&self) -> PayloadWriter {
        PayloadWriter { directory: self.directory.clone(), bytes: 0, to: Destination::Memory(Vec::new()) }
    }

    /// The documents of a task, in the kind of memory that the engine reads from.
    pub fn load(&self, store: &Store, task: &Task) -> Result<Mmap, ResponseError> {
        let Operation::DocumentAddition { payload, .. } = &task.operation else {
            return in_memory(0, |_| Ok(()));
        };
        match payload {
            Payload::Inline => {
                let uid = task.uid;
                let documents = store.read(|connection| records::inline_payload(connection, uid))?;
                in_memory(documents.len(), |memory| {
                    memory.copy_from_slice(&documents);
                    Ok(())
                })
            }
            Payload::File(name) => {
                let mut file = File::open(self.directory.join(name))?;
                let bytes = usize::try_from(file.metadata()?.len()).map_err(ResponseError::internal)?;
                in_memory(bytes, |memory| io::Read::read_exact(&mut file, memory))
            }
        }
    }

    /// Deletes the file of an operation that needs it no more, if it has one.
    pub fn delete(&self, operation: &Operation) {
        if let Operation::DocumentAddition { payload: Payload::File(name), .. } = operation {
            if let Err(error) = std::fs::remove_file(self.directory.join(name)) {
                log::warn!("the payload {name} could not be deleted: {error}");
            }
        }
    }

    /// Deletes the files that none of the tasks needs: what a crash left of a request.
    pub fn delete_unneeded(&self, unfinished: &[Task]) -> io::Result<()> {
        for found in std::fs::read_dir(&self.directory)? {
            let found = found?;
            let is_needed = unfinished.iter().any(|task| match &task.operation {
                Operation::DocumentAddition { payload: Payload::File(name), .. } => found.file_name() == name.as_str(),
                _ => false,
            });
            if !is_needed {
                std::fs::remove_file(found.path())?;
            }
        }
        Ok(())
    }
}

impl PayloadWriter {
    /// Makes what was written durable.
    pub fn finish(mut self) -> io::Result<WrittenPayload> {
        let bytes = self.bytes;
        match std::mem::replace(&mut self.to, Destination::Memory(Vec::new())) {
            Destination::Memory(documents) => {
                Ok(WrittenPayload { payload: Payload::Inline, bytes, inline: Some(documents) })
            }
            Destination::File { name, file } => {
                file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
                File::open(&self.directory)?.sync_all()?;
                Ok(WrittenPayload { payload: Payload::File(name), bytes, inline: None })
            }
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        if let Destination::Memory(documents) = &mut self.to {
            let name = uuid::Uuid::new_v4().to_string();
            let mut file = BufWriter::new(File::create_new(self.directory.join(&name))?);
            file.write_all(documents)?;
            self.to = Destination::File { name, file };
        }
        Ok(())
    }
}

impl Write for PayloadWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if matches!(&self.to, Destination::Memory(memory) if memory.len() + bytes.len() > INLINE_BYTES_MAX) {
            self.spill()?;
        }
        match &mut self.to {
            Destination::Memory(memory) => memory.extend_from_slice(bytes),
            Destination::File { file, .. } => file.write_all(bytes)?,
        }
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Destination::Memory(_) => Ok(()),
            Destination::File { file, .. } => file.flush(),
        }
    }
}

impl Drop for PayloadWriter {
    /// A writer that was not finished leaves nothing behind.
    fn drop(&mut self) {
        if let Destination::File { name, .. } = &self.to {
            if let Err(error) = std::fs::remove_file(self.directory.join(name)) {
                log::warn!("the unfinished payload {name} could not be deleted: {error}");
            }
        }
    }
}

/// Anonymous memory instead of a map of the file: the engine insists on the type, and mapping a file is only safe as
/// long as nobody else touches it. What it costs is bounded by the size of a batch.
pub fn in_memory(bytes: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> Result<Mmap, ResponseError> {
    let mut memory = MmapMut::map_anon(bytes)?;
    fill(&mut memory)?;
    Ok(memory.make_read_only()?)
}
