// SPDX-License-Identifier: EUPL-1.2
//! The authority's side: requests as a client makes them, and as none would.

use einmal_peer::{
    Clock,
    random::{self, NoRandomness},
};
use einmal_policy::{Question, decide, key_card::KeyCard, rules_document::EvidenceType};
use einmal_protocol::{
    Digest, RequestId, batch,
    batch::BatchError,
    key::SigningKey,
    pad::{self, PadError},
    person::PERSON_SIZE,
    record,
    request::{RequestError, Unverified},
    seal::{Aad, SealError, SealKind, SealingPrivateKey},
    wire::{
        register::v1::Open,
        v1::{self, AskedRecord, FieldGrant, Initiation, Kem, Request},
    },
};
use prost::Message;
use zeroize::Zeroizing;

use crate::world::World;

/// A request that is to be made.
#[derive(Clone)]
pub struct Draft {
    /// Who asks.
    pub authority: String,
    /// Who is asked.
    pub register: String,
    /// Which ledger must log it.
    pub ledger: String,
    /// For what.
    pub evidence_type: String,
    /// Which fields; sorted.
    pub fields: Vec<String>,
    /// What for.
    pub purpose: String,
    /// On whose initiative.
    pub initiation: Initiation,
    /// About whom; not necessarily in a lawful way.
    pub person: v1::Person,
    /// When it says that it was issued, UTC milliseconds.
    pub issued_at_ms: u64,
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Draft({} of {})", self.evidence_type, self.register)
    }
}

/// A request, signed and sealed.
#[derive(Debug)]
pub struct Asked {
    /// What is signed.
    pub request: Request,
    /// Bytes of a `SignedRequest`.
    pub signed_request: Vec<u8>,
    /// Bytes of a `Sealed` message.
    pub sealed_person: Vec<u8>,
    /// Digest of the request.
    pub digest: Digest,
    /// What opens the evidence.
    pub reply_key: SealingPrivateKey,
    /// Size, slots and fields of the evidence.
    pub kind: EvidenceType,
    /// What is decided.
    pub question: Question,
}

impl Asked {
    /// What a broker opens for it.
    pub fn open(&self, exchange: u64, permit: Vec<u8>) -> Open {
        Open {
            exchange,
            signed_request: self.signed_request.clone(),
            sealed_person: self.sealed_person.clone(),
            permit,
            deadline_ms: 10_000,
        }
    }
}

/// The padded plain bytes of a person, lawful or not.
pub fn plain_of(person: &v1::Person) -> Result<Zeroizing<Vec<u8>>, AskError> {
    let message = Zeroizing::new(person.encode_to_vec());
    Ok(pad::pad(random::bytes()?, &message, PERSON_SIZE)?)
}

impl World {
    /// Makes a request as a client does.
    ///
    /// # Errors
    /// Where a key card is missing.
    pub fn ask(&self, draft: &Draft) -> Result<Asked, AskError> {
        self.ask_with(draft, &plain_of(&draft.person)?, |_| ())
    }

    /// Makes a request whose person is any bytes, and which was changed before it was signed.
    ///
    /// # Errors
    /// Where a key card is missing.
    pub fn ask_with(
        &self,
        draft: &Draft,
        plain: &[u8],
        change: impl FnOnce(&mut Request),
    ) -> Result<Asked, AskError> {
        let id = RequestId::new(draft.issued_at_ms, random::bytes()?);
        let aad = Aad::before_request(id, &draft.authority, &draft.register, &draft.ledger);
        let sealed_person = self.seal_person(&draft.register, &aad, plain)?;
        let asked = AskedRecord { request_id: id.as_bytes().to_vec(), ..AskedRecord::default() };
        let kind = (SealKind::AskedRecord, record::ASKED_SIZE);
        let keeper = self.keeper.public();
        let asked = record::seal(&asked, kind, &aad, keeper, random::entropy()?);
        let asked = asked.map_err(|_| AskError::Record)?;
        let reply_key = SealingPrivateKey::generate(Kem::XWing, random::entropy()?)?;
        let mut request = Request {
            id: id.as_bytes().to_vec(),
            authority: draft.authority.clone(),
            ledger: draft.ledger.clone(),
            register: draft.register.clone(),
            evidence_type: draft.evidence_type.clone(),
            fields: draft.fields.clone(),
            purpose: draft.purpose.clone(),
            initiation: draft.initiation.into(),
            idnr_used: !draft.person.idnr.is_empty(),
            sealed_person_digest: Digest::of(&sealed_person).to_vec(),
            reply_kem: reply_key.kem().into(),
            reply_key: reply_key.public().bytes().to_vec(),
            asked_record: asked.sealed,
            retry_of: Vec::new(),
        };
        change(&mut request);
        let signer = self.authority(&draft.authority).ok_or(AskError::NoAuthority)?;
        let signed_request = sign(&request, signer)?;
        let parsed = Unverified::parse(&signed_request)?.request;
        let kind = self.trust.rules.evidence_type(&draft.evidence_type).cloned();
        Ok(Asked {
            digest: parsed.digest,
            question: Question::from(&parsed),
            kind: kind.ok_or(AskError::NoEvidenceType)?,
            request,
            signed_request,
            sealed_person,
            reply_key,
        })
    }

    /// Seals bytes as a person to a register's current key card.
    ///
    /// # Errors
    /// Where it has none.
    pub fn seal_person(
        &self,
        register: &str,
        aad: &Aad,
        plain: &[u8],
    ) -> Result<Vec<u8>, AskError> {
        let now_ms = Clock::system().now_ms();
        let card = self.card(register, now_ms)?;
        let key = card.key_at(Kem::XWing, now_ms).ok_or(AskError::NoCard)?;
        Ok(key.seal(SealKind::Person, aad, plain, random::entropy()?)?)
    }

    /// The key card of a register, verified.
    ///
    /// # Errors
    /// Where there is none, or it is not the register's.
    pub fn card(&self, register: &str, now_ms: u64) -> Result<KeyCard, AskError> {
        let envelope = self.board.card(register).ok_or(AskError::NoCard)?;
        let keys = self.trust.directory.card_keys(register).ok_or(AskError::NoCard)?;
        let card = KeyCard::verify(&envelope, register, keys, None, now_ms);
        card.map_err(|error| AskError::Card(error.to_string()))
    }

    /// What the rules decide of a request; a permit that claims everything where they refuse.
    pub fn permit(&self, asked: &Asked) -> Vec<u8> {
        let (rules, directory) = (&self.trust.rules, &self.trust.directory);
        match decide(rules, directory, &asked.question, asked.digest) {
            Ok(permit) => permit.bytes().to_vec(),
            Err(_) => v1::Permit {
                request_digest: asked.digest.to_vec(),
                rules_digest: rules.digest().to_vec(),
                directory_digest: directory.digest().to_vec(),
                fields: asked.request.fields.iter().map(|field| claimed(field)).collect(),
                crosses_areas: false,
            }
            .encode_to_vec(),
        }
    }
}

fn claimed(field: &str) -> FieldGrant {
    FieldGrant { field: field.to_owned(), policies: vec!["check".to_owned()] }
}

/// A request under somebody's signature.
///
/// # Errors
/// Where the key cannot sign.
pub fn sign(request: &Request, signer: &SigningKey) -> Result<Vec<u8>, AskError> {
    let signed = batch::sign(&request.authority, &[request.encode_to_vec()], signer)?;
    Ok(signed.first().map(Message::encode_to_vec).unwrap_or_default())
}

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// Too long.
    #[error("the person does not fit: {0}")]
    Pad(#[from] PadError),
    /// A key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A signature.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A request that nobody could read.
    #[error("the check made no request: {0}")]
    Request(#[from] RequestError),
    /// The asked record.
    #[error("the asked record cannot be sealed")]
    Record,
    /// No such authority here.
    #[error("the check has no such authority")]
    NoAuthority,
    /// The rules have no such type.
    #[error("the rules have no such evidence type")]
    NoEvidenceType,
    /// The register published no card.
    #[error("the register has published no key card with a key that is good now")]
    NoCard,
    /// It is not accepted.
    #[error("the register's key card is not accepted: {0}")]
    Card(String),
}
