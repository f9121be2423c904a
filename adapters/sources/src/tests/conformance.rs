// SPDX-License-Identifier: EUPL-1.2
//! What holds of every kind of source, shown with the same people.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    backends::{Backend, LETTERS},
    servers::{accounts_that_may_write_are_refused, an_index_on_the_birth_date_is_used},
    *,
};

const BIRTH: &str = "birth-certificate";
const ALL: &[&str] = &["birth_date", "family_name", "office", "sex", "twin", "weight"];
const DAY: &str = "1990-02-28";

#[tokio::test]
async fn csv() {
    suite(Backend::csv()).await;
}

#[tokio::test]
async fn sqlite() {
    suite(Backend::sqlite().await).await;
}

#[tokio::test]
async fn postgres() {
    let Some(mut backend) = Backend::postgres().await else { return };
    server_troubles(&mut backend).await;
    an_index_on_the_birth_date_is_used(&backend).await;
    accounts_that_may_write_are_refused(&backend).await;
    suite(backend).await;
}

#[tokio::test]
async fn mariadb() {
    let Some(mut backend) = Backend::mariadb().await else { return };
    server_troubles(&mut backend).await;
    an_index_on_the_birth_date_is_used(&backend).await;
    accounts_that_may_write_are_refused(&backend).await;
    suite(backend).await;
}

async fn suite(backend: Backend) {
    let register = backend.open().await;
    one_person_is_found(&register).await;
    nobody_two_and_the_blocked(&register).await;
    injection_finds_nothing(&register).await;
    a_first_configuration_works(&backend).await;
    if backend.is_sql() {
        numbers_and_rows(&register).await;
        changed_schema(&backend, &register).await;
        limits(&backend, &register).await;
    }
    // Nothing of all that changed anything.
    one_person_is_found(&register).await;
}

/// Drafted from the names of columns, nothing added by hand.
async fn a_first_configuration_works(backend: &Backend) {
    let source = backend.source("einmal_reader");
    let section = format!("[[sources]]\nname = \"register\"\n{source}timeout_ms = 1500\n");
    let (folder, kinds) = (&backend.folder().0, types());
    let draft = crate::draft(&section, folder, &[&kinds[0]], None).await.unwrap();
    let register = backend.open_with(&draft.text).await.unwrap();
    let fields = &["birth_date", "weight"];
    let found = found(&register, BIRTH, fields, by_idnr(ANNA, DAY)).await;
    assert_eq!(found.subject.idnr, ANNA);
    assert_eq!(values(&found), json!({ "birth_date": DAY, "weight": 3200 }));
}

async fn one_person_is_found(register: &ConfiguredRegister) {
    for person in [
        by_idnr(ANNA, DAY),
        by_names("mueller luedenscheidt", " ANNA-MARIA", DAY),
        by_residence("Müller Lüdenscheidt", "01067", "DRESDEN", DAY),
    ] {
        let found = found(register, BIRTH, ALL, person).await;
        assert_eq!((found.subject.idnr.as_str(), found.subject.birth_date.as_str()), (ANNA, DAY));
        assert_eq!(found.affected[0].idnr, MOTHER);
        let all = json!({ "family_name": "Müller-Lüdenscheidt", "birth_date": DAY,
            "sex": "female", "office": "Standesamt Musterstadt", "twin": false, "weight": 3200 });
        assert_eq!(values(&found), all);
    }
    let bernd = found(register, BIRTH, ALL, by_names(LETTERS, "Bernd", "1980-01-01")).await;
    assert_eq!(bernd.values["family_name"], json!(LETTERS));
    assert!(!bernd.values.contains_key("weight") && bernd.values["twin"] == json!(true));
    let less = found(register, BIRTH, &["sex", "shoe"], by_idnr(BERND, "1980-01-01")).await;
    assert_eq!(values(&less), json!({ "sex": "male" }));
    let empty = found(register, BIRTH, ALL, by_names("Leer", "O'Neil", "1970-06-06")).await;
    let fields = json!({ "birth_date": "1970-06-06", "family_name": "Leer",
        "office": "Standesamt Musterstadt" });
    assert_eq!(values(&empty), fields);
    assert_eq!((empty.subject.birth_name.as_str(), empty.affected.len()), ("Leer", 0));
}

async fn nobody_two_and_the_blocked(register: &ConfiguredRegister) {
    for person in [
        by_idnr(ANNA, "1990-03-01"),
        by_idnr(MOTHER, DAY),
        by_names("Müller-Lüdenscheidt", "Anna", DAY),
        by_residence("Müller-Lüdenscheidt", "01067", "Leipzig", DAY),
        by_names("-", "-", DAY),
    ] {
        assert!(matches!(ask(register, BIRTH, ALL, person).await, Ok(Answer::Nothing)));
    }
    let two = ask(register, BIRTH, ALL, by_names("Schmidt", "Eva", "1970-03-03")).await;
    assert!(matches!(two, Ok(Answer::Ambiguous)));
    let klein = found(register, BIRTH, ALL, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(klein.blocked && klein.values.is_empty() && klein.subject.given_names == "Uwe");
    let fault = ask(register, BIRTH, ALL, by_names("Kurz", "Ute", "1970-05-05")).await;
    let Err(RegisterFault::Value { field, problem, .. }) = fault else { panic!("no fault") };
    assert_eq!((field.as_str(), problem.as_str()), ("sex", "it is not in `codes`"));
}

async fn numbers_and_rows(register: &ConfiguredRegister) {
    let fields = &["gross", "months", "nationalities"];
    let anna = found(register, "income", fields, by_idnr(ANNA, DAY)).await;
    let all = json!({ "gross": 1234.5, "nationalities": ["de", "tr"], "months": [
        { "month": "2024-01-01", "currency": "EUR" },
        { "month": "2024-02-01", "gross": 2000.5, "currency": "EUR" },
    ] });
    assert_eq!(values(&anna), all);
    let bernd = found(register, "income", fields, by_idnr(BERND, "1980-01-01")).await;
    let all = json!({ "gross": -7, "months": [
        { "month": "2024-01-01", "gross": 1, "currency": "EUR" } ] });
    assert_eq!(values(&bernd), all);
}

async fn injection_finds_nothing(register: &ConfiguredRegister) {
    for evil in [
        "' OR '1'='1",
        "'; DROP TABLE person; --",
        "\\'; DROP TABLE person; --",
        "\" OR 1=1 --",
        "` OR 1=1 -- ",
        "%",
        "_",
        "?1",
        "$1",
        "x' UNION SELECT * FROM pay --",
        "\0",
        "a\0b",
        "\\",
        "\\x00",
        "family",
        "\u{202e}ʼ＇",
        "99999999999999999999",
        "1e400",
        "NaN",
        "0000-00-00",
        "0000-01-01",
        "infinity",
        "today",
    ] {
        for person in [
            by_idnr(evil, DAY),
            by_idnr(ANNA, evil),
            by_names(evil, "Anna Maria", DAY),
            by_names("Müller-Lüdenscheidt", evil, DAY),
            by_names("Müller-Lüdenscheidt", "Anna Maria", evil),
            by_residence(evil, "01067", "Dresden", DAY),
            by_residence("Müller-Lüdenscheidt", evil, "Dresden", DAY),
            by_residence("Müller-Lüdenscheidt", "01067", evil, DAY),
            by_residence("Müller-Lüdenscheidt", "01067", "Dresden", evil),
        ] {
            let answer = ask(register, BIRTH, ALL, person).await;
            assert!(matches!(answer, Ok(Answer::Nothing)), "{evil}: {answer:?}");
        }
        let fields = vec![evil.into()];
        let query = Query { person: by_idnr(ANNA, DAY), evidence_type: BIRTH.into(), fields };
        let answer = register.retrieve(&query).await.unwrap();
        assert!(matches!(answer, Answer::Found(found) if found.values.is_empty()));
    }
}

async fn changed_schema(backend: &Backend, register: &ConfiguredRegister) {
    let anna = || by_idnr(ANNA, DAY);
    for (change, back, evidence, words) in [
        (
            "ALTER TABLE person RENAME COLUMN sex TO gender",
            "ALTER TABLE person RENAME COLUMN gender TO sex",
            BIRTH,
            ["`person`", "`sex`"],
        ),
        (
            "ALTER TABLE person RENAME TO persons",
            "ALTER TABLE persons RENAME TO person",
            BIRTH,
            ["`person`", "any more"],
        ),
        (
            "ALTER TABLE pay RENAME COLUMN gross TO brutto",
            "ALTER TABLE pay RENAME COLUMN brutto TO gross",
            "income",
            ["`pay`", "`gross`"],
        ),
    ] {
        let fields: &[&str] = if evidence == BIRTH { ALL } else { &["months"] };
        backend.sql(change).await;
        let lacking = ask(register, evidence, fields, anna()).await;
        let Err(RegisterFault::Source { problem, .. }) = lacking else { panic!("{change}") };
        assert!(words.iter().all(|word| problem.contains(word)), "{change}: {problem}");
        backend.sql(back).await;
        found(register, evidence, fields, anna()).await;
    }
}

async fn limits(backend: &Backend, register: &ConfiguredRegister) {
    let rows =
        |count: usize, row: fn(usize) -> String| (0..count).map(row).collect::<Vec<_>>().join(",");
    let months = rows(999, |n| format!("(2, '2023-01-01', {n})"));
    backend.sql(&format!("INSERT INTO pay VALUES {months}")).await;
    let bernd = || by_idnr(BERND, "1980-01-01");
    let full = found(register, "income", &["months"], bernd()).await;
    assert_eq!(full.values["months"].as_array().unwrap().len(), 1000);
    backend.sql("INSERT INTO pay VALUES (2, '2023-01-01', 1)").await;
    let over = ask(register, "income", &["months"], bernd()).await;
    assert!(matches!(over, Err(RegisterFault::Value { .. })));
    for start in [10_000, 20_000, 30_000] {
        let people = rows(1667, |n| format!("({n}, '1977-07-07')"));
        let insert = "INSERT INTO person (id, born) SELECT";
        backend.sql("CREATE TABLE crowd (id BIGINT, born DATE)").await;
        backend.sql(&format!("INSERT INTO crowd VALUES {people}")).await;
        backend.sql(&format!("{insert} id + {start}, born FROM crowd; DROP TABLE crowd")).await;
    }
    let crowd = ask(register, BIRTH, ALL, by_names("1", "1", "1977-07-07")).await;
    let Err(RegisterFault::Source { problem, .. }) = crowd else { panic!("no fault") };
    assert!(problem.contains("5000"), "{problem}");
}

/// A server that hangs, is gone or comes back: a fault in time, and an answer as soon as it can.
async fn server_troubles(backend: &mut Backend) {
    let config = backend.config("einmal_reader", 500);
    let register = Arc::new(backend.open_with(&config).await.unwrap());
    found(&register, BIRTH, ALL, by_idnr(ANNA, DAY)).await;

    backend.pause();
    faults_in_time(&register, 6).await;
    faults_in_time(&register, 6).await;
    backend.resume();
    answers_again(&register).await;

    backend.kill();
    faults_in_time(&register, 6).await;
    backend.restart();
    answers_again(&register).await;

    // Lookups that are dropped midway leave nothing behind.
    for micros in (0..4_000).step_by(100) {
        let within = Duration::from_micros(micros);
        let asked = ask(&register, BIRTH, ALL, by_idnr(ANNA, DAY));
        drop(tokio::time::timeout(within, asked).await);
    }
    found(&register, BIRTH, ALL, by_idnr(ANNA, DAY)).await;
}

async fn faults_in_time(register: &Arc<ConfiguredRegister>, count: usize) {
    let start = Instant::now();
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..count {
        let register = Arc::clone(register);
        asked.spawn(async move { ask(&register, BIRTH, ALL, by_idnr(ANNA, DAY)).await });
    }
    for answer in asked.join_all().await {
        assert!(matches!(answer, Err(RegisterFault::Source { .. })), "{answer:?}");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

async fn answers_again(register: &ConfiguredRegister) {
    let start = Instant::now();
    while ask(register, BIRTH, ALL, by_idnr(ANNA, DAY)).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
