//! The push parser that a request's body goes through.

use super::batch::SplitBatch;
use super::csv::CsvReader;
use super::error::{missing_payload, PayloadError};
use super::intake::Intake;
use super::json::JsonReader;
use super::key::RepeatedField;
use super::memory::MemoryShare;
use super::PayloadFormat;

/// Where a batch's primary key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrimaryKeyRule {
    /// The index's own, or the request's `primaryKey`.
    Known(String),
    /// By Meilisearch's rule: the only field of the first document whose name ends in `id`.
    InferFromFirst,
}

/// What becomes of a batch with a document that lacks its primary key (`writes.missing_primary_key`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingKey {
    /// 400 `miroir_primary_key_required`.
    #[default]
    Refuse,
    /// A failed task with `missing_document_id`, as in Meilisearch.
    FailTask,
}

/// Whether `_geo` must be a place. A node would fail all writes of the batch in which it finds one that is none, and each replica
/// makes batches of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlaceRule {
    /// The index neither filters nor sorts by places: `_geo` is a field as any other.
    #[default]
    Unchecked,
    /// In documents that take the place of earlier ones.
    InReplacements,
    /// In documents that change fields of earlier ones.
    InUpdates,
}

/// How one index's documents are split.
#[derive(Clone, Debug)]
pub struct SplitRules {
    pub primary_key: PrimaryKeyRule,
    pub missing_key: MissingKey,
    pub places: PlaceRule,
    /// The index's number of shards.
    pub shard_count: u32,
    /// Whether documents may say when they expire.
    pub expires: bool,
}

/// Cuts a payload into documents and groups them by shard while it streams in. One per request.
///
/// Nothing of what it holds may be sent before [`Splitter::finish`] has said that all of the payload is good.
pub struct Splitter {
    format: PayloadFormat,
    reader: Reader,
    intake: Intake,
    is_empty: bool,
}

enum Reader {
    Json(JsonReader),
    Csv(Box<CsvReader>),
}

impl Splitter {
    pub fn new(format: PayloadFormat, rules: SplitRules) -> Self {
        let (reader, repeated) = match format {
            PayloadFormat::Json => (Reader::Json(JsonReader::json()), RepeatedField::LastWins),
            PayloadFormat::Ndjson => (Reader::Json(JsonReader::ndjson()), RepeatedField::BothCount),
            PayloadFormat::Csv { delimiter } => {
                (Reader::Csv(Box::new(CsvReader::new(delimiter))), RepeatedField::LastWins)
            }
        };
        Self { format, reader, intake: Intake::new(rules, repeated), is_empty: true }
    }

    /// Lets the batch grow as far as `memory` does. Without it nobody counts what the batch holds.
    #[must_use]
    pub fn within(mut self, memory: MemoryShare) -> Self {
        self.intake.set_memory(memory);
        self
    }

    /// Reads the next bytes of the body. After an error the payload is lost: do not push more of it.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), PayloadError> {
        self.is_empty &= chunk.is_empty();
        match &mut self.reader {
            Reader::Json(reader) => reader.push(chunk, &mut self.intake)?,
            Reader::Csv(reader) => reader.push(chunk, &mut self.intake)?,
        }
        let carried = match &self.reader {
            Reader::Json(reader) => reader.carried_bytes(),
            Reader::Csv(reader) => reader.carried_bytes(),
        };
        self.intake.account_for(carried)
    }

    /// The batch, once the body has ended.
    pub fn finish(mut self) -> Result<SplitBatch, PayloadError> {
        if self.is_empty {
            return Err(missing_payload(self.format));
        }
        match self.reader {
            Reader::Json(reader) => reader.finish(&mut self.intake)?,
            Reader::Csv(reader) => reader.finish(&mut self.intake)?,
        }
        self.intake.finish()
    }
}
