// SPDX-License-Identifier: EUPL-1.2
//! The connector: curl gets an evidence in one line; seventeen come with one call; a hostile
//! application gets nothing, a hostile broker is found out, each with an error that names the hop.

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use einmal::demo::{
    connector::DemoConnector,
    plan::{AUTHORITY, KEEPER},
    registers::questions,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    adapter_attacks::double::{Double, Tamper},
    refusals::dial,
    world::World,
};

const TYPE: &str = "residence-registration";

/// Sends bytes as they are and reads to the end.
async fn raw(connector: &DemoConnector, bytes: &[u8]) -> String {
    let stream = TcpStream::connect(connector.url.strip_prefix("http://").unwrap());
    let mut stream = stream.await.unwrap();
    // Who is turned away may be so before all was written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

async fn call(connector: &DemoConnector, token: &str, path: &str, body: &Value) -> (u16, Value) {
    let (body, method) = match body {
        Value::Null => (String::new(), "GET"),
        body => (body.to_string(), "POST"),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    parse(&raw(connector, request.as_bytes()).await)
}

fn parse(answer: &str) -> (u16, Value) {
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{answer:?}"));
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn person(world: &World) -> Value {
    let town = &world.house.plan.town;
    let person = town.person(town.applicant).unwrap();
    json!({ "idnr": person.idnr, "birth_date": person.birth_date })
}

fn question(world: &World) -> Value {
    json!({
        "evidence_type": TYPE,
        "fields": ["street", "place"],
        "purpose": "parental-allowance",
        "person": person(world),
        "case_reference": "EG-2026-0042",
    })
}

fn with(mut question: Value, key: &str, value: impl Into<Value>) -> Value {
    question[key] = value.into();
    question
}

/// The line that the demo prints, in a shell.
fn curl_gets_one(world: &World, connector: &DemoConnector) {
    let line = connector.curl(&world.house);
    let curl = Command::new("sh").args(["-c", &line]).output().unwrap();
    let answer: Value = serde_json::from_slice(&curl.stdout).unwrap();
    assert_eq!(answer["outcome"], "found", "{answer}");
    assert_eq!(answer["reported"], true);
    assert!(answer["fields"]["street"].is_string() && answer["answered_at_ms"].is_u64());
    assert!(answer["receipt"]["checkpoint"].as_str().unwrap().contains("einmal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_gets_an_evidence_in_one_line_and_seventeen_come_with_one_call() {
    let world = World::start().await;
    let connector = DemoConnector::start(&world.house).await.unwrap_or_else(|e| panic!("{e}"));
    curl_gets_one(&world, &connector);
    let wanted = questions(&world.house.plan.town);
    let wanted: Vec<Value> = wanted
        .iter()
        .map(|q| json!({ "evidence_type": q.evidence_type, "fields": q.fields, "register": q.register }))
        .collect();
    let (mut slowest, token) = (Duration::ZERO, &connector.token);
    let circumstances = json!({ "purpose": "parental-allowance", "person": person(&world) });
    let mut answered = Vec::new();
    for alone in &wanted {
        let mut one = alone.clone();
        one.as_object_mut().unwrap().extend(circumstances.as_object().unwrap().clone());
        let began = Instant::now();
        let (status, answer) = call(&connector, token, "/v1/evidence", &one).await;
        slowest = slowest.max(began.elapsed());
        if status == 200 {
            answered.push(alone.clone());
        } else {
            // Some sources know nobody by the identification number.
            assert_eq!((status, answer["hop"].as_str()), (503, Some("register")), "{answer}");
        }
    }
    assert!(answered.len() >= 10, "{}", answered.len());
    let wanted: Vec<Value> = answered.iter().cycle().take(17).cloned().collect();
    let many = with(circumstances, "evidences", wanted);
    let began = Instant::now();
    let (status, answers) = call(&connector, token, "/v1/evidences", &many).await;
    let took = began.elapsed();
    assert_eq!(status, 200, "{answers}");
    let answers = answers["evidences"].as_array().unwrap();
    assert_eq!(answers.len(), 17);
    for answer in answers {
        assert_eq!(answer["evidence_type"], answer["answer"]["evidence_type"], "{answer}");
    }
    eprintln!("slowest alone {slowest:?}, seventeen together {took:?}");

    // One that is not there leaves the others their answers.
    let partial = json!([
        { "evidence_type": TYPE, "fields": ["place"] },
        { "evidence_type": TYPE, "fields": ["place"], "register": "nirgends" },
        { "evidence_type": TYPE, "fields": ["religion"] },
    ]);
    let (_, partial) =
        call(&connector, token, "/v1/evidences", &with(many, "evidences", partial)).await;
    let partial = &partial["evidences"];
    assert_eq!(partial[0]["answer"]["outcome"], "found", "{partial}");
    assert_eq!(partial[1]["problem"]["reason"], "NOT_IN_DIRECTORY");
    assert_eq!(partial[2]["problem"]["hop"], "broker", "{partial}");
    // What is there, whether it would be given, and what became of it.
    let (_, catalogue) = call(&connector, token, "/v1/catalogue", &Value::Null).await;
    assert_eq!(catalogue["authority"], AUTHORITY);
    let types = catalogue["evidence_types"].as_array().unwrap();
    let residence = types.iter().find(|kind| kind["evidence_type"] == TYPE).unwrap();
    assert_eq!(residence["registers"][0], "meldebehoerde-bremen", "{catalogue}");
    examples_run(&connector, &question(&world)).await;
    let (_, yes) = call(&connector, token, "/v1/explain", &question(&world)).await;
    assert_eq!(yes["permitted"], true, "{yes}");
    let no = with(question(&world), "fields", json!(["place", "religion"]));
    let (_, no) = call(&connector, token, "/v1/explain", &no).await;
    assert_eq!(no["permitted"], false, "{no}");
    let id = partial[0]["answer"]["id"].as_str().unwrap();
    let (path, used) = (format!("/v1/evidence/{id}/use"), json!({ "use": "discarded" }));
    // Another application cannot report it, nor anybody twice.
    assert_eq!(call(&connector, &connector.other_token, &path, &used).await.0, 404);
    assert_eq!(call(&connector, token, &path, &used).await.0, 200);
    assert_eq!(call(&connector, token, &path, &used).await.0, 404);
    connector.running.stop().await;
    world.house.stop().await;
}

/// Calls that get no further than the connector, and errors that name nobody.
async fn are_refused(connector: &DemoConnector, asked: &Value) {
    let token = &connector.token;
    let mut person_with_more = asked.clone();
    person_with_more["person"]["nickname"] = "x".into();
    for (name, token, body, expected) in [
        ("no token", "", asked.clone(), (401, "UNKNOWN_TOKEN")),
        ("a guess", "x", asked.clone(), (401, "UNKNOWN_TOKEN")),
        (
            "another's authority",
            &connector.other_token,
            with(asked.clone(), "authority", AUTHORITY),
            (403, "APPLICATION_MAY_NOT"),
        ),
        (
            "another purpose",
            token,
            with(asked.clone(), "purpose", "child-benefit"),
            (403, "APPLICATION_MAY_NOT"),
        ),
        (
            "another evidence",
            token,
            with(asked.clone(), "evidence_type", "criminal-record"),
            (403, "APPLICATION_MAY_NOT"),
        ),
        ("a key more", token, with(asked.clone(), "limit", 1), (400, "MALFORMED_CALL")),
        ("of a person", token, person_with_more, (400, "MALFORMED_CALL")),
        (
            "a number for a name",
            token,
            with(asked.clone(), "person", json!({ "family_name": ["Geheim"] })),
            (400, "MALFORMED_CALL"),
        ),
        (
            "nobody",
            token,
            with(asked.clone(), "person", json!({ "birth_date": "1990-01-01" })),
            (403, "QUERY_NOT_LAWFUL"),
        ),
        (
            "too long",
            token,
            with(asked.clone(), "clerk", "x".repeat(70_000)),
            (413, "CALL_TOO_LARGE"),
        ),
    ] {
        let (status, problem) = call(connector, token, "/v1/evidence", &body).await;
        assert_eq!((status, problem["reason"].as_str()), (expected.0, Some(expected.1)), "{name}");
        let hop = problem["hop"].as_str().unwrap();
        assert!(["application", "connector"].contains(&hop), "{name}: {hop}");
        let text = problem.to_string();
        let idnr = asked["person"]["idnr"].as_str().unwrap();
        assert!(!text.contains("Geheim") && !text.contains(idnr), "{name}: {text}");
    }
}

/// The examples of docs/examples, as they are, where the language is installed.
async fn examples_run(connector: &DemoConnector, question: &Value) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
    for (language, file) in [("python3", "evidence.py"), ("node", "evidence.mjs")] {
        let (url, token) = (connector.url.clone(), connector.token.clone());
        let (path, question) = (format!("{folder}/{file}"), question.to_string());
        let run = move || {
            let mut child = Command::new(language)
                .arg(path)
                .envs([("EINMAL_URL", url), ("EINMAL_TOKEN", token)])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .ok()?;
            child.stdin.take()?.write_all(question.as_bytes()).ok()?;
            Some(child.wait_with_output().unwrap())
        };
        let Some(output) = tokio::task::spawn_blocking(run).await.unwrap() else {
            eprintln!("{language} is not installed: {file} is not run");
            continue;
        };
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert_eq!(told["outcome"], "found", "{file}: {output:?}");
        assert!(told["logged_at"].is_u64(), "{file}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_application_gets_nothing() {
    let world = World::start().await;
    let broker = format!("https://{}", world.house.broker.address);
    let more = "limits = { read_ms = 300, in_flight = 2 }";
    let connector = DemoConnector::asking(&world.house, &broker, more).await;
    let connector = connector.unwrap_or_else(|exit| panic!("{exit}"));
    let (token, asked) = (&connector.token, question(&world));
    let size = || world.house.broker.broker.ledger.checkpoint().size();
    let before = size();
    are_refused(&connector, &asked).await;
    // Half a header, and half a body.
    let began = Instant::now();
    raw(&connector, b"POST /v1/evidence HTTP/1.1\r\nhost: localhost\r\n").await;
    let half = format!(
        "POST /v1/evidence HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-length: 99\r\n\r\n{{"
    );
    // As many as may be at work are; one more is told so; then there is room again.
    let (one, two, third) =
        tokio::join!(raw(&connector, half.as_bytes()), raw(&connector, half.as_bytes()), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            call(&connector, token, "/v1/evidence", &asked).await
        });
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    for slow in [one, two] {
        assert_eq!(parse(&slow).0, 408, "{slow}");
    }
    assert_eq!((third.0, third.1["reason"].as_str()), (429, Some("CONNECTOR_BUSY")));
    // None of it went any further.
    assert_eq!(size(), before);
    let (status, answer) = call(&connector, token, "/v1/evidence", &asked).await;
    assert_eq!((status, answer["outcome"].as_str()), (200, Some("found")), "{answer}");
    connector.running.stop().await;
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_broker_is_found_out_and_named() {
    let world = World::start().await;
    let participants = [KEEPER, "meldebehoerde-bremen"].map(str::to_owned);
    let cards = world.house.broker.broker.cards.envelopes(&participants);
    let listen = "127.0.0.1:0".parse().unwrap();
    let double = Double::start(&world.house.plan, listen, cards).await;
    let broker = format!("https://{}", double.address);
    let connector = DemoConnector::asking(&world.house, &broker, "").await;
    let connector = connector.unwrap_or_else(|exit| panic!("{exit}"));
    let (token, asked) = (connector.token.as_str(), question(&world));
    type Case = (&'static str, Tamper, Option<(&'static str, &'static str)>);
    let cases: [Case; 7] = [
        ("the truth", |_, _| (), None),
        (
            "an earlier answer",
            |answer, earlier| answer.clone_from(earlier),
            Some(("ANSWER_NOT_TRUE", "broker")),
        ),
        (
            "an earlier answer's evidence",
            |answer, earlier| answer.sealed_evidence.clone_from(&earlier.sealed_evidence),
            Some(("ANSWER_NOT_TRUE", "broker")),
        ),
        (
            "its commitment",
            |answer, earlier| answer.commitment.clone_from(&earlier.commitment),
            Some(("ANSWER_NOT_TRUE", "broker")),
        ),
        (
            "an old receipt",
            |answer, earlier| answer.receipt.clone_from(&earlier.receipt),
            Some(("NOT_PROVEN", "ledger")),
        ),
        (
            "a wrong proof",
            |answer, _| answer.receipt.as_mut().unwrap().inclusion.reverse(),
            Some(("NOT_PROVEN", "ledger")),
        ),
        ("no receipt", |answer, _| answer.receipt = None, Some(("ANSWER_NOT_TRUE", "broker"))),
    ];
    for (name, tamper, expected) in cases {
        double.relay(dial(&world, "it-bremen"), tamper);
        let (status, answer) = call(&connector, token, "/v1/evidence", &asked).await;
        let Some((reason, hop)) = expected else {
            assert_eq!(answer["outcome"], "found", "{name}: {answer}");
            continue;
        };
        assert_eq!((status, &answer["fields"]), (502, &Value::Null), "{name}: {answer}");
        assert_eq!((&answer["reason"], &answer["hop"]), (&reason.into(), &hop.into()), "{name}");
    }
    // Never answers: the other broker of the directory does.
    double.hang(true);
    let patient = with(asked.clone(), "deadline_ms", 3_000);
    let (_, answer) = call(&connector, token, "/v1/evidence", &patient).await;
    assert_eq!(answer["outcome"], "found", "{answer}");
    // And with nobody else, the deadline bounds it.
    world.house.stop().await;
    let began = Instant::now();
    let impatient = with(asked, "deadline_ms", 500);
    let (status, answer) = call(&connector, token, "/v1/evidence", &impatient).await;
    assert!(status >= 500 && answer["hop"] == "broker", "{status} {answer}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    connector.running.stop().await;
}
