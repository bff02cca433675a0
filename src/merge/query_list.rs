//! The answer to a search by itself, in the form in which a node answers a federated search for that query alone.
//!
//! Some searches are several to the nodes. In a federated search their lists are made as those of any search, and put together
//! with those of the other queries from this form.

use bytes::Bytes;

use super::json::{self, Cursor};
use super::splice::{self, Hit};
use super::MergeError;

/// Adds to each hit its `_federation`, with its score by the query's weight. Hits must show their scores.
pub fn federated(answer: &[u8], weight: f64) -> Result<Bytes, MergeError> {
    written(answer, weight).map(Bytes::from).map_err(|error| MergeError::of_leg(0, error))
}

fn written(answer: &[u8], weight: f64) -> json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(answer.len() + answer.len() / 8);
    let mut done = 0;
    let mut cursor = Cursor::new(answer);
    cursor.enter_object()?;
    while let Some((start, key_end)) = cursor.next_key()? {
        if &answer[start + 1..key_end] != b"hits" {
            cursor.skip_value()?;
            continue;
        }
        cursor.enter_array()?;
        while cursor.next_element()? {
            let mut marked = Vec::new();
            let hit = Hit::scan(answer, &mut cursor, &[], &mut marked)?;
            let score = splice::ranking_score(answer, &marked);
            let score = score.ok_or(json::JsonError { what: "a hit without a score", at: hit.start })?;
            // A hit that shows its score is not empty, so that a comma belongs there.
            out.extend_from_slice(&answer[done..hit.end - 1]);
            out.extend_from_slice(b",\"_federation\":{\"queriesPosition\":0,\"weightedRankingScore\":");
            out.extend_from_slice(serde_json::Value::from(score * weight).to_string().as_bytes());
            out.push(b'}');
            done = hit.end - 1;
        }
    }
    out.extend_from_slice(&answer[done..]);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hit_says_what_it_scores() {
        let answer =
            br#"{"hits":[{"id":1,"_rankingScore":0.5},{"id":2,"_rankingScore":0.25,"x":[{}]}],"estimatedTotalHits":2}"#;
        let expected = r#"{"hits":[{"id":1,"_rankingScore":0.5,"_federation":{"queriesPosition":0,"weightedRankingScore":1.0}},{"id":2,"_rankingScore":0.25,"x":[{}],"_federation":{"queriesPosition":0,"weightedRankingScore":0.5}}],"estimatedTotalHits":2}"#;
        assert_eq!(federated(answer, 2.0).unwrap(), expected);
        assert_eq!(federated(br#"{"hits":[]}"#, 1.0).unwrap(), r#"{"hits":[]}"#);
    }

    #[test]
    fn a_hit_that_does_not_show_its_score_is_an_error() {
        assert!(federated(br#"{"hits":[{"id":1}]}"#, 1.0).is_err());
    }
}
