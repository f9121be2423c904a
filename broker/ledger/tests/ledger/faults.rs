// SPDX-License-Identifier: EUPL-1.2
//! A store that lies: done but reported failed, failed as reported, and worse.

use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex},
};

use einmal_ledger::{
    AppendError, Ledger, SqliteOptions, SqliteStore,
    store::{
        AppendFault, Archive, Batch, Detail, Entry, Head, Pending, Row, Slot, Store, StoreError,
        Taken, TileId,
    },
    verify,
};
use einmal_protocol::receipt;

use crate::fixture::{Folder, exchange, key, leaf, ledger_key};

/// What the store does at the next append.
#[derive(Clone, Copy, Debug)]
enum Lie {
    None,
    /// Does nothing and says that it does not know.
    LostUnknown,
    /// Does it and says that it does not know.
    DoneUnknown,
    /// Does nothing and says so.
    NotDone,
    /// Does something else and says that it does not know.
    OtherUnknown,
    /// The disk did not sync.
    SyncFailed,
}

struct Liar {
    store: SqliteStore,
    lies: Mutex<VecDeque<Lie>>,
}

impl Liar {
    async fn new(path: &Path) -> Arc<Self> {
        let store = SqliteStore::create(path, crate::fixture::ORIGIN).await.unwrap();
        Arc::new(Self { store, lies: Mutex::default() })
    }

    fn tell(&self, lies: impl IntoIterator<Item = Lie>) {
        self.lies.lock().unwrap().extend(lies);
    }
}

fn lost() -> StoreError {
    StoreError::Unavailable("the connection was lost".to_owned())
}

impl Archive for Liar {
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        self.store.tiles(ids)
    }

    fn entries(&self, from_index: u64, max: usize, detail: Detail) -> Pending<'_, Vec<Entry>> {
        self.store.entries(from_index, max, detail)
    }
}

impl Store for Liar {
    fn row(&self) -> Pending<'_, Row> {
        self.store.row()
    }

    fn taken<'a>(&'a self, slots: &'a [Slot]) -> Pending<'a, Vec<Option<Taken>>> {
        self.store.taken(slots)
    }

    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault> {
        let lie = self.lies.lock().unwrap().pop_front().unwrap_or(Lie::None);
        Box::pin(async move {
            match lie {
                Lie::None => self.store.append(expected, batch).await,
                Lie::LostUnknown => Err(AppendFault::Unknown(lost())),
                Lie::NotDone => Err(AppendFault::NotDone(lost())),
                Lie::DoneUnknown => {
                    self.store.append(expected, batch).await?;
                    Err(AppendFault::Unknown(lost()))
                }
                Lie::OtherUnknown => {
                    let mut other = batch.clone();
                    other.next.root = other.entries[0].leaf.body;
                    self.store.append(expected, &other).await?;
                    Err(AppendFault::Unknown(lost()))
                }
                Lie::SyncFailed => {
                    let error = StoreError::Broken("disk I/O error".to_owned());
                    Err(AppendFault::Unknown(error))
                }
            }
        })
    }

    fn disconnect(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.disconnect()
    }

    fn close<'a>(&'a self, last: &'a Head) -> Pending<'a, (), AppendFault> {
        self.store.close(last)
    }

    fn days(&self) -> Pending<'_, Vec<einmal_ledger::store::DayOfBodies>> {
        self.store.days()
    }

    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64> {
        self.store.forget(bodies_before, ids_before_ms)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_found_out_both_ways() {
    let folder = Folder::new();
    let config = folder.config();
    let liar = Liar::new(&config.database).await;
    let ledger = Ledger::start(Arc::clone(&liar) as _, &config, key()).await.unwrap();
    let lies = [Lie::None, Lie::LostUnknown, Lie::DoneUnknown, Lie::NotDone];
    let mut seen = ledger.checkpoint();
    for round in 0..16u64 {
        let (first, second) = (lies[round as usize % 4], lies[round as usize / 4]);
        liar.tell([first, second]);
        let entry = exchange(round);
        let logged = ledger.append(entry.clone()).await.unwrap();
        let path = ledger.consistency(seen.size(), logged.checkpoint.size()).await.unwrap();
        let receipt = logged.receipt(Some((seen.size(), path)));
        receipt::verify(&receipt, leaf(&entry), &ledger_key(), Some(&seen)).unwrap();
        assert_eq!(logged.index, round, "{first:?} {second:?}: once, and only once");
        seen = logged.checkpoint;
        liar.lies.lock().unwrap().clear();
    }
    // A store that never does it is busy, nothing is lost, and the next goes well.
    liar.tell([Lie::NotDone, Lie::LostUnknown, Lie::NotDone, Lie::NotDone, Lie::LostUnknown]);
    assert_eq!(ledger.append(exchange(16)).await.unwrap_err(), AppendError::Busy);
    assert_eq!(ledger.append(exchange(16)).await.unwrap().index, 16);
    assert!(ledger.is_healthy());
    ledger.close().await;
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!((report.size, report.remembered), (17, Some(17)));
}

#[tokio::test(flavor = "multi_thread")]
async fn any_surprise_stops_it_for_good() {
    for lie in [Lie::OtherUnknown, Lie::SyncFailed] {
        let folder = Folder::new();
        let config = folder.config();
        let liar = Liar::new(&config.database).await;
        let ledger = Ledger::start(Arc::clone(&liar) as _, &config, key()).await.unwrap();
        ledger.append(exchange(0)).await.unwrap();
        liar.tell([lie]);
        stops(&ledger).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_on_the_same_database_stops_it() {
    let folder = Folder::new();
    let config = folder.config();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    ledger.append(exchange(0)).await.unwrap();
    crate::fixture::tamper(&config.database, "UPDATE ledger SET root = zeroblob(32)").await;
    stops(&ledger).await;
}

/// Of many that wait, none is answered; all learn that it stopped, and so does whoever comes.
async fn stops(ledger: &Ledger) {
    let before = ledger.checkpoint();
    let waiting: Vec<_> = (10..30)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(exchange(number)).await })
        })
        .collect();
    for one in waiting {
        let error = one.await.unwrap().unwrap_err();
        assert!(matches!(error, AppendError::Stopped(_)), "{error}");
    }
    let late = ledger.append(exchange(99)).await.unwrap_err();
    assert!(matches!(&late, AppendError::Stopped(why) if !why.contains("ended")), "{late}");
    assert!(!ledger.is_healthy());
    assert_eq!(ledger.checkpoint(), before, "nothing more was signed");
    ledger.clone().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_loses_nothing() {
    let folder = Folder::new();
    let config = folder.config();
    SqliteStore::create(config.database.as_path(), crate::fixture::ORIGIN).await.unwrap();
    let options = SqliteOptions { path: config.database.clone(), max_pages: Some(30) };
    let store = SqliteStore::open(options).await.unwrap();
    let ledger = Ledger::start(Arc::new(store), &config, key()).await.unwrap();
    let mut logged = 0;
    let large = |number| {
        let mut entry = exchange(number);
        entry.body = vec![number as u8; 10_000];
        entry
    };
    let refused = loop {
        match ledger.append(large(logged)).await {
            Ok(_) => logged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, AppendError::Full);
    assert!(logged > 5, "{logged}");
    assert_eq!(ledger.append(large(logged)).await.unwrap_err(), AppendError::Full);
    assert_eq!(ledger.checkpoint().size(), logged);
    let mut read = 0;
    while read < logged {
        read += ledger.entries(read, 1000).await.unwrap().len() as u64;
    }
    assert_eq!(read, logged);
    assert!(ledger.is_healthy());
    ledger.close().await;
    let ledger = Ledger::open(config.clone(), key()).await.unwrap();
    assert_eq!(ledger.append(large(logged)).await.unwrap().index, logged);
    ledger.close().await;
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!(report.size, logged + 1);
}
