//! The gate that every document passes on its way into the batch, whatever format it came in.

use crate::cluster::Shard;
use crate::error::ErrorBody;

use super::batch::{BatchBuilder, DocumentBytes, SplitBatch};
use super::error::{
    bad_expiry, no_single_candidate, not_indexable, primary_key_required, reserved_field, unusable_key, PayloadError,
};
use super::key::{key_candidates, read_header, read_unusual_header, HeaderRules, KeyProblem, RepeatedField};
use super::memory::MemoryShare;
use super::place::BadPlaces;
use super::splitter::{MissingKey, PrimaryKeyRule, SplitRules};

/// Why a value was not taken.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// It is no JSON object. The parser's own words are for the reader of the format to place in the payload.
    NotADocument,
    Refused(PayloadError),
}

/// Checks documents, finds their shards and collects them.
///
/// An error that Meilisearch reports through a failed task is only remembered, because a later document may still show
/// that the payload as a whole is malformed, and then there is no task.
pub(super) struct Intake {
    rules: SplitRules,
    repeated: RepeatedField,
    batch: BatchBuilder,
    key_hashes: Vec<u64>,
    failure: Option<ErrorBody>,
    bad_places: BadPlaces,
    taken: u64,
    has_fields_for_nodes: bool,
    memory: MemoryShare,
    /// Memory of the reader that feeds this intake.
    carried: usize,
}

impl Intake {
    pub fn new(rules: SplitRules, repeated: RepeatedField) -> Self {
        Self {
            bad_places: BadPlaces::new(rules.places),
            rules,
            repeated,
            batch: BatchBuilder::default(),
            key_hashes: Vec::new(),
            failure: None,
            taken: 0,
            has_fields_for_nodes: false,
            memory: MemoryShare::uncounted(),
            carried: 0,
        }
    }

    pub fn set_memory(&mut self, memory: MemoryShare) {
        self.memory = memory;
    }

    /// Takes note of the memory that the reader holds, besides the batch.
    pub fn account_for(&mut self, carried: usize) -> Result<(), PayloadError> {
        self.carried = carried;
        Ok(self.memory.cover(self.held_bytes())?)
    }

    fn held_bytes(&self) -> u64 {
        (self.carried + self.batch.held_bytes() + self.key_hashes.capacity() * size_of::<u64>()) as u64
    }

    /// Checks one value of the payload, which begins and ends where the bytes do. `Some` is the shard to store it in.
    pub fn examine(&mut self, bytes: &[u8]) -> Result<Option<Shard>, NotTaken> {
        let document = std::str::from_utf8(bytes).map_err(|_| NotTaken::NotADocument)?;
        if let PrimaryKeyRule::InferFromFirst = self.rules.primary_key {
            self.infer_key(document).map_err(|_| NotTaken::NotADocument)?;
        }
        let primary_key = match &self.rules.primary_key {
            PrimaryKeyRule::Known(primary_key) => primary_key,
            PrimaryKeyRule::InferFromFirst => "",
        };
        let rules = HeaderRules { primary_key, repeated: self.repeated, expires: self.rules.expires };
        let (header, in_fields) = match read_header(document, rules) {
            Ok(header) => (header, Ok(())),
            Err(_) => read_unusual_header(document, rules).map_err(|_| NotTaken::NotADocument)?,
        };
        self.taken += 1;
        self.has_fields_for_nodes |= header.has_field_for_nodes;
        if header.has_reserved_field {
            return Err(NotTaken::Refused(reserved_field(document)));
        }
        if let Some(value) = header.bad_expiry {
            return Err(NotTaken::Refused(bad_expiry(value, document)));
        }
        if self.failure.is_some() {
            return Ok(None);
        }
        match header.key {
            Ok(key) => {
                if let Err(error) = in_fields {
                    self.fail(not_indexable(&error));
                    return Ok(None);
                }
                let hash = Shard::hash_of_key(&key);
                self.bad_places.note(hash, &key, header.place);
                self.key_hashes.push(hash);
                Ok(Some(Shard::of_hash(hash, self.rules.shard_count)))
            }
            Err(KeyProblem::Missing) if self.rules.missing_key == MissingKey::Refuse => {
                Err(NotTaken::Refused(primary_key_required(primary_key, document)))
            }
            Err(problem) => {
                let failure = unusable_key(problem, primary_key, document);
                self.fail(failure);
                Ok(None)
            }
        }
    }

    /// Keeps a document that has been found good.
    pub fn store(&mut self, shard: Shard, document: DocumentBytes) -> Result<(), PayloadError> {
        self.batch.append(shard, document);
        // After each, not after each chunk: a record of two bytes may become a document of megabytes under its header.
        Ok(self.memory.cover(self.held_bytes())?)
    }

    /// Settles the primary key by the first document, or the failure when it does not tell.
    fn infer_key(&mut self, document: &str) -> serde_json::Result<()> {
        if self.failure.is_some() {
            return Ok(());
        }
        let mut candidates = key_candidates(document)?;
        match candidates.len() {
            1 => {
                self.rules.primary_key =
                    candidates.pop_first().map_or(PrimaryKeyRule::InferFromFirst, PrimaryKeyRule::Known)
            }
            _ => self.fail(no_single_candidate(&candidates)),
        }
        Ok(())
    }

    /// From here on documents are only checked; what has been collected is of no use any more.
    fn fail(&mut self, failure: ErrorBody) {
        self.failure = Some(failure);
        self.batch = BatchBuilder::default();
        self.key_hashes = Vec::new();
    }

    pub fn finish(mut self) -> Result<SplitBatch, PayloadError> {
        if let Some(error) = self.failure.as_ref().or_else(|| self.bad_places.failure()) {
            return Err(PayloadError::FailedTask { error: error.clone(), document_count: self.taken });
        }
        self.carried = 0;
        let held = self.held_bytes();
        self.memory.shrink_to(held);
        let primary_key = match self.rules.primary_key {
            PrimaryKeyRule::Known(primary_key) => Some(primary_key),
            PrimaryKeyRule::InferFromFirst => None,
        };
        let mut batch = self.batch.finish(primary_key, self.key_hashes, self.memory);
        batch.has_fields_for_nodes = self.has_fields_for_nodes;
        Ok(batch)
    }
}
