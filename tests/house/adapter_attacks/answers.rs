// SPDX-License-Identifier: EUPL-1.2
//! SAME-ANSWER: found, nothing, blocked and ambiguous look alike to the broker, in size and time.

use std::time::{Duration, Instant};

use einmal::{
    demo::{people::BREMEN, plan::Plan},
    rules::{Edition, read_folder},
};
use einmal_peer::files;
use einmal_protocol::{envelope::payload_type, person::PersonQuery, wire::v1::Outcome};
use prost::Message;

use super::stage::{Stage, TYPE};

/// So long that a debug build does not reach it by itself.
const EARLIEST: Duration = Duration::from_millis(300);

/// Rules under which every answer takes at least that long.
fn slow_rules(plan: &Plan) {
    let folder = plan.folder.join("rules");
    let edition = Edition {
        version: 1,
        previous: None,
        issued_at_ms: plan.issued_at_ms,
        expires_at_ms: plan.issued_at_ms + 86_400_000,
    };
    let mut rules = read_folder(&folder, edition).unwrap_or_else(|exit| panic!("{exit}"));
    for evidence_type in &mut rules.evidence_types {
        evidence_type.earliest_ms = u32::try_from(EARLIEST.as_millis()).unwrap();
    }
    let signers = ["register-authority", "data-protection-officer"];
    let signed = plan.sign(payload_type::RULES, &rules, &signers);
    let signed = signed.unwrap_or_else(|exit| panic!("{exit}"));
    files::replace(&plan.folder.join("trust/rules.signed"), &signed.encode_to_vec()).unwrap();
}

/// What a broker can see of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    commitment: usize,
    chunks: Vec<usize>,
}

#[tokio::test(flavor = "multi_thread")]
async fn found_or_not_every_answer_has_one_shape_and_one_time() {
    let mut stage = Stage::with(slow_rules).await;
    let town = &stage.plan.town;
    let blocked = town.blocked.iter().map(|index| &town.people[*index]);
    let blocked = blocked.clone().find(|person| person.place == BREMEN).unwrap();
    let nobody = |idnr: &str| PersonQuery::Idnr {
        idnr: idnr.to_owned(),
        birth_date: "1970-01-01".to_owned(),
    };
    let (found, alike) = (&town.people[town.applicant], &town.people[town.alike.0]);
    let unknown = PersonQuery::Names {
        family_name: "Niemand".to_owned(),
        given_names: "N.".to_owned(),
        birth_date: "1970-01-01".to_owned(),
    };
    let cases = vec![
        ("found", found.by_residence(), Outcome::Found),
        ("found by number", found.by_idnr(), Outcome::Found),
        ("another person", town.people[town.partner].by_names(), Outcome::Found),
        ("nobody", unknown, Outcome::NothingFound),
        ("another's birth date", nobody(&found.idnr), Outcome::NothingFound),
        ("blocked", blocked.by_residence(), Outcome::NothingFound),
        ("blocked by number", blocked.by_idnr(), Outcome::NothingFound),
        ("ambiguous", alike.by_names(), Outcome::Ambiguous),
        ("ambiguous by residence", alike.by_residence(), Outcome::Ambiguous),
        ("one of the two", alike.by_idnr(), Outcome::Found),
    ];
    let mut first = None;
    for (name, query, outcome) in cases {
        let mut ask = stage.ask(TYPE);
        ask.person.query = query;
        let prepared = stage.prepare(ask).await;
        let open = stage.open_of(&prepared.signed_request, &prepared.sealed_person);
        let began = Instant::now();
        let committed = stage.commit(open).await;
        let took = began.elapsed();
        let chunks = stage.reveal(&committed).await;
        let shape = Shape {
            commitment: committed.body.commitment.len(),
            chunks: chunks.iter().map(Vec::len).collect(),
        };
        let slots: Vec<usize> =
            committed.commitment.slots.iter().map(|slot| slot.sealed_record.len()).collect();
        assert!(slots.iter().all(|length| *length == slots[0]), "{name}: {slots:?}");
        assert_eq!(&shape, first.get_or_insert_with(|| shape.clone()), "{name}");
        assert!(took >= EARLIEST, "{name}: {took:?}");
        // Only inside the seal do they differ.
        let received = stage.deliver(&prepared, &committed, chunks.concat()).await;
        assert_eq!(received.outcome, outcome, "{name}");
        assert_eq!(received.values.is_empty(), outcome != Outcome::Found, "{name}");
    }
}
