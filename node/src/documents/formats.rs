//! From a body in JSON, NDJSON or CSV to the NDJSON that the engine reads, document by document.
//!
//! No tree of a document is built, and never more than one document is in memory.

use std::io::{self, BufRead, BufReader, Read, Write};

use bumpalo::Bump;
use bumparaw_collections::RawMap;
use milli_core::documents::Error as FormatError;
use serde::de::{SeqAccess, Visitor};
use serde::Deserializer as _;
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value};

use crate::error::{Code, ResponseError};

/// Bytes that are read from the body at a time.
const READ_BYTES: usize = 64 * 1024;

/// Error messages longer than this are shortened in the middle: the client's data may be in them.
const MESSAGE_START_BYTES: usize = 50;
const MESSAGE_END_BYTES: usize = 85;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Ndjson,
    Csv { delimiter: u8 },
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv { .. } => "csv",
        }
    }

    /// Copies all documents of `body` to `to` and returns how many they are.
    pub fn copy(self, body: impl Read, to: &mut impl Write) -> Result<u64, ResponseError> {
        let body = BufReader::with_capacity(READ_BYTES, body);
        let copied = match self {
            Self::Json => copy_json(body, to),
            Self::Ndjson => copy_ndjson(body, to),
            Self::Csv { delimiter } => copy_csv(body, delimiter, to),
        };
        copied.map_err(|error| self.refusal(error))
    }

    /// What the client is told about documents that cannot be read.
    fn refusal(self, error: FormatError) -> ResponseError {
        let malformed = |message| ResponseError::new(Code::MalformedPayload, message);
        match error {
            FormatError::Io(error) => io_refusal(error),
            FormatError::Json(error) if error.classify() == Category::Io => io_refusal(error.into()),
            FormatError::Csv(error) if error.is_io_error() => io_refusal(error.into()),
            FormatError::Json(error) => {
                let message = match error.classify() {
                    Category::Data => "data are neither an object nor a list of objects".to_owned(),
                    _ => error.to_string(),
                };
                malformed(format!(
                    "The `{}` payload provided is malformed. `Couldn't serialize document value: {}`.",
                    self.name(),
                    shortened(&message)
                ))
            }
            error => malformed(format!("The `{}` payload provided is malformed: `{error}`.", self.name())),
        }
    }
}

/// An error of reading or writing: either one that was wrapped on the way here, or the operating system's.
fn io_refusal(error: io::Error) -> ResponseError {
    error.downcast::<ResponseError>().unwrap_or_else(ResponseError::from)
}

fn shortened(message: &str) -> String {
    if message.len() <= MESSAGE_START_BYTES + MESSAGE_END_BYTES + "...".len() {
        return message.to_owned();
    }
    let start = (0..=MESSAGE_START_BYTES).rev().find(|at| message.is_char_boundary(*at));
    let end = (message.len() - MESSAGE_END_BYTES..).find(|at| message.is_char_boundary(*at));
    format!("{}...{}", &message[..start.unwrap_or(0)], &message[end.unwrap_or(message.len())..])
}

/// One object, or an array of objects.
fn copy_json(mut body: impl BufRead, to: &mut impl Write) -> Result<u64, FormatError> {
    let first = first_byte(&mut body)?;
    let mut deserializer = Deserializer::from_reader(body);
    match first {
        Some(b'{') => {
            let document = <Box<RawValue> as serde::Deserialize>::deserialize(&mut deserializer)?;
            deserializer.end()?;
            copy_last_of_each_name(&document, &Bump::new(), to)?;
            Ok(1)
        }
        _ => deserializer.deserialize_seq(CopyEach(to)).map_err(FormatError::from)?,
    }
}

/// The first byte that is not white space, which stays in the reader.
fn first_byte(body: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = body.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if let Some(byte) = buffer.get(blank) {
            return Ok(Some(*byte));
        }
        body.consume(blank);
    }
}

/// Copies the elements of an array as they are read.
struct CopyEach<'w, W>(&'w mut W);

impl<'de, W: Write> Visitor<'de> for CopyEach<'_, W> {
    type Value = Result<u64, FormatError>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a nonempty sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut documents = 0;
        let mut names = Bump::new();
        while let Some(document) = elements.next_element::<Box<RawValue>>()? {
            if let Err(error) = copy_last_of_each_name(&document, &names, self.0) {
                return Ok(Err(error));
            }
            names.reset();
            documents += 1;
        }
        Ok(Ok(documents))
    }
}

fn copy_ndjson(body: impl BufRead, to: &mut impl Write) -> Result<u64, FormatError> {
    let mut documents = 0;
    for document in Deserializer::from_reader(body).into_iter::<Box<RawValue>>() {
        copy_document(&document?, to)?;
        documents += 1;
    }
    Ok(documents)
}

fn copy_document(document: &RawValue, to: &mut impl Write) -> Result<(), FormatError> {
    refuse_if_no_object(document)?;
    to.write_all(document.get().as_bytes())?;
    to.write_all(b"\n")?;
    Ok(())
}

/// Of fields of one name, the last one is the document's, as in Meilisearch's JSON. In its NDJSON both are.
fn copy_last_of_each_name(document: &RawValue, names: &Bump, to: &mut impl Write) -> Result<(), FormatError> {
    refuse_if_no_object(document)?;
    serde_json::to_writer(&mut *to, &RawMap::from_raw_value(document, names)?)?;
    to.write_all(b"\n")?;
    Ok(())
}

fn refuse_if_no_object(document: &RawValue) -> Result<(), FormatError> {
    if document.get().starts_with('{') {
        return Ok(());
    }
    let unexpected: Result<Map<String, Value>, _> = serde_json::from_str(document.get());
    Ok(unexpected.map(drop)?)
}

/// What the values of a CSV column are: `name:number` in the header makes them numbers.
#[derive(Clone, Copy)]
enum ColumnType {
    Text,
    Number,
    Boolean,
}

fn column(header: &str) -> (&str, ColumnType) {
    match header.rsplit_once(':') {
        Some((name, "string")) => (name, ColumnType::Text),
        Some((name, "number")) => (name, ColumnType::Number),
        Some((name, "boolean")) => (name, ColumnType::Boolean),
        _ => (header, ColumnType::Text),
    }
}

fn copy_csv(body: impl BufRead, delimiter: u8, to: &mut impl Write) -> Result<u64, FormatError> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(body);
    let headers = reader.headers()?.clone();
    let columns: Vec<_> = headers.iter().map(column).collect();
    let mut record = csv::StringRecord::new();
    let mut documents = 0;
    while reader.read_record(&mut record)? {
        documents += 1;
        let mut document = Map::new();
        for ((name, of_type), text) in columns.iter().zip(&record) {
            document.insert((*name).to_owned(), cell(*of_type, text, documents)?);
        }
        serde_json::to_writer(&mut *to, &document)?;
        to.write_all(b"\n")?;
    }
    Ok(documents as u64)
}

/// One value. Empty ones are `null`.
fn cell(of_type: ColumnType, text: &str, line: usize) -> Result<Value, FormatError> {
    let trimmed = text.trim();
    let value = || text.to_owned();
    match of_type {
        ColumnType::Text if text.is_empty() => Ok(Value::Null),
        ColumnType::Text => Ok(Value::from(text)),
        _ if trimmed.is_empty() => Ok(Value::Null),
        ColumnType::Number => match trimmed.parse::<i64>() {
            Ok(integer) => Ok(Value::from(integer)),
            Err(_) => trimmed.parse::<f64>().map(Value::from).map_err(|error| FormatError::ParseFloat {
                error,
                line,
                value: value(),
            }),
        },
        ColumnType::Boolean => trimmed.parse::<bool>().map(Value::from).map_err(|error| FormatError::ParseBool {
            error,
            line,
            value: value(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(format: Format, body: &str) -> Result<(u64, String), ResponseError> {
        let mut to = Vec::new();
        let documents = format.copy(body.as_bytes(), &mut to)?;
        Ok((documents, String::from_utf8_lossy(&to).into_owned()))
    }

    const CSV: Format = Format::Csv { delimiter: b',' };

    #[test]
    fn arrays_and_single_objects_become_one_document_per_line() {
        let two = copy(Format::Json, "[{\"id\":1}, {\"id\":2, \"a\":[1, 2]}]");
        assert_eq!(two.ok(), Some((2, "{\"id\":1}\n{\"id\":2,\"a\":[1, 2]}\n".to_owned())));
        assert_eq!(copy(Format::Json, " {\"id\":1}").ok(), Some((1, "{\"id\":1}\n".to_owned())));
        assert_eq!(copy(Format::Json, "[]").ok(), Some((0, String::new())));
    }

    #[test]
    fn of_a_repeated_field_json_keeps_the_last_and_ndjson_both() {
        let repeated = "{\"id\":\"a b\",\"a\":{\"b\":1,\"b\":2},\"\\u0069d\":2}";
        let kept = "{\"id\":2,\"a\":{\"b\":1,\"b\":2}}\n";
        assert_eq!(copy(Format::Json, repeated).ok(), Some((1, kept.to_owned())));
        assert_eq!(copy(Format::Json, &format!("[{repeated}]")).ok(), Some((1, kept.to_owned())));
        assert_eq!(copy(Format::Ndjson, repeated).ok(), Some((1, format!("{repeated}\n"))));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for body in ["\"text\"", "7", "[7]", "[{\"id\":1}, []]"] {
            let error = copy(Format::Json, body).err();
            assert_eq!(error.as_ref().map(|error| error.code), Some(Code::MalformedPayload), "{body}");
        }
    }

    #[test]
    fn truncated_json_is_refused_in_any_place() {
        let body = "[{\"id\":1,\"a\":\"é\"}]";
        for end in (1..body.len()).filter(|at| body.is_char_boundary(*at)) {
            assert!(copy(Format::Json, &body[..end]).is_err(), "{}", &body[..end]);
        }
    }

    #[test]
    fn csv_columns_have_types_and_empty_cells_are_null() {
        let (documents, lines) = copy(CSV, "id:number,name,ok:boolean\n1,,true\n2.5,\"a,b\",\n").unwrap_or_default();
        assert_eq!(documents, 2);
        assert_eq!(lines, "{\"id\":1,\"name\":null,\"ok\":true}\n{\"id\":2.5,\"name\":\"a,b\",\"ok\":null}\n");
    }

    #[test]
    fn a_csv_number_that_is_none_names_its_line() {
        let error = copy(CSV, "id:number\n1\nx\n").map(|_| ()).map_err(|error| error.message);
        assert_eq!(
            error,
            Err("The `csv` payload provided is malformed: `Error parsing number \"x\" at line 2: invalid float literal`.".to_owned())
        );
    }
}
