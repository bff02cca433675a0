//! The embedders that an index is configured with, ready to embed.

use std::sync::Arc;

use milli_core::heed::RoTxn;
use milli_core::index::IndexEmbeddingConfig;
use milli_core::prompt::Prompt;
use milli_core::vector::{Embedder, EmbeddingConfigs};
use milli_core::Index;

/// Embeddings of recent queries that each embedder remembers. None: an embedder lives as long as one task or search.
const CACHED_EMBEDDINGS: usize = 0;

/// Builds those of the index's embedders whose name is wanted. Those that compute nothing themselves (`userProvided`) cost
/// nothing to build.
pub fn embedders(
    index: &Index,
    txn: &RoTxn<'_>,
    is_wanted: impl Fn(&str) -> bool,
) -> milli_core::Result<EmbeddingConfigs> {
    let mut embedders = std::collections::HashMap::new();
    for IndexEmbeddingConfig { name, config, .. } in index.embedding_configs(txn)? {
        if !is_wanted(&name) {
            continue;
        }
        let prompt: Prompt = config.prompt.try_into().map_err(milli_core::Error::from)?;
        let embedder = Embedder::new(config.embedder_options, CACHED_EMBEDDINGS)
            .map_err(milli_core::vector::Error::from)
            .map_err(milli_core::Error::from)?;
        let is_quantized = config.quantized.unwrap_or_default();
        embedders.insert(name, (Arc::new(embedder), Arc::new(prompt), is_quantized));
    }
    Ok(EmbeddingConfigs::new(embedders))
}
