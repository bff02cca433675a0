//! Filters changed at random: none is too much for the parser, and each that it reads prints as text that reads the same.

use std::time::{Duration, Instant};

use super::reserved_names::without_reserved_attributes;
use super::*;
use crate::reserved::is_reserved_attribute;

/// How long the fuzzer runs among the other tests.
const SECONDS: u64 = 2;
/// Most pieces of a filter; longer ones find nothing else.
const PIECES_MAX: usize = 24;

/// Pieces that turn one meaning into another.
const PIECES: &[&str] = &[
    " ",
    "  ",
    "\t",
    "\u{a0}",
    "(",
    ")",
    "[",
    "]",
    ",",
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "'",
    "\"",
    "\\",
    "\\'",
    "\\\"",
    "\\\\",
    "\\x41",
    "\\u{e9}",
    "\\q",
    "\\101",
    "AND",
    "OR",
    "NOT",
    "IN",
    "TO",
    "EXISTS",
    "IS",
    "NULL",
    "EMPTY",
    "CONTAINS",
    "STARTS WITH",
    " AND ",
    " OR ",
    "NOT ",
    "a",
    "b",
    "id",
    "7",
    "-1.5e3",
    ".5",
    "été",
    "🦀",
    "'a b'",
    "\"x\"",
    "_geo",
    "_geoRadius(",
    "_geoRadius(1,2,3)",
    "_geoBoundingBox([1,2],[3,4])",
    "_geoPolygon([1,2],[3,4],[5,6])",
    "_geoPoint(",
    "_vectors",
    "_vectors.e",
    ".fragments.",
    ".userProvided",
    "_foreign(",
    "_foreign(a, b = 1)",
    "_miroir_shard",
    "a = 1",
    "id IN [1, 2]",
    "b NOT EXISTS",
    "c IS NOT NULL",
    "d 1 TO 2",
    "\u{e003}",
];

#[test]
fn any_text_is_read_or_refused() {
    let from_environment = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    let seed = from_environment("MIROIR_FUZZ_SEED", 1);
    let seconds = from_environment("MIROIR_FUZZ_SECONDS", SECONDS);
    let mut rng = fastrand::Rng::with_seed(seed);
    let until = Instant::now() + Duration::from_secs(seconds);
    let (mut read, mut refused) = (0u64, 0u64);
    while Instant::now() < until {
        let text: String = (0..rng.usize(1..PIECES_MAX)).map(|_| *rng.choice(PIECES).unwrap_or(&"")).collect();
        match parse(&text) {
            Ok(Some(filter)) => {
                read += 1;
                let printed = filter.to_string();
                assert_eq!(parse(&printed), Ok(Some(filter)), "seed {seed}: {text:?} prints as {printed:?}");
                check_reserved_names(&text, seed);
            }
            Ok(None) => {}
            Err(Unreadable) => {
                refused += 1;
                let freed = without_reserved_attributes(&text);
                assert_eq!(parse(&freed), Err(Unreadable), "seed {seed}: {text:?} became {freed:?}");
            }
        }
    }
    assert!(read > 100 && refused > 100, "seed {seed}: {read} read, {refused} refused");
}

fn check_reserved_names(text: &str, seed: u64) {
    let freed = without_reserved_attributes(text);
    let filter = parse(&freed).unwrap_or_else(|error| panic!("seed {seed}: {text:?} became {freed:?}: {error}"));
    filter.expect("it was no blank").attributes(&mut |attribute| {
        assert!(!is_reserved_attribute(&attribute.name), "seed {seed}: {text:?} became {freed:?}");
    });
}
