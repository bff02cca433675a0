//! Miroir makes a fleet of plain Meilisearch servers behave as one large, always-up Meilisearch.
//!
//! Start at [`proxy`] for the life of a request, and at [`cluster`] for what routing knows.

pub mod admin;
pub mod api;
pub mod app;
pub mod auth;
pub mod background;
pub mod catalog;
pub mod cli;
pub mod cluster;
pub mod conf;
pub mod dev;
pub mod documents;
pub mod error;
pub mod filter;
pub mod logs;
pub mod merge;
pub mod metrics;
pub mod peers;
pub mod proxy;
pub mod reload;
pub mod reserved;
pub mod rollover;
pub mod scatter;
pub mod server;
pub mod settings;
pub mod stage;
pub mod store;
pub mod tasks;
pub mod webhooks;
pub mod writes;
