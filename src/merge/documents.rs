//! Lists of documents, and one document, as a client may read them.

use bytes::Bytes;

use super::json::{self, Cursor};
use super::splice;
use super::{Leg, MergeError};

/// Concatenates answers of `GET /indexes/{uid}/documents` (or `/documents/fetch`) in the order of `legs`, which is the
/// plan's: each leg was asked for just what it contributes. `offset` and `limit` are the client's; `total` is the sum.
pub fn merge_document_lists(legs: &[Leg], offset: usize, limit: usize) -> Result<Bytes, MergeError> {
    if legs.is_empty() {
        return Err(MergeError::NoLegs);
    }
    let mut out = Vec::with_capacity(legs.iter().map(|leg| leg.body.len()).sum());
    out.extend_from_slice(b"{\"results\":[");
    let mut total = 0;
    let mut written = 0;
    for (n, leg) in legs.iter().enumerate() {
        let list = read_list(&leg.body).map_err(|error| MergeError::of_leg(n, error))?;
        total += list.total.ok_or(MergeError::missing(n, "no total"))?;
        for document in list.documents.iter().take(limit - written) {
            if written > 0 {
                out.push(b',');
            }
            splice::push_without_reserved(document, &mut out).map_err(|error| MergeError::of_leg(n, error))?;
            written += 1;
        }
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

struct List<'a> {
    documents: Vec<&'a [u8]>,
    total: Option<u64>,
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
