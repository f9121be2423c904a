// SPDX-License-Identifier: EUPL-1.2
//! Rows of the database as values, and what its errors mean.

use einmal_protocol::{Digest, leaf::Leaf};
use sqlx::{Row as _, postgres::PgRow};

use crate::store::{Head, Row, StoreError};

/// The columns that [`ledger_row`] reads.
pub(super) const COLUMNS: &str = "origin, size, root, bodies_from, ids_from_ms, closed";

pub(super) fn ledger_row(row: Option<&PgRow>) -> Result<Row, StoreError> {
    let row = row.ok_or_else(|| StoreError::Broken("the ledger's row is missing".to_owned()))?;
    let root: Vec<u8> = cell(row, 2)?;
    let root = Digest::try_from(root.as_slice()).map_err(broken)?;
    let head = Head { origin: cell(row, 0)?, size: index(row, 1)?, root };
    let bodies_from = u32::try_from(index(row, 3)?).map_err(broken)?;
    Ok(Row { head, bodies_from, ids_from_ms: index(row, 4)?, closed: cell(row, 5)? })
}

pub(super) fn leaf(row: &PgRow, at: usize) -> Result<Leaf, StoreError> {
    Leaf::parse(&cell::<Vec<u8>>(row, at)?).map_err(broken)
}

pub(super) fn index(row: &PgRow, at: usize) -> Result<u64, StoreError> {
    u64::try_from(cell::<i64>(row, at)?).map_err(broken)
}

pub(super) fn cell<'r, T>(row: &'r PgRow, at: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(at).map_err(broken)
}

pub(super) fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(broken)
}

pub(super) fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}

/// The five letters that say which error of the server it is.
pub(super) fn code(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.unwrap_or_default().into_owned()
}

/// Whether the connection is gone, so that nothing can be asked on it any more.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) => {
            let code = code(error);
            code.starts_with("08") || code.starts_with("57P") || code.starts_with("25P")
        }
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => true,
        _ => false,
    }
}

/// What an error of PostgreSQL means. Its messages name tables and columns, never values.
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    const DISK_FULL: &str = "53100";
    const IO_ERROR: &str = "58030";
    const READ_ONLY: &str = "25006";
    const NOT_ALLOWED: &str = "42501";
    const NO_PARTITION: &str = "23514";
    const STATEMENT_THERE: &str = "42P05";
    const STATEMENT_GONE: &str = "26000";
    let sqlx::Error::Database(database) = &error else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => broken(error),
            _ => StoreError::Unavailable(error.to_string()),
        };
    };
    let message = database.message().to_owned();
    match code(&error).as_str() {
        DISK_FULL => StoreError::Full,
        READ_ONLY => StoreError::Unavailable(
            "the server or its user may only read: connect to the primary".to_owned(),
        ),
        STATEMENT_THERE | STATEMENT_GONE => StoreError::Unavailable(
            "a pooler stands before the database: say so in the options".to_owned(),
        ),
        NOT_ALLOWED | NO_PARTITION => StoreError::Unavailable(message),
        // Damaged files, a disk that failed, rows that contradict one another, tables that are
        // gone or have other columns.
        IO_ERROR | "XX001" | "XX002" => StoreError::Broken(message),
        code if ["22", "23", "42"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Broken(message)
        }
        _ => StoreError::Unavailable(message),
    }
}
