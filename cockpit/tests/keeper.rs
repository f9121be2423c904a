// SPDX-License-Identifier: EUPL-1.2
//! The keeper over a ledger of real bodies, honest and hostile.

#![allow(clippy::unwrap_used, reason = "a test")]

mod house;

use einmal_cockpit::{
    export::{ExportError, ExportFile},
    finding::Finding,
    keeper::{DayKeyError, DayKeys, IntakeError},
};
use einmal_protocol::{
    Digest,
    envelope::payload_type,
    leaf::{Leaf, LeafKind, body_bytes},
    merkle::Edge,
    note::Checkpoint,
    receipt,
    time::{DAY_MS, SKEW_MS, YESTERDAY_UNTIL_MS, day_of},
    wire::{
        cockpit::v1::{ExportRecordRequest, ListRecordsRequest},
        v1::{KeyCard, Outcome, Subject, SubjectRole, Use, UseBody, body},
    },
};
use house::*;
use prost::Message;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_found_by_its_person_and_by_nobody_else() {
    let mut house = House::build().await;
    let (me, child) = (canary(), other());
    let mut ask = Ask::about(&child);
    ask.records.push((by_birth(&me), SubjectRole::Affected));
    let first = house.make(&ask);
    house.log_made(&first);
    house.report(&first, Use::Used, 1);
    house.refusal(&Ask::about(&me), "NOT_PERMITTED");
    house.catch_up().await.unwrap();

    let mine = house.records(&me).await;
    assert_eq!(mine.iter().map(|record| record.index).collect::<Vec<_>>(), [2, 0]);
    assert_eq!(mine[0].refusal_reason, "NOT_PERMITTED");
    assert!(mine[0].access.is_none() && mine[0].permit.is_empty());
    let access = mine[1].access.clone().unwrap();
    assert_eq!(access.role(), SubjectRole::Affected);
    assert_eq!((mine[1].r#use(), mine[1].logged_at_ms), (Use::Used, NOW));
    assert!(mine.iter().all(|record| record.findings.is_empty()));

    let theirs = house.records(&child).await;
    assert_eq!(theirs.iter().map(|record| record.index).collect::<Vec<_>>(), [0]);
    assert_eq!(theirs[0].access.clone().unwrap().role(), SubjectRole::Asked);
    let stranger = Subject { idnr: "65929970489".into(), ..by_number(&child) };
    assert!(house.records(&stranger).await.is_empty());
    let half = Subject { idnr: String::new(), birth_place: String::new(), ..child };
    let request =
        ListRecordsRequest { subject: Some(half), login: demo(), ..ListRecordsRequest::default() };
    assert!(house.client().list_records(request).await.is_err(), "half an identity finds nothing");
    assert!(house.alarms().await.is_empty());
}

type Change = fn(&mut House, Ask) -> u64;

/// Each lie, how it is logged, and what must be found about it.
fn lies() -> Vec<(Finding, Change)> {
    fn changed(house: &mut House, mut ask: Ask, change: impl Fn(&mut Ask)) -> u64 {
        change(&mut ask);
        house.exchange(&ask)
    }
    vec![
        (Finding::AuthoritySignature, |h, a| changed(h, a, |a| a.authority_key = 9)),
        (Finding::RegisterSignature, |h, a| changed(h, a, |a| a.register_key = 9)),
        (Finding::OtherLedger, |h, a| changed(h, a, |a| a.ledger = "other.example/l".into())),
        (Finding::SubjectsDiffer, |h, a| {
            changed(h, a, |a| a.records = vec![(other(), SubjectRole::Asked)])
        }),
        (Finding::NobodyAsked, |h, a| changed(h, a, |a| a.records.clear())),
        (Finding::CasesDiffer, |h, a| changed(h, a, |a| a.register_case = "another".into())),
        (Finding::BeyondPermit, |h, a| changed(h, a, |a| a.released.push("religion".into()))),
        (Finding::SlotNotOpened, |h, a| changed(h, a, |a| a.spoilt_slot = Some(2))),
        (Finding::RecordOfOtherRequest, |h, a| {
            changed(h, a, |a| a.record_of = Some(Digest::of(b"another request")))
        }),
        (Finding::OtherRequest, |h, a| {
            let (mut one, two) = (h.make(&a), h.make(&Ask::about(&other())));
            one.commitment = two.commitment;
            h.log_made(&one)
        }),
        (Finding::OtherPermit, |h, a| {
            let (mut one, two) = (h.make(&a), h.make(&a));
            one.permit = two.permit;
            h.log_made(&one)
        }),
        (Finding::OtherDay, |h, a| {
            let mut one = h.make(&a);
            one.day += 1;
            h.log_made(&one)
        }),
        (Finding::LoggedTwice, |h, a| {
            let one = h.make(&a);
            h.log_made(&one);
            h.log_made(&one)
        }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_is_noticed_and_the_person_still_sees_the_access() {
    for (finding, lie) in lies() {
        let mut house = House::build().await;
        let index = lie(&mut house, Ask::about(&canary()));
        house.catch_up().await.unwrap();
        let records = house.records(&canary()).await;
        let record = records.iter().find(|record| record.index == index);
        let record = record.unwrap_or_else(|| panic!("{finding}: hidden from the person"));
        let alarms = house.alarms().await;
        assert!(
            alarms.iter().any(|alarm| alarm.ends_with(finding.text())),
            "{finding}: no alarm in {alarms:?}"
        );
        if finding != Finding::LoggedTwice {
            assert!(record.findings.contains(&finding.to_string()), "{finding}: not shown");
        }
        for secret in CANARY {
            assert!(!alarms.iter().any(|alarm| alarm.contains(secret)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commitment_of_another_request_shows_nothing_of_the_other_person() {
    let mut house = House::build().await;
    let (mut one, two) = (house.make(&Ask::about(&canary())), house.make(&Ask::about(&other())));
    one.commitment = two.commitment;
    house.log_made(&one);
    house.catch_up().await.unwrap();
    let records = house.records(&canary()).await;
    assert!(records[0].access.is_none());
    assert!(house.records(&other()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_and_use_reports_that_are_not_what_they_should_be() {
    let mut house = House::build().await;
    let made = house.make(&Ask::about(&canary()));
    house.log_made(&made);
    // Signed by somebody else; then twice, in contradiction; then of an unknown exchange.
    house.report(&made, Use::Discarded, 9);
    house.report(&made, Use::Used, 1);
    house.report(&made, Use::Discarded, 1);
    let unknown = house.make(&Ask::about(&canary()));
    house.report(&unknown, Use::Used, 1);
    house.log(LeafKind::Use, day_of(NOW), b"no body".to_vec());
    house.catch_up().await.unwrap();
    let record = house.records(&canary()).await.remove(0);
    assert_eq!(record.r#use(), Use::Used);
    assert_eq!(record.findings, [Finding::UseReportedTwice.as_str()]);
    let alarms = house.alarms().await;
    assert!(alarms.contains(&format!("entry 1 and 1 more: {}", Finding::UseUnknown.text())));
    assert!(alarms.contains(&format!("entry 5: {}", Finding::Unreadable.text())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_shown_at_the_first_request() {
    let mut house = House::build().await;
    let first = house.make(&Ask::about(&canary()));
    house.log_made(&first);
    let mut again = Ask::about(&canary());
    again.retry_of = first.id.as_bytes().to_vec();
    house.exchange(&again);
    house.catch_up().await.unwrap();
    let records = house.records(&canary()).await;
    assert_eq!(records[1].findings, [Finding::Retried.as_str()]);
    assert!(records[0].findings.is_empty() && house.alarms().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_lies_is_not_followed() {
    let mut house = House::build().await;
    house.exchange(&Ask::about(&canary()));
    house.catch_up().await.unwrap();
    house.exchange(&Ask::about(&canary()));
    let (entry, good) = (house.entries[1].clone(), house.checkpoint());
    let fork = |size, root| Checkpoint::sign(LEDGER, size, root, &key(3)).unwrap();

    let forked = fork(2, Digest::of(b"another tree"));
    let result = house.intake.take(vec![entry.clone()], forked.note()).await;
    assert!(matches!(result, Err(IntakeError::Fork { size: 2 })));
    let foreign = Checkpoint::sign(LEDGER, 2, house.edge.root(), &key(8)).unwrap();
    let result = house.intake.take(vec![entry.clone()], foreign.note()).await;
    assert!(matches!(result, Err(IntakeError::Checkpoint(_))));

    let mut other_body = entry.clone();
    other_body.body = house.entries[0].body.clone();
    let result = house.intake.take(vec![other_body], &good).await;
    assert!(matches!(result, Err(IntakeError::OtherBody { index: 1 })));
    let mut withheld = entry.clone();
    withheld.body.clear();
    let result = house.intake.take(vec![withheld], &good).await;
    assert!(matches!(result, Err(IntakeError::BodyMissing { index: 1 })));
    let mut rewritten = house.entries[0].clone();
    rewritten.leaf = entry.leaf.clone();
    let result = house.intake.take(vec![rewritten], &good).await;
    assert!(matches!(result, Err(IntakeError::Rewritten { index: 0 })));
    let mut gap = entry.clone();
    gap.index = 2;
    let result = house.intake.take(vec![gap], &good).await;
    assert!(matches!(result, Err(IntakeError::Gap { expected: 1, got: 2 })));
    let old = fork(1, Digest::of(b"another past"));
    let result = house.intake.take(Vec::new(), old.note()).await;
    assert!(matches!(result, Err(IntakeError::Fork { size: 1 })));

    assert_eq!(house.intake.size().await.unwrap(), 1, "complete up to stands still");
    assert!(house.alarms().await.len() >= 5);
    assert_eq!(house.intake.take(vec![entry], &good).await.unwrap().size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_and_repeats_change_nothing() {
    let mut house = House::build().await;
    for _ in 0..3 {
        house.exchange(&Ask::about(&canary()));
    }
    house.catch_up().await.unwrap();
    house.reopen().await;
    assert_eq!(house.intake.size().await.unwrap(), 3);
    for _ in 0..2 {
        house.exchange(&Ask::about(&canary()));
    }
    // The stream begins anew at 0, in two runs; the first checkpoint covers more than it sent.
    let checkpoint = house.checkpoint();
    let taken = house.intake.take(house.entries[..4].to_vec(), &checkpoint).await.unwrap();
    assert_eq!((taken.size, taken.pending), (3, 1));
    let taken = house.intake.take(house.entries[4..].to_vec(), &checkpoint).await.unwrap();
    assert_eq!((taken.size, taken.pending), (5, 0));
    assert!(house.intake.compare(&checkpoint).await.unwrap());
    assert_eq!(house.records(&canary()).await.len(), 5);
    assert!(house.alarms().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_at_rest_names_a_person() {
    let mut house = House::build().await;
    let mut ask = Ask::about(&canary());
    ask.clerk = "Sachbearbeiterin Drossel".into();
    let made = house.make(&ask);
    house.log_made(&made);
    house.report(&made, Use::Used, 1);
    house.refusal(&ask, "NOT_PERMITTED");
    ask.records = vec![(other(), SubjectRole::Asked)];
    house.exchange(&ask);
    house.catch_up().await.unwrap();
    assert_eq!(house.records(&canary()).await.len(), 3);
    let mut looked_at = 0;
    let mut folders = vec![house.folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            looked_at += bytes.len();
            for secret in CANARY.iter().copied().chain(["Drossel", "Beispiel"]) {
                let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} names the person", path.display());
            }
        }
    }
    assert!(looked_at > 30_000, "the index was looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_proves_itself_and_survives_its_file() {
    let mut house = House::build().await;
    for _ in 0..5 {
        house.exchange(&Ask::about(&other()));
    }
    let made = house.make(&Ask::about(&canary()));
    let index = house.log_made(&made);
    house.exchange(&Ask::about(&other()));
    house.catch_up().await.unwrap();
    let request = ExportRecordRequest { subject: Some(canary()), index, login: demo() };
    let answer = house.client().export_record(request).await.unwrap().into_inner();
    let export = answer.record.unwrap();
    let leaf = Leaf::new(LeafKind::Exchange, day_of(NOW), &export.body);
    let proven =
        receipt::verify(export.receipt.as_ref().unwrap(), leaf, &ledger_key(), None).unwrap();
    assert_eq!((proven.index(), proven.checkpoint().size()), (index, 7));
    assert_eq!(Digest::of(&export.plain_record), made.plain_digests[export.slot as usize]);

    let file = ExportFile::from_wire(export.clone(), "Ein Satz.".into()).unwrap();
    let json = file.to_json().unwrap();
    let again = ExportFile::parse(&json).unwrap();
    assert!(again == file && again.to_wire().unwrap() == export);
    let later = json.replace("einmal-export-v1", "einmal-export-v2");
    assert_eq!(ExportFile::parse(&later).unwrap_err(), ExportError::Format);
    assert!(ExportFile::parse(&json.replace("\"slot\"", "\"slit\"")).is_err());

    let request = ExportRecordRequest { subject: Some(other()), index, login: demo() };
    let refused = house.client().export_record(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clerk_is_never_shown() {
    let mut house = House::build().await;
    let mut ask = Ask::about(&canary());
    ask.clerk = "Sachbearbeiterin Drossel".into();
    let index = house.exchange(&ask);
    house.catch_up().await.unwrap();
    assert!(house.records(&canary()).await[0].access.is_some());
    let request = ExportRecordRequest { subject: Some(canary()), index, login: demo() };
    let answer = house.client().export_record(request).await.unwrap().into_inner();
    let bytes = answer.encode_to_vec();
    assert!(!bytes.windows(7).any(|window| window == b"Drossel"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_two_days_are_both_found_until_they_are_too_old() {
    let mut house = House::build().await;
    house.exchange(&Ask::about(&canary()));
    let mut tomorrow = Ask::about(&canary());
    tomorrow.at_ms = NOW + DAY_MS;
    tomorrow.outcome = Outcome::NothingFound;
    tomorrow.released.clear();
    house.exchange(&tomorrow);
    house.catch_up().await.unwrap();
    assert_eq!(house.records(&canary()).await.len(), 2);
    house.clock.shift_ms((732 * DAY_MS).cast_signed());
    assert_eq!(house.records(&canary()).await.len(), 1);
}

#[test]
fn key_cards_rise_and_keys_survive() {
    let folder = fresh_folder();
    let open = |now| DayKeys::open("keeper".into(), key(4).into(), files(&folder), now);
    let read = |card: &einmal_protocol::wire::v1::Envelope| {
        let keys = [key(4).public().clone()];
        KeyCard::decode(card.verified(payload_type::KEY_CARD, &keys).unwrap()).unwrap()
    };
    let first = open(NOW).unwrap().card(NOW).unwrap();
    let card = read(&first);
    let start = u64::from(day_of(NOW)) * DAY_MS;
    assert_eq!((card.version, card.keys.len(), card.previous_digest.len()), (1, 31, 0));
    assert_eq!(card.keys[0].not_before_ms, start - SKEW_MS);
    assert_eq!(card.keys[0].not_after_ms, start + DAY_MS + YESTERDAY_UNTIL_MS + SKEW_MS);
    assert_eq!(open(NOW).unwrap().card(NOW + 1000).unwrap(), first, "one card a day");

    // Just after midnight yesterday's key is still announced.
    let midnight = start + DAY_MS + 1;
    std::fs::remove_dir_all(folder.join("one")).unwrap();
    let second = open(midnight).unwrap().card(midnight).unwrap();
    let card = read(&second);
    assert_eq!((card.version, card.keys.len()), (2, 32));
    assert_eq!(card.previous_digest, Digest::of(&first.payload).to_vec());
    assert_eq!(card.keys[..31], read(&first).keys[..], "the same keys, though a disk was lost");
    let copies = std::fs::read_dir(folder.join("one/day-keys")).unwrap().count();
    assert_eq!(copies, 32, "the lost folder was filled again");

    let site = folder.join("site.key");
    let bytes = std::fs::read(&site).unwrap();
    std::fs::remove_file(&site).unwrap();
    assert!(matches!(open(NOW), Err(DayKeyError::SiteKeyLost(_))));
    std::fs::write(&site, &bytes).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let open_to_all = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&site, open_to_all).unwrap();
        assert!(matches!(open(NOW), Err(DayKeyError::Open(_))));
        std::fs::set_permissions(&site, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(&site, [7; 32]).unwrap();
    assert!(matches!(open(NOW), Err(DayKeyError::NotOpened(_))));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_in_no_ledger_is_in_no_tree() {
    // The keeper's own root decides, however the entries came.
    let mut house = House::build().await;
    let body = body_bytes(body::Kind::Use(UseBody { report: b"forged".to_vec() }));
    house.log(LeafKind::Use, day_of(NOW), body);
    let good = house.checkpoint();
    house.edge = Edge::default();
    let mut forged = house.entries[0].clone();
    forged.body = body_bytes(body::Kind::Use(UseBody { report: b"other".to_vec() }));
    forged.leaf = Leaf::new(LeafKind::Use, day_of(NOW), &forged.body).to_bytes().to_vec();
    let result = house.intake.take(vec![forged], &good).await;
    assert!(matches!(result, Err(IntakeError::Fork { size: 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_with_one_birth_identity_see_neither_s_records() {
    let mut house = House::build().await;
    // Filed by a register that knows no numbers.
    let by_birth = Subject { idnr: String::new(), ..canary() };
    let mut ask = Ask::about(&by_birth);
    ask.records = vec![(by_birth.clone(), SubjectRole::Asked)];
    house.exchange(&ask);
    // And one by number, which stays its owner's.
    house.exchange(&Ask::about(&by_number(&canary())));
    house.catch_up().await.unwrap();
    let twin = Subject { idnr: other().idnr, ..canary() };
    assert_eq!(house.records(&canary()).await.len(), 2, "the only one known so far");
    assert_eq!(house.records(&twin).await.len(), 0);
    assert_eq!(house.records(&canary()).await.len(), 1, "the other's claim hides it from both");
    assert!(house.alarms().await.iter().any(|alarm| alarm.contains("one birth identity")));
}
