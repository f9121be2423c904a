// SPDX-License-Identifier: EUPL-1.2
//! Step 7: verify all, then open. Nothing is taken on the broker's word.

use std::collections::BTreeMap;

use einmal_policy::{Trust, decide};
use einmal_protocol::{
    Digest, RequestId,
    commitment::Commitment,
    evidence,
    leaf::{Leaf, LeafKind, body_bytes},
    note::Checkpoint,
    receipt::{self, Proven},
    wire::{
        evidence::v1::RequestEvidenceResponse,
        v1::{ExchangeBody, Outcome, body},
    },
};
use serde_json::Value;

use crate::{ClientError, Prepared};

/// A verified answer.
pub struct Received {
    /// The request's id.
    pub id: RequestId,
    /// Who answered.
    pub register: String,
    /// Found, nothing found, or ambiguous.
    pub outcome: Outcome,
    /// When the register answered, by its own clock: milliseconds since 1970, UTC.
    pub answered_at_ms: u64,
    /// Values by field; empty unless found.
    pub values: BTreeMap<String, Value>,
    /// Which policies permitted each field.
    pub policies: BTreeMap<String, Vec<String>>,
    /// Where it stands in the ledger.
    pub proven: Proven,
    pub(crate) ledger: String,
    pub(crate) request: Digest,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received({} from {})", self.id, self.register)
    }
}

pub(crate) fn receive(
    prepared: &Prepared,
    trust: &Trust,
    answer: RequestEvidenceResponse,
    seen: Option<&Checkpoint>,
) -> Result<Received, ClientError> {
    let question = &prepared.question;
    let unknown = |what, id: &str| ClientError::Unknown { what, id: id.to_owned() };
    let permit = decide(&trust.rules, &trust.directory, question, prepared.request);
    let permit = permit.map_err(|_| {
        ClientError::Misbehaved("our own rules do not permit what the broker answered")
    })?;
    if permit.bytes() != answer.permit {
        return Err(ClientError::Misbehaved("the permit is not what our own rules decide"));
    }
    let register = trust
        .directory
        .register(&question.register)
        .ok_or_else(|| unknown("register", &question.register))?;
    let kind = trust
        .rules
        .evidence_type(&question.evidence_type)
        .ok_or_else(|| unknown("evidence type", &question.evidence_type))?;
    let commitment = Commitment::verify(&answer.commitment, &register.keys)?;
    commitment.check(prepared.request, permit.digest(), kind.slots)?;
    if commitment.sealed_evidence_digest != Digest::of(&answer.sealed_evidence) {
        return Err(ClientError::Misbehaved("the evidence is not the one committed to"));
    }
    let body = body_bytes(body::Kind::Exchange(ExchangeBody {
        signed_request: prepared.signed_request.clone(),
        permit: answer.permit,
        commitment: answer.commitment,
    }));
    let leaf = Leaf::new(LeafKind::Exchange, commitment.day, &body);
    let receipt = answer.receipt.ok_or(ClientError::Misbehaved("no receipt"))?;
    let proven = receipt::verify(&receipt, leaf, &prepared.ledger_key, seen)?;
    let evidence = evidence::open(
        &answer.sealed_evidence,
        prepared.request,
        &prepared.reply_key,
        &register.keys,
    )?;
    if evidence.register != question.register {
        return Err(ClientError::Misbehaved("the evidence is another register's"));
    }
    let (outcome, answered_at_ms) = (evidence.outcome(), evidence.answered_at_ms);
    let mut values = BTreeMap::new();
    for field in evidence.fields {
        if !question.fields.contains(&field.field) {
            return Err(ClientError::Misbehaved("the evidence holds a field not asked for"));
        }
        let value = serde_json::from_str(&field.json)
            .map_err(|_| ClientError::Misbehaved("a field's value is not JSON"))?;
        values.insert(field.field, value);
    }
    let policies =
        permit.fields().iter().map(|grant| (grant.field.clone(), grant.policies.clone())).collect();
    Ok(Received {
        id: prepared.id,
        register: question.register.clone(),
        outcome,
        answered_at_ms,
        values,
        policies,
        proven,
        ledger: prepared.ledger.clone(),
        request: prepared.request,
    })
}
