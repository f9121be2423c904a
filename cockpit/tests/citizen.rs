// SPDX-License-Identifier: EUPL-1.2
//! What a citizen does with the pages beyond reading: narrow down, check, take home, write; and
//! what strangers, hostile names and a ledger that lies can do to them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[path = "house/browser.rs"]
mod browser;
mod house;
#[path = "house/liar.rs"]
mod liar;
#[path = "house/words.rs"]
mod words;

use std::{process::Command, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
};
use browser::Browser;
use einmal_cockpit::{
    export::ExportFile,
    login::{DemoProvider, Logins, Provider},
    pages::{Pages, Participation, Vocabulary, router},
};
use einmal_policy::rules_document::Texts;
use einmal_protocol::{
    time::DAY_MS,
    wire::v1::{Initiation, Outcome, Subject},
};
use house::{
    logins::{COCKPIT, demo_person},
    *,
};
use liar::Lie;

/// Three records of the canary, the newest last, and one of the other.
async fn world() -> House {
    let mut house = House::build().await;
    house.exchange(&Ask::about(&canary()));
    let mut statutory = Ask::about(&canary());
    statutory.purpose = "housing-allowance".into();
    statutory.evidence_type = "residence".into();
    statutory.initiation = Initiation::Statutory;
    statutory.outcome = Outcome::NothingFound;
    statutory.released.clear();
    statutory.at_ms = NOW + DAY_MS;
    statutory.case_reference = "=1+1".into();
    statutory.register_case = "=1+1".into();
    house.exchange(&statutory);
    house.exchange(&Ask::about(&other()));
    house.refusal(&Ask::about(&canary()), "NOT_PERMITTED");
    house.catch_up().await.unwrap();
    house
}

async fn logged_in(router: &Router) -> Browser {
    let mut browser = Browser::new(router);
    browser.log_in(&canary()).await;
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_it_in_one_sentence_and_a_chart() {
    let house = world().await;
    let mut browser = logged_in(&router(words::pages(&house).await)).await;
    let page = browser.get("/uebersicht").await.text;
    let sentence = "In den letzten zwei Jahren hat eine Behörde 3-mal Daten über Sie \
                    abgefragt, zuletzt am";
    assert!(page.contains(sentence) && page.contains("Eine Anfrage wurde abgelehnt."), "{page}");
    assert!(page.contains("<svg") && page.contains("März 2026"));
    assert!(page.contains("/zugriffe?von=2026-03-01&amp;bis=2026-03-31"));
    let page = browser.get("/abdeckung").await.text;
    assert!(page.contains("Standesamt Bremen-Mitte") && page.contains("Geburtsurkunde"));
    assert!(browser.get("/hilfe").await.text.contains("Was ist der Beweis?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_narrowed_down_by_each_word() {
    let house = world().await;
    let mut browser = logged_in(&router(words::pages(&house).await)).await;
    for (query, count) in [
        ("", "3 Einträge"),
        ("behoerde=elterngeldstelle-bremen", "3 von 3"),
        ("behoerde=other", "0 von 3"),
        ("register=standesamt-bremen", "3 von 3"),
        ("zweck=housing-allowance", "1 von 3"),
        ("ergebnis=REFUSED", "1 von 3"),
        ("ergebnis=FOUND&zweck=parental-allowance", "1 von 3"),
        ("von=2026-03-04", "1 von 3"),
        ("bis=2026-03-03", "2 von 3"),
        ("von=2026-03-03&bis=2026-03-04", "3 von 3"),
        ("von=no&bis=date", "3 von 3"),
        ("seite=3", "3 Einträge"),
    ] {
        let page = browser.get(&format!("/zugriffe?{query}")).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains(count), "{query}: {}", page.text);
    }
    let page = browser.get("/zugriffe?zweck=housing-allowance&lang=en").await.text;
    assert!(page.contains("1 of 3 entries"));
    assert!(page.contains("/zugriffe?zweck=housing-allowance&#38;lang=de"), "kept: {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_home_can_be_checked_with_openssl_alone() {
    let house = world().await;
    let mut browser = logged_in(&router(words::pages(&house).await)).await;
    assert!(browser.get("/zugriffe/1/pruefen").await.text.contains("card proof good"));
    let json = browser.get("/zugriffe/1/export.json").await.text;
    let page = browser.get("/zugriffe/1/selbst-pruefen").await.text;
    let commands: Vec<String> = page
        .split("translate=\"no\">")
        .skip(1)
        .map(|rest| rest.split("</pre>").next().unwrap())
        .map(|text| {
            let mut text = text.to_owned();
            for (entity, is) in
                [("&#34;", "\""), ("&#39;", "'"), ("&#60;", "<"), ("&#62;", ">"), ("&#38;", "&")]
            {
                text = text.replace(entity, is);
            }
            text
        })
        .collect();
    assert_eq!(commands.len(), 4, "{page}");
    let folder = house.folder.join("by-hand");
    let run = |json: &str| {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("einmal-1.json"), json).unwrap();
        let script = format!("set -e\n{}\n{}\n{}\n", commands[0], commands[1], commands[2]);
        let out = Command::new("sh").arg("-c").arg(script).current_dir(&folder).output();
        let out = match out {
            Ok(out) => out,
            Err(_) => return None,
        };
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        (lines.len() >= 4 || out.status.success()).then_some((lines, out.status.success()))
    };
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let (lines, good) = run(&json).unwrap();
    assert!(good && lines.len() == 5, "{lines:?}");
    assert_eq!((&lines[0], &lines[2]), (&lines[1], &lines[3]));
    assert!(lines[4].contains("Verified Success"), "{lines:?}");

    // And it notices what was changed.
    let mut file = ExportFile::parse(&json).unwrap();
    file.body.0[40] ^= 1;
    let (lines, _) = run(&file.to_json().unwrap()).unwrap();
    assert_ne!(lines[0], lines[1]);
    let mut file = ExportFile::parse(&json).unwrap();
    file.receipt.leaf.0[37] ^= 1;
    let (lines, _) = run(&file.to_json().unwrap()).unwrap();
    assert_ne!(lines[2], lines[3]);
    let mut file = ExportFile::parse(&json).unwrap();
    file.receipt.checkpoint = file.receipt.checkpoint.replacen("\n4\n", "\n5\n", 1);
    assert!(run(&file.to_json().unwrap()).is_none_or(|(_, good)| !good), "a forged signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_prints_say_what_the_list_says() {
    let house = world().await;
    let mut browser = logged_in(&router(words::pages(&house).await)).await;
    let csv = browser.get("/zugriffe.csv").await;
    assert_eq!(csv.headers[header::CONTENT_DISPOSITION], "attachment; filename=\"zugriffe.csv\"");
    assert_eq!(csv.text.lines().count(), 4, "{}", csv.text);
    assert!(csv.text.contains("\"'=1+1\"") && csv.text.contains("Elterngeldstelle Bremen"));
    let one = browser.get("/zugriffe.csv?ergebnis=REFUSED").await.text;
    assert_eq!(one.lines().count(), 2);
    let pdf = browser.get("/zugriffe.pdf").await;
    assert_eq!(pdf.headers[header::CONTENT_TYPE], "application/pdf");
    assert!(pdf.text.starts_with("%PDF-1.7") && pdf.text.contains("Elterngeldstelle Bremen"));
    for secret in &CANARY[..5] {
        assert!(!csv.text.contains(secret) && !pdf.text.contains(secret), "names nobody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_have_all_references_and_go_to_the_right_body() {
    let house = world().await;
    let mut browser = logged_in(&router(words::pages(&house).await)).await;
    for (kind, to, law) in [
        ("fragen", "Elterngeldstelle Bremen", "Art. 15 DSGVO"),
        ("widersprechen", "Elterngeldstelle Bremen", "Art. 21 DSGVO"),
        ("berichtigen", "Standesamt Bremen-Mitte", "Art. 16 DSGVO"),
        ("beschweren", "Informationsfreiheit der Freien Hansestadt Bremen", "Art. 77 DSGVO"),
    ] {
        let page = browser.get(&format!("/zugriffe/0/brief/{kind}?lang=en")).await.text;
        let text = browser.get(&format!("/zugriffe/0/brief/{kind}.txt")).await.text;
        for part in [to, law, CANARY[1], CANARY[2], CANARY[5], "Nr. 0 im Protokoll", LEDGER] {
            assert!(text.contains(part), "{kind}: {part}: {text}");
            assert!(page.contains(part), "{kind}: {part}");
        }
        assert!(!text.contains(CANARY[0]), "the number is nobody's business here");
    }
    assert_eq!(browser.get("/zugriffe/0/brief/other").await.status, StatusCode::NOT_FOUND);
}

/// Every route that takes a record's number.
const OF_ONE: [&str; 9] = [
    "/zugriffe/{}",
    "/zugriffe/{}/pruefen",
    "/zugriffe/{}/selbst-pruefen",
    "/zugriffe/{}/export.json",
    "/zugriffe/{}/brief/fragen",
    "/zugriffe/{}/brief/beschweren.txt",
    "/zugriffe/{}/brief/berichtigen",
    "/zugriffe/{}/brief/widersprechen",
    "/api/v1/records/{}",
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reads_what_is_not_theirs_by_any_route() {
    let house = world().await;
    let router = router(words::pages(&house).await);
    let mut stranger = Browser::new(&router);
    stranger.log_in(&other()).await;
    let mut nobody = Browser::new(&router);
    for route in OF_ONE {
        let own = stranger.get(&route.replace("{}", "2")).await;
        assert_eq!(own.status, StatusCode::OK, "{route}");
        for index in ["0", "1", "3", "4", "99", "-1", "x", "18446744073709551615", "0%00", "00"] {
            let path = route.replace("{}", index);
            let answer = stranger.get(&path).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
            assert!(!CANARY[..5].iter().any(|secret| answer.text.contains(secret)), "{path}");
            let answer = nobody.get(&path).await;
            let out = [StatusCode::SEE_OTHER, StatusCode::UNAUTHORIZED];
            assert!(out.contains(&answer.status), "{path}");
        }
    }
    for path in [
        "/uebersicht",
        "/zugriffe",
        "/zugriffe?seite=1",
        "/zugriffe?seite=99999999999999999999",
        "/zugriffe?behoerde=elterngeldstelle-bremen",
        "/zugriffe.csv",
        "/zugriffe.pdf",
        "/api/v1/records",
        "/api/v1/records?page_token=4",
        "/status",
        "/abdeckung",
    ] {
        let answer = stranger.get(path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert!(!CANARY[..5].iter().any(|secret| answer.text.contains(secret)), "{path}");
        let answer = nobody.get(path).await;
        assert!(!answer.text.contains("Elterngeldstelle Bremen") || path == "/abdeckung", "{path}");
    }
}

const XSS: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}";

struct Hostile;

impl Vocabulary for Hostile {
    fn purpose(&self, _: &str) -> Option<Texts> {
        Some(Texts { de: XSS.into(), en: XSS.into(), de_leicht: XSS.into() })
    }
    fn legal_basis(&self, _: &str) -> Vec<String> {
        vec![XSS.into()]
    }
    fn evidence_type(&self, id: &str) -> Option<Texts> {
        self.purpose(id)
    }
    fn field(&self, _: &str, name: &str) -> Option<Texts> {
        self.purpose(name)
    }
    fn authority_name(&self, _: &str) -> Option<String> {
        Some(XSS.into())
    }
    fn register_name(&self, _: &str) -> Option<String> {
        Some(XSS.into())
    }
    fn policy(&self, id: &str) -> Option<(String, Texts)> {
        Some((XSS.into(), self.purpose(id)?))
    }
    fn authority_region(&self, _: &str) -> Option<String> {
        Some(XSS.into())
    }
    fn participants(&self) -> Participation {
        Participation { authorities: vec![XSS.into()], registers: vec![(XSS.into(), vec![])] }
    }
}

/// A world whose every name is an attack, the person's too.
async fn hostile_pages(house: &mut House) -> Pages {
    let mut person = demo_person(canary());
    person.given_names = XSS.into();
    let stop = tokio_util::sync::CancellationToken::new();
    let clock = house.clock.clone();
    let login = DemoProvider::start(vec![person], COCKPIT, clock.clone(), stop).await;
    let login = Arc::new(Provider::new(&login.unwrap(), clock).unwrap());
    house.reopen_for(Logins { demo: false, oidc: Some(Arc::clone(&login)) }).await;
    Pages { vocabulary: Arc::new(Hostile), login, ..words::pages(house).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_and_no_word_becomes_markup() {
    let mut house = House::build().await;
    let mut ask = Ask::about(&Subject { given_names: XSS.into(), ..canary() });
    ask.case_reference = XSS.into();
    ask.register_case = XSS.into();
    house.exchange(&ask);
    house.catch_up().await.unwrap();
    let mut browser = Browser::new(&router(hostile_pages(&mut house).await));
    browser.log_in(&canary()).await;
    let attack = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    let mut paths: Vec<String> = ["/uebersicht", "/abdeckung", "/status", "/zugriffe", "/none"]
        .map(ToOwned::to_owned)
        .to_vec();
    for name in ["behoerde", "register", "zweck", "von", "bis", "ergebnis", "seite", "lang", "x"] {
        paths.push(format!("/zugriffe?{name}={attack}"));
        paths.push(format!("/zugriffe?{name}=\">'<script>"));
    }
    paths.extend(OF_ONE[..8].iter().map(|route| route.replace("{}", "0")));
    paths.push(format!("/zugriffe/{attack}"));
    paths.push(format!("/anmelden/zurueck?error={attack}&state={attack}"));
    let mut seen = 0;
    for path in paths {
        if path.contains('<') {
            continue; // no URL at all: the router's client refuses it
        }
        let answer = browser.get(&path).await;
        let kind = answer.headers.get(header::CONTENT_TYPE).unwrap().to_str().unwrap();
        assert_eq!(answer.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        if kind.starts_with("text/html") {
            for markup in ["<script", "<img", "'><", "onerror=alert(1)>"] {
                assert!(!answer.text.contains(markup), "{path}: {markup}: {}", answer.text);
            }
            seen += usize::from(answer.text.contains("&#60;script"));
        }
    }
    assert!(seen >= 10, "the attacks were shown, as text: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_lies_gets_no_green_tick() {
    for (lie, words) in [
        (Lie::Body, "Der Beweis passt nicht zu diesem Eintrag"),
        (Lie::Path, "Der Beweis passt nicht zu diesem Eintrag"),
        (Lie::Position, "Der Beweis passt nicht zu diesem Eintrag"),
        (Lie::Signature, "trägt keine gültige Unterschrift"),
        (Lie::NoReceipt, "Der Beweis fehlt"),
        (Lie::RolledBack, "Das Protokoll ist kürzer als früher"),
        (Lie::Forked, "zeigt verschiedenen Leuten Verschiedenes"),
    ] {
        let mut house = House::build().await;
        house.exchange(&Ask::about(&canary()));
        house.catch_up().await.unwrap();
        let (keeper, lying) = liar::between(house.client()).await;
        let pages = Pages { keeper, ..words::pages(&house).await };
        let mut browser = logged_in(&router(pages)).await;
        // Before it lies, it has told the truth of a larger ledger.
        lying.remember().await;
        house.exchange(&Ask::about(&canary()));
        house.catch_up().await.unwrap();
        assert!(browser.get("/zugriffe/1").await.text.contains("card proof good"), "{lie:?}");
        lying.begin(lie);
        for path in ["/zugriffe/0", "/zugriffe/0/pruefen"] {
            let page = browser.get(&format!("{path}?lang=de")).await.text;
            assert!(page.contains("card proof bad"), "{lie:?}: {page}");
            assert!(!page.contains("proof good") && !page.contains("class=\"ticks\""), "{lie:?}");
            assert!(page.contains(words), "{lie:?}: {page}");
            assert!(!page.contains("Geprüft: Dieser Eintrag"), "{lie:?}");
        }
        let api = browser.get("/api/v1/records/0").await.text;
        assert!(api.contains("\"verified\":false"), "{lie:?}");
    }
}
