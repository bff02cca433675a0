//! The durable part of the queue: one SQLite database with the tasks, the names of the indexes, and the intent to
//! commit an index.
//!
//! Writes go through one thread that takes all that wait and commits them together, so that many small enqueues share
//! one fsync. Reads have connections of their own and never wait for a write.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::error::{Code, ResponseError};

/// Writes that may wait for the writer; whoever comes later waits to be let into the line.
const WAITING_WRITES_MAX: usize = 1024;

/// Writes that share one commit. Bounded so that the first of them does not wait for long.
const WRITES_PER_COMMIT_MAX: usize = 256;

/// Idle read connections that are kept. More are opened when more reads happen at once, and closed afterwards.
const IDLE_READERS_MAX: usize = 8;

/// How long SQLite may wait for a lock. Readers never hold one that blocks the writer, so this only ends a deadlock.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tasks (
    uid             INTEGER PRIMARY KEY,
    batch_uid       INTEGER,
    index_uid       TEXT,
    status          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    operation       TEXT NOT NULL,
    payload         BLOB,
    details         TEXT NOT NULL,
    error           TEXT,
    custom_metadata TEXT,
    canceled_by     INTEGER,
    enqueued_at     INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_by_status ON tasks (status, uid);
CREATE INDEX IF NOT EXISTS tasks_by_batch ON tasks (batch_uid);
CREATE INDEX IF NOT EXISTS tasks_by_index ON tasks (index_uid, uid);
CREATE INDEX IF NOT EXISTS tasks_waiting ON tasks (kind, uid) WHERE status = 'enqueued';
CREATE INDEX IF NOT EXISTS tasks_by_canceler ON tasks (canceled_by) WHERE canceled_by IS NOT NULL;
CREATE TABLE IF NOT EXISTS batches (
    uid         INTEGER PRIMARY KEY,
    details     TEXT NOT NULL,
    stats       TEXT NOT NULL,
    strategy    TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE TABLE IF NOT EXISTS indexes (
    uid       TEXT PRIMARY KEY,
    directory TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE IF NOT EXISTS commit_intent (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    intent TEXT NOT NULL
) STRICT;
";

/// Keeps a second process out of a database directory for as long as it lives, and no longer, however this one ends.
pub struct DirectoryLock(#[allow(dead_code)] Connection);

impl DirectoryLock {
    pub fn take(directory: &Path) -> Result<Self, ResponseError> {
        let taken = Connection::open(directory.join("lock.sqlite")).and_then(|connection| {
            connection.execute_batch("BEGIN EXCLUSIVE")?;
            Ok(connection)
        });
        taken
            .map(Self)
            .map_err(|error| ResponseError::internal(format!("another node may be using this directory: {error}")))
    }
}

/// Tells one waiting writer whether its transaction reached the disk.
type Notify = Box<dyn FnOnce(Result<(), String>) + Send>;
/// A change, to be run in the open transaction or, if there is none, to be told why.
type Write = Box<dyn FnOnce(Result<&Connection, String>) -> Notify + Send>;

pub struct Store {
    path: PathBuf,
    writes: SyncSender<Write>,
    readers: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens the database, creating it if it is not there, and starts its writer.
    pub fn open(path: &Path) -> Result<Self, ResponseError> {
        let connection = Connection::open(path).map_err(store_error)?;
        connection.busy_timeout(LOCK_TIMEOUT).map_err(store_error)?;
        // In WAL mode with FULL, a transaction that was committed survives the loss of power.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(store_error)?;
        migrate(&connection).map_err(store_error)?;
        let (writes, waiting) = sync_channel(WAITING_WRITES_MAX);
        std::thread::Builder::new().name("store-writer".into()).spawn(move || commit_writes(connection, &waiting))?;
        Ok(Self { path: path.to_path_buf(), writes, readers: Mutex::new(Vec::new()) })
    }

    /// Runs `change` in a transaction and returns once it is durable. Blocks; not for an async thread.
    pub fn write<T, F>(&self, change: F) -> Result<T, ResponseError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (done, result) = sync_channel(1);
        let write: Write = Box::new(move |connection| {
            let changed =
                connection.and_then(|connection| in_savepoint(connection, change).map_err(|error| error.to_string()));
            Box::new(move |committed| {
                // The receiver is only gone if its thread died, and then nobody is left to be told.
                let _ = done.send(committed.and(changed));
            })
        });
        let gone = |_| ResponseError::internal("the store's writer has stopped");
        self.writes.send(write).map_err(|_| gone(()))?;
        result.recv().map_err(|_| gone(()))?.map_err(ResponseError::internal)
    }

    /// Runs `query` on a connection that sees everything committed before. Blocks, for microseconds to milliseconds.
    pub fn read<T>(&self, query: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ResponseError> {
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.reader()?,
        };
        let result = query(&connection).map_err(store_error);
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < IDLE_READERS_MAX {
            readers.push(connection);
        }
        result
    }

    fn reader(&self) -> Result<Connection, ResponseError> {
        let connection =
            Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(store_error)?;
        connection.busy_timeout(LOCK_TIMEOUT).map_err(store_error)?;
        Ok(connection)
    }
}

/// Brings the tables of an older version up to this one, or creates them.
fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let column_of_tasks = "SELECT 1 FROM pragma_table_info('tasks') WHERE name = ?1";
    let has = |column: &str| connection.prepare(column_of_tasks)?.exists([column]);
    if has("uid")? && !has("canceled_by")? {
        connection.execute_batch("ALTER TABLE tasks ADD COLUMN canceled_by INTEGER")?;
    }
    connection.execute_batch(SCHEMA)
}

/// The writer's life: wait for a write, take along those that came meanwhile, commit, tell everyone. Ends when the
/// store is dropped.
fn commit_writes(connection: Connection, waiting: &Receiver<Write>) {
    while let Ok(first) = waiting.recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| error.to_string());
        let transaction = || begun.clone().map(|()| &connection);
        let mut notifications = vec![first(transaction())];
        while notifications.len() < WRITES_PER_COMMIT_MAX {
            let Ok(next) = waiting.try_recv() else { break };
            notifications.push(next(transaction()));
        }
        let committed = begun.and_then(|()| commit(&connection));
        for notify in notifications {
            notify(committed.clone());
        }
    }
}

fn commit(connection: &Connection) -> Result<(), String> {
    connection.execute_batch("COMMIT").map_err(|error| {
        // Nothing of this round may stay half done and join the next one.
        if let Err(error) = connection.execute_batch("ROLLBACK") {
            log::error!("a failed transaction could not be rolled back: {error}");
        }
        error.to_string()
    })
}

/// Keeps one failing change from taking along those that share its commit.
fn in_savepoint<T>(
    connection: &Connection,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.execute_batch("SAVEPOINT change")?;
    let result = change(connection);
    if result.is_err() {
        connection.execute_batch("ROLLBACK TO change")?;
    }
    connection.execute_batch("RELEASE change")?;
    result
}

fn store_error(error: rusqlite::Error) -> ResponseError {
    let code = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Code::NoSpaceLeftOnDevice,
        Some(rusqlite::ErrorCode::SystemIoFailure) => Code::IoError,
        _ => Code::Internal,
    };
    ResponseError::new(code, format!("The task store failed: {error}."))
}
