//! Documents in every spelling that JSON allows, cut at every place: what comes out is what a parser reads.

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::tests::{any_value, documents_of, rules};
use super::*;
use crate::cluster::Shard;

/// Prints JSON with spaces, escapes and numbers as odd as the grammar allows, by the dice of `rng`.
struct OddPrinter {
    rng: fastrand::Rng,
    text: String,
}

impl OddPrinter {
    fn print(values: &[&Value], format: PayloadFormat, seed: u64) -> String {
        let mut printer = Self { rng: fastrand::Rng::with_seed(seed), text: String::new() };
        let is_lines = format == PayloadFormat::Ndjson;
        printer.space();
        printer.text.push_str(if is_lines { "" } else { "[" });
        for (n, value) in values.iter().enumerate() {
            printer.space();
            printer.text.push_str(if n == 0 || is_lines { "" } else { "," });
            printer.space();
            printer.value(value);
        }
        printer.space();
        printer.text.push_str(if is_lines { "\n" } else { "]" });
        printer.text
    }

    fn space(&mut self) {
        for _ in 0..self.rng.usize(0..3) {
            let blank = [" ", "\t", "\n", "\r\n"][self.rng.usize(0..4)];
            self.text.push_str(blank);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Array(values) => {
                self.text.push('[');
                self.list(values.len(), |printer, n| printer.value(&values[n]));
                self.text.push(']');
            }
            Value::Object(fields) => self.object(fields),
            Value::String(text) => self.string(text),
            other => self.text.push_str(&other.to_string()),
        }
    }

    fn object(&mut self, fields: &Map<String, Value>) {
        let fields: Vec<_> = fields.iter().collect();
        self.text.push('{');
        self.list(fields.len(), |printer, n| {
            let (name, value) = fields[n];
            printer.string(name);
            printer.space();
            printer.text.push(':');
            printer.space();
            printer.value(value);
        });
        self.text.push('}');
    }

    fn list(&mut self, len: usize, mut item: impl FnMut(&mut Self, usize)) {
        self.space();
        for n in 0..len {
            if n > 0 {
                self.text.push(',');
                self.space();
            }
            item(self, n);
            self.space();
        }
    }

    fn string(&mut self, text: &str) {
        self.text.push('"');
        for c in text.chars() {
            let must = c < ' ' || c == '"' || c == '\\';
            if c == '/' && self.rng.bool() {
                self.text.push_str("\\/");
            } else if must || self.rng.u8(0..4) == 0 {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let spelled = if self.rng.bool() { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") };
                    self.text.push_str(&spelled);
                }
            } else {
                self.text.push(c);
            }
        }
        self.text.push('"');
    }
}

/// A document whose key is `a.b.id`, in one of the spellings of that path, with anything around it.
fn any_nested_document() -> impl Strategy<Value = (String, Value)> {
    let id = prop_oneof!["[A-Za-z0-9_-]{1,20}".prop_map(Value::from), any::<i64>().prop_map(Value::from)];
    let others = prop::collection::vec(("[c-z\"\\\\é😀 ]{1,6}", any_value()), 0..4);
    (id, 0..4usize, others, any::<bool>()).prop_map(|(id, spelling, others, key_first)| {
        let key = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let object = |name: &str, value: Value| Value::Object(Map::from_iter([(name.to_owned(), value)]));
        let (name, value) = match spelling {
            0 => ("a", object("b", object("id", id))),
            1 => ("a.b", object("id", id)),
            2 => ("a", object("b.id", id)),
            _ => ("a.b.id", id),
        };
        let mut fields = Map::new();
        if key_first {
            fields.insert(name.to_owned(), value.clone());
        }
        fields.extend(others);
        if !key_first {
            fields.insert(name.to_owned(), value);
        }
        (key, Value::Object(fields))
    })
}

fn split_at(
    format: PayloadFormat,
    rules: SplitRules,
    payload: &[u8],
    cuts: &[usize],
) -> Result<SplitBatch, PayloadError> {
    let mut splitter = Splitter::new(format, rules);
    let mut rest = payload;
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        splitter.push(piece)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    splitter.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Pieces of one to nine bytes end inside escapes, characters, numbers and words.
    #[test]
    fn documents_survive_any_spelling_and_any_cut(
        documents in prop::collection::vec(any_nested_document(), 0..12),
        lines in any::<bool>(),
        seed in any::<u64>(),
        cuts in prop::collection::vec(1usize..10, 1..40),
    ) {
        let format = if lines { PayloadFormat::Ndjson } else { PayloadFormat::Json };
        let values: Vec<&Value> = documents.iter().map(|(_, document)| document).collect();
        let payload = OddPrinter::print(&values, format, seed);
        let batch = split_at(format, rules("a.b.id"), payload.as_bytes(), &cuts).unwrap();

        let hashes: Vec<u64> = documents.iter().map(|(key, _)| Shard::hash_of_key(key)).collect();
        prop_assert_eq!(batch.key_hashes(), hashes, "{}", payload);
        let shard_of = |key: &str| Shard::of_key(key, rules("").shard_count);
        let mut in_order: Vec<(Shard, &Value)> = documents.iter().map(|(key, document)| (shard_of(key), document)).collect();
        in_order.sort_by_key(|(shard, _)| *shard);
        let expected: Vec<&Map<String, Value>> = in_order.iter().filter_map(|(_, document)| document.as_object()).collect();
        let stored = documents_of(&batch);
        prop_assert_eq!(stored.iter().collect::<Vec<_>>(), expected, "{}", payload);
    }

    /// A payload that breaks off anywhere is refused, whatever has been read until then.
    #[test]
    fn a_payload_that_breaks_off_is_never_taken(
        documents in prop::collection::vec(any_nested_document(), 1..4),
        seed in any::<u64>(),
        at in any::<prop::sample::Index>(),
    ) {
        let values: Vec<&Value> = documents.iter().map(|(_, document)| document).collect();
        let payload = OddPrinter::print(&values, PayloadFormat::Json, seed);
        let whole = payload.trim_end();
        let at = at.index(whole.len());
        let result = split_at(PayloadFormat::Json, rules("a.b.id"), &whole.as_bytes()[..at], &[7]);
        prop_assert!(matches!(result, Err(PayloadError::Refused(_))), "{:?}", result);
    }
}
