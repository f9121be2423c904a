// SPDX-License-Identifier: EUPL-1.2
//! Files of lines whose columns stand at fixed places.
//!
//! Places and lengths count characters of the decoded text (Unicode scalar values), from 1. What
//! such a file shares with CSV, it takes from there: the table, its limits, reading it again.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader, Read, Take},
    path::PathBuf,
    sync::Arc,
};

use einmal_adapter_kit::register::async_trait;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    config::Encoding,
    csv_file::{FileSource, Form},
    csv_table::{Line, decode},
    kinds::{BadName, Kind, Many, Missing, Naming, Setup, Source, Spot, keys},
};

/// Files of fixed width.
pub(crate) const KIND: Kind = Kind {
    name: "fixed-width",
    naming: Naming {
        called: "a file of fixed width",
        tables: false,
        many: Many::Never,
        check: check_name,
        same: |one, other| one == other,
        missing: Missing::Choices,
    },
    keys: keys::<FixedKeys>,
};

const NAME_MAX: usize = 128;
const COLUMNS_MAX: usize = 1_000;
/// No column ends behind this character, and no line is longer.
const LINE_MAX: usize = 16_384;
/// Four bytes for each character, and the line's end.
const LINE_BYTES_MAX: u64 = 4 * 16_384 + 2;

fn check_name(name: &str) -> Result<(), BadName> {
    if !name.is_empty() && name.chars().count() <= NAME_MAX {
        return Ok(());
    }
    Err(BadName { problem: "this is empty or too long", instead: "write a name of `columns`" })
}

/// Keys of a source of fixed width.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedKeys {
    path: PathBuf,
    encoding: Option<Encoding>,
    columns: BTreeMap<String, Place>,
    line_length: Option<usize>,
    #[serde(default)]
    short_lines: bool,
    #[serde(default)]
    skip_lines: u64,
}

/// Where a column stands, counted from 1.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    start: usize,
    length: usize,
}

/// How lines are cut.
pub(crate) struct FixedForm {
    columns: Vec<(String, Place)>,
    line_length: Option<usize>,
    short_lines: bool,
    skip_lines: u64,
}

impl FixedForm {
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// The cells of a line. A line that is too short is not used: the block of a person may have
    /// stood where it was cut off.
    fn cut(&self, text: &str) -> Result<Line, &'static str> {
        let mut starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        starts.push(text.len());
        let length = starts.len() - 1;
        if self
            .line_length
            .is_some_and(|wanted| length > wanted || (length < wanted && !self.short_lines))
        {
            return Err("it is not as long as `line_length` says; is `encoding` right?");
        }
        let cells = self.columns.iter().map(|(_, place)| {
            let first = place.start - 1;
            let end = first + place.length;
            if end > length && !self.short_lines {
                return Err("it ends before its last column; see `short_lines`");
            }
            let at = |char: usize| starts.get(char.min(length)).copied().unwrap_or(text.len());
            Ok(text.get(at(first)..at(end)).unwrap_or_default().trim())
        });
        Line::of(text.len(), cells)
    }
}

#[async_trait]
impl Setup for FixedKeys {
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>> {
        let mut whole = true;
        if self.columns.is_empty() || self.columns.len() > COLUMNS_MAX {
            let instead = "write 1 to 1000 columns, as `name = { start = 1, length = 30 }`";
            spot.mistake("columns", "there are none, or too many", instead);
            whole = false;
        }
        let line = self.line_length.unwrap_or(LINE_MAX);
        if !(1..=LINE_MAX).contains(&line) {
            spot.mistake("line_length", "it is out of range", "write 1 to 16384 characters");
            whole = false;
        }
        for (name, place) in &self.columns {
            let at = format!("columns.{name}");
            if let Err(BadName { problem, instead }) = check_name(name) {
                spot.mistake("columns", problem, instead);
                whole = false;
            }
            let end = place.start.saturating_add(place.length).saturating_sub(1);
            if place.start == 0 || place.length == 0 || end > line {
                let instead = "count characters from 1; no column ends behind the line";
                spot.mistake(&at, "there is no such place in a line", instead);
                whole = false;
            }
        }
        if !whole {
            return None;
        }
        let form = FixedForm {
            columns: self.columns.iter().map(|(name, at)| (name.clone(), *at)).collect(),
            line_length: self.line_length,
            short_lines: self.short_lines,
            skip_lines: self.skip_lines,
        };
        let path = spot.folder.join(&self.path);
        let encoding = self.encoding.unwrap_or_default();
        let source = FileSource::open(spot.name, path, Form::Fixed(Arc::new(form)), encoding);
        match source.await {
            Ok(source) => Some(Box::new(source)),
            Err(problem) => {
                spot.bad_path(&self.path, &problem);
                None
            }
        }
    }
}

/// Reads all lines of a file, and hands each over with its number.
///
/// # Errors
/// Where it cannot be read, or `take` does not want more.
pub(crate) fn lines(
    file: Take<File>,
    encoding: Encoding,
    form: &FixedForm,
    mut take: impl FnMut(u64, Result<Line, &'static str>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = BufReader::new(file);
    let mut bytes = Zeroizing::new(Vec::with_capacity(1024));
    let mut number = 0;
    while next(&mut reader, &mut bytes)? {
        number += 1;
        if number <= form.skip_lines {
            continue;
        }
        let mut line = bytes.as_slice();
        line = line.strip_suffix(b"\n").unwrap_or(line);
        line = line.strip_suffix(b"\r").unwrap_or(line);
        if number == 1 && encoding == Encoding::Utf8 {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        // Also the sign with which old systems end a file.
        if line.iter().all(|byte| matches!(byte, b' ' | 0x1a)) {
            continue;
        }
        let cut = decode(line, encoding).and_then(|text| form.cut(&text));
        take(number, cut)?;
    }
    Ok(())
}

/// Reads one line. Of a line that is too long a part is left, which cannot be decoded.
fn next(reader: &mut BufReader<Take<File>>, bytes: &mut Vec<u8>) -> Result<bool, String> {
    let failed = |_| "it cannot be read to its end".to_owned();
    bytes.clear();
    reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', bytes).map_err(failed)?;
    let mut whole = bytes.ends_with(b"\n") || (bytes.len() as u64) < LINE_BYTES_MAX;
    while !whole {
        let mut rest = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut rest);
        whole = read.map_err(failed)? == 0 || rest.ends_with(b"\n");
    }
    Ok(!bytes.is_empty())
}
