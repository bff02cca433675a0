//! Answers of `/multi-search`: taken apart into what each query was answered, and put together again.

use std::ops::Range;

use bytes::Bytes;

use super::json::{self, Cursor};
use super::MergeError;

/// Where the results of a node's answer stand, in the order of the queries that it was asked.
pub fn results_of(body: &[u8]) -> json::Result<Vec<Range<usize>>> {
    let mut results = Vec::new();
    let mut cursor = Cursor::new(body);
    cursor.enter_object()?;
    while let Some((start, key_end)) = cursor.next_key()? {
        if &body[start + 1..key_end] != b"results" {
            cursor.skip_value()?;
            continue;
        }
        cursor.enter_array()?;
        while cursor.next_element()? {
            results.push(cursor.skip_value()?);
        }
    }
    Ok(results)
}

/// The answer to a client whose queries have these results, each with the name by which the client called the index, which
/// stands first where a result has none. All of them were one request to the client, so all name the `requestUid` of the first.
pub fn write_results(results: &[(&str, Bytes)]) -> Result<Bytes, MergeError> {
    let mut out = Vec::with_capacity(results.iter().map(|(_, result)| result.len() + 1).sum::<usize>() + 16);
    out.extend_from_slice(b"{\"results\":[");
    let mut request_uid = None;
    for (n, (uid, result)) in results.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let members = json::members(result).map_err(|error| MergeError::of_leg(n, error))?;
        let mut copied = 0;
        if !members.iter().any(|member| member.raw_key(result) == b"indexUid") {
            // The answer to a request of its own.
            out.extend_from_slice(b"{\"indexUid\":");
            json::push_string(uid, &mut out);
            out.push(if members.is_empty() { b'}' } else { b',' });
            copied = members.first().map_or(result.len(), |member| member.start);
        }
        let mut replace = |member: &json::Member, value: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(&result[copied..member.value_start]);
            out.extend_from_slice(value);
            copied = member.value_end;
        };
        for member in &members {
            match member.raw_key(result) {
                b"indexUid" => {
                    let mut shown = Vec::new();
                    json::push_string(uid, &mut shown);
                    replace(member, &shown, &mut out);
                }
                b"requestUid" => replace(member, request_uid.get_or_insert(member.value(result)), &mut out),
                _ => {}
            }
        }
        out.extend_from_slice(&result[copied..]);
    }
    out.extend_from_slice(b"]}");
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_in_their_order() {
        let body = br#"{"results": [{"indexUid":"a","hits":[{"x":"]}"}]} , {"indexUid":"b","hits":[]}]}"#;
        let found: Vec<&[u8]> = results_of(body).unwrap().into_iter().map(|range| &body[range]).collect();
        assert_eq!(found, [&br#"{"indexUid":"a","hits":[{"x":"]}"}]}"#[..], br#"{"indexUid":"b","hits":[]}"#]);
        assert!(results_of(br#"{"results":[{"hits":["#).is_err());
    }

    #[test]
    fn one_answer_has_one_request_uid() {
        let result = |text: &'static str| ("a", Bytes::from_static(text.as_bytes()));
        let results = [
            result(r#"{"indexUid":"on the node","hits":[],"requestUid":"1"}"#),
            result(r#"{"hits":[{"requestUid":"x"}],"requestUid":"2","z":0}"#),
            result(r#"{"hits":[]}"#),
        ];
        assert_eq!(
            write_results(&results).unwrap(),
            r#"{"results":[{"indexUid":"a","hits":[],"requestUid":"1"},{"indexUid":"a","hits":[{"requestUid":"x"}],"requestUid":"1","z":0},{"indexUid":"a","hits":[]}]}"#
        );
        assert_eq!(write_results(&[]).unwrap(), r#"{"results":[]}"#);
    }
}
