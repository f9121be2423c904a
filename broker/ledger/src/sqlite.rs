// SPDX-License-Identifier: EUPL-1.2
//! The ledger in one SQLite database: write-ahead log, synced at every commit.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use einmal_protocol::{Digest, leaf::Leaf};
use sqlx::{
    ConnectOptions, Connection, Row as _, SqliteConnection, SqlitePool,
    query_builder::QueryBuilder,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};
use tokio::sync::{Mutex, MutexGuard};
use tokio_stream::StreamExt;

use crate::{
    memory::sync_folder,
    store::{
        AppendFault, Archive, Batch, Detail, Entry, Head, Pending, Row, Slot, Store, StoreError,
        Taken, TileId,
    },
};

const SCHEMA: &str = include_str!("sqlite.sql");
/// "einmal", so that no other program's database is taken for a ledger.
const APPLICATION: i64 = 0x6569_6e6d;
const VERSION: i64 = 1;
const READERS: u32 = 4;
/// Rows in one INSERT: few enough different statements that all stay prepared.
const ROWS: usize = 32;
/// Rows that one commit of `forget` deletes, so that appends wait only shortly.
const FORGOTTEN_AT_ONCE: i64 = 1000;
/// Entries of one answer hold about this many bytes of bodies at most.
const ANSWER_BYTES: usize = 4 << 20;

/// The SQLite store.
pub struct SqliteStore {
    options: SqliteConnectOptions,
    // None after a fault: a connection in an unknown state is never used again.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
    only_reads: bool,
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The file.
    pub path: PathBuf,
    /// Refuse to grow beyond this many pages of 4 KiB.
    pub max_pages: Option<u32>,
}

impl From<&Path> for SqliteOptions {
    fn from(path: &Path) -> Self {
        Self { path: path.to_owned(), max_pages: None }
    }
}

impl SqliteStore {
    /// Makes the database of a new ledger.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub async fn create(
        options: impl Into<SqliteOptions>,
        origin: &str,
    ) -> Result<Self, DatabaseError> {
        let options = options.into();
        match OpenOptions::new().write(true).create_new(true).open(&options.path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(DatabaseError::Exists);
            }
            Err(error) => return Err(StoreError::Unavailable(error.to_string()).into()),
        }
        let mut connection = connect(&writing(&options)).await?;
        let head = Head::empty(origin);
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(fault)?;
        sqlx::query("INSERT INTO ledger (origin, size, root, bodies_from) VALUES (?, 0, ?, 0)")
            .bind(origin)
            .bind(head.root.to_vec())
            .execute(&mut connection)
            .await
            .map_err(fault)?;
        connection.close().await.map_err(fault)?;
        sync_folder(&options.path).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Self::open(options).await
    }

    /// Opens the database of a ledger.
    ///
    /// # Errors
    /// Where there is none, or it is another program's.
    pub async fn open(options: impl Into<SqliteOptions>) -> Result<Self, DatabaseError> {
        let options = options.into();
        let reading = reading(&options.path);
        let store = Self::over(writing(&options), reading, &options.path, false).await?;
        *store.writer.lock().await = Some(store.connect().await?);
        Ok(store)
    }

    /// Opens a database only to read it.
    ///
    /// # Errors
    /// Where there is none, or it is another program's.
    pub async fn inspect(path: &Path) -> Result<Self, DatabaseError> {
        Self::over(reading(path), reading(path), path, true).await
    }

    async fn over(
        options: SqliteConnectOptions,
        reading: SqliteConnectOptions,
        path: &Path,
        only_reads: bool,
    ) -> Result<Self, DatabaseError> {
        if !path.is_file() {
            return Err(DatabaseError::Missing);
        }
        let readers = SqlitePoolOptions::new().max_connections(READERS).connect_lazy_with(reading);
        let of = |text| sqlx::query(text).fetch_one(&readers);
        let application: i64 = cell(&of("PRAGMA application_id").await.map_err(fault)?, 0)?;
        let version: i64 = cell(&of("PRAGMA user_version").await.map_err(fault)?, 0)?;
        if (application, version) != (APPLICATION, VERSION) {
            return Err(DatabaseError::NotALedger);
        }
        Ok(Self { options, writer: Mutex::new(None), readers, only_reads })
    }

    /// The writing connection, for one caller at a time.
    async fn connection(&self) -> Result<Writing<'_>, StoreError> {
        let mut home = self.writer.lock().await;
        let connection = match home.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Writing { home, connection })
    }

    /// A new writing connection. What it finds in the write-ahead log is synced first, for a
    /// commit before it, of this process or another, may have failed just there.
    async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        let mut connection = connect(&self.options).await?;
        if !self.only_reads {
            sqlx::query("PRAGMA wal_checkpoint(FULL)")
                .execute(&mut connection)
                .await
                .map_err(fault)?;
        }
        Ok(connection)
    }
}

/// The writing connection while it is lent; it goes home only after a success.
struct Writing<'a> {
    home: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Writing<'_> {
    async fn settle<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        if result.is_ok() {
            *self.home = Some(self.connection);
        } else if let Err(error) = self.connection.close().await {
            // Its transaction is gone with it either way.
            tracing::warn!(%error, "closing a failed database connection");
        }
        result
    }
}

fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging()
}

fn writing(options: &SqliteOptions) -> SqliteConnectOptions {
    let connect = SqliteConnectOptions::new()
        .filename(&options.path)
        .disable_statement_logging()
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(256)
        // What is forgotten is overwritten, not only unlinked.
        .pragma("secure_delete", "ON");
    match options.max_pages {
        Some(pages) => connect.pragma("max_page_count", pages.to_string()),
        None => connect,
    }
}

async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::connect_with(options).await.map_err(fault)
}

impl Archive for SqliteStore {
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let mut tiles = Vec::with_capacity(ids.len());
            for id in ids {
                let row = sqlx::query("SELECT hashes FROM tile WHERE level = ? AND position = ?")
                    .bind(i64::from(id.level))
                    .bind(number(id.index)?)
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
            let mut rows = sqlx::query(match detail {
                Detail::Leaves => {
                    "SELECT position, bytes, NULL FROM leaf WHERE position >= ? \
                     ORDER BY position LIMIT ?"
                }
                Detail::Bodies => {
                    "SELECT position, leaf.bytes, body.bytes FROM leaf LEFT JOIN body \
                     USING (position) WHERE position >= ? ORDER BY position LIMIT ?"
                }
            })
            .bind(number(from_index)?)
            .bind(number(max as u64)?)
            .fetch(&self.readers);
            let mut entries: Vec<Entry> = Vec::new();
            let mut bytes = 0;
            while let Some(row) = rows.next().await {
                let entry = entry(&row.map_err(fault)?)?;
                let next = from_index + entries.len() as u64;
                if entry.index != next {
                    return Err(StoreError::Broken(format!("leaf {next} is missing")));
                }
                bytes += entry.body.as_ref().map_or(0, Vec::len);
                if bytes > ANSWER_BYTES && !entries.is_empty() {
                    break;
                }
                entries.push(entry);
            }
            Ok(entries)
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
            let mut found = std::collections::HashMap::new();
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
                    let (index, leaf) = (index(&row, 1)?, leaf(&row, 2)?);
                    found.insert(key, Taken { index, leaf });
                }
            }
            Ok(slots.iter().map(|slot| found.get(&slot.to_bytes()).copied()).collect())
        })
    }

    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault> {
        Box::pin(async move {
            let mut writing = self.connection().await.map_err(AppendFault::NotDone)?;
            let result = append(&mut writing.connection, expected, batch).await;
            writing.settle(result).await
        })
    }

    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64> {
        Box::pin(async move {
            let mut writing = self.connection().await?;
            let moved = sqlx::query("UPDATE ledger SET bodies_from = max(bodies_from, ?)")
                .bind(i64::from(bodies_before))
                .execute(&mut writing.connection)
                .await
                .map_err(fault);
            writing.settle(moved).await?;
            let bodies = "DELETE FROM body WHERE position IN \
                          (SELECT position FROM body WHERE day < ? LIMIT ?)";
            let count = self.delete(bodies, i64::from(bodies_before)).await?;
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
}

impl SqliteStore {
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

/// One transaction: compare, insert, move the row, commit.
async fn append(
    connection: &mut SqliteConnection,
    expected: &Head,
    batch: &Batch,
) -> Result<(), AppendFault> {
    let not_done = |error| AppendFault::NotDone(fault(error));
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await.map_err(not_done)?;
    let found = read_row(connection).await.map_err(AppendFault::NotDone)?.head;
    if found != *expected {
        return Err(AppendFault::Moved { found });
    }
    insert(connection, expected.size, batch).await.map_err(AppendFault::NotDone)?;
    sqlx::query("UPDATE ledger SET size = ?, root = ?")
        .bind(number(batch.next.size).map_err(AppendFault::NotDone)?)
        .bind(batch.next.root.to_vec())
        .execute(&mut *connection)
        .await
        .map_err(not_done)?;
    match sqlx::query("COMMIT").execute(&mut *connection).await.map_err(fault) {
        Ok(_) => Ok(()),
        Err(error) => Err(AppendFault::Unknown(error)),
    }
}

async fn insert(
    connection: &mut SqliteConnection,
    first: u64,
    batch: &Batch,
) -> Result<(), StoreError> {
    let first = number(first)?;
    let numbered: Vec<_> = (first..).zip(&batch.entries).collect();
    for chunk in numbered.chunks(ROWS) {
        let mut leaves = QueryBuilder::new("INSERT INTO leaf (position, bytes) ");
        leaves.push_values(chunk, |mut row, (position, entry)| {
            row.push_bind(*position).push_bind(entry.leaf.to_bytes().to_vec());
        });
        let mut slots = QueryBuilder::new("INSERT INTO slot (key, position) ");
        slots.push_values(chunk, |mut row, (position, entry)| {
            row.push_bind(entry.slot.to_bytes()).push_bind(*position);
        });
        let mut bodies = QueryBuilder::new("INSERT INTO body (position, day, bytes) ");
        bodies.push_values(chunk, |mut row, (position, entry)| {
            let day = i64::from(entry.leaf.day);
            row.push_bind(*position).push_bind(day).push_bind(entry.body.as_slice());
        });
        for statement in [&mut leaves, &mut slots, &mut bodies] {
            statement.build().execute(&mut *connection).await.map_err(fault)?;
        }
    }
    for (id, hashes) in &batch.tiles {
        sqlx::query(
            "INSERT INTO tile (level, position, hashes) VALUES (?, ?, ?) \
             ON CONFLICT (level, position) DO UPDATE SET hashes = excluded.hashes",
        )
        .bind(i64::from(id.level))
        .bind(number(id.index)?)
        .bind(hashes.as_slice())
        .execute(&mut *connection)
        .await
        .map_err(fault)?;
    }
    Ok(())
}

async fn read_row(connection: &mut SqliteConnection) -> Result<Row, StoreError> {
    let row = sqlx::query("SELECT origin, size, root, bodies_from FROM ledger")
        .fetch_optional(connection)
        .await
        .map_err(fault)?
        .ok_or_else(|| StoreError::Broken("the ledger's row is missing".to_owned()))?;
    let (root, from): (Vec<u8>, i64) = (cell(&row, 2)?, cell(&row, 3)?);
    let root = Digest::try_from(root.as_slice()).map_err(broken)?;
    let bodies_from = u32::try_from(from).map_err(broken)?;
    let head = Head { origin: cell(&row, 0)?, size: index(&row, 1)?, root };
    Ok(Row { head, bodies_from })
}

fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry { index: index(row, 0)?, leaf: leaf(row, 1)?, body: cell(row, 2)? })
}

fn leaf(row: &SqliteRow, at: usize) -> Result<Leaf, StoreError> {
    Leaf::parse(&cell::<Vec<u8>>(row, at)?).map_err(broken)
}

fn index(row: &SqliteRow, at: usize) -> Result<u64, StoreError> {
    u64::try_from(cell::<i64>(row, at)?).map_err(broken)
}

fn cell<'r, T>(row: &'r SqliteRow, at: usize) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(at).map_err(broken)
}

fn number(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(broken)
}

fn broken(error: impl std::fmt::Display) -> StoreError {
    StoreError::Broken(error.to_string())
}

/// What an error of SQLite means. Its messages name tables and columns, never values.
fn fault(error: sqlx::Error) -> StoreError {
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

/// Why a database is not opened.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatabaseError {
    /// A new ledger was asked for, but there is a file.
    #[error("the ledger's database exists already: open it, or name another file")]
    Exists,
    /// No file.
    #[error("there is no ledger database here: correct the path, or create a new ledger")]
    Missing,
    /// Another program's, or another version's.
    #[error("the file is not a ledger database of this version")]
    NotALedger,
    /// The storage's word.
    #[error(transparent)]
    Store(#[from] StoreError),
}
