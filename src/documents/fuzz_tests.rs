//! Payloads changed at random, and a second opinion on each.
//!
//! The second opinion is made with serde_json from the whole payload at once, the way Meilisearch reads it. See
//! `fuzz/README.md` for running it longer.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::tests::documents_of;
use super::verdict_tests::cases;
use super::*;
use crate::cluster::Shard;
use crate::reserved::SHARD_FIELD;

/// How long the fuzzer runs among the other tests.
const SECONDS: u64 = 5;
const SHARD_COUNT: u32 = 8;
/// Longest payload that is made; longer ones find nothing else and take longer.
const LENGTH_MAX: usize = 4_000;

/// Pieces that turn one meaning into another.
const TOKENS: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b" ",
    b"\r\n",
    b"\t",
    b"-",
    b"0",
    b"1",
    b".",
    b"e9",
    b"E-400",
    b"1e400",
    b"null",
    b"true",
    b"\\u0069",
    b"\\ud83d",
    b"\\ude00",
    b"\\u0000",
    b"\xff",
    b"\xc3\xa9",
    b"\xf0\x9f\x98\x80",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\"id\":",
    b"{\"id\":2}",
    b"\"id\"",
    b"id",
    b"[]",
    b"{}",
    b"\"\"",
    b"\"_miroir_shard\":1,",
    b"\"_miroir\\u005fshard\"",
    b":number",
    b":boolean",
    b"\"\"\"",
    b";",
    b"\x00",
    b"\x0b",
    b"\"a b\"",
    b"1.5",
    b"NaN",
];

struct Mutator {
    rng: fastrand::Rng,
    corpus: Vec<(PayloadFormat, Vec<u8>)>,
}

impl Mutator {
    fn payload(&mut self) -> (PayloadFormat, Vec<u8>) {
        let (format, mut bytes) = self.corpus[self.rng.usize(0..self.corpus.len())].clone();
        for _ in 0..self.rng.usize(0..4) {
            self.change(&mut bytes);
        }
        bytes.truncate(LENGTH_MAX);
        (format, bytes)
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.usize(0..=bytes.len());
        let end = self.rng.usize(at..=bytes.len().min(at + 20));
        match self.rng.u8(0..7) {
            0 => drop(bytes.splice(at..at, TOKENS[self.rng.usize(0..TOKENS.len())].iter().copied())),
            1 => drop(bytes.splice(at..end, TOKENS[self.rng.usize(0..TOKENS.len())].iter().copied())),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let copied = bytes[at..end].to_vec();
                bytes.splice(at..at, copied);
            }
            4 if at < bytes.len() => bytes[at] ^= 1 << self.rng.u8(0..8),
            5 => bytes.truncate(at),
            _ => {
                let other = self.corpus[self.rng.usize(0..self.corpus.len())].1.clone();
                let from = self.rng.usize(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }

    /// The payload in pieces, cut by dice.
    fn split(&mut self, format: PayloadFormat, bytes: &[u8]) -> Result<SplitBatch, PayloadError> {
        let longest = [1, 3, 10, 100][self.rng.usize(0..4)];
        let mut splitter = Splitter::new(format, rules());
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(self.rng.usize(1..=longest).min(rest.len()));
            splitter.push(piece)?;
            rest = after;
        }
        splitter.finish()
    }
}

fn rules() -> SplitRules {
    SplitRules {
        primary_key: PrimaryKeyRule::Known("id".to_owned()),
        missing_key: MissingKey::FailTask,
        places: PlaceRule::Unchecked,
        shard_count: SHARD_COUNT,
        expires: false,
    }
}

/// What becomes of a payload, without the words for it.
#[derive(Debug, PartialEq)]
enum Opinion {
    Refused,
    /// So many documents, in a task that fails.
    Fails(u64),
    /// Each shard's documents, in order.
    Taken(Vec<Map<String, Value>>),
}

impl Opinion {
    fn ours(result: &Result<SplitBatch, PayloadError>) -> Self {
        match result {
            Ok(batch) => Self::Taken(documents_of(batch)),
            Err(PayloadError::Refused(_)) => Self::Refused,
            Err(PayloadError::FailedTask { document_count, .. }) => Self::Fails(*document_count),
        }
    }

    fn second(format: PayloadFormat, bytes: &[u8]) -> Self {
        if bytes.is_empty() {
            return Self::Refused;
        }
        let values = match format {
            PayloadFormat::Ndjson => {
                serde_json::Deserializer::from_slice(bytes).into_iter::<&RawValue>().collect::<Result<Vec<_>, _>>()
            }
            _ if bytes.iter().find(|byte| !b" \t\r\n".contains(byte)) == Some(&b'[') => {
                serde_json::Deserializer::from_slice(bytes).deserialize_seq(Elements)
            }
            _ => serde_json::from_slice::<Value>(bytes).and_then(|_| Ok(vec![serde_json::from_slice(bytes)?])),
        };
        let Ok(values) = values else { return Self::Refused };
        let mut documents: Vec<(Shard, Map<String, Value>)> = Vec::new();
        let mut fails = false;
        for value in &values {
            let Ok(Fields(fields)) = serde_json::from_str(value.get()) else { return Self::Refused };
            if fields.iter().any(|(name, _)| name == SHARD_FIELD) {
                return Self::Refused;
            }
            match document(&fields, format) {
                Some(document) => documents.push(document),
                None => fails = true,
            }
        }
        if fails {
            return Self::Fails(values.len() as u64);
        }
        documents.sort_by_key(|(shard, _)| *shard);
        Self::Taken(documents.into_iter().map(|(_, document)| document).collect())
    }
}

/// A document that can be indexed, and its shard.
fn document(fields: &[(Cow<str>, &RawValue)], format: PayloadFormat) -> Option<(Shard, Map<String, Value>)> {
    let last: BTreeMap<&str, &RawValue> = fields.iter().map(|(name, value)| (name.as_ref(), *value)).collect();
    let is_repeated = fields.iter().filter(|(name, _)| name == "id").count() > 1;
    if format == PayloadFormat::Ndjson && is_repeated {
        return None;
    }
    let values: serde_json::Result<Map<String, Value>> = fields
        .iter()
        .map(|(name, _)| Ok((name.to_string(), serde_json::from_str(last[name.as_ref()].get())?)))
        .collect();
    let document = values.ok()?;
    let key = match document.get("id")? {
        Value::String(id) => id.clone(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let is_id =
        (1..=511).contains(&key.len()) && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    is_id.then(|| (Shard::of_key(&key, SHARD_COUNT), document))
}

/// All fields of an object, repeated ones too.
pub(super) struct Fields<'a>(pub Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The elements of an array; what follows the array is not looked at.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            elements.push(element);
        }
        Ok(elements)
    }
}

fn corpus() -> Vec<(PayloadFormat, Vec<u8>)> {
    let mut corpus: Vec<_> = cases().filter_map(|case| Some((case.payload_format().ok()?, case.body()))).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("the corpus").map(|file| file.expect("a file").path()).collect();
    files.sort();
    for file in files {
        let format = match file.extension().and_then(|ending| ending.to_str()) {
            Some("json") => PayloadFormat::Json,
            Some("ndjson") => PayloadFormat::Ndjson,
            _ => PayloadFormat::Csv { delimiter: b',' },
        };
        corpus.push((format, std::fs::read(file).expect("a payload")));
    }
    corpus
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[test]
fn changed_payloads_get_the_verdict_of_a_second_opinion_in_any_cut() {
    let seed = from_environment("MIROIR_FUZZ_SEED", 1);
    let patience = Duration::from_secs(from_environment("MIROIR_FUZZ_SECONDS", SECONDS));
    let mut mutator = Mutator { rng: fastrand::Rng::with_seed(seed), corpus: corpus() };
    let (mut runs, mut taken) = (0u64, 0u64);
    let started = Instant::now();
    while started.elapsed() < patience {
        let (format, bytes) = mutator.payload();
        let shown = || format!("seed {seed}, run {runs}, {format:?}: {}", bytes.escape_ascii());
        let mut whole = Splitter::new(format, rules());
        let whole = whole.push(&bytes).and_then(|()| whole.finish());
        let ours = Opinion::ours(&whole);
        let in_pieces = mutator.split(format, &bytes);
        assert_eq!(ours, Opinion::ours(&in_pieces), "in pieces; {}", shown());
        assert_eq!(whole.err(), in_pieces.err(), "in pieces; {}", shown());
        if !matches!(format, PayloadFormat::Csv { .. }) {
            assert_eq!(ours, Opinion::second(format, &bytes), "{}", shown());
        }
        taken += u64::from(matches!(ours, Opinion::Taken(_)));
        runs += 1;
    }
    println!("{runs} payloads, {taken} of them taken, seed {seed}");
    assert!(taken > 0 && taken < runs, "{taken} of {runs} payloads were taken");
}
