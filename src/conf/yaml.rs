//! YAML text to a tree whose every value knows its line, with `${VAR}` recognised anywhere.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::reader::Problem;
use super::Environment;

/// Deepest nesting that is read; the schema needs four levels.
const DEPTH_MAX: usize = 32;

/// What stands in the parsed text around the number of a variable: private-use characters, which have no meaning in
/// YAML. A `${VAR}` left as it is would end a `{ key: ${VAR} }` early, and a value filled in before parsing could add
/// keys of its own.
const VARIABLE_OPEN: char = '\u{e000}';
const VARIABLE_CLOSE: char = '\u{e001}';

#[derive(Debug)]
pub(super) struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(super) struct Entry {
    pub key: String,
    pub line: usize,
    pub node: Node,
}

/// A scalar as written. `plain` ones may be numbers, truth values or null; quoted ones are text.
#[derive(Debug)]
pub(super) struct Scalar {
    pieces: Vec<Piece>,
    pub plain: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Variable { name: String, default: Option<String> },
}

impl Scalar {
    /// Whether a `${VAR}` is part of it; its type is then the one that is asked for.
    pub fn has_variables(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. }))
    }

    /// The text with every variable filled in, or the sentence that says which one is missing. As in a shell, an empty
    /// variable takes the default of `${VAR:-default}`.
    pub fn text(&self, environment: &Environment) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => text.push_str(literal),
                Piece::Variable { name, default } => {
                    let set = environment.get(name).filter(|value| default.is_none() || !value.is_empty());
                    match set.or(default.as_ref()) {
                        Some(value) => text.push_str(value),
                        None => {
                            return Err(format!(
                                "the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                            ))
                        }
                    }
                }
            }
        }
        Ok(text)
    }
}

/// The one document in `text`.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let (marked, variables) = mark_variables(text)?;
    let mut builder = Builder { variables: &variables, open: Vec::new(), root: None };
    for event in Parser::new_from_str(&marked) {
        let (event, span) =
            event.map_err(|e| Problem::at(e.marker().line(), format!("this is not YAML: {}", e.info())))?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or(Node { line: 1, value: Value::Map(Vec::new()) }))
}

/// Replaces each `${NAME}` and `${NAME:-default}` by a placeholder that YAML reads as ordinary characters, line by line
/// so that positions stay. `$${` stands for a literal `${`.
fn mark_variables(text: &str) -> Result<(Cow<'_, str>, Vec<Piece>), Problem> {
    if !text.contains("${") {
        return Ok((Cow::Borrowed(text), Vec::new()));
    }
    let mut marked = String::with_capacity(text.len());
    let mut variables = Vec::new();
    for (n, mut line) in text.split_inclusive('\n').enumerate() {
        if line.contains([VARIABLE_OPEN, VARIABLE_CLOSE]) {
            return Err(Problem::at(n + 1, "the characters U+E000 and U+E001 cannot be used here".to_owned()));
        }
        // What stands in a comment is no variable; a line that only has a comment is passed as it is.
        while let Some(at) = line.find("${").filter(|_| !line.trim_start().starts_with('#')) {
            if line[..at].ends_with('$') {
                marked.push_str(&line[..at - 1]);
                marked.push_str("${");
                line = &line[at + 2..];
                continue;
            }
            let rest = &line[at + 2..];
            let Some(end) = rest.find('}') else {
                return Err(Problem::at(
                    n + 1,
                    "`${` without a closing `}`; a literal `${` is written `$${`".to_owned(),
                ));
            };
            let (name, default) = match rest[..end].split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (&rest[..end], None),
            };
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(Problem::at(n + 1, format!("`${{{name}}}` does not name an environment variable")));
            }
            marked.push_str(&line[..at]);
            marked.push_str(&format!("{VARIABLE_OPEN}{}{VARIABLE_CLOSE}", variables.len()));
            variables.push(Piece::Variable { name: name.to_owned(), default });
            line = &rest[end + 1..];
        }
        marked.push_str(line);
    }
    Ok((Cow::Owned(marked), variables))
}

/// Puts the parser's events together to a tree.
struct Builder<'v> {
    variables: &'v [Piece],
    open: Vec<Open>,
    root: Option<Node>,
}

/// A list or mapping whose end has not come yet.
enum Open {
    List { line: usize, items: Vec<Node> },
    Map { line: usize, entries: Vec<Entry>, key: Option<(String, usize)> },
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, _, _) => {
                let scalar = Scalar { pieces: self.pieces(&text), plain: style == ScalarStyle::Plain };
                self.add(Node { line, value: Value::Scalar(scalar) })
            }
            Event::SequenceStart(..) => self.open(Open::List { line, items: Vec::new() }),
            Event::MappingStart(..) => self.open(Open::Map { line, entries: Vec::new(), key: None }),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { line, items }) => self.add(Node { line, value: Value::List(items) }),
                Some(Open::Map { line, entries, .. }) => self.add(Node { line, value: Value::Map(entries) }),
                None => Err(Problem::at(line, "an end without its start".to_owned())),
            },
            Event::Alias(_) => Err(Problem::at(line, "YAML aliases (`*name`) are not supported here".to_owned())),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Problem::at(line, "a second YAML document; the configuration is one".to_owned()))
            }
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => {
                Ok(())
            }
        }
    }

    fn open(&mut self, open: Open) -> Result<(), Problem> {
        if self.open.len() == DEPTH_MAX {
            let (Open::List { line, .. } | Open::Map { line, .. }) = open;
            return Err(Problem::at(line, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(open);
        Ok(())
    }

    /// Puts a finished node where it belongs: into the innermost open list or mapping, as a key or a value.
    fn add(&mut self, node: Node) -> Result<(), Problem> {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((key, line)) => entries.push(Entry { key, line, node }),
                None => match &node.value {
                    Value::Scalar(scalar) if !scalar.has_variables() => {
                        let name = scalar.pieces.iter().map(|piece| match piece {
                            Piece::Text(text) => text.as_str(),
                            Piece::Variable { .. } => "",
                        });
                        *key = Some((name.collect(), node.line));
                    }
                    _ => return Err(Problem::at(node.line, "a key must be a plain word".to_owned())),
                },
            },
        }
        Ok(())
    }

    /// Cuts a scalar at the placeholders that [`mark_variables`] left in it.
    fn pieces(&self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(VARIABLE_OPEN) {
            let Some((number, after)) = after.split_once(VARIABLE_CLOSE) else { break };
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            pieces.extend(number.parse::<usize>().ok().and_then(|n| self.variables.get(n)).cloned());
            rest = after;
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        pieces
    }
}
