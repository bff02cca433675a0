//! The kinds of reads that handlers make: what they are called, and what nodes answer to them.

use crate::merge::shape;
use crate::scatter::ReadKind;

pub const SEARCH: ReadKind = ReadKind { name: "search", accepts: shape::is_search_answer };
/// Searches that only count: faster than others.
pub const COUNT: ReadKind = ReadKind { name: "count", accepts: shape::is_search_answer };
pub const FACET_SEARCH: ReadKind = ReadKind { name: "facet_search", accepts: shape::is_facet_search_answer };
pub const DOCUMENTS: ReadKind = ReadKind { name: "documents", accepts: shape::is_document_list };
pub const FIELDS: ReadKind = ReadKind { name: "fields", accepts: shape::is_field_list };
pub const SIMILAR: ReadKind = ReadKind { name: "similar", accepts: shape::is_search_answer };
pub const FEDERATED_SEARCH: ReadKind = ReadKind { name: "federated_search", accepts: shape::is_search_answer };
pub const MULTI_SEARCH: ReadKind = ReadKind { name: "multi_search", accepts: shape::is_multi_search_answer };
