// SPDX-License-Identifier: EUPL-1.2
//! The ledger in a schema of a PostgreSQL database, for several brokers at once.
//!
//! Whoever appends locks the ledger's one row until its COMMIT is answered or the server has given
//! it up; so does whoever reads the row. That lock is the only one: nothing is kept on a
//! connection from one transaction to the next, so that a pooler may stand in between.
//!
//! What PostgreSQL does not let a client see: an administrator who cancels a COMMIT that waits for
//! a synchronous standby makes it succeed. [`Store::row`] commits the lock that it took, and so
//! waits for the standby in its place.

mod append;
mod forget;
mod guard;
mod lane;
mod options;
mod rows;

use std::{
    collections::{BTreeSet, HashMap},
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sqlx::{AssertSqlSafe, postgres::PgRow};

pub use options::{PostgresOptions, PostgresOptionsError};

use crate::{
    sqlite::DatabaseError,
    store::{
        AppendFault, Archive, Batch, DayOfBodies, Detail, Entry, Head, Pending, Row, Slot, Store,
        StoreError, Taken, TileId,
    },
};
use lane::{Lane, Transaction, opening};
use rows::{COLUMNS, broken, cell, code, fault, index, leaf, ledger_row, number};

const SCHEMA: &str = include_str!("schema.sql");
const APPLICATION: &str = "einmal-ledger";
const VERSION: i32 = 1;
/// Connections that write, and others that read.
const WRITERS: usize = 2;
const READERS: usize = 4;
/// Entries of one answer.
const ENTRIES_MAX: usize = 4096;
/// Entries of one answer hold about this many bytes of bodies at most.
const ANSWER_BYTES: i64 = 4 << 20;

/// The PostgreSQL store.
pub struct PostgresStore {
    schema: String,
    writers: Lane,
    readers: Lane,
    only_reads: bool,
    // When the server that was last written to was started, and how often that changed.
    server: Mutex<Option<String>>,
    generation: AtomicU64,
}

impl PostgresStore {
    /// Makes the tables of a new ledger.
    ///
    /// # Errors
    /// Where the schema has a ledger, or the server may lose what it commits.
    pub async fn create(options: PostgresOptions, origin: &str) -> Result<Self, DatabaseError> {
        let store = Self::over(&options, false);
        let schema = &store.schema;
        let there = format!(
            "SELECT to_regnamespace('{schema}') IS NOT NULL, \
             to_regclass('{schema}.ledger') IS NOT NULL"
        );
        let (mut transaction, rows) = store.begin(&there).await?;
        let of = |at| rows.first().map_or(Ok(false), |row| cell(row, at));
        if of(1)? {
            return Err(DatabaseError::Exists);
        }
        let made = |error: sqlx::Error| match code(&error).as_str() {
            // Another made it in the meantime.
            "42P06" | "42P07" | "42710" | "23505" => DatabaseError::Exists,
            _ => fault(error).into(),
        };
        if !of(0)? {
            transaction.run(&format!("CREATE SCHEMA {schema}")).await.map_err(made)?;
        }
        transaction.run(&store.in_schema(SCHEMA)).await.map_err(made)?;
        let insert = store.in_schema(
            "INSERT INTO einmal_schema.ledger (version, origin, size, root) VALUES ($1, $2, 0, $3)",
        );
        let insert = sqlx::query(AssertSqlSafe(insert));
        let insert = insert.bind(VERSION).bind(origin).bind(Head::empty(origin).root.to_vec());
        transaction.ask(insert).await.map_err(made)?;
        transaction.commit().await?;
        Self::open(options).await
    }

    /// Opens a ledger.
    ///
    /// # Errors
    /// Where there is none, or the server may lose what it commits.
    pub async fn open(options: PostgresOptions) -> Result<Self, DatabaseError> {
        let store = Self::over(&options, false);
        store.is_a_ledger().await?;
        store.row().await?;
        Ok(store)
    }

    /// Opens a ledger only to read it. A standby will do.
    ///
    /// # Errors
    /// Where there is none.
    pub async fn inspect(options: PostgresOptions) -> Result<Self, DatabaseError> {
        let store = Self::over(&options, true);
        store.is_a_ledger().await?;
        Ok(store)
    }

    fn over(options: &PostgresOptions, only_reads: bool) -> Self {
        Self {
            schema: options.schema.clone(),
            writers: Lane::new(options, WRITERS),
            readers: Lane::new(options, READERS),
            only_reads,
            server: Mutex::default(),
            generation: AtomicU64::default(),
        }
    }

    async fn is_a_ledger(&self) -> Result<(), DatabaseError> {
        let schema = &self.schema;
        let there = format!("SELECT to_regclass('{schema}.ledger') IS NOT NULL");
        let (mut transaction, rows) = self.read(&there).await?;
        if !rows.first().map_or(Ok(false), |row| cell::<bool>(row, 0))? {
            return Err(DatabaseError::Missing);
        }
        let version = format!("SELECT application, version FROM {schema}.ledger");
        let rows = match transaction.run(&version).await {
            Err(error) if code(&error) == "42703" => return Err(DatabaseError::NotALedger),
            rows => rows.map_err(fault)?,
        };
        let Some(row) = rows.first() else { return Err(DatabaseError::NotALedger) };
        let found: (String, i32) = (cell(row, 0)?, cell(row, 1)?);
        transaction.roll_back().await;
        let ours = found == (APPLICATION.to_owned(), VERSION);
        ours.then_some(()).ok_or(DatabaseError::NotALedger)
    }

    /// A statement's text with this ledger's schema.
    fn in_schema(&self, statement: &str) -> String {
        statement.replace("einmal_schema", &self.schema)
    }

    /// Begins a transaction that only reads.
    async fn read(&self, first: &str) -> Result<(Transaction<'_>, Vec<PgRow>), StoreError> {
        let begin = opening("READ ONLY") + first;
        self.readers.begin(&begin).await
    }

    /// Begins a transaction that writes, on a server that keeps what it commits.
    async fn begin(&self, first: &str) -> Result<(Transaction<'_>, Vec<PgRow>), StoreError> {
        if self.only_reads {
            let why = "the ledger was opened only to read it".to_owned();
            return Err(StoreError::Unavailable(why));
        }
        let begin = opening("") + guard::QUESTION + first;
        let (mut transaction, mut rows) = self.writers.begin(&begin).await?;
        let rest = rows.split_off(rows.len().min(1));
        match guard::check(&mut transaction, rows.first()).await {
            Ok(server) => {
                self.met(server);
                Ok((transaction, rest))
            }
            Err(refusal) => {
                transaction.roll_back().await;
                Err(refusal)
            }
        }
    }

    /// Notes which server a transaction met.
    fn met(&self, server: String) {
        let mut last = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&server) {
            *last = Some(server);
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Begins a transaction that holds the lock on the ledger's row; with the row, and what
    /// further statements then answered.
    async fn lock(&self, then: &str) -> Result<(Transaction<'_>, Row, Vec<PgRow>), StoreError> {
        let lock = format!("SELECT {COLUMNS} FROM {}.ledger FOR UPDATE; {then}", self.schema);
        let (transaction, mut rows) = self.begin(&lock).await?;
        let rest = rows.split_off(rows.len().min(1));
        Ok((transaction, ledger_row(rows.first())?, rest))
    }

    /// Asks of each of these days whether it has its partition.
    fn partitions_there(&self, days: &BTreeSet<u32>) -> String {
        let schema = &self.schema;
        let asked = |day| format!("SELECT to_regclass('{schema}.body_{day}') IS NOT NULL; ");
        days.iter().map(asked).collect()
    }

    /// Gives entries that follow one another their bodies, and leaves out those at the end whose
    /// bodies would be too many bytes.
    async fn bodies(
        &self,
        transaction: &mut Transaction<'_>,
        entries: &mut Vec<Entry>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return Ok(()) };
        let (first, last) = (first.index, last.index);
        let days = entries.iter().map(|entry| entry.leaf.day);
        let (oldest, newest) = (days.clone().min(), days.max());
        let day = |day: Option<u32>| i32::try_from(day.unwrap_or_default()).map_err(broken);
        // From day to day, so that no other partition is looked into.
        let bodies = self.in_schema(
            "SELECT position, CASE WHEN total <= $5 OR total = octet_length(bytes) THEN bytes END \
             FROM (SELECT position, bytes, \
                 sum(octet_length(bytes)) OVER (ORDER BY position) AS total \
                 FROM einmal_schema.body \
                 WHERE day BETWEEN $1 AND $2 AND position BETWEEN $3 AND $4) AS found \
             ORDER BY position",
        );
        let question = sqlx::query(AssertSqlSafe(bodies))
            .bind(day(oldest)?)
            .bind(day(newest)?)
            .bind(number(first)?)
            .bind(number(last)?)
            .bind(ANSWER_BYTES);
        for row in transaction.ask(question).await.map_err(fault)? {
            let at = index(&row, 0)?.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            let at = at.unwrap_or(usize::MAX);
            match cell::<Option<Vec<u8>>>(&row, 1)? {
                Some(body) => {
                    if let Some(entry) = entries.get_mut(at) {
                        entry.body = Some(body);
                    }
                }
                None => {
                    entries.truncate(at);
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Archive for PostgresStore {
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let levels: Vec<i16> = ids.iter().map(|id| i16::from(id.level)).collect();
            let positions: Result<Vec<i64>, _> = ids.iter().map(|id| number(id.index)).collect();
            let tiles = self.in_schema(
                "SELECT level, position, hashes FROM einmal_schema.tile \
                 JOIN (SELECT DISTINCT level, position \
                     FROM unnest($1::int2[], $2::int8[]) AS one (level, position)) AS asked \
                 USING (level, position)",
            );
            let (mut transaction, _) = self.read("").await?;
            let question = sqlx::query(AssertSqlSafe(tiles)).bind(levels).bind(positions?);
            let rows = transaction.ask(question).await.map_err(fault)?;
            transaction.roll_back().await;
            let mut found = HashMap::new();
            for row in rows {
                let level = u8::try_from(cell::<i16>(&row, 0)?).map_err(broken)?;
                let id = TileId { level, index: index(&row, 1)? };
                found.insert(id, cell::<Vec<u8>>(&row, 2)?);
            }
            Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
        })
    }

    fn entries(&self, from_index: u64, max: usize, detail: Detail) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let leaves = self.in_schema(
                "SELECT position, bytes FROM einmal_schema.leaf WHERE position >= $1 \
                 ORDER BY position LIMIT $2",
            );
            let max = number(max.min(ENTRIES_MAX) as u64)?;
            let (mut transaction, _) = self.read("").await?;
            let question = sqlx::query(AssertSqlSafe(leaves)).bind(number(from_index)?).bind(max);
            let mut entries = Vec::new();
            for (next, row) in (from_index..).zip(transaction.ask(question).await.map_err(fault)?) {
                if index(&row, 0)? != next {
                    return Err(StoreError::Broken(format!("leaf {next} is missing")));
                }
                entries.push(Entry { index: next, leaf: leaf(&row, 1)?, body: None });
            }
            if detail == Detail::Bodies {
                self.bodies(&mut transaction, &mut entries).await?;
            }
            transaction.roll_back().await;
            Ok(entries)
        })
    }
}

impl Store for PostgresStore {
    fn row(&self) -> Pending<'_, Row> {
        Box::pin(async move {
            if self.only_reads {
                let row = format!("SELECT {COLUMNS} FROM {}.ledger", self.schema);
                let (transaction, rows) = self.read(&row).await?;
                transaction.roll_back().await;
                return ledger_row(rows.first());
            }
            let (transaction, row, _) = self.lock("").await?;
            // The lock is written to the log behind whatever was committed before, so that this
            // commit waits until all of it is durable, on a synchronous standby too.
            transaction.commit().await?;
            Ok(row)
        })
    }

    fn taken<'a>(&'a self, slots: &'a [Slot]) -> Pending<'a, Vec<Option<Taken>>> {
        Box::pin(async move {
            let keys: Vec<Vec<u8>> = slots.iter().map(Slot::to_bytes).collect();
            let taken = self.in_schema(
                "SELECT slot.key, slot.position, leaf.bytes FROM einmal_schema.slot \
                 JOIN einmal_schema.leaf USING (position) WHERE slot.key = ANY($1)",
            );
            let (mut transaction, _) = self.read("").await?;
            let question = sqlx::query(AssertSqlSafe(taken)).bind(&keys);
            let rows = transaction.ask(question).await.map_err(fault)?;
            transaction.roll_back().await;
            let mut found = HashMap::new();
            for row in rows {
                let key: Vec<u8> = cell(&row, 0)?;
                found.insert(key, Taken { index: index(&row, 1)?, leaf: leaf(&row, 2)? });
            }
            Ok(keys.iter().map(|key| found.get(key).copied()).collect())
        })
    }

    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault> {
        Box::pin(append::append(self, expected, batch))
    }

    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64> {
        Box::pin(forget::forget(self, bodies_before, ids_before_ms))
    }

    fn close<'a>(&'a self, last: &'a Head) -> Pending<'a, (), AppendFault> {
        Box::pin(async move {
            let (mut transaction, row, _) = self.lock("").await.map_err(AppendFault::NotDone)?;
            if row.head != *last {
                transaction.roll_back().await;
                return Err(AppendFault::Moved { found: row.head });
            }
            let close = self.in_schema("UPDATE einmal_schema.ledger SET closed = true");
            let closed = transaction.run(&close).await;
            closed.map_err(|error| AppendFault::NotDone(fault(error)))?;
            transaction.commit().await.map_err(AppendFault::Unknown)
        })
    }

    fn disconnect(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.writers.close().await;
            self.readers.close().await;
        })
    }

    fn days(&self) -> Pending<'_, Vec<DayOfBodies>> {
        Box::pin(async move {
            let days = self.in_schema(
                "SELECT day::bigint, bodies, coalesce(pg_total_relation_size( \
                     to_regclass('einmal_schema.body_' || day)), 0) \
                 FROM einmal_schema.day ORDER BY day",
            );
            let (transaction, rows) = self.read(&days).await?;
            transaction.roll_back().await;
            let day = |row: &PgRow| {
                let day = u32::try_from(index(row, 0)?).map_err(broken)?;
                Ok(DayOfBodies { day, bodies: index(row, 1)?, bytes: index(row, 2)? })
            };
            rows.iter().map(day).collect()
        })
    }

    fn connection_generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn is_shared(&self) -> bool {
        true
    }
}
