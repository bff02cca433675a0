//! What a comparison found: counted per kind of query, with the first differences explained.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::client::Object;
use crate::compare::Window;
use crate::generate::{Case, Kind};

/// Hits of a page that a difference prints on each side.
const HITS_EXPLAINED: usize = 25;

/// Whether anything can be said about the hits of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Judged,
    /// The single server contradicted itself.
    Unsteady,
    /// A tie is longer than the single server lets one page through, and it cannot be asked about single documents.
    Undecided,
}

/// The result of one query.
#[derive(Debug)]
pub struct Outcome {
    pub kind: Kind,
    pub prefix_class: bool,
    pub pages_equal: bool,
    pub totals_equal: bool,
    pub has_facets: bool,
    pub facets_equal: bool,
    pub contents_equal: bool,
    pub verdict: Verdict,
    pub differences: Vec<Difference>,
}

impl Outcome {
    pub fn equal(kind: Kind, prefix_class: bool) -> Self {
        Self {
            kind,
            prefix_class,
            pages_equal: true,
            totals_equal: true,
            has_facets: false,
            facets_equal: true,
            contents_equal: true,
            verdict: Verdict::Judged,
            differences: Vec::new(),
        }
    }

    /// Nothing about the two answers is alike.
    pub fn differ_wholly(&mut self, difference: Difference) {
        self.pages_equal = false;
        self.totals_equal = false;
        self.facets_equal = false;
        self.contents_equal = false;
        self.differences.push(difference);
    }

    fn all_equal(&self) -> bool {
        self.pages_equal && self.totals_equal && self.facets_equal && self.contents_equal
    }
}

/// One thing that differed, with all that is needed to see it again.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    pub kind: Kind,
    pub prefix_class: bool,
    pub query: Object,
    pub what: String,
    /// The single server's hits of the page: the members of each tie, and its rank key.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub got: Vec<String>,
}

impl Difference {
    pub fn new(case: &Case, what: String) -> Self {
        Self {
            kind: case.kind,
            prefix_class: false,
            query: case.body.clone(),
            what,
            expected: Vec::new(),
            got: Vec::new(),
        }
    }

    pub fn with_page(mut self, window: &Window, page: Range<usize>, got: Vec<String>) -> Self {
        let expected: Vec<_> = window.hits.iter().skip(page.start).take(page.len().min(HITS_EXPLAINED)).collect();
        let ties = expected.chunk_by(|one, next| one.key == next.key);
        self.expected = ties
            .map(|tie| {
                let ids: Vec<&str> = tie.iter().map(|hit| hit.id.as_str()).collect();
                format!("{} [{}]", ids.join(" "), tie[0].key)
            })
            .collect();
        self.got = got.into_iter().take(HITS_EXPLAINED).collect();
        self
    }
}

/// How many queries there were and in how many of them what was equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub queries: usize,
    pub pages_equal: usize,
    pub totals_equal: usize,
    pub with_facets: usize,
    pub facets_equal: usize,
    pub contents_equal: usize,
    pub all_equal: usize,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.queries += 1;
        self.pages_equal += usize::from(outcome.pages_equal);
        self.totals_equal += usize::from(outcome.totals_equal);
        self.with_facets += usize::from(outcome.has_facets);
        self.facets_equal += usize::from(outcome.has_facets && outcome.facets_equal);
        self.contents_equal += usize::from(outcome.contents_equal);
        self.all_equal += usize::from(outcome.all_equal());
    }

    /// Percentage of queries whose page of hits is equal up to ties.
    pub fn pages_percent(&self) -> f64 {
        percent(self.pages_equal, self.queries)
    }

    /// How many queries have totals that differ, and how many have facets that do.
    pub fn totals_and_facets_differing(&self) -> (usize, usize) {
        (self.queries - self.totals_equal, self.with_facets - self.facets_equal)
    }

    /// Percentage of queries about which nothing differs.
    pub fn all_percent(&self) -> f64 {
        percent(self.all_equal, self.queries)
    }
}

fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        100.0
    } else {
        part as f64 * 100.0 / whole as f64
    }
}

/// The whole comparison. Prints as a table; serializes as JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    pub index: String,
    pub documents: usize,
    pub seed: u64,
    pub overall: Tally,
    /// Without the queries that no proxy can make equal (see [`crate::prefix`]).
    pub outside_prefix_class: Tally,
    pub prefix_class: Tally,
    pub kinds: BTreeMap<Kind, Tally>,
    /// Queries about which the single server contradicted itself; in no tally.
    pub unsteady: usize,
    /// Queries with a tie too long to be seen whole; in no tally. There are none when the single server's primary key
    /// is filterable.
    pub undecided: usize,
    /// The first differences; `differences_found` counts all.
    pub differences: Vec<Difference>,
    pub differences_found: usize,
    #[serde(skip)]
    differences_max: usize,
}

impl Report {
    pub fn new(index: String, documents: usize, seed: u64, differences_max: usize) -> Self {
        Self {
            index,
            documents,
            seed,
            overall: Tally::default(),
            outside_prefix_class: Tally::default(),
            prefix_class: Tally::default(),
            kinds: BTreeMap::new(),
            unsteady: 0,
            undecided: 0,
            differences: Vec::new(),
            differences_found: 0,
            differences_max,
        }
    }

    pub fn add(&mut self, outcome: Outcome) {
        match outcome.verdict {
            Verdict::Judged => {}
            Verdict::Unsteady => {
                self.unsteady += 1;
                return;
            }
            Verdict::Undecided => {
                self.undecided += 1;
                return;
            }
        }
        self.overall.add(&outcome);
        self.kinds.entry(outcome.kind).or_default().add(&outcome);
        let class = if outcome.prefix_class { &mut self.prefix_class } else { &mut self.outside_prefix_class };
        class.add(&outcome);
        self.differences_found += outcome.differences.len();
        let room = self.differences_max.saturating_sub(self.differences.len());
        let prefix_class = outcome.prefix_class;
        let explained = outcome.differences.into_iter().take(room);
        self.differences.extend(explained.map(|difference| Difference { prefix_class, ..difference }));
    }

    /// Percentage of queries about which nothing differs, the prefix class included.
    pub fn percent(&self) -> f64 {
        self.overall.all_percent()
    }

    /// The table by kind of query as Markdown, without the differences.
    pub fn markdown(&self) -> String {
        let mut table = String::from(
            "| kind | queries | pages | totals | facets | contents | everything |\n|---|---|---|---|---|---|---|\n",
        );
        for (name, tally) in self.kind_rows().chain(self.sum_rows()) {
            let cells = Cells::of(tally);
            table.push_str(&format!(
                "| {name} | {} | {} | {} | {} | {} | {} |\n",
                tally.queries, cells.pages, cells.totals, cells.facets, cells.contents, cells.all
            ));
        }
        table
    }

    fn kind_rows(&self) -> impl Iterator<Item = (String, &Tally)> {
        self.kinds.iter().map(|(kind, tally)| {
            let name = serde_json::to_value(kind).ok();
            (name.as_ref().and_then(|name| name.as_str()).unwrap_or("?").to_owned(), tally)
        })
    }

    fn sum_rows(&self) -> impl Iterator<Item = (String, &Tally)> {
        [
            ("outside prefix class", &self.outside_prefix_class),
            ("prefix class", &self.prefix_class),
            ("overall", &self.overall),
        ]
        .into_iter()
        .map(|(name, tally)| (name.to_owned(), tally))
    }
}

/// Percentages of one row, as both tables print them.
struct Cells {
    pages: String,
    totals: String,
    facets: String,
    contents: String,
    all: String,
}

impl Cells {
    fn of(tally: &Tally) -> Self {
        let cell = |equal, of| format!("{:.2}", percent(equal, of));
        Self {
            pages: cell(tally.pages_equal, tally.queries),
            totals: cell(tally.totals_equal, tally.queries),
            facets: match tally.with_facets {
                0 => "-".to_owned(),
                asked => cell(tally.facets_equal, asked),
            },
            contents: cell(tally.contents_equal, tally.queries),
            all: cell(tally.all_equal, tally.queries),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "index {}, {} documents, seed {}", self.index, self.documents, self.seed)?;
        writeln!(out)?;
        writeln!(
            out,
            "{:<22} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "kind", "queries", "pages %", "totals %", "facets %", "contents", "all %"
        )?;
        for (name, tally) in self.kind_rows() {
            write_row(out, &name, tally)?;
        }
        writeln!(out)?;
        for (name, tally) in self.sum_rows() {
            write_row(out, &name, tally)?;
        }
        if self.unsteady > 0 {
            writeln!(out, "\n{} queries left out: the single server contradicted itself", self.unsteady)?;
        }
        if self.undecided > 0 {
            writeln!(out, "\n{} queries left out: ties too long to be seen whole", self.undecided)?;
        }
        if self.differences_found > 0 {
            writeln!(out, "\n{} differences, the first {}:", self.differences_found, self.differences.len())?;
        }
        for difference in &self.differences {
            write_difference(out, difference)?;
        }
        Ok(())
    }
}

fn write_row(out: &mut fmt::Formatter<'_>, name: &str, tally: &Tally) -> fmt::Result {
    let cells = Cells::of(tally);
    writeln!(
        out,
        "{:<22} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9}",
        name, tally.queries, cells.pages, cells.totals, cells.facets, cells.contents, cells.all,
    )
}

fn write_difference(out: &mut fmt::Formatter<'_>, difference: &Difference) -> fmt::Result {
    let class = if difference.prefix_class { " (prefix class)" } else { "" };
    let query = serde_json::to_string(&difference.query).unwrap_or_default();
    writeln!(out, "\n{:?}{class} {query}\n  {}", difference.kind, difference.what)?;
    if !difference.expected.is_empty() {
        writeln!(out, "  expected:")?;
        for hit in &difference.expected {
            writeln!(out, "    {hit}")?;
        }
        writeln!(out, "  got: {}", difference.got.join(" "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        Case { kind: Kind::Word, body: Object::new(), pages: 1 }
    }

    #[test]
    fn every_query_is_counted_once_in_each_place_it_belongs() {
        let mut report = Report::new("cities".into(), 3, 1, 1);
        report.add(Outcome::equal(Kind::Word, false));
        let mut differing = Outcome::equal(Kind::Word, true);
        differing.differ_wholly(Difference::new(&case(), "x".into()));
        report.add(differing);
        let mut totals = Outcome::equal(Kind::Page, false);
        totals.totals_equal = false;
        totals.differences.push(Difference::new(&case(), "y".into()));
        report.add(totals);

        assert_eq!((report.overall.queries, report.overall.all_equal, report.overall.pages_equal), (3, 1, 2));
        assert_eq!((report.prefix_class.queries, report.outside_prefix_class.queries), (1, 2));
        assert_eq!(report.kinds[&Kind::Word].queries, 2);
        assert_eq!((report.differences_found, report.differences.len()), (2, 1));
        assert!(report.differences[0].prefix_class);
        assert!((report.percent() - 100.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_the_single_server_cannot_say_counts_for_nothing() {
        let mut report = Report::new("cities".into(), 3, 1, 1);
        let mut unsteady = Outcome::equal(Kind::Word, false);
        unsteady.verdict = Verdict::Unsteady;
        report.add(unsteady);
        let mut undecided = Outcome::equal(Kind::Word, false);
        undecided.verdict = Verdict::Undecided;
        report.add(undecided);
        assert_eq!((report.unsteady, report.undecided, report.overall.queries), (1, 1, 0));
        assert!(report.to_string().contains("contradicted itself"));
    }

    #[test]
    fn facets_are_counted_only_where_they_were_asked_for() {
        let mut report = Report::new("cities".into(), 3, 1, 1);
        report.add(Outcome::equal(Kind::Word, false));
        let mut faceted = Outcome::equal(Kind::Facets, false);
        faceted.has_facets = true;
        report.add(faceted);
        assert_eq!((report.overall.with_facets, report.overall.facets_equal), (1, 1));
    }
}
