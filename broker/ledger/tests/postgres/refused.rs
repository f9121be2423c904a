// SPDX-License-Identifier: EUPL-1.2
//! Servers and databases that are refused, and what their errors mean.

use einmal_ledger::{
    DatabaseError, PostgresOptions, PostgresStore,
    store::{AppendFault, Archive, Detail, Head, Store, StoreError},
};
use einmal_test_servers::Postgres;

use crate::fixture::{Model, ORIGIN, create, open, whole};

fn options(url: &str) -> PostgresOptions {
    PostgresOptions::new(url).unwrap()
}

/// Neither opened, nor appended to, nor forgotten from, and always for this reason.
async fn is_refused(store: &PostgresStore, url: &str, model: &Model, why: &str) {
    let says = |error: &StoreError| {
        let reason = matches!(error, StoreError::Unavailable(text) if text.contains(why));
        assert!(reason, "`{error}` does not say `{why}`");
    };
    let opened = PostgresStore::open(options(url)).await.err();
    let Some(DatabaseError::Store(error)) = opened else { panic!("{why}: {opened:?}") };
    says(&error);
    let (batch, _) = model.with(900..902);
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    let AppendFault::NotDone(error) = fault else { panic!("{why}: {fault}") };
    says(&error);
    says(&store.row().await.unwrap_err());
    says(&store.forget(0, 0).await.unwrap_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_lose_commits_is_refused() {
    let Some(mut server) = Postgres::start() else { return };
    let store = create(&server.url()).await;
    let mut model = Model::new();
    model.append(&store, 3).await;
    for (name, value, why) in [
        ("fsync", "off", "set fsync = on"),
        ("full_page_writes", "off", "set full_page_writes = on"),
        ("data_sync_retry", "on", "set data_sync_retry = off"),
        ("synchronous_commit", "off", "set synchronous_commit = on"),
        ("synchronous_commit", "local", "set synchronous_commit = on"),
        ("synchronous_commit", "remote_write", "set synchronous_commit = on"),
    ] {
        server.restart_with(&[(name, value)]);
        is_refused(&store, &server.url(), &model, why).await;
        // Reading goes on.
        assert_eq!(store.entries(0, 10, Detail::Bodies).await.unwrap().len(), 3);
    }
    for value in ["remote_apply", "on"] {
        server.restart_with(&[("synchronous_commit", value)]);
        model.append(&open(&server.url()).await, 2).await;
    }
    // A user may have settings of their own.
    server.ask("ALTER ROLE postgres SET synchronous_commit = off");
    let opened = PostgresStore::open(options(&server.url())).await.err();
    assert!(matches!(opened, Some(DatabaseError::Store(StoreError::Unavailable(_)))), "{opened:?}");
    server.ask("ALTER ROLE postgres RESET synchronous_commit");
    // A short patience and another isolation are nothing to us.
    server.ask("ALTER ROLE postgres SET statement_timeout = 50");
    server.ask("ALTER ROLE postgres SET default_transaction_isolation = 'serializable'");
    let store = open(&server.url()).await;
    model.append(&store, 2).await;
    assert_eq!(whole(&store).await.0, model.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_is_enough_who_may_see_the_standbys() {
    let Some(server) = Postgres::start() else { return };
    server.ask("CREATE ROLE broker LOGIN");
    server.ask("GRANT CREATE ON DATABASE postgres TO broker");
    let url = server.url().replace("postgres@", "broker@");
    let made = PostgresStore::create(options(&url), ORIGIN).await.err();
    let Some(DatabaseError::Store(error)) = made else { panic!("{made:?}") };
    assert!(error.to_string().contains("GRANT pg_monitor TO broker"), "{error}");
    server.ask("GRANT pg_monitor TO broker");
    let store = create(&url).await;
    let mut model = Model::new();
    model.append(&store, 300).await;
    assert_eq!(whole(&store).await.0, model.head);
    assert_eq!(store.forget(crate::fixture::DAY + 1, u64::MAX).await, Ok(300));
    assert_eq!(store.days().await, Ok(vec![]));
    model.append(&store, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_ledger_is_opened_and_none_is_made_twice() {
    let Some(server) = Postgres::start() else { return };
    let url = server.url();
    let opened = PostgresStore::open(options(&url)).await.err();
    assert_eq!(opened, Some(DatabaseError::Missing));
    create(&url).await;
    let made = PostgresStore::create(options(&url), ORIGIN).await.err();
    assert_eq!(made, Some(DatabaseError::Exists));
    // Of two who make it at once, one does.
    let other = || options(&url).schema("other").unwrap();
    let (left, right) = tokio::join!(
        PostgresStore::create(other(), ORIGIN),
        PostgresStore::create(other(), ORIGIN)
    );
    let faults: Vec<_> = [left.err(), right.err()].into_iter().flatten().collect();
    assert_eq!(faults, [DatabaseError::Exists]);
    server.ask("CREATE SCHEMA foreign_one");
    server.ask("CREATE TABLE foreign_one.ledger (only_row integer)");
    let foreign = options(&url).schema("foreign_one").unwrap();
    assert_eq!(PostgresStore::open(foreign).await.err(), Some(DatabaseError::NotALedger));
    // Who only inspects changes nothing.
    let store = PostgresStore::inspect(options(&url)).await.unwrap();
    let (head, model) = (Head::empty(ORIGIN), Model::new());
    assert_eq!(store.row().await.unwrap().head, head);
    let fault = store.append(&head, &model.with(0..1).0).await.unwrap_err();
    assert!(matches!(fault, AppendFault::NotDone(StoreError::Unavailable(_))), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_is_understood() {
    let Some(server) = Postgres::start() else { return };
    let store = create(&server.url()).await;
    let mut model = Model::new();
    model.append(&store, 1).await;
    let (batch, _) = model.with(1..4);
    for (code, is_that) in [
        ("53100", (|fault| matches!(fault, StoreError::Full)) as fn(&StoreError) -> bool),
        ("40001", |fault| matches!(fault, StoreError::Unavailable(_))),
        ("40P01", |fault| matches!(fault, StoreError::Unavailable(_))),
        ("55P03", |fault| matches!(fault, StoreError::Unavailable(_))),
        ("57014", |fault| matches!(fault, StoreError::Unavailable(_))),
        ("53300", |fault| matches!(fault, StoreError::Unavailable(_))),
        ("58030", |fault| matches!(fault, StoreError::Broken(_))),
        ("XX001", |fault| matches!(fault, StoreError::Broken(_))),
        ("XX002", |fault| matches!(fault, StoreError::Broken(_))),
    ] {
        server.ask(&format!(
            "CREATE OR REPLACE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END $$"
        ));
        for (table, moment) in [("leaf", "BEFORE INSERT"), ("ledger", "BEFORE UPDATE")] {
            server.ask(&format!(
                "CREATE TRIGGER fails {moment} ON einmal.{table} \
                 FOR EACH ROW EXECUTE FUNCTION fails()"
            ));
            let fault = store.append(&model.head, &batch).await.unwrap_err();
            server.ask(&format!("DROP TRIGGER fails ON einmal.{table}"));
            let AppendFault::NotDone(error) = &fault else { panic!("{code}: {fault}") };
            assert!(is_that(error), "{code}: {fault}");
        }
        assert_eq!(whole(&store).await.0, model.head);
    }
    // A leaf that the row does not know of.
    server.ask("INSERT INTO einmal.leaf SELECT 3, bytes FROM einmal.leaf");
    let fault = store.append(&model.head, &batch).await.unwrap_err();
    assert!(matches!(fault, AppendFault::NotDone(StoreError::Broken(_))), "{fault}");
    let entries = store.entries(0, 10, Detail::Leaves).await.unwrap_err();
    assert!(matches!(entries, StoreError::Broken(_)), "{entries}");
    server.ask("DELETE FROM einmal.leaf WHERE position = 3");
    model.append(&store, 3).await;
    server.ask("DROP SCHEMA einmal CASCADE");
    let error = store.row().await.unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_id_leaves_no_line_in_the_server_s_log() {
    let Some(server) = Postgres::start() else { return };
    let store = create(&server.url()).await;
    let mut model = Model::new();
    model.append(&store, 5).await;
    for numbers in [3..4, 3..9] {
        let (batch, _) = model.with(numbers);
        assert_eq!(store.append(&model.head, &batch).await, Err(AppendFault::SlotTaken));
    }
    // It would show the key, which is made of the request's id.
    let log = server.log();
    assert!(log.contains("ready to accept") && !log.contains("ERROR"), "{log}");
    assert_eq!(whole(&store).await.0, model.head);
}
