// SPDX-License-Identifier: EUPL-1.2
//! Rounds of injected faults over one growing ledger.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_ledger::{Ledger, OpenError, verify_store};

use crate::{
    books::{Books, Event},
    inject::{DAMAGED, Plan},
    life::{Life, Seen, lives},
    random::Random,
    report::Tally,
    site::{Kind, Site, key, ledger_key},
    witness::Remembered,
};

/// Between two words on the progress.
const SAY: Duration = Duration::from_secs(10);

/// Rounds over one store; nothing where its server is not installed.
pub(crate) async fn run(kind: Kind, rounds: u64, seed: u64) -> Option<Tally> {
    let began = Instant::now();
    eprintln!("faults: {rounds} rounds over {}, seed {seed}", kind.name());
    let Some(site) = Site::new(kind).await else {
        eprintln!("skipped: {} is not installed", kind.name());
        return None;
    };
    let mut run = Rounds {
        site,
        random: Random::new(seed),
        books: Books::new(Tally::new("faults", kind.name(), seed)),
        remembered: Arc::default(),
    };
    let mut said = Instant::now();
    while run.books.tally.rounds < rounds {
        run.books.tally.rounds += 1;
        run.round().await;
        if said.elapsed() > SAY {
            said = Instant::now();
            let (round, leaves) = (run.books.tally.rounds, run.books.size());
            eprintln!("round {round} of {rounds}: {leaves} leaves, {:?}", began.elapsed());
        }
    }
    run.whole().await;
    run.books.tally.took = began.elapsed();
    run.books.tally.leaves = run.books.size();
    Some(run.books.tally)
}

struct Rounds {
    site: Site,
    random: Random,
    books: Books,
    remembered: Arc<Remembered>,
}

impl Rounds {
    async fn round(&mut self) {
        let before = self.books.size();
        let plan = Plan::new(self.random.next());
        let life = Life {
            place: self.site.place.clone(),
            plan: Arc::clone(&plan),
            remembered: Arc::clone(&self.remembered),
            random: Random::new(self.random.next()),
            first: self.books.tally.rounds << 24,
            known: (0..4).filter_map(|_| self.books.any_number(&mut self.random)).collect(),
            witness: [None, None, Some(0), Some(1)][usize::try_from(self.random.below(4)).unwrap()],
        };
        let seen = tokio::task::spawn_blocking(move || lives(life)).await.unwrap();
        for (kind, count) in plan.counts.lock().unwrap().iter() {
            *self.books.tally.faults.entry(kind).or_default() += count;
        }
        self.judge(&plan, &seen);
        let Some(ledger) = self.start_again(&seen).await else { return };
        self.books.read(&ledger).await;
        let horizon = ledger.row().await.unwrap().ids_from_ms;
        let unknown = self.books.settle(before, &seen.events);
        let fresh = (self.books.tally.rounds << 24) | (1 << 23);
        let known = self.books.any_number(&mut self.random);
        self.books.ask_again(&ledger, &unknown, fresh, known, horizon).await;
        ledger.close().await;
    }

    /// The ledger as it is, with nothing that fails.
    async fn start_again(&mut self, seen: &Seen) -> Option<Ledger> {
        let config = self.site.place.config("memory");
        let start = async || {
            let store = self.site.place.store().await.map_err(OpenError::Database)?;
            Ledger::start(store, &config, key()).await
        };
        if let Some(aside) = &seen.aside {
            let known = self.books.size() > 0;
            match start().await {
                Err(OpenError::MemoryMissing { .. }) => {}
                // An empty ledger needs none.
                Ok(ledger) if !known => {
                    ledger.close().await;
                    std::fs::remove_file(&config.memory).unwrap();
                }
                Ok(_) => self.books.tally.wrong("it started without its memory"),
                Err(error) => {
                    self.books.tally.wrong(&format!("without its memory it said {error}"));
                }
            }
            std::fs::rename(aside, &config.memory).unwrap();
        }
        match start().await {
            Ok(ledger) => Some(ledger),
            Err(error) => {
                self.books.tally.loss(&format!("the ledger is refused: {error}"));
                None
            }
        }
    }

    /// Where it stopped, it had a reason; and nobody was answered after a surprise.
    fn judge(&mut self, plan: &Plan, seen: &Seen) {
        for what in &seen.wrong {
            self.books.tally.wrong(what);
        }
        let unread =
            ["the row not read", "taken ids not read", "entries not read", "tiles not read"];
        let reasons: [(&str, &'static str, bool); 8] = [
            (
                DAMAGED,
                "its storage was damaged",
                plan.happened(&["append: damaged", "a question to the store: damaged"]),
            ),
            (
                "cannot be found out",
                "an outcome could not be found out",
                plan.happened(&["the row not read", "taken ids not read"]),
            ),
            ("cannot be read", "its storage could not be read", plan.happened(&unread)),
            (
                "memory was deleted",
                "its memory was deleted",
                plan.happened(&["the memory is deleted"]),
            ),
            (
                "has cosigned",
                "a witness claimed a larger tree",
                plan.happened(&["the witness claims a larger tree"]),
            ),
            ("the proof of a fresh leaf", "a proof could not be read", plan.happened(&unread)),
            // A task that waits for the disk ends with the runtime.
            ("was cancelled", "it was cut off", plan.happened(&["cut off"])),
            ("its writer ended", "it was cut off", plan.happened(&["cut off"])),
        ];
        let damaged = plan.damaged.lock().unwrap();
        let mut stops = std::collections::BTreeSet::new();
        for event in &seen.events {
            match event {
                Event::Stopped(why) => {
                    let reason =
                        reasons.iter().find(|(word, _, given)| *given && why.contains(word));
                    match reason {
                        Some((_, reason, _)) => drop(stops.insert(*reason)),
                        None => self.books.tally.wrong(&format!("it stopped: {why}")),
                    }
                }
                Event::Logged(item, _) if damaged.contains(item) => {
                    let what = format!("{item:?} was answered after its disk was damaged");
                    self.books.tally.wrong(&what);
                }
                _ => {}
            }
        }
        for reason in stops {
            *self.books.tally.stops.entry(reason).or_default() += 1;
        }
        if plan.happened(&["FORK: a witness saw two trees"]) {
            self.books.tally.loss("two trees were signed");
        }
    }

    async fn whole(&mut self) {
        let store = self.site.place.store().await.unwrap();
        let memory = self.site.place.folder.join("memory");
        match verify_store(&*store, &ledger_key(), Some(&memory)).await {
            Ok(report) if report.size == self.books.size() => {}
            other => self.books.tally.loss(&format!("the whole ledger: {other:?}")),
        }
    }
}
