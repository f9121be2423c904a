// SPDX-License-Identifier: EUPL-1.2
//! Killed while many append.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use einmal_ledger::{
    PostgresStore,
    store::{AppendFault, Head, Store, StoreError},
};
use einmal_test_servers::Postgres;

use crate::fixture::{Model, create, exchange, open, whole};

const STORES: usize = 4;
const TASKS: usize = 16;
const ROUNDS: usize = 6;

/// What all who append know together.
struct Known {
    /// Every ledger that was answered for, by its size.
    answered: Mutex<HashMap<u64, Model>>,
    /// What may have been written: the ledger before, and after.
    unknown: Mutex<Vec<(Head, Model)>>,
    numbers: AtomicU64,
}

impl Known {
    fn newest(&self) -> Model {
        let answered = self.answered.lock().unwrap();
        answered.values().max_by_key(|model| model.head.size).unwrap().clone()
    }

    /// Appends until the server is gone.
    async fn append(&self, store: &PostgresStore) {
        loop {
            let model = self.newest();
            let first = self.numbers.fetch_add(3, Ordering::Relaxed);
            let (batch, next) = model.with(first..first + 3);
            match store.append(&model.head, &batch).await {
                Ok(()) => drop(self.answered.lock().unwrap().insert(next.head.size, next)),
                Err(AppendFault::Moved { found }) => {
                    assert!(found.size > model.head.size, "{found:?}");
                    tokio::task::yield_now().await;
                }
                Err(AppendFault::NotDone(StoreError::Unavailable(_))) => return,
                Err(AppendFault::Unknown(StoreError::Unavailable(_))) => {
                    return self.unknown.lock().unwrap().push((model.head, next));
                }
                Err(fault) => panic!("{fault}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_kill() {
    // COMMIT takes longer, so that it is often what the kill meets.
    let slow = [("commit_delay", "4000"), ("commit_siblings", "0")];
    let Some(mut server) = Postgres::start_with(&slow) else { return };
    let mut stores = vec![Arc::new(create(&server.url()).await)];
    while stores.len() < STORES {
        stores.push(Arc::new(open(&server.url()).await));
    }
    let known = Arc::new(Known {
        answered: Mutex::new(HashMap::from([(0, Model::new())])),
        unknown: Mutex::default(),
        numbers: AtomicU64::default(),
    });
    let mut found_out = 0;
    for round in 0..ROUNDS {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (store, known) = (Arc::clone(&stores[task % STORES]), Arc::clone(&known));
                tokio::spawn(async move { known.append(&store).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(400 + 37 * round as u64)).await;
        server.kill();
        for task in tasks {
            task.await.unwrap();
        }
        server.restart();
        let (head, entries) = whole(&stores[round % STORES]).await;
        let mut now = known.newest();
        let unknown: Vec<_> = known.unknown.lock().unwrap().drain(..).collect();
        println!("round {round}: {} leaves, {} not known", head.size, unknown.len());
        if head != now.head {
            let written = unknown
                .into_iter()
                .find(|(before, after)| *before == now.head && after.head == head);
            now = written.expect("a state that nobody asked for").1;
            found_out += 1;
        }
        known.answered.lock().unwrap().insert(head.size, now);
        assert!(entries.iter().all(|entry| entry.body.is_some()));
    }
    assert!(known.newest().head.size > 100);
    println!("found out after a kill: {found_out}");
    // A store that was opened before goes on, and an id stays taken.
    let mut model = known.newest();
    let (batch, _) = model.with(0..1);
    let taken = stores[0].taken(&[exchange(0).slot]).await.unwrap();
    if taken[0].is_some() {
        let fault = stores[0].append(&model.head, &batch).await.unwrap_err();
        assert_eq!(fault, AppendFault::SlotTaken);
    }
    let generation = stores[1].connection_generation();
    server.stop();
    server.restart();
    let first = known.numbers.load(Ordering::Relaxed);
    let (batch, next) = model.with(first..first + 2);
    stores[1].append(&model.head, &batch).await.unwrap();
    assert!(stores[1].connection_generation() > generation, "it met a server started anew");
    model = next;
    assert_eq!(whole(&stores[2]).await.0, model.head);
}
