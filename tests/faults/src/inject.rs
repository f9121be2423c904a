// SPDX-License-Identifier: EUPL-1.2
//! A real store whose every step may fail: not done, or done and reported failed.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use einmal_ledger::{
    Ledger,
    store::{
        AppendFault, Archive, Batch, DayOfBodies, Detail, Entry, Head, Pending, Row, Slot, Store,
        StoreError, Taken, TileId,
    },
};

use crate::{item::Item, random::Random};

/// What a damaged disk says.
pub(crate) const DAMAGED: &str = "the disk failed as told";
/// So many failures in a row are more than a ledger tries.
const BURST: u32 = 6;

/// What fails, drawn from a seed, and what did in this life of the ledger.
pub(crate) struct Plan {
    on: AtomicBool,
    random: Mutex<Random>,
    bursts: Mutex<BTreeMap<&'static str, u32>>,
    pub(crate) counts: Mutex<BTreeMap<&'static str, u64>>,
    /// Whose append met a damaged disk: none of them may be answered.
    pub(crate) damaged: Mutex<HashSet<Item>>,
    /// Another broker, and the next number that it appends.
    pub(crate) other: Mutex<Option<(Ledger, u64)>>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            on: AtomicBool::new(false),
            random: Mutex::new(Random::new(seed)),
            bursts: Mutex::default(),
            counts: Mutex::default(),
            damaged: Mutex::default(),
            other: Mutex::default(),
        })
    }

    pub(crate) fn turn(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// A number below 1000; the last one while nothing is to fail.
    pub(crate) fn draw(&self) -> u64 {
        let on = self.on.load(Ordering::SeqCst);
        if on { self.random.lock().unwrap().below(1000) } else { 999 }
    }

    pub(crate) fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    pub(crate) fn happened(&self, what: &[&str]) -> bool {
        let counts = self.counts.lock().unwrap();
        what.iter().any(|what| counts.contains_key(what))
    }

    /// Whether this step is among many in a row that fail.
    fn bursts(&self, step: &'static str, begins: bool) -> bool {
        let mut bursts = self.bursts.lock().unwrap();
        let left = bursts.entry(step).or_default();
        if begins {
            *left = BURST;
        }
        let fails = *left > 0 && self.on.load(Ordering::SeqCst);
        *left = left.saturating_sub(1);
        fails
    }

    async fn pause(&self) {
        let time = self.random.lock().unwrap().up_to(Duration::from_millis(4));
        tokio::time::sleep(time).await;
    }

    /// A question and its answer, or what came of it.
    async fn ask<T>(&self, step: &'static str, answer: Pending<'_, T>) -> Result<T, StoreError> {
        let away = || StoreError::Unavailable("as told".to_owned());
        let drawn = self.draw();
        if self.bursts(step, (80..84).contains(&drawn)) {
            self.count(step);
            return Err(away());
        }
        match drawn {
            0..=19 => {
                self.count(step);
                Err(away())
            }
            20..=39 => {
                self.count(step);
                answer.await.and(Err(away()))
            }
            40..=41 => {
                self.count("a question to the store: damaged");
                Err(StoreError::Broken(DAMAGED.to_owned()))
            }
            42..=79 => {
                self.pause().await;
                answer.await
            }
            _ => answer.await,
        }
    }

    /// Another broker appends in between.
    async fn overtake(&self) {
        let next = self.other.lock().unwrap().as_mut().map(|(ledger, number)| {
            *number += 1;
            (ledger.clone(), *number)
        });
        if let Some((ledger, number)) = next {
            self.count("another broker was faster");
            let _too_old = ledger.append(Item::new(number).entry()).await;
        }
    }
}

/// The store that fails by a plan.
pub(crate) struct Faulty {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) plan: Arc<Plan>,
}

impl Archive for Faulty {
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(self.plan.ask("tiles not read", self.store.tiles(ids)))
    }

    fn entries(&self, from_index: u64, max: usize, detail: Detail) -> Pending<'_, Vec<Entry>> {
        let entries = self.store.entries(from_index, max, detail);
        Box::pin(self.plan.ask("entries not read", entries))
    }
}

impl Store for Faulty {
    fn row(&self) -> Pending<'_, Row> {
        Box::pin(self.plan.ask("the row not read", self.store.row()))
    }

    fn taken<'a>(&'a self, slots: &'a [Slot]) -> Pending<'a, Vec<Option<Taken>>> {
        Box::pin(self.plan.ask("taken ids not read", self.store.taken(slots)))
    }

    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault> {
        Box::pin(self.fails(expected, batch))
    }

    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64> {
        Box::pin(self.plan.ask("not forgotten", self.store.forget(bodies_before, ids_before_ms)))
    }

    fn days(&self) -> Pending<'_, Vec<DayOfBodies>> {
        self.store.days()
    }

    fn disconnect(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.disconnect()
    }

    fn close<'a>(&'a self, last: &'a Head) -> Pending<'a, (), AppendFault> {
        self.store.close(last)
    }

    fn connection_generation(&self) -> u64 {
        self.store.connection_generation()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}

impl Faulty {
    async fn fails(&self, expected: &Head, batch: &Batch) -> Result<(), AppendFault> {
        let away = || StoreError::Unavailable("as told".to_owned());
        let damaged = || StoreError::Broken(DAMAGED.to_owned());
        let plan = &self.plan;
        let drawn = plan.draw();
        if plan.bursts("append", (190..195).contains(&drawn)) {
            plan.count("append fails, not done");
            return Err(AppendFault::NotDone(away()));
        }
        let done = || self.store.append(expected, batch);
        match drawn {
            0..=29 => {
                plan.count("append fails, not done");
                Err(AppendFault::NotDone(away()))
            }
            30..=44 => {
                plan.count("append: full, not done");
                Err(AppendFault::NotDone(StoreError::Full))
            }
            45..=84 => {
                plan.count("append unknown, not done");
                Err(AppendFault::Unknown(away()))
            }
            85..=124 => {
                plan.count("append unknown, done");
                done().await?;
                Err(AppendFault::Unknown(away()))
            }
            125..=134 => {
                plan.count("append: full, unknown, not done");
                Err(AppendFault::Unknown(StoreError::Full))
            }
            135..=144 => {
                plan.count("append: full, unknown, done");
                done().await?;
                Err(AppendFault::Unknown(StoreError::Full))
            }
            145..=149 => {
                self.poison(batch);
                Err(AppendFault::NotDone(damaged()))
            }
            150..=154 => {
                done().await?;
                self.poison(batch);
                Err(AppendFault::Unknown(damaged()))
            }
            155..=189 => {
                plan.overtake().await;
                done().await
            }
            195..=220 => {
                plan.pause().await;
                done().await
            }
            _ => done().await,
        }
    }

    fn poison(&self, batch: &Batch) {
        self.plan.count("append: damaged");
        let items = batch.entries.iter().filter_map(|entry| Item::of_body(&entry.body));
        self.plan.damaged.lock().unwrap().extend(items);
    }
}
