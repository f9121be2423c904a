// SPDX-License-Identifier: EUPL-1.2
//! The ledger in one SQLite database, synced at every commit, with one file of bodies a day
//! beside it.

mod append;
mod connect;
mod rows;
mod segments;

use std::{collections::HashMap, pin::Pin, sync::Arc};

use einmal_protocol::leaf::Leaf;
use sqlx::{query_builder::QueryBuilder, sqlite::SqliteRow};
use tokio_stream::StreamExt;

pub use connect::{DatabaseError, SqliteOptions, SqliteStore};

use crate::store::{
    AppendFault, Archive, Batch, DayOfBodies, Detail, Entry, Head, Pending, Row, Slot, Store,
    StoreError, Taken, TileId,
};
use rows::{Place, broken, cell, fault, index, number, read_row, stored_leaf, tile_number};

/// Ids in one question.
const ROWS: usize = 64;
/// Rows that one commit of `forget` deletes, so that appends wait only shortly.
const FORGOTTEN_AT_ONCE: i64 = 1000;
/// Entries of one answer hold about this many bytes of bodies at most.
const ANSWER_BYTES: usize = 4 << 20;

impl Archive for SqliteStore {
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let mut tiles = Vec::with_capacity(ids.len());
            for id in ids {
                let row = sqlx::query("SELECT hashes FROM tile WHERE number = ?")
                    .bind(tile_number(*id)?)
                    .fetch_optional(&self.readers)
                    .await
                    .map_err(fault)?;
                tiles.push(row.map(|row| cell(&row, 0)).transpose()?);
            }
            Ok(tiles)
        })
    }

    fn entries(&self, from_index: u64, max: usize, detail: Detail) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let mut rows = sqlx::query(
                "SELECT position, bytes FROM leaf WHERE position >= ? ORDER BY position LIMIT ?",
            )
            .bind(number(from_index)?)
            .bind(number(max as u64)?)
            .fetch(&self.readers);
            let mut found: Vec<(Leaf, Place)> = Vec::new();
            let mut bytes = 0;
            while let Some(row) = rows.next().await {
                let row = row.map_err(fault)?;
                let next = from_index + found.len() as u64;
                if index(&row, 0)? != next {
                    return Err(StoreError::Broken(format!("leaf {next} is missing")));
                }
                let stored = stored_leaf(&row, 1)?;
                if detail == Detail::Bodies {
                    bytes += stored.1.length as usize;
                    if bytes > ANSWER_BYTES && !found.is_empty() {
                        break;
                    }
                }
                found.push(stored);
            }
            drop(rows);
            if detail == Detail::Leaves {
                let entry = |(index, (leaf, _))| Entry { index, leaf, body: None };
                return Ok((from_index..).zip(found).map(entry).collect());
            }
            let segments = Arc::clone(&self.segments);
            blocking(move || {
                let entry = |(index, (leaf, place)): (u64, (Leaf, Place))| {
                    let body = segments.read(leaf.day, place.start, place.length)?;
                    Ok(Entry { index, leaf, body })
                };
                (from_index..).zip(found).map(entry).collect()
            })
            .await
        })
    }
}

impl Store for SqliteStore {
    fn row(&self) -> Pending<'_, Row> {
        Box::pin(async move {
            // Waits for an append in flight: it holds the connection.
            let mut writing = self.connection().await?;
            let row = read_row(&mut writing.connection).await;
            writing.settle(row).await
        })
    }

    fn taken<'a>(&'a self, slots: &'a [Slot]) -> Pending<'a, Vec<Option<Taken>>> {
        Box::pin(async move {
            let mut found = HashMap::new();
            for chunk in slots.chunks(ROWS) {
                let mut query = QueryBuilder::new(
                    "SELECT slot.key, slot.position, leaf.bytes FROM slot JOIN leaf \
                     USING (position) WHERE slot.key IN (",
                );
                let mut keys = query.separated(", ");
                for slot in chunk {
                    keys.push_bind(slot.to_bytes());
                }
                query.push(")");
                for row in query.build().fetch_all(&self.readers).await.map_err(fault)? {
                    let key: Vec<u8> = cell(&row, 0)?;
                    let (index, (leaf, _)) = (index(&row, 1)?, stored_leaf(&row, 2)?);
                    found.insert(key, Taken { index, leaf });
                }
            }
            Ok(slots.iter().map(|slot| found.get(&slot.to_bytes()[..]).copied()).collect())
        })
    }

    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault> {
        Box::pin(async move {
            let mut writing = self.connection().await.map_err(AppendFault::NotDone)?;
            let result =
                append::append(&mut writing.connection, &self.segments, expected, batch).await;
            writing.settle(result).await
        })
    }

    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64> {
        Box::pin(async move {
            let mut writing = self.connection().await?;
            let moved = sqlx::query(
                "UPDATE ledger SET bodies_from = max(bodies_from, ?), \
                 ids_from_ms = max(ids_from_ms, ?)",
            )
            .bind(i64::from(bodies_before))
            .bind(number(ids_before_ms.min(1 << 48))?)
            .execute(&mut writing.connection)
            .await
            .map_err(fault);
            writing.settle(moved).await?;
            let count = self.forget_bodies(bodies_before).await?;
            // A slot's key begins with the six bytes of time of its UUIDv7.
            let [_, _, before @ ..] = ids_before_ms.min((1 << 48) - 1).to_be_bytes();
            let slots =
                "DELETE FROM slot WHERE key IN (SELECT key FROM slot WHERE key < ? LIMIT ?)";
            self.delete(slots, before.to_vec()).await?;
            let mut writing = self.connection().await?;
            // What was deleted still stands in the write-ahead log until it is emptied.
            let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(&mut writing.connection)
                .await
                .map_err(fault);
            match cell(&writing.settle(emptied).await?, 0)? {
                0i64 => Ok(count),
                _ => Err(StoreError::Unavailable("it is being read; forget again".to_owned())),
            }
        })
    }

    fn close<'a>(&'a self, last: &'a Head) -> Pending<'a, (), AppendFault> {
        Box::pin(async move {
            let mut writing = self.connection().await.map_err(AppendFault::NotDone)?;
            let closed = sqlx::query(
                "UPDATE ledger SET closed = 1 WHERE origin = ? AND size = ? AND root = ?",
            )
            .bind(last.origin.as_str())
            .bind(number(last.size).map_err(AppendFault::NotDone)?)
            .bind(last.root.to_vec())
            .execute(&mut writing.connection)
            .await
            .map_err(|error| AppendFault::Unknown(fault(error)));
            let closed = match closed {
                Ok(done) if done.rows_affected() == 1 => Ok(()),
                Ok(_) => {
                    let row = read_row(&mut writing.connection).await;
                    Err(row.map_or_else(AppendFault::NotDone, |row| AppendFault::Moved {
                        found: row.head,
                    }))
                }
                Err(error) => Err(error),
            };
            writing.settle(closed).await
        })
    }

    fn disconnect(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.let_go())
    }

    fn days(&self) -> Pending<'_, Vec<DayOfBodies>> {
        Box::pin(async move {
            let rows = sqlx::query("SELECT day, bodies, length FROM segment ORDER BY day")
                .fetch_all(&self.readers)
                .await
                .map_err(fault)?;
            let day = |row: &SqliteRow| {
                let day = u32::try_from(index(row, 0)?).map_err(broken)?;
                Ok(DayOfBodies { day, bodies: index(row, 1)?, bytes: index(row, 2)? })
            };
            rows.iter().map(day).collect()
        })
    }

    fn is_shared(&self) -> bool {
        // The command line may forget or close beside a running broker.
        true
    }

    fn free_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&self.path).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

impl SqliteStore {
    /// Deletes the files first: a crash in between leaves rows, which the next run deletes.
    async fn forget_bodies(&self, before: u32) -> Result<u64, StoreError> {
        let mut writing = self.connection().await?;
        let count = sqlx::query("SELECT coalesce(sum(bodies), 0) FROM segment WHERE day < ?")
            .bind(i64::from(before))
            .fetch_one(&mut writing.connection)
            .await
            .map_err(fault);
        let count = index(&writing.settle(count).await?, 0)?;
        let segments = Arc::clone(&self.segments);
        blocking(move || segments.remove_before(before)).await?;
        self.delete(
            "DELETE FROM segment WHERE day IN (SELECT day FROM segment WHERE day < ? LIMIT ?)",
            i64::from(before),
        )
        .await?;
        Ok(count)
    }

    async fn delete<'q, T>(&self, statement: &'static str, before: T) -> Result<u64, StoreError>
    where
        T: sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite> + Clone + Send + 'q,
    {
        let mut count = 0;
        loop {
            let mut writing = self.connection().await?;
            let result = sqlx::query(statement)
                .bind(before.clone())
                .bind(FORGOTTEN_AT_ONCE)
                .execute(&mut writing.connection)
                .await
                .map_err(fault);
            let deleted = writing.settle(result).await?.rows_affected();
            count += deleted;
            if deleted == 0 {
                return Ok(count);
            }
        }
    }
}

/// Runs what waits for the disk away from the event loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
}
