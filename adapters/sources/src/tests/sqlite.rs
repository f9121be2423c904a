// SPDX-License-Identifier: EUPL-1.2
//! SQLite sources.

use std::time::{Duration, Instant};

use super::*;

const TABLES: &str = "
CREATE TABLE births (idnr TEXT, name TEXT, vornamen TEXT, geburtsname TEXT, geburtsdatum TEXT,
  geburtsort TEXT, plz INTEGER, ort TEXT, geschlecht TEXT, mutter_idnr TEXT, mutter_name TEXT,
  mutter_vornamen TEXT, zwilling, gewicht, sperrvermerk);
INSERT INTO births VALUES
 ('86095742719','Müller-Lüdenscheidt','Anna Maria','Müller','28.02.1990','Ulm',1067,'Dresden','w',
  '65929970489',NULL,NULL,'nein',3200,NULL),
 ('47036892816','Groß','Bernd',NULL,'01.01.1980','Köln',50667,'Köln','m',NULL,'Meier','Carla',1,
  NULL,'0'),
 (NULL,'Schmidt','Eva','Schmidt','03.03.1970','Bonn',53111,'Bonn','w',NULL,NULL,NULL,0,NULL,0),
 (NULL,'Schmidt','Eva','Schmidt','03.03.1970','Bonn',53111,'Bonn','w',NULL,NULL,NULL,0,NULL,0),
 (NULL,'Klein','Uwe','Klein','04.04.1970','Bonn',53111,'Bonn','x',NULL,NULL,NULL,0,NULL,'ja'),
 (NULL,'Kurz','Ute','Kurz','05.05.1970','Bonn',53111,'Bonn','x',NULL,NULL,NULL,0,NULL,NULL),
 (NULL,'Twin','A','Twin','06.06.1970','Bonn',53111,'Bonn','w',NULL,NULL,NULL,0,NULL,'ja'),
 (NULL,'Twin','A','Twin','06.06.1970','Ulm',53111,'Bonn','w',NULL,NULL,NULL,0,NULL,NULL);
CREATE TABLE people (id INTEGER PRIMARY KEY, idnr INTEGER, name TEXT, vornamen TEXT,
  geburtsdatum TEXT, brutto, staaten TEXT, gesperrt);
INSERT INTO people VALUES
 (1,86095742719,'Müller','Anna','1990-02-28','1.234,56','[\"de\",\"tr\"]',0),
 (2,47036892816,'Groß','Bernd','1980-01-01',NULL,NULL,0),
 (3,65929970489,'Alt','Carla','1950-05-05',1,NULL,NULL),
 (4,65929970489,'Alt','Carla','1950-05-05',2,NULL,'ja');
CREATE TABLE gehalt (person_id INTEGER, monat TEXT, brutto REAL);
INSERT INTO gehalt VALUES (1,'01.02.2024',2000.5),(1,'01.01.2024',NULL),(2,'01.01.2024',1);
CREATE VIEW langsam AS SELECT b.* FROM births b WHERE
 (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c LIMIT 10000000000)
  SELECT count(*) FROM c) > 0;
";

pub(super) const CONFIG: &str = r#"
[[sources]]
name = "personenstand"
kind = "sqlite"
path = "standesamt.db"
timeout_ms = 2000

[[evidence]]
type = "birth-certificate"
source = "personenstand"
table = "births"
blocked = "sperrvermerk"

[evidence.match]
idnr = "idnr"
family_name = "name"
given_names = "vornamen"
birth_date = "geburtsdatum"
birth_date_format = "%d.%m.%Y"
postcode = "plz"
place = "ort"

[evidence.subject]
idnr = "idnr"
birth_name = "geburtsname"
given_names = "vornamen"
birth_date = "geburtsdatum"
birth_place = "geburtsort"

[[evidence.affected]]
idnr = "mutter_idnr"
given_names = "mutter_vornamen"
birth_name = "mutter_name"

[evidence.fields]
family_name = { column = "name" }
birth_date = { column = "geburtsdatum", date_format = "%d.%m.%Y" }
sex = { column = "geschlecht", codes = { m = "male", w = "female" } }
office = { constant = "Standesamt Musterstadt" }
twin = { column = "zwilling" }
weight = { column = "gewicht" }

[[evidence]]
type = "income"
source = "personenstand"
table = "people"
blocked = "gesperrt"
absent = []
[evidence.match]
idnr = "idnr"
birth_date = "geburtsdatum"
[evidence.subject]
idnr = "idnr"
[evidence.fields]
gross = { column = "brutto", number_format = "de" }
nationalities = { column = "staaten" }
[evidence.fields.months]
table = "gehalt"
key = "person_id"
parent = "id"
order_by = "monat"
[evidence.fields.months.columns]
month = { column = "monat", date_format = "%d.%m.%Y" }
gross = { column = "brutto" }
currency = { constant = "EUR" }
"#;

pub(super) async fn folder() -> Folder {
    let folder = Folder::new();
    run(&folder.path("standesamt.db"), TABLES).await;
    folder
}

const BIRTH: &str = "birth-certificate";
const ALL: &[&str] = &["birth_date", "family_name", "office", "sex", "twin", "weight"];

#[tokio::test]
async fn three_queries_find_one_person() {
    let folder = folder().await;
    let register = folder.open(CONFIG).await.unwrap();
    for person in [
        by_idnr(ANNA, "1990-02-28"),
        by_names("mueller luedenscheidt", " ANNA-MARIA", "1990-02-28"),
        by_residence("Müller Lüdenscheidt", "01067", "DRESDEN", "1990-02-28"),
    ] {
        let found = found(&register, BIRTH, ALL, person).await;
        assert_eq!(found.subject.idnr, ANNA);
        assert_eq!(found.subject.birth_date, "1990-02-28");
        assert_eq!(found.affected.len(), 1);
        assert_eq!(found.affected[0].idnr, MOTHER);
        let all = json!({ "family_name": "Müller-Lüdenscheidt", "birth_date": "1990-02-28",
            "sex": "female", "office": "Standesamt Musterstadt", "twin": false, "weight": 3200 });
        assert_eq!(values(&found), all);
        assert!(!found.blocked);
    }
    // NULLs are left out, a person without number is named, not more is read than is asked for.
    let bernd = found(&register, BIRTH, ALL, by_names("Gross", "Bernd", "1980-01-01")).await;
    assert!(!bernd.values.contains_key("weight") && bernd.values["twin"] == json!(true));
    assert_eq!(bernd.affected[0].given_names, "Carla");
    assert_eq!(bernd.affected[0].birth_name, "Meier");
    let less = found(&register, BIRTH, &["sex", "shoe"], by_idnr(BERND, "1980-01-01")).await;
    assert_eq!(values(&less), json!({ "sex": "male" }));
    for person in [
        by_idnr(ANNA, "1990-03-01"),
        by_idnr(MOTHER, "1990-02-28"),
        by_names("Müller-Lüdenscheidt", "Anna", "1990-02-28"),
        by_residence("Müller-Lüdenscheidt", "01067", "Leipzig", "1990-02-28"),
        by_names("-", "-", "1990-02-28"),
    ] {
        let answer = ask(&register, BIRTH, ALL, person).await;
        assert!(matches!(answer, Ok(Answer::Nothing)));
    }
}

#[tokio::test]
async fn ambiguous_and_blocked() {
    let folder = folder().await;
    let register = folder.open(CONFIG).await.unwrap();
    // Equal rows without a number may be two people; a blocked person counts in matching.
    for person in [by_names("Schmidt", "Eva", "1970-03-03"), by_names("Twin", "A", "1970-06-06")] {
        assert!(matches!(ask(&register, BIRTH, ALL, person).await, Ok(Answer::Ambiguous)));
    }
    // Blocked, with a value that would be a fault otherwise.
    let klein = found(&register, BIRTH, ALL, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(klein.blocked && klein.values.is_empty() && klein.subject.given_names == "Uwe");
    let fault = ask(&register, BIRTH, ALL, by_names("Kurz", "Ute", "1970-05-05")).await;
    let Err(RegisterFault::Value { field, problem, .. }) = fault else { panic!("no fault") };
    assert_eq!((field.as_str(), problem.as_str()), ("sex", "it is not in `codes`"));
    // Two rows of one person: the block of one holds for both.
    let carla = found(&register, "income", &["gross"], by_idnr(MOTHER, "1950-05-05")).await;
    assert!(carla.blocked);
    run(&folder.path("standesamt.db"), "UPDATE people SET gesperrt = NULL").await;
    let carla = by_idnr(MOTHER, "1950-05-05");
    assert!(matches!(ask(&register, "income", &["gross"], carla).await, Ok(Answer::Ambiguous)));
    let same = found(&register, "income", &["nationalities"], by_idnr(BERND, "1980-01-01")).await;
    assert!(same.values.is_empty());
}

#[tokio::test]
async fn numbers_lists_and_rows_of_another_table() {
    let folder = folder().await;
    let register = folder.open(CONFIG).await.unwrap();
    let fields = &["gross", "months", "nationalities"];
    let anna = found(&register, "income", fields, by_idnr(ANNA, "1990-02-28")).await;
    let all = json!({ "gross": 1234.56, "nationalities": ["de", "tr"], "months": [
        { "month": "2024-01-01", "currency": "EUR" },
        { "month": "2024-02-01", "gross": 2000.5, "currency": "EUR" },
    ] });
    assert_eq!(values(&anna), all);
    // Asked in a way that the table cannot answer: not "nothing".
    let names = ask(&register, "income", fields, by_names("Müller", "Anna", "1990-02-28")).await;
    assert!(matches!(names, Err(RegisterFault::Source { .. })));
    let other = ask(&register, "pension", fields, by_idnr(ANNA, "1990-02-28")).await;
    assert!(matches!(other, Err(RegisterFault::NotConfigured { .. })));
}

#[tokio::test]
async fn row_limits_are_faults() {
    let folder = folder().await;
    let count = |count: u32| {
        format!("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c WHERE n < {count}) ")
    };
    let months = count(999) + "INSERT INTO gehalt SELECT 2, '01.01.2024', n FROM c";
    let people =
        count(5001) + "INSERT INTO births(name, geburtsdatum) SELECT n, '07.07.1977' FROM c";
    run(&folder.path("standesamt.db"), &months).await;
    run(&folder.path("standesamt.db"), &people).await;
    let register = folder.open(CONFIG).await.unwrap();
    let bernd = by_idnr(BERND, "1980-01-01");
    let full = found(&register, "income", &["months"], bernd.clone()).await;
    assert_eq!(full.values["months"].as_array().unwrap().len(), 1000);
    run(&folder.path("standesamt.db"), "INSERT INTO gehalt VALUES (2, '01.01.2024', 1)").await;
    let over = ask(&register, "income", &["months"], bernd).await;
    assert!(matches!(over, Err(RegisterFault::Value { .. })));
    let crowd = ask(&register, BIRTH, ALL, by_names("1", "1", "1977-07-07")).await;
    assert!(matches!(crowd, Err(RegisterFault::Source { .. })));
}

#[tokio::test]
async fn injection_finds_nothing_and_changes_nothing() {
    let folder = folder().await;
    let register = folder.open(CONFIG).await.unwrap();
    let before = std::fs::read(folder.path("standesamt.db")).unwrap();
    for evil in [
        "' OR '1'='1",
        "'; DROP TABLE births; --",
        "\" OR 1=1 --",
        "%",
        "_",
        "?1",
        "x' UNION SELECT * FROM people --",
        "\0",
        "name",
    ] {
        let day = "1990-02-28";
        for person in [
            by_idnr(evil, day),
            by_idnr(ANNA, evil),
            by_names(evil, "Anna Maria", day),
            by_names("Müller-Lüdenscheidt", evil, day),
            by_names("Müller-Lüdenscheidt", "Anna Maria", evil),
            by_residence(evil, "01067", "Dresden", day),
            by_residence("Müller-Lüdenscheidt", evil, "Dresden", day),
            by_residence("Müller-Lüdenscheidt", "01067", evil, day),
            by_residence("Müller-Lüdenscheidt", "01067", "Dresden", evil),
        ] {
            let answer = ask(&register, BIRTH, ALL, person).await;
            assert!(matches!(answer, Ok(Answer::Nothing)), "{evil}");
        }
        let query = Query {
            person: by_idnr(ANNA, day),
            evidence_type: BIRTH.into(),
            fields: vec![evil.into()],
        };
        let answer = register.retrieve(&query).await.unwrap();
        assert!(matches!(answer, Answer::Found(found) if found.values.is_empty()));
    }
    assert_eq!(std::fs::read(folder.path("standesamt.db")).unwrap(), before);
}

#[tokio::test]
async fn slow_queries_end_and_free_their_connections() {
    let folder = folder().await;
    let slow = CONFIG
        .replace("table = \"births\"", "table = \"langsam\"")
        .replace("timeout_ms = 2000", "timeout_ms = 300");
    let register = folder.open(&slow).await.unwrap();
    let start = Instant::now();
    for _ in 0..6 {
        let answer = ask(&register, BIRTH, ALL, by_idnr(ANNA, "1990-02-28")).await;
        let Err(RegisterFault::Source { problem, .. }) = answer else { panic!("no fault") };
        assert!(problem.contains("timeout_ms"), "{problem}");
    }
    assert!(start.elapsed() < Duration::from_secs(6));
    let anna = found(&register, "income", &["gross"], by_idnr(ANNA, "1990-02-28")).await;
    assert_eq!(values(&anna), json!({ "gross": 1234.56 }));
}

#[tokio::test]
async fn a_dropped_column_is_a_fault_and_no_text() {
    let folder = folder().await;
    let register = folder.open(CONFIG).await.unwrap();
    run(&folder.path("standesamt.db"), "ALTER TABLE births DROP COLUMN geschlecht").await;
    let answer = ask(&register, BIRTH, &["sex"], by_idnr(ANNA, "1990-02-28")).await;
    assert!(matches!(answer, Err(RegisterFault::Source { .. })));
}

#[tokio::test]
async fn a_database_with_a_write_ahead_log_is_read_while_it_is_written() {
    let folder = folder().await;
    let mut writer = connect(&folder.path("standesamt.db")).await;
    writer.execute("PRAGMA journal_mode = WAL").await.unwrap();
    let register = folder.open(CONFIG).await.unwrap();
    writer.execute("UPDATE births SET sperrvermerk = 'ja'").await.unwrap();
    writer.execute("BEGIN IMMEDIATE").await.unwrap();
    writer.execute("UPDATE births SET sperrvermerk = NULL").await.unwrap();
    let anna = found(&register, BIRTH, ALL, by_idnr(ANNA, "1990-02-28")).await;
    assert!(anna.blocked);
    writer.execute("COMMIT").await.unwrap();
    let anna = found(&register, BIRTH, ALL, by_idnr(ANNA, "1990-02-28")).await;
    assert!(!anna.blocked);
}
