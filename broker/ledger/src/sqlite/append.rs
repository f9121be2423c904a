// SPDX-License-Identifier: EUPL-1.2
//! Compare-and-append in one transaction: the row, the bodies in their day's file, leaves, slots
//! and tiles. The number of statements does not grow with the batch.

use std::{collections::BTreeMap, sync::Arc};

use sqlx::{Either, Executor, SqliteConnection, sqlite::SqliteRow};
use tokio_stream::StreamExt;

use super::{
    blocking,
    rows::{Place, broken, cell, fault, number, read_row, tile_number},
    segments::Segments,
};
use crate::store::{Addition, AppendFault, Batch, Head, StoreError};

/// Bodies of one day, one after the other.
struct Run {
    at: u64,
    bytes: Vec<u8>,
}

/// Opens the transaction, moves the row if it is as expected, and makes room in a day's file.
const BEGIN: &str = "BEGIN IMMEDIATE; \
    UPDATE ledger SET size = ?1, root = ?2 \
    WHERE origin = ?3 AND size = ?4 AND root = ?5 AND closed = 0 AND ids_from_ms <= ?9; \
    INSERT INTO segment (day, bodies, length) VALUES (?6, ?7, ?8) ON CONFLICT (day) DO \
    UPDATE SET bodies = bodies + excluded.bodies, length = length + excluded.length \
    RETURNING length";

/// The same for one day more.
const ANOTHER_DAY: &str = "INSERT INTO segment (day, bodies, length) VALUES (?1, ?2, ?3) \
    ON CONFLICT (day) DO \
    UPDATE SET bodies = bodies + excluded.bodies, length = length + excluded.length \
    RETURNING length";

/// All leaves and all slots, each cut out of one blob.
const INSERT: &str = "INSERT INTO leaf (position, bytes) WITH RECURSIVE n (i) AS \
    (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
    SELECT ?2 + i, substr(?3, i * 50 + 1, 50) FROM n; \
    INSERT INTO slot (key, position) WITH RECURSIVE n (i) AS \
    (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?1) \
    SELECT substr(?4, i * 32 + 1, 32), ?2 + i FROM n";

/// One transaction: compare, write, commit. Each call of the driver costs two changes of thread, so
/// statements go together where one does not need the other's answer.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    segments: &Arc<Segments>,
    expected: &Head,
    batch: &Batch,
) -> Result<(), AppendFault> {
    let lengths = begin(connection, expected, batch).await?;
    let (places, runs) = place(&lengths, &batch.entries).map_err(AppendFault::NotDone)?;
    let segments = Arc::clone(segments);
    // The bodies are synced while the rows are inserted; both before the commit.
    let bodies = tokio::spawn(blocking(move || {
        runs.into_iter().try_for_each(|(day, run)| segments.append(day, run.at, run.bytes))
    }));
    let rows = insert(connection, expected.size, batch, &places).await;
    // Waited for whatever came of the rows: the next batch may write to the same place.
    let bodies = bodies.await.unwrap_or_else(|error| Err(broken(error)));
    rows?;
    bodies.map_err(AppendFault::NotDone)?;
    match sqlx::query("COMMIT").execute(&mut *connection).await.map_err(fault) {
        Ok(_) => Ok(()),
        Err(error) => Err(AppendFault::Unknown(error)),
    }
}

/// How long the file of each of the batch's days is with it.
async fn begin(
    connection: &mut SqliteConnection,
    expected: &Head,
    batch: &Batch,
) -> Result<BTreeMap<u32, u64>, AppendFault> {
    let mut days: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for entry in &batch.entries {
        let (bodies, length) = days.entry(entry.leaf.day).or_default();
        *bodies += 1;
        *length += entry.body.len() as u64;
    }
    let mut days = days.into_iter();
    let Some((day, (bodies, length))) = days.next() else {
        return Err(AppendFault::NotDone(broken("a batch without entries")));
    };
    let query = sqlx::query(BEGIN)
        .bind(int(batch.next.size)?)
        .bind(batch.next.root.to_vec())
        .bind(expected.origin.as_str())
        .bind(int(expected.size)?)
        .bind(expected.root.to_vec())
        .bind(i64::from(day))
        .bind(int(bodies)?)
        .bind(int(length)?)
        .bind(int(batch.oldest_id_ms())?);
    let (mut changed, mut after) = (Vec::new(), None);
    {
        let mut results = connection.fetch_many(query);
        while let Some(result) = results.next().await {
            match result.map_err(|error| AppendFault::NotDone(fault(error)))? {
                Either::Left(done) => changed.push(done.rows_affected()),
                Either::Right(row) => after = Some(row),
            }
        }
    }
    if changed.get(1) != Some(&1) {
        let row = read_row(connection).await.map_err(AppendFault::NotDone)?;
        return Err(match row.closed {
            true => AppendFault::Closed,
            false if row.ids_from_ms > batch.oldest_id_ms() => AppendFault::SlotTaken,
            false => AppendFault::Moved { found: row.head },
        });
    }
    let length_of = |row: Option<SqliteRow>| {
        let row = row.ok_or_else(|| broken("a day's length is missing"))?;
        u64::try_from(cell::<i64>(&row, 0)?).map_err(broken)
    };
    let mut lengths = BTreeMap::from([(day, length_of(after).map_err(AppendFault::NotDone)?)]);
    for (day, (bodies, length)) in days {
        let row = sqlx::query(ANOTHER_DAY)
            .bind(i64::from(day))
            .bind(int(bodies)?)
            .bind(int(length)?)
            .fetch_optional(&mut *connection)
            .await
            .map_err(|error| AppendFault::NotDone(fault(error)))?;
        lengths.insert(day, length_of(row).map_err(AppendFault::NotDone)?);
    }
    Ok(lengths)
}

/// Where each body goes, and what is written to the file of each day.
fn place(
    lengths: &BTreeMap<u32, u64>,
    entries: &[Addition],
) -> Result<(Vec<Place>, BTreeMap<u32, Run>), StoreError> {
    let mut runs = BTreeMap::new();
    for (day, after) in lengths {
        let of_day = entries.iter().filter(|entry| entry.leaf.day == *day);
        let length: usize = of_day.map(|entry| entry.body.len()).sum();
        let at = after.checked_sub(length as u64);
        let at = at.ok_or_else(|| broken("a day's length is wrong"))?;
        runs.insert(*day, Run { at, bytes: Vec::with_capacity(length) });
    }
    let mut places = Vec::with_capacity(entries.len());
    for entry in entries {
        let run = runs.get_mut(&entry.leaf.day).ok_or_else(|| broken("a day is missing"))?;
        let start = run.at + run.bytes.len() as u64;
        let length = u32::try_from(entry.body.len()).map_err(broken)?;
        run.bytes.extend_from_slice(&entry.body);
        places.push(Place { start, length });
    }
    Ok((places, runs))
}

async fn insert(
    connection: &mut SqliteConnection,
    first: u64,
    batch: &Batch,
    places: &[Place],
) -> Result<(), AppendFault> {
    let mut leaves = Vec::with_capacity(50 * batch.entries.len());
    let mut slots = Vec::with_capacity(32 * batch.entries.len());
    for (entry, place) in batch.entries.iter().zip(places) {
        leaves.extend(entry.leaf.to_bytes());
        leaves.extend(place.start.to_be_bytes());
        leaves.extend(place.length.to_be_bytes());
        slots.extend(entry.slot.to_bytes());
    }
    let query = sqlx::query(INSERT)
        .bind(int(batch.entries.len() as u64)?)
        .bind(int(first)?)
        .bind(leaves)
        .bind(slots);
    let mut inserted = 0;
    {
        let mut results = connection.fetch_many(query);
        while let Some(result) = results.next().await {
            match result {
                Ok(_) => inserted += 1,
                // The leaves went in, so it is a slot that is there already.
                Err(error) if inserted == 1 => return Err(slot_fault(error)),
                Err(error) => return Err(AppendFault::NotDone(fault(error))),
            }
        }
    }
    for (id, hashes) in &batch.tiles {
        sqlx::query(
            "INSERT INTO tile (number, hashes) VALUES (?, ?) \
             ON CONFLICT (number) DO UPDATE SET hashes = excluded.hashes",
        )
        .bind(tile_number(*id).map_err(AppendFault::NotDone)?)
        .bind(hashes.as_slice())
        .execute(&mut *connection)
        .await
        .map_err(|error| AppendFault::NotDone(fault(error)))?;
    }
    Ok(())
}

fn int(value: u64) -> Result<i64, AppendFault> {
    number(value).map_err(AppendFault::NotDone)
}

/// A key that is there already is an id that has its leaf.
fn slot_fault(error: sqlx::Error) -> AppendFault {
    let unique =
        error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation);
    if unique { AppendFault::SlotTaken } else { AppendFault::NotDone(fault(error)) }
}
