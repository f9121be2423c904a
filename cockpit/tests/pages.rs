// SPDX-License-Identifier: EUPL-1.2
//! The pages through their router, over a keeper with real records.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[path = "house/browser.rs"]
mod browser;
mod house;
#[path = "house/words.rs"]
mod words;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use browser::Browser;
use einmal_cockpit::{
    export::ExportFile,
    pages::{IDLE_MS, router},
};
use einmal_protocol::wire::v1::{Outcome, SubjectRole, Use};
use house::*;
use tower::ServiceExt;

async fn world() -> (House, Router) {
    let mut house = House::build().await;
    let first = house.make(&Ask::about(&canary()));
    house.log_made(&first);
    house.report(&first, Use::Used, 1);
    let mut nothing = Ask::about(&canary());
    nothing.outcome = Outcome::NothingFound;
    nothing.released.clear();
    house.exchange(&nothing);
    house.refusal(&Ask::about(&canary()), "NOT_PERMITTED");
    let mut lie = Ask::about(&canary());
    lie.records = vec![(other(), SubjectRole::Asked)];
    lie.case_reference = "<script>alert(1)</script>".into();
    lie.register_case = lie.case_reference.clone();
    house.exchange(&lie);
    house.catch_up().await.unwrap();
    let router = router(words::pages(&house).await);
    (house, router)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_deny_list_refused_is_said_in_plain_words() {
    let mut house = House::build().await;
    house.refusal(&Ask::about(&canary()), "DENIED");
    house.catch_up().await.unwrap();
    let router = router(words::pages(&house).await);
    let mut browser = Browser::new(&router);
    browser.log_in(&canary()).await;
    let detail = browser.get("/zugriffe/0").await.text;
    let sentence = "Abgelehnt, nichts übermittelt. Solche Abfragen sind zurzeit gesperrt.";
    assert!(detail.contains(sentence), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citizen_logs_in_reads_and_logs_out() {
    let (_house, router) = world().await;
    let mut browser = Browser::new(&router);
    assert!(browser.get("/").await.text.contains("Nur zur Vorführung / demo only"));
    let answer = browser.get("/zugriffe").await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::SEE_OTHER, ""));
    let welcome = browser.log_in(&canary()).await;
    assert_eq!(welcome.status, StatusCode::OK);
    assert!(welcome.text.contains("Sie sind angemeldet"));

    let list = browser.get("/zugriffe").await;
    assert_eq!(list.status, StatusCode::OK);
    let sentence = "Am 3. März 2026 um 10:14 Uhr hat Elterngeldstelle Bremen bei Standesamt \
                    Bremen-Mitte Daten über Sie abgefragt: Geburtsurkunde. Grund: Antrag auf \
                    Elterngeld.";
    assert!(list.text.contains(sentence));
    assert!(list.text.contains("wollte") && list.text.contains("Die Anfrage wurde abgelehnt."));
    assert!(list.text.contains("4 Einträge") && list.text.contains("Bitte ansehen"));

    let detail = browser.get("/zugriffe/0").await.text;
    for part in [
        "Geburtsdatum",
        "Vornamen",
        "§ 8 Abs. 1 BEEG; § 5 EGovG",
        "Die Behörde hat die Angaben verwendet.",
        "Geprüft: Dieser Eintrag steht unverändert im Protokoll.",
        LEDGER,
        CANARY[5],
        "elterngeld-geburtsurkunde",
    ] {
        assert!(detail.contains(part), "{part}");
    }
    let lie = browser.get("/zugriffe/4").await.text;
    assert!(lie.contains("nennen nicht dieselbe Person") && !lie.contains("<script"));

    let token = browser.token("/zugriffe").await;
    let out = browser.send(Method::POST, "/abmelden", &format!("token={token}")).await;
    assert!(out.headers.contains_key("clear-site-data"));
    assert_eq!(browser.get("/zugriffe").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_url_names_a_person_and_nothing_comes_from_elsewhere() {
    let (_house, router) = world().await;
    let mut browser = Browser::new(&router);
    browser.log_in(&canary()).await;
    for lang in ["de", "en", "leicht"] {
        for path in ["/", "/zugriffe", "/zugriffe/0", "/zugriffe/3", "/zugriffe/4", "/status"] {
            let answer = browser.get(&format!("{path}?lang={lang}")).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
            let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'"));
            for foreign in ["<script", "http://", "https://", " style=\"", " onclick"] {
                assert!(!answer.text.contains(foreign), "{path}: {foreign}");
            }
            for name in ["main id=\"inhalt\"", "class=\"skip\"", "<html lang="] {
                assert!(answer.text.contains(name), "{path}: {name}");
            }
        }
    }
    assert!(browser.get("/zugriffe").await.text.contains("Das war am 3. März 2026"), "kept");
    // The way to the login provider is the one that leaves; it names nobody either.
    for url in &browser.urls {
        assert!(
            url.starts_with('/') || url.starts_with("http://127.0.0.1:") || url == "#inhalt",
            "{url}"
        );
        for secret in CANARY.iter().chain(&["Beispiel"]) {
            assert!(!url.contains(secret), "{url}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_login_sees_nothing() {
    let (_house, router) = world().await;
    let mut stranger = Browser::new(&router);
    // They are named in the register's false record of entry 4, and in nothing else.
    stranger.log_in(&other()).await;
    let list = stranger.get("/zugriffe").await.text;
    assert!(list.contains("1 Eintrag") && list.contains("/zugriffe/4"));
    for path in ["/zugriffe/0", "/zugriffe/3", "/zugriffe/0/export.json", "/zugriffe/99"] {
        let answer = stranger.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!CANARY.iter().any(|secret| answer.text.contains(secret)));
    }
    assert_eq!(stranger.get("/api/v1/records/0").await.status, StatusCode::NOT_FOUND);
    let mut nobody = Browser::new(&router);
    assert_eq!(nobody.get("/zugriffe/0").await.status, StatusCode::SEE_OTHER);
    assert_eq!(nobody.get("/zugriffe/0/export.json").await.status, StatusCode::SEE_OTHER);
    assert_eq!(nobody.get("/api/v1/records").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_from_elsewhere_are_refused_and_idleness_ends() {
    let (house, router) = world().await;
    let mut browser = Browser::new(&router);
    browser.log_in(&canary()).await;
    assert_eq!(
        browser.send(Method::POST, "/abmelden", "token=x").await.status,
        StatusCode::FORBIDDEN
    );
    let foreign = Request::builder()
        .method(Method::POST)
        .uri("/abmelden")
        .header("sec-fetch-site", "cross-site")
        .body(Body::empty())
        .unwrap();
    let answer = router.clone().oneshot(foreign).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let long = "x".repeat(20_000);
    let answer = browser.send(Method::POST, "/abmelden", &long).await;
    assert!(answer.status.is_client_error() && answer.text.contains("Das Formular ist abgelaufen"));

    assert_eq!(browser.get("/zugriffe").await.status, StatusCode::OK);
    house.clock.shift_ms((IDLE_MS + 1).cast_signed());
    assert_eq!(browser.get("/zugriffe").await.status, StatusCode::SEE_OTHER, "idle too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_and_the_api_say_the_same() {
    let (_house, router) = world().await;
    let mut browser = Browser::new(&router);
    browser.log_in(&canary()).await;
    let answer = browser.get("/zugriffe/0/export.json").await;
    assert!(answer.headers[header::CONTENT_DISPOSITION].to_str().unwrap().contains("einmal-0"));
    let file = ExportFile::parse(&answer.text).unwrap();
    let record = file.to_wire().unwrap().record.unwrap();
    assert_eq!((record.r#use(), record.index), (Use::Used, 0));
    assert_eq!(record.access.unwrap().subject, Some(canary()));

    let detail: serde_json::Value =
        serde_json::from_str(&browser.get("/api/v1/records/0").await.text).unwrap();
    assert_eq!(detail["proof"]["verified"], true);
    assert_eq!(detail["proof"]["checkpoint_size"], 5);
    assert_eq!(detail["record"]["sentence"], file.summary);
    assert_eq!(detail["record"]["result"], "FOUND");
    let list: serde_json::Value =
        serde_json::from_str(&browser.get("/api/v1/records").await.text).unwrap();
    assert_eq!(list["total"], 4);
    assert_eq!(list["records"][0]["findings"][0]["code"], "SUBJECTS_DIFFER");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_a_socket_until_told_to_stop() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (house, _) = world().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let pages = words::pages(&house).await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = tokio::spawn(einmal_cockpit::pages::serve(listener, pages, async {
        let _ = stopped.await;
    }));
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("5 Einträge"));
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
}
