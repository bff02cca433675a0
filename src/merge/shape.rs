//! Whether a body is what a node answers to a read, as far as a merge relies on it.
//!
//! Looked at while the leg can still be tried on another replica: a body that was cut off, an error page with status 200, or
//! another server's answer must not get as far as a merge. The whole body is gone through once, at the merge's own speed.

use super::json::Cursor;

/// An answer to a search.
pub fn is_search_answer(body: &[u8]) -> bool {
    is_object_with(body, &["hits", "processingTimeMs"])
}

/// An answer to a facet search.
pub fn is_facet_search_answer(body: &[u8]) -> bool {
    is_object_with(body, &["facetHits", "processingTimeMs"])
}

/// Answers to several searches.
pub fn is_multi_search_answer(body: &[u8]) -> bool {
    is_object_with(body, &["results"])
}

/// A list of documents.
pub fn is_document_list(body: &[u8]) -> bool {
    is_object_with(body, &["results", "total"])
}

/// A list of an index's fields.
pub fn is_field_list(body: &[u8]) -> bool {
    is_object_with(body, &["results", "total"])
}

/// Whether the body is one object to its end, and has these members.
fn is_object_with(body: &[u8], required: &[&str]) -> bool {
    let mut cursor = Cursor::new(body);
    let mut found = 0;
    if cursor.enter_object().is_err() {
        return false;
    }
    loop {
        match cursor.next_member() {
            Ok(Some(member)) => {
                found += usize::from(required.iter().any(|name| member.raw_key(body) == name.as_bytes()));
            }
            Ok(None) => return found == required.len() && cursor.peek().is_none(),
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str =
        r#"{"hits":[{"id":1,"t":"a \"} b"}],"query":"","processingTimeMs":1,"facetDistribution":{"a":{"x":1}}}"#;

    #[test]
    fn an_answer_is_accepted_and_every_part_of_it_refused() {
        assert!(is_search_answer(ANSWER.as_bytes()));
        for end in 0..ANSWER.len() {
            assert!(!is_search_answer(&ANSWER.as_bytes()[..end]), "{}", &ANSWER[..end]);
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for body in ["", "<html>busy</html>", "null", "[]", "{}", r#"{"message":"x","code":"internal"}"#] {
            assert!(!is_search_answer(body.as_bytes()) && !is_document_list(body.as_bytes()), "{body}");
        }
        assert!(!is_search_answer(format!("{ANSWER}{ANSWER}").as_bytes()), "two answers are none");
        assert!(!is_document_list(ANSWER.as_bytes()) && !is_facet_search_answer(ANSWER.as_bytes()));
        assert!(is_document_list(br#"{"results":[],"offset":0,"limit":0,"total":3}"#));
        assert!(is_facet_search_answer(br#"{"facetHits":[],"facetQuery":null,"processingTimeMs":0}"#));
    }
}
