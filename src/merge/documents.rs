//! Lists of documents, and one document, as a client may read them.

use bytes::Bytes;

use super::json::{self, Cursor};
use super::sorted_documents::SortedPage;
use super::splice;
use super::{Leg, MergeError};

/// Concatenates answers of `GET /indexes/{uid}/documents` (or `/documents/fetch`) in the order of `legs`, which is the
/// plan's: each leg was asked for just what it contributes. `offset` and `limit` are the client's; `total` is the sum.
pub fn merge_document_lists(legs: &[Leg], offset: usize, limit: usize) -> Result<Bytes, MergeError> {
    let lists = read_lists(legs)?;
    let documents =
        lists.iter().enumerate().flat_map(|(n, list)| list.documents.iter().map(move |document| (n, *document)));
    write_list(legs, &lists, documents.take(limit), offset, limit)
}

/// Puts the documents of sorted lists in the page's order; each list has what it adds to the page at its start.
pub fn merge_sorted_lists(legs: &[Leg], page: &SortedPage, offset: usize, limit: usize) -> Result<Bytes, MergeError> {
    let lists = read_lists(legs)?;
    let mut rest: Vec<_> = lists.iter().map(|list| list.documents.iter()).collect();
    // A document that was deleted between the choice of the page and its reading is in no list any more.
    let documents = page.legs.iter().filter_map(|&n| Some((n, *rest[n].next()?)));
    write_list(legs, &lists, documents, offset, limit)
}

pub(super) fn read_lists(legs: &[Leg]) -> Result<Vec<List<'_>>, MergeError> {
    let mut lists = Vec::with_capacity(legs.len());
    for (n, leg) in legs.iter().enumerate() {
        lists.push(read_list(&leg.body).map_err(|error| MergeError::of_leg(n, error))?);
    }
    match lists.is_empty() {
        true => Err(MergeError::NoLegs),
        false => Ok(lists),
    }
}

fn write_list<'a>(
    legs: &[Leg],
    lists: &[List],
    documents: impl Iterator<Item = (usize, &'a [u8])>,
    offset: usize,
    limit: usize,
) -> Result<Bytes, MergeError> {
    let mut out = Vec::with_capacity(legs.iter().map(|leg| leg.body.len()).sum());
    out.extend_from_slice(b"{\"results\":[");
    for (written, (n, document)) in documents.enumerate() {
        if written > 0 {
            out.push(b',');
        }
        splice::push_without_reserved(document, &mut out).map_err(|error| MergeError::of_leg(n, error))?;
    }
    let mut total = 0;
    for (n, list) in lists.iter().enumerate() {
        total += list.total.ok_or(MergeError::missing(n, "no total"))?;
    }
    for (name, value) in [("],\"offset\":", offset as u64), (",\"limit\":", limit as u64), (",\"total\":", total)] {
        out.extend_from_slice(name.as_bytes());
        json::push_count(value, &mut out);
    }
    out.push(b'}');
    Ok(out.into())
}

/// Total of a documents list, which planning needs of legs that contribute no documents.
pub fn total_of_list(body: &[u8]) -> Option<u64> {
    read_list(body).ok()?.total
}

/// One document without Miroir's own fields. What is not an object (an error of a node) passes unchanged.
pub fn strip_reserved(document: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(document.len());
    match splice::push_without_reserved(document, &mut out) {
        Ok(()) => out.into(),
        Err(_) => Bytes::copy_from_slice(document),
    }
}

pub(super) struct List<'a> {
    pub documents: Vec<&'a [u8]>,
    pub total: Option<u64>,
}

fn read_list(body: &[u8]) -> json::Result<List<'_>> {
    let mut list = List { documents: Vec::new(), total: None };
    let mut cursor = Cursor::new(body);
    cursor.enter_object()?;
    while let Some((start, key_end)) = cursor.next_key()? {
        match &body[start + 1..key_end] {
            b"results" => {
                cursor.enter_array()?;
                while cursor.next_element()? {
                    list.documents.push(&body[cursor.skip_value()?]);
                }
            }
            b"total" => list.total = json::count(&body[cursor.skip_value()?]),
            _ => {
                cursor.skip_value()?;
            }
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Shard;

    fn leg(body: &'static str) -> Leg {
        Leg { shards: vec![Shard(9)], body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn lists_follow_the_plans_order_and_hide_the_shard() {
        let legs = [
            leg(
                r#"{"results":[{"_miroir_shard":"x","id":2},{"_miroir_shard":"x","id":1}],"offset":0,"limit":3,"total":2}"#,
            ),
            leg(r#"{"results":[{"id":9,"_miroir_shard":"y"},{"id":8}],"offset":0,"limit":3,"total":5}"#),
            leg(r#"{"results":[],"offset":0,"limit":0,"total":4}"#),
        ];
        assert_eq!(
            merge_document_lists(&legs, 0, 3).unwrap(),
            r#"{"results":[{"id":2},{"id":1},{"id":9}],"offset":0,"limit":3,"total":11}"#
        );
        assert_eq!(total_of_list(&legs[1].body), Some(5));
    }

    #[test]
    fn a_torn_answer_is_an_error_that_names_its_leg() {
        let legs = [leg(r#"{"results":[],"offset":0,"limit":3,"total":2}"#), leg(r#"{"results":[{"id":2},{"#)];
        assert!(matches!(merge_document_lists(&legs, 0, 3), Err(MergeError::Malformed { leg: 1, .. })));
        assert_eq!(merge_document_lists(&[], 0, 3), Err(MergeError::NoLegs));
    }

    #[test]
    fn one_document_is_stripped_and_an_error_is_not_touched() {
        assert_eq!(strip_reserved(br#"{"_miroir_shard":"x","id":1}"#), r#"{"id":1}"#);
        assert_eq!(strip_reserved(b"<html>"), "<html>");
    }
}
