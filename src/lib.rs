//! Miroir makes a fleet of plain Meilisearch servers behave as one large, always-up Meilisearch.
//!

pub mod cli;
pub mod cluster;
pub mod conf;
pub mod dev;
pub mod error;
pub mod logging;
