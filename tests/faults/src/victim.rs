// SPDX-License-Identifier: EUPL-1.2
//! The process that is killed: opens the ledger, appends from many tasks, and says what it was
//! answered, after it was answered.

use std::{
    io::Write,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use clap::Args;
use einmal_ledger::Ledger;

use crate::{
    books::Event,
    item::Item,
    random::Random,
    site::{Kind, Place},
};

/// Tasks that append at once.
const TASKS: u64 = 16;

/// What a victim is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Orders {
    #[arg(long, value_enum)]
    store: Kind,
    #[arg(long)]
    folder: PathBuf,
    #[arg(long, default_value = "")]
    url: String,
    /// The name of its memory in the folder.
    #[arg(long)]
    memory: String,
    /// Its first number.
    #[arg(long)]
    first: u64,
    /// Numbers that stand in the ledger.
    #[arg(long, value_delimiter = ',')]
    known: Vec<u64>,
}

impl Orders {
    pub(crate) fn new(place: &Place, memory: &str, first: u64, known: Vec<u64>) -> Self {
        let Place { kind, folder, url } = place.clone();
        Self { store: kind, folder, url, memory: memory.to_owned(), first, known }
    }

    /// Starts a process with these orders.
    pub(crate) fn spawn(&self) -> Child {
        let known: Vec<String> = self.known.iter().map(u64::to_string).collect();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["victim", "--store", self.store.name(), "--folder"]).arg(&self.folder);
        command.args(["--url", &self.url, "--memory", &self.memory]);
        command.args(["--first", &self.first.to_string()]);
        if !known.is_empty() {
            command.args(["--known", &known.join(",")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

fn say(event: &Event) {
    let mut out = std::io::stdout().lock();
    // Whoever listened is gone: so is the reason to go on.
    if out.write_all(event.to_line().as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(4);
    }
}

/// Appends until it is killed or the ledger stops.
pub(crate) async fn run(orders: Orders) -> ExitCode {
    let place = Place { kind: orders.store, folder: orders.folder, url: orders.url };
    let ledger = match place.open(&orders.memory).await {
        Ok(ledger) => ledger,
        Err(error) => {
            say(&Event::Refused(error.to_string()));
            return ExitCode::from(2);
        }
    };
    say(&Event::Opened);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (ledger, known) = (ledger.clone(), orders.known.clone());
            tokio::spawn(appends(ledger, known, orders.first + task))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    ExitCode::SUCCESS
}

async fn appends(ledger: Ledger, mut known: Vec<u64>, first: u64) {
    let mut random = Random::new(first);
    for number in (first..).step_by(usize::try_from(TASKS).unwrap()) {
        let item = Item::new(number);
        if random.chance(10) {
            // Both at once: one of them is a duplicate.
            tokio::join!(append(&ledger, item), append(&ledger, item.other()));
        } else {
            append(&ledger, item).await;
        }
        if random.chance(10) && !known.is_empty() {
            let again = known[usize::try_from(random.below(known.len() as u64)).unwrap()];
            let again = Item::new(again);
            append(&ledger, if random.chance(50) { again } else { again.other() }).await;
        }
        if known.len() < 64 {
            known.push(number);
        }
    }
}

/// Appends one, as often as it is told to try again.
async fn append(ledger: &Ledger, item: Item) {
    loop {
        say(&Event::Asked(item));
        let event = Event::of(item, ledger.append(item.entry()).await);
        say(&event);
        match event {
            Event::Not(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            Event::Stopped(_) => std::process::exit(3),
            _ => return,
        }
    }
}
