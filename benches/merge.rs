//! What a merge costs: CPU time per search, on hits of the size that real documents have.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use miroir::api::search_request::{ParsedSearch, SearchRequest, Supplement};
use miroir::cluster::Shard;
use miroir::merge::{IndexFacts, Leg};
use serde_json::json;

/// Bytes of a document without its score details: a catalogue entry with a description.
const DOCUMENT_BYTES: usize = 2_000;

/// Prose with a quotation now and then, since escapes are what a JSON scanner stumbles over.
const SENTENCES: &str =
    "The quick brown fox jumps over the lazy dog. It has done so since anyone can remember, and the dog \
    has not yet been seen to mind. Asked whether it ever will, the fox says \"done\" and jumps again. ";

/// A leg's answer with `hits` hits of which many are tied, in the order of their ranks.
fn leg(n: usize, legs: usize, hits: usize) -> Leg {
    let hits: Vec<_> = (0..hits)
        .map(|place| {
            let rank = (place * legs + n) as f64;
            let step = |every: f64| (rank / every).floor();
            let text = SENTENCES.repeat(DOCUMENT_BYTES / SENTENCES.len());
            json!({
                "_miroir_shard": Shard(n as u32).as_char().to_string(),
                "id": place * legs + n,
                "title": format!("Document number {rank}"),
                "price": rank * 1.5,
                "tags": ["one", "two", "three"],
                "description": text,
                "_rankingScoreDetails": {
                    "words": {"order": 0, "matchingWords": 2, "maxMatchingWords": 2, "score": 1.0},
                    "typo": {"order": 1, "typoCount": 0, "maxTypoCount": 4, "score": 1.0},
                    "proximity": {"order": 2, "score": 0.857_142_857_142_857_1},
                    "attributeRank": {"order": 3, "score": 1.0 - step(300.0) / 10.0},
                    "wordPosition": {"order": 4, "score": 1.0 - step(8.0) / 200.0},
                    "exactness": {"order": 5, "matchType": "noExactMatch", "matchingWords": 1, "maxMatchingWords": 2,
                                  "score": 0.333_333_333_333_333_3},
                },
            })
        })
        .collect();
    let answer = json!({"hits": hits, "query": "quick fox", "processingTimeMs": 3, "limit": 20, "offset": 0,
                        "estimatedTotalHits": 400});
    Leg { shards: vec![Shard(n as u32)], body: Bytes::from(answer.to_string()) }
}

fn search(body: &str) -> SearchRequest {
    match SearchRequest::from_json(body.as_bytes()) {
        ParsedSearch::Search(request) => *request,
        ParsedSearch::PassThrough => unreachable!("the benchmark's own requests are searches"),
    }
}

fn merges(criterion: &mut Criterion) {
    let facts = IndexFacts::default();
    let pages = [
        ("20 of 3 legs of 20", 20, 20),
        ("1000 of 3 legs of 334", 1_000, 334),
        ("1000 of 3 legs of 1000", 1_000, 1_000),
    ];
    for (name, limit, hits_per_leg) in pages {
        let legs: Vec<Leg> = (0..3).map(|n| leg(n, 3, hits_per_leg)).collect();
        let request = search(&format!(r#"{{"q":"quick fox","limit":{limit}}}"#));
        let mut group = criterion.benchmark_group("merge");
        group.throughput(Throughput::Bytes(legs.iter().map(|leg| leg.body.len() as u64).sum()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| request.merge(black_box(&legs), &facts, &Supplement::NONE))
        });
        group.finish();
    }
}

fn requests(criterion: &mut Criterion) {
    let facts = IndexFacts::default();
    let shards: Vec<Shard> = (0..22).map(Shard).collect();
    let body = r#"{"q":"quick fox","limit":20,"filter":["price > 10",["a = 1","b = 2"]],"facets":["tags"]}"#;
    criterion.bench_function("read a search and write 3 leg bodies", |bencher| {
        bencher.iter(|| {
            let request = search(black_box(body));
            (0..3).map(|_| request.leg_body(Some(&shards), &facts).len()).sum::<usize>()
        });
    });
}

criterion_group!(benches, merges, requests);
criterion_main!(benches);
