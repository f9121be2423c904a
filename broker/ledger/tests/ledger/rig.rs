// SPDX-License-Identifier: EUPL-1.2
//! A store and a witness whose next steps fail as told: not done, or done and reported failed.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use einmal_ledger::{
    Added, Witness, WitnessFault, Witnesses,
    store::{
        AppendFault, Archive, Batch, DayOfBodies, Detail, Entry, Head, Pending, Row, Slot, Store,
        StoreError, Taken, TileId,
    },
};
use einmal_protocol::{
    Digest,
    cosignature::{Cosigner, WitnessKey},
    key::SigningKey,
    merkle,
    note::Checkpoint,
};

use crate::fixture::ledger_key;

/// What happens at the next call of a step.
#[derive(Clone)]
pub(crate) enum Fault {
    /// It works.
    None,
    /// Nothing is done, and that is said (of an append) or the step just fails (of a question).
    NotDone(StoreError),
    /// An append: nothing is done, and nobody knows.
    Unknown(StoreError),
    /// An append: it is done, and nobody knows.
    Done(StoreError),
    /// An answer about fewer than was asked for.
    Short,
}

/// Runs between a step of the store and its answer.
pub(crate) type Hook =
    Box<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A real store that fails as told.
pub(crate) struct Rig {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) append: Mutex<VecDeque<Fault>>,
    pub(crate) row: Mutex<VecDeque<Fault>>,
    pub(crate) taken: Mutex<VecDeque<Fault>>,
    pub(crate) entries: Mutex<VecDeque<Fault>>,
    pub(crate) tiles: Mutex<VecDeque<Fault>>,
    pub(crate) close: Mutex<VecDeque<Fault>>,
    pub(crate) after_append: Mutex<Option<Hook>>,
    pub(crate) after_row: Mutex<Option<Hook>>,
    pub(crate) generation: AtomicU64,
}

impl Rig {
    pub(crate) fn over(store: impl Store) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(store),
            append: Mutex::default(),
            row: Mutex::default(),
            taken: Mutex::default(),
            entries: Mutex::default(),
            tiles: Mutex::default(),
            close: Mutex::default(),
            after_append: Mutex::default(),
            after_row: Mutex::default(),
            generation: AtomicU64::default(),
        })
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        let asked = [&self.row, &self.taken, &self.entries, &self.tiles];
        for step in asked.into_iter().chain([&self.append, &self.close]) {
            step.lock().unwrap().clear();
        }
    }
}

fn next(step: &Mutex<VecDeque<Fault>>) -> Fault {
    step.lock().unwrap().pop_front().unwrap_or(Fault::None)
}

/// A question's answer, or the fault that was told.
async fn asked<T>(fault: Fault, answer: Pending<'_, T>) -> Result<T, StoreError> {
    match fault {
        Fault::None | Fault::Short => answer.await,
        Fault::NotDone(error) | Fault::Unknown(error) => Err(error),
        Fault::Done(error) => answer.await.and(Err(error)),
    }
}

async fn runs(hook: &Mutex<Option<Hook>>) {
    let hook = hook.lock().unwrap().take();
    if let Some(hook) = hook {
        hook().await;
    }
}

impl Archive for Rig {
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(asked(next(&self.tiles), self.store.tiles(ids)))
    }

    fn entries(&self, from_index: u64, max: usize, detail: Detail) -> Pending<'_, Vec<Entry>> {
        Box::pin(asked(next(&self.entries), self.store.entries(from_index, max, detail)))
    }
}

impl Store for Rig {
    fn row(&self) -> Pending<'_, Row> {
        Box::pin(async move {
            let row = asked(next(&self.row), self.store.row()).await;
            runs(&self.after_row).await;
            row
        })
    }

    fn taken<'a>(&'a self, slots: &'a [Slot]) -> Pending<'a, Vec<Option<Taken>>> {
        Box::pin(async move {
            let fault = next(&self.taken);
            let short = matches!(fault, Fault::Short);
            let mut taken = asked(fault, self.store.taken(slots)).await?;
            if short {
                taken.pop();
            }
            Ok(taken)
        })
    }

    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault> {
        Box::pin(async move {
            let done = match next(&self.append) {
                Fault::NotDone(error) => return Err(AppendFault::NotDone(error)),
                Fault::Unknown(error) => return Err(AppendFault::Unknown(error)),
                Fault::Done(error) => {
                    self.store.append(expected, batch).await?;
                    Err(AppendFault::Unknown(error))
                }
                Fault::None | Fault::Short => self.store.append(expected, batch).await,
            };
            runs(&self.after_append).await;
            done
        })
    }

    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64> {
        self.store.forget(bodies_before, ids_before_ms)
    }

    fn days(&self) -> Pending<'_, Vec<DayOfBodies>> {
        self.store.days()
    }

    fn disconnect(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.disconnect()
    }

    fn close<'a>(&'a self, last: &'a Head) -> Pending<'a, (), AppendFault> {
        Box::pin(async move {
            match next(&self.close) {
                Fault::None | Fault::Short => self.store.close(last).await,
                Fault::NotDone(error) => Err(AppendFault::NotDone(error)),
                Fault::Unknown(error) => Err(AppendFault::Unknown(error)),
                Fault::Done(error) => {
                    self.store.close(last).await?;
                    Err(AppendFault::Unknown(error))
                }
            }
        })
    }

    fn connection_generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}

/// What a witness does with the next checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mood {
    /// Does not answer, and remembers nothing.
    Away,
    /// Remembers, and does not answer.
    Silent,
    /// Answers after everybody's patience has ended.
    Slow,
    /// Says what is no cosignature.
    Babbles,
    /// Says that it has cosigned so many leaves.
    Has(u64),
}

/// An honest witness, but for its moods.
pub(crate) struct Watcher {
    cosigner: Cosigner,
    newest: Mutex<Option<Checkpoint>>,
    pub(crate) moods: Mutex<VecDeque<Mood>>,
    /// Does not answer any question.
    pub(crate) gone: AtomicBool,
}

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_millis(150);

impl Watcher {
    pub(crate) fn new() -> Arc<Self> {
        let key = SigningKey::from_seed(&[9; 32]).unwrap();
        let cosigner = Cosigner::new("witness.example/w", key).unwrap();
        Arc::new(Self {
            cosigner,
            newest: Mutex::default(),
            moods: Mutex::default(),
            gone: AtomicBool::default(),
        })
    }

    /// The one of whom a cosignature is required.
    pub(crate) fn alone(self: &Arc<Self>) -> Witnesses {
        Witnesses { all: vec![Arc::clone(self) as _], required: 1, patience: PATIENCE }
    }

    /// Nobody knows what it remembers.
    fn unavailable(&self) -> WitnessFault {
        let name = self.cosigner.public().name().to_owned();
        WitnessFault::Unavailable { name, problem: "as told".to_owned() }
    }

    fn cosign(&self, old_size: u64, proof: &[Digest], note: &str) -> Result<Added, WitnessFault> {
        let checkpoint = Checkpoint::parse(note, &ledger_key()).unwrap();
        let mut newest = self.newest.lock().unwrap();
        let known = newest.as_ref().map_or((0, merkle::empty_root()), |n| (n.size(), n.root()));
        if known.0 != old_size {
            return Ok(Added::Has(known.0));
        }
        let new = (checkpoint.size(), checkpoint.root());
        if !merkle::verify_consistency(known, new, proof) {
            let name = self.cosigner.public().name().to_owned();
            return Err(WitnessFault::Refused { name, problem: "not consistent".to_owned() });
        }
        let line = self.cosigner.cosign(&checkpoint, 1_795_372_800).unwrap();
        *newest = Some(checkpoint);
        Ok(Added::Cosigned(line))
    }
}

impl Witness for Watcher {
    fn key(&self) -> &WitnessKey {
        self.cosigner.public()
    }

    fn newest<'a>(&'a self, _origin: &'a str) -> Pending<'a, Option<String>, WitnessFault> {
        let newest = self.newest.lock().unwrap().as_ref().map(|n| n.note().to_owned());
        let gone = self.gone.load(Ordering::SeqCst);
        Box::pin(async move { if gone { Err(self.unavailable()) } else { Ok(newest) } })
    }

    fn add_checkpoint<'a>(
        &'a self,
        old_size: u64,
        proof: &'a [Digest],
        note: &'a str,
    ) -> Pending<'a, Added, WitnessFault> {
        Box::pin(async move {
            let mood = self.moods.lock().unwrap().pop_front();
            let mood = if self.gone.load(Ordering::SeqCst) { Some(Mood::Away) } else { mood };
            match mood {
                None => self.cosign(old_size, proof, note),
                Some(Mood::Away) => Err(self.unavailable()),
                Some(Mood::Silent) => {
                    self.cosign(old_size, proof, note).and_then(|_| Err(self.unavailable()))
                }
                Some(Mood::Slow) => {
                    tokio::time::sleep(PATIENCE * 2).await;
                    self.cosign(old_size, proof, note)
                }
                Some(Mood::Babbles) => Ok(Added::Cosigned("— witness.example/w AAAA\n".to_owned())),
                Some(Mood::Has(size)) => Ok(Added::Has(size)),
            }
        })
    }
}
