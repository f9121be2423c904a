// SPDX-License-Identifier: EUPL-1.2
//! Folders, keys and entries for the tests.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use einmal_ledger::{Ledger, LedgerConfig, NewEntry};
use einmal_protocol::{
    RequestId,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    note::LedgerKey,
};
use sqlx::{Connection, SqliteConnection};

pub(crate) const ORIGIN: &str = "einmal.example/l";
pub(crate) const DAY: u32 = 20_779;

/// A folder of one test, deleted when it ends well.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("einmal-ledger-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn config(&self) -> LedgerConfig {
        config(&self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // SQLite's threads close their files a little after the handles on them are gone.
        for _ in 0..50 {
            if std::thread::panicking() || std::fs::remove_dir_all(&self.0).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

pub(crate) fn config(folder: &Path) -> LedgerConfig {
    LedgerConfig::new(ORIGIN, folder.join("ledger.db"), folder.join("memory"))
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

pub(crate) fn ledger_key() -> LedgerKey {
    LedgerKey::new(ORIGIN, key().public().clone()).unwrap()
}

/// The number-th request's exchange.
pub(crate) fn exchange(number: u64) -> NewEntry {
    entry(number, LeafKind::Exchange)
}

pub(crate) fn entry(number: u64, kind: LeafKind) -> NewEntry {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    NewEntry {
        authority: "buergeramt-beispielstadt".to_owned(),
        id: RequestId::new(1_795_372_800_000, random),
        kind,
        day: DAY,
        body: format!("body {number} {kind:?}").into_bytes(),
    }
}

pub(crate) fn leaf(entry: &NewEntry) -> Leaf {
    Leaf::new(entry.kind, entry.day, &entry.body)
}

/// Appends these exchanges, many at a time.
pub(crate) async fn fill(ledger: &Ledger, numbers: std::ops::Range<u64>) {
    let tasks: Vec<_> = numbers
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(exchange(number)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The file of bodies of a day.
pub(crate) fn bodies(database: &Path, day: u32) -> PathBuf {
    let folder = format!("{}-bodies", database.display());
    Path::new(&folder).join(format!("{}.bodies", einmal_protocol::time::day_to_iso(day)))
}

/// Changes one byte of a body where it lies.
pub(crate) async fn tamper_with_body(database: &Path, position: i64) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let row = sqlx::query("SELECT bytes FROM leaf WHERE position = ?")
        .bind(position)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    let leaf: Vec<u8> = sqlx::Row::get(&row, 0);
    connection.close().await.unwrap();
    let start = u64::from_be_bytes(leaf[38..46].try_into().unwrap()) as usize;
    let path = bodies(database, DAY);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[start] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

/// Changes a ledger's database, behind its back.
pub(crate) async fn tamper(database: &Path, statement: &'static str) {
    let changed = execute(database, statement).await;
    assert!(changed > 0, "nothing tampered with by {statement}");
}

/// Runs a statement on a ledger's database; answers how many rows it changed.
pub(crate) async fn execute(database: &Path, statement: &'static str) -> u64 {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let done = sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    done.rows_affected()
}
