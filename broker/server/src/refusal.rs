// SPDX-License-Identifier: EUPL-1.2
//! Refusals as leaves: once the authority's signature was good, a refused request is logged like
//! an answered one, one leaf per request id.

use einmal_ledger::NewEntry;
use einmal_protocol::{
    Reason,
    envelope::payload_type,
    leaf::{LeafKind, body_bytes},
    time::day_of,
    wire::v1::{Body, Envelope, RefusalBody, RegisterRefusal, body},
};
use prost::Message;

use crate::{
    Broker,
    authenticate::Authenticated,
    exchange::{Failure, Hop},
};

/// Logs a refusal. Whether it is in the ledger now.
pub async fn log(broker: &Broker, authenticated: &Authenticated, failure: &Failure) -> bool {
    let Authenticated { request, signed_request, trust, .. } = authenticated;
    let now_ms = broker.clock.now_ms();
    // These two say that the id stands there already.
    let stands = matches!(failure.reason, Reason::IdReused | Reason::Replayed);
    let stands = stands
        || broker.ledger.find(&request.authority, request.id).await.is_ok_and(|f| f.is_some());
    if stands || !broker.shared.may_log_refusal(&request.authority).await {
        broker.metrics.unlogged_refusals.inc();
        return false;
    }
    let body = body_bytes(body::Kind::Refusal(RefusalBody {
        signed_request: signed_request.clone(),
        reason: failure.reason.as_str().to_owned(),
        fields: failure.fields.clone(),
        rules_digest: trust.rules.digest().to_vec(),
        directory_digest: trust.directory.digest().to_vec(),
        refused_at_ms: now_ms,
        register_refusal: failure.register_refusal.clone(),
    }));
    let entry = NewEntry {
        authority: request.authority.clone(),
        id: request.id,
        kind: LeafKind::Refusal,
        day: day_of(now_ms),
        body,
    };
    match broker.ledger.append(entry).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(request.id = %request.id, %error, "a refusal could not be logged");
            broker.metrics.unlogged_refusals.inc();
            false
        }
    }
}

/// What a register's signed refusal means; nothing where it is not the register's.
pub fn of_register(authenticated: &Authenticated, signed: &[u8]) -> Option<Failure> {
    let Authenticated { request, trust, .. } = authenticated;
    let register = trust.directory.register(&request.register)?;
    let envelope = Envelope::parse(signed).ok()?;
    let payload = envelope.verified(payload_type::REFUSAL, &register.keys).ok()?;
    let refusal = RegisterRefusal::decode(payload).ok()?;
    if refusal.request_digest != request.digest.to_vec() || refusal.register != request.register {
        return None;
    }
    let reason = Reason::parse(&refusal.reason).filter(|reason| reason.is_refusal())?;
    let register_refusal = signed.to_vec();
    Some(Failure { hop: Hop::Register, register_refusal, ..Failure::refused(reason) })
}

/// What a register's unsigned word means to the caller: that it failed. Only where it cannot know
/// what is denied is that passed on, for the authority and its operators can do something about it.
pub(crate) fn fault_of_register(named: &str) -> Failure {
    let reason = Reason::parse(named).filter(|reason| *reason == Reason::DenyListStale);
    Failure::fault(reason.unwrap_or(Reason::RegisterFault))
}

/// The signed request in a body of an exchange or a refusal.
pub(crate) fn signed_request_of(body: &[u8]) -> Option<Vec<u8>> {
    match Body::decode(body).ok()?.kind? {
        body::Kind::Exchange(exchange) => Some(exchange.signed_request),
        body::Kind::Refusal(refusal) => Some(refusal.signed_request),
        body::Kind::Use(_) | body::Kind::Notice(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registers_unsigned_word_is_a_fault_whatever_it_says() {
        let stale = fault_of_register("DENY_LIST_STALE");
        assert_eq!((stale.reason, stale.hop.as_str()), (Reason::DenyListStale, "register"));
        for named in ["REGISTER_FAULT", "NOT_PERMITTED", "DENIED", "ANSWER_LOST", "", "\u{0}"] {
            let told = fault_of_register(named);
            assert_eq!((told.reason, told.hop.as_str()), (Reason::RegisterFault, "register"));
        }
    }
}
