//! Debian's packages as documents: what `apt-cache dumpavail` prints, as NDJSON.
//!
//! A data set of another kind than the cities of `demo/`: tens of thousands of documents with sentences to search in, long
//! lists of values (`depends`, `tags`), strings and numbers to sort by, and no places. Whoever has Debian has it, so it is
//! not kept in the repository.

use std::collections::HashSet;
use std::io::{BufRead, Write};

use serde_json::{json, Value};

use crate::client::Object;

/// The settings that go with these documents.
pub const SETTINGS: &str = include_str!("../packages.settings.json");

/// Copies `documents_max` packages, evenly spread over all that `available` lists, to `ndjson`; returns how many. A package
/// of which several versions are listed is taken once, as it is listed first.
pub fn convert(available: impl BufRead, ndjson: &mut impl Write, documents_max: usize) -> std::io::Result<usize> {
    let mut documents = Vec::new();
    let mut seen = HashSet::new();
    let mut paragraph = Paragraph::default();
    for line in available.lines() {
        let line = line?;
        if line.is_empty() {
            take(&mut paragraph, &mut seen, &mut documents);
        } else {
            paragraph.add(&line);
        }
    }
    take(&mut paragraph, &mut seen, &mut documents);
    let taken = documents_max.min(documents.len());
    for n in 0..taken {
        let document = &documents[n * documents.len() / taken];
        writeln!(ndjson, "{}", Value::Object(document.clone()))?;
    }
    Ok(taken)
}

fn take(paragraph: &mut Paragraph, seen: &mut HashSet<String>, documents: &mut Vec<Object>) {
    let paragraph = std::mem::take(paragraph);
    let Some(name) = paragraph.get("Package") else { return };
    if seen.insert(name.to_owned()) {
        documents.push(paragraph.document(documents.len() + 1, name));
    }
}

/// Fields of one package: `Name: value`, where lines that begin with a space go on with the value.
#[derive(Default)]
struct Paragraph(Vec<(String, String)>);

impl Paragraph {
    fn add(&mut self, line: &str) {
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), self.0.last_mut()) {
            value.push('\n');
            // A line with nothing but a dot stands for an empty one.
            value.push_str(line.trim().strip_prefix('.').unwrap_or(line.trim()));
        } else if let Some((name, value)) = line.split_once(':') {
            self.0.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    /// `number` is the document's id: names of packages have characters that ids may not have.
    fn document(&self, number: usize, name: &str) -> Object {
        let mut document = Object::new();
        document.insert("id".to_owned(), json!(number));
        document.insert("package".to_owned(), json!(name));
        let texts = [
            ("version", "Version"),
            ("section", "Section"),
            ("priority", "Priority"),
            ("maintainer", "Maintainer"),
            ("description", "Description"),
        ];
        document.extend(texts.iter().filter_map(|(field, name)| Some(((*field).to_owned(), json!(self.get(name)?)))));
        for (field, name) in [("installed_size", "Installed-Size"), ("size", "Size")] {
            let number = self.get(name).and_then(|text| text.parse::<u64>().ok());
            document.extend(number.map(|number| (field.to_owned(), json!(number))));
        }
        document.insert("depends".to_owned(), json!(list(self.get("Depends").unwrap_or(""), &[',', '|'], Some(' '))));
        document.insert("tags".to_owned(), json!(list(self.get("Tag").unwrap_or(""), &[','], None)));
        document
    }
}

/// The elements of a list, each up to `end` (versions and architectures follow a package's name), and each once.
fn list<'a>(text: &'a str, separators: &[char], end: Option<char>) -> Vec<&'a str> {
    let elements = text.split(separators).map(|element| {
        let element = element.trim();
        end.and_then(|end| element.split(end).next()).unwrap_or(element)
    });
    let mut seen = HashSet::new();
    elements.filter(|element| !element.is_empty() && seen.insert(*element)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVAILABLE: &str = "\
Package: 0ad
Version: 0.0.26-3
Installed-Size: 28591
Maintainer: Debian Games Team <pkg-games-devel@lists.alioth.debian.org>
Depends: 0ad-data (>= 0.0.26), 0ad-data (<= 0.0.26-3), fonts-dejavu-core | ttf-dejavu-core
Description: Real-time strategy game of ancient warfare
 Long text.
 .
 More of it.
Tag: game::strategy, interface::graphical,
 role::program
Section: games
Priority: optional
Size: 7891488

Package: a
Version: 1

Package: 0ad
Version: 0.0.25
";

    fn converted(documents_max: usize) -> Vec<Value> {
        let mut ndjson = Vec::new();
        let count = convert(AVAILABLE.as_bytes(), &mut ndjson, documents_max).expect("memory takes everything");
        let documents: Vec<Value> =
            ndjson.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(documents.len(), count);
        documents
    }

    #[test]
    fn a_package_is_a_document_with_lists_and_numbers() {
        let documents = converted(10);
        let expected = json!({
            "id": 1, "package": "0ad", "version": "0.0.26-3", "section": "games", "priority": "optional",
            "maintainer": "Debian Games Team <pkg-games-devel@lists.alioth.debian.org>",
            "description": "Real-time strategy game of ancient warfare\nLong text.\n\nMore of it.",
            "installed_size": 28591, "size": 7891488,
            "depends": ["0ad-data", "fonts-dejavu-core", "ttf-dejavu-core"],
            "tags": ["game::strategy", "interface::graphical", "role::program"],
        });
        assert_eq!(documents[0], expected);
        assert_eq!(documents[1], json!({ "id": 2, "package": "a", "version": "1", "depends": [], "tags": [] }));
        assert_eq!(documents.len(), 2, "another version of a package is no other package");
    }

    #[test]
    fn fewer_documents_are_spread_over_all() {
        assert_eq!(converted(1).len(), 1);
    }

    #[test]
    fn the_settings_name_fields_that_the_documents_have() {
        let settings: Value = serde_json::from_str(SETTINGS).expect("settings are JSON");
        let document = converted(1).remove(0);
        for list in ["searchableAttributes", "filterableAttributes", "sortableAttributes", "displayedAttributes"] {
            for field in settings[list].as_array().expect("a list") {
                assert!(document.get(field.as_str().unwrap_or_default()).is_some(), "{list}: {field}");
            }
        }
    }
}
