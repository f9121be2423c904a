// SPDX-License-Identifier: EUPL-1.2
//! What a crash of an adapter must mean: killed with SIGKILL at random points under load, between
//! a journal entry and its reveal too, it never revealed anything that its journal does not say.
//! The entry may say too much, of an answer that did not leave any more; it never says too little.

use std::{
    collections::HashSet,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use einmal_adapter_kit::journal::{
    What,
    reading::{self, Folder, Offline},
};
use tokio::task::JoinSet;

use super::{STUCK, process, random};
use crate::world::World;

const REGISTER: &str = "meldebehoerde-bremen";
const TYPE: &str = "residence-registration";
/// How many questions are open at once.
const AT_ONCE: usize = 8;

/// An adapter in a process of its own. It is killed at the latest when this is dropped.
struct AdapterProcess(Child);

impl AdapterProcess {
    fn start(program: &Path, config: &Path) -> Self {
        let mut command = Command::new(program);
        command.args(["adapter", "run", "--config"]).arg(config).env("EINMAL_LOG", "error");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the adapter starts"))
    }
}

impl Drop for AdapterProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every exchange of a journal, each with a receipt that holds.
fn journalled(folder: &Path) -> HashSet<Vec<u8>> {
    let mut ids = HashSet::new();
    let mut take = |what| {
        if let What::Exchange(exchange) = what {
            assert_eq!(reading::check(&exchange, None), Offline::Holds);
            assert!(ids.insert(exchange.request_id), "one exchange has two entries");
        }
    };
    Folder::new(folder).all(&mut take).expect("a journal can be read after a crash");
    ids
}

/// Returns once the journal grows: whoever is killed now has written an entry, and neither made it
/// durable nor revealed anything for it.
fn an_entry_is_written(journal: &Path) {
    let size = || {
        let files = std::fs::read_dir(journal).unwrap().filter_map(Result::ok);
        let files = files.filter(|file| file.path().extension().is_some_and(|e| e == "journal"));
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum::<u64>()
    };
    let (before, began) = (size(), Instant::now());
    while size() == before {
        assert!(began.elapsed() < STUCK, "the adapter answers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_of_an_adapter_leaves_nothing_revealed_without_an_entry() {
    let rounds = std::env::var("EINMAL_CRASH_ROUNDS")
        .map_or(3, |rounds| rounds.parse().expect("EINMAL_CRASH_ROUNDS is a number"));
    let program = tokio::task::block_in_place(process::built);
    let mut world = World::start().await;
    let plan = &world.house.plan;
    let register = plan.registers.iter().find(|one| one.id == REGISTER).unwrap();
    let journal = format!("adapter-{}/journal/{REGISTER}", register.operator);
    let journal = world.folder.path().join(journal);
    let is_its = |config: &Path| config.to_string_lossy().contains(&register.operator);
    let place = plan.adapters.iter().position(|config| is_its(config)).unwrap();
    let config = plan.adapters[place].clone();
    world.house.adapters.remove(place).stop().await;

    let world = Arc::new(world);
    let received = Arc::new(Mutex::new(Vec::new()));
    for round in 1..=rounds {
        let adapter = AdapterProcess::start(&program, &config);
        let before = received.lock().unwrap().len();
        let (stop, mut asking) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        let client = Arc::new(world.house.client().await.unwrap());
        for _ in 0..AT_ONCE {
            let (world, client) = (Arc::clone(&world), Arc::clone(&client));
            let (stop, received) = (Arc::clone(&stop), Arc::clone(&received));
            asking.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    match client.ask(world.ask(TYPE)).await {
                        Ok(answer) => received.lock().unwrap().push(answer.id),
                        // It is not attached yet, or not any more.
                        Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                }
            });
        }
        let enough = before + 5 + usize::try_from(random(40)).unwrap();
        let enough = async {
            while received.lock().unwrap().len() < enough {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(STUCK, enough).await.expect("the adapter answers");
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_micros(random(20_000))).await;
        } else {
            tokio::task::block_in_place(|| an_entry_is_written(&journal));
        }
        drop(adapter);
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = asking.join_next().await {
            ended.unwrap();
        }
        let (entries, received) = (journalled(&journal), received.lock().unwrap());
        for id in received.iter() {
            assert!(entries.contains(id.as_bytes().as_slice()), "{id} left without an entry");
        }
        eprintln!("adapter killed {round}: {} entries, {} received", entries.len(), received.len());
    }
}
