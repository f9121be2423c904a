// SPDX-License-Identifier: EUPL-1.2
//! On which line of a register's file a mistake is.

use std::collections::BTreeMap;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Lines by the places that mistakes name, such as `evidence.income.fields.gross.column`.
///
/// Sources and evidence are named by their `name` and `type`, entries of other lists by their
/// number, counted from 1.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(BTreeMap<String, usize>);

impl Lines {
    pub(crate) fn of(text: &str, table: &DeTable<'_>) -> Self {
        let ends: Vec<usize> =
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        let mut walk = Walk { ends, lines: BTreeMap::new() };
        for (key, value) in table {
            let key = key.get_ref().as_ref();
            let name = match key {
                "sources" => Some("name"),
                "evidence" => Some("type"),
                _ => None,
            };
            walk.value(key.to_owned(), value, name);
        }
        Self(walk.lines)
    }

    /// The line of a place, or of the nearest thing around it.
    pub(crate) fn line(&self, at: &str) -> Option<usize> {
        let mut place = at;
        loop {
            if let Some(line) = self.0.get(place) {
                return Some(*line);
            }
            place = place.rsplit_once('.')?.0;
        }
    }
}

struct Walk {
    /// Where lines end, in bytes.
    ends: Vec<usize>,
    lines: BTreeMap<String, usize>,
}

impl Walk {
    fn note(&mut self, at: &str, byte: usize) {
        let line = self.ends.partition_point(|end| *end < byte) + 1;
        // Of two things with one name, it is the second that is one too many.
        let is_name = at.ends_with(".name") || at.ends_with(".type");
        if is_name || !self.lines.contains_key(at) {
            self.lines.insert(at.to_owned(), line);
        }
    }

    /// Notes what is inside a value; entries of a list are named by this key of theirs.
    fn value(&mut self, at: String, value: &Spanned<DeValue<'_>>, name: Option<&str>) {
        match value.get_ref() {
            DeValue::Table(table) => self.table(&at, table),
            DeValue::Array(entries) => {
                for (number, entry) in entries.iter().enumerate() {
                    let own = name.and_then(|name| entry.get_ref().as_table()?.get(name));
                    let own = own.and_then(|own| own.get_ref().as_str().map(str::to_owned));
                    let at = format!("{at}.{}", own.unwrap_or_else(|| (number + 1).to_string()));
                    self.note(&at, entry.span().start);
                    self.value(at, entry, None);
                }
            }
            _ => {}
        }
    }

    fn table(&mut self, at: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let at = format!("{at}.{}", key.get_ref());
            self.note(&at, key.span().start);
            self.value(at, value, None);
        }
    }
}
