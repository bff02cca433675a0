//! A client's documents, from the bytes of its request to one body per node, while they stream in.
//!
//! What lives here knows JSON, CSV and Meilisearch's rules for document ids, and nothing of nodes, requests or clocks.
//! A payload is cut into documents (`scan`, `json`, `csv`), each document is checked and its primary key read in one
//! pass (`intake`, `key`, `place`), and its bytes go straight into its shard's buffers (`batch`). No document is ever a tree, and
//! the payload is in memory once. Nothing may be sent before all of it has been found good: a write is whole or not at
//! all, while every node sees only its part of it.

mod batch;
mod csv;
#[cfg(test)]
mod csv_tests;
mod error;
mod format;
#[cfg(test)]
mod fuzz_tests;
mod ids;
mod intake;
mod json;
mod key;
mod memory;
mod place;
#[cfg(test)]
mod property_tests;
mod scan;
mod splitter;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict_tests;

pub use batch::{NodeBody, SplitBatch};
pub use error::PayloadError;
pub use format::PayloadFormat;
pub use ids::{document_id, ids_from_delete_batch, shard_of_document_id};
pub use key::is_document_id;
pub use memory::{MemoryBudget, MemoryShare};
pub use splitter::{MissingKey, PlaceRule, PrimaryKeyRule, SplitRules, Splitter};
