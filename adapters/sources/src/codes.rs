// SPDX-License-Identifier: EUPL-1.2
//! Code lists in CSV files, such as the list of municipalities. Read once, at start.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    io::Read,
    path::Path,
};

use csv::{ReaderBuilder, StringRecord};
use serde_json::Value;

use crate::{config::CodesFile, values::Shape};

const BYTES_MAX: u64 = 8 * 1024 * 1024;
const CODES_MAX: usize = 200_000;

/// Reads a list; `shape` says what its values become.
///
/// # Errors
/// Where it cannot be used: what is wrong, with the line. Code lists name no person, so codes are
/// quoted.
pub(crate) fn read(
    config: &CodesFile,
    folder: &Path,
    shape: &Shape,
) -> Result<BTreeMap<String, Value>, String> {
    let text = text(&folder.join(&config.path))?;
    let text = text.trim_start_matches('\u{feff}');
    let heading = text.lines().next().unwrap_or_default();
    let delimiter = [b';', b'\t', b','].into_iter().find(|one| heading.contains(char::from(*one)));
    let delimiter = delimiter.ok_or("line 1: it has no `;`, `,` or tab between columns")?;
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| "line 1: it cannot be read")?.clone();
    let place = |name: &str| {
        let mut places = header.iter().enumerate().filter(|(_, column)| column.trim() == name);
        match (places.next(), places.next()) {
            (Some((place, _)), None) => Ok(place),
            (None, _) => Err(format!("line 1: there is no column `{name}`")),
            (Some(_), Some(_)) => Err(format!("line 1: there are two columns `{name}`")),
        }
    };
    let (from, to) = (place(&config.from)?, place(&config.to)?);
    let mut codes = BTreeMap::new();
    let mut record = StringRecord::new();
    loop {
        let line = reader.position().line();
        let at = |problem: &str| format!("line {line}: {problem}");
        if !reader.read_record(&mut record).map_err(|_| at("it has more or fewer columns"))? {
            break;
        }
        let line = record.position().map_or(line, csv::Position::line);
        let at = |problem: &str| format!("line {line}: {problem}");
        let (Some(code), Some(value)) = (record.get(from), record.get(to)) else { continue };
        let (code, value) = (code.trim(), value.trim());
        if code.is_empty() || value.is_empty() {
            return Err(at("a code or its value is empty"));
        }
        if codes.len() >= CODES_MAX {
            return Err(at("there are more than 200000 codes"));
        }
        let value = shape.written(value).map_err(at)?;
        match codes.entry(code.to_owned()) {
            Entry::Vacant(free) => drop(free.insert(value)),
            Entry::Occupied(known) if *known.get() == value => {}
            Entry::Occupied(_) => {
                return Err(format!("line {line}: the code `{code}` has another value above"));
            }
        }
    }
    if codes.is_empty() { Err("it has no codes".into()) } else { Ok(codes) }
}

fn text(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|_| "it cannot be opened")?;
    let mut text = String::new();
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    if text.len() as u64 > BYTES_MAX {
        return Err("it is longer than 8 MiB".into());
    }
    read.map_err(|_| "it cannot be read as UTF-8")?;
    Ok(text)
}
