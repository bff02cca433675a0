//! The answer of the only node that a search had to ask: what a client may not see is left out, and nothing else is done.

use bytes::Bytes;

use super::json::{self, Cursor, Member};
use super::splice::{self, Hit, Visibility};
use super::{IndexFacts, Leg, MergeError};

/// The node's answer to the client's own search, which it was asked with the client's own paging. `query` is `q` as the client
/// sent it, which the answer repeats; the node may have been given less of it.
pub fn only_answer(leg: &Leg, query: &str, visible: &Visibility, facts: &IndexFacts) -> Result<Bytes, MergeError> {
    written(&leg.body, query, visible, facts).map_err(|error| MergeError::of_leg(0, error))
}

fn written(body: &[u8], query: &str, visible: &Visibility, facts: &IndexFacts) -> json::Result<Bytes> {
    let mut out = Vec::with_capacity(body.len());
    let mut cursor = Cursor::new(body);
    cursor.enter_object()?;
    while let Some((start, key_end)) = cursor.next_key()? {
        out.push(if out.is_empty() { b'{' } else { b',' });
        out.extend_from_slice(&body[start..=key_end]);
        out.push(b':');
        match &body[start + 1..key_end] {
            b"hits" => push_hits(body, &mut cursor, visible, &mut out)?,
            b"facetDistribution" => push_distribution(&body[cursor.skip_value()?], facts, &mut out)?,
            b"facetStats" if facts.hidden_facet.is_some() => push_stats(&body[cursor.skip_value()?], facts, &mut out)?,
            b"query" => {
                cursor.skip_value()?;
                json::push_string(query, &mut out);
            }
            _ => out.extend_from_slice(&body[cursor.skip_value()?]),
        }
    }
    out.extend_from_slice(if out.is_empty() { b"{}" } else { b"}" });
    Ok(out.into())
}

fn push_hits(body: &[u8], cursor: &mut Cursor, visible: &Visibility, out: &mut Vec<u8>) -> json::Result<()> {
    let mut marked = Vec::new();
    let mut is_first = true;
    out.push(b'[');
    cursor.enter_array()?;
    while cursor.next_element()? {
        marked.clear();
        let hit = Hit::scan(body, cursor, &[], &mut marked)?;
        if !is_first {
            out.push(b',');
        }
        splice::push_hit(body, &hit, &marked, visible, None, out);
        is_first = false;
    }
    out.push(b']');
    Ok(())
}

/// `facetStats` without those that the client has not made facets.
fn push_stats(stats: &[u8], facts: &IndexFacts, out: &mut Vec<u8>) -> json::Result<()> {
    out.push(b'{');
    let mut is_first = true;
    for facet in json::members(stats)?.iter().filter(|facet| !facts.hides_facet(facet.raw_key(stats))) {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        push_key(stats, facet, out);
        out.extend_from_slice(facet.value(stats));
    }
    out.push(b'}');
    Ok(())
}

/// Facets without Miroir's own, each cut off where the client's setting does: the node's is held high ([`IndexFacts`]), and its
/// list, which is in the order of the client's setting, begins with what one of the client's length would have.
fn push_distribution(distribution: &[u8], facts: &IndexFacts, out: &mut Vec<u8>) -> json::Result<()> {
    out.push(b'{');
    let mut is_first = true;
    for facet in json::members(distribution)?.iter().filter(|facet| !facts.hides_facet(facet.raw_key(distribution))) {
        if !is_first {
            out.push(b',');
        }
        is_first = false;
        push_key(distribution, facet, out);
        let values = facet.value(distribution);
        let counts = json::members(values)?;
        match counts.get(facts.max_values_per_facet) {
            None => out.extend_from_slice(values),
            Some(_) => {
                out.push(b'{');
                for (n, count) in counts[..facts.max_values_per_facet].iter().enumerate() {
                    if n > 0 {
                        out.push(b',');
                    }
                    push_key(values, count, out);
                    out.extend_from_slice(count.value(values));
                }
                out.push(b'}');
            }
        }
    }
    out.push(b'}');
    Ok(())
}

fn push_key(object: &[u8], member: &Member, out: &mut Vec<u8>) {
    out.extend_from_slice(&object[member.start..=member.key_end]);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Shard;

    fn shown(body: &'static str, query: &str, max_values_per_facet: usize) -> String {
        let leg = Leg { shards: vec![Shard(0)], body: Bytes::from_static(body.as_bytes()) };
        let facts = IndexFacts { max_values_per_facet, ..IndexFacts::default() };
        let visible = Visibility { ranking_score: true, ranking_score_details: true, added: Vec::new() };
        let answer = only_answer(&leg, query, &visible, &facts).unwrap();
        String::from_utf8(answer.to_vec()).unwrap()
    }

    #[test]
    fn only_what_is_miroirs_goes() {
        let body = r#"{"hits":[{"id":1,"_miroir_shard":"x","_formatted":{"id":"1","_miroir_shard":"x"},"_rankingScore":0.5},{"_miroir_shard":"y"}],"query":"ab","processingTimeMs":3,"limit":7,"offset":5,"estimatedTotalHits":12,"facetDistribution":{"_miroir_shard":{"x":7},"g":{"c":3,"b":2,"a":1}},"facetStats":{}}"#;
        assert_eq!(
            shown(body, "a\u{e003}b", 2),
            "{\"hits\":[{\"id\":1,\"_formatted\":{\"id\":\"1\"},\"_rankingScore\":0.5},{}],\"query\":\"a\u{e003}b\",\"processingTimeMs\":3,\"limit\":7,\"offset\":5,\"estimatedTotalHits\":12,\"facetDistribution\":{\"g\":{\"c\":3,\"b\":2}},\"facetStats\":{}}"
        );
        assert_eq!(shown(r#"{"hits":[],"query":""}"#, "", 2), r#"{"hits":[],"query":""}"#);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for body in ["", "[]", "{\"hits\":[{\"id\":1}", "{\"hits\":7}"] {
            let leg = Leg { shards: Vec::new(), body: Bytes::from_static(body.as_bytes()) };
            let answer = only_answer(&leg, "", &Visibility::default(), &IndexFacts::default());
            assert!(matches!(answer, Err(MergeError::Malformed { leg: 0, .. })), "{body}: {answer:?}");
        }
    }
}
