//! Typed values out of the tree, with every problem collected instead of the first one returned.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::CertificateDer;

use super::yaml::{Entry, Node, Scalar, Value};
use super::{ConfigView, Environment, Secret};

/// Largest secret file that is read: keys are short, and a path to something else must not fill the memory.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// Largest file of certificates that is read: all that browsers trust have a fifth of that.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1. `None`: the whole file.
    pub line: Option<usize>,
    /// The key's full path, such as `miroir.server.port`; empty where no key is to blame.
    pub key: String,
    pub message: String,
}

impl Problem {
    pub(super) fn at(line: usize, message: String) -> Self {
        Self { line: Some(line), key: String::new(), message }
    }
}

/// Reads one file: what values are taken with, and what was found wrong on the way.
pub(super) struct Reader<'a> {
    folder: PathBuf,
    environment: &'a Environment,
    problems: RefCell<Vec<Problem>>,
    /// Line of every key that was read, by its path; what contradictions between sections are reported with.
    lines: RefCell<HashMap<String, usize>>,
    /// Path of every key that was asked for, list items written `[]`: the schema, as the code that reads it defines it.
    asked: RefCell<BTreeSet<String>>,
    /// The value of every key that was asked for.
    view: RefCell<ConfigView>,
}

impl<'a> Reader<'a> {
    pub fn new(file: &Path, environment: &'a Environment) -> Self {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        Self {
            folder,
            environment,
            problems: RefCell::default(),
            lines: RefCell::default(),
            asked: RefCell::default(),
            view: RefCell::default(),
        }
    }

    pub fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Reports `message` at the key `path`, or at the nearest section above it that is in the file.
    pub fn problem(&self, path: &str, message: impl Into<String>) {
        let lines = self.lines.borrow();
        let mut above = path;
        let line = loop {
            match (lines.get(above), above.rfind(['.', '['])) {
                (Some(line), _) => break Some(*line),
                (None, Some(end)) => above = &above[..end],
                (None, None) => break None,
            }
        };
        self.add(Problem { line, key: path.to_owned(), message: message.into() });
    }

    pub fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// All problems, in the order of their lines.
    pub fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line);
        problems
    }

    /// What has been read so far.
    pub fn view(&self) -> ConfigView {
        self.view.borrow().clone()
    }

    #[cfg(test)]
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }

    /// An absolute path; a relative one starts in the folder of the configuration file.
    fn resolve(&self, path: &str) -> PathBuf {
        let joined = self.folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

/// One mapping of the file. Each method takes one key; keys that no method took are unknown.
pub(super) struct Section<'r, 'n> {
    reader: &'r Reader<'r>,
    /// `miroir.server`; empty for the whole file.
    path: String,
    entries: &'n [Entry],
    known: RefCell<Vec<&'static str>>,
}

impl<'r, 'n> Section<'r, 'n> {
    /// Reads the mapping `node` at `path` with `read`, then refuses what is left. `None` stands for an empty mapping.
    pub fn read<T>(reader: &'r Reader<'r>, path: &str, node: Option<&'n Node>, read: impl FnOnce(&Self) -> T) -> T {
        let entries = match node.map(|node| &node.value) {
            None => &[],
            Some(Value::Map(entries)) => entries.as_slice(),
            Some(other) => {
                reader.problem(path, format!("expected keys with values, got {}", describe(other)));
                &[]
            }
        };
        let section = Self { reader, path: path.to_owned(), entries, known: RefCell::default() };
        for (n, entry) in entries.iter().enumerate() {
            let path = section.path_of(&entry.key);
            if entries[..n].iter().any(|earlier| earlier.key == entry.key) {
                reader.add(Problem { line: Some(entry.line), key: path, message: "stands here twice".to_owned() });
            } else {
                reader.lines.borrow_mut().insert(path, entry.line);
            }
        }
        let value = read(&section);
        section.refuse_unknown_keys();
        value
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    fn refuse_unknown_keys(&self) {
        let known = self.known.borrow();
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let hint = match nearest(&entry.key, &known) {
                Some(key) => format!("; did you mean `{key}`?"),
                None => format!("; known here: {}", known.join(", ")),
            };
            self.reader.problem(&self.path_of(&entry.key), format!("unknown key{hint}"));
        }
    }

    /// Reports `message` at `key`.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.reader.problem(&self.path_of(key), message);
    }

    /// Whether `key` stands in the file.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Whether there is a list under `key` with anything in it, be it right or wrong.
    pub fn has_items(&self, key: &str) -> bool {
        let node = self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node.value);
        matches!(node, Some(Value::List(items)) if !items.is_empty())
    }

    fn node(&self, key: &'static str) -> Option<&'n Node> {
        self.known.borrow_mut().push(key);
        self.reader.asked.borrow_mut().insert(without_positions(&self.path_of(key)));
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The section under `key`, with its defaults where it is absent.
    pub fn section<T>(&self, key: &'static str, read: impl FnOnce(&Section<'r, 'n>) -> T) -> T {
        let node = self.node(key);
        Section::read(self.reader, &self.path_of(key), node, read)
    }

    /// Each item of the list under `key`, read by `read`; an absent list is empty.
    pub fn list<T>(&self, key: &'static str, read: impl Fn(&Section<'r, 'n>) -> Option<T>) -> Vec<T> {
        let path = self.path_of(key);
        let items = match self.node(key).map(|node| &node.value) {
            None => return Vec::new(),
            Some(Value::List(items)) => items,
            Some(other) => {
                self.problem(key, format!("expected a list, got {}", describe(other)));
                return Vec::new();
            }
        };
        let read_item = |(n, item): (usize, &'n Node)| {
            let path = format!("{path}[{n}]");
            self.reader.lines.borrow_mut().insert(path.clone(), item.line);
            Section::read(self.reader, &path, Some(item), &read)
        };
        items.iter().enumerate().filter_map(read_item).collect()
    }

    /// Each item of the list of texts under `key`, made into a `T`; an absent list is empty.
    pub fn texts<T, E: Display>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, E>) -> Vec<T> {
        let items = match self.node(key).map(|node| &node.value) {
            None => {
                self.show(key, serde_json::Value::Null);
                return Vec::new();
            }
            Some(Value::List(items)) => items,
            Some(other) => {
                self.problem(key, format!("expected a list, got {}", describe(other)));
                return Vec::new();
            }
        };
        let parsed = items.iter().enumerate().filter_map(|(n, item)| {
            let path = format!("{}[{n}]", self.path_of(key));
            self.reader.lines.borrow_mut().insert(path.clone(), item.line);
            let text = match &item.value {
                Value::Scalar(scalar) => scalar.text(self.reader.environment),
                other => Err(format!("expected text, got {}", describe(other))),
            };
            if let Ok(text) = &text {
                self.reader.view.borrow_mut().show(path.clone(), text.as_str().into());
            }
            let value = text.and_then(|text| parse(&text).map_err(|error| error.to_string()));
            value.map_err(|message| self.reader.problem(&path, message)).ok()
        });
        parsed.collect()
    }

    /// Text under `key`. A variable that is filled in with nothing counts as no value.
    pub fn text(&self, key: &'static str) -> Option<String> {
        let text = self.written(key);
        self.show(key, text.clone());
        text
    }

    fn show(&self, key: &str, value: impl Into<serde_json::Value>) {
        self.reader.view.borrow_mut().show(self.path_of(key), value.into());
    }

    /// Like [`Section::text`] for what may be secret.
    fn written(&self, key: &'static str) -> Option<String> {
        let (scalar, text) = self.scalar(key, "text")?;
        let typed = scalar.plain && !scalar.has_variables() && (text.parse::<f64>().is_ok() || truth(&text).is_some());
        if typed {
            // Not what stands there: it may be a key.
            self.problem(
                key,
                "expected text, got a bare number or truth value; if that is meant as text, put it in quotes",
            );
            return None;
        }
        if text.is_empty() && !scalar.has_variables() {
            self.problem(key, "is empty");
            return None;
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// Text under `key`, made into a `T`; `default` where there is none.
    pub fn parsed<T, E: Display>(&self, key: &'static str, default: T, parse: impl FnOnce(&str) -> Result<T, E>) -> T {
        match self.text(key).map(|text| parse(&text)) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(message)) => {
                self.problem(key, message.to_string());
                default
            }
        }
    }

    /// Like [`Section::parsed`] for a key that has no default.
    pub fn required<T, E: Display>(
        &self,
        key: &'static str,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let absent = !self.has(key);
        let value = self.parsed(key, None, |text| parse(text).map(Some));
        if value.is_none() && absent {
            self.problem(key, format!("is missing; it is needed, as in `{key}: {example}`"));
        }
        value
    }

    pub fn truth(&self, key: &'static str, default: bool) -> bool {
        let value = self.written_truth(key, default);
        self.show(key, value);
        value
    }

    fn written_truth(&self, key: &'static str, default: bool) -> bool {
        let Some((scalar, text)) = self.scalar(key, "true or false").filter(|(_, text)| !text.is_empty()) else {
            return default;
        };
        truth(&text).filter(|_| scalar.plain || scalar.has_variables()).unwrap_or_else(|| {
            self.problem(key, format!("expected true or false, got `{text}`"));
            default
        })
    }

    /// A whole number within `range`.
    pub fn number(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let value = self.written_number(key, default, range);
        self.show(key, value);
        value
    }

    fn written_number(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some((scalar, text)) = self.scalar(key, "a whole number").filter(|(_, text)| !text.is_empty()) else {
            return default;
        };
        let number = text.parse::<u64>().ok().filter(|_| scalar.plain || scalar.has_variables());
        match number {
            Some(number) if range.contains(&number) => number,
            Some(number) => {
                self.problem(key, format!("must be from {} to {}, got {number}", range.start(), range.end()));
                default
            }
            None => {
                self.problem(
                    key,
                    format!("expected a whole number from {} to {}, got `{text}`", range.start(), range.end()),
                );
                default
            }
        }
    }

    /// A time in milliseconds, at most a day.
    pub fn milliseconds(&self, key: &'static str, default: u64) -> Duration {
        Duration::from_millis(self.number(key, default, 1..=86_400_000))
    }

    /// A path; a relative one starts in the folder of the configuration file.
    pub fn path(&self, key: &'static str, default: &str) -> PathBuf {
        let path = self.reader.resolve(&self.written(key).unwrap_or_else(|| default.to_owned()));
        self.show(key, path.display().to_string());
        path
    }

    /// The certificates, in DER, of the PEM file that `key` names; none if it names no file.
    pub fn certificates(&self, key: &'static str) -> Vec<Vec<u8>> {
        let Some(file) = self.text(key) else { return Vec::new() };
        let path = self.reader.resolve(&file);
        let read = std::fs::metadata(&path).and_then(|metadata| match metadata.len() {
            0..=CERTIFICATES_BYTES_MAX => std::fs::read(&path),
            _ => Err(std::io::Error::other(format!("it has more than {CERTIFICATES_BYTES_MAX} bytes"))),
        });
        let found: Result<Vec<Vec<u8>>, String> = read.map_err(|error| error.to_string()).and_then(|pem| {
            let certificates = CertificateDer::pem_slice_iter(&pem).map(|found| found.map(|der| der.to_vec()));
            certificates.collect::<Result<_, _>>().map_err(|error| error.to_string())
        });
        match found {
            Ok(certificates) if certificates.is_empty() => {
                self.problem(key, format!("{} has no certificate in PEM", path.display()));
            }
            Ok(certificates) => return certificates,
            Err(error) => self.problem(key, format!("{} cannot be read: {error}", path.display())),
        }
        Vec::new()
    }

    /// A key: from the environment variable `variable` if that is set, else from `key`, else from the file that
    /// `file_key` names.
    pub fn secret(&self, key: &'static str, file_key: &'static str, variable: Option<&str>) -> Option<Secret> {
        let secret = self.written_secret(key, file_key, variable);
        self.reader.view.borrow_mut().show_secret(self.path_of(key), secret.as_ref());
        secret
    }

    fn written_secret(&self, key: &'static str, file_key: &'static str, variable: Option<&str>) -> Option<Secret> {
        let written = self.written(key);
        let file = self.text(file_key);
        if written.is_some() && file.is_some() {
            self.problem(file_key, format!("contradicts `{key}`; keep one of the two"));
        }
        let from_environment = variable.and_then(|name| self.reader.environment.get(name)).filter(|v| !v.is_empty());
        let secret = match (from_environment, written, file) {
            (Some(value), ..) => value.clone(),
            (None, Some(value), _) => value,
            (None, None, Some(file)) => self.secret_of_file(file_key, &file)?,
            (None, None, None) => return None,
        };
        // Keys travel in headers: what no header can carry would never match.
        if secret.bytes().any(|b| !(0x20..0x7f).contains(&b)) {
            self.problem(key, "has characters that no HTTP header carries; use printable ASCII");
        }
        Some(Secret::new(secret))
    }

    fn secret_of_file(&self, file_key: &'static str, file: &str) -> Option<String> {
        let path = self.reader.resolve(file);
        let read = std::fs::metadata(&path).and_then(|metadata| match metadata.len() {
            0..=SECRET_BYTES_MAX => std::fs::read_to_string(&path),
            _ => Err(std::io::Error::other(format!("it has more than {SECRET_BYTES_MAX} bytes"))),
        });
        match read.as_deref().map(str::trim) {
            Ok("") => self.problem(file_key, format!("{} is empty", path.display())),
            Ok(secret) => return Some(secret.to_owned()),
            Err(error) => self.problem(file_key, format!("{} cannot be read: {error}", path.display())),
        }
        None
    }

    /// The scalar under `key` with its variables filled in. Null is no value: it is refused, since it could mean the
    /// default or nothing.
    fn scalar(&self, key: &'static str, expected: &str) -> Option<(&'n Scalar, String)> {
        let scalar = match &self.node(key)?.value {
            Value::Scalar(scalar) => scalar,
            other => {
                self.problem(key, format!("expected {expected}, got {}", describe(other)));
                return None;
            }
        };
        match scalar.text(self.reader.environment) {
            Ok(text) if scalar.plain && !scalar.has_variables() && is_null(&text) => {
                self.problem(key, format!("has no value; expected {expected}, or no such line for the default"));
                None
            }
            Ok(text) => Some((scalar, text)),
            Err(message) => {
                self.problem(key, message);
                None
            }
        }
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Scalar(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "keys with values",
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// `nodes[3].id` as `nodes[].id`.
fn without_positions(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            inside = *c == '[' || (inside && *c != ']');
            !inside || *c == '['
        })
        .collect()
}

/// The known key that `unknown` was probably meant to be: at most a third of its letters differ.
fn nearest(unknown: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |key: &&'static str| strsim::damerau_levenshtein(unknown, key);
    let nearest = known.iter().copied().min_by_key(distance)?;
    let tolerated = (unknown.chars().count().max(nearest.len()) / 3).max(1);
    (distance(&nearest) <= tolerated).then_some(nearest)
}
