//! Whether a query is answered by its words, by its meaning, or by both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use milli_core::heed::RoTxn;
use milli_core::vector::Embedder;
use milli_core::{Index, UserError};

use super::query::SearchQuery;
use crate::embedders::embedders;
use crate::error::{Code, ResponseError};

/// How long an embedding service may take for a query. The engine gives a hybrid search the same.
const EMBED_TIMEOUT: Duration = Duration::from_secs(3);

pub enum SearchKind {
    Words,
    Meaning(Meaning),
    /// Both, and how much the meaning weighs.
    Both(Meaning, f32),
}

/// What a query means, and whose vectors it is compared to.
pub struct Meaning {
    pub embedder_name: String,
    pub embedder: Arc<Embedder>,
    pub is_quantized: bool,
    /// `None` only beside words, when the text could not be embedded or is left to the engine.
    pub vector: Option<Vec<f32>>,
}

impl SearchKind {
    /// What Meilisearch makes of `q`, `vector`, `media` and `hybrid` together.
    pub fn of(query: &SearchQuery, index: &Index, rtxn: &RoTxn<'_>) -> Result<Self, ResponseError> {
        if query.media.is_some() && query.vector.is_some() {
            return Err(ResponseError::new(
                Code::InvalidSearchMediaAndVector,
                "Invalid request: both `media` and `vector` parameters are present.",
            ));
        }
        let Some(hybrid) = &query.hybrid else {
            if query.media.is_some() || query.vector.is_some() {
                return Err(ResponseError::new(
                    Code::MissingSearchHybrid,
                    "Invalid request: missing `hybrid` parameter when `vector` or `media` are present.",
                ));
            }
            return Ok(Self::Words);
        };
        let ratio = hybrid.semantic_ratio.0 as f32;
        let has_meaning = query.has_words() || query.vector.is_some() || query.media.is_some();
        if ratio == 0.0 || !has_meaning {
            return Ok(Self::Words);
        }
        let mut meaning = Meaning::new(index, rtxn, &hybrid.embedder, Code::InvalidSearchEmbedder)?;
        if let Some(vector) = &query.vector {
            meaning.check_dimensions(vector)?;
            meaning.vector = Some(vector.clone());
        }
        if ratio < 1.0 && query.has_words() {
            if meaning.vector.is_none() && query.retrieve_vectors {
                // The engine would embed the text itself, but not tell the vector. It does without one that it cannot get.
                meaning.vector = meaning.embed(query).ok();
            }
            return Ok(Self::Both(meaning, ratio));
        }
        if meaning.vector.is_none() {
            meaning.vector = Some(meaning.embed(query)?);
        }
        Ok(Self::Meaning(meaning))
    }

    /// The vector that documents are compared to, where it is known.
    pub fn vector(&self) -> Option<&[f32]> {
        match self {
            Self::Words => None,
            Self::Meaning(meaning) | Self::Both(meaning, _) => meaning.vector.as_deref(),
        }
    }
}

impl Meaning {
    /// The embedder of that name, without a vector yet. `code` is what a name that no embedder has is refused with.
    pub fn new(index: &Index, rtxn: &RoTxn<'_>, name: &str, code: Code) -> Result<Self, ResponseError> {
        // Only the one that is asked for is built: others may have to ask a service for its dimensions.
        let found = embedders(index, rtxn, |other| other == name)?.get(name);
        let (embedder, _, is_quantized) = found
            .ok_or_else(|| ResponseError::new(code, UserError::InvalidSearchEmbedder(name.to_owned()).to_string()))?;
        Ok(Self { embedder_name: name.to_owned(), embedder, is_quantized, vector: None })
    }

    fn check_dimensions(&self, vector: &[f32]) -> Result<(), ResponseError> {
        let expected = self.embedder.dimensions();
        match vector.len() == expected {
            true => Ok(()),
            false => {
                let error = UserError::InvalidVectorDimensions { expected, found: vector.len() };
                Err(milli_core::Error::from(error).into())
            }
        }
    }

    fn embed(&self, query: &SearchQuery) -> Result<Vec<f32>, ResponseError> {
        let text = query.q.as_deref().unwrap_or_default();
        let vector = self
            .embedder
            .embed_search(text, Some(Instant::now() + EMBED_TIMEOUT))
            .map_err(milli_core::vector::Error::from)
            .map_err(milli_core::Error::from)?;
        Ok(vector)
    }
}
