// SPDX-License-Identifier: EUPL-1.2
//! What is checked of a REST source at start.

use super::*;

#[tokio::test]
async fn the_probe_shows_what_no_schema_says() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let probe = format!(
        "{POST}probe = {{ family_name = \"Müller\", given_names = \"Anna Maria\", birth_date = \
         \"1990-02-28\" }}"
    );
    // Of income, names are no way to ask, which is said.
    let right = config(&server.url(), &probe);
    let register = folder.open(&right).await.unwrap();
    let unchecked = register.unchecked();
    assert!(unchecked["dienst"][0].contains("`probe` was not asked"), "{unchecked:?}");
    for (good, bad, word) in [
        ("\"/gewicht\"", "\"/gewicht/gramm\"", "`/gewicht/gramm`"),
        ("\"/sperre\"", "\"/sperren\"", "`/sperren`"),
        ("\"/hits\"", "\"/treffer\"", "`/treffer`"),
        ("%d.%m.%Y\"\npostcode", "%Y-%m-%d\"\npostcode", "birth_date_format"),
        ("2 = \"female\"", "3 = \"female\"", "codes"),
        ("Anna Maria", "Anna", "not found"),
    ] {
        assert!(right.contains(good), "{good}");
        let mistakes = folder.open(&right.replacen(good, bad, 1)).await.unwrap_err();
        assert_eq!(mistakes[0].at, "sources.dienst.probe", "{mistakes:?}");
        let text = mistakes[0].to_string();
        assert!(text.contains(word), "{text}");
        assert!(!text.contains("Müller") && !text.contains(ANNA), "{text}");
    }
    let url = format!("{POST}probe = {{ url = \"{}/health\" }}", server.url());
    let register = folder.open(&config(&server.url(), &url)).await.unwrap();
    assert!(register.unchecked()["dienst"][0].contains("no person"));
    assert_eq!(server.seen().last().unwrap().target, "/health");
    server.answers(|_| WebReply::status(404));
    let mistakes = folder.open(&config(&server.url(), &url)).await.unwrap_err();
    assert!(mistakes[0].problem.contains("status 404"));
}

#[tokio::test]
async fn mistakes_are_named() {
    let folder = Folder::new();
    secret(&folder, "open", "x", 0o644);
    let right = config("http://127.0.0.1:9/", POST);
    assert!(folder.open(&right).await.is_ok());
    for (good, bad, at) in [
        ("http://127.0.0.1:9/", "http://amt.example/", "url"),
        ("http://127.0.0.1:9/", "https://u:p@amt.example/", "url"),
        ("http://127.0.0.1:9/", "https://amt.example/?b={birth_date}", "url"),
        ("http://127.0.0.1:9/", "https://amt.example/?b={geburt}", "url"),
        ("{birth_date}", "{birthdate}", "body"),
        ("\"{birth_date}\"", "1990-02-28", "body"),
        ("body = {", "#", "body"),
        ("idempotent", "method = \"GET\"\nidempotent", "body"),
        ("\"/hits\"", "\"hits\"", "rows"),
        ("idempotent", "more = \"~\"\nidempotent", "more"),
        ("idempotent", "answer_max = 0\nidempotent", "answer_max"),
        ("idempotent", "concurrent = 0\nidempotent", "concurrent"),
        ("idempotent", "connect_timeout_ms = 9999\nidempotent", "connect_timeout_ms"),
        ("idempotent", "nothing = [500]\nidempotent", "nothing"),
        ("idempotent", "headers = { host = \"x\" }\nidempotent", "headers.host"),
        ("idempotent", "headers = { a = \"x\\n\" }\nidempotent", "headers.a"),
        ("idempotent", "headers = { a = { file = \"open\" } }\nidempotent", "headers.a"),
        ("idempotent", "auth = { kind = \"bearer\", file = \"open\" }\nidempotent", "auth"),
        ("idempotent", "authorities = \"fehlt.pem\"\nidempotent", "authorities"),
        ("idempotent", "probe = { idnr = \"1\" }\nidempotent", "probe"),
        ("idempotent", "by_idnr = { body = { x = 1 } }\nidempotent", "by_idnr"),
    ] {
        assert!(right.contains(good), "{good}");
        let mistakes = folder.open(&right.replacen(good, bad, 1)).await.expect_err(bad);
        let at = format!("sources.dienst.{at}");
        assert!(mistakes.iter().any(|mistake| mistake.at == at), "{bad}: {mistakes:?}");
        assert!(mistakes.iter().all(|mistake| !mistake.instead.is_empty()));
    }
    for bad in ["name/familie", "$.name", "/a~3", ""] {
        let wrong = right.replacen("/name/familie", bad, 1);
        let mistakes = folder.open(&wrong).await.expect_err(bad);
        assert_eq!(mistakes[0].at, "evidence.birth-certificate.match.family_name");
    }
    for (good, bad, line) in [
        ("idempotent = true", "idempotent = true\nverify = false", 10),
        ("idempotent = true", "auth = { kind = \"oauth2\", secret = \"x\" }", 9),
        ("idempotent = true", "method = \"PUT\"", 9),
    ] {
        let parsed = SourcesConfig::parse(&right.replacen(good, bad, 1));
        let Err(crate::ConfigError::Line { line: found, .. }) = parsed else { panic!("{bad}") };
        assert_eq!(found, line, "{bad}");
    }
}

/// The sample has every key, and none that is not known.
#[test]
fn the_sample_decodes() {
    let sample = include_str!("../../../../../deploy/config/register-rest-example.toml");
    let config = SourcesConfig::parse(sample).unwrap();
    assert_eq!(config.sources.len(), 2);
    assert_eq!(config.evidence.len(), 2);
    let keys = [
        "url",
        "method",
        "body",
        "by_idnr",
        "person_in_url",
        "idempotent",
        "headers",
        "auth",
        "authorities",
        "identity",
        "connect_timeout_ms",
        "answer_max",
        "concurrent",
        "nothing",
        "rows",
        "more",
        "total",
        "absent_is_null",
        "probe",
        "list",
        "columns",
        "line_length",
        "skip_lines",
        "short_lines",
    ];
    for key in keys {
        let written = [format!("\n{key} = "), format!("sources.{key}]")];
        assert!(written.iter().any(|text| sample.contains(text)), "{key}");
    }
}
