// SPDX-License-Identifier: EUPL-1.2
//! Entries of an invented ledger, whole: signed by an authority and a register, sealed to the
//! keeper's key of the day.

use std::sync::Arc;

use einmal_cockpit::keeper::{Keeper, Participants};
use einmal_peer::{Clock, random};
use einmal_protocol::{
    Digest, RequestId, batch,
    commitment::{Commitment, Slot},
    envelope::payload_type,
    key::{PublicKey, SigningKey},
    leaf::{Leaf, LeafKind, body_bytes},
    pad,
    permit::{Grants, Permit},
    record::{ACCESS_SIZE, ASKED_SIZE, seal, seal_access},
    seal::{Aad, SealKind, SealingPrivateKey, SealingPublicKey},
    time::{DAY_MS, day_of},
    wire::v1::{
        self, AccessRecord, AskedRecord, Envelope, ExchangeBody, FieldGrant, Initiation, Kem,
        KeyCard, Outcome, Subject, SubjectRole, body,
    },
};
use prost::Message;

use crate::Exit;

pub(super) const AUTHORITY: &str = "authority-1";
const REGISTER: &str = "register-1";
const FIELDS: [&str; 2] = ["birth_date", "given_names"];

struct Known([PublicKey; 2]);

impl Participants for Known {
    fn authority_keys(&self, id: &str) -> Option<Vec<PublicKey>> {
        (id == AUTHORITY).then(|| vec![self.0[0].clone()])
    }

    fn register_keys(&self, id: &str) -> Option<Vec<PublicKey>> {
        (id == REGISTER).then(|| vec![self.0[1].clone()])
    }

    fn slots(&self, _evidence_type: &str) -> Option<u32> {
        Some(1)
    }
}

/// Makes entries, all of today.
pub(super) struct Maker {
    authority: SigningKey,
    register: SigningKey,
    keeper: SealingPublicKey,
    reply: Vec<u8>,
    ledger: String,
    now_ms: u64,
    pub(super) checkpoints: Vec<String>,
}

impl Maker {
    pub(super) fn new(keeper: &Keeper, ledger: &str) -> Result<Self, Exit> {
        let now_ms = Clock::system().now_ms();
        let card = keeper.card(now_ms).map_err(Exit::failed)?;
        let card = KeyCard::decode(card.payload.as_slice()).map_err(Exit::failed)?;
        let tomorrow = (u64::from(day_of(now_ms)) + 1) * DAY_MS;
        let today = card.keys.iter().find(|key| key.not_after_ms > tomorrow);
        let today = today.ok_or_else(|| Exit::failed("the keeper has no key of today"))?;
        let key = |seed| SigningKey::from_seed(&[seed; 32]).map_err(Exit::failed);
        let entropy = random::entropy().map_err(Exit::failed)?;
        let reply = SealingPrivateKey::generate(Kem::X25519, entropy).map_err(Exit::failed)?;
        Ok(Self {
            authority: key(1)?,
            register: key(2)?,
            keeper: SealingPublicKey::new(Kem::XWing, &today.public_key).map_err(Exit::failed)?,
            reply: reply.public().bytes().to_vec(),
            ledger: ledger.to_owned(),
            now_ms,
            checkpoints: Vec::new(),
        })
    }

    /// Whose signatures these are.
    pub(super) fn known(&self) -> Arc<dyn Participants> {
        Arc::new(Known([self.authority.public().clone(), self.register.public().clone()]))
    }

    /// A body of about this many bytes, and an access record's plain bytes, to fill an index with.
    pub(super) fn template(
        &mut self,
        person: &Subject,
        size: usize,
    ) -> Result<(Vec<u8>, Vec<u8>), Exit> {
        let (signed_request, _, permit) = self.request(person)?;
        let commitment = vec![7; size.saturating_sub(signed_request.len())];
        let body = ExchangeBody { signed_request, permit, commitment };
        let record = access(person, Digest::of(b"template"));
        let plain =
            pad::pad([0; 32], &record.encode_to_vec(), ACCESS_SIZE).map_err(Exit::failed)?;
        Ok((body_bytes(body::Kind::Exchange(body)), plain.to_vec()))
    }

    /// Bytes of a signed request, its digest, bytes of its permit.
    fn request(&mut self, person: &Subject) -> Result<(Vec<u8>, Digest, Vec<u8>), Exit> {
        let bytes = random::entropy().map_err(Exit::failed)?.into_stream().array();
        let random = bytes.first_chunk::<10>().copied().unwrap_or_default();
        let id = RequestId::new(self.now_ms, random);
        let asked = AskedRecord {
            request_id: id.as_bytes().to_vec(),
            subject: Some(person.clone()),
            case_reference: "bench".to_owned(),
            clerk: String::new(),
        };
        let aad = Aad::before_request(id, AUTHORITY, REGISTER, &self.ledger);
        let entropy = random::entropy().map_err(Exit::failed)?;
        let kind = (SealKind::AskedRecord, ASKED_SIZE);
        let asked = seal(&asked, kind, &aad, &self.keeper, entropy).map_err(Exit::failed)?;
        let request = v1::Request {
            id: id.as_bytes().to_vec(),
            authority: AUTHORITY.to_owned(),
            ledger: self.ledger.clone(),
            register: REGISTER.to_owned(),
            evidence_type: "birth-certificate".to_owned(),
            fields: FIELDS.map(ToOwned::to_owned).into(),
            purpose: "parental-allowance".to_owned(),
            initiation: Initiation::Application.into(),
            idnr_used: true,
            sealed_person_digest: Digest::of(b"sealed person").to_vec(),
            reply_kem: Kem::X25519.into(),
            reply_key: self.reply.clone(),
            asked_record: asked.sealed,
            retry_of: Vec::new(),
        };
        let signed = batch::sign(AUTHORITY, &[request.encode_to_vec()], &self.authority);
        let signed = signed.map_err(Exit::failed)?;
        let signed = signed.first().ok_or_else(|| Exit::failed("nothing was signed"))?;
        let digest = batch::membership(signed).map_err(Exit::failed)?.request_digest;
        let grants = FIELDS.map(|field| FieldGrant {
            field: field.to_owned(),
            policies: vec!["bench".to_owned()],
        });
        let permit = Permit::new(
            digest,
            Digest::of(b"rules"),
            Digest::of(b"directory"),
            Arc::new(Grants::new(grants.into(), true)),
        );
        Ok((signed.encode_to_vec(), digest, permit.bytes().to_vec()))
    }

    /// A leaf and its body.
    pub(super) fn entry(&mut self, person: &Subject) -> Result<(Leaf, Vec<u8>), Exit> {
        let (signed_request, digest, permit) = self.request(person)?;
        let record = access(person, digest);
        let entropy = random::entropy().map_err(Exit::failed)?;
        let sealed =
            seal_access(&record, digest, 0, &self.keeper, entropy).map_err(Exit::failed)?;
        let day = day_of(self.now_ms);
        let commitment = Commitment {
            request_digest: digest,
            permit_digest: Digest::of(&permit),
            day,
            committed_at_ms: self.now_ms,
            sealed_evidence_digest: Digest::of(b"sealed evidence"),
            slots: vec![Slot { sealed_record: sealed.sealed, plain_digest: sealed.plain_digest }],
        };
        let payload = commitment.to_payload();
        let envelope = Envelope::sign(payload_type::COMMITMENT, payload, &[&self.register]);
        let commitment = envelope.map_err(Exit::failed)?.encode_to_vec();
        let body = ExchangeBody { signed_request, permit, commitment };
        let body = body_bytes(body::Kind::Exchange(body));
        Ok((Leaf::new(LeafKind::Exchange, day, &body), body))
    }
}

fn access(person: &Subject, request: Digest) -> AccessRecord {
    AccessRecord {
        request_digest: request.to_vec(),
        subject: Some(person.clone()),
        role: SubjectRole::Asked.into(),
        outcome: Outcome::Found.into(),
        fields: FIELDS.map(ToOwned::to_owned).into(),
        case_reference: "bench".to_owned(),
    }
}
