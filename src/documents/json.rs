//! Cuts a JSON or NDJSON payload into its documents, chunk by chunk.
//!
//! The grammar between documents is read here; a document itself is found by the scanner and judged by the intake. What
//! is malformed, and the words for it, are those of the parser inside Meilisearch, which reads the payload in two steps:
//! first each value must be JSON, then it must be an object.

use std::borrow::Cow;

use serde::Deserialize as _;
use serde_json::value::RawValue;
use serde_json::Deserializer;

use super::batch::DocumentBytes;
use super::error::{at, describe, describe_whole, malformed_json, not_an_object, PayloadError, Position};
use super::intake::{Intake, NotTaken};
use super::key::{check_object, check_object_tree};
use super::scan::{is_whitespace, ValueScanner};
use super::PayloadFormat;

/// What may come next in a payload.
#[derive(Debug)]
enum Expect {
    /// The first byte of a JSON payload, which decides what it is.
    Anything,
    FirstElementOrEnd,
    CommaOrEnd,
    Element,
    /// Only whitespace, after a payload that is one object.
    Nothing,
    /// An element of the array was JSON but no document. Meilisearch looks one byte further before it says so.
    EndAfter(PayloadError),
    EndAfterComma,
    /// The array has ended. Meilisearch does not look at what follows.
    Whatever,
    /// NDJSON: a document or the end.
    Line,
}

/// What a value is to the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Element,
    /// The whole payload.
    Whole,
    Line,
}

/// A value whose end has not been seen yet.
struct OpenValue {
    role: Role,
    scanner: ValueScanner,
    /// What earlier chunks held of it.
    carried: Vec<u8>,
    start: Position,
}

pub(super) struct JsonReader {
    format: PayloadFormat,
    expect: Expect,
    open: Option<OpenValue>,
    /// Where the next unread byte is, outside an open value.
    position: Position,
}

impl JsonReader {
    pub fn json() -> Self {
        Self { format: PayloadFormat::Json, expect: Expect::Anything, open: None, position: Position::START }
    }

    pub fn ndjson() -> Self {
        Self { format: PayloadFormat::Ndjson, expect: Expect::Line, open: None, position: Position::START }
    }

    pub fn push(&mut self, chunk: &[u8], intake: &mut Intake) -> Result<(), PayloadError> {
        let mut rest = chunk;
        loop {
            if let Some(mut value) = self.open.take() {
                let Some(end) = value.scanner.advance(rest) else {
                    value.carried.extend_from_slice(rest);
                    self.open = Some(value);
                    return Ok(());
                };
                let (own, after) = rest.split_at(end);
                let bytes = if value.carried.is_empty() {
                    DocumentBytes::InChunk(own)
                } else {
                    value.carried.extend_from_slice(own);
                    DocumentBytes::Assembled(value.carried)
                };
                self.position = value.start.after(bytes.as_slice());
                self.expect = self.close(value.role, value.start, bytes, after.first().copied(), intake)?;
                rest = after;
            }
            let blank = rest.iter().position(|&byte| !is_whitespace(byte)).unwrap_or(rest.len());
            self.position = self.position.after(&rest[..blank]);
            rest = &rest[blank..];
            let Some(&byte) = rest.first() else { return Ok(()) };
            if self.step(byte)? {
                rest = &rest[1..];
                if let Expect::Whatever = self.expect {
                    return Ok(());
                }
            }
        }
    }

    /// Memory of the value that is not complete yet.
    pub fn carried_bytes(&self) -> usize {
        self.open.as_ref().map_or(0, |value| value.carried.capacity())
    }

    /// Goes over one byte between values. `true` when that byte is done with; otherwise it begins a value, which is now
    /// open.
    fn step(&mut self, byte: u8) -> Result<bool, PayloadError> {
        let next = match (std::mem::replace(&mut self.expect, Expect::Whatever), byte) {
            (Expect::Anything, b'[') => Expect::FirstElementOrEnd,
            (Expect::Anything, _) => return Ok(self.open_value(Role::Whole)),
            (Expect::FirstElementOrEnd | Expect::CommaOrEnd, b']') => Expect::Whatever,
            (Expect::CommaOrEnd, b',') => Expect::Element,
            (Expect::CommaOrEnd, _) => return Err(self.malformed_next("expected `,` or `]`")),
            (Expect::Element | Expect::EndAfterComma, b']') => return Err(self.malformed_next("trailing comma")),
            (Expect::FirstElementOrEnd | Expect::Element, _) => return Ok(self.open_value(Role::Element)),
            (Expect::EndAfter(error), b']') => return Err(error),
            (Expect::EndAfter(_), b',') => Expect::EndAfterComma,
            (Expect::EndAfter(_) | Expect::EndAfterComma | Expect::Nothing, _) => {
                return Err(self.malformed_next("trailing characters"))
            }
            (Expect::Line, _) => return Ok(self.open_value(Role::Line)),
            (Expect::Whatever, _) => Expect::Whatever,
        };
        self.expect = next;
        self.position = self.position.after(&[byte]);
        Ok(true)
    }

    fn open_value(&mut self, role: Role) -> bool {
        self.open = Some(OpenValue { role, scanner: ValueScanner::new(), carried: Vec::new(), start: self.position });
        false
    }

    /// Hands a complete value on, and says what may follow it. `next` is the byte after it, if there is one.
    fn close(
        &self,
        role: Role,
        start: Position,
        bytes: DocumentBytes,
        next: Option<u8>,
        intake: &mut Intake,
    ) -> Result<Expect, PayloadError> {
        if role == Role::Whole {
            self.check_whole(bytes.as_slice(), next, start)?;
        }
        match intake.examine(bytes.as_slice()) {
            Ok(Some(shard)) => intake.store(shard, bytes)?,
            Ok(None) => {}
            Err(NotTaken::Refused(error)) => return Err(error),
            Err(NotTaken::NotADocument) => return self.name_fault(role, bytes.as_slice(), next, start),
        }
        Ok(match role {
            Role::Element => Expect::CommaOrEnd,
            Role::Whole => Expect::Nothing,
            Role::Line => Expect::Line,
        })
    }

    /// Meilisearch builds a tree of a payload that is one object, and a tree cannot hold all that JSON can say.
    fn check_whole(&self, value: &[u8], next: Option<u8>, start: Position) -> Result<(), PayloadError> {
        check_object_tree(&with_delimiter(value, next))
            .map_err(|error| malformed_json(self.format, &describe_whole(&error, start)))
    }

    /// Says what is wrong with a value that is no document: what the parser says of it as JSON comes first.
    fn name_fault(&self, role: Role, value: &[u8], next: Option<u8>, start: Position) -> Result<Expect, PayloadError> {
        let len = value.len();
        let value = with_delimiter(value, next);
        match <&RawValue>::deserialize(&mut Deserializer::from_slice(&value)) {
            Err(error) => return Err(malformed_json(self.format, &describe(&error, start))),
            Ok(raw) if raw.get().len() < len => {
                let after = start.after(raw.get().as_bytes()).after(b"?");
                return Err(malformed_json(self.format, &at("trailing characters", after)));
            }
            Ok(_) => {}
        }
        let fault = match check_object(&value) {
            Err(error) if error.is_data() => not_an_object(&error),
            Err(error) => malformed_json(self.format, &describe(&error, Position::START)),
            Ok(()) => malformed_json(self.format, "the document cannot be read"),
        };
        match role {
            Role::Element => Ok(Expect::EndAfter(fault)),
            Role::Whole | Role::Line => Err(fault),
        }
    }

    fn malformed_next(&self, what: &str) -> PayloadError {
        malformed_json(self.format, &at(what, self.position.after(b"?")))
    }

    pub fn finish(mut self, intake: &mut Intake) -> Result<(), PayloadError> {
        if let Some(value) = self.open.take() {
            self.position = value.start.after(&value.carried);
            self.expect = self.close(value.role, value.start, DocumentBytes::Assembled(value.carried), None, intake)?;
        }
        let what = match self.expect {
            Expect::Nothing | Expect::Whatever | Expect::Line => return Ok(()),
            Expect::Anything | Expect::Element => "EOF while parsing a value",
            Expect::FirstElementOrEnd | Expect::CommaOrEnd | Expect::EndAfter(_) => "EOF while parsing a list",
            Expect::EndAfterComma => "trailing characters",
        };
        Err(malformed_json(self.format, &at(what, self.position)))
    }
}

/// The value with the byte that ended it, which the parser names when a number or a word breaks off there. Other values
/// end by themselves, and may be too large to copy.
fn with_delimiter(value: &[u8], next: Option<u8>) -> Cow<'_, [u8]> {
    match value.first() {
        Some(b'{' | b'[' | b'"') => Cow::Borrowed(value),
        _ => Cow::Owned(value.iter().copied().chain(next).collect()),
    }
}
