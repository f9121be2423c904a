// SPDX-License-Identifier: EUPL-1.2
//! Making and opening the database, and the one connection that writes.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::{Mutex, MutexGuard};

use super::{
    rows::{cell, fault},
    segments::Segments,
};
use crate::{
    memory::sync_folder,
    store::{Head, StoreError},
};

const SCHEMA: &str = include_str!("schema.sql");
/// "einmal", so that no other program's database is taken for a ledger.
const APPLICATION: i64 = 0x6569_6e6d;
const VERSION: i64 = 2;
const READERS: u32 = 4;

/// The SQLite store.
pub struct SqliteStore {
    options: SqliteConnectOptions,
    pub(super) path: PathBuf,
    // Device and inode of the database and its write-ahead log, so that deleted or swapped files
    // are noticed: SQLite itself would go on writing to what nobody can open any more.
    files: std::sync::Mutex<Option<Files>>,
    // None after a fault: a connection in an unknown state is never used again.
    writer: Mutex<Option<SqliteConnection>>,
    pub(super) readers: SqlitePool,
    pub(super) segments: Arc<Segments>,
    only_reads: bool,
    lost: AtomicBool,
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
        let unavailable = |error: io::Error| StoreError::Unavailable(error.to_string());
        match OpenOptions::new().write(true).create_new(true).open(&options.path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(DatabaseError::Exists);
            }
            Err(error) => return Err(unavailable(error).into()),
        }
        Segments::beside(&options.path, true).map_err(unavailable)?;
        let mut connection = connect(&writing(&options)).await?;
        let head = Head::empty(origin);
        sqlx::raw_sql(SCHEMA).execute(&mut connection).await.map_err(fault)?;
        sqlx::query("INSERT INTO ledger (origin, size, root) VALUES (?, 0, ?)")
            .bind(origin)
            .bind(head.root.to_vec())
            .execute(&mut connection)
            .await
            .map_err(fault)?;
        connection.close().await.map_err(fault)?;
        sync_folder(&options.path).map_err(unavailable)?;
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
        let connection = store.connect().await?;
        *store.writer.lock().await = Some(connection);
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
        let segments = Segments::beside(path, !only_reads)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        Ok(Self {
            options,
            path: path.to_owned(),
            files: std::sync::Mutex::default(),
            writer: Mutex::new(None),
            readers,
            segments: Arc::new(segments),
            only_reads,
            lost: AtomicBool::new(false),
        })
    }

    /// The writing connection, for one caller at a time.
    pub(super) async fn connection(&self) -> Result<Writing<'_>, StoreError> {
        let mut home = self.writer.lock().await;
        if self.readers.is_closed() {
            return Err(StoreError::Unavailable("the ledger was closed".to_owned()));
        }
        let connection = match home.take() {
            Some(connection) => {
                self.still_there()?;
                connection
            }
            None => {
                let connection = self.connect().await?;
                self.still_there()?;
                connection
            }
        };
        Ok(Writing { home, connection })
    }

    /// Closes all connections and waits for it: the last one to go moves the write-ahead log into
    /// the database, which must not happen to a file that was meanwhile copied or replaced.
    pub(super) async fn let_go(&self) {
        let mut home = self.writer.lock().await;
        // Before the writer goes, so that nobody takes a new one.
        self.readers.close().await;
        if let Some(connection) = home.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the ledger's database");
        }
    }

    /// Refuses for good once the files are not those that were opened.
    fn still_there(&self) -> Result<(), StoreError> {
        let held = *self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let same = held.is_none_or(|held| held == Files::at(&self.path));
        if !same || self.lost.load(Ordering::Relaxed) {
            self.lost.store(true, Ordering::Relaxed);
            return Err(StoreError::Broken(
                "the database file was deleted or replaced while it was open".to_owned(),
            ));
        }
        Ok(())
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
            // SQLite deletes the log with its last connection, so a new one may be another.
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Files::at(&self.path);
            *files =
                Some(Files { database: files.map_or(now.database, |old| old.database), ..now });
        }
        Ok(connection)
    }
}

/// Device and inode of the database and of its write-ahead log.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Files {
    database: Option<(u64, u64)>,
    log: Option<(u64, u64)>,
}

impl Files {
    fn at(path: &Path) -> Self {
        let identity =
            |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Self { database: identity(path), log: identity(Path::new(&log)) }
    }
}

/// The writing connection while it is lent; it goes home only after a success.
pub(super) struct Writing<'a> {
    home: MutexGuard<'a, Option<SqliteConnection>>,
    pub(super) connection: SqliteConnection,
}

impl Writing<'_> {
    pub(super) async fn settle<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
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
        .statement_cache_capacity(64)
        // Fewer, larger checkpoints: 16 MiB of log between two.
        .pragma("wal_autocheckpoint", "4000")
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

/// Why a database is not opened.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DatabaseError {
    /// A new ledger was asked for, but there is one.
    #[error("there is a ledger already: open it, or name another place")]
    Exists,
    /// Nothing there.
    #[error("there is no ledger here: correct the path or address, or create a new ledger")]
    Missing,
    /// Another program's, or another version's.
    #[error("what is there is no ledger of this version")]
    NotALedger,
    /// The storage's word.
    #[error(transparent)]
    Store(#[from] StoreError),
}
