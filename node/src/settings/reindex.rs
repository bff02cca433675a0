//! Keeping a document's words when one of its fields is no longer filterable or sortable.

use std::collections::BTreeSet;

use milli_core::heed::RwTxn;
use milli_core::update::{IndexerConfig, Settings};
use milli_core::Index;
use serde_json::{Map, Value};

use super::apply;
use crate::error::ResponseError;

/// Settings that decide which fields the engine keeps facets of.
const FACETED_BY: [&str; 4] = ["filterableAttributes", "sortableAttributes", "distinctAttribute", "rankingRules"];

/// A word of the dictionary that no text has (the last private-use character).
const NO_WORD: &str = "\u{10fffd}";

/// Carries out a settings task.
///
/// When a field loses its facets, the engine (milli-core 1.15.1) extracts the document again with that field marked as
/// deleted only, and forgets the field's words with its facets. A change that makes it extract all words anew does not have
/// that effect, so such a change goes along and is then taken back: an entry of the dictionary that no text has.
pub fn update<'i>(
    settings: &Map<String, Value>,
    (index_uid, index): (&str, &'i Index),
    wtxn: &mut RwTxn<'i>,
    config: &IndexerConfig,
    must_stop: &(impl Fn() -> bool + Sync),
) -> Result<(), ResponseError> {
    let execute = |settings: &Map<String, Value>, dictionary: Option<BTreeSet<String>>, wtxn: &mut RwTxn<'i>| {
        let mut update = Settings::new(wtxn, index, config);
        apply(settings, &mut update)?;
        if let Some(dictionary) = dictionary {
            update.set_dictionary(dictionary);
        }
        update.execute(|_| (), must_stop).map_err(|error| ResponseError::in_index(index_uid, error))
    };
    let changes_facets = FACETED_BY.iter().any(|name| settings.contains_key(*name));
    if !changes_facets || index.number_of_documents(wtxn)? == 0 {
        return execute(settings, None, wtxn);
    }
    let dictionary = match settings.get("dictionary") {
        Some(value) => serde_json::from_value::<Option<BTreeSet<String>>>(value.clone())
            .map_err(ResponseError::internal)?
            .unwrap_or_default(),
        None => index.dictionary(wtxn)?.unwrap_or_default(),
    };
    let mut with_no_word = dictionary.clone();
    with_no_word.insert(NO_WORD.to_owned());
    execute(settings, Some(with_no_word), wtxn)?;
    execute(&Map::new(), Some(dictionary), wtxn)
}
