//! Additions that create nothing: of their documents, those that are there already.
//!
//! The engine creates every document that it is given, so the others are taken out before it sees them.

use bumpalo::Bump;
use milli_core::documents::PrimaryKey;
use milli_core::heed::RoTxn;
use milli_core::{FieldsIdsMap, Index, InternalError};
use serde_json::value::RawValue;
use serde_json::Deserializer;

/// The lines of the NDJSON `documents` whose document exists in the index. `fields` is the map that `primary_key` comes
/// from.
pub fn only_existing(
    documents: &[u8],
    index: &Index,
    rtxn: &RoTxn<'_>,
    primary_key: PrimaryKey<'_>,
    fields: &mut FieldsIdsMap,
) -> milli_core::Result<Vec<u8>> {
    let ids = index.external_documents_ids();
    let mut allocator = Bump::new();
    let mut existing = Vec::new();
    for document in Deserializer::from_slice(documents).into_iter::<&RawValue>() {
        let document = document.map_err(InternalError::SerdeJson)?;
        let is_there = {
            let id = primary_key.extract_fields_and_docid(document, fields, &allocator)?;
            ids.get(rtxn, id.to_de())?.is_some()
        };
        allocator.reset();
        if is_there {
            existing.extend_from_slice(document.get().as_bytes());
            existing.push(b'\n');
        }
    }
    Ok(existing)
}
