//! Pages that say which tests hold Miroir to its specification tell the truth: each test that they name exists.

use std::path::Path;

/// What is asked, and where in the page it stands.
struct Row<'a> {
    asked: &'a str,
    answer: &'a str,
}

fn rows(page: &str) -> Vec<Row<'_>> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | "));
    cells.map(|(asked, answer)| Row { asked, answer }).filter(|row| row.asked != "what is asked").collect()
}

/// Whether the file has a test of this name.
fn has_test(file: &str, name: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut before = "";
    for line in source.lines().map(str::trim) {
        let named = line
            .split_once("fn ")
            .is_some_and(|(_, rest)| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')));
        // The rules that every store is held to are made tests by a macro.
        if named
            && (before.starts_with("#[test]")
                || before.starts_with("#[tokio::test")
                || file.ends_with("conformance.rs"))
        {
            return true;
        }
        before = line;
    }
    false
}

#[test]
fn every_line_of_the_specification_of_indexes_has_a_test_that_exists_or_says_why_not() {
    let rows = rows(include_str!("../docs/spec-05.md"));
    let mut faults = Vec::new();
    let mut named = 0;
    for Row { asked, answer } in &rows {
        if answer.starts_with("*Open*: ") {
            continue;
        }
        for test in answer.split("<br>") {
            named += 1;
            match test.strip_prefix('`').and_then(|test| test.split_once("` ")) {
                Some((file, name)) if has_test(file, name) => {}
                _ => faults.push(format!("{asked}: {test}\n")),
            }
        }
    }
    assert!(rows.len() > 40 && named > 60, "only {named} tests in {} lines", rows.len());
    assert!(faults.is_empty(), "no such test:\n{}", faults.concat());
}
