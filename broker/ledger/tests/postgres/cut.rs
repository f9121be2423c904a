// SPDX-License-Identifier: EUPL-1.2
//! Connections that end at the worst moment, and who gives up waiting.

use std::time::{Duration, Instant};

use einmal_ledger::{
    PostgresOptions, PostgresStore,
    store::{AppendFault, Store, StoreError},
};
use einmal_test_servers::{PgBouncer, Postgres};

use crate::{
    fixture::{Model, create, open, whole},
    proxy::{Cut, Proxy},
};

/// Ends the connection at this statement; what was answered, and the ledger then.
async fn cut(store: &PostgresStore, proxy: &Proxy, model: &mut Model, how: Cut) -> bool {
    let size = model.head.size;
    let (batch, next) = model.with(size..size + 3);
    proxy.cut(how, b"COMMIT\0");
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    assert!(matches!(fault, AppendFault::Unknown(StoreError::Unavailable(_))), "{how:?}: {fault}");
    let head = store.row().await.unwrap().head;
    let written = head == next.head;
    assert!(written || head == model.head, "{how:?}: {head:?}");
    // It stays as it was said to be.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.row().await.unwrap().head, head);
    if written {
        *model = next;
    }
    written
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_without_an_answer_is_found_out() {
    let Some(server) = Postgres::start() else { return };
    let proxy = Proxy::start(server.port()).await;
    let store = create(&server.url_at(proxy.port)).await;
    let mut model = Model::new();
    model.append(&store, 5).await;
    for _ in 0..3 {
        assert!(cut(&store, &proxy, &mut model, Cut::Answer).await);
        assert!(!cut(&store, &proxy, &mut model, Cut::Both).await);
        // What still travels when the row is asked for is waited for.
        let by = Duration::from_millis(700);
        let start = Instant::now();
        assert!(cut(&store, &proxy, &mut model, Cut::Late(by)).await);
        assert!(start.elapsed() >= by);
    }
    // The server has to find out by itself that the client is gone.
    assert!(!cut(&store, &proxy, &mut model, Cut::HalfOpen).await);
    // Before COMMIT was sent, nothing can have happened.
    let size = model.head.size;
    let (batch, _) = model.with(size..size + 3);
    proxy.cut(Cut::Both, b"the body of");
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    assert!(matches!(fault, AppendFault::NotDone(StoreError::Unavailable(_))), "{fault}");
    model.append(&store, 3).await;
    assert_eq!(whole(&store).await.0, model.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_leaves_nothing_behind() {
    let Some(server) = Postgres::start() else { return };
    gives_up(&server, &create(&server.url()).await, "0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_behind_a_pooler_leaves_nothing_behind() {
    let Some(server) = Postgres::start() else { return };
    let Some(pooler) = PgBouncer::start(&server, 3) else { return };
    let options = PostgresOptions::new(&server.url_at(pooler.port())).unwrap().pooler(true);
    let store = PostgresStore::create(options, crate::fixture::ORIGIN).await.unwrap();
    gives_up(&server, &store, "0").await;
}

async fn gives_up(server: &Postgres, store: &PostgresStore, open_transactions: &str) {
    let mut model = Model::new();
    model.append(store, 1).await;
    let (mut done, mut not_done) = (0, 0);
    for step in 0..150 {
        let size = model.head.size;
        let (batch, next) = model.with(size..size + 2);
        let patience = Duration::from_micros(step * 40);
        let answer = tokio::time::timeout(patience, store.append(&model.head, &batch)).await;
        let head = store.row().await.unwrap().head;
        if head == next.head {
            (model, done) = (next, done + 1);
        } else {
            assert!(answer.is_err(), "{answer:?}");
            assert_eq!(head, model.head);
            not_done += 1;
        }
    }
    println!("given up: {done} were written, {not_done} were not");
    assert!(done > 0 && not_done > 0, "{done} {not_done}");
    assert_eq!(whole(store).await.0, model.head);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    assert_eq!(server.ask(open), open_transactions);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_server_is_not_waited_for_for_ever() {
    let Some(server) = Postgres::start() else { return };
    let store = create(&server.url()).await;
    let mut model = Model::new();
    let (mut unknown, start) = (0, Instant::now());
    for round in 0..2 {
        let store = open(&server.url()).await;
        let pause = async {
            tokio::time::sleep(Duration::from_millis(150 + 13 * round)).await;
            server.pause();
        };
        let append = async {
            loop {
                let size = model.head.size;
                let (batch, next) = model.with(size..size + 3);
                match store.append(&model.head, &batch).await {
                    Ok(()) => model = next,
                    Err(fault) => return (fault, next),
                }
            }
        };
        let ((), (fault, next)) = tokio::join!(pause, append);
        if round == 0 {
            let waited = store.row().await.unwrap_err();
            assert!(matches!(waited, StoreError::Unavailable(_)), "{waited}");
        }
        server.resume();
        let head = store.row().await.unwrap().head;
        match fault {
            AppendFault::NotDone(StoreError::Unavailable(_)) => assert_eq!(head, model.head),
            AppendFault::Unknown(StoreError::Unavailable(_)) if head == next.head => {
                (model, unknown) = (next, unknown + 1);
            }
            AppendFault::Unknown(StoreError::Unavailable(_)) => assert_eq!(head, model.head),
            fault => panic!("{fault}"),
        }
        model.append(&store, 1).await;
    }
    println!("paused: {unknown} were written all the same");
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(whole(&store).await.0, model.head);
}
