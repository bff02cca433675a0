//! The work of a batch on one index, inside a transaction that the caller commits.

use bumpalo::Bump;
use milli_core::documents::PrimaryKey;
use milli_core::heed::RwTxn;
use milli_core::progress::Progress;
use milli_core::update::new::indexer;
use milli_core::update::{ClearDocuments, IndexerConfig, Settings};
use milli_core::{Filter, Index, ThreadPoolNoAbort, ThreadPoolNoAbortBuilder};
use serde_json::Value;

use super::payloads::Payloads;
use super::records::Outcome;
use super::store::Store;
use super::task::{Method, Operation, Task};
use crate::embedders::embedders;
use crate::error::{Code, ResponseError};
use crate::settings;

/// Memory that the sorters of an indexing run may use before they spill to disk, in bytes. Several nodes share one
/// machine in development, so a share of the whole memory would be too much.
const SORTER_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What indexing needs besides the index: its threads and limits, and where payloads are.
pub struct Applier {
    config: IndexerConfig,
    /// The pool of `config`, for what takes the pool alone.
    pool: ThreadPoolNoAbort,
}

impl Applier {
    pub fn new(threads: usize) -> Result<Self, ResponseError> {
        Ok(Self {
            config: IndexerConfig {
                max_memory: Some(SORTER_BYTES_MAX),
                thread_pool: Some(pool(threads)?),
                ..IndexerConfig::default()
            },
            pool: pool(threads)?,
        })
    }

    /// Runs the tasks, which are of one index and of kinds that can run together. An error is one of the whole batch
    /// and means that nothing may be committed.
    pub fn apply<'i>(
        &self,
        index: &'i Index,
        wtxn: &mut RwTxn<'i>,
        batch: &[Task],
        payloads: (&Store, &Payloads),
        must_stop: &(impl Fn() -> bool + Sync),
    ) -> Result<Vec<Outcome>, ResponseError> {
        let [task] = batch else {
            return self.change_documents(index, wtxn, batch, payloads, must_stop);
        };
        let index_uid = task.index_uid.as_deref().unwrap_or_default();
        let done = |documents| {
            vec![Outcome { uid: task.uid, details: task.operation.details(Some(index_uid), documents), error: None }]
        };
        match &task.operation {
            Operation::DocumentAddition { .. } | Operation::DocumentDeletion { .. } => {
                self.change_documents(index, wtxn, batch, payloads, must_stop)
            }
            Operation::DocumentDeletionByFilter { filter } => {
                let deleted = self.delete_by_filter(index, wtxn, index_uid, filter, must_stop)?;
                Ok(done(Some(deleted)))
            }
            Operation::DocumentClear => {
                let cleared = ClearDocuments::new(wtxn, index)
                    .execute()
                    .map_err(|error| ResponseError::in_index(index_uid, error))?;
                Ok(done(Some(cleared)))
            }
            Operation::SettingsUpdate { settings, .. } => {
                let mut update = Settings::new(wtxn, index, &self.config);
                settings::apply(settings, &mut update)?;
                update.execute(|_| (), must_stop).map_err(|error| ResponseError::in_index(index_uid, error))?;
                Ok(done(None))
            }
            Operation::IndexCreation { primary_key } | Operation::IndexUpdate { primary_key, .. } => {
                if let Some(primary_key) = primary_key {
                    let mut update = Settings::new(wtxn, index, &self.config);
                    update.set_primary_key(primary_key.clone());
                    update.execute(|_| (), must_stop).map_err(|error| ResponseError::in_index(index_uid, error))?;
                }
                Ok(done(None))
            }
            Operation::IndexDeletion | Operation::IndexSwap { .. } => {
                Err(ResponseError::internal("an operation on names reached the documents"))
            }
        }
    }

    /// Additions and deletions by id, in their order, as one indexing run.
    fn change_documents(
        &self,
        index: &Index,
        wtxn: &mut RwTxn<'_>,
        batch: &[Task],
        (store, payloads): (&Store, &Payloads),
        must_stop: &(impl Fn() -> bool + Sync),
    ) -> Result<Vec<Outcome>, ResponseError> {
        let index_uid = batch[0].index_uid.as_deref().unwrap_or_default();
        let in_index = |error| ResponseError::in_index(index_uid, error);
        // Everything that the engine borrows has to outlive its run.
        let documents =
            batch.iter().map(|task| payloads.load(store, task)).collect::<Result<Vec<_>, ResponseError>>()?;
        let ids: Vec<Vec<&str>> = batch.iter().map(|task| ids_to_delete(&task.operation)).collect();
        let allocator = Bump::new();
        let mut changes = indexer::DocumentOperation::new();
        let mut primary_key = None;
        for ((task, documents), ids) in batch.iter().zip(&documents).zip(&ids) {
            match &task.operation {
                Operation::DocumentAddition { method, primary_key: of_task, .. } => {
                    primary_key = primary_key.or(of_task.as_deref());
                    match method {
                        Method::Replace => changes.replace_documents(documents),
                        Method::Update => changes.update_documents(documents),
                    }
                    .map_err(in_index)?;
                }
                _ => changes.delete_documents(ids),
            }
        }
        let rtxn = index.read_txn()?;
        let fields = index.fields_ids_map(&rtxn)?;
        let mut new_fields = fields.clone();
        let progress = Progress::default();
        let (changes, stats, primary_key) = changes
            .into_changes(&allocator, index, &rtxn, primary_key, &mut new_fields, must_stop, progress.clone())
            .map_err(in_index)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for (task, stats) in batch.iter().zip(stats) {
            let error = stats.error.map(|error| milli_core::Error::UserError(error).into());
            outcomes.push(Outcome {
                uid: task.uid,
                details: task.operation.details(Some(index_uid), Some(stats.document_count)),
                error: error.map(|error: ResponseError| error.to_json()),
            });
        }
        if outcomes.iter().any(|outcome| outcome.error.is_none()) {
            let embedders = embedders(index, wtxn)?;
            indexer::index(
                wtxn,
                index,
                &self.pool,
                self.config.grenad_parameters(),
                &fields,
                new_fields,
                primary_key,
                &changes,
                embedders,
                must_stop,
                &progress,
            )
            .map_err(in_index)?;
        }
        Ok(outcomes)
    }

    /// Deletes what the filter matches and returns how many that were.
    fn delete_by_filter(
        &self,
        index: &Index,
        wtxn: &mut RwTxn<'_>,
        index_uid: &str,
        filter: &Value,
        must_stop: &(impl Fn() -> bool + Sync),
    ) -> Result<u64, ResponseError> {
        let in_index = |error| {
            let error = ResponseError::in_index(index_uid, error);
            match error.code {
                Code::InvalidSearchFilter => ResponseError::new(Code::InvalidDocumentFilter, error.message),
                _ => error,
            }
        };
        let rtxn = index.read_txn()?;
        let Some(filter) = Filter::from_json(filter).map_err(in_index)? else { return Ok(0) };
        let matching = filter.evaluate(&rtxn, index).map_err(in_index)?;
        let deleted = matching.len();
        if deleted == 0 {
            return Ok(0);
        }
        let primary_key = index
            .primary_key(&rtxn)?
            .ok_or_else(|| ResponseError::internal("an index with documents has no primary key"))?;
        let fields = index.fields_ids_map(&rtxn)?;
        let mut new_fields = fields.clone();
        let primary_key =
            PrimaryKey::new_or_insert(primary_key, &mut new_fields).map_err(|error| in_index(error.into()))?;
        let allocator = Bump::new();
        let mut deletion = indexer::DocumentDeletion::new();
        deletion.delete_documents_by_docids(matching);
        let changes = deletion.into_changes(&allocator, primary_key);
        indexer::index(
            wtxn,
            index,
            &self.pool,
            self.config.grenad_parameters(),
            &fields,
            new_fields,
            None,
            &changes,
            embedders(index, wtxn)?,
            must_stop,
            &Progress::default(),
        )
        .map_err(in_index)?;
        Ok(deleted)
    }
}

fn ids_to_delete(operation: &Operation) -> Vec<&str> {
    match operation {
        Operation::DocumentDeletion { ids } => ids.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

fn pool(threads: usize) -> Result<ThreadPoolNoAbort, ResponseError> {
    ThreadPoolNoAbortBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("indexing-{number}"))
        .build()
        .map_err(ResponseError::internal)
}
