//! Turns the records of a CSV payload into the JSON documents that Meilisearch makes of them.
//!
//! A header names the fields, with a type behind a colon (`year:number`); cells are strings otherwise, and an empty cell
//! is `null`. The words for what is malformed are those of the reader inside Meilisearch, which counts records from the
//! header (0) and bytes from the start.

use csv_core::{ReadRecordResult, Reader};
use serde_json::Value;

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
    /// In the order in which a document has them: by the first column of each name.
    columns: Option<Vec<Column>>,
    /// JSON of the record being read.
    document: Vec<u8>,
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
    /// Place of its cell in a record.
    at: usize,
    cells: CellType,
    /// A later column of the same name takes this one's place in the document.
    is_shadowed: bool,
}

#[derive(Clone, Copy)]
enum CellType {
    String,
    Boolean,
    Number,
}

impl Column {
    /// `name:type`; anything else behind the last colon belongs to the name.
    fn parse(at: usize, header: &str) -> Self {
        let (field, cells) = match header.rsplit_once(':') {
            Some((field, "string")) => (field, CellType::String),
            Some((field, "boolean")) => (field, CellType::Boolean),
            Some((field, "number")) => (field, CellType::Number),
            _ => (header, CellType::String),
        };
        Self { field: field.to_owned(), at, cells, is_shadowed: false }
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
            document: Vec::new(),
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

    /// Memory of the record that is being read, and of the one before it.
    pub fn carried_bytes(&self) -> usize {
        self.text.capacity() + self.document.capacity() + self.cell_ends.capacity() * size_of::<usize>()
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
                self.write_document()?;
                match intake.examine(&self.document) {
                    Ok(Some(shard)) => intake.store(shard, DocumentBytes::InChunk(&self.document))?,
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
        let mut columns: Vec<Column> = Vec::with_capacity(self.cell_count);
        for at in 0..self.cell_count {
            let mut column = Column::parse(at, self.cell(at)?);
            // Swapping keeps the name's first place for its last column.
            if let Some(earlier) = columns.iter_mut().find(|c| c.field == column.field && !c.is_shadowed) {
                std::mem::swap(earlier, &mut column);
                column.is_shadowed = true;
            }
            columns.push(column);
        }
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

    /// Writes the record as a JSON object. All of it is text before any cell is looked at, as in Meilisearch's reader.
    fn write_document(&mut self) -> Result<(), PayloadError> {
        if !self.text[..self.text_len].is_ascii() {
            (0..self.cell_count).try_for_each(|at| self.cell(at).map(drop))?;
        }
        let mut json = std::mem::take(&mut self.document);
        json.clear();
        for column in self.columns.iter().flatten() {
            let cell = self.cell(column.at)?;
            let value = match column.cells {
                CellType::String if !cell.is_empty() => None,
                cells => Some(value_of_cell(cell, cells, self.start.record)?),
            };
            if column.is_shadowed {
                continue;
            }
            json.push(if json.is_empty() { b'{' } else { b',' });
            write_json(&mut json, &column.field)?;
            json.push(b':');
            match value {
                None => write_json(&mut json, cell)?,
                Some(value) => write_json(&mut json, &value)?,
            }
        }
        json.push(b'}');
        self.document = json;
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

fn write_json(json: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Result<(), PayloadError> {
    serde_json::to_writer(json, value).map_err(|error| malformed(&error.to_string()))
}

fn malformed(what: &str) -> PayloadError {
    ApiError::new(Code::MalformedPayload, format!("The `csv` payload provided is malformed: `{what}`.")).into()
}
