// SPDX-License-Identifier: EUPL-1.2
//! BLIND-BROKER and SAME-ANSWER: with a known person and known evidence, nothing of them is
//! anywhere at the broker, and found and not found have the same sizes everywhere.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use einmal::demo::people::town;
use einmal_client::{Ask, Client};
use einmal_protocol::{
    person::{PersonQuery, idnr_check_digit},
    wire::{evidence::v1::RequestEvidenceRequest, v1::Outcome},
};
use prost::Message;
use tracing::Level;

use crate::{
    figures,
    hearing::Hearing,
    refusals::{dial, send},
    world::World,
};

/// What may be found nowhere: number, names, birth date, street of the one who applies.
fn canaries() -> Vec<Vec<u8>> {
    let town = town();
    let person = town.person(town.applicant).unwrap();
    [&person.idnr, &person.full_name(), &person.birth_date, &person.street, &person.birth_name]
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .chain([b"EG-2026-0042".to_vec(), b"sachbearbeitung-17".to_vec()])
        .collect()
}

fn find(bytes: &[u8], canaries: &[Vec<u8>]) -> Option<String> {
    canaries
        .iter()
        .find(|canary| bytes.windows(canary.len()).any(|window| window == canary.as_slice()))
        .map(|canary| String::from_utf8_lossy(canary).into_owned())
}

/// Reads every log line of the whole test process, of every party, at the finest level.
#[derive(Clone)]
struct Watcher {
    canaries: Arc<Vec<Vec<u8>>>,
    lines: Arc<AtomicU64>,
    leaked: Arc<AtomicBool>,
}

impl Watcher {
    fn read(&self, line: &[u8]) {
        self.lines.fetch_add(1, Ordering::Relaxed);
        if find(line, &self.canaries).is_some() {
            self.leaked.store(true, Ordering::Relaxed);
        }
    }
}

fn files_below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_person_or_evidence_is_anywhere_at_the_broker() {
    let canaries = canaries();
    let logs = Watcher {
        canaries: Arc::new(canaries.clone()),
        lines: Arc::default(),
        leaked: Arc::default(),
    };
    let watching = logs.clone();
    let _hearing = Hearing::all(Level::TRACE, move |line| watching.read(line));
    // The net must be able to catch: the same search finds them where they belong.
    let world = World::start().await;
    let mut registers = Vec::new();
    files_below(&world.folder.path().join("registers"), &mut registers);
    let caught =
        registers.iter().any(|path| find(&std::fs::read(path).unwrap(), &canaries).is_some());
    assert!(caught, "the search finds nobody in the registers themselves");
    let client = world.house.client().await.unwrap();
    let mut evidence = dial(&world, "it-bremen");
    for kind in ["residence-registration", "wage-tax-data", "residence-title", "pay-data"] {
        let prepared = client.prepare(&[world.ask(kind)]).await.unwrap().remove(0);
        let request = RequestEvidenceRequest {
            signed_request: prepared.signed_request.clone(),
            sealed_person: prepared.sealed_person.clone(),
            seen_size: 0,
        };
        assert_eq!(find(&request.encode_to_vec(), &canaries), None, "{kind}, request");
        let answer = send(&mut evidence, prepared.signed_request.clone(), &prepared).await.unwrap();
        assert_eq!(find(&answer.encode_to_vec(), &canaries), None, "{kind}, answer");
        let received = client.send(&prepared).await.unwrap();
        assert_eq!(received.outcome, Outcome::Found, "{kind}");
        // A refusal and a wrong question are logged too.
        let refused = Ask { purpose: "child-benefit".into(), ..world.ask(kind) };
        assert!(client.ask(refused).await.is_err());
    }
    let text = figures::get(world.house.broker.metrics, "/metrics").await.1;
    assert!(text.contains("einmal_broker_exchanges_total"), "{text}");
    assert_eq!(find(text.as_bytes(), &canaries), None, "metrics");
    let folder = world.folder.path().to_owned();
    let mut at_broker = Vec::new();
    files_below(&folder.join("broker"), &mut at_broker);
    files_below(&folder.join("memory"), &mut at_broker);
    assert!(at_broker.iter().any(|path| path.ends_with("broker/ledger.sqlite")));
    for path in &at_broker {
        assert_eq!(find(&std::fs::read(path).unwrap(), &canaries), None, "{}", path.display());
    }
    // The cockpit keeps what the citizen reads, and names nobody at rest either.
    let mut at_cockpit = Vec::new();
    files_below(&folder.join("cockpit"), &mut at_cockpit);
    for path in &at_cockpit {
        assert_eq!(find(&std::fs::read(path).unwrap(), &canaries), None, "{}", path.display());
    }
    world.house.stop().await;
    assert!(logs.lines.load(Ordering::Relaxed) > 1_000, "the log was not watched");
    assert!(!logs.leaked.load(Ordering::Relaxed), "a log line names the person");
}

/// A number that nobody in the town has, with a right check digit.
fn nobody() -> PersonQuery {
    let digits = [9, 8, 7, 6, 5, 4, 3, 2, 1, 9];
    let mut idnr: String = digits.iter().map(ToString::to_string).collect();
    idnr.push_str(&idnr_check_digit(&digits).to_string());
    PersonQuery::Idnr { idnr, birth_date: "1990-01-01".into() }
}

/// How long everything is that a question leaves on its way: at the broker, on the line, in the
/// ledger.
pub(crate) async fn shape(
    world: &World,
    client: &Client,
    ask: Ask,
    expected: Outcome,
) -> [usize; 6] {
    let mut evidence = dial(world, "it-bremen");
    let prepared = client.prepare(&[ask]).await.unwrap().remove(0);
    let answer = send(&mut evidence, prepared.signed_request.clone(), &prepared).await.unwrap();
    let received = client.send(&prepared).await.unwrap();
    assert_eq!(received.outcome, expected);
    assert_eq!(received.values.is_empty(), expected != Outcome::Found);
    let index = received.proven.index();
    let stored = world.house.broker.broker.ledger.entries(index, 1).await.unwrap();
    [
        prepared.signed_request.len(),
        prepared.sealed_person.len(),
        answer.permit.len(),
        answer.commitment.len(),
        answer.sealed_evidence.len(),
        stored[0].body.as_ref().unwrap().len(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn found_and_not_found_have_the_same_sizes_everywhere() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let found = world.ask("wage-tax-data");
    let mut missing = found.clone();
    missing.person.query = nobody();
    let mut shapes = Vec::new();
    for (ask, expected) in [(found, Outcome::Found), (missing, Outcome::NothingFound)] {
        shapes.push(shape(&world, &client, ask, expected).await);
    }
    assert_eq!(shapes[0], shapes[1]);
    world.house.stop().await;
}
