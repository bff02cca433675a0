//! How fast a payload is cut, checked and grouped by shard, on one core: `cargo bench --bench documents`.
//!
//! The aim is 300 MB/s for JSON, so that a body never waits for the proxy on a gigabit link.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use miroir::documents::{MissingKey, PayloadFormat, PlaceRule, PrimaryKeyRule, SplitRules, Splitter};

/// What a connection typically hands over at once.
const CHUNK_LEN: usize = 64 * 1024;
const DOCUMENTS: u32 = 20_000;

fn json_array(document: impl Fn(u32) -> String) -> Vec<u8> {
    let documents: Vec<String> = (0..DOCUMENTS).map(document).collect();
    format!("[{}]", documents.join(",")).into_bytes()
}

fn cities() -> Vec<u8> {
    json_array(|id| {
        format!(
            r#"{{"id":{id},"name":"City {id}","country":"FR","population":{},"_geo":{{"lat":48.85,"lng":2.35}}}}"#,
            id * 7
        )
    })
}

fn articles() -> Vec<u8> {
    let text = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor. ".repeat(5);
    json_array(|id| format!(r#"{{"id":"a-{id}","title":"Title {id}","genres":["Drama","Comedy"],"text":"{text}"}}"#))
}

fn records() -> Vec<u8> {
    let mut csv = "id,name,country,population:number\n".to_owned();
    for id in 0..DOCUMENTS {
        writeln!(csv, "{id},City {id},FR,{}", id * 7).expect("a string takes all that is written to it");
    }
    csv.into_bytes()
}

fn split(format: PayloadFormat, payload: &[u8]) -> usize {
    let rules = SplitRules {
        primary_key: PrimaryKeyRule::Known("id".to_owned()),
        missing_key: MissingKey::Refuse,
        places: PlaceRule::Unchecked,
        shard_count: 64,
        expires: false,
    };
    let mut splitter = Splitter::new(format, rules);
    for chunk in payload.chunks(CHUNK_LEN) {
        splitter.push(chunk).expect("the payload is well formed");
    }
    splitter.finish().expect("the payload is well formed").byte_len()
}

fn benchmarks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("split");
    for (name, format, payload) in [
        ("json, 100 bytes a document", PayloadFormat::Json, cities()),
        ("json, 500 bytes a document", PayloadFormat::Json, articles()),
        ("csv, 30 bytes a record", PayloadFormat::Csv { delimiter: b',' }, records()),
    ] {
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| split(format, black_box(&payload))));
    }
    group.finish();
}

criterion_group!(documents, benchmarks);
criterion_main!(documents);
