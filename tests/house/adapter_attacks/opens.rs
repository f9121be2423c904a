// SPDX-License-Identifier: EUPL-1.2
//! PURPOSE-BOUND and ONCE: what a register commits to, it has checked itself.

use einmal_client::Prepared;
use einmal_peer::random;
use einmal_protocol::{
    Digest, Reason,
    envelope::payload_type,
    request::Unverified,
    seal::{SealKind, SealingPublicKey},
    wire::{
        register::v1::{Decline, Open, attach_request::Message as FromAdapter},
        v1::{self, Envelope, FieldGrant, Kem, RegisterRefusal, SignedRequest},
    },
};
use prost::Message;

use super::{
    double::After,
    stage::{LONG, SILENCE, Stage, TYPE},
};

const AUTHORITY: &str = "elterngeldstelle-bremen";
const REGISTER: &str = "meldebehoerde-bremen";

/// What must come instead of a commitment.
#[derive(Debug, PartialEq, Eq)]
enum Declined {
    /// Signed by the register, about this request.
    Refused(Reason),
    /// Not signed: there is no request that it could be about.
    Fault(Reason),
}

use Declined::{Fault, Refused};

/// What an authority signs otherwise than its client would.
type Change = fn(&mut v1::Request);

impl Stage {
    /// Opens an exchange, which must be declined.
    async fn declined(&mut self, open: &Open, name: &str) -> Declined {
        self.line.open(open.clone()).await;
        let message = self.line.next().await;
        let Decline { exchange, refusal, fault } = match message {
            Some(FromAdapter::Decline(decline)) => decline,
            Some(FromAdapter::Commit(_)) => panic!("{name}: committed"),
            other => panic!("{name}: not declined: {other:?}"),
        };
        assert_eq!(exchange, open.exchange, "{name}");
        if refusal.is_empty() {
            return Fault(Reason::parse(&fault).unwrap());
        }
        assert_eq!(fault, "", "{name}");
        let keys = &self.trust.directory.register(REGISTER).unwrap().keys;
        let envelope = Envelope::parse(&refusal).unwrap();
        let refusal = envelope.verified(payload_type::REFUSAL, keys).unwrap();
        let refusal = RegisterRefusal::decode(refusal).unwrap();
        let request = Unverified::parse(&open.signed_request).unwrap().request;
        assert_eq!(refusal.request_digest, request.digest.to_vec(), "{name}");
        assert_eq!(refusal.register, REGISTER, "{name}");
        Refused(Reason::parse(&refusal.reason).unwrap())
    }

    /// Opens exchanges, each of which must be declined as it says; then serves an honest one.
    async fn all_declined(&mut self, cases: Vec<(&str, Open, Declined)>) {
        for (name, open, expected) in cases {
            assert_eq!(self.declined(&open, name).await, expected, "{name}");
        }
        self.still_serves().await;
    }

    async fn with_permit(&mut self, change: impl FnOnce(&mut v1::Permit)) -> Open {
        let open = self.honest_open().await;
        let mut permit = v1::Permit::decode(open.permit.as_slice()).unwrap();
        change(&mut permit);
        Open { permit: permit.encode_to_vec(), ..open }
    }

    fn forged_open(
        &mut self,
        prepared: &Prepared,
        signer: &str,
        change: impl Fn(&mut v1::Request),
    ) -> Open {
        let signed = self.forge(prepared, signer, change);
        self.open_of(&signed, &prepared.sealed_person)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_permit_is_declined() {
    let mut stage = Stage::start().await;
    let mut cases = Vec::new();
    let widened = stage.with_permit(|permit| {
        let policies = permit.fields[0].policies.clone();
        permit.fields.push(FieldGrant { field: "religion".to_owned(), policies });
    });
    cases.push(("widened by a field", widened.await));
    let narrowed = stage.with_permit(|permit| drop(permit.fields.pop()));
    cases.push(("narrowed by a field", narrowed.await));
    let policy = |permit: &mut v1::Permit| permit.fields[0].policies = vec!["other".to_owned()];
    cases.push(("by another policy", stage.with_permit(policy).await));
    let rules = |permit: &mut v1::Permit| permit.rules_digest = Digest::of(b"mine").to_vec();
    cases.push(("of other rules", stage.with_permit(rules).await));
    let directory = |permit: &mut v1::Permit| permit.directory_digest = permit.rules_digest.clone();
    cases.push(("of another directory", stage.with_permit(directory).await));
    let area = |permit: &mut v1::Permit| permit.crosses_areas = !permit.crosses_areas;
    cases.push(("without the areas", stage.with_permit(area).await));
    let (open, other) = (stage.honest_open().await, stage.honest_open().await);
    cases.push(("for another request", Open { permit: other.permit, ..open.clone() }));
    // Field 15, which nobody knows: the same permit, in other bytes.
    let permit = [&open.permit[..], &[0x78, 0x01]].concat();
    cases.push(("in other bytes", Open { permit, ..open.clone() }));
    cases.push(("no permit", Open { permit: Vec::new(), ..open.clone() }));
    cases.push(("garbage", Open { permit: vec![0xff; 100], ..open }));
    let cases = cases.into_iter().map(|(name, open)| (name, open, Refused(Reason::PermitDiffers)));
    stage.all_declined(cases.collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_is_declined() {
    let mut stage = Stage::start().await;
    let prepared = stage.prepared().await;
    let signed = SignedRequest::decode(prepared.signed_request.as_slice()).unwrap();
    let good = stage.open_of(&prepared.signed_request, &prepared.sealed_person);
    // Every byte that the signature covers, and the signature.
    for at in (0..signed.request.len()).step_by(37) {
        let mut tampered = signed.clone();
        tampered.request[at] ^= 1;
        let open = Open { signed_request: tampered.encode_to_vec(), ..good.clone() };
        let declined = stage.declined(&open, "tampered").await;
        assert_eq!(declined, Fault(Reason::MalformedRequest), "byte {at}");
    }
    for at in 0..64 {
        let mut tampered = signed.clone();
        tampered.batch.as_mut().unwrap().signatures[0].signature[at] ^= 1;
        let open = Open { signed_request: tampered.encode_to_vec(), ..good.clone() };
        let declined = stage.declined(&open, "tampered").await;
        assert_eq!(declined, Refused(Reason::BadSignature), "byte {at} of the signature");
    }
    let by = |stage: &mut Stage, signer| stage.forged_open(&prepared, signer, |_| ());
    let change =
        |stage: &mut Stage, change: Change| stage.forged_open(&prepared, AUTHORITY, change);
    let unknown = change(&mut stage, |request| request.authority = "amt-fuer-neugier".to_owned());
    let mut unsigned = signed.clone();
    unsigned.batch.as_mut().unwrap().signatures.clear();
    let cases = vec![
        (
            "of another signer",
            by(&mut stage, "wohngeldstelle-bremen"),
            Refused(Reason::BadSignature),
        ),
        ("signed by the register", by(&mut stage, REGISTER), Refused(Reason::BadSignature)),
        (
            "unsigned",
            Open { signed_request: unsigned.encode_to_vec(), ..good.clone() },
            Refused(Reason::BadSignature),
        ),
        (
            "of an unknown authority",
            Open { permit: good.permit.clone(), ..unknown },
            Refused(Reason::UnknownAuthority),
        ),
        (
            "for a register that is not here",
            change(&mut stage, |request| request.register = "bzst".to_owned()),
            Fault(Reason::UnknownRegister),
        ),
        (
            "empty",
            Open { signed_request: Vec::new(), ..good.clone() },
            Fault(Reason::MalformedRequest),
        ),
        (
            "garbage",
            Open { signed_request: vec![0xff; 1000], ..good.clone() },
            Fault(Reason::MalformedRequest),
        ),
        (
            "too large",
            Open { signed_request: vec![0; 300 * 1024], ..good.clone() },
            Fault(Reason::MalformedRequest),
        ),
    ];
    stage.all_declined(cases).await;
}

/// The broker says that the rules permit it; the register asks the rules.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_do_not_permit_is_declined_whatever_the_permit_says() {
    let mut stage = Stage::start().await;
    let prepared = stage.prepared().await;
    let changes: [(&str, Reason, Change); 4] = [
        ("a field more", Reason::NotPermitted, |request| {
            request.fields.push("religion".to_owned());
            request.fields.sort();
        }),
        ("another purpose", Reason::NotPermitted, |request| {
            request.purpose = "child-benefit".to_owned();
        }),
        ("another initiation", Reason::NotPermitted, |request| {
            request.initiation = v1::Initiation::Statutory.into();
        }),
        ("another evidence type", Reason::NotHeldByRegister, |request| {
            request.evidence_type = "wage-tax-data".to_owned();
        }),
    ];
    let mut cases = Vec::new();
    for (name, reason, change) in changes {
        let open = stage.forged_open(&prepared, AUTHORITY, change);
        let request = Unverified::parse(&open.signed_request).unwrap().request;
        let honest = stage.honest_open().await;
        let mut permit = v1::Permit::decode(honest.permit.as_slice()).unwrap();
        let policies = permit.fields[0].policies.clone();
        permit.request_digest = request.digest.to_vec();
        permit.fields = request
            .fields
            .iter()
            .map(|field| FieldGrant { field: field.clone(), policies: policies.clone() })
            .collect();
        cases.push((name, Open { permit: permit.encode_to_vec(), ..open }, Refused(reason)));
    }
    stage.all_declined(cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_person_is_declined() {
    let mut stage = Stage::start().await;
    let (prepared, other) = (stage.prepared().await, stage.prepared().await);
    let with_idnr = stage.prepare(einmal_client::Ask {
        person: stage.ask("wage-tax-data").person,
        ..stage.ask(TYPE)
    });
    let with_idnr = with_idnr.await;
    let good = stage.open_of(&prepared.signed_request, &prepared.sealed_person);
    // The authority itself puts one person's seal beside another's request.
    let swapped = stage.forge(&prepared, AUTHORITY, |request| {
        request.sealed_person_digest = Digest::of(&other.sealed_person).to_vec();
    });
    let swapped = stage.open_of(&swapped, &other.sealed_person);
    let reseal = |plain: &[u8], stage: &mut Stage| {
        let sealed = seal_for(stage, &prepared, plain);
        let digest = Digest::of(&sealed).to_vec();
        let change = |request: &mut v1::Request| request.sealed_person_digest = digest.clone();
        let signed = stage.forge(&prepared, AUTHORITY, change);
        stage.open_of(&signed, &sealed)
    };
    let nobody = einmal_protocol::pad::pad([1; 32], &[], 1024).unwrap();
    let undeclared = stage.forged_open(&with_idnr, AUTHORITY, |request| request.idnr_used = false);
    let declared = stage.forged_open(&prepared, AUTHORITY, |request| request.idnr_used = true);
    let cases = vec![
        (
            "of another request",
            Open { sealed_person: other.sealed_person.clone(), ..good.clone() },
            Refused(Reason::PersonNotOpened),
        ),
        ("of another request, signed", swapped, Refused(Reason::PersonNotOpened)),
        (
            "none",
            Open { sealed_person: Vec::new(), ..good.clone() },
            Refused(Reason::PersonNotOpened),
        ),
        (
            "garbage",
            Open { sealed_person: vec![0xff; 1200], ..good },
            Refused(Reason::PersonNotOpened),
        ),
        ("nobody", reseal(&nobody, &mut stage), Refused(Reason::QueryNotLawful)),
        ("not padded", reseal(b"short", &mut stage), Refused(Reason::PersonNotOpened)),
        ("with a number, undeclared", undeclared, Refused(Reason::DeclaredNotReal)),
        ("without the declared number", declared, Refused(Reason::DeclaredNotReal)),
    ];
    stage.all_declined(cases).await;
}

/// Seals anything as the person of a request, as its authority could.
fn seal_for(stage: &Stage, prepared: &Prepared, plain: &[u8]) -> Vec<u8> {
    let request = Unverified::parse(&prepared.signed_request).unwrap().request;
    let card = v1::KeyCard::decode(stage.double.card(REGISTER).payload.as_slice()).unwrap();
    let key = SealingPublicKey::new(Kem::XWing, &card.keys[0].public_key).unwrap();
    key.seal(SealKind::Person, &request.aad(), plain, random::entropy().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_old_nor_from_the_future() {
    let mut stage = Stage::start().await;
    let open = stage.honest_open().await;
    for (shift_ms, reason) in [
        (10 * 60_000, Reason::RequestExpired),
        (5 * 60_000 + 1_000, Reason::RequestExpired),
        (-2 * 60_000 - 1_000, Reason::ClockSkew),
    ] {
        stage.clock.shift_ms(shift_ms);
        assert_eq!(stage.declined(&open, "time").await, Refused(reason), "{shift_ms}");
        stage.clock.shift_ms(-shift_ms);
    }
    let committed = stage.commit(open).await;
    stage.reveal(&committed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_twice() {
    let mut stage = Stage::start().await;
    // Two commitments to one request, and both are truly logged.
    let open = stage.honest_open().await;
    let again = Open { exchange: open.exchange + 1000, ..open.clone() };
    let (first, second) = (stage.commit(open.clone()).await, stage.commit(again).await);
    assert_ne!(first.leaf, second.leaf);
    stage.reveal(&first).await;
    stage.log(&second).await;
    assert_eq!(stage.line.after(second.exchange, SILENCE).await, After::Silent);
    // And one that comes when all is over.
    let late = Open { exchange: open.exchange + 2000, ..open };
    assert_eq!(stage.declined(&late, "replay").await, Refused(Reason::Replayed));
    // Another stream knows it as well.
    stage.line.logged(1, None).await;
    assert!(stage.line.ends(LONG).await);
    stage.reattach().await;
    assert_eq!(stage.declined(&late, "replay").await, Refused(Reason::Replayed));
    stage.still_serves().await;
}
