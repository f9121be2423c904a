// SPDX-License-Identifier: EUPL-1.2
//! The keeper's index, one SQLite file: blind tags, re-sealed records, and the mirror of leaves
//! and bodies that exports are made from. A run of entries is one transaction, so a restart goes
//! on where the last one ended.

use std::path::Path;

use einmal_protocol::{
    Digest,
    leaf::Leaf,
    merkle::{Node, fold, plan_inclusion},
    note::Checkpoint,
};
use sqlx::{
    Row as _, Sqlite, SqlitePool, Transaction,
    query::Query,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow,
        SqliteSynchronous,
    },
};

use super::{
    body::Checked,
    days::{KeyRing, Tag},
    open::{Asked, Opened, Used},
    tree::Tree,
};
use crate::finding::Finding;

const SCHEMA: &str = include_str!("schema.sql");
/// At most this many kinds of alarm are kept.
const ALARMS_MAX: i64 = 200;

/// An entry with what opening it came to.
pub(crate) struct Noted {
    pub(crate) entry: Checked,
    pub(crate) opened: Opened,
}

/// How far the keeper has come.
pub(crate) struct State {
    pub(crate) size: u64,
    pub(crate) checkpoint: String,
    pub(crate) checked_at_ms: u64,
}

/// A record found by its tag.
pub(crate) struct Found {
    pub(crate) index: u64,
    pub(crate) slot: i64,
    pub(crate) day: u32,
    pub(crate) sealed: Vec<u8>,
    pub(crate) body: Vec<u8>,
    /// Sealed reports of use, oldest first.
    pub(crate) uses: Vec<(u64, Vec<u8>)>,
    /// Whether the answer was lost and asked for again.
    pub(crate) retried: bool,
}

/// What a report of use is bound to: the exchange and the report's own place.
pub(crate) fn use_aad(exchange: u64, report: u64) -> Vec<u8> {
    [b"einmal use v1".as_slice(), &exchange.to_be_bytes(), &report.to_be_bytes()].concat()
}

/// The index.
#[derive(Clone)]
pub(crate) struct Index {
    pub(super) pool: SqlitePool,
}

pub(super) fn int(number: u64) -> i64 {
    // A ledger never comes near 2^63 entries.
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn number(row: &SqliteRow, column: &str) -> Result<u64, IndexError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| IndexError::Damaged("a number"))
}

pub(super) fn day(row: &SqliteRow) -> Result<u32, IndexError> {
    u32::try_from(number(row, "day")?).map_err(|_| IndexError::Damaged("a day"))
}

fn hash(row: &SqliteRow) -> Result<Digest, IndexError> {
    let bytes: Vec<u8> = row.try_get("hash")?;
    Digest::try_from(bytes.as_slice()).map_err(|_| IndexError::Damaged("a hash"))
}

pub(super) fn sql(text: &'static str) -> Query<'static, Sqlite, SqliteArguments> {
    sqlx::query(text)
}

impl Index {
    /// Opens the index, or makes it.
    pub(crate) async fn open(path: &Path, origin: &str) -> Result<Self, IndexError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON");
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        let old: i64 = sql("SELECT COUNT(*) AS found FROM pragma_table_info('records') \
             WHERE name = 'facts'")
        .fetch_one(&pool)
        .await?
        .try_get("found")?;
        if old == 0 {
            sql("ALTER TABLE records ADD COLUMN facts BLOB").execute(&pool).await?;
        }
        // Empty but for the records of such an old index, until they are completed.
        sql("CREATE INDEX IF NOT EXISTS records_without_facts ON records (leaf_index) \
             WHERE facts IS NULL")
        .execute(&pool)
        .await?;
        sql("INSERT OR IGNORE INTO state VALUES (1, ?, 0, '', 0)")
            .bind(origin)
            .execute(&pool)
            .await?;
        sql("INSERT OR IGNORE INTO horizon SELECT 1, COALESCE(MAX(day), 0), 0 FROM bodies")
            .execute(&pool)
            .await?;
        let known: String =
            sql("SELECT origin FROM state").fetch_one(&pool).await?.try_get("origin")?;
        if known != origin {
            return Err(IndexError::OtherLedger { known });
        }
        Ok(Self { pool })
    }

    /// How far the keeper has come.
    pub(crate) async fn state(&self) -> Result<State, IndexError> {
        let row =
            sql("SELECT size, checkpoint, checked_at_ms FROM state").fetch_one(&self.pool).await?;
        Ok(State {
            size: number(&row, "size")?,
            checkpoint: row.try_get("checkpoint")?,
            checked_at_ms: number(&row, "checked_at_ms")?,
        })
    }

    /// The keeper's own tree.
    pub(crate) async fn tree(&self) -> Result<Tree, IndexError> {
        let size = self.state().await?.size;
        let edge = self.hashes(&Tree::edge_nodes(size)).await?;
        Tree::new(size, edge).ok_or(IndexError::Damaged("the tree's edge"))
    }

    /// The root of the first `size` leaves; nothing where there are fewer.
    pub(crate) async fn root_at(&self, size: u64) -> Result<Option<Digest>, IndexError> {
        if size > self.state().await?.size {
            return Ok(None);
        }
        Ok(Some(fold(&self.hashes(&Tree::edge_nodes(size)).await?)))
    }

    /// The inclusion path of a leaf in the tree of this size.
    pub(crate) async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, IndexError> {
        let mut path = Vec::new();
        let ranges = plan_inclusion(index, size).ok_or(IndexError::Damaged("an inclusion path"))?;
        for range in ranges {
            path.push(fold(&self.hashes(&range.nodes()).await?));
        }
        Ok(path)
    }

    pub(super) async fn hashes(&self, nodes: &[Node]) -> Result<Vec<Digest>, IndexError> {
        let mut hashes = Vec::with_capacity(nodes.len());
        for node in nodes {
            let row = sql("SELECT hash FROM nodes WHERE level = ? AND position = ?")
                .bind(i64::from(node.level))
                .bind(int(node.index))
                .fetch_optional(&self.pool)
                .await?;
            hashes.push(hash(&row.ok_or(IndexError::Damaged("a subtree"))?)?);
        }
        Ok(hashes)
    }

    /// The bytes of a leaf.
    pub(crate) async fn leaf(&self, index: u64) -> Result<Option<Vec<u8>>, IndexError> {
        let row = sql("SELECT leaf FROM bodies WHERE leaf_index = ?")
            .bind(int(index))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| row.try_get("leaf")).transpose()?)
    }

    /// Takes verified entries, all or none.
    pub(crate) async fn append(
        &self,
        nodes: &[(Node, Digest)],
        noted: &[Noted],
        (checkpoint, at_ms): (&Checkpoint, u64),
        ring: &KeyRing,
    ) -> Result<(), IndexError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let from = int(checkpoint.size()).saturating_sub(int(noted.len() as u64));
        let updated =
            sql("UPDATE state SET size = ?, checkpoint = ?, checked_at_ms = ? WHERE size = ?")
                .bind(int(checkpoint.size()))
                .bind(checkpoint.note())
                .bind(int(at_ms))
                .bind(from)
                .execute(&mut *tx)
                .await?;
        if updated.rows_affected() != 1 {
            return Err(IndexError::Raced);
        }
        for (node, digest) in nodes {
            sql("INSERT INTO nodes VALUES (?, ?, ?)")
                .bind(i64::from(node.level))
                .bind(int(node.index))
                .bind(digest.to_vec())
                .execute(&mut *tx)
                .await?;
        }
        for Noted { entry, opened } in noted {
            append_one(&mut tx, entry, opened, ring).await?;
        }
        let newest = noted.iter().map(|noted| noted.entry.leaf.day).max().unwrap_or_default();
        sql("UPDATE horizon SET newest_day = MAX(newest_day, ?)")
            .bind(i64::from(newest))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Notes an alarm. Equal texts are counted, not repeated.
    pub(crate) async fn alarm(&self, text: &str, index: Option<u64>) -> Result<(), IndexError> {
        let mut tx = self.pool.begin().await?;
        alarm(&mut tx, text, index).await?;
        tx.commit().await?;
        Ok(())
    }

    /// All alarms as texts.
    pub(crate) async fn alarms(&self) -> Result<Vec<String>, IndexError> {
        sql("SELECT text, first_index, count FROM alarms ORDER BY text")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| {
                let text: String = row.try_get("text")?;
                let first: Option<i64> = row.try_get("first_index")?;
                let count: i64 = row.try_get("count")?;
                Ok(match (first, count) {
                    (Some(first), 1) => format!("entry {first}: {text}"),
                    (Some(first), count) => format!("entry {first} and {} more: {text}", count - 1),
                    (None, 1) => text,
                    (None, count) => format!("{text} ({count} times)"),
                })
            })
            .collect()
    }

    /// Takes all alarms away.
    pub(crate) async fn clear_alarms(&self) -> Result<(), IndexError> {
        sql("DELETE FROM alarms").execute(&self.pool).await?;
        Ok(())
    }
}

pub(super) fn push_tags(query: &mut sqlx::QueryBuilder<Sqlite>, tags: &[Tag]) {
    let mut list = query.separated(", ");
    for tag in tags {
        list.push_bind(tag.to_vec());
    }
    query.push(")");
}

async fn append_one(
    tx: &mut Transaction<'_, Sqlite>,
    entry: &Checked,
    opened: &Opened,
    ring: &KeyRing,
) -> Result<(), IndexError> {
    sql("INSERT INTO bodies VALUES (?, ?, ?, ?)")
        .bind(int(entry.index))
        .bind(i64::from(entry.leaf.day))
        .bind(entry.leaf.to_bytes().to_vec())
        .bind(entry.bytes.clone())
        .execute(&mut **tx)
        .await?;
    for row in &opened.rows {
        sql("INSERT INTO records (leaf_index, slot, day, tag, facts, sealed) \
             VALUES (?, ?, ?, ?, ?, ?)")
        .bind(int(entry.index))
        .bind(row.slot)
        .bind(i64::from(entry.leaf.day))
        .bind(row.tag.map(|tag| tag.to_vec()))
        .bind(row.facts.clone())
        .bind(row.sealed.clone())
        .execute(&mut **tx)
        .await?;
    }
    if let Some(noticed) = &opened.noticed {
        noticed.append(tx, entry).await?;
    }
    let mut findings = opened.findings.clone();
    if let Some(asked) = &opened.asked
        && !append_request(tx, entry.index, &entry.leaf, asked).await?
    {
        findings.insert(Finding::LoggedTwice);
    }
    if let Some(used) = &opened.used
        && !append_use(tx, entry.index, used, ring).await?
    {
        findings.insert(Finding::UseUnknown);
    }
    for finding in findings.iter().filter(|finding| finding.is_alarm()) {
        alarm(tx, finding.text(), Some(entry.index)).await?;
    }
    Ok(())
}

/// False where the same authority's id stands in the ledger already (ONCE).
async fn append_request(
    tx: &mut Transaction<'_, Sqlite>,
    index: u64,
    leaf: &Leaf,
    asked: &Asked,
) -> Result<bool, IndexError> {
    let known = sql("SELECT 1 FROM requests WHERE authority = ? AND id = ? LIMIT 1")
        .bind(asked.authority.clone())
        .bind(asked.id.to_vec())
        .fetch_optional(&mut **tx)
        .await?;
    sql("INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?)")
        .bind(int(index))
        .bind(asked.digest.to_vec())
        .bind(asked.id.to_vec())
        .bind(asked.retry_of.map(|id| id.to_vec()))
        .bind(asked.authority.clone())
        .bind(i64::from(leaf.day))
        .execute(&mut **tx)
        .await?;
    Ok(known.is_none())
}

/// False where no exchange of this authority has this digest.
async fn append_use(
    tx: &mut Transaction<'_, Sqlite>,
    index: u64,
    used: &Used,
    ring: &KeyRing,
) -> Result<bool, IndexError> {
    let exchange = sql("SELECT leaf_index, day FROM requests WHERE digest = ? AND authority = ? \
         ORDER BY leaf_index LIMIT 1")
    .bind(used.request.to_vec())
    .bind(used.authority.clone())
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = exchange else { return Ok(false) };
    let exchange = number(&row, "leaf_index")?;
    let Some(key) = ring.day(day(&row)?) else { return Ok(true) };
    let plain = used.use_.to_be_bytes();
    let sealed = key.reseal(&use_aad(exchange, index), &plain).map_err(|_| IndexError::Sealing)?;
    sql("INSERT INTO uses VALUES (?, ?, ?)")
        .bind(int(index))
        .bind(int(exchange))
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(true)
}

pub(super) async fn alarm(
    tx: &mut Transaction<'_, Sqlite>,
    text: &str,
    index: Option<u64>,
) -> Result<(), IndexError> {
    sql("INSERT INTO alarms SELECT ?1, ?2, 1 WHERE (SELECT COUNT(*) FROM alarms) < ?3 \
         OR EXISTS (SELECT 1 FROM alarms WHERE text = ?1) \
         ON CONFLICT (text) DO UPDATE SET count = count + 1")
    .bind(text.to_owned())
    .bind(index.map(int))
    .bind(ALARMS_MAX)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database.
    #[error("the keeper's index cannot be read or written: check its file and the disk")]
    Database(#[from] sqlx::Error),
    /// It follows another ledger.
    #[error("the keeper's index follows the ledger `{known}`: give each ledger its own file")]
    OtherLedger {
        /// Which.
        known: String,
    },
    /// A row is not what it must be.
    #[error(
        "{0} in the keeper's index is damaged: put its last good copy back, and do not delete it, \
         for it alone holds legal holds and claims on contested identities"
    )]
    Damaged(&'static str),
    /// Two keepers write one index.
    #[error("another keeper wrote the index: run one intake at a time")]
    Raced,
    /// A cipher failed.
    #[error("a report of use could not be sealed")]
    Sealing,
}
