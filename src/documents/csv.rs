//! Turns the records of a CSV payload into the JSON documents that Meilisearch makes of them.
//!
//! A header names the fields, with a type behind a colon (`year:number`); cells are strings otherwise, and an empty cell
//! is `null`. The words for what is malformed are those of the reader inside Meilisearch, which counts records from the
//! header (0) and bytes from the start.

use csv_core::{ReadRecordResult, Reader};
use serde_json::{Map, Value};

use crate::error::{ApiError, Code};

use super::batch::DocumentBytes;
use super::error::PayloadError;
use super::intake::{Intake, NotTaken};

/// Room for a record's text and for its cells when the first one is read; both double when a record needs more.
const RECORD_LEN_START: usize = 4 * 1024;
const CELLS_START: usize = 64;

/// The core takes a byte order mark off only when the first input has all of it.
const BYTE_ORDER_MARK_LEN: usize = 3;

pub(super) struct CsvReader {
    core: Reader,
    /// The first bytes of the payload, until there are enough of them.
    opening: Option<Vec<u8>>,
    /// Unquoted text of the record being read, and where each of its cells ends in it.
    text: Vec<u8>,
    text_len: usize,
    cell_ends: Vec<usize>,
    cell_count: usize,
    columns: Option<Vec<Column>>,
    /// Document that each record is filled into: its fields stand in the order of their first columns.
    document: Map<String, Value>,
    /// Where the record being read begins.
    start: Place,
    /// Payload bytes read so far.
    bytes_read: u64,
}

#[derive(Clone, Copy)]
struct Place {
    record: u64,
    line: u64,
    byte: u64,
}

struct Column {
    field: String,
    cells: CellType,
}

#[derive(Clone, Copy)]
enum CellType {
    String,
    Boolean,
    Number,
}

impl Column {
    /// `name:type`; anything else behind the last colon belongs to the name.
    fn parse(header: &str) -> Self {
        let (field, cells) = match header.rsplit_once(':') {
            Some((field, "string")) => (field, CellType::String),
            Some((field, "boolean")) => (field, CellType::Boolean),
            Some((field, "number")) => (field, CellType::Number),
            _ => (header, CellType::String),
        };
        Self { field: field.to_owned(), cells }
    }
}

impl CsvReader {
    pub fn new(delimiter: u8) -> Self {
        Self {
            core: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            opening: Some(Vec::new()),
            text: vec![0; RECORD_LEN_START],
            text_len: 0,
            cell_ends: vec![0; CELLS_START],
            cell_count: 0,
            columns: None,
            document: Map::new(),
            start: Place { record: 0, line: 1, byte: 0 },
            bytes_read: 0,
        }
    }

    pub fn push(&mut self, chunk: &[u8], intake: &mut Intake) -> Result<(), PayloadError> {
        let Some(mut opening) = self.opening.take() else { return self.read_records(chunk, intake) };
        let (needed, rest) = chunk.split_at(chunk.len().min(BYTE_ORDER_MARK_LEN - opening.len()));
        opening.extend_from_slice(needed);
        if opening.len() < BYTE_ORDER_MARK_LEN {
            self.opening = Some(opening);
            return Ok(());
        }
        self.read_records(&opening, intake)?;
        self.read_records(rest, intake)
    }

    fn read_records(&mut self, chunk: &[u8], intake: &mut Intake) -> Result<(), PayloadError> {
        // To the core, no input means the end of all input.
        if chunk.is_empty() {
            return Ok(());
        }
        let mut rest = chunk;
        loop {
            let (result, read) = self.read(rest);
            rest = &rest[read..];
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(()),
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.cell_ends.resize(self.cell_ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    self.take_record(intake)?;
                    if rest.is_empty() {
                        return Ok(());
                    }
                }
            }
        }
    }

    pub fn finish(mut self, intake: &mut Intake) -> Result<(), PayloadError> {
        if let Some(opening) = self.opening.take() {
            self.read_records(&opening, intake)?;
        }
        loop {
            match self.read(&[]).0 {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok(()),
                ReadRecordResult::OutputFull => self.text.resize(self.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.cell_ends.resize(self.cell_ends.len() * 2, 0),
                ReadRecordResult::Record => self.take_record(intake)?,
            }
        }
    }

    fn read(&mut self, input: &[u8]) -> (ReadRecordResult, usize) {
        let (result, read, written, cells) =
            self.core.read_record(input, &mut self.text[self.text_len..], &mut self.cell_ends[self.cell_count..]);
        self.bytes_read += read as u64;
        self.text_len += written;
        self.cell_count += cells;
        (result, read)
    }

    fn take_record(&mut self, intake: &mut Intake) -> Result<(), PayloadError> {
        match &self.columns {
            None => self.read_header()?,
            Some(columns) => {
                self.check_width(columns.len())?;
                self.fill_document()?;
                let document = Value::Object(std::mem::take(&mut self.document));
                let bytes = document.to_string().into_bytes();
                if let Value::Object(document) = document {
                    self.document = document;
                }
                match intake.examine(&bytes) {
                    Ok(Some(shard)) => intake.store(shard, DocumentBytes::InChunk(&bytes)),
                    Ok(None) => {}
                    Err(NotTaken::Refused(error)) => return Err(error),
                    Err(NotTaken::NotADocument) => return Err(malformed("the record is not a document")),
                }
            }
        }
        self.start = Place { record: self.start.record + 1, line: self.core.line(), byte: self.bytes_read };
        self.text_len = 0;
        self.cell_count = 0;
        Ok(())
    }

    fn read_header(&mut self) -> Result<(), PayloadError> {
        let columns: Vec<Column> =
            (0..self.cell_count).map(|cell| self.cell(cell).map(Column::parse)).collect::<Result<_, _>>()?;
        self.document = columns.iter().map(|column| (column.field.clone(), Value::Null)).collect();
        self.columns = Some(columns);
        Ok(())
    }

    fn check_width(&self, columns: usize) -> Result<(), PayloadError> {
        if self.cell_count == columns {
            return Ok(());
        }
        let Place { record, line, byte } = self.start;
        Err(malformed(&format!(
            "CSV error: record {record} (line: {line}, byte: {byte}): found record with {} fields, but the previous \
             record has {columns} fields",
            self.cell_count
        )))
    }

    /// Sets every field from its cell; of columns with one name the last one counts.
    fn fill_document(&mut self) -> Result<(), PayloadError> {
        let mut document = std::mem::take(&mut self.document);
        for (at, column) in self.columns.iter().flatten().enumerate() {
            let value = value_of_cell(self.cell(at)?, column.cells, self.start.record)?;
            if let Some(field) = document.get_mut(&column.field) {
                *field = value;
            }
        }
        self.document = document;
        Ok(())
    }

    fn cell(&self, at: usize) -> Result<&str, PayloadError> {
        let begin = if at == 0 { 0 } else { self.cell_ends[at - 1] };
        let Place { record, line, byte } = self.start;
        std::str::from_utf8(&self.text[begin..self.cell_ends[at]]).map_err(|error| {
            malformed(&format!(
                "CSV parse error: record {record} (line {line}, field: {at}, byte: {byte}): invalid utf-8: invalid \
                 UTF-8 in field {at} near byte index {}",
                error.valid_up_to()
            ))
        })
    }
}

/// What Meilisearch makes of a cell. Its messages call the number of the record a line.
fn value_of_cell(cell: &str, cells: CellType, record: u64) -> Result<Value, PayloadError> {
    let trimmed = cell.trim();
    match cells {
        CellType::String if cell.is_empty() => Ok(Value::Null),
        CellType::String => Ok(Value::from(cell)),
        CellType::Number | CellType::Boolean if trimmed.is_empty() => Ok(Value::Null),
        CellType::Number => match trimmed.parse::<i64>() {
            Ok(integer) => Ok(Value::from(integer)),
            // What is no number in JSON (`inf`, `NaN`) becomes null, as in Meilisearch.
            Err(_) => trimmed
                .parse::<f64>()
                .map(Value::from)
                .map_err(|error| malformed(&format!("Error parsing number {cell:?} at line {record}: {error}"))),
        },
        CellType::Boolean => trimmed
            .parse::<bool>()
            .map(Value::from)
            .map_err(|error| malformed(&format!("Error parsing boolean {cell:?} at line {record}: {error}"))),
    }
}

fn malformed(what: &str) -> PayloadError {
    ApiError::new(Code::MalformedPayload, format!("The `csv` payload provided is malformed: `{what}`.")).into()
}
