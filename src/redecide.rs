// SPDX-License-Identifier: EUPL-1.2
//! What a logged body says was decided, decided once more under the rules and the directory of its
//! time: for exported records and for replay alike. Pure: no clock, file or network.

use std::sync::Arc;

use einmal_policy::{Question, Trust, decide, deny::DenyList};
use einmal_protocol::{
    Digest, Reason,
    commitment::{Commitment, CommitmentError},
    envelope::payload_type,
    permit::{NotAPermit, Permit},
    request::{Request, RequestError, Unverified},
    time::SKEW_MS,
    wire::v1::{Envelope, ExchangeBody, FieldRefusal, RefusalBody, RegisterRefusal},
};
use prost::Message;

/// An exchange that holds.
#[derive(Debug)]
pub struct Exchange {
    /// Signed by the authority.
    pub request: Request,
    /// Byte for byte what the rules give.
    pub permit: Permit,
    /// Signed by the register, to this request under this permit.
    pub commitment: Commitment,
}

/// A refusal that holds.
#[derive(Debug)]
pub struct Refusal {
    /// Signed by the authority.
    pub request: Request,
    /// Why it was refused.
    pub reason: Reason,
    /// Whose word that is.
    pub by: By,
}

/// Who refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The rules, which refuse the same fields again.
    Rules,
    /// The register, which signed it.
    Register,
    /// The deny list of this version, which refuses the same fields again.
    DenyList(u64),
    /// A deny list, says the broker; none of those at hand refuses these fields.
    UnknownDenyList,
    /// Something that was so at the time: a clock, an operator, a person that did not open. Only
    /// the broker says so.
    Circumstances,
}

/// The request, if its authority signed it.
///
/// # Errors
/// Where it did not.
pub fn request(trust: &Trust, signed_request: &[u8]) -> Result<Request, Difference> {
    let unverified = Unverified::parse(signed_request)?;
    let request = unverified.request;
    let authority =
        trust.directory.authority(&request.authority).ok_or(Difference::Unknown("authority"))?;
    unverified.membership.verify(&authority.keys).map_err(RequestError::Batch)?;
    Ok(request)
}

/// Decides an exchange once more.
///
/// # Errors
/// Where it comes out otherwise, byte for byte, or a signature does not hold.
pub fn exchange(trust: &Trust, body: &ExchangeBody) -> Result<Exchange, Difference> {
    let request = request(trust, &body.signed_request)?;
    let permit = Permit::parse(&body.permit)?;
    let again = decide(&trust.rules, &trust.directory, &Question::from(&request), request.digest)
        .map_err(|refused| Difference::Refused(refused.reason))?;
    if again.bytes() != permit.bytes() {
        return Err(Difference::Permit);
    }
    let register =
        trust.directory.register(&request.register).ok_or(Difference::Unknown("register"))?;
    let kind = trust
        .rules
        .evidence_type(&request.evidence_type)
        .ok_or(Difference::Unknown("evidence type"))?;
    let commitment = Commitment::verify(&body.commitment, &register.keys)?;
    commitment.check(request.digest, permit.digest(), kind.slots)?;
    Ok(Exchange { request, permit, commitment })
}

/// Decides a refusal once more. `lists` are the deny lists at hand, verified,
/// the oldest first.
///
/// # Errors
/// Where it comes out otherwise, or a signature does not hold.
pub fn refusal(
    trust: &Trust,
    lists: &[Arc<DenyList>],
    body: &RefusalBody,
) -> Result<Refusal, Difference> {
    let request = request(trust, &body.signed_request)?;
    let is = |digest: Digest, bytes: &[u8]| digest.as_bytes().as_slice() == bytes;
    if !is(trust.rules.digest(), &body.rules_digest)
        || !is(trust.directory.digest(), &body.directory_digest)
    {
        return Err(Difference::OtherRules);
    }
    let reason = Reason::parse(&body.reason).ok_or(Difference::UnknownReason)?;
    let by = if !body.register_refusal.is_empty() {
        check_register(trust, &request, body)?;
        By::Register
    } else if reason == Reason::Denied {
        by_deny_list(trust, lists, &request, body)
    } else if is_decided(reason) {
        by_rules(trust, &request, reason, &body.fields)?;
        By::Rules
    } else {
        By::Circumstances
    };
    Ok(Refusal { request, reason, by })
}

/// Whether a reason follows from request, rules and directory alone.
fn is_decided(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotPermitted
            | Reason::PolicyError
            | Reason::UnknownAuthority
            | Reason::UnknownRegister
            | Reason::NotHeldByRegister
            | Reason::UnknownEvidenceType
            | Reason::UnknownPurpose
            | Reason::UnknownField
    )
}

fn by_rules(
    trust: &Trust,
    request: &Request,
    reason: Reason,
    fields: &[FieldRefusal],
) -> Result<(), Difference> {
    let again = decide(&trust.rules, &trust.directory, &Question::from(request), request.digest);
    match again {
        Ok(_) => Err(Difference::NotRefused),
        Err(refused) if refused.reason != reason => Err(Difference::Refused(refused.reason)),
        Err(refused) if refused.fields != fields => Err(Difference::Fields),
        Err(_) => Ok(()),
    }
}

fn by_deny_list(
    trust: &Trust,
    lists: &[Arc<DenyList>],
    request: &Request,
    body: &RefusalBody,
) -> By {
    let question = Question::from(request);
    let mut trust = trust.clone();
    let latest_ms = body.refused_at_ms.saturating_add(SKEW_MS);
    let refuses = |list: &&Arc<DenyList>| {
        trust.deny = Some(Arc::clone(list));
        list.document().issued_at_ms <= latest_ms
            && trust.not_denied(&question).is_err_and(|refused| refused.fields == body.fields)
    };
    match lists.iter().rev().find(refuses) {
        Some(list) => By::DenyList(list.document().version),
        None => By::UnknownDenyList,
    }
}

fn check_register(trust: &Trust, request: &Request, body: &RefusalBody) -> Result<(), Difference> {
    let register =
        trust.directory.register(&request.register).ok_or(Difference::Unknown("register"))?;
    let envelope =
        Envelope::parse(&body.register_refusal).map_err(|_| Difference::RegisterRefusal)?;
    let payload = envelope
        .verified(payload_type::REFUSAL, &register.keys)
        .map_err(|_| Difference::RegisterRefusal)?;
    let refusal = RegisterRefusal::decode(payload).map_err(|_| Difference::RegisterRefusal)?;
    if refusal.request_digest != request.digest.to_vec() || refusal.reason != body.reason {
        return Err(Difference::OtherRefusal);
    }
    Ok(())
}

/// What does not come out again as it was logged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Difference {
    /// The request is malformed, or not signed by its authority.
    #[error("the request does not hold: {0}")]
    Request(#[from] RequestError),
    /// The permit is malformed.
    #[error(transparent)]
    NotAPermit(#[from] NotAPermit),
    /// The register's word is malformed, of another, or not signed by it.
    #[error("the register's commitment does not hold: {0}")]
    Commitment(#[from] CommitmentError),
    /// Not in directory or rules.
    #[error("directory and rules of that time have no such {0}")]
    Unknown(&'static str),
    /// Permitted then, refused now; or refused for another reason.
    #[error("decided again under the same rules, it is refused: {0}")]
    Refused(Reason),
    /// Another permit.
    #[error("decided again under the same rules, it comes out differently")]
    Permit,
    /// Refused then, permitted now.
    #[error("decided again under the same rules, it is not refused")]
    NotRefused,
    /// Other fields, or other policies.
    #[error("decided again under the same rules, other fields or policies speak against it")]
    Fields,
    /// Not the documents that were given.
    #[error("it was refused under other rules or another directory")]
    OtherRules,
    /// No such reason.
    #[error("its reason is none of the known ones")]
    UnknownReason,
    /// The register did not sign it.
    #[error("the refusal is not signed by the register")]
    RegisterRefusal,
    /// It signed another.
    #[error("the register's refusal is of another request or reason")]
    OtherRefusal,
}
