// SPDX-License-Identifier: EUPL-1.2
//! Compare-and-append in one transaction of three round trips: lock and look, write, commit.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, postgres::PgRow};

use super::{
    PostgresStore,
    lane::{Question, Transaction},
    rows::{broken, cell, fault, number},
};
use crate::store::{AppendFault, Batch, Head, StoreError};

/// All of a batch in one statement, whose work grows with the batch and not its number of steps.
/// The row moves only where every slot was free. To ask for the slots before takes twice as long,
/// and to let their index refuse puts ids into the server's log.
const WRITE: &str = "WITH \
    leaves AS (INSERT INTO einmal_schema.leaf (position, bytes) \
        SELECT $1 + at - 1, bytes FROM unnest($2::bytea[]) WITH ORDINALITY AS one (bytes, at)), \
    bodies AS (INSERT INTO einmal_schema.body (position, day, bytes) \
        SELECT $1 + at - 1, day, bytes \
        FROM unnest($3::int4[], $4::bytea[]) WITH ORDINALITY AS one (day, bytes, at)), \
    days AS (INSERT INTO einmal_schema.day AS known (day, bodies) \
        SELECT day, count(*) FROM unnest($3::int4[]) AS one (day) GROUP BY day \
        ON CONFLICT (day) DO UPDATE SET bodies = known.bodies + excluded.bodies), \
    slots AS (INSERT INTO einmal_schema.slot (key, position) \
        SELECT key, $1 + at - 1 FROM unnest($5::bytea[]) WITH ORDINALITY AS one (key, at) \
        ON CONFLICT (key) DO NOTHING RETURNING key), \
    tiles AS (INSERT INTO einmal_schema.tile (level, position, hashes) \
        SELECT level, position, hashes \
        FROM unnest($6::int2[], $7::int8[], $8::bytea[]) AS one (level, position, hashes) \
        ON CONFLICT (level, position) DO UPDATE SET hashes = excluded.hashes) \
    UPDATE einmal_schema.ledger SET size = $9, root = $10 \
        WHERE (SELECT count(*) FROM slots) = $11 RETURNING size";

pub(super) async fn append(
    store: &PostgresStore,
    expected: &Head,
    batch: &Batch,
) -> Result<(), AppendFault> {
    let days: BTreeSet<u32> = batch.entries.iter().map(|entry| entry.leaf.day).collect();
    let locked = store.lock(&store.partitions_there(&days)).await.map_err(AppendFault::NotDone)?;
    let (mut transaction, row, there) = locked;
    let refused = match () {
        () if row.closed => Some(AppendFault::Closed),
        () if row.head != *expected => Some(AppendFault::Moved { found: row.head }),
        () if row.ids_from_ms > batch.oldest_id_ms() => Some(AppendFault::SlotTaken),
        () => None,
    };
    if let Some(refused) = refused {
        transaction.roll_back().await;
        return Err(refused);
    }
    let partitions = make_partitions(store, &mut transaction, &days, &there).await;
    partitions.map_err(AppendFault::NotDone)?;
    let statement = store.in_schema(WRITE);
    let write = question(&statement, expected.size, batch).map_err(AppendFault::NotDone)?;
    let moved = transaction.ask(write).await;
    let moved = moved.map_err(|error| AppendFault::NotDone(fault(error)))?;
    if moved.is_empty() {
        transaction.roll_back().await;
        return Err(AppendFault::SlotTaken);
    }
    transaction.commit().await.map_err(AppendFault::Unknown)
}

/// Makes the days' partitions that are not there. Whoever makes or drops one holds the lock on the
/// ledger's row, so none comes or goes in between.
async fn make_partitions(
    store: &PostgresStore,
    transaction: &mut Transaction<'_>,
    days: &BTreeSet<u32>,
    there: &[PgRow],
) -> Result<(), StoreError> {
    for (day, there) in days.iter().zip(there) {
        if !cell::<bool>(there, 0)? {
            let (schema, day) = (&store.schema, i64::from(*day));
            let next = day + 1;
            // Attached, for that lets others read meanwhile; PARTITION OF does not.
            let make = format!(
                "CREATE TABLE {schema}.body_{day} (LIKE {schema}.body INCLUDING ALL); \
                 ALTER TABLE {schema}.body ATTACH PARTITION {schema}.body_{day} \
                 FOR VALUES FROM ({day}) TO ({next})"
            );
            transaction.run(&make).await.map_err(fault)?;
        }
    }
    Ok(())
}

/// The statement with a batch's values.
fn question<'q>(statement: &str, first: u64, batch: &'q Batch) -> Result<Question<'q>, StoreError> {
    let entries = &batch.entries;
    let leaves: Vec<[u8; 38]> = entries.iter().map(|entry| entry.leaf.to_bytes()).collect();
    let days: Result<Vec<i32>, _> = entries.iter().map(|one| i32::try_from(one.leaf.day)).collect();
    let bodies: Vec<&[u8]> = entries.iter().map(|entry| entry.body.as_slice()).collect();
    let slots: Vec<Vec<u8>> = entries.iter().map(|entry| entry.slot.to_bytes()).collect();
    let levels: Vec<i16> = batch.tiles.iter().map(|(id, _)| i16::from(id.level)).collect();
    let positions: Result<Vec<i64>, _> =
        batch.tiles.iter().map(|(id, _)| number(id.index)).collect();
    let hashes: Vec<&[u8]> = batch.tiles.iter().map(|(_, hashes)| hashes.as_slice()).collect();
    Ok(sqlx::query(AssertSqlSafe(statement))
        .bind(number(first)?)
        .bind(leaves)
        .bind(days.map_err(broken)?)
        .bind(bodies)
        .bind(slots)
        .bind(levels)
        .bind(positions?)
        .bind(hashes)
        .bind(number(batch.next.size)?)
        .bind(batch.next.root.to_vec())
        .bind(number(batch.entries.len() as u64)?))
}
