// SPDX-License-Identifier: EUPL-1.2
//! One life of a ledger whose steps fail: from its start to its end, which is a close or a cut.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use einmal_ledger::{Ledger, LedgerConfig, OpenError, Witnesses};

use crate::{
    books::Event,
    inject::{Faulty, Plan},
    item::{ISSUED_MS, Item},
    random::Random,
    site::{Place, key},
    witness::{Moody, Remembered},
};

/// Tasks that append at once.
const TASKS: u64 = 8;
/// How long the ledger may take to have answered all at the end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a life is told.
pub(crate) struct Life {
    pub(crate) place: Place,
    pub(crate) plan: Arc<Plan>,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) random: Random,
    /// Its first number.
    pub(crate) first: u64,
    /// Numbers that stand in the ledger.
    pub(crate) known: Vec<u64>,
    /// Whether a witness is asked, and whether it is waited for.
    pub(crate) witness: Option<usize>,
}

/// What was seen of it.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) events: Vec<Event>,
    /// Answers that cannot be right.
    pub(crate) wrong: Vec<String>,
    /// A copy of the memory, where the memory was deleted.
    pub(crate) aside: Option<PathBuf>,
}

/// All that the tasks see.
type Events = Arc<Mutex<Vec<Event>>>;

/// Lives it in a runtime of its own, so that a cut ends every task wherever it is.
pub(crate) fn lives(life: Life) -> Seen {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let events = Events::default();
    let mut seen = runtime.block_on(life.run(&events));
    // What already waits for the disk is waited for: in a process that dies it would end too.
    runtime.shutdown_timeout(Duration::from_secs(10));
    seen.events = std::mem::take(&mut *events.lock().unwrap());
    seen
}

impl Life {
    fn config(&self) -> LedgerConfig {
        let mut config = self.place.config("memory");
        config.follow = Duration::from_millis(20);
        config.witnesses = match self.witness {
            Some(required) => Moody::new(&self.remembered, &self.plan).alone(required),
            None => Witnesses::default(),
        };
        config
    }

    /// Starts the ledger, as often as it takes.
    async fn start(&mut self, seen: &mut Seen) -> Option<Ledger> {
        let mut config = self.config();
        config.batch_max = usize::try_from(1 + self.random.below(64)).unwrap();
        self.plan.turn(self.random.chance(50));
        for attempt in 0..20 {
            if attempt == 19 {
                self.plan.turn(false);
            }
            let store = Arc::new(Faulty {
                store: self.place.store().await.ok()?,
                plan: Arc::clone(&self.plan),
            });
            match Ledger::start(store, &config, key()).await {
                Ok(ledger) => return Some(ledger),
                Err(OpenError::Store(error)) if error.to_string().contains("as told") => {
                    self.plan.count("not started");
                }
                Err(error) => {
                    seen.wrong.push(format!("refused to start: {error}"));
                    return None;
                }
            }
        }
        seen.wrong.push("refused to start without a fault".to_owned());
        None
    }

    async fn run(mut self, events: &Events) -> Seen {
        let mut seen = Seen::default();
        let Some(ledger) = self.start(&mut seen).await else { return seen };
        if self.random.chance(40) {
            match self.place.open("memory-other").await {
                Ok(other) => {
                    *self.plan.other.lock().unwrap() = Some((other, self.first + (1 << 22)))
                }
                Err(error) => seen.wrong.push(format!("the other refused to start: {error}")),
            }
        }
        self.plan.turn(true);
        let mut tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (ledger, events) = (ledger.clone(), Arc::clone(events));
                let (known, random) = (self.known.clone(), Random::new(self.random.next()));
                let first = self.first + task;
                tokio::spawn(appends(ledger, events, known, random, first))
            })
            .collect();
        let cut = self.random.chance(50);
        tokio::time::sleep(self.random.up_to(Duration::from_millis(100))).await;
        self.disturb(&ledger, &mut seen).await;
        if cut {
            self.plan.count("cut off");
            return seen;
        }
        let began = Instant::now();
        for task in &mut tasks {
            let left = PATIENCE.saturating_sub(began.elapsed());
            if tokio::time::timeout(left, task).await.is_err() {
                seen.wrong.push("an append was not answered for a minute".to_owned());
                return seen;
            }
        }
        self.plan.turn(false);
        let healthy = ledger.is_healthy();
        if healthy && self.plan.happened(&["append: damaged"]) {
            seen.wrong.push("it went on after its disk was damaged".to_owned());
        }
        if !healthy {
            let late = ledger.append(Item::new(self.first + (1 << 21)).entry()).await;
            if !matches!(late, Err(einmal_ledger::AppendError::Stopped(_))) {
                seen.wrong.push(format!("it had stopped, and then said {late:?}"));
            }
        }
        if self.random.chance(50) {
            ledger.close().await;
        }
        let other = self.plan.other.lock().unwrap().take();
        if let Some((other, _)) = other {
            other.close().await;
        }
        seen
    }

    /// What happens around a ledger.
    async fn disturb(&mut self, ledger: &Ledger, seen: &mut Seen) {
        if self.random.chance(4) {
            self.plan.count("the memory is deleted");
            let memory = self.config().memory;
            let aside = memory.with_file_name("memory-aside");
            std::fs::copy(&memory, &aside).unwrap();
            std::fs::remove_file(&memory).unwrap();
            seen.aside = Some(aside);
        }
        if self.random.chance(10) {
            // At the end a sixth of all ids are too old.
            let horizon = ISSUED_MS + self.random.below(100_000);
            let _not_forgotten = ledger.forget(0, horizon).await;
        }
        tokio::time::sleep(self.random.up_to(Duration::from_millis(30))).await;
    }
}

async fn appends(ledger: Ledger, events: Events, known: Vec<u64>, mut random: Random, first: u64) {
    let count = 1 + random.below(12);
    for number in (first..).step_by(usize::try_from(TASKS).unwrap()).take(count as usize) {
        let item = Item::new(number);
        let mut items = vec![item];
        if random.chance(15) {
            items.push(item.other());
        }
        if random.chance(15) && !known.is_empty() {
            let again = known[usize::try_from(random.below(known.len() as u64)).unwrap()];
            items.push(Item::new(again));
        }
        let asked: Vec<_> = items
            .into_iter()
            .map(|item| {
                let (ledger, events) = (ledger.clone(), Arc::clone(&events));
                tokio::spawn(async move {
                    events.lock().unwrap().push(Event::Asked(item));
                    let event = Event::of(item, ledger.append(item.entry()).await);
                    events.lock().unwrap().push(event);
                })
            })
            .collect();
        for one in asked {
            // A cut ends it, as it ends this.
            let _cut = one.await;
        }
    }
}
