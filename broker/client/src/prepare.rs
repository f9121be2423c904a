// SPDX-License-Identifier: EUPL-1.2
//! Resolve, seal, sign.

use std::sync::Arc;

use einmal_peer::random;
use einmal_policy::{Question, Trust, directory::KnownLedger};
use einmal_protocol::{
    Digest, Reason, RequestId, batch,
    note::LedgerKey,
    record,
    request::Unverified,
    seal::{Aad, SealKind, SealingPrivateKey},
    wire::v1::{AskedRecord, Kem, Request},
};
use prost::Message;

use crate::{Ask, Client, ClientError};

/// A question, signed and sealed, ready to be sent.
pub struct Prepared {
    /// Its id.
    pub id: RequestId,
    /// Bytes of a `SignedRequest`.
    pub signed_request: Vec<u8>,
    /// Bytes of a `Sealed` message.
    pub sealed_person: Vec<u8>,
    /// The ledger that must log it.
    pub ledger: String,
    pub(crate) request: Digest,
    pub(crate) question: Question,
    pub(crate) ledger_key: LedgerKey,
    pub(crate) reply_key: SealingPrivateKey,
    pub(crate) trust: Arc<Trust>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prepared({})", self.id)
    }
}

/// Before it is signed.
struct Draft {
    id: RequestId,
    question: Question,
    request: Vec<u8>,
    sealed_person: Vec<u8>,
    reply_key: SealingPrivateKey,
}

pub(crate) async fn prepare(client: &Client, asks: &[Ask]) -> Result<Vec<Prepared>, ClientError> {
    let trust = client.trust.current();
    // Whether its deny list is fresh is the broker's and the register's to say.
    if trust.check_time(client.clock.now_ms()) == Err(Reason::RulesExpired) {
        return Err(ClientError::Expired);
    }
    let ledger = open_ledger(&trust)?.clone();
    let mut drafts = Vec::with_capacity(asks.len());
    for ask in asks {
        drafts.push(draft(client, &trust, &ledger.entry.origin, &ledger.entry.keeper, ask).await?);
    }
    let requests: Vec<Vec<u8>> = drafts.iter().map(|draft| draft.request.clone()).collect();
    let signed = batch::sign(&client.authority, &requests, &client.identity)?;
    drafts
        .into_iter()
        .zip(signed)
        .map(|(draft, signed)| {
            let signed_request = signed.encode_to_vec();
            // Reading it back is the same check that everybody else will make.
            let request = Unverified::parse(&signed_request)?.request.digest;
            Ok(Prepared {
                id: draft.id,
                signed_request,
                sealed_person: draft.sealed_person,
                ledger: ledger.entry.origin.clone(),
                request,
                question: draft.question,
                ledger_key: ledger.key.clone(),
                reply_key: draft.reply_key,
                trust: Arc::clone(&trust),
            })
        })
        .collect()
}

/// The ledger that new requests name.
pub(crate) fn open_ledger(trust: &Trust) -> Result<&KnownLedger, ClientError> {
    let ledgers = &trust.directory.document().ledgers;
    let open = ledgers.iter().find(|ledger| ledger.final_checkpoint.is_none());
    open.and_then(|ledger| trust.directory.ledger(&ledger.origin)).ok_or(ClientError::NoOpenLedger)
}

/// The register to ask: the one that is named, else that of the authority's region.
pub(crate) fn resolve(client: &Client, trust: &Trust, ask: &Ask) -> Result<String, ClientError> {
    if let Some(register) = &ask.register {
        return match trust.directory.register(register) {
            Some(_) => Ok(register.clone()),
            None => Err(ClientError::Unknown { what: "register", id: register.clone() }),
        };
    }
    let region =
        trust.directory.authority(&client.authority).map_or("", |found| &found.entry.region);
    let found = trust.directory.registers_of(&ask.evidence_type, region).next();
    found.map(|register| register.id.clone()).ok_or_else(|| ClientError::Unknown {
        what: "register for evidence type",
        id: ask.evidence_type.clone(),
    })
}

async fn draft(
    client: &Client,
    trust: &Trust,
    ledger: &str,
    keeper: &str,
    ask: &Ask,
) -> Result<Draft, ClientError> {
    let register = resolve(client, trust, ask)?;
    let id = random::request_id(client.clock.now_ms())?;
    let aad = Aad::before_request(id, &client.authority, &register, ledger);
    let plain = ask.person.to_plain(random::bytes()?)?;
    let sealed_person = client.sealing_key(&register, trust).await?.seal(
        SealKind::Person,
        &aad,
        &plain,
        random::entropy()?,
    )?;
    let asked = AskedRecord {
        request_id: id.as_bytes().to_vec(),
        subject: Some(ask.person.query.to_subject()),
        case_reference: ask.person.case_reference.clone(),
        clerk: ask.person.clerk.clone(),
    };
    let keeper = client.sealing_key(keeper, trust).await?;
    let kind = (SealKind::AskedRecord, record::ASKED_SIZE);
    let asked = record::seal(&asked, kind, &aad, &keeper, random::entropy()?)?;
    let reply_key = SealingPrivateKey::generate(Kem::XWing, random::entropy()?)?;
    let mut fields = ask.fields.clone();
    fields.sort_unstable();
    fields.dedup();
    let request = Request {
        id: id.as_bytes().to_vec(),
        authority: client.authority.clone(),
        ledger: ledger.to_owned(),
        register: register.clone(),
        evidence_type: ask.evidence_type.clone(),
        fields: fields.clone(),
        purpose: ask.purpose.clone(),
        initiation: ask.initiation.into(),
        idnr_used: ask.person.query.uses_idnr(),
        sealed_person_digest: Digest::of(&sealed_person).to_vec(),
        reply_kem: reply_key.kem().into(),
        reply_key: reply_key.public().bytes().to_vec(),
        asked_record: asked.sealed,
        retry_of: ask.retry_of.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
    };
    let question = Question {
        authority: client.authority.clone(),
        register,
        evidence_type: ask.evidence_type.clone(),
        fields,
        purpose: ask.purpose.clone(),
        initiation: ask.initiation,
        idnr_used: ask.person.query.uses_idnr(),
    };
    Ok(Draft { id, question, request: request.encode_to_vec(), sealed_person, reply_key })
}
