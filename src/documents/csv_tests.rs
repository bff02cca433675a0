//! CSV payloads; what they become was seen on Meilisearch 1.50.

use serde_json::{json, Value};

use super::tests::{documents_of, refused_code, rules, split, task_error};
use super::*;
use crate::error::{ApiError, Code};

const CSV: PayloadFormat = PayloadFormat::Csv { delimiter: b',' };

/// The documents of a payload, in the order of their ids.
fn documents(payload: &str) -> Value {
    let batch = split(CSV, rules("id"), payload).unwrap();
    let mut documents = documents_of(&batch);
    documents.sort_by_key(|document| document["id"].to_string());
    documents.into_iter().collect()
}

#[test]
fn cells_are_typed_by_their_headers() {
    for (payload, expected) in [
        ("id,title\n1,a\n2,\n", json!([{"id": "1", "title": "a"}, {"id": "2", "title": null}])),
        (
            "id:number,t:string,b:boolean,x:foo\n1,a,true,z\n2, b ,,\n",
            json!([{"id": 1, "t": "a", "b": true, "x:foo": "z"}, {"id": 2, "t": " b ", "b": null, "x:foo": null}]),
        ),
        (
            "id,a:number\n1,1.50\n2, 3 \n3,1e3\n",
            json!([{"id": "1", "a": 1.5}, {"id": "2", "a": 3}, {"id": "3", "a": 1000.0}]),
        ),
        (
            "id,a:number\n1,NaN\n2,inf\n3,-0\n4,99999999999999999999",
            json!([{"id": "1", "a": null}, {"id": "2", "a": null}, {"id": "3", "a": 0}, {"id": "4", "a": 1e20}]),
        ),
        ("id,a:number:string\n1,2\n", json!([{"id": "1", "a:number": "2"}])),
        (",id\n1,2\n", json!([{"": "1", "id": "2"}])),
    ] {
        assert_eq!(documents(payload), expected, "{payload}");
    }
}

#[test]
fn quotes_line_ends_and_repeated_headers_are_read_as_meilisearch_reads_them() {
    for (payload, expected) in [
        ("id,a\n1,\"x \"\"y\"\" \nz\"\n", json!([{"id": "1", "a": "x \"y\" \nz"}])),
        ("id,a\r\n1,2\r\n\r\n2,3", json!([{"id": "1", "a": "2"}, {"id": "2", "a": "3"}])),
        ("\u{feff}id,a\n1,2\n", json!([{"id": "1", "a": "2"}])),
        ("\n\nid,a\n1,2\n", json!([{"id": "1", "a": "2"}])),
        ("id:number,id\n1,2\n", json!([{"id": "2"}])),
        ("a,id,a:number,a\nx,1,2,z\n", json!([{"a": "z", "id": "1"}])),
        ("id\n\"a", json!([{"id": "a"}])),
        ("id,a", json!([])),
    ] {
        assert_eq!(documents(payload), expected, "{payload}");
    }
    let semicolons = PayloadFormat::Csv { delimiter: b';' };
    assert_eq!(split(semicolons, rules("id"), "id;a\n1;2,3\n").unwrap().document_count(), 1);
}

#[test]
fn a_record_longer_than_the_first_buffers_is_read_whole() {
    let header: Vec<String> = (0..200).map(|column| format!("c{column}")).collect();
    let cells = vec!["x".repeat(100); 200];
    let payload = format!("id,{}\n1,{}\n", header.join(","), cells.join(","));
    let batch = split(CSV, rules("id"), payload).unwrap();
    assert_eq!(documents_of(&batch)[0]["c199"], "x".repeat(100));
}

#[test]
fn malformed_records_are_refused_in_the_readers_words() {
    let cases: &[(&[u8], &str)] = &[
        (b"id,a:number\n1,1.50\n4,x\n", "Error parsing number \"x\" at line 2: invalid float literal"),
        (b"id,a:boolean\n1,True\n", "Error parsing boolean \"True\" at line 1: provided string was not `true` or `false`"),
        (
            b"id,a\n1\n",
            "CSV error: record 1 (line: 2, byte: 5): found record with 1 fields, but the previous record has 2 fields",
        ),
        (
            b"id,a\n1,2\n2\n3,4\n",
            "CSV error: record 2 (line: 3, byte: 9): found record with 1 fields, but the previous record has 2 fields",
        ),
        (
            b"id,a\n1,\xff\n",
            "CSV parse error: record 1 (line 2, field: 1, byte: 5): invalid utf-8: invalid UTF-8 in field 1 near byte index 0",
        ),
        (
            b"id,a\xff\n1,2\n",
            "CSV parse error: record 0 (line 1, field: 1, byte: 0): invalid utf-8: invalid UTF-8 in field 1 near byte index 1",
        ),
    ];
    for (payload, what) in cases {
        let message = format!("The `csv` payload provided is malformed: `{what}`.");
        let refusal = PayloadError::Refused(ApiError::new(Code::MalformedPayload, message));
        assert_eq!(split(CSV, rules("id"), payload).unwrap_err(), refusal, "{}", payload.escape_ascii());
    }
}

#[test]
fn records_pass_the_same_gate_as_json() {
    let (error, document_count) = task_error(split(CSV, rules("id"), "id,a\n,1\n2,2\n").unwrap_err());
    assert_eq!((error.code.as_ref(), document_count), ("invalid_document_id", 2));
    assert!(error.message.starts_with("Document identifier `null` is invalid."), "{}", error.message);
    assert_eq!(refused_code(split(CSV, rules("id"), " id ,a\n1,2\n").unwrap_err()), "miroir_primary_key_required");
    assert_eq!(refused_code(split(CSV, rules("id"), "id,_miroir_shard\n1,2\n").unwrap_err()), "miroir_reserved_field");
}
