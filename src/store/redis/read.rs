//! Reading.

use std::collections::{BTreeMap, HashMap};

use redis::{cmd, Cmd};

use super::keys::{canceled_by_code, index_code, kind_code, status_code, time_code, Column, PartField, BLOCK};
use super::link::Link;
use crate::auth::{AdminSession, ApiKey};
use crate::cluster::{Alias, IndexUid, NodeId, Shard, ShardSet, TaskUid};
use crate::store::{IdempotentWrite, IndexRecord, PayloadId, PayloadPart, StaleReplica, StoreError};
use crate::tasks::{Task, TaskFilter, TaskPage, TaskQuery, TaskStatus};
use crate::webhooks::Webhook;

/// Records in one answer: a megabyte or so.
const RECORDS_PER_READ: usize = 1_000;
/// Blocks whose columns are in one answer: a million tasks, some tens of megabytes at most.
const BLOCKS_PER_READ: usize = 16;
/// Bytes of a payload in one answer, unless a single part has more.
const PAYLOAD_BYTES_PER_READ: usize = 8 << 20;

pub struct Reader<'a> {
    pub link: &'a Link,
    /// What all keys begin with.
    pub prefix: &'a str,
}

impl Reader<'_> {
    fn command(&self, name: &str, key: &str) -> Cmd {
        let mut command = cmd(name);
        command.arg(format!("{}{key}", self.prefix));
        command
    }

    pub async fn indexes(&self) -> Result<Vec<IndexRecord>, StoreError> {
        let records: BTreeMap<String, Vec<u8>> = self.link.read(&self.command("HGETALL", "indexes")).await?;
        records.values().map(|record| from_json(record)).collect()
    }

    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let records: Vec<Vec<u8>> = self.link.read(&self.command("HVALS", "api_keys")).await?;
        records.iter().map(|record| from_json(record)).collect()
    }

    pub async fn admin_sessions(&self) -> Result<Vec<AdminSession>, StoreError> {
        let records: Vec<Vec<u8>> = self.link.read(&self.command("HVALS", "admin_sessions")).await?;
        records.iter().map(|record| from_json(record)).collect()
    }

    pub async fn admin_session(&self, digest: &str) -> Result<Option<AdminSession>, StoreError> {
        let record: Option<Vec<u8>> = self.link.read(self.command("HGET", "admin_sessions").arg(digest)).await?;
        record.map(|record| from_json(&record)).transpose()
    }

    pub async fn webhooks(&self) -> Result<Vec<Webhook>, StoreError> {
        let records: Vec<Vec<u8>> = self.link.read(&self.command("HVALS", "webhooks")).await?;
        records.iter().map(|record| from_json(record)).collect()
    }

    pub async fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        let records: BTreeMap<String, Vec<u8>> = self.link.read(&self.command("HGETALL", "aliases")).await?;
        records.values().map(|record| from_json(record)).collect()
    }

    pub async fn configuration(&self, name: &str) -> Result<Option<serde_json::Value>, StoreError> {
        let value: Option<Vec<u8>> = self.link.read(self.command("HGET", "configuration").arg(name)).await?;
        value.map(|value| from_json(&value)).transpose()
    }

    pub async fn task(&self, uid: TaskUid) -> Result<Option<Task>, StoreError> {
        Ok(self.records(&[uid.0]).await?.pop())
    }

    pub async fn followed_tasks(&self) -> Result<Vec<Task>, StoreError> {
        let uids: Vec<u32> = self.link.read(self.command("ZRANGE", "followed").arg(0).arg(-1)).await?;
        let mut tasks = self.records(&uids).await?;
        // They may have changed since their numbers were read.
        tasks.retain(Task::is_followed);
        Ok(tasks)
    }

    /// The tasks among `uids` that exist, in their order.
    async fn records(&self, uids: &[u32]) -> Result<Vec<Task>, StoreError> {
        let mut tasks = Vec::with_capacity(uids.len());
        for uids in uids.chunks(RECORDS_PER_READ) {
            let records: Vec<Option<Vec<u8>>> = self.link.read(self.command("HMGET", "tasks").arg(uids)).await?;
            for (uid, record) in uids.iter().zip(records) {
                if let Some(record) = record {
                    tasks.push(Task { uid: TaskUid(*uid), ..from_json(&record)? });
                }
            }
        }
        Ok(tasks)
    }

    pub async fn payload(&self, id: PayloadId, step: u8, shards: &ShardSet) -> Result<Vec<PayloadPart>, StoreError> {
        let key = format!("payload:{}:{step}", id.0);
        let fields: Vec<String> = self.link.read(&self.command("HKEYS", &key)).await?;
        let mut wanted = Vec::new();
        for field in fields {
            let part = PartField::parse(&field)?;
            if part.shard.is_none_or(|shard| shards.contains(shard)) {
                wanted.push((part, field));
            }
        }
        wanted.sort_unstable();
        let mut parts = Vec::with_capacity(wanted.len());
        let mut rest = &wanted[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |(part, _): &&(PartField, String)| {
                bytes += part.bytes;
                bytes <= PAYLOAD_BYTES_PER_READ
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            rest = later;
            let mut command = self.command("HMGET", &key);
            for (_, field) in now {
                command.arg(field);
            }
            let contents: Vec<Option<Vec<u8>>> = self.link.read(&command).await?;
            for ((part, _), bytes) in now.iter().zip(contents) {
                // A payload that is deleted meanwhile is one that nobody needs any more.
                let Some(bytes) = bytes else { return Ok(Vec::new()) };
                parts.push(PayloadPart { step, shard: part.shard, bytes: bytes.into() });
            }
        }
        Ok(parts)
    }

    pub async fn idempotent_write(&self, key: &str) -> Result<Option<IdempotentWrite>, StoreError> {
        let write: Option<Vec<u8>> = self.link.read(self.command("HGET", "idempotency").arg(key)).await?;
        let Some(write) = write else { return Ok(None) };
        let corrupt = || StoreError::Corrupt(format!("the idempotency key `{key}` leads nowhere"));
        let (digest, uid) = write.split_first_chunk::<32>().ok_or_else(corrupt)?;
        let uid = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse().ok()).ok_or_else(corrupt)?;
        Ok(Some(IdempotentWrite { digest: *digest, task: TaskUid(uid) }))
    }

    pub async fn stale_replicas(&self) -> Result<Vec<StaleReplica>, StoreError> {
        let members: Vec<String> = self.link.read(&self.command("SMEMBERS", "stale")).await?;
        let mut stale: BTreeMap<(NodeId, IndexUid), ShardSet> = BTreeMap::new();
        for member in members {
            let parsed = || {
                let mut parts = member.split('/');
                let (node, index_uid, shard) = (parts.next()?, parts.next()?, parts.next()?);
                Some((NodeId::new(node), IndexUid::parse(index_uid).ok()?, Shard(shard.parse().ok()?)))
            };
            let (node, index_uid, shard) =
                parsed().ok_or_else(|| StoreError::Corrupt(format!("`{member}` is no stale shard")))?;
            stale.entry((node, index_uid)).or_default().insert(shard);
        }
        let replica = |((node, index_uid), shards)| StaleReplica { node, index_uid, shards };
        Ok(stale.into_iter().map(replica).collect())
    }

    /// The columns of up to [`BLOCKS_PER_READ`] blocks are of one moment, and so is each record; a task that stops matching
    /// between the two is not shown.
    pub async fn tasks(&self, query: &TaskQuery) -> Result<TaskPage, StoreError> {
        let counts: HashMap<u32, u64> = self.link.read(&self.command("HGETALL", "blocks")).await?;
        let mut blocks: Vec<u32> = counts.keys().copied().collect();
        let wanted = Wanted::of(&query.filter);
        blocks.retain(|block| wanted.may_be_in(*block));
        blocks.sort_unstable();
        if !query.reverse {
            blocks.reverse();
        }
        // Without a filter all are counted already, and the page is found in the first blocks.
        let is_whole = query.filter == TaskFilter::default();
        let mut total = if is_whole { counts.values().sum() } else { 0 };
        let mut found = Vec::new();
        let page = query.limit as usize;
        let columns = wanted.columns();
        let per_read = if is_whole { 1 } else { BLOCKS_PER_READ };
        for blocks in blocks.chunks(per_read) {
            let mut command = cmd("MGET");
            for block in blocks {
                for column in &columns {
                    command.arg(format!("{}{}:{block}", self.prefix, column.name()));
                }
            }
            let mut contents = self.link.read::<Vec<Option<Vec<u8>>>>(&command).await?.into_iter();
            for block in blocks {
                let mut rows = Rows::default();
                for (column, content) in columns.iter().zip(contents.by_ref()) {
                    rows.columns[*column as usize] = content.unwrap_or_default();
                }
                let mut matching = wanted.matching(*block, &rows);
                total += if is_whole { 0 } else { matching.len() as u64 };
                let is_beyond =
                    |uid: &u32| query.from.is_none_or(|from| if query.reverse { *uid >= from } else { *uid <= from });
                matching.retain(is_beyond);
                if !query.reverse {
                    matching.reverse();
                }
                // One more than the page holds tells where the next one starts.
                let missing = (page + 1).saturating_sub(found.len());
                found.extend(matching.into_iter().take(missing));
            }
            if is_whole && found.len() > page {
                break;
            }
        }
        let next = found.get(page).copied();
        found.truncate(page);
        let mut tasks = self.records(&found).await?;
        tasks.retain(|task| query.filter.matches(task));
        total = total.saturating_sub((found.len() - tasks.len()) as u64);
        Ok(TaskPage { tasks, total, next })
    }
}

/// The columns of one block; those that were not read are empty.
#[derive(Default)]
struct Rows {
    columns: [Vec<u8>; Column::ALL.len()],
}

impl Rows {
    /// A column may end early: what was never written is none.
    fn value<const WIDTH: usize>(&self, column: Column, row: usize) -> [u8; WIDTH] {
        let at = row * WIDTH;
        let bytes = self.columns[column as usize].get(at..at + WIDTH);
        bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; WIDTH])
    }
}

/// A filter in the terms of columns.
struct Wanted {
    uids: Option<Vec<u32>>,
    /// Every task that left the queue is a batch of its own.
    batch_uids: Option<Vec<u32>>,
    statuses: Option<Vec<[u8; 1]>>,
    kinds: Option<Vec<[u8; 4]>>,
    indexes: Option<Vec<[u8; 8]>>,
    canceled_by: Option<Vec<[u8; 4]>>,
    times: Vec<TimeCondition>,
}

struct TimeCondition {
    column: Column,
    after: [u8; 8],
    before: Option<[u8; 8]>,
}

impl Wanted {
    fn of(filter: &TaskFilter) -> Self {
        fn codes<T, C: Ord>(wanted: &Option<Vec<T>>, code: impl Fn(&T) -> C) -> Option<Vec<C>> {
            let mut codes: Vec<C> = wanted.as_ref()?.iter().map(code).collect();
            codes.sort_unstable();
            Some(codes)
        }
        let ranges = [
            (Column::EnqueuedAt, filter.enqueued_at),
            (Column::StartedAt, filter.started_at),
            (Column::FinishedAt, filter.finished_at),
        ];
        let bounded = ranges.into_iter().filter(|(_, range)| range.after.is_some() || range.before.is_some());
        Self {
            uids: codes(&filter.uids, |uid| *uid),
            batch_uids: codes(&filter.batch_uids, |uid| *uid),
            statuses: codes(&filter.statuses, |status| [status_code(*status)]),
            kinds: codes(&filter.types, |kind| kind_code(*kind)),
            indexes: codes(&filter.index_uids, index_code),
            canceled_by: codes(&filter.canceled_by, |uid| canceled_by_code(*uid)),
            times: bounded
                .map(|(column, range)| TimeCondition {
                    column,
                    after: range.after.map(time_code).unwrap_or_default(),
                    before: range.before.map(time_code),
                })
                .collect(),
        }
    }

    fn columns(&self) -> Vec<Column> {
        let named = [
            (Column::Kind, self.kinds.is_some()),
            (Column::Index, self.indexes.is_some()),
            (Column::CanceledBy, self.canceled_by.is_some()),
        ];
        let named = named.into_iter().filter(|(_, is_named)| *is_named).map(|(column, _)| column);
        [Column::Status].into_iter().chain(named).chain(self.times.iter().map(|time| time.column)).collect()
    }

    /// False if no task of this block is among the uids asked for.
    fn may_be_in(&self, block: u32) -> bool {
        let first = u64::from(block) * u64::from(BLOCK);
        let is_inside = |uid: &u32| (first..first + u64::from(BLOCK)).contains(&u64::from(*uid));
        block <= u32::MAX / BLOCK
            && [&self.uids, &self.batch_uids].into_iter().flatten().all(|uids| uids.iter().any(is_inside))
    }

    /// Ascending.
    fn matching(&self, block: u32, rows: &Rows) -> Vec<u32> {
        let first = block * BLOCK;
        let count = rows.columns[Column::Status as usize].len();
        (0..count).filter(|row| self.matches(first + *row as u32, *row, rows)).map(|row| first + row as u32).collect()
    }

    fn matches(&self, uid: u32, row: usize, rows: &Rows) -> bool {
        fn among<T: Ord>(wanted: &Option<Vec<T>>, value: impl FnOnce() -> T) -> bool {
            wanted.as_ref().is_none_or(|wanted| wanted.binary_search(&value()).is_ok())
        }
        let status = rows.value::<1>(Column::Status, row);
        let has_left_the_queue = status != [status_code(TaskStatus::Enqueued)];
        status != [0]
            && among(&self.statuses, || status)
            && among(&self.uids, || uid)
            && (self.batch_uids.is_none() || has_left_the_queue)
            && among(&self.batch_uids, || uid)
            && among(&self.kinds, || rows.value(Column::Kind, row))
            && among(&self.indexes, || rows.value(Column::Index, row))
            && among(&self.canceled_by, || rows.value(Column::CanceledBy, row))
            && self.times.iter().all(|time| {
                let value = rows.value::<8>(time.column, row);
                // None is all zeros, which is after nothing.
                value > time.after && time.before.is_none_or(|before| value < before)
            })
    }
}

fn from_json<T: serde::de::DeserializeOwned>(record: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(record).map_err(|error| StoreError::Corrupt(error.to_string()))
}
