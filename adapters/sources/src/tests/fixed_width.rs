// SPDX-License-Identifier: EUPL-1.2
//! Files of fixed width.

use super::*;

const CONFIG: &str = r#"
[[sources]]
name = "host"
kind = "fixed-width"
path = "host.txt"
encoding = "utf-8"
timeout_ms = 2000
line_length = 50
[sources.columns]
idnr = { start = 1, length = 11 }
name = { start = 12, length = 12 }
vornamen = { start = 24, length = 12 }
geboren = { start = 36, length = 8 }
gewicht = { start = 44, length = 5 }
sperre = { start = 50, length = 1 }

[[evidence]]
type = "birth-certificate"
source = "host"
blocked = "sperre"
absent = ["twin", "office", "sex", "birth_date"]
[evidence.match]
idnr = "idnr"
family_name = "name"
given_names = "vornamen"
birth_date = "geboren"
birth_date_format = "%Y%m%d"
[evidence.subject]
idnr = "idnr"
birth_name = "name"
given_names = "vornamen"
[evidence.fields]
family_name = { column = "name" }
weight = { column = "gewicht" }
"#;

const BIRTH: &str = "birth-certificate";
const FIELDS: &[&str] = &["family_name", "weight"];

fn line(idnr: &str, name: &str, given: &str, born: &str, weight: &str, block: &str) -> String {
    format!("{idnr:<11}{name:<12}{given:<12}{born:<8}{weight:>5} {block:<1}")
}

fn text() -> String {
    [
        line(ANNA, "Müller", "Anna", "19900228", "3200", ""),
        line("", "Şahin-Groß", "Bernd", "19800101", "", "0"),
        line("", "Klein", "Uwe", "19700404", "2900", "x"),
    ]
    .join("\r\n")
}

#[tokio::test]
async fn columns_count_characters() {
    let folder = Folder::new();
    let file = folder.path("host.txt");
    let register = {
        std::fs::write(&file, format!("\u{feff}{}\r\n\r\n\u{1a}", text())).unwrap();
        folder.open(CONFIG).await.unwrap()
    };
    assert!(register.bad_lines().is_empty(), "{:?}", register.bad_lines());
    let anna = found(&register, BIRTH, FIELDS, by_idnr(ANNA, "1990-02-28")).await;
    assert_eq!(values(&anna), json!({ "family_name": "Müller", "weight": 3200 }));
    let bernd = by_names("Şahin Gross", "BERND", "1980-01-01");
    let bernd = found(&register, BIRTH, FIELDS, bernd).await;
    assert_eq!(values(&bernd), json!({ "family_name": "Şahin-Groß" }));
    let klein = found(&register, BIRTH, FIELDS, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(klein.blocked && klein.values.is_empty());

    // The same file in other encodings.
    for (name, ends) in [("latin-1", "Groß"), ("windows-1252", "Groš")] {
        let bytes: Vec<u8> = text()
            .replace("Şahin-Groß", &format!("Sahin-{ends}"))
            .chars()
            .map(|char| match char {
                'š' => 0x9a,
                char => u8::try_from(u32::from(char)).unwrap(),
            })
            .collect();
        std::fs::write(&file, bytes).unwrap();
        let register = folder.open(&CONFIG.replace("utf-8", name)).await.unwrap();
        let bernd = by_names(&format!("Sahin-{ends}"), "Bernd", "1980-01-01");
        let bernd = found(&register, BIRTH, FIELDS, bernd).await;
        assert_eq!(bernd.values["family_name"], json!(format!("Sahin-{ends}")));
    }
}

#[tokio::test]
async fn lines_that_cannot_be_used_and_live_reload() {
    let folder = Folder::new();
    let file = folder.path("host.txt");
    let anna = line(ANNA, "Müller", "Anna", "19900228", "3200", "");
    // Cut off where the block stood; shifted; too long; no date; not UTF-8; a control character.
    let blocked = line("", "Klein", "Uwe", "19700404", "2900", "x");
    let bad = [
        blocked[..49].to_owned(),
        format!(" {anna}"),
        format!("{anna}{}", " ".repeat(100_000)),
        anna.replace("19900228", "28.02.90"),
        anna.replace("Anna ", "An\0na"),
    ];
    let mut bytes = format!("HEAD\n{}\n{anna}\n", bad.join("\n")).into_bytes();
    bytes.extend(anna.replace("Anna ", "Ann? ").bytes().map(|b| if b == b'?' { 0xff } else { b }));
    std::fs::write(&file, bytes).unwrap();
    let config = CONFIG.replace("line_length", "skip_lines = 1\nline_length");
    let register = folder.open(&config).await.unwrap();
    let [bad] = &register.bad_lines()[..] else { panic!() };
    assert_eq!(bad.first.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 8]);
    assert_eq!(bad.count, 6);
    let answer = ask(&register, BIRTH, FIELDS, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(matches!(answer, Ok(Answer::Nothing)));
    found(&register, BIRTH, FIELDS, by_idnr(ANNA, "1990-02-28")).await;

    // Replaced by renaming, it is read again.
    let next = folder.path("next.txt");
    std::fs::write(&next, format!("HEAD\n{blocked}\n{blocked}\n")).unwrap();
    std::fs::rename(&next, &file).unwrap();
    let answer = ask(&register, BIRTH, FIELDS, by_idnr(ANNA, "1990-02-28")).await;
    assert!(matches!(answer, Ok(Answer::Nothing)));
    let answer = ask(&register, BIRTH, FIELDS, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(matches!(answer, Ok(Answer::Ambiguous)));
    assert!(register.bad_lines().is_empty());

    // Editors take blanks off a line's end; who allows that says so.
    std::fs::write(&file, format!("HEAD\n{}\n", anna.trim_end())).unwrap();
    let register = folder.open(&config).await.unwrap();
    assert_eq!(register.bad_lines()[0].count, 1);
    let short = config.replace("line_length", "short_lines = true\nline_length");
    let register = folder.open(&short).await.unwrap();
    assert!(register.bad_lines().is_empty());
    found(&register, BIRTH, FIELDS, by_idnr(ANNA, "1990-02-28")).await;
}

#[tokio::test]
async fn mistakes_are_named() {
    let folder = Folder::new();
    std::fs::write(folder.path("host.txt"), text()).unwrap();
    for (good, bad, at) in [
        ("host.txt", "fehlt.txt", "sources.host.path"),
        ("start = 1,", "start = 0,", "sources.host.columns.idnr"),
        ("length = 11", "length = 0", "sources.host.columns.idnr"),
        ("length = 1 }", "length = 2 }", "sources.host.columns.sperre"),
        ("line_length = 50", "line_length = 0", "sources.host.line_length"),
        (
            "column = \"gewicht\"",
            "column = \"gramm\"",
            "evidence.birth-certificate.fields.weight.column",
        ),
        (
            "source = \"host\"",
            "source = \"host\"\ntable = \"t\"",
            "evidence.birth-certificate.table",
        ),
    ] {
        assert!(CONFIG.contains(good), "{good}");
        let mistakes = folder.open(&CONFIG.replacen(good, bad, 1)).await.expect_err(bad);
        assert!(mistakes.iter().any(|mistake| mistake.at == at), "{bad}: {mistakes:?}");
    }
}
