// SPDX-License-Identifier: EUPL-1.2
//! Wrong configurations: each mistake is found at start and named.

use super::{
    sqlite::{CONFIG, folder},
    *,
};
use crate::ConfigError;

#[tokio::test]
async fn each_mistake_is_named() {
    let folder = folder().await;
    let sql = "CREATE VIEW kaputt AS SELECT * FROM gibtsnicht";
    run(&folder.path("standesamt.db"), sql).await;
    std::fs::write(folder.path("text.db"), "this is no database, only a text of some length")
        .unwrap();
    let mut headings = 0;
    for (right, wrong, at) in WRONG {
        assert!(CONFIG.contains(right), "{right}");
        let config = CONFIG.replacen(right, wrong, 1);
        let mistakes = folder.open(&config).await.expect_err(wrong);
        let mistake = mistakes.iter().find(|mistake| mistake.at == *at);
        let mistake = mistake.unwrap_or_else(|| panic!("{wrong}: {mistakes:?}"));
        // It is where the wrong text stands; what is missing, at the heading of where it should.
        let before = CONFIG.split_once(right).unwrap().0;
        let lines = before.lines().count().max(1)..=before.lines().count() + wrong.lines().count();
        let line = config.lines().nth(mistake.line - 1).unwrap();
        let heading = line.starts_with('[');
        assert!(lines.contains(&mistake.line) || heading, "{wrong}: {mistake}");
        headings += u32::from(heading);
        assert!(mistakes.iter().all(|mistake| !mistake.instead.is_empty()));
    }
    assert!(headings < 12, "{headings}");
    let twice = CONFIG.replace("sperrvermerk", "sperr").replace("gehalt", "lohn");
    assert_eq!(folder.open(&twice).await.unwrap_err().len(), 2);
}

/// What to replace in a right configuration, by what, and where the mistake must be named.
const WRONG: &[(&str, &str, &str)] = &[
    ("standesamt.db", "fehlt.db", "sources.personenstand.path"),
    ("standesamt.db", "text.db", "sources.personenstand.path"),
    ("timeout_ms = 2000", "timeout_ms = 0", "sources.personenstand.timeout_ms"),
    ("table = \"births\"", "table = \"birds\"", "evidence.birth-certificate.table"),
    ("table = \"births\"", "table = \"kaputt\"", "evidence.birth-certificate.table"),
    ("table = \"births\"", "table = \"a; DROP\"", "evidence.birth-certificate.table"),
    ("table = \"births\"", "", "evidence.birth-certificate.table"),
    ("blocked = \"sperrvermerk\"", "blocked = \"sperr\"", "evidence.birth-certificate.blocked"),
    ("postcode = \"plz\"", "postcode = \"plzz\"", "evidence.birth-certificate.match.postcode"),
    ("postcode = \"plz\"", "postcode = \"p\\\" --\"", "evidence.birth-certificate.match.postcode"),
    (
        "_date_format = \"%d",
        "_date_format = \"%y",
        "evidence.birth-certificate.match.birth_date_format",
    ),
    ("birth_place = \"geb", "birth_place = \"x", "evidence.birth-certificate.subject.birth_place"),
    ("subject]\nidnr = \"idnr\"", "subject]", "evidence.birth-certificate.subject.idnr"),
    (
        "subject]\nidnr = \"idnr\"",
        "subject]\nidnr = \"plz\"",
        "evidence.birth-certificate.subject.idnr",
    ),
    ("idnr = \"mutter_idnr\"", "idnr = \"vater\"", "evidence.birth-certificate.affected.1.idnr"),
    ("[evidence.fields]", TWO_MORE, "evidence.birth-certificate.affected"),
    ("column = \"geschlecht\"", "column = \"sex\"", "evidence.birth-certificate.fields.sex.column"),
    ("m = \"male\"", "m = \"mann\"", "evidence.birth-certificate.fields.sex.codes.m"),
    (
        "constant = \"Standesamt Musterstadt\"",
        "constant = 7",
        "evidence.birth-certificate.fields.office.constant",
    ),
    (
        "{ column = \"gewicht\" }",
        "{ column = \"gewicht\", date_format = \"%d.%m.%Y\" }",
        "evidence.birth-certificate.fields.weight.date_format",
    ),
    (
        "{ column = \"zwilling\" }",
        "{ column = \"zwilling\", number_format = \"de\" }",
        "evidence.birth-certificate.fields.twin.number_format",
    ),
    (
        "number_format = \"de\"",
        "number_format = \"fr\"",
        "evidence.income.fields.gross.number_format",
    ),
    ("twin = {", "tvin = {", "evidence.birth-certificate.fields.tvin"),
    ("twin = {", "tvin = {", "evidence.birth-certificate.fields.twin"),
    ("absent = []", "absent = [\"gross\"]", "evidence.income.absent"),
    ("absent = []", "absent = [\"net\"]", "evidence.income.absent"),
    ("type = \"income\"", "type = \"outcome\"", "evidence.outcome.type"),
    ("type = \"income\"", "type = \"birth-certificate\"", "evidence.birth-certificate.type"),
    ("source = \"personenstand\"", "source = \"amt\"", "evidence.birth-certificate.source"),
    ("table = \"gehalt\"", "table = \"lohn\"", "evidence.income.fields.months.table"),
    (
        "table = \"gehalt\"\nkey = \"person_id\"\nparent = \"id\"\norder_by = \"monat\"",
        "list = \"/gehalt\"",
        "evidence.income.fields.months",
    ),
    ("key = \"person_id\"", "key = \"pid\"", "evidence.income.fields.months.key"),
    ("parent = \"id\"", "parent = \"pid\"", "evidence.income.fields.months.parent"),
    ("order_by = \"monat\"", "order_by = \"m\"", "evidence.income.fields.months.order_by"),
    (
        "birth_date_format = \"%d.%m.%Y\"",
        "birth_date_format = \"%d.%m.%Y%*\"",
        "evidence.birth-certificate.match.birth_date_format",
    ),
    (
        "{ column = \"gewicht\" }",
        "{ column = \"gewicht\", default = \"viel\" }",
        "evidence.birth-certificate.fields.weight.default",
    ),
    (
        "codes = { m = \"male\", w = \"female\" }",
        "codes_file = \"none.csv\"",
        "evidence.birth-certificate.fields.sex.codes_file",
    ),
    ("currency =", "coin =", "evidence.income.fields.months.columns.coin"),
    ("\nmonth = {", "\nmonth2 = {", "evidence.income.fields.months.columns.month"),
];

const TWO_MORE: &str = "[[evidence.affected]]\nidnr = \"idnr\"\n[[evidence.affected]]\n\
                        idnr = \"idnr\"\n[evidence.fields]";

#[test]
fn form_is_refused_with_its_line() {
    assert!(SourcesConfig::parse(CONFIG).is_ok());
    for (right, wrong, line, word) in [
        ("timeout_ms = 2000", "timeout = 2000", 6, "timeout"),
        (
            "kind = \"sqlite\"",
            "kind = \"oracle\"",
            4,
            "write one of `csv`, `fixed-width`, `mariadb`, `mysql`, `postgres`, `rest`, `sqlite`",
        ),
        ("kind = \"sqlite\"", "", 2, "kind"),
        ("kind = \"sqlite\"", "kind = 7", 4, "expected a string"),
        ("timeout_ms = 2000", "timeout_ms = \"2 s\"", 6, "expected u64"),
        // Each kind has keys of its own, and says them.
        ("timeout_ms = 2000", "delimiter = \",\"", 6, "expected `path` besides `name`"),
        ("kind = \"sqlite\"", "kind = \"csv\"\ndelimiter = \";;\"", 5, "`csv`: "),
        ("path = \"standesamt.db\"", "", 2, "kind `sqlite`: missing field `path`"),
        ("[[sources]]", "[sources]", 2, "`[[sources]]`"),
        ("[[sources]]", "[[origins]]", 1, "`sources`"),
        ("[[sources]]", "colour = 1\n[[sources]]", 2, "colour"),
        ("blocked = ", "bloked = ", 12, "bloked"),
        ("birth_date = \"geburtsdatum\"\nb", "birthdate = \"x\"\nb", 18, "birthdate"),
        ("{ column = \"name\" }", "{ colum = \"name\" }", 36, "colum"),
        ("{ column = \"name\" }", "{ column = \"name\", constant = 1 }", 36, "either"),
        ("{ column = \"name\" }", "{ table = \"name\" }", 36, "parent"),
        ("{ column = \"name\" }", "{ list = \"/name\" }", 36, "columns"),
        ("{ column = \"name\" }", "{ column = \"name\", codes_to = \"x\" }", 36, "codes_file"),
        ("{ column = \"name\" }", "{ constant = \"name\", default = 1 }", 36, "either"),
        ("type = \"income\"", "", 43, "type"),
    ] {
        assert!(CONFIG.contains(right), "{right}");
        let parsed = SourcesConfig::parse(&CONFIG.replacen(right, wrong, 1));
        let Err(ConfigError::Line { line: found, problem }) = parsed else { panic!("{wrong}") };
        assert!(problem.contains(word), "{wrong}: {problem}");
        assert_eq!(found, line, "{wrong}: {problem}");
    }
    let long = "#".repeat(1024 * 1024 + 1);
    assert_eq!(SourcesConfig::parse(&long).err(), Some(ConfigError::TooLong));
}

#[tokio::test]
async fn code_lists_in_files() {
    let folder = folder().await;
    let write = |text: &str| std::fs::write(folder.path("codes.csv"), text).unwrap();
    let config = CONFIG.replace(
        "codes = { m = \"male\", w = \"female\" }",
        "codes_file = \"codes.csv\", codes_from = \"Kürzel\", codes_to = \"sex\"",
    );
    for (list, problem) in [
        ("Kürzel;sex\nm;male\nw;weiblich\n", "line 3: it is not one of the values"),
        ("Kürzel;sex\nm;male\nm;female\n", "line 3: the code `m` has another value above"),
        ("Kürzel;sex\nm;male\nw\n", "line 3: it has more or fewer columns"),
        ("Kürzel;sex\n;male\n", "line 2: a code or its value is empty"),
        ("Kürzel;Geschlecht\nm;male\n", "line 1: there is no column `sex`"),
        ("Kürzel;sex;sex\nm;male;male\n", "line 1: there are two columns `sex`"),
        ("Kürzel;sex\n", "it has no codes"),
        ("Kürzel\nm\n", "line 1: it has no `;`"),
        ("", "line 1"),
    ] {
        write(list);
        let mistakes = folder.open(&config).await.expect_err(list);
        let text = mistakes[0].to_string();
        assert!(text.contains(problem) && text.starts_with("line "), "{text}");
        assert!(text.contains("fields.sex.codes_file: `codes.csv`"), "{text}");
    }
    write("\u{feff}Stand,sex,Kürzel\n2024,\"male\",m\n2024,female,w\n2024,female,w\n");
    let register = folder.open(&config).await.unwrap();
    let anna = by_idnr(ANNA, "1990-02-28");
    let anna = found(&register, "birth-certificate", &["sex"], anna).await;
    assert_eq!(values(&anna), json!({ "sex": "female" }));
}

#[tokio::test]
async fn defaults_only_where_they_are_written_and_times_cut_to_dates() {
    let folder = folder().await;
    let bernd = || by_idnr(BERND, "1980-01-01");
    let fields = &["weight", "birth_date"];
    let register = folder.open(CONFIG).await.unwrap();
    let without = found(&register, "birth-certificate", fields, bernd()).await;
    assert_eq!(values(&without), json!({ "birth_date": "1980-01-01" }));
    let sql = "ALTER TABLE births ADD COLUMN stand; UPDATE births SET stand = '02.03.2024 23:59'";
    run(&folder.path("standesamt.db"), sql).await;
    let config = CONFIG
        .replace("{ column = \"gewicht\" }", "{ column = \"gewicht\", default = 0 }")
        .replace(
            "{ column = \"geburtsdatum\", date_format = \"%d.%m.%Y\" }",
            "{ column = \"stand\", date_format = \"%d.%m.%Y%*\" }",
        );
    let register = folder.open(&config).await.unwrap();
    let with = found(&register, "birth-certificate", fields, bernd()).await;
    assert_eq!(values(&with), json!({ "birth_date": "2024-03-02", "weight": 0 }));
    // A value that is there is never replaced.
    let anna = by_idnr(ANNA, "1990-02-28");
    let anna = found(&register, "birth-certificate", &["weight"], anna).await;
    assert_eq!(values(&anna), json!({ "weight": 3200 }));
}
