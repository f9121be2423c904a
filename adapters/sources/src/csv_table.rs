// SPDX-License-Identifier: EUPL-1.2
//! The content of a file of lines, indexed by birth date.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::Read,
    ops::Range,
};

use csv::{ByteRecord, Reader, ReaderBuilder};
use zeroize::Zeroizing;

use crate::{
    config::Encoding,
    csv_file::{BadLines, Form, TableFile},
    fixed_width,
    plan::{Col, Plan, Row},
    values::Cell,
};

const FILE_MAX: u64 = 100 * 1024 * 1024;
const LINES_MAX: usize = 1_000_000;
const COLUMNS_MAX: usize = 1_000;
const CELL_MAX: usize = 64 * 1024;
const BAD_NAMED_MAX: usize = 20;

/// Lines in memory. Wiped on drop.
pub(crate) struct Table {
    header: Vec<String>,
    lines: Vec<Line>,
    /// Lines by birth date (as the number YYYYMMDD), one index per birth date column.
    births: Vec<HashMap<u32, Vec<u32>>>,
    pub(crate) bad: BadLines,
}

/// One line: its cells, one after the other, and where each ends.
pub(crate) struct Line {
    text: Zeroizing<String>,
    ends: Box<[u32]>,
}

impl Line {
    /// A line of these cells, of about so many bytes.
    pub(crate) fn of<T: AsRef<str>>(
        bytes: usize,
        cells: impl Iterator<Item = Result<T, &'static str>>,
    ) -> Result<Self, &'static str> {
        let mut text = Zeroizing::new(String::with_capacity(bytes * 3));
        let mut ends = Vec::new();
        for cell in cells {
            text.push_str(cell?.as_ref());
            ends.push(u32::try_from(text.len()).map_err(|_| "it is too long")?);
        }
        Ok(Self { text, ends: ends.into_boxed_slice() })
    }

    fn cell(&self, place: usize) -> Cell {
        let at = |place: usize| self.ends.get(place).map(|end| *end as usize);
        let start = place.checked_sub(1).map_or(Some(0), at);
        let range = start.zip(at(place)).map(|(start, end)| Range { start, end });
        match range.and_then(|range| self.text.get(range)) {
            None | Some("") => Cell::Null,
            Some(text) => Cell::from_text(text.to_owned()),
        }
    }
}

impl Table {
    /// The lines of people born on a day (YYYY-MM-DD), by one of the birth date columns.
    pub(crate) fn born(&self, index: Option<usize>, iso: &str) -> &[u32] {
        let index = index.and_then(|index| self.births.get(index));
        index.and_then(|index| index.get(&day_number(iso)?)).map_or(&[], Vec::as_slice)
    }

    /// Where columns of a plan stand in this file.
    pub(crate) fn places(&self, plan: &Plan, columns: &BTreeSet<Col>) -> Vec<(Col, usize)> {
        let place = |name: &str| self.header.iter().position(|known| known == name);
        columns.iter().filter_map(|col| Some((*col, place(plan.column_name(*col))?))).collect()
    }

    pub(crate) fn read(&self, line: u32, places: &[(Col, usize)], row: &mut Row) {
        if let Some(line) = self.lines.get(line as usize) {
            for (col, place) in places {
                row.set(*col, line.cell(*place));
            }
        }
    }

    /// Takes one line in, if it can be used.
    ///
    /// # Errors
    /// Where there are too many.
    pub(crate) fn take(
        &mut self,
        number: u64,
        line: Result<Line, &'static str>,
        births: &[(usize, &TableFile, usize)],
    ) -> Result<(), String> {
        if self.lines.len() >= LINES_MAX {
            return Err("it has more than 1000000 lines; use SQLite".into());
        }
        match line {
            Ok(line) => {
                if self.index(&line, number, births) {
                    self.lines.push(line);
                }
            }
            Err(problem) => self.reject(number, problem),
        }
        Ok(())
    }

    fn reject(&mut self, number: u64, problem: &'static str) {
        self.bad.count += 1;
        if self.bad.first.len() < BAD_NAMED_MAX {
            self.bad.first.push((number, problem));
        }
    }

    fn index(&mut self, line: &Line, number: u64, births: &[(usize, &TableFile, usize)]) -> bool {
        let place = u32::try_from(self.lines.len()).unwrap_or(u32::MAX);
        let mut days = Vec::with_capacity(births.len());
        for (column, file, index) in births {
            let text = line.cell(*column).text();
            let format = file.births.get(*index).map(|(_, format)| format);
            let iso = text.zip(format).and_then(|(text, format)| format.read(&text));
            let Some(day) = iso.and_then(|iso| day_number(&iso)) else {
                self.reject(number, "the birth date is not in `birth_date_format`");
                return false;
            };
            days.push(day);
        }
        for (births, day) in self.births.iter_mut().zip(days) {
            births.entry(day).or_default().push(place);
        }
        true
    }
}

/// The file's column names.
///
/// # Errors
/// Where it cannot be read, or has no usable first line; quotes nothing from it, because it may
/// be a person.
pub(crate) fn header(file: &TableFile) -> Result<Vec<String>, String> {
    let delimiter = match &file.form {
        Form::Csv { delimiter } => *delimiter,
        Form::Fixed(form) => {
            opened(file)?;
            return Ok(form.names().map(str::to_owned).collect());
        }
    };
    let mut reader = reader(file, delimiter)?;
    let mut record = ByteRecord::new();
    reader.read_byte_record(&mut record).map_err(|_| "it cannot be read")?;
    if record.len() > COLUMNS_MAX {
        return Err("it has more than 1000 columns".into());
    }
    let mut names = Vec::with_capacity(record.len());
    for name in &record {
        let name = decode(name, file.encoding).map_err(|problem| format!("line 1: {problem}"))?;
        let name = name.trim_start_matches('\u{feff}').trim().to_owned();
        if !name.is_empty() && names.contains(&name) {
            return Err("two columns have the same name".into());
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err("it is empty; the first line has the column names".into());
    }
    Ok(names)
}

/// Reads the whole file.
///
/// # Errors
/// Where it cannot be read, is too large or lacks a column.
pub(crate) fn read(file: &TableFile) -> Result<Table, String> {
    let header = header(file)?;
    let place = |name: &String| {
        let found = header.iter().position(|known| known == name);
        found.ok_or_else(|| format!("the column `{name}` is missing in the first line"))
    };
    file.needed.iter().try_for_each(|name| place(name).map(|_| ()))?;
    let mut births = Vec::new();
    for (index, (name, _)) in file.births.iter().enumerate() {
        births.push((place(name)?, file, index));
    }
    let mut table = Table {
        lines: Vec::new(),
        births: vec![HashMap::new(); file.births.len()],
        bad: BadLines { source: file.name.clone(), ..BadLines::default() },
        header,
    };
    let delimiter = match &file.form {
        Form::Csv { delimiter } => *delimiter,
        Form::Fixed(form) => {
            let take = |number, line| table.take(number, line, &births);
            fixed_width::lines(opened(file)?, file.encoding, form, take)?;
            return Ok(table);
        }
    };
    let mut reader = reader(file, delimiter)?;
    let mut record = ByteRecord::new();
    let mut heading = true;
    while reader.read_byte_record(&mut record).map_err(|_| "it cannot be read to its end")? {
        if std::mem::take(&mut heading) {
            continue;
        }
        let number = record.position().map_or(0, csv::Position::line);
        let line = line(&record, table.header.len(), file.encoding);
        table.take(number, line, &births)?;
    }
    Ok(table)
}

fn opened(file: &TableFile) -> Result<std::io::Take<File>, String> {
    let opened = File::open(&file.path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file",
        _ => "it cannot be opened; check its owner and mode",
    })?;
    let metadata = opened.metadata().map_err(|_| "it cannot be read")?;
    if !metadata.is_file() {
        return Err("it is no file".into());
    }
    if metadata.len() > FILE_MAX {
        return Err("it is larger than 100 MiB; use SQLite".into());
    }
    Ok(opened.take(FILE_MAX))
}

fn reader(file: &TableFile, delimiter: u8) -> Result<Reader<std::io::Take<File>>, String> {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true);
    Ok(builder.from_reader(opened(file)?))
}

fn line(record: &ByteRecord, columns: usize, encoding: Encoding) -> Result<Line, &'static str> {
    if record.len() != columns {
        return Err("it has more or fewer cells than the first line");
    }
    let cells = record.iter().map(|cell| decode(cell, encoding));
    Line::of(record.as_slice().len(), cells)
}

/// The text of a cell, or of a whole line.
pub(crate) fn decode(cell: &[u8], encoding: Encoding) -> Result<Zeroizing<String>, &'static str> {
    if cell.len() > CELL_MAX {
        return Err("a cell is longer than 65536 bytes; is a quote left open?");
    }
    let text = match encoding {
        Encoding::Utf8 => std::str::from_utf8(cell)
            .map_err(|_| "it is not UTF-8; is `encoding` right?")?
            .to_owned(),
        Encoding::Latin1 => cell.iter().copied().map(char::from).collect(),
        Encoding::Windows1252 => windows_1252(cell).ok_or("it is not windows-1252")?,
    };
    let text = Zeroizing::new(text);
    // An open quote swallows lines; windows-1252 has letters where latin-1 has control characters.
    if text.chars().any(|char| char.is_control() && char != '\t') {
        return Err("a cell has a line break or control character; is a quote left open?");
    }
    Ok(text)
}

/// Latin-1 but for 0x80 to 0x9f, where five have no letter.
fn windows_1252(cell: &[u8]) -> Option<String> {
    const OTHERS: [char; 32] = [
        '€', '\0', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\0', 'Ž', '\0', '\0',
        '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\0', 'ž', 'Ÿ',
    ];
    let letter = |byte: u8| match byte {
        0x80..=0x9f => OTHERS.get(usize::from(byte) - 0x80).copied().filter(|char| *char != '\0'),
        other => Some(char::from(other)),
    };
    cell.iter().copied().map(letter).collect()
}

fn day_number(iso: &str) -> Option<u32> {
    iso.replace('-', "").parse().ok()
}
