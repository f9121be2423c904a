// SPDX-License-Identifier: EUPL-1.2
//! Standbys: those that may lag are refused, and what a fail-over keeps or loses.

use std::time::{Duration, Instant};

use einmal_ledger::{
    DatabaseError, PostgresOptions, PostgresStore,
    store::{AppendFault, Store, StoreError},
};
use einmal_test_servers::Postgres;

use crate::{
    fixture::{Model, create, open, whole},
    proxy::Proxy,
};

/// Waits until the primary calls its standby this.
fn wait_for(server: &Postgres, state: &str) {
    let start = Instant::now();
    while server.ask("SELECT string_agg(sync_state, ',') FROM pg_stat_replication") != state {
        assert!(start.elapsed() < Duration::from_secs(20), "no standby is {state}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_standby_has_all_that_was_answered() {
    let Some(mut server) = Postgres::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = create(&server.url_at(proxy.port)).await;
    let mut model = Model::new();
    model.append(&store, 3).await;
    let standby = server.standby("second");
    // As long as it may lag, nothing is written.
    let (batch, _) = model.with(3..6);
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    let refused = fault.to_string();
    assert!(matches!(fault, AppendFault::NotDone(StoreError::Unavailable(_))), "{refused}");
    assert!(refused.contains("the standby second may lack"), "{refused}");
    server.set("synchronous_standby_names", "second");
    wait_for(&server, "sync");
    model.append(&store, 3).await;
    // It is never taken for the primary; who only reads may read it.
    let options = PostgresOptions::new(&standby.url()).unwrap();
    let opened = PostgresStore::open(options.clone()).await.err();
    let Some(DatabaseError::Store(error)) = opened else { panic!("{opened:?}") };
    assert!(error.to_string().contains("connect to the primary"), "{error}");
    let reader = PostgresStore::inspect(options).await.unwrap();
    assert_eq!(reader.row().await.unwrap().head.origin, model.head.origin);
    // While it does not answer, no commit does; and the row waits for it too.
    standby.pause();
    let (batch, next) = model.with(6..9);
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    assert!(matches!(fault, AppendFault::Unknown(StoreError::Unavailable(_))), "{fault}");
    let error = store.row().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    standby.resume();
    assert_eq!(store.row().await.unwrap().head, next.head);
    model = next;
    for _ in 0..50 {
        model.append(&store, 2).await;
    }
    let generation = store.connection_generation();
    server.kill();
    standby.promote();
    proxy.lead_to(standby.port());
    assert_eq!(store.row().await.unwrap().head, model.head);
    assert!(store.connection_generation() > generation, "it met another server");
    standby.set("synchronous_standby_names", "");
    model.append(&store, 3).await;
    assert_eq!(whole(&store).await.0, model.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_a_fail_over_lost_are_noticed() {
    let Some(mut server) = Postgres::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = create(&server.url_at(proxy.port)).await;
    let mut model = Model::new();
    model.append(&store, 3).await;
    let mut standby = server.standby("second");
    let old = model.clone();
    // It is away, comes back too late, and is then made the primary.
    standby.stop();
    model.append(&open(&server.url()).await, 7).await;
    server.kill();
    standby.restart();
    standby.promote();
    proxy.lead_to(standby.port());
    let (batch, _) = model.with(10..12);
    let generation = store.connection_generation();
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    assert_eq!(fault, AppendFault::Moved { found: old.head });
    assert!(store.connection_generation() > generation, "it met another server");
}
