//! The work of a batch on one index, inside a transaction that the caller commits.

use bumpalo::Bump;
use memmap2::Mmap;
use milli_core::documents::PrimaryKey;
use milli_core::heed::RwTxn;
use milli_core::progress::Progress;
use milli_core::update::new::indexer;
use milli_core::update::{ClearDocuments, IndexerConfig, Settings};
use milli_core::{Filter, Index, ThreadPoolNoAbort, ThreadPoolNoAbortBuilder};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::existing;
use super::payloads::{self, Payloads};
use super::records::Outcome;
use super::store::Store;
use super::task::{Method, Operation, Task};
use crate::embedders::embedders;
use crate::error::{Code, ResponseError};
use crate::settings;

/// Memory that the sorters of an indexing run may use before they spill to disk, in bytes. Several nodes share one
/// machine in development, so a share of the whole memory would be too much.
const SORTER_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The longest id that a document can have, in bytes.
const ID_BYTES_MAX: usize = 511;

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
        let Some(task) = batch.first() else { return Ok(Vec::new()) };
        let index_uid = task.index_uid.as_deref().unwrap_or_default();
        let in_index = |error| ResponseError::in_index(index_uid, error);
        let done = |documents| {
            vec![Outcome { uid: task.uid, details: task.operation.details(Some(index_uid), documents), error: None }]
        };
        match &task.operation {
            Operation::DocumentAddition { .. } => self.add_documents(index, wtxn, batch, payloads, must_stop),
            Operation::DocumentDeletion { .. } => self.delete_by_ids(index, wtxn, batch, must_stop),
            Operation::DocumentDeletionByFilter { filter } => {
                let deleted = self.delete_by_filter(index, wtxn, index_uid, filter, must_stop)?;
                Ok(done(Some(deleted)))
            }
            Operation::DocumentClear => {
                let cleared = ClearDocuments::new(wtxn, index).execute().map_err(in_index)?;
                Ok(done(Some(cleared)))
            }
            Operation::SettingsUpdate { settings, .. } => {
                settings::update(settings, (index_uid, index), wtxn, &self.config, must_stop)?;
                Ok(done(None))
            }
            Operation::IndexCreation { primary_key } | Operation::IndexUpdate { primary_key, .. } => {
                if let Some(primary_key) = primary_key {
                    let mut update = Settings::new(wtxn, index, &self.config);
                    update.set_primary_key(primary_key.clone());
                    update.execute(|_| (), must_stop).map_err(in_index)?;
                }
                Ok(done(None))
            }
            Operation::IndexDeletion
            | Operation::IndexSwap { .. }
            | Operation::TaskCancelation { .. }
            | Operation::TaskDeletion { .. } => {
                Err(ResponseError::internal("an operation on names or tasks reached the documents"))
            }
        }
    }

    /// Additions, in their order, as one indexing run. One that is refused does not keep the others from being done.
    fn add_documents(
        &self,
        index: &Index,
        wtxn: &mut RwTxn<'_>,
        batch: &[Task],
        (store, waiting): (&Store, &Payloads),
        must_stop: &(impl Fn() -> bool + Sync),
    ) -> Result<Vec<Outcome>, ResponseError> {
        let index_uid = batch[0].index_uid.as_deref().unwrap_or_default();
        let in_index = |error| ResponseError::in_index(index_uid, error);
        // Everything that the engine borrows has to outlive its run.
        let documents =
            batch.iter().map(|task| waiting.load(store, task)).collect::<Result<Vec<_>, ResponseError>>()?;
        let existing;
        let allocator = Bump::new();
        let primary_key = batch.iter().find_map(|task| match &task.operation {
            Operation::DocumentAddition { primary_key, .. } => primary_key.as_deref(),
            _ => None,
        });
        let rtxn = index.read_txn()?;
        let fields = index.fields_ids_map(&rtxn)?;
        let mut new_fields = fields.clone();
        let progress = Progress::default();
        let (mut changes, stats, primary_key) = additions(batch.iter().zip(&documents))
            .and_then(|additions| {
                let progress = progress.clone();
                additions.into_changes(&allocator, index, &rtxn, primary_key, &mut new_fields, must_stop, progress)
            })
            .map_err(in_index)?;
        // The verdict on a task and its count are those of all its documents, also of the ones left out now.
        if let ([task], [stats], Some(primary_key)) = (batch, stats.as_slice(), primary_key) {
            if skips_creation(&task.operation) && stats.error.is_none() {
                let kept = existing::only_existing(&documents[0], index, &rtxn, primary_key, &mut new_fields)
                    .map_err(in_index)?;
                existing = payloads::in_memory(kept.len(), |memory| {
                    memory.copy_from_slice(&kept);
                    Ok(())
                })?;
                let (name, progress) = (Some(primary_key.name()), progress.clone());
                (changes, ..) = additions([(task, &existing)])
                    .and_then(|additions| {
                        additions.into_changes(&allocator, index, &rtxn, name, &mut new_fields, must_stop, progress)
                    })
                    .map_err(in_index)?;
            }
        }
        let outcomes: Vec<_> = batch
            .iter()
            .zip(stats)
            .map(|(task, stats)| Outcome {
                uid: task.uid,
                details: task.operation.details(Some(index_uid), Some(stats.document_count)),
                error: stats.error.map(|error| ResponseError::from(milli_core::Error::from(error)).to_json()),
            })
            .collect();
        if outcomes.iter().any(|outcome| outcome.error.is_none()) {
            let embedders = embedders(index, wtxn, |_| true)?;
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

    /// Deletions by id as one indexing run. A document that several tasks name counts for the first.
    fn delete_by_ids(
        &self,
        index: &Index,
        wtxn: &mut RwTxn<'_>,
        batch: &[Task],
        must_stop: &(impl Fn() -> bool + Sync),
    ) -> Result<Vec<Outcome>, ResponseError> {
        let index_uid = batch[0].index_uid.as_deref().unwrap_or_default();
        let documents = index.external_documents_ids();
        let mut to_delete = RoaringBitmap::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for task in batch {
            let Operation::DocumentDeletion { ids } = &task.operation else {
                return Err(ResponseError::internal("a batch of deletions has another task in it"));
            };
            let before = to_delete.len();
            // The engine cannot even look for an id that is empty or longer than a key of its store.
            for id in ids.iter().filter(|id| (1..=ID_BYTES_MAX).contains(&id.len())) {
                to_delete.extend(documents.get(wtxn, id)?);
            }
            let deleted = to_delete.len() - before;
            let details = task.operation.details(Some(index_uid), Some(deleted));
            outcomes.push(Outcome { uid: task.uid, details, error: None });
        }
        self.delete(index, wtxn, to_delete, must_stop).map_err(|error| ResponseError::in_index(index_uid, error))?;
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
        let Some(filter) = Filter::from_json(filter).map_err(in_index)? else { return Ok(0) };
        let matching = filter.evaluate(wtxn, index).map_err(in_index)?;
        let deleted = matching.len();
        self.delete(index, wtxn, matching, must_stop).map_err(in_index)?;
        Ok(deleted)
    }

    fn delete(
        &self,
        index: &Index,
        wtxn: &mut RwTxn<'_>,
        documents: RoaringBitmap,
        must_stop: &(impl Fn() -> bool + Sync),
    ) -> milli_core::Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let rtxn = index.read_txn()?;
        // An index with documents has a primary key.
        let Some(primary_key) = index.primary_key(&rtxn)? else { return Ok(()) };
        let fields = index.fields_ids_map(&rtxn)?;
        let mut new_fields = fields.clone();
        let primary_key = PrimaryKey::new_or_insert(primary_key, &mut new_fields)?;
        let allocator = Bump::new();
        let mut deletion = indexer::DocumentDeletion::new();
        deletion.delete_documents_by_docids(documents);
        let changes = deletion.into_changes(&allocator, primary_key);
        // Deleting embeds nothing, but the embeddings of what is deleted go, too.
        let embedders = embedders(index, wtxn, |_| true)?;
        indexer::index(
            wtxn,
            index,
            &self.pool,
            self.config.grenad_parameters(),
            &fields,
            new_fields,
            None,
            &changes,
            embedders,
            must_stop,
            &Progress::default(),
        )?;
        Ok(())
    }
}

/// The additions of these tasks, whose documents are given with them, as the engine takes them.
fn additions<'d>(
    tasks: impl IntoIterator<Item = (&'d Task, &'d Mmap)>,
) -> milli_core::Result<indexer::DocumentOperation<'d>> {
    let mut additions = indexer::DocumentOperation::new();
    for (task, documents) in tasks {
        match task.operation {
            Operation::DocumentAddition { method: Method::Update, .. } => additions.update_documents(documents)?,
            _ => additions.replace_documents(documents)?,
        }
    }
    Ok(additions)
}

fn skips_creation(operation: &Operation) -> bool {
    matches!(operation, Operation::DocumentAddition { skip_creation: true, .. })
}

fn pool(threads: usize) -> Result<ThreadPoolNoAbort, ResponseError> {
    ThreadPoolNoAbortBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("indexing-{number}"))
        .build()
        .map_err(ResponseError::internal)
}
