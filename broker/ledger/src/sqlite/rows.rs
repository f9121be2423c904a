// SPDX-License-Identifier: EUPL-1.2
//! Rows of the database as values, and what its errors mean.

use einmal_protocol::{Digest, leaf::Leaf};
use sqlx::{Row as _, SqliteConnection, sqlite::SqliteRow};

use crate::{
    ledger::BODY_MAX,
    store::{Head, Row, StoreError, TileId},
};

/// Where a body lies in the file of its day.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) length: u32,
}

pub(super) fn tile_number(id: TileId) -> Result<i64, StoreError> {
    number((u64::from(id.level) << 56) | id.index)
}

pub(super) async fn read_row(connection: &mut SqliteConnection) -> Result<Row, StoreError> {
    let row =
        sqlx::query("SELECT origin, size, root, bodies_from, ids_from_ms, closed FROM ledger")
            .fetch_optional(connection)
            .await
            .map_err(fault)?
            .ok_or_else(|| StoreError::Broken("the ledger's row is missing".to_owned()))?;
    let root: Vec<u8> = cell(&row, 2)?;
    let root = Digest::try_from(root.as_slice()).map_err(broken)?;
    let head = Head { origin: cell(&row, 0)?, size: index(&row, 1)?, root };
    let bodies_from = u32::try_from(index(&row, 3)?).map_err(broken)?;
    let closed = index(&row, 5)? != 0;
    Ok(Row { head, bodies_from, ids_from_ms: index(&row, 4)?, closed })
}

pub(super) fn stored_leaf(row: &SqliteRow, at: usize) -> Result<(Leaf, Place), StoreError> {
    let bytes = cell::<Vec<u8>>(row, at)?;
    let short = || StoreError::Broken("a leaf is too short".to_owned());
    let (rest, length) = bytes.split_last_chunk::<4>().ok_or_else(short)?;
    let (leaf, start) = rest.split_last_chunk::<8>().ok_or_else(short)?;
    let place = Place { start: u64::from_be_bytes(*start), length: u32::from_be_bytes(*length) };
    // So much memory is taken before a byte of it is read.
    if place.length as usize > BODY_MAX {
        return Err(StoreError::Broken("a leaf's body is longer than any body".to_owned()));
    }
    Ok((Leaf::parse(leaf).map_err(broken)?, place))
}

pub(super) fn index(row: &SqliteRow, at: usize) -> Result<u64, StoreError> {
    u64::try_from(cell::<i64>(row, at)?).map_err(broken)
}

pub(super) fn cell<'r, T>(row: &'r SqliteRow, at: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(at).map_err(broken)
}

pub(super) fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(broken)
}

pub(super) fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}

/// What an error of SQLite means. Its messages name tables and columns, never values.
pub(super) fn fault(error: sqlx::Error) -> StoreError {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NO_MEMORY: i32 = 7;
    const FULL: i32 = 13;
    const CANNOT_OPEN: i32 = 14;
    let Some(database) = error.as_database_error() else {
        return match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => broken(error),
            _ => StoreError::Unavailable(error.to_string()),
        };
    };
    let code: i32 = database.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    // The low byte is the kind; the rest says more.
    match code & 0xff {
        FULL => StoreError::Full,
        BUSY | LOCKED | NO_MEMORY | CANNOT_OPEN => StoreError::Unavailable(error.to_string()),
        _ => broken(error),
    }
}
