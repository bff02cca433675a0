//! The tables and how older files are brought up to date.

use rusqlite::{Connection, TransactionBehavior};

/// Each entry brings a file from the schema of its position to the next. Entries are never changed, only added.
const MIGRATIONS: &[&str] = &[
    // What `GET /tasks` filters by stands apart from the records, so that counting matches among 100,000 tasks reads a
    // few megabytes and not the records. Times are nanoseconds since 1970.
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
     INSERT INTO counters VALUES ('next_task_uid', 0);
     CREATE TABLE indexes (uid TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
     CREATE TABLE tasks (
         uid         INTEGER PRIMARY KEY,
         index_uid   TEXT,
         kind        TEXT NOT NULL,
         status      TEXT NOT NULL,
         canceled_by INTEGER,
         enqueued_at INTEGER NOT NULL,
         started_at  INTEGER,
         finished_at INTEGER
     );
     CREATE INDEX tasks_unfinished ON tasks (uid) WHERE finished_at IS NULL;
     CREATE INDEX tasks_by_end ON tasks (finished_at, kind, status, index_uid) WHERE finished_at IS NOT NULL;
     CREATE INDEX tasks_by_index ON tasks (index_uid, status, kind);
     CREATE INDEX tasks_by_status ON tasks (status, kind);
     CREATE TABLE task_records (uid INTEGER PRIMARY KEY, record TEXT NOT NULL);",
    // A task may be over for its client while a replica still has to get it: what is followed is a column of its own.
    "ALTER TABLE tasks ADD COLUMN followed INTEGER NOT NULL DEFAULT 0;
     UPDATE tasks SET followed = 1 WHERE finished_at IS NULL;
     DROP INDEX tasks_unfinished;
     CREATE INDEX tasks_followed ON tasks (uid) WHERE followed;
     CREATE TABLE payloads (
         n       INTEGER PRIMARY KEY AUTOINCREMENT,
         payload INTEGER NOT NULL,
         step    INTEGER NOT NULL,
         shard   INTEGER,
         bytes   BLOB NOT NULL
     );
     CREATE INDEX payloads_by_id ON payloads (payload, step, n);
     CREATE TABLE idempotency (
         key    TEXT PRIMARY KEY,
         digest BLOB NOT NULL,
         task   INTEGER NOT NULL,
         used_at INTEGER NOT NULL
     ) WITHOUT ROWID;
     CREATE INDEX idempotency_by_age ON idempotency (used_at);
     CREATE INDEX idempotency_by_task ON idempotency (task);
     CREATE TABLE stale_replicas (
         node      TEXT NOT NULL,
         index_uid TEXT NOT NULL,
         shards    TEXT NOT NULL,
         PRIMARY KEY (node, index_uid)
     ) WITHOUT ROWID;",
    "CREATE TABLE api_keys (uid TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE aliases (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE configuration (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE webhooks (uid TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
    "CREATE TABLE admin_sessions (digest TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;",
];

/// Schema that this program reads and writes; the file says its own in `user_version`.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the file to [`VERSION`], each step whole or not at all.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = usize::try_from(version(connection)?).unwrap_or(0);
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(from) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
