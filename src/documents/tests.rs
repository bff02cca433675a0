//! Payloads as clients send them, well and ill, in any cut.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::value::RawValue;
use serde_json::{json, Map, Value};

use super::fuzz_tests::Fields;
use super::*;
use crate::cluster::Shard;
use crate::error::{Code, ErrorBody};
use crate::reserved::SHARD_FIELD;

const SHARD_COUNT: u32 = 8;
pub(super) const JSON: PayloadFormat = PayloadFormat::Json;
pub(super) const NDJSON: PayloadFormat = PayloadFormat::Ndjson;
pub(super) const CSV: PayloadFormat = PayloadFormat::Csv { delimiter: b',' };

pub(super) fn rules(primary_key: &str) -> SplitRules {
    SplitRules {
        primary_key: PrimaryKeyRule::Known(primary_key.to_owned()),
        missing_key: MissingKey::Refuse,
        places: PlaceRule::Unchecked,
        shard_count: SHARD_COUNT,
        expires: false,
    }
}

#[test]
fn a_batch_tells_whether_it_has_fields_that_nodes_may_fail_it_for() {
    let has = |format, payload: &str| split(format, rules("id"), payload).unwrap().has_fields_for_nodes();
    for plain in [r#"{"id":1,"_geo":null}"#, r#"{"id":1,"geo":{"_geojson":1},"text":"_vectors","_vector":[1]}"#] {
        assert!(!has(JSON, plain), "{plain}");
    }
    for checked in [r#"[{"id":1},{"_vectors":{},"id":2}]"#, r#"{"id":1,"\u005fgeojson":{}}"#] {
        assert!(has(JSON, checked), "{checked}");
    }
    assert!(has(CSV, "id,_geojson\n1,2\n") && !has(CSV, "id,lat\n1,2\n"));
}

fn inferring() -> SplitRules {
    SplitRules { primary_key: PrimaryKeyRule::InferFromFirst, ..rules("") }
}

fn split_in_pieces(
    format: PayloadFormat,
    rules: SplitRules,
    payload: &[u8],
    piece_len: usize,
) -> Result<SplitBatch, PayloadError> {
    let mut splitter = Splitter::new(format, rules);
    for piece in payload.chunks(piece_len) {
        splitter.push(piece)?;
    }
    splitter.finish()
}

/// Splits the payload whole and in pieces of every small size, which must all say the same.
pub(super) fn split(
    format: PayloadFormat,
    rules: SplitRules,
    payload: impl AsRef<[u8]>,
) -> Result<SplitBatch, PayloadError> {
    let payload = payload.as_ref();
    let whole = split_in_pieces(format, rules.clone(), payload, payload.len().max(1));
    for piece_len in 1..payload.len().min(20) {
        let in_pieces = split_in_pieces(format, rules.clone(), payload, piece_len);
        let shown = |result: &Result<SplitBatch, PayloadError>| match result {
            Ok(batch) => Ok(documents_of(batch)),
            Err(error) => Err(error.clone()),
        };
        assert_eq!(shown(&in_pieces), shown(&whole), "in pieces of {piece_len}: {}", payload.escape_ascii());
    }
    whole
}

fn body_of(batch: &SplitBatch, shards: &[Shard]) -> Vec<u8> {
    let body = batch.body_for(shards);
    let bytes = body.pieces.concat();
    assert_eq!(bytes.len(), body.content_length);
    bytes
}

/// All documents of a batch as its nodes would read them, with their shards taken out again (and checked).
pub(super) fn documents_of(batch: &SplitBatch) -> Vec<Map<String, Value>> {
    let mut all = Vec::new();
    for shard in batch.shards() {
        let body = body_of(batch, &[shard]);
        let documents: Vec<Fields> = serde_json::from_slice(&body).unwrap();
        assert_eq!(batch.document_count_of(&[shard]), documents.len() as u64);
        for Fields(fields) in documents {
            // Field by field, as nodes read them: a whole document may be deeper than the parser goes, and of a repeated
            // field only the last value counts.
            let last: BTreeMap<&str, &RawValue> = fields.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
            let value = |name: &str| serde_json::from_str::<Value>(last[name].get()).unwrap();
            let mut document: Map<String, Value> =
                fields.iter().map(|(name, _)| (name.to_string(), value(name.as_ref()))).collect();
            assert_eq!(document.keys().next().unwrap(), SHARD_FIELD, "the shard is the first member");
            assert_eq!(document.shift_remove(SHARD_FIELD), Some(Value::from(shard.as_char().to_string())));
            all.push(document);
        }
    }
    assert_eq!(batch.document_count(), all.len() as u64);
    all
}

fn malformed(format: PayloadFormat, what: &str) -> PayloadError {
    let message =
        format!("The `{}` payload provided is malformed. `Couldn't serialize document value: {what}`.", format.name());
    PayloadError::Refused(crate::error::ApiError::new(Code::MalformedPayload, message))
}

pub(super) fn refused_code(error: PayloadError) -> String {
    match error {
        PayloadError::Refused(error) => error.body.code.into_owned(),
        PayloadError::FailedTask { .. } => panic!("a failed task, not a refusal: {error:?}"),
    }
}

pub(super) fn task_error(error: PayloadError) -> (ErrorBody, u64) {
    match error {
        PayloadError::FailedTask { error, document_count } => (error, document_count),
        PayloadError::Refused(_) => panic!("a refusal, not a failed task: {error:?}"),
    }
}

#[test]
fn each_document_goes_to_the_shard_of_its_key() {
    let payload = r#" [ {"id":1,"t":"a"} , {"t":"]}\"","id":"x-1"},{"id":-7}] "#;
    let batch = split(JSON, rules("id"), payload).unwrap();
    assert_eq!(batch.primary_key(), Some("id"));
    assert_eq!(batch.document_count(), 3);
    for (key, document) in
        [("1", json!({"id":1,"t":"a"})), ("x-1", json!({"t":"]}\"","id":"x-1"})), ("-7", json!({"id":-7}))]
    {
        let shard = Shard::of_key(key, SHARD_COUNT);
        let body: Vec<Value> = serde_json::from_slice(&body_of(&batch, &[shard])).unwrap();
        let stored: Vec<Value> = body
            .into_iter()
            .map(|mut stored| {
                stored.as_object_mut().unwrap().remove(SHARD_FIELD);
                stored
            })
            .collect();
        assert!(stored.contains(&document), "{document} in {shard}");
    }
    assert_eq!(batch.key_hashes(), ["1", "x-1", "-7"].map(Shard::hash_of_key));
}

#[test]
fn integers_and_strings_are_one_key() {
    let batch = split(JSON, rules("id"), r#"[{"id":7,"v":1},{"id":"7","v":2},{"id":"\u0037","v":3}]"#).unwrap();
    assert_eq!(batch.shards().count(), 1);
    let versions: Vec<_> = documents_of(&batch).iter().map(|document| document["v"].clone()).collect();
    assert_eq!(versions, [1, 2, 3], "documents of one key keep their order");
    assert!(batch.key_hashes().windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn one_object_and_lines_are_payloads_too() {
    assert_eq!(split(JSON, rules("id"), " {\"id\":1} \n").unwrap().document_count(), 1);
    for lines in [
        "{\"id\":1}\n{\"id\":2}\n",
        "{\"id\":1}\r\n\r\n{\"id\":2}",
        "{\"id\":1}{\"id\":2}",
        "\n {\"id\":1,\n\"a\":2}\t{\"id\":2}",
    ] {
        assert_eq!(split(NDJSON, rules("id"), lines).unwrap().document_count(), 2, "{lines}");
    }
}

#[test]
fn a_batch_may_be_empty_but_a_body_may_not() {
    for (format, payload) in [(JSON, "[]"), (JSON, " [ ] "), (NDJSON, "\n"), (CSV, "id,title\n")] {
        let batch = split(format, rules("id"), payload).unwrap();
        assert_eq!((batch.document_count(), batch.shards().count()), (0, 0), "{payload}");
        assert_eq!(body_of(&batch, &[]), b"[]");
    }
    for (format, name) in [(JSON, "json"), (NDJSON, "ndjson"), (CSV, "csv")] {
        let PayloadError::Refused(error) = split(format, rules("id"), "").unwrap_err() else { panic!("no refusal") };
        assert!(error.is(Code::MissingPayload));
        assert_eq!(error.body.message, format!("A {name} payload is missing."));
    }
}

#[test]
fn what_a_strict_parser_refuses_is_refused_in_its_words() {
    let cases: &[(&str, &str)] = &[
        (r#"[{"id":1,}]"#, "key must be a string at line 1 column 10"),
        (r#"[{"id":1},]"#, "trailing comma at line 1 column 11"),
        (r#"[{"id":1} {"id":2}]"#, "expected `,` or `]` at line 1 column 11"),
        ("[\n{\"id\":1},\n{\"id\" 2}]", "expected `:` at line 3 column 7"),
        (r#"[{"id":01}]"#, "invalid number at line 1 column 9"),
        (r#"[{"id":1,"a":.5}]"#, "expected value at line 1 column 14"),
        (r#"[{"id":1,"a":nul}]"#, "expected ident at line 1 column 17"),
        (r#"[{"id":1,"a":"\x"}]"#, "invalid escape at line 1 column 16"),
        (r#"[{"id":1,"a":]}]"#, "expected value at line 1 column 14"),
        (
            "[{\"id\":1,\"a\":\"\u{1}\"}]",
            "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 14",
        ),
        (r#"[{"id":1}"#, "EOF while parsing a list at line 1 column 9"),
        (r#"[{"id":1},"#, "EOF while parsing a value at line 1 column 10"),
        (r#"[{"id":1"#, "EOF while parsing an object at line 1 column 8"),
        (r#"[{"id":"1"#, "EOF while parsing a string at line 1 column 9"),
        ("[", "EOF while parsing a list at line 1 column 1"),
        ("  ", "EOF while parsing a value at line 1 column 2"),
        (r#"{"id":1} x"#, "trailing characters at line 1 column 10"),
        (r#"{"id":1}}"#, "trailing characters at line 1 column 9"),
        ("nul", "EOF while parsing a value at line 1 column 3"),
        ("x", "expected value at line 1 column 1"),
        ("\u{feff}[]", "expected value at line 1 column 1"),
        ("\"a\"", "data are neither an object nor a list of objects"),
        ("12", "data are neither an object nor a list of objects"),
        ("[,]", "expected value at line 1 column 2"),
        ("[nul]", "expected ident at line 1 column 5"),
        (r#"[1,{"id":1}]"#, "trailing characters at line 1 column 4"),
        ("[1", "EOF while parsing a list at line 1 column 2"),
        ("[1,", "trailing characters at line 1 column 3"),
        ("[1,]", "trailing comma at line 1 column 4"),
        ("[1x]", "trailing characters at line 1 column 3"),
        (r#"[{"id":1,"\ud800":1}]"#, "unexpected end of hex escape at line 1 column 16"),
        (r#"{"id":1,"a":"\ud800"}"#, "unexpected end of hex escape at line 1 column 20"),
        (r#"{"id":1,"a":1e999}"#, "number out of range at line 1 column 17"),
    ];
    for (payload, what) in cases {
        assert_eq!(split(JSON, rules("id"), payload).unwrap_err(), malformed(JSON, what), "{payload}");
    }
    let lines: &[(&str, &str)] = &[
        ("{\"id\":1},{\"id\":2}", "expected value at line 1 column 9"),
        ("{\"id\":1}\n{\"id\":}", "expected value at line 2 column 7"),
        ("{\"id\":1}\n{\"id\":2", "EOF while parsing an object at line 2 column 7"),
        ("1x", "trailing characters at line 1 column 2"),
    ];
    for (payload, what) in lines {
        assert_eq!(split(NDJSON, rules("id"), payload).unwrap_err(), malformed(NDJSON, what), "{payload}");
    }
}

#[test]
fn a_value_that_is_no_object_is_meilisearchs_internal_error() {
    for (format, payload, message) in [
        (JSON, "[1]", "invalid type: integer `1`, expected a map at line 1 column 1"),
        (JSON, r#"[{"id":1},"a"]"#, "invalid type: string \"a\", expected a map at line 1 column 3"),
        (JSON, "[[]]", "invalid type: sequence, expected a map at line 1 column 0"),
        (NDJSON, "{\"id\":1}\n12", "invalid type: integer `12`, expected a map at line 1 column 2"),
    ] {
        let refusal = PayloadError::Refused(crate::error::ApiError::new(Code::Internal, message));
        assert_eq!(split(format, rules("id"), payload).unwrap_err(), refusal, "{payload}");
    }
}

#[test]
fn what_follows_the_array_is_not_looked_at() {
    for payload in [r#"[{"id":1}] garbage"#, r#"[{"id":1}]]"#] {
        assert_eq!(split(JSON, rules("id"), payload).unwrap().document_count(), 1, "{payload}");
    }
}

/// Meilisearch takes such documents and fails on them while indexing: in a split batch, on one node and not the others.
#[test]
fn json_that_no_node_can_index_fails_the_whole_batch() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (value, what) in [
        (r#""\ud800""#, "unexpected end of hex escape at line 1 column 8"),
        (r#"{"\ud800":1}"#, "unexpected end of hex escape at line 1 column 9"),
        ("1e999", "number out of range at line 1 column 5"),
        (&nested(128), "recursion limit exceeded at line 1 column 128"),
    ] {
        let payload = format!(r#"[{{"id":1}},{{"id":2,"a":{value}}}]"#);
        let (error, document_count) = task_error(split(JSON, rules("id"), &payload).unwrap_err());
        assert_eq!((error.code.as_ref(), document_count), ("internal", 2), "{payload}");
        assert_eq!(error.message, format!("internal: {what}."));
        let nested_key = format!(r#"[{{"a":{{"id":2,"b":{value}}}}}]"#);
        assert_eq!(task_error(split(JSON, rules("a.id"), nested_key).unwrap_err()).0.code, "internal");
    }
    let payload = format!(r#"[{{"id":1,"a":{}}}]"#, nested(127));
    let batch = split_in_pieces(JSON, rules("id"), payload.as_bytes(), 50).unwrap();
    assert_eq!(batch.document_count(), 1, "127 levels below a field are what Meilisearch takes");
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let error = split(JSON, rules("id"), b"[{\"id\":1,\"a\":\"\xff\"}]").unwrap_err();
    assert_eq!(refused_code(error), "malformed_payload");
}

#[test]
fn a_key_that_is_no_id_fails_the_task_as_in_meilisearch() {
    let long = "x".repeat(512);
    for (id, shown) in [
        ("1.5", "1.5"),
        ("1.0", "1.0"),
        ("null", "null"),
        ("true", "true"),
        (r#""a b""#, r#""a b""#),
        (r#"" a""#, r#"" a""#),
        (r#""""#, r#""""#),
        (r#""é""#, r#""é""#),
        ("[1, 2]", "[1,2]"),
        (&format!("\"{long}\""), &format!("\"{long}\"")),
    ] {
        let payload = format!(r#"[{{"id":1}},{{"id":{id}}},{{"id":3}}]"#);
        let (error, document_count) = task_error(split(JSON, rules("id"), payload).unwrap_err());
        assert_eq!(error.code, "invalid_document_id");
        assert_eq!(
            error.message,
            format!(
                "Document identifier `{shown}` is invalid. A document identifier can be of type integer or string, only \
                 composed of alphanumeric characters (a-z A-Z 0-9), hyphens (-) and underscores (_), and can not be more \
                 than 511 bytes."
            )
        );
        assert_eq!(document_count, 3);
    }
    for id in ["-5", "0", "18446744073709551615", "\"a_B-9\"", &format!("\"{}\"", "x".repeat(511))] {
        assert!(split(JSON, rules("id"), format!(r#"[{{"id":{id}}}]"#)).is_ok(), "{id}");
    }
}

#[test]
fn a_malformed_payload_is_refused_even_when_an_earlier_key_is_bad() {
    let error = split(JSON, rules("id"), r#"[{"id":"a b"},{"id":}]"#).unwrap_err();
    assert_eq!(error, malformed(JSON, "expected value at line 1 column 21"));
}

#[test]
fn a_document_without_its_key_is_refused_by_name() {
    let payload = r#"[{"id":1},{"title": "Carol"}]"#;
    let PayloadError::Refused(error) = split(JSON, rules("id"), payload).unwrap_err() else { panic!("no refusal") };
    assert!(error.is(Code::MiroirPrimaryKeyRequired));
    assert!(error.body.message.contains("`id`"), "{}", error.body.message);
    assert!(error.body.message.contains(r#"`{"title":"Carol"}`"#), "{}", error.body.message);

    let lenient = SplitRules { missing_key: MissingKey::FailTask, ..rules("id") };
    let (error, _) = task_error(split(JSON, lenient, payload).unwrap_err());
    assert_eq!(error.code, "missing_document_id");
    assert_eq!(error.message, r#"Document doesn't have a `id` attribute: `{"title":"Carol"}`."#);
}

#[test]
fn a_long_document_is_quoted_in_part() {
    for len in [2_000, 200_000] {
        let payload = format!(r#"[{{"text": "{}"}}]"#, "é".repeat(len));
        let PayloadError::Refused(error) = split_in_pieces(JSON, rules("id"), payload.as_bytes(), 4096).unwrap_err()
        else {
            panic!("no refusal")
        };
        assert!(error.body.message.contains("é...`") && error.body.message.len() < 1_300, "{}", error.body.message);
    }
}

#[test]
fn a_nested_key_is_found_however_it_is_spelled() {
    for document in [
        r#"{"a":{"b":{"id":5}}}"#,
        r#"{"a.b":{"id":5}}"#,
        r#"{"a.b.id":5}"#,
        r#"{"a":{"b.id":5},"x":1}"#,
        r#"{"a":{"b":3},"a.b.id":5}"#,
        r#"{"a":7,"a.b":{"id":5}}"#,
    ] {
        let batch = split(JSON, rules("a.b.id"), format!("[{document}]")).unwrap();
        assert_eq!(batch.key_hashes(), [Shard::hash_of_key("5")], "{document}");
    }
    let (error, _) = task_error(split(JSON, rules("a.id"), r#"[{"a":{"id":1},"a.id":1}]"#).unwrap_err());
    assert_eq!(error.code, "invalid_document_id");
    assert!(error.message.starts_with("Document have too many matching `a.id` attribute"), "{}", error.message);
}

#[test]
fn of_a_repeated_key_the_last_one_wins_in_json_and_none_in_ndjson() {
    let document = r#"{"id":1,"id":2}"#;
    let batch = split(JSON, rules("id"), format!("[{document}]")).unwrap();
    assert_eq!(batch.key_hashes(), [Shard::hash_of_key("2")]);
    let (error, _) = task_error(split(NDJSON, rules("id"), document).unwrap_err());
    assert!(error.message.starts_with("Document have too many matching `id` attribute"), "{}", error.message);
}

#[test]
fn a_reserved_field_is_refused_in_any_spelling_and_only_at_the_top() {
    for document in [r#"{"id":1,"_miroir_shard":"x"}"#, r#"{"_miroir\u005fshard":null,"id":1}"#] {
        assert_eq!(
            refused_code(split(JSON, rules("id"), format!("[{document}]")).unwrap_err()),
            "miroir_reserved_field"
        );
        assert_eq!(refused_code(split(NDJSON, rules("id"), document).unwrap_err()), "miroir_reserved_field");
    }
    assert!(split(JSON, rules("id"), r#"[{"id":1,"a":{"_miroir_shard":1},"_miroir_shards":1}]"#).is_ok());
}

#[test]
fn where_documents_expire_the_time_is_an_integer_or_null_in_any_format_and_spelling() {
    let expiring = || SplitRules { expires: true, ..rules("id") };
    for value in ["1764200000000", "0", "-1", "null", "18446744073709551615"] {
        let document = format!(r#"{{"id":1,"_miroir_expires_at":{value},"a":{{"_miroir_expires_at":"b"}}}}"#);
        assert!(split(JSON, expiring(), format!("[{document}]")).is_ok(), "{value}");
        assert!(split(NDJSON, expiring(), document).is_ok(), "{value}");
    }
    for value in [r#""1764200000000""#, "1764200000000.5", "1e12", "true", "[1]", "{}", "18446744073709551616"] {
        let document = format!(r#"{{"id":1,"_miroir_expires\u005fat":{value}}}"#);
        for (format, payload) in [(JSON, format!("[{{\"id\":2}},{document}]")), (NDJSON, document.clone())] {
            let error = split(format, expiring(), payload).unwrap_err();
            assert_eq!(refused_code(error), "miroir_invalid_expiry", "{value}");
        }
        assert!(split(NDJSON, rules("id"), document).is_ok(), "elsewhere it is a field like any other: {value}");
    }
    assert!(split(CSV, expiring(), "id,_miroir_expires_at:number\n1,1764200000000\n2,\n").is_ok());
    let text = split(CSV, expiring(), "id,_miroir_expires_at\n1,1764200000000\n").unwrap_err();
    assert_eq!(refused_code(text), "miroir_invalid_expiry");
}

#[test]
fn the_key_is_inferred_from_the_first_document_by_meilisearchs_rule() {
    for (payload, key) in [
        (r#"[{"id":1},{"id":2,"uid":3}]"#, "id"),
        (r#"[{"Movie_ID":1,"ident":2}]"#, "Movie_ID"),
        (r#"[{"a":{"id":1},"paid":1}]"#, "paid"),
        (r#"[{"id":1,"id":2}]"#, "id"),
    ] {
        assert_eq!(split(JSON, inferring(), payload).unwrap().primary_key(), Some(key), "{payload}");
    }
    let (error, count) = task_error(split(JSON, inferring(), r#"[{"title":1},{"id":2}]"#).unwrap_err());
    assert_eq!((error.code.as_ref(), count), ("index_primary_key_no_candidate_found", 2));
    let (error, _) = task_error(split(JSON, inferring(), r#"[{"uid":1,"id":2,"pid":3}]"#).unwrap_err());
    assert_eq!(error.code, "index_primary_key_multiple_candidates_found");
    assert_eq!(
        error.message,
        "The primary key inference failed as the engine found 3 fields ending with `id` in their names: 'id' and 'pid'. \
         Please specify the primary key manually using the `primaryKey` query parameter."
    );
}

#[test]
fn a_large_document_is_carried_whole_over_its_chunks() {
    let text = "é\\\"}".repeat(300_000);
    let documents = json!([{"id": 1, "text": text}, {"id": 2}, {"id": 1, "text": "later"}]);
    let payload = documents.to_string();
    let batch = split_in_pieces(JSON, rules("id"), payload.as_bytes(), 16 * 1024).unwrap();
    let mut by_key: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for document in documents_of(&batch) {
        by_key.entry(document["id"].to_string()).or_default().push(Value::Object(document));
    }
    assert_eq!(by_key["1"], [documents[0].clone(), documents[2].clone()]);
    assert_eq!(by_key["2"], [documents[1].clone()]);
}

#[test]
fn bodies_of_several_nodes_share_the_documents_memory() {
    let documents: Vec<Value> = (0..500).map(|id| json!({"id": id, "text": "x".repeat(100)})).collect();
    let payload = serde_json::to_vec(&documents).unwrap();
    let batch = split_in_pieces(JSON, rules("id"), &payload, 1_000).unwrap();
    let shards: Vec<Shard> = batch.shards().collect();
    let (one, other) = (batch.body_for(&shards), batch.body_for(&shards));
    assert_eq!(one.pieces.len(), other.pieces.len());
    assert!(one.pieces.iter().zip(&other.pieces).all(|(a, b)| a.as_ptr() == b.as_ptr()));
    let all: Vec<Value> = serde_json::from_slice(&body_of(&batch, &shards)).unwrap();
    assert_eq!(all.len(), 500);
    assert_eq!(batch.document_count_of(&shards), 500);
}

pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Value::from),
        r#"[\\"{}\[\],: a]{0,12}"#.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((r#"[a-z"\\{}]{0,6}"#, inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// A document whose key is one of a few, so that keys repeat, and stands anywhere among its fields.
fn any_document() -> impl Strategy<Value = Map<String, Value>> {
    let id = prop_oneof![(0..20i64).prop_map(Value::from), (0..20i64).prop_map(|id| Value::from(id.to_string()))];
    let fields = || prop::collection::vec(("[a-z\"\\\\]{1,6}", any_value()), 0..3);
    (fields(), id, fields()).prop_map(|(before, id, after)| {
        let named_otherwise = |(name, _): &(String, Value)| name != "id";
        let before = before.into_iter().filter(named_otherwise);
        let after = after.into_iter().filter(named_otherwise);
        before.chain([("id".to_owned(), id)]).chain(after).collect()
    })
}

fn canonical(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn by_key(documents: &[Map<String, Value>]) -> BTreeMap<String, Vec<&Map<String, Value>>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for document in documents {
        by_key.entry(canonical(&document["id"])).or_default().push(document);
    }
    by_key
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn shard_bodies_together_are_the_payload(
        documents in prop::collection::vec(any_document(), 0..20),
        pretty in any::<bool>(),
        lines in any::<bool>(),
        cuts in prop::collection::vec(1usize..40, 1..60),
    ) {
        let print = |document: &Map<String, Value>| match pretty {
            true => serde_json::to_string_pretty(document).unwrap(),
            false => serde_json::to_string(document).unwrap(),
        };
        let printed: Vec<String> = documents.iter().map(print).collect();
        let (format, payload) = match lines {
            true => (NDJSON, printed.join("\n") + "\n"),
            false => (JSON, format!("[{}]", printed.join(" ,\n"))),
        };
        let mut splitter = Splitter::new(format, rules("id"));
        let mut rest = payload.as_bytes();
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            prop_assert_eq!(splitter.push(piece), Ok(()));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let batch = splitter.finish().unwrap();
        let stored = documents_of(&batch);
        prop_assert_eq!(by_key(&stored), by_key(&documents), "every document once, those of one key in order");
        for shard in batch.shards() {
            let body: Vec<Map<String, Value>> = serde_json::from_slice(&body_of(&batch, &[shard])).unwrap();
            for document in body {
                prop_assert_eq!(Shard::of_key(&canonical(&document["id"]), SHARD_COUNT), shard);
            }
        }
    }

    /// Bytes that are nearly JSON: the splitter takes what a parser takes, in any cut, and never panics.
    #[test]
    fn damaged_payloads_get_the_parsers_verdict(
        document in any_document(),
        at in any::<prop::sample::Index>(),
        damage in prop::sample::select(vec![&b"\""[..], b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"x", b"\xff", b"\n", b""]),
        piece_len in 1usize..50,
    ) {
        let mut bytes = serde_json::to_vec(&json!([document])).unwrap();
        let at = at.index(bytes.len());
        bytes.splice(at..=at, damage.iter().copied());
        let result = split_in_pieces(JSON, rules("id"), &bytes, piece_len);
        let first_value = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>().next();
        match first_value {
            Some(Ok(Value::Array(values))) if values.iter().all(Value::is_object) => {
                let refused_as_json = matches!(&result, Err(PayloadError::Refused(error)) if error.is(Code::MalformedPayload));
                prop_assert!(!refused_as_json, "{:?}", result);
            }
            _ => prop_assert!(result.is_err()),
        }
    }
}
