//! Payloads of every kind, posted to one server and to a cluster: what becomes of them must be the same.
//!
//! The server is one of the nodes that the tests run with, so that a newer Meilisearch is compared with itself. Where the
//! embedded node differs from Meilisearch, Miroir goes with Meilisearch: `payloads.ndjson` has what version 1.50 said of
//! each payload.

mod support;

use std::collections::HashMap;
use std::io::Write as _;

use serde_json::{json, Value};
use support::{Answer, Client, Cluster, ClusterOptions, SingleServer};

/// Bodies are written with one character per byte.
fn body_of(case: &Value) -> Vec<u8> {
    let body = case["body"].as_str().expect("a body");
    body.chars().map(|c| u8::try_from(u32::from(c)).expect("one character per byte")).collect()
}

fn content_type(case: &Value) -> &'static str {
    match case["format"].as_str() {
        Some("json") => "application/json",
        Some("ndjson") => "application/x-ndjson",
        _ => "text/csv",
    }
}

/// Everything that a client sees of a payload's fate.
#[derive(Debug, PartialEq)]
enum Fate {
    Refused { status: u16, error: Value },
    Task { status: Value, details: Value, error: Value },
}

impl Fate {
    fn of(client: &Client, answer: Answer) -> Self {
        if answer.status != 202 {
            return Fate::Refused { status: answer.status, error: answer.body };
        }
        let task = client.ended(answer);
        Fate::Task { status: task["status"].clone(), details: task["details"].clone(), error: task["error"].clone() }
    }

    /// What Meilisearch 1.50 said of the payload when it was sent to `index`.
    fn of_table(case: &Value, index: &str) -> Self {
        let error = |verdict: &Value| {
            let message = verdict["message"].as_str().expect("a message").replace("`INDEX`", &format!("`{index}`"));
            json!({ "code": verdict["code"], "message": message })
        };
        let details = |verdict: &Value, indexed: &Value| json!({ "receivedDocuments": verdict["received"], "indexedDocuments": indexed });
        if let refused @ Value::Object(_) = &case["refused"] {
            let status = refused["status"].as_u64().and_then(|status| status.try_into().ok()).expect("a status");
            return Fate::Refused { status, error: error(refused) };
        }
        if let failed @ Value::Object(_) = &case["failed"] {
            return Fate::Task { status: json!("failed"), details: details(failed, &json!(0)), error: error(failed) };
        }
        let taken = &case["taken"];
        Fate::Task { status: json!("succeeded"), details: details(taken, &taken["indexed"]), error: Value::Null }
    }

    /// The same, but for the parts of an error that follow from its code.
    fn is_told_as(&self, other: &Self) -> bool {
        let words = (self.code(), self.message()) == (other.code(), other.message());
        words
            && match (self, other) {
                (Fate::Refused { status, .. }, Fate::Refused { status: other, .. }) => status == other,
                (
                    Fate::Task { status, details, .. },
                    Fate::Task { status: other_status, details: other_details, .. },
                ) => status == other_status && details == other_details,
                _ => false,
            }
    }

    fn code(&self) -> &str {
        let (Fate::Refused { error, .. } | Fate::Task { error, .. }) = self;
        error["code"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        let (Fate::Refused { error, .. } | Fate::Task { error, .. }) = self;
        error["message"].as_str().unwrap_or_default()
    }
}

/// Why `got` may differ from `expected`.
fn wanted_difference(got: &Fate, expected: &Fate) -> Option<&'static str> {
    match (got, expected) {
        (Fate::Refused { status: 400, .. }, Fate::Task { .. })
            if got.code() == "miroir_primary_key_required" && expected.code() == "missing_document_id" =>
        {
            Some("a document without its key is refused before it becomes a task (`writes.missing_primary_key`)")
        }
        (Fate::Task { details, .. }, Fate::Task { details: same, .. })
            if details == same
                && got.code() == "invalid_document_id"
                && expected.message().starts_with("An unexpected crash occurred") =>
        {
            Some("Meilisearch's engine panics on such an id; Miroir says that it is none")
        }
        (Fate::Refused { status, .. }, Fate::Refused { status: same, .. })
            if status == same
                && got.code() == expected.code()
                && is_about_bad_text(got)
                && is_about_bad_text(expected) =>
        {
            Some("Meilisearch's version of the JSON parser places bad text at the end of its document")
        }
        _ => None,
    }
}

fn is_about_bad_text(fate: &Fate) -> bool {
    fate.message().contains("invalid unicode code point")
}

#[test]
fn every_payload_has_the_same_fate_as_on_one_server() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let both = [cluster.client(), single.client()];
    let cases: Vec<Value> =
        include_str!("payloads.ndjson").lines().map(|line| serde_json::from_str(line).expect("a case")).collect();

    // An index for each primary key, and one for each payload whose key is to be inferred. Those that Meilisearch's engine
    // stumbles over have their own too: it works on several writes to one index at once, and all of them would fail.
    let mut indexes: HashMap<&str, String> = HashMap::new();
    let mut posted = Vec::new();
    for (n, case) in cases.iter().enumerate() {
        let query = case["query"].as_str().expect("a query");
        let key = query.split('&').find(|parameter| parameter.starts_with("primaryKey="));
        let index = match key {
            Some(key) if case["failed"]["code"] != "internal" => {
                indexes.entry(key).or_insert_with(|| format!("key-{n}")).clone()
            }
            _ => format!("payload-{n}"),
        };
        let path = format!("/indexes/{index}/documents?{query}");
        let post =
            |client: &Client| client.send("POST", &path, &[("content-type", content_type(case))], Some(body_of(case)));
        posted.push((index, both.map(post)));
    }

    let embedded = single.is_embedded();
    let mut differences = Vec::new();
    let mut wanted = 0;
    for (case, (index, [from_cluster, from_single])) in cases.iter().zip(posted) {
        let got = Fate::of(cluster.client(), from_cluster);
        let expected = Fate::of(single.client(), from_single);
        if got == expected {
            continue;
        }
        let expected = if embedded { Fate::of_table(case, &index) } else { expected };
        if got.is_told_as(&expected) {
            continue;
        }
        match wanted_difference(&got, &expected) {
            Some(_) => wanted += 1,
            None => differences.push(format!("{case}\n  expected {expected:?}\n  got      {got:?}\n")),
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.concat());
    assert!((1..=cases.len() / 10).contains(&wanted), "{wanted} of {} differ as wanted", cases.len());
}

#[test]
fn every_place_has_the_same_fate_as_on_one_server() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let both = [cluster.client(), single.client()];
    let places = [
        r#"null"#,
        r#"{"lat":1,"lng":-2.5e1}"#,
        r#"{"lng":"12.5","lat":"-7"}"#,
        r#"{"lat":900,"lng":1e300}"#,
        r#"[1,2]"#,
        r#""1,2""#,
        r#"{}"#,
        r#"{"lat":1}"#,
        r#"{"lng":1}"#,
        r#"{"lat":1,"lng":2,"b":3,"a":[],"c":"x"}"#,
        r#"{"b":3,"lat":1,"a":[],"lng":2,"c":"x"}"#,
        r#"{"lat":"north","lng":2}"#,
        r#"{"lat":1,"lng":null}"#,
        r#"{"lat":"inf","lng":"NaN"}"#,
    ];
    for client in both {
        client.succeed(client.patch("/indexes/used/settings", json!({ "filterableAttributes": ["_geo"] })));
        client.succeed(client.patch("/indexes/free/settings", json!({ "filterableAttributes": ["place"] })));
    }
    let mut ids = 0..;
    for place in places {
        let mut twice = || {
            let id = ids.next().expect("there are enough numbers");
            [format!(r#"{{"id":{id},"_geo":{place}}}"#), format!(r#"{{"id":"{id}","text":"later"}}"#)]
        };
        let once = twice()[0].clone();
        for (index, method, payload) in [
            ("used", "POST", once.clone()),
            ("used", "POST", format!("[{}]", twice().join(","))),
            ("used", "PUT", format!("[{}]", twice().join(","))),
            ("free", "POST", once),
        ] {
            let path = format!("/indexes/{index}/documents?primaryKey=id");
            let headers = [("content-type", "application/json")];
            let body = || Some(payload.clone().into_bytes());
            let [got, expected] = both.map(|client| Fate::of(client, client.send(method, &path, &headers, body())));
            assert_eq!(got, expected, "{method} {payload} to {index}");
        }
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("gzip into memory")
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("deflate into memory")
}

fn raw_deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("deflate into memory")
}

fn brotli(text: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let mut encoder = brotli::CompressorWriter::new(&mut compressed, 4096, 5, 22);
    encoder.write_all(text).expect("brotli into memory");
    drop(encoder);
    compressed
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::encode_all(text, 3).expect("zstd into memory")
}

/// Little enough to be read at once: a server that refuses the first bytes closes the connection over the others, and
/// the client may then see a broken pipe in place of the answer.
fn beginning(text: &[u8]) -> &[u8] {
    &text[..text.len().min(1_000)]
}

fn without_end(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
    bytes.truncate(bytes.len() - len);
    bytes
}

/// What a client does to its body.
type Encode = fn(&[u8]) -> Vec<u8>;

#[test]
fn compressed_bodies_are_read_as_on_one_server() {
    let (cluster, single) = (Cluster::start(ClusterOptions::default()), SingleServer::start());
    let documents: Vec<Value> = (0..3_000).map(|n| json!({ "id": n, "text": "x".repeat(n % 50) })).collect();
    let documents = serde_json::to_vec(&documents).expect("JSON");
    let search = br#"{"q":"","limit":2}"#.to_vec();
    let too_large = [b"[".to_vec(), vec![b' '; 105 << 20], b"]".to_vec()].concat();
    let cases: Vec<(&str, &str, Encode)> = vec![
        ("gzip", "gzip", gzip),
        ("in any case", " GZip ", gzip),
        ("deflate", "deflate", deflate),
        ("br", "br", brotli),
        ("zstd", "zstd", zstd),
        ("an old name", "x-gzip", gzip),
        ("a list", "gzip, identity", gzip),
        ("nothing done", "identity", |text| text.to_vec()),
        ("an unknown coding of plain text", "rot13", |text| text.to_vec()),
        ("deflate without its header", "deflate", |text| raw_deflate(beginning(text))),
        ("plain text as gzip", "gzip", |text| beginning(text).to_vec()),
        ("plain text as deflate", "deflate", |text| beginning(text).to_vec()),
        ("plain text as br", "br", |text| beginning(text).to_vec()),
        ("gzip without its sum", "gzip", |text| without_end(gzip(text), 4)),
        ("half of a gzip", "gzip", |text| without_end(gzip(text), gzip(text).len() / 2)),
        ("gzip and more", "gzip", |text| [gzip(text), b"more".to_vec()].concat()),
        ("gzip twice", "gzip", |text| [gzip(text), gzip(text)].concat()),
        ("deflate without its sum", "deflate", |text| without_end(deflate(text), 4)),
        ("deflate and more", "deflate", |text| [deflate(text), b"more".to_vec()].concat()),
        ("half of a br", "br", |text| without_end(brotli(text), brotli(text).len() / 2)),
        ("br and more", "br", |text| [brotli(text), b"more".to_vec()].concat()),
        ("nothing as gzip", "gzip", |_| Vec::new()),
        ("nothing as deflate", "deflate", |_| Vec::new()),
        ("nothing as br", "br", |_| Vec::new()),
        ("compressed nothing", "gzip", |_| gzip(b"")),
    ];
    // What the embedded node's HTTP library sees in another way; the decoder's own tests have them all.
    let of_meilisearch_alone = [
        "in any case",
        "an old name",
        "a list",
        "gzip without its sum",
        "an unknown coding of plain text",
        "gzip twice",
        "gzip and more",
        "deflate without its sum",
        "deflate and more",
        "half of a br",
        "br and more",
        "nothing as gzip",
        "nothing as deflate",
        "nothing as br",
    ];
    let embedded = single.is_embedded();
    let mut differences = Vec::new();
    let mut compare = |what: &str, coding: &str, path: &str, body: Vec<u8>| {
        let headers = [("content-type", "application/json"), ("content-encoding", coding)];
        let send = |client: &Client| client.send("POST", path, &headers, Some(body.clone()));
        let (got, expected) = (send(cluster.client()), send(single.client()));
        // Meilisearch has no zstd; it takes the bytes as they are.
        if coding == "zstd" {
            assert!(matches!(got.status, 200 | 202), "{what} to {path}: {}", got.text);
            return;
        }
        if (got.status, got.code()) != (expected.status, expected.code()) {
            let line = format!(
                "{what} to {path}: expected {} {}, got {} {}\n",
                expected.status, expected.text, got.status, got.text
            );
            differences.push(line);
            return;
        }
        if got.status == 202 {
            let (got, expected) = (cluster.client().ended(got), single.client().ended(expected));
            assert_eq!(
                (&got["status"], &got["details"]),
                (&expected["status"], &expected["details"]),
                "{what} to {path}"
            );
        }
    };
    compare("plain", "identity", "/indexes/a/documents?primaryKey=id", documents.clone());
    for (what, coding, encode) in &cases {
        if embedded && of_meilisearch_alone.contains(what) {
            continue;
        }
        compare(what, coding, "/indexes/a/documents?primaryKey=id", encode(&documents));
        compare(what, coding, "/indexes/a/search", encode(&search));
    }
    for path in ["/indexes/a/documents?primaryKey=id", "/indexes/a/search"] {
        for (coding, body) in [("gzip", gzip(&too_large)), ("br", brotli(&too_large))] {
            compare("a bomb", coding, path, body);
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.concat());
}
