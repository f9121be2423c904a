// SPDX-License-Identifier: EUPL-1.2
//! What the adapter that links none of the kit makes of a request.

use std::time::Duration;

use einmal_peer::{Clock, random};
use einmal_policy::{Question, decide};
use einmal_protocol::{
    Digest, Reason, RequestId,
    commitment::{Commitment, Slot},
    envelope::payload_type,
    evidence,
    leaf::{Leaf, LeafKind, body_bytes},
    pad,
    permit::Permit,
    person::{Person, PersonError},
    record::seal_access,
    request::{Request, TimeError, Unverified},
    seal::SealKind,
    time::day_of,
    wire::{
        register::v1::{Decline, Open, attach_request::Message as ToBroker},
        v1::{
            self, AccessRecord, Envelope, Evidence, ExchangeBody, FieldValue, Outcome,
            RegisterRefusal, Subject, SubjectRole, body,
        },
    },
};
use prost::Message;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::broken::{Flaw, Node};

/// The one person whom the register knows.
pub(crate) const KNOWN: (&str, &str) = ("86095742719", "1990-02-28");
/// Two persons have this name and birth date.
pub(crate) const TWINS: (&str, &str, &str) = ("Doppelt", "Kim", "1991-01-01");

/// A commitment, with what is revealed for it.
pub(crate) struct Committed {
    pub(crate) id: RequestId,
    pub(crate) question: Question,
    pub(crate) leaf: Leaf,
    pub(crate) envelope: Vec<u8>,
    pub(crate) sealed_evidence: Vec<u8>,
}

fn fault(exchange: u64, reason: Reason) -> ToBroker {
    let fault = reason.as_str().to_owned();
    ToBroker::Decline(Decline { exchange, refusal: Vec::new(), fault })
}

pub(crate) async fn commit(
    node: &Node,
    channel: &Channel,
    open: Open,
) -> Result<Committed, ToBroker> {
    let exchange = open.exchange;
    let unverified = Unverified::parse(&open.signed_request)
        .map_err(|_| fault(exchange, Reason::MalformedRequest))?;
    let request = unverified.request.clone();
    if request.register != node.register {
        return Err(fault(exchange, Reason::UnknownRegister));
    }
    let refuse = |reason: Reason| match reason.is_refusal() {
        false => fault(exchange, reason),
        true => {
            let refusal = RegisterRefusal {
                request_digest: request.digest.to_vec(),
                register: node.register.clone(),
                reason: reason.as_str().to_owned(),
                refused_at_ms: Clock::system().now_ms(),
            };
            let payload = refusal.encode_to_vec();
            let signed = Envelope::sign(payload_type::REFUSAL, payload, &[&node.identity]).unwrap();
            let refusal = signed.encode_to_vec();
            ToBroker::Decline(Decline { exchange, refusal, fault: String::new() })
        }
    };
    let permit = permit(node, &unverified, &open).map_err(refuse)?;
    if node.forked.lock().unwrap().contains(&request.ledger) {
        return Err(fault(exchange, Reason::RegisterFault));
    }
    let person = person(node, &request, &open.sealed_person).map_err(refuse)?;
    let began = Instant::now();
    let said = look_up(node, &person);
    let size = node.current().rules.evidence_type(&request.evidence_type).unwrap().clone();
    let committed = seal(node, channel, (&request, &permit, &open), said).await;
    let mut earliest = Duration::from_millis(size.earliest_ms.into());
    if node.has(Flaw::IsEarly) {
        earliest = Duration::ZERO;
    }
    tokio::time::sleep_until(began + earliest).await;
    if node.has(Flaw::FoundIsSlower) && said == Outcome::Found {
        // Beside whatever the machine does else, which on a busy one takes longer than the earliest.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    Ok(committed)
}

/// Whether it may be asked.
fn permit(node: &Node, unverified: &Unverified, open: &Open) -> Result<Permit, Reason> {
    let (request, now_ms) = (&unverified.request, Clock::system().now_ms());
    let (trust, question) = (node.current(), Question::from(request));
    if !node.has(Flaw::IgnoresTheDenyList) {
        trust.check_time(now_ms)?;
    }
    let authority = trust.directory.authority(&request.authority);
    let authority = authority.ok_or(Reason::UnknownAuthority)?;
    if unverified.membership.verify(&authority.keys).is_err() && !node.has(Flaw::IgnoresSignature) {
        return Err(Reason::BadSignature);
    }
    match request.check_time(now_ms) {
        Err(_) if node.has(Flaw::IgnoresTime) => {}
        Err(TimeError::Ahead { .. }) => return Err(Reason::ClockSkew),
        Err(TimeError::Expired { .. }) => return Err(Reason::RequestExpired),
        Ok(()) => {}
    }
    let id = request.id.as_bytes().to_vec();
    if node.revealed.lock().unwrap().contains(&id) && !node.has(Flaw::AnswersTwice) {
        return Err(Reason::Replayed);
    }
    if node.has(Flaw::BelievesThePermit) {
        return Permit::parse(&open.permit).map_err(|_| Reason::PermitDiffers);
    }
    let permit = match node.has(Flaw::IgnoresTheDenyList) {
        true => decide(&trust.rules, &trust.directory, &question, request.digest),
        false => trust.decide(&question, request.digest),
    };
    let permit = permit.map_err(|refused| refused.reason)?;
    if permit.bytes() != open.permit { Err(Reason::PermitDiffers) } else { Ok(permit) }
}

/// The person who is asked about, as it came.
fn person(node: &Node, request: &Request, sealed: &[u8]) -> Result<v1::Person, Reason> {
    if Digest::of(sealed) != request.sealed_person_digest {
        return Err(Reason::PersonNotOpened);
    }
    let plain = node.sealing.open(SealKind::Person, &request.aad(), sealed);
    let plain = plain.map_err(|_| Reason::PersonNotOpened)?;
    let message = pad::unpad(&plain).map_err(|_| Reason::PersonNotOpened)?;
    let wire = v1::Person::decode(message).map_err(|_| Reason::PersonNotOpened)?;
    match Person::from_wire(wire.clone()) {
        Err(PersonError::CheckDigit) if !node.has(Flaw::IgnoresCheckDigit) => {
            return Err(Reason::BadCheckDigit);
        }
        Err(PersonError::Query) if !node.has(Flaw::TakesAnyQuery) => {
            return Err(Reason::QueryNotLawful);
        }
        Err(PersonError::Form) => return Err(Reason::PersonNotOpened),
        _ => {}
    }
    if wire.idnr.is_empty() == request.idnr_used && !node.has(Flaw::BelievesTheDeclaration) {
        return Err(Reason::DeclaredNotReal);
    }
    Ok(wire)
}

fn look_up(node: &Node, person: &v1::Person) -> Outcome {
    let twins = (person.family_name.as_str(), person.given_names.as_str(), &*person.birth_date);
    let is_known = (person.idnr.as_str(), person.birth_date.as_str()) == KNOWN;
    let is_first_twin = twins == TWINS && node.has(Flaw::TakesTheFirst);
    if is_known || is_first_twin {
        Outcome::Found
    } else if twins == TWINS {
        Outcome::Ambiguous
    } else {
        Outcome::NothingFound
    }
}

fn value(field: &str) -> Option<&'static str> {
    match field {
        "street" => Some("\"Am Wall 3\""),
        "postcode" => Some("\"28195\""),
        "place" => Some("\"Bremen\""),
        "religion" => Some("\"keine\""),
        _ => None,
    }
}

async fn seal(
    node: &Node,
    channel: &Channel,
    (request, permit, open): (&Request, &Permit, &Open),
    outcome: Outcome,
) -> Committed {
    let (trust, now_ms) = (node.current(), Clock::system().now_ms());
    let kind = trust.rules.evidence_type(&request.evidence_type).unwrap();
    let mut names: Vec<String> = request.fields.clone();
    if node.has(Flaw::SendsMore) {
        names.push("religion".to_owned());
    }
    let is_found = outcome == Outcome::Found;
    let fields = names
        .iter()
        .filter(|_| is_found)
        .filter_map(|name| Some(FieldValue { field: name.clone(), json: value(name)?.to_owned() }));
    let evidence = Evidence {
        request_digest: request.digest.to_vec(),
        register: node.register.clone(),
        outcome: outcome.into(),
        fields: fields.collect(),
        answered_at_ms: now_ms,
    };
    let longer = usize::from(node.has(Flaw::FoundIsLonger) && is_found) * 64;
    let keys = (&node.identity, &request.reply_key);
    let entropy = || random::entropy().unwrap();
    let size = kind.size as usize + longer;
    let sealed_evidence = evidence::seal(&evidence, request.digest, size, keys, entropy()).unwrap();
    let keeper = &trust.directory.ledger(&request.ledger).unwrap().entry.keeper;
    let keeper = node.cards.key_or_fetch(keeper, &trust.directory, channel, now_ms).await.unwrap();
    let slot = |number: u32| {
        let asked = AccessRecord {
            request_digest: request.digest.to_vec(),
            subject: Some(Subject { idnr: KNOWN.0.to_owned(), ..Subject::default() }),
            role: SubjectRole::Asked.into(),
            outcome: outcome.into(),
            fields: evidence.fields.iter().map(|field| field.field.clone()).collect(),
            case_reference: "EINMAL-CHECK".to_owned(),
        };
        let nobody = AccessRecord {
            request_digest: request.digest.to_vec(),
            role: SubjectRole::Nobody.into(),
            ..AccessRecord::default()
        };
        let is_asked = number == 0 && !node.has(Flaw::RecordsNobody);
        let record = if is_asked { asked } else { nobody };
        let sealed = seal_access(&record, request.digest, number, &keeper, entropy()).unwrap();
        Slot { sealed_record: sealed.sealed, plain_digest: sealed.plain_digest }
    };
    let commitment = Commitment {
        request_digest: request.digest,
        permit_digest: permit.digest(),
        day: day_of(now_ms),
        committed_at_ms: now_ms,
        sealed_evidence_digest: Digest::of(&sealed_evidence),
        slots: (0..kind.slots).map(slot).collect(),
    };
    let payload = commitment.to_payload();
    let envelope = Envelope::sign(payload_type::COMMITMENT, payload, &[&node.identity]).unwrap();
    let envelope = envelope.encode_to_vec();
    let body = body_bytes(body::Kind::Exchange(ExchangeBody {
        signed_request: open.signed_request.clone(),
        permit: open.permit.clone(),
        commitment: envelope.clone(),
    }));
    let leaf = Leaf::new(LeafKind::Exchange, commitment.day, &body);
    let (id, question) = (request.id, Question::from(request));
    Committed { id, question, leaf, envelope, sealed_evidence }
}
