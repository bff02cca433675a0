//! The embedded node: Meilisearch's engine behind the part of its HTTP API that Miroir needs.

mod documents;
mod error;
mod error_codes;
mod indexes;
mod queue;
mod search;
mod state;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {}
