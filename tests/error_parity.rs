//! Every error, on one server and on Miroir: status, code, type, link and message must be the same.
//!
//! What differs, and why, stands in [`DIFFERENCES`](differences::DIFFERENCES) and in `docs/compatibility.md`; a test
//! holds the two against each other.

mod support;

#[path = "error_parity/cases.rs"]
mod cases;
#[path = "error_parity/differences.rs"]
mod differences;

use std::collections::{BTreeMap, BTreeSet};

use cases::{Case, HeaderCase};
use differences::{Difference, DIFFERENCES};
use serde_json::{json, Value};
use support::{Answer, Client, Cluster, ClusterOptions, SingleServer};

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Refused {
        status: u16,
        error: Value,
    },
    /// How the task ended.
    Task {
        status: Value,
        error: Value,
    },
}

impl Told {
    fn by(client: &Client, answer: Answer) -> Self {
        if answer.status != 202 {
            return Told::Refused {
                status: answer.status,
                error: if answer.status == 200 { Value::Null } else { answer.body },
            };
        }
        let task = client.ended(answer);
        Told::Task { status: task["status"].clone(), error: task["error"].clone() }
    }
}

impl Told {
    fn is_unserved(&self) -> bool {
        matches!(self, Told::Refused { status: 501, error } if error["code"] == "miroir_not_supported")
    }
}

/// The two indexes that the cases are about.
fn fill(client: &Client) {
    let films = json!([
        { "id": 1, "title": "Alien", "genre": "Horror", "year": 1979 },
        { "id": 2, "title": "Das Boot", "genre": "War", "year": 1981 },
    ]);
    client.succeed(client.post("/indexes", json!({ "uid": "films", "primaryKey": "id" })));
    client.succeed(client.post("/indexes", json!({ "uid": "empty" })));
    client.succeed(client.post("/indexes", json!({ "uid": "undecided" })));
    let settings = json!({ "filterableAttributes": ["genre"], "sortableAttributes": ["year"] });
    client.succeed(client.patch("/indexes/films/settings", settings));
    client.succeed(client.post("/indexes/films/documents", films));
}

fn send(client: &Client, case: &Case) -> Answer {
    let (headers, body): (&[_], _) = match case.body {
        "" => (&[], None),
        body => (&[("content-type", "application/json")], Some(body.as_bytes().to_vec())),
    };
    client.send(case.method, case.path, headers, body)
}

fn send_with_headers(client: &Client, case: &HeaderCase) -> Answer {
    let body = (!case.body.is_empty()).then(|| case.body.as_bytes().to_vec());
    client.send(case.method, case.path, case.headers, body)
}

/// Every case's name and what comes of it, in the order of the cases.
fn walk(with_key: &Client, without_key: &Client) -> Vec<(String, Told)> {
    use cases::{CONTENT_TYPES, DOCUMENTS, INDEXES, KEYS, NO_SUCH_ROUTE, SEARCH, SETTINGS, TASKS, WITHOUT_THE_KEY};
    fill(with_key);
    let mut told = Vec::new();
    for case in [NO_SUCH_ROUTE, INDEXES, DOCUMENTS, SEARCH, SETTINGS, TASKS, KEYS].concat() {
        told.push((case.name(), Told::by(with_key, send(with_key, &case))));
    }
    for case in CONTENT_TYPES {
        told.push((case.name.to_owned(), Told::by(with_key, send_with_headers(with_key, case))));
    }
    for case in WITHOUT_THE_KEY {
        told.push((case.name.to_owned(), Told::by(without_key, send_with_headers(without_key, case))));
    }
    told
}

#[test]
fn every_error_is_the_same_as_on_one_server() {
    let (single, cluster) = (SingleServer::start(), Cluster::start(ClusterOptions::default()));
    let expected = walk(single.client(), &Client::new(single.url(), None));
    let got = walk(cluster.client(), &cluster.client_with(None));

    let mut wanted: BTreeMap<&str, &Difference> = BTreeMap::new();
    for difference in DIFFERENCES.iter().filter(|difference| difference.applies(single.is_embedded())) {
        wanted.extend(difference.cases.iter().map(|case| (*case, difference)));
    }
    let mut faults = Vec::new();
    for ((case, expected), (_, got)) in expected.iter().zip(&got) {
        // Which routes Miroir does not serve is what tests/compatibility.rs is about.
        if got.is_unserved() {
            continue;
        }
        match (expected == got, wanted.remove(case.as_str())) {
            (true, None) | (false, Some(_)) => {}
            (false, None) => faults.push(format!("{case}\n  one server {expected:?}\n  Miroir     {got:?}\n")),
            (true, Some(_)) => faults.push(format!("{case}\n  is the same by now: {got:?}\n")),
        }
    }
    faults.extend(wanted.keys().map(|case| format!("{case}\n  is no case\n")));
    assert!(expected.len() >= 120, "{} cases", expected.len());
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), expected.len(), faults.concat());
}

/// The rows of the table below the heading `heading`: their cells, without the table's own head.
fn rows<'a>(document: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let section = document.split_once(heading).unwrap_or_else(|| panic!("no heading {heading:?}")).1;
    let section = section.split("\n## ").next().expect("a split has a first part");
    let table = section.lines().filter(|line| line.starts_with('|')).skip(2);
    table.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn every_difference_stands_in_the_documentation_with_its_reason() {
    let documentation = include_str!("../docs/compatibility.md");
    let written: BTreeSet<Vec<String>> = rows(documentation, "\n## Errors that differ\n")
        .into_iter()
        .map(|cells| cells.into_iter().map(str::to_owned).collect())
        .collect();
    let listed: BTreeSet<Vec<String>> = DIFFERENCES.iter().map(Difference::row).collect();
    let missing: Vec<_> = listed.difference(&written).map(|row| format!("| {} |", row.join(" | "))).collect();
    let left_over: Vec<_> = written.difference(&listed).map(|row| format!("| {} |", row.join(" | "))).collect();
    assert!(
        missing.is_empty() && left_over.is_empty(),
        "to be added to docs/compatibility.md:\n{}\nto be taken out of it:\n{}",
        missing.join("\n"),
        left_over.join("\n")
    );
}
