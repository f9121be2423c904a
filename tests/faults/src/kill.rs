// SPDX-License-Identifier: EUPL-1.2
//! Rounds of kill -9 over one growing ledger.

use std::{
    io::{BufRead, BufReader},
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use einmal_ledger::verify_store;

use crate::{
    books::{Books, Event},
    random::Random,
    report::Tally,
    site::{Kind, Place, Site, ledger_key},
    victim::Orders,
};

/// A victim that has not answered so often by then is killed all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a round that is killed by time may take at most.
const BY_TIME: Duration = Duration::from_millis(120);
/// Between two words on the progress.
const SAY: Duration = Duration::from_secs(10);

/// Rounds over one store; nothing where its server is not installed.
pub(crate) async fn run(kind: Kind, rounds: u64, seed: u64) -> Option<Tally> {
    let began = Instant::now();
    let mut tally = Tally::new("kill", kind.name(), seed);
    eprintln!("kill: {rounds} rounds over {}, seed {seed}", kind.name());
    let Some(site) = Site::new(kind).await else {
        eprintln!("skipped: {} is not installed", kind.name());
        return None;
    };
    tally.store = kind.name();
    let mut run = Rounds { site, random: Random::new(seed), books: Books::new(tally) };
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
}

/// A victim, and what it says.
struct Victim {
    child: Child,
    answers: Arc<AtomicU64>,
    events: Arc<Mutex<Vec<Event>>>,
    reader: JoinHandle<()>,
}

impl Victim {
    fn start(orders: &Orders) -> Self {
        let mut child = orders.spawn();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let (answers, events) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (counted, kept) = (Arc::clone(&answers), Arc::clone(&events));
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            // The last line may be torn by the kill: only whole ones count.
            while out.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(event) = line.strip_suffix('\n').and_then(Event::parse) {
                    if matches!(event, Event::Logged(..)) {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    kept.lock().unwrap().push(event);
                }
                line.clear();
            }
        });
        Self { child, answers, events, reader }
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
    }

    fn end(mut self) -> Vec<Event> {
        self.kill();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

/// When it is killed.
enum Moment {
    Answers(u64),
    Time(Duration),
}

impl Moment {
    fn draw(random: &mut Random) -> Self {
        if random.chance(60) {
            let most = 1 << random.below(9);
            Self::Answers(1 + random.below(most))
        } else {
            Self::Time(random.up_to(BY_TIME))
        }
    }

    async fn comes(&self, victims: &mut [Victim]) {
        let start = Instant::now();
        loop {
            let answers: u64 = victims.iter().map(|one| one.answers.load(Ordering::Relaxed)).sum();
            let came = match self {
                Self::Answers(wanted) => answers >= *wanted,
                Self::Time(time) => start.elapsed() >= *time,
            };
            if came || start.elapsed() > PATIENCE || victims.iter_mut().all(Victim::has_ended) {
                return;
            }
            tokio::time::sleep(Duration::from_micros(300)).await;
        }
    }
}

impl Rounds {
    async fn round(&mut self) {
        let before = self.books.size();
        let (events, server_was_killed) = self.kill().await;
        self.judge(&events, server_was_killed);
        let memory = if self.random.chance(50) { "memory-0" } else { "memory-checks" };
        let ledger = match self.site.place.open(memory).await {
            Ok(ledger) => ledger,
            Err(error) => return self.books.tally.loss(&format!("the ledger is refused: {error}")),
        };
        self.books.read(&ledger).await;
        let unknown = self.books.settle(before, &events);
        let fresh = (self.books.tally.rounds * 2) << 24 | 1 << 23;
        let known = self.books.any_number(&mut self.random);
        self.books.ask_again(&ledger, &unknown, fresh, known, 0).await;
        if self.random.chance(50) {
            ledger.close().await;
        }
    }

    /// One kill, and what the victims saw until then.
    async fn kill(&mut self) -> (Vec<Event>, bool) {
        let moment = Moment::draw(&mut self.random);
        let mut victims = vec![self.start(0, "memory-0")];
        let two = self.random.chance(20);
        if two {
            // On another machine, or on the same; at once, or where the first is at work.
            if self.random.chance(50) {
                let late = Moment::Answers(1 + self.random.below(20));
                late.comes(&mut victims).await;
            }
            let memory = if self.random.chance(50) { "memory-0" } else { "memory-1" };
            victims.push(self.start(1, memory));
        }
        moment.comes(&mut victims).await;
        let of_server = self.site.server.is_some() && self.random.chance(30);
        if of_server {
            self.kill_server(&mut victims).await;
        } else if two && self.random.chance(40) {
            self.books.tally.fault("one of two brokers killed, then the other");
            victims[0].kill();
            let more = Moment::Time(self.random.up_to(Duration::from_millis(60)));
            more.comes(&mut victims).await;
        } else if two {
            self.books.tally.fault("two brokers killed at once");
        } else {
            let opened = victims[0].events.lock().unwrap().is_empty();
            let kind = if opened { "broker killed while it opened" } else { "broker killed" };
            self.books.tally.fault(kind);
        }
        victims.iter_mut().for_each(Victim::kill);
        (victims.into_iter().flat_map(Victim::end).collect(), of_server)
    }

    async fn kill_server(&mut self, victims: &mut [Victim]) {
        let Some(server) = self.site.server.as_mut() else { return };
        match self.random.below(3) {
            0 => {
                self.books.tally.fault("PostgreSQL killed, the broker went on");
                server.kill();
                server.restart();
                let more = Moment::Time(self.random.up_to(BY_TIME));
                more.comes(victims).await;
            }
            1 => {
                self.books.tally.fault("PostgreSQL killed, then the broker");
                server.kill();
                let more = Moment::Time(self.random.up_to(Duration::from_millis(60)));
                more.comes(victims).await;
                victims.iter_mut().for_each(Victim::kill);
                server.restart();
            }
            _ => {
                self.books.tally.fault("broker killed, and PostgreSQL with it");
                victims.iter_mut().for_each(Victim::kill);
                server.kill();
                server.restart();
            }
        }
    }

    fn start(&mut self, which: u64, memory: &str) -> Victim {
        let first = (self.books.tally.rounds * 2 + which) << 24;
        let known: Vec<u64> =
            (0..8).filter_map(|_| self.books.any_number(&mut self.random)).collect();
        Victim::start(&Orders::new(&self.site.place, memory, first, known))
    }

    /// A victim may neither be refused nor stop, unless its server was gone.
    fn judge(&mut self, events: &[Event], server_was_killed: bool) {
        for event in events {
            let (Event::Refused(why) | Event::Stopped(why)) = event else { continue };
            let gone = ["cannot be found out", "cannot be read", "does not answer"];
            if server_was_killed && gone.iter().any(|word| why.contains(word)) {
                *self.books.tally.stops.entry("PostgreSQL was away for too long").or_default() += 1;
            } else {
                self.books.tally.wrong(&format!("a broker ended: {why}"));
            }
        }
    }

    /// The whole ledger from the bodies up, against every memory.
    async fn whole(&mut self) {
        let place: Place = self.site.place.clone();
        let store = match place.store().await {
            Ok(store) => store,
            Err(error) => return self.books.tally.loss(&format!("the ledger is refused: {error}")),
        };
        for memory in ["memory-0", "memory-1", "memory-checks"] {
            let memory = place.folder.join(memory);
            if !memory.exists() {
                continue;
            }
            match verify_store(&*store, &ledger_key(), Some(&memory)).await {
                Ok(report) if report.size == self.books.size() => {}
                other => self.books.tally.loss(&format!("the whole ledger: {other:?}")),
            }
        }
    }
}
