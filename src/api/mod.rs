//! One file per family of Meilisearch routes: what a request asks for, and which plan it becomes.

mod search_query_string;
pub mod search_request;
