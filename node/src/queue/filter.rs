//! Which tasks or batches a request is about, as SQL.

use rusqlite::types::Value;
use rusqlite::{Connection, Row};
use serde::Serialize;

use super::records::to_json;
use super::task::{BatchUid, TaskUid};

/// Which tasks are wanted; `None` is no restriction. Dates are exclusive, in nanoseconds since 1970, and in the order
/// enqueued, started, finished.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub uids: Option<Vec<TaskUid>>,
    pub batch_uids: Option<Vec<BatchUid>>,
    pub statuses: Option<Vec<&'static str>>,
    pub kinds: Option<Vec<&'static str>>,
    pub index_uids: Option<Vec<String>>,
    pub canceled_by: Option<Vec<TaskUid>>,
    pub after_ns: [Option<i64>; 3],
    pub before_ns: [Option<i64>; 3],
}

/// Which part of a list is wanted: newest first unless reversed, beginning at `from`.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    pub from: Option<u32>,
    pub reverse: bool,
    pub limit: u32,
}

/// A list to choose from.
#[derive(Debug, Clone, Copy)]
pub enum Table {
    Tasks,
    Batches,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Batches => "batches",
        }
    }
}

/// An SQL condition, and the values of its numbered parameters.
pub struct Condition {
    sql: String,
    values: Vec<Value>,
}

impl Condition {
    fn new() -> Self {
        Self { sql: String::from("1 = 1"), values: Vec::new() }
    }

    /// `column` is one of `list`, if there is a list; in the list of batches, that of some task of the batch.
    fn one_of<T: Serialize>(&mut self, column: &str, list: Option<&Vec<T>>, table: Table) -> rusqlite::Result<()> {
        let Some(list) = list else { return Ok(()) };
        self.values.push(to_json(list)?.into());
        let wanted = format!("{column} IN (SELECT value FROM json_each(?{}))", self.values.len());
        match table {
            Table::Tasks => self.and(&wanted),
            Table::Batches => self.and_some_task(&wanted),
        }
        Ok(())
    }

    fn and(&mut self, sql: &str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
    }

    /// The batch has a task for which `sql` is true.
    fn and_some_task(&mut self, sql: &str) {
        self.and(&format!("uid IN (SELECT batch_uid FROM tasks WHERE {sql})"));
    }

    /// `column` lies between the two dates, so far as they are given.
    fn between(&mut self, column: &str, after_ns: Option<i64>, before_ns: Option<i64>) -> Option<String> {
        let bounds: Vec<String> = [(">", after_ns), ("<", before_ns)]
            .into_iter()
            .filter_map(|(operator, bound)| {
                self.values.push(bound?.into());
                Some(format!("{column} {operator} ?{}", self.values.len()))
            })
            .collect();
        (!bounds.is_empty()).then(|| bounds.join(" AND "))
    }
}

impl Filter {
    /// The condition that holds for the wanted tasks.
    pub fn of_tasks(&self) -> rusqlite::Result<Condition> {
        let mut condition = self.of_any(Table::Tasks)?;
        condition.one_of("batch_uid", self.batch_uids.as_ref(), Table::Tasks)?;
        condition.one_of("canceled_by", self.canceled_by.as_ref(), Table::Tasks)?;
        Ok(condition)
    }

    /// The condition that holds for the wanted batches: those that have a task of each wanted kind. A batch that was
    /// canceled by a task is the one in which that task canceled.
    pub fn of_batches(&self) -> rusqlite::Result<Condition> {
        let mut condition = self.of_any(Table::Batches)?;
        condition.one_of("uid", self.batch_uids.as_ref(), Table::Tasks)?;
        let canceling = "kind = 'taskCancelation' AND status = 'succeeded' AND uid";
        condition.one_of(canceling, self.canceled_by.as_ref(), Table::Batches)?;
        Ok(condition)
    }

    /// What means the same for tasks and for batches.
    fn of_any(&self, table: Table) -> rusqlite::Result<Condition> {
        let mut condition = Condition::new();
        condition.one_of("uid", self.uids.as_ref(), table)?;
        condition.one_of("status", self.statuses.as_ref(), table)?;
        condition.one_of("kind", self.kinds.as_ref(), table)?;
        condition.one_of("index_uid", self.index_uids.as_ref(), table)?;
        let [enqueued, started, finished] = [0, 1, 2].map(|date| (self.after_ns[date], self.before_ns[date]));
        if let Some(between) = condition.between("enqueued_at", enqueued.0, enqueued.1) {
            match table {
                Table::Tasks => condition.and(&between),
                Table::Batches => condition.and_some_task(&between),
            }
        }
        for (column, (after_ns, before_ns)) in [("started_at", started), ("finished_at", finished)] {
            if let Some(between) = condition.between(column, after_ns, before_ns) {
                condition.and(&between);
            }
        }
        Ok(condition)
    }
}

/// The rows of one page, and the number of all that match, whatever the page.
pub fn page<T>(
    connection: &Connection,
    (table, columns): (Table, &str),
    condition: Condition,
    page: Page,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<(Vec<T>, u64)> {
    let Condition { mut sql, mut values } = condition;
    let table = table.name();
    let total = connection
        .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE {sql}"))?
        .query_row(rusqlite::params_from_iter(&values), |row| row.get(0))?;
    let (operator, order) = if page.reverse { (">=", "ASC") } else { ("<=", "DESC") };
    if let Some(from) = page.from {
        values.push(from.into());
        sql.push_str(&format!(" AND uid {operator} ?{}", values.len()));
    }
    values.push(page.limit.into());
    let limit = values.len();
    let rows = connection
        .prepare_cached(&format!("SELECT {columns} FROM {table} WHERE {sql} ORDER BY uid {order} LIMIT ?{limit}"))?
        .query_map(rusqlite::params_from_iter(&values), read)?
        .collect::<rusqlite::Result<_>>()?;
    Ok((rows, total))
}

/// The uids of all tasks that match, oldest first.
pub fn uids(connection: &Connection, filter: &Filter) -> rusqlite::Result<Vec<TaskUid>> {
    let Condition { sql, values } = filter.of_tasks()?;
    connection
        .prepare_cached(&format!("SELECT uid FROM tasks WHERE {sql} ORDER BY uid"))?
        .query_map(rusqlite::params_from_iter(&values), |row| row.get(0))?
        .collect()
}
