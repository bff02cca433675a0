//! Meilisearch's Rust client, unmodified, driving the whole life of an index.

mod documents;
mod indexes;
mod keys;
mod search;
mod settings;
mod tasks;
