// SPDX-License-Identifier: EUPL-1.2
//! REST sources, against a server that behaves and one that does not.

mod auth;
mod start;

use std::{
    os::unix::fs::PermissionsExt,
    sync::atomic::AtomicUsize,
    time::{Duration, Instant},
};

use einmal_test_servers::{WebCertificates, WebReply, WebRequest, WebServer};

use super::*;

const BIRTH: &str = "birth-certificate";
const FIELDS: &[&str] = &["birth_date", "family_name", "sex", "weight"];

/// The source's keys stand between its head and its evidence.
fn config(url: &str, keys: &str) -> String {
    format!(
        r#"
[[sources]]
name = "dienst"
kind = "rest"
timeout_ms = 3000
url = "{url}"
{keys}

[[evidence]]
type = "birth-certificate"
source = "dienst"
blocked = "/sperre"
absent = ["twin", "office"]
[evidence.match]
idnr = "/idnr"
family_name = "/name/familie"
given_names = "/name/vornamen"
birth_date = "/geboren"
birth_date_format = "%d.%m.%Y"
postcode = "/wohnung/plz"
place = "/wohnung/ort"
[evidence.subject]
idnr = "/idnr"
[evidence.fields]
family_name = {{ column = "/name/familie" }}
birth_date = {{ column = "/geboren", date_format = "%d.%m.%Y" }}
sex = {{ column = "/geschlecht", codes = {{ 1 = "male", 2 = "female" }} }}
weight = {{ column = "/gewicht" }}

[[evidence]]
type = "income"
source = "dienst"
[evidence.match]
idnr = "/idnr"
birth_date = "/geboren"
birth_date_format = "%d.%m.%Y"
[evidence.subject]
idnr = "/idnr"
[evidence.fields]
gross = {{ column = "/lohn/brutto" }}
nationalities = {{ column = "/staaten" }}
[evidence.fields.months]
list = "/lohn/monate"
columns = {{ month = {{ column = "/monat" }}, gross = {{ column = "/brutto" }} }}
"#
    )
}

const POST: &str = r#"
rows = "/hits"
idempotent = true
body = { geboren = "{birth_date}", idnr = "{idnr}", familie = "{family_name}" }
"#;

fn person(idnr: &str, family: &str, given: &str, born: &str) -> Value {
    json!({
        "idnr": if idnr.is_empty() { Value::Null } else { json!(idnr) },
        "name": { "familie": family, "vornamen": given }, "geboren": born,
        "geschlecht": 2, "gewicht": 3200, "sperre": false,
        "wohnung": { "plz": "01067", "ort": "Dresden" },
        "staaten": ["DE", "FR"],
        "lohn": { "brutto": 1234.5, "monate": [
            { "monat": "2026-01-01", "brutto": 1000 }, { "monat": "2026-02-01", "brutto": 1001.5 },
        ] },
    })
}

fn people() -> Vec<Value> {
    let mut klein = person("", "Klein", "Uwe", "04.04.1970");
    klein["sperre"] = json!("ja");
    vec![
        person(ANNA, "Müller", "Anna-Maria", "28.02.1990"),
        klein,
        person("", "Doppel", "Ute", "05.05.1970"),
        person("", "Doppel", "Ute", "05.05.1970"),
        person(BERND, "Meyer", "Bernd", "28.02.1990"),
    ]
}

/// A server that takes its limits lightly: it answers everybody, whatever it is asked.
fn everybody(_: &WebRequest) -> WebReply {
    WebReply::json(json!({ "hits": people() }).to_string())
}

fn hits(hits: Value) -> WebReply {
    WebReply::json(json!({ "hits": hits }).to_string())
}

fn anna() -> PersonQuery {
    by_idnr(ANNA, "1990-02-28")
}

#[tokio::test]
async fn three_queries_ambiguous_blocked() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let register = folder.open(&config(&server.url(), POST)).await.unwrap();
    for person in [
        anna(),
        by_names("MUELLER", "anna maria", "1990-02-28"),
        by_residence("Müller", "01067", "dresden", "1990-02-28"),
    ] {
        let anna = found(&register, BIRTH, FIELDS, person).await;
        assert_eq!(anna.subject.idnr, ANNA);
        let right = json!({ "family_name": "Müller", "birth_date": "1990-02-28", "sex": "female",
            "weight": 3200 });
        assert_eq!(values(&anna), right);
    }
    let income = found(&register, "income", &["gross", "months", "nationalities"], anna()).await;
    let months = json!([{ "month": "2026-01-01", "gross": 1000 },
        { "month": "2026-02-01", "gross": 1001.5 }]);
    let right = json!({ "gross": 1234.5, "nationalities": ["DE", "FR"], "months": months });
    assert_eq!(values(&income), right);
    let klein = found(&register, BIRTH, FIELDS, by_names("Klein", "Uwe", "1970-04-04")).await;
    assert!(klein.blocked && klein.values.is_empty());
    let twins = ask(&register, BIRTH, FIELDS, by_names("Doppel", "Ute", "1970-05-05")).await;
    assert!(matches!(twins, Ok(Answer::Ambiguous)));
    // The server's opinion of who fits does not count.
    for person in [
        by_idnr(ANNA, "1990-02-27"),
        by_idnr(MOTHER, "1990-02-28"),
        by_names("Müller", "Anna", "1990-02-28"),
        by_residence("Müller", "01069", "Dresden", "1990-02-28"),
    ] {
        assert!(matches!(ask(&register, BIRTH, FIELDS, person).await, Ok(Answer::Nothing)));
    }
    let seen = server.seen();
    assert!(seen.iter().all(|request| request.method == "POST" && request.target == "/"));
    let first: Value = serde_json::from_slice(&seen[0].body).unwrap();
    assert_eq!(first, json!({ "geboren": "28.02.1990", "idnr": ANNA }));
    let second: Value = serde_json::from_slice(&seen[1].body).unwrap();
    assert_eq!(second, json!({ "geboren": "28.02.1990", "familie": "MUELLER" }));
    assert!(seen[0].header("accept-encoding").is_none());
    let unchecked = register.unchecked();
    assert!(unchecked["dienst"][0].contains("no pointer was checked"), "{unchecked:?}");
}

#[tokio::test]
async fn nothing_of_a_person_is_spliced() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let register = folder.open(&config(&server.url(), POST)).await.unwrap();
    let get = "method = \"GET\"\nperson_in_url = true\nrows = \"/hits\"";
    let url = format!("{}/p?n={{family_name}}&b={{birth_date}}", server.url());
    let by_url = config(&url, get).replace("idnr = \"/idnr\"\nfamily", "family").replace(
        "[evidence.subject]\nidnr = \"/idnr\"",
        "[evidence.subject]\nbirth_name = \"/name/familie\"\ngiven_names = \"/name/vornamen\"",
    );
    let by_url = by_url.split("[[evidence]]\ntype = \"income\"").next().unwrap().to_owned();
    let by_url = folder.open(&by_url).await.unwrap();
    for evil in [
        "' OR '1'='1",
        "\"}, \"geboren\": {\"$gt\": \"",
        "a&b=*#x",
        "{idnr}",
        "../../admin",
        "x\r\nHost: evil\r\n\r\nGET / HTTP/1.1",
        "\0\u{202e}%00%2e",
        "",
    ] {
        for register in [&register, &by_url] {
            let answer = ask(register, BIRTH, FIELDS, by_names(evil, "Anna", "1990-02-28")).await;
            assert!(matches!(answer, Ok(Answer::Nothing)), "{evil}");
        }
        let seen = server.seen();
        let [.., posted, got] = seen.as_slice() else { panic!("{}", seen.len()) };
        let body: Value = serde_json::from_slice(&posted.body).unwrap();
        assert_eq!(body, json!({ "geboren": "28.02.1990", "familie": evil }));
        let target = &got.target;
        let (name, rest) = target.strip_prefix("/p?n=").unwrap().split_once('&').unwrap();
        assert_eq!(rest, "b=28.02.1990");
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{name}");
        assert_eq!(got.headers.iter().filter(|(name, _)| name == "host").count(), 1);
    }
}

/// What the operator reads.
async fn problem(register: &ConfiguredRegister) -> RegisterFault {
    match ask(register, BIRTH, FIELDS, anna()).await {
        Err(fault) => fault,
        Ok(_) => panic!("there is an answer"),
    }
}

fn raw(head: &str, body: &[u8]) -> WebReply {
    WebReply::Raw([head.as_bytes(), b"\r\n\r\n", body].concat())
}

/// What the server does, a word of the operator's error, and whether the person may be why.
fn misbehaviour() -> Vec<(WebReply, &'static str, bool)> {
    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json";
    let with = |key: &str, value: Value| {
        let mut all = people();
        all[0]["name"]["vornamen"] = json!("Geheim");
        match key.rsplit_once('/') {
            Some((object, name)) if value == json!("absent") => {
                let object = all[0].pointer_mut(object).unwrap();
                object.as_object_mut().unwrap().remove(name);
            }
            _ => *all[0].pointer_mut(key).unwrap() = value,
        }
        hits(json!(all))
    };
    let good = json!({ "hits": people(), "secret": "Geheim" }).to_string();
    let long = format!("{HEAD}\r\ncontent-length: {}", good.len() + 10);
    let deep = format!("{{\"hits\": {}{}}}", "[".repeat(5000), "]".repeat(5000));
    let rows = format!("{{\"hits\": [{}{{}}]}}", "{},".repeat(1_000_000));
    let linked = WebReply::Answer {
        status: 200,
        headers: vec![
            ("content-type".into(), "application/json".into()),
            ("link".into(), "<https://x.example/?p=2>; rel=\"next\"".into()),
        ],
        body: good.clone().into(),
    };
    let zipped = format!("{HEAD}\r\ncontent-encoding: gzip\r\ncontent-length: 4");
    vec![
        (WebReply::status(500), "status 500, content type none", true),
        (WebReply::status(200), "content type none: this is no JSON", true),
        (WebReply::status(503), "status 503", false),
        (WebReply::status(401), "check `auth`", false),
        (WebReply::status(302), "redirects are not followed", false),
        (WebReply::of(200, "text/html", "<p>Geheim</p>"), "type text/html: this is no JSON", true),
        (WebReply::of(418, "x/Geheim Akte", "x"), "content type unreadable", true),
        (WebReply::json("Geheim"), "no JSON at line 1", true),
        (WebReply::json(r#"{"hits": [], "hits": []}"#), "one name twice", true),
        (WebReply::json(b"{\"hits\": \"\xff\xfe\"}".to_vec()), "no JSON at line 1", true),
        (WebReply::json(r#"{"hits": NaN}"#), "no JSON", true),
        (WebReply::json(r#"{"hits": [1e99999]}"#), "no JSON", true),
        (WebReply::json(deep), "deeper than 32", true),
        (WebReply::json(rows), "longer than 1048576 bytes", true),
        (WebReply::json("[]"), "nothing at `/hits` (`rows`)", true),
        (hits(json!({})), "no list at `/hits` (`rows`)", true),
        (hits(json!([1])), "a candidate is no object", true),
        (hits(json!([{}])), "nothing at `/geboren` (`birth_date`)", true),
        (hits(json!([{ "geboren": "1990-02-28" }])), "is in `birth_date_format`", true),
        (hits(json!([{ "geboren": "28.02.1990" }])), "nothing at `/idnr` (`match`)", true),
        (with("/sperre", json!("absent")), "nothing at `/sperre` (`blocked`)", true),
        (with("/gewicht", json!("absent")), "nothing at `/gewicht`", true),
        (with("/gewicht", json!("Geheim")), "field `weight`", true),
        (with("/gewicht", json!(1e300)), "field `weight`", true),
        (with("/gewicht", json!({ "Geheim": 1 })), "field `weight`", true),
        (with("/geschlecht", json!(7)), "it is not in `codes`", true),
        (linked, "more candidates than it holds", true),
        (raw(&zipped, b"\x1f\x8b\x08\0"), "compressed", true),
        (raw(&long, good.as_bytes()), "the answer broke off", false),
        (raw("HTTP/1.1 200 Geheim\r\nGeheim", b""), "the answer broke off", false),
        (raw("Geheim", b"Geheim"), "the answer broke off", false),
        (WebReply::Raw(vec![0x16, 3, 1, 0, 0xff]), "the answer broke off", false),
        (WebReply::Close, "the answer broke off", false),
    ]
}

#[tokio::test]
async fn misbehaviour_is_a_fault_in_time_and_leaks_nothing() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let register = folder.open(&config(&server.url(), POST)).await.unwrap();
    for (reply, word, about_the_person) in misbehaviour() {
        let shown = format!("{word} / {reply:.60?}");
        server.answers(move |_| reply.clone());
        let began = Instant::now();
        let fault = problem(&register).await;
        assert!(began.elapsed() < Duration::from_secs(4), "{shown}");
        assert_eq!(matches!(fault, RegisterFault::Value { .. }), about_the_person, "{shown}");
        let text = fault.to_string();
        assert!(text.contains(word), "{text} instead of {shown}");
        let leak = ["Geheim", "Müller", ANNA, "1990"].iter().find(|word| text.contains(**word));
        assert_eq!(leak, None, "{text}");
    }
    // Nothing is stuck.
    server.answers(everybody);
    assert_eq!(found(&register, BIRTH, FIELDS, anna()).await.subject.idnr, ANNA);
}

#[tokio::test]
async fn what_says_that_there_are_more_is_a_fault() {
    const MORE: &str = "more candidates than it holds";
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let keys = format!("{POST}more = \"/next\"\ntotal = \"/count\"");
    let register = folder.open(&config(&server.url(), &keys)).await.unwrap();
    let sent = people().len();
    let pages = [
        (json!({ "next": null, "count": sent }), None),
        (json!({ "next": "", "count": sent }), None),
        (json!({ "next": false, "count": sent }), None),
        (json!({ "count": 0 }), None),
        (json!({ "next": "/p?page=2", "count": sent }), Some(MORE)),
        (json!({ "next": true, "count": sent }), Some(MORE)),
        (json!({ "next": { "page": 2 }, "count": sent }), Some(MORE)),
        (json!({ "count": sent + 1 }), Some(MORE)),
        (json!({ "count": u64::MAX }), Some(MORE)),
        (json!({}), Some("no number at `/count` (`total`)")),
        (json!({ "count": "5" }), Some("no number at `/count` (`total`)")),
        (json!({ "count": 5.5 }), Some("no number at `/count` (`total`)")),
    ];
    for (page, problem) in pages {
        let mut answer = page.clone();
        answer["hits"] = json!(people());
        server.answers(move |_| WebReply::json(answer.to_string()));
        match (ask(&register, BIRTH, FIELDS, anna()).await, problem) {
            (Ok(Answer::Found(_)), None) => {}
            (Err(fault), Some(problem)) => {
                assert!(fault.to_string().contains(problem), "{page}: {fault}");
            }
            (answer, _) => panic!("{page}: {answer:?}"),
        }
    }
    server.answers(everybody);
    assert!(ask(&register, BIRTH, FIELDS, anna()).await.is_err(), "`total` may not go silent");
}

#[tokio::test]
async fn slowness_ends_at_the_limit_and_frees_its_place() {
    let server = WebServer::start(|_| WebReply::Hang, None).await;
    let folder = Folder::new();
    let keys = format!("{POST}concurrent = 2");
    let config = config(&server.url(), &keys).replace("timeout_ms = 3000", "timeout_ms = 300");
    let register = folder.open(&config).await.unwrap();
    let drip = WebReply::Drip(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), Duration::from_millis(50));
    for reply in [WebReply::Hang, drip] {
        server.answers(move |_| reply.clone());
        let began = Instant::now();
        let several = (0..6).map(|_| ask(&register, BIRTH, FIELDS, anna()));
        for answer in join_all(several).await {
            let text = answer.err().unwrap().to_string();
            assert!(text.contains("in time") || text.contains("within 300 ms"), "{text}");
        }
        assert!(began.elapsed() < Duration::from_millis(1500));
    }
    server.answers(everybody);
    assert_eq!(found(&register, BIRTH, FIELDS, anna()).await.subject.idnr, ANNA);
}

/// Runs all at once on this task.
async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        pending.retain_mut(|future| match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => {
                done.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pending.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done
}

#[tokio::test]
async fn tried_again_once_and_only_where_that_is_harmless() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let harmless = folder.open(&config(&server.url(), POST)).await.unwrap();
    let other = POST.replace("idempotent = true", "");
    let harmful = folder.open(&config(&server.url(), &other)).await.unwrap();
    for reply in [WebReply::Close, WebReply::status(503)] {
        for (register, tries) in [(&harmless, 2), (&harmful, 1)] {
            let before = server.seen().len();
            let again = reply.clone();
            server.answers(move |_| again.clone());
            problem(register).await;
            assert_eq!(server.seen().len() - before, tries);
        }
        let first = AtomicUsize::new(0);
        let bad = reply.clone();
        server.answers(move |request| match first.fetch_add(1, Ordering::Relaxed) {
            0 => bad.clone(),
            _ => everybody(request),
        });
        assert_eq!(found(&harmless, BIRTH, FIELDS, anna()).await.subject.idnr, ANNA);
    }
    // An answer that is wrong is no better the second time.
    let before = server.seen().len();
    server.answers(|_| WebReply::status(500));
    problem(&harmless).await;
    assert_eq!(server.seen().len() - before, 1);
}

#[tokio::test]
async fn nobody_and_null() {
    let server = WebServer::start(|_| WebReply::status(404), None).await;
    let folder = Folder::new();
    let keys = POST.replace("rows = \"/hits\"", "nothing = [404, 410]\nabsent_is_null = true");
    let register = folder.open(&config(&server.url(), &keys)).await.unwrap();
    for status in [404, 410] {
        server.answers(move |_| WebReply::of(status, "text/html", "<p>"));
        assert!(matches!(ask(&register, BIRTH, FIELDS, anna()).await, Ok(Answer::Nothing)));
    }
    server.answers(|_| WebReply::status(204));
    assert!(problem(&register).await.to_string().contains("status 204"));
    // One object, NULLs everywhere.
    let nulls = json!({ "idnr": ANNA, "name": null, "geboren": "28.02.1990", "geschlecht": null,
        "sperre": null, "lohn": { "monate": null } });
    let sent = nulls.to_string();
    server.answers(move |_| WebReply::json(sent.clone()));
    assert_eq!(
        values(&found(&register, BIRTH, FIELDS, anna()).await),
        json!({
        "birth_date": "1990-02-28" })
    );
    assert_eq!(values(&found(&register, "income", &["gross", "months"], anna()).await), json!({}));
    // No birth date is nobody's.
    let sent = json!({ "idnr": ANNA, "geboren": null }).to_string();
    server.answers(move |_| WebReply::json(sent.clone()));
    assert!(ask(&register, BIRTH, FIELDS, anna()).await.is_err());
}

#[tokio::test]
async fn one_person_twice_is_one_only_if_all_is_equal() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    let register = folder.open(&config(&server.url(), POST)).await.unwrap();
    let twice = |change: fn(&mut Value)| {
        let mut all = people();
        let mut other = all[0].clone();
        change(&mut other);
        all.push(other);
        move |_: &WebRequest| hits(json!(all))
    };
    let fields = &["months"];
    server.answers(twice(|_| {}));
    assert!(matches!(ask(&register, "income", fields, anna()).await, Ok(Answer::Found(_))));
    server.answers(twice(|other| other["lohn"]["monate"][0]["brutto"] = json!(9)));
    assert!(matches!(ask(&register, "income", fields, anna()).await, Ok(Answer::Ambiguous)));
    server.answers(twice(|other| other["sperre"] = json!(["Auskunftssperre"])));
    assert!(found(&register, BIRTH, FIELDS, anna()).await.blocked);
    server.answers(twice(|other| other["sperre"] = json!([])));
    assert!(!found(&register, BIRTH, FIELDS, anna()).await.blocked);
}

fn secret(folder: &Folder, name: &str, text: &str, mode: u32) {
    std::fs::write(folder.path(name), text).unwrap();
    std::fs::set_permissions(folder.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
}
