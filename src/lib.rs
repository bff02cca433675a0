//! Miroir makes a fleet of plain Meilisearch servers behave as one large, always-up Meilisearch.
//!

pub mod api;
pub mod cluster;
pub mod documents;
pub mod error;
pub mod merge;
