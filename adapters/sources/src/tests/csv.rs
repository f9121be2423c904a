// SPDX-License-Identifier: EUPL-1.2
//! CSV sources.

use super::*;
use crate::BadLines;

const CONFIG: &str = r#"
[[sources]]
name = "ausfuhr"
kind = "csv"
path = "ausfuhr.csv"
encoding = "utf-8"
timeout_ms = 2000

[[evidence]]
type = "birth-certificate"
source = "ausfuhr"
blocked = "Sperre"
absent = ["twin", "office"]
[evidence.match]
idnr = "IdNr"
family_name = "Name"
given_names = "Vor namen"
birth_date = "Geboren"
birth_date_format = "%d.%m.%Y"
postcode = "PLZ"
place = "Ort"
[evidence.subject]
idnr = "IdNr"
birth_name = "Name"
given_names = "Vor namen"
[evidence.fields]
family_name = { column = "Name" }
birth_date = { column = "Geboren", date_format = "%d.%m.%Y" }
sex = { column = "Sex", codes = { 1 = "male", 2 = "female" } }
weight = { column = "Gewicht", number_format = "de" }
"#;

const HEAD: &str = "IdNr;Name;Vor namen;Geboren;PLZ;Ort;Sex;Gewicht;Sperre\n";
const ROWS: &str = "\
    86 095 742 719;\"Müller; Lüdenscheidt\";Anna;28.02.1990;01067;Dresden;2;3.200;\n\
    ;Groß;Bernd;01.01.1980;50667;Köln;1;;nein\n\
    ;Klein;Uwe;04.04.1970;53111;Bonn;9;;ja\n\
    ;Doppel;Ute;05.05.1970;53111;Bonn;2;;\n\
    ;Doppel;Ute;05.05.1970;53111;Bonn;2;;\n";
const FIELDS: &[&str] = &["birth_date", "family_name", "sex", "weight"];
const BIRTH: &str = "birth-certificate";

#[tokio::test]
async fn three_queries_ambiguous_blocked() {
    let folder = Folder::new();
    std::fs::write(folder.path("ausfuhr.csv"), format!("\u{feff}{HEAD}{ROWS}")).unwrap();
    let register = folder.open(CONFIG).await.unwrap();
    for person in [
        by_idnr(ANNA, "1990-02-28"),
        by_names("MUELLER; LUEDENSCHEIDT", "anna", "1990-02-28"),
        by_residence("Müller; Lüdenscheidt", "01067", "Dresden", "1990-02-28"),
    ] {
        let anna = found(&register, BIRTH, FIELDS, person).await;
        assert_eq!(anna.subject.idnr, ANNA);
        assert_eq!(
            values(&anna),
            json!({ "family_name": "Müller; Lüdenscheidt", "birth_date": "1990-02-28",
                "sex": "female", "weight": 3200 })
        );
    }
    let bernd = found(&register, BIRTH, FIELDS, by_names("Gross", "Bernd", "1980-01-01")).await;
    assert!(!bernd.values.contains_key("weight") && !bernd.blocked);
    assert_eq!(bernd.subject.birth_date, "1980-01-01");
    let klein = found(&register, BIRTH, FIELDS, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(klein.blocked && klein.values.is_empty());
    let twins = ask(&register, BIRTH, FIELDS, by_names("Doppel", "Ute", "1970-05-05")).await;
    assert!(matches!(twins, Ok(Answer::Ambiguous)));
    for evil in ["' OR '1'='1", "", ";", "\"", "Anna\n"] {
        let answer = ask(&register, BIRTH, FIELDS, by_names(evil, evil, "1990-02-28")).await;
        assert!(matches!(answer, Ok(Answer::Nothing)), "{evil}");
    }
    assert!(register.bad_lines().is_empty());
}

#[tokio::test]
async fn bad_lines_are_named_by_number_only() {
    let folder = Folder::new();
    let bad = ";zu;wenig\n;Datum;X;00.00.1950;1;Bonn;1;;\n;\"offen;Y;01.01.1950;1;Bonn;1;;\n;Z;";
    std::fs::write(folder.path("ausfuhr.csv"), format!("{HEAD}{ROWS}{bad}")).unwrap();
    let register = folder.open(CONFIG).await.unwrap();
    let expected = BadLines {
        source: "ausfuhr".into(),
        count: 3,
        first: vec![
            (7, "it has more or fewer cells than the first line"),
            (8, "the birth date is not in `birth_date_format`"),
            (9, "it has more or fewer cells than the first line"),
        ],
    };
    assert_eq!(register.bad_lines(), [expected]);
    found(&register, BIRTH, FIELDS, by_idnr(ANNA, "1990-02-28")).await;
}

#[tokio::test]
async fn latin_1_and_its_absence() {
    let folder = Folder::new();
    let latin = |text: &str| -> Vec<u8> { text.chars().map(|char| char as u8).collect() };
    std::fs::write(folder.path("ausfuhr.csv"), latin(&format!("{HEAD}{ROWS}"))).unwrap();
    let register = folder.open(&CONFIG.replace("utf-8", "latin-1")).await.unwrap();
    let bernd = found(&register, BIRTH, FIELDS, by_names("groß", "Bernd", "1980-01-01")).await;
    assert_eq!(bernd.values["family_name"], json!("Groß"));
    let wrong = folder.open(CONFIG).await.unwrap();
    assert_eq!(wrong.bad_lines()[0].count, 2);
}

#[tokio::test]
async fn a_new_file_is_noticed_and_a_lost_one_is_a_fault() {
    let folder = Folder::new();
    let path = folder.path("ausfuhr.csv");
    std::fs::write(&path, format!("{HEAD}{ROWS}")).unwrap();
    let register = folder.open(CONFIG).await.unwrap();
    let bernd = || by_names("Groß", "Bernd", "1980-01-01");
    let before = found(&register, BIRTH, FIELDS, bernd()).await;
    assert!(!before.blocked);
    // Columns may move, too.
    let moved = "Sperre;IdNr;Name;Vor namen;Geboren;PLZ;Ort;Sex;Gewicht\n\
                 ja;;Groß;Bernd;01.01.1980;50667;Köln;1;\n";
    std::fs::write(folder.path("neu.csv"), moved).unwrap();
    std::fs::rename(folder.path("neu.csv"), &path).unwrap();
    assert!(found(&register, BIRTH, FIELDS, bernd()).await.blocked);
    std::fs::write(&path, "Name\nX\n").unwrap();
    let lacking = ask(&register, BIRTH, FIELDS, bernd()).await;
    assert!(matches!(lacking, Err(RegisterFault::Source { .. })));
    std::fs::remove_file(&path).unwrap();
    let lost = ask(&register, BIRTH, FIELDS, bernd()).await;
    assert!(matches!(lost, Err(RegisterFault::Source { .. })));
    std::fs::write(&path, format!("{HEAD}{ROWS}")).unwrap();
    assert!(!found(&register, BIRTH, FIELDS, bernd()).await.blocked);
}

#[tokio::test]
async fn a_file_without_heading_is_not_quoted() {
    let folder = Folder::new();
    std::fs::write(folder.path("ausfuhr.csv"), ROWS).unwrap();
    let mistakes = folder.open(CONFIG).await.unwrap_err();
    let text: String = mistakes.iter().map(ToString::to_string).collect();
    assert!(text.contains("evidence.birth-certificate.match.idnr"), "{text}");
    assert!(!text.contains("Dresden") && !text.contains("Lüdenscheidt"), "{text}");
}
