// SPDX-License-Identifier: EUPL-1.2
//! Writes the files of a demonstration register, and dates and amounts as old tables write them.

use std::path::{Path, PathBuf};

use sqlx::{
    AssertSqlSafe, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use time::{Date, Duration, macros::format_description};

/// Cells in the order of the columns. An empty cell is NULL in a database.
pub(super) type Row = Vec<String>;

/// One file of a register.
pub(super) enum File {
    /// A SQLite database.
    Database {
        /// Its name in the folder.
        name: &'static str,
        /// CREATE statements.
        schema: &'static str,
        /// Table names and their rows.
        tables: Vec<(&'static str, Vec<Row>)>,
    },
    /// A CSV file with semicolons.
    Csv {
        /// Its name in the folder.
        name: &'static str,
        /// Column names, with semicolons.
        header: &'static str,
        /// ISO 8859-1, otherwise UTF-8.
        latin1: bool,
        /// Its lines.
        rows: Vec<Row>,
    },
}

/// Why a demonstration register cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// A file cannot be written.
    #[error("`{path}` cannot be written ({source}); check the folder's owner and free space")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A database cannot be written.
    #[error("database `{path}` cannot be written ({source}); is it still in use?")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// A CSV file cannot be formed.
    #[error("`{path}` cannot be formed: {source}")]
    Csv {
        /// Which.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
}

impl File {
    /// Writes it, in place of an older one.
    pub(super) async fn write(&self, folder: &Path) -> Result<(), RegisterError> {
        match self {
            Self::Database { name, schema, tables } => {
                let path = folder.join(name);
                remove(&path)?;
                database(&path, schema, tables)
                    .await
                    .map_err(|source| RegisterError::Database { path, source })
            }
            Self::Csv { name, header, latin1, rows } => {
                let path = folder.join(name);
                let bytes = lines(header, rows)
                    .map_err(|source| RegisterError::Csv { path: path.clone(), source })?;
                write(path, &if *latin1 { to_latin1(&bytes) } else { bytes })
            }
        }
    }
}

/// Writes a file in place of an older one.
pub(super) fn write(path: PathBuf, bytes: &[u8]) -> Result<(), RegisterError> {
    std::fs::write(&path, bytes).map_err(|source| RegisterError::File { path, source })
}

fn remove(path: &Path) -> Result<(), RegisterError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(RegisterError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

async fn database(
    path: &Path,
    schema: &'static str,
    tables: &[(&'static str, Vec<Row>)],
) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        // One file, as an old program would have left it.
        .journal_mode(SqliteJournalMode::Delete);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(schema).execute(&mut *transaction).await?;
    for (table, rows) in tables {
        for row in rows {
            let places = vec!["?"; row.len()].join(", ");
            // The table's name comes from this program's own source, the cells are bound.
            let sql = AssertSqlSafe(format!("INSERT INTO {table} VALUES ({places})"));
            let mut insert = sqlx::query(sql);
            for cell in row {
                insert = insert.bind((!cell.is_empty()).then_some(cell.as_str()));
            }
            insert.execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    connection.close().await
}

fn lines(header: &str, rows: &[Row]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .delimiter(b';')
        .terminator(csv::Terminator::CRLF)
        .from_writer(Vec::new());
    writer.write_record(header.split(';'))?;
    for row in rows {
        writer.write_record(row)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// ISO 8859-1. Letters that it lacks lose their marks, as they did in such systems.
fn to_latin1(utf8: &[u8]) -> Vec<u8> {
    let plain = |char: char| match char {
        'ı' => 'i',
        'İ' => 'I',
        'ş' | 'ś' => 's',
        'Ş' | 'Ś' => 'S',
        'ğ' => 'g',
        'ł' => 'l',
        'Ł' => 'L',
        'ą' => 'a',
        'ę' => 'e',
        'ń' => 'n',
        'ź' | 'ż' => 'z',
        'ć' => 'c',
        other => other,
    };
    let text = String::from_utf8_lossy(utf8);
    text.chars().map(|char| u8::try_from(u32::from(plain(char))).unwrap_or(b'?')).collect()
}

/// 2026-08-30 as 30.08.2026.
pub(super) fn german(iso: &str) -> String {
    let mut parts: Vec<&str> = iso.split('-').collect();
    parts.reverse();
    parts.join(".")
}

/// 2026-08-30 as 20260830.
pub(super) fn compact(iso: &str) -> String {
    iso.replace('-', "")
}

/// A date some days later or, negative, earlier.
pub(super) fn shifted(iso: &str, days: i64) -> String {
    Date::parse(iso, format_description!("[year]-[month]-[day]"))
        .ok()
        .and_then(|date| date.checked_add(Duration::days(days)))
        .map_or_else(|| iso.to_owned(), |date| date.to_string())
}

/// Cents as 1234.56.
pub(super) fn euros(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// Cents as 1.234,56 (amounts under a million euros).
pub(super) fn euros_de(cents: u64) -> String {
    let (whole, rest) = (cents / 100, cents % 100);
    match whole / 1000 {
        0 => format!("{whole},{rest:02}"),
        thousands => format!("{thousands}.{:03},{rest:02}", whole % 1000),
    }
}

/// Shaped like an account number; its check digits are wrong on purpose.
pub(super) fn account(lot: u64) -> String {
    format!("DE00{:018}", lot % 1_000_000_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_old_tables_write() {
        assert_eq!(german("2026-08-30"), "30.08.2026");
        assert_eq!(compact("2026-08-30"), "20260830");
        assert_eq!(shifted("2026-09-02", -42), "2026-07-22");
        assert_eq!(shifted("2024-02-28", 2), "2024-03-01");
        assert_eq!(euros_de(123_456), "1.234,56");
        assert_eq!(euros_de(100_005), "1.000,05");
        assert_eq!(euros_de(9_905), "99,05");
        assert_eq!(euros(9_905), "99.05");
        assert_eq!(to_latin1("Öß Yılmaz".as_bytes()), b"\xd6\xdf Yilmaz");
    }
}
