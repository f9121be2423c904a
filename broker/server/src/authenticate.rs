// SPDX-License-Identifier: EUPL-1.2
//! Step 1: who asks. mTLS names the operator, the signature names the authority.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use einmal_peer::SpiffeId;
use einmal_policy::Trust;
use einmal_protocol::{
    Digest, Reason,
    batch::BatchError,
    request::{Request, RequestError, TimeError, Unverified},
    time::REQUEST_LIFE_MS,
};

use crate::{Broker, caller, exchange::Failure};

/// At most this many verified batches are remembered.
const VERIFIED_MAX: usize = 16_384;

/// A request whose authority's signature is good. From here on a refusal is a leaf.
#[derive(Clone)]
pub struct Authenticated {
    /// The request.
    pub request: Request,
    /// The signed bytes as received.
    pub signed_request: Vec<u8>,
    /// The trust that this exchange uses from start to end.
    pub trust: Arc<Trust>,
    /// When it came in.
    pub now_ms: u64,
}

/// Checks the signature, with the keys that the directory names.
///
/// # Errors
/// Where it is malformed, of an unknown authority, or not signed by it. Such refusals are only
/// counted, since anybody could make them.
pub fn authenticate(broker: &Broker, signed_request: &[u8]) -> Result<Authenticated, Failure> {
    let now_ms = broker.clock.now_ms();
    let trust = broker.trust.current();
    let unverified = Unverified::parse(signed_request).map_err(malformed)?;
    let authority = trust
        .directory
        .authority(&unverified.request.authority)
        .ok_or_else(|| Failure::refused(Reason::UnknownAuthority))?;
    let envelope = Digest::of_parts(&[
        trust.directory.digest().as_bytes(),
        unverified.membership.envelope_digest().as_bytes(),
    ]);
    if !broker.verified.knows(envelope, now_ms) {
        unverified
            .membership
            .verify(&authority.keys)
            .map_err(|_| Failure::refused(Reason::BadSignature))?;
        broker.verified.remember(envelope, now_ms);
    }
    let request = unverified.request;
    Ok(Authenticated { request, signed_request: signed_request.to_vec(), trust, now_ms })
}

/// What else must hold before anything is decided. These refusals are leaves.
///
/// # Errors
/// Where the operator may not carry for the authority, or time, ledger or person do not fit.
pub fn check_circumstances(
    broker: &Broker,
    caller: &SpiffeId,
    authenticated: &Authenticated,
    sealed_person: &[u8],
) -> Result<(), Failure> {
    let Authenticated { request, trust, now_ms, .. } = authenticated;
    let operator = caller::operator(caller, &trust.directory)?;
    if !trust.directory.may_carry_for_authority(&operator, &request.authority) {
        return Err(Failure::refused(Reason::OperatorMayNotCarry));
    }
    request.check_time(*now_ms).map_err(|error| {
        let reason = match error {
            TimeError::Ahead { .. } => Reason::ClockSkew,
            TimeError::Expired { .. } => Reason::RequestExpired,
        };
        Failure::refused(reason).with_detail(error.to_string())
    })?;
    if request.ledger != broker.origin {
        return Err(Failure::refused(Reason::WrongLedger));
    }
    trust.check_time(*now_ms).map_err(Failure::refused)?;
    if Digest::of(sealed_person) != request.sealed_person_digest {
        return Err(Failure::refused(Reason::PersonNotOpened));
    }
    Ok(())
}

fn malformed(error: RequestError) -> Failure {
    let reason = match &error {
        RequestError::TooLarge => Reason::TooLarge,
        RequestError::Batch(BatchError::Signature | BatchError::Path) => Reason::BadSignature,
        RequestError::Form(_) | RequestError::Batch(_) => Reason::MalformedRequest,
    };
    Failure::refused(reason).with_detail(error.to_string())
}

/// Batches whose signature was checked, so that 17 requests under one signature cost one check.
#[derive(Debug, Default)]
pub struct VerifiedBatches {
    until: Mutex<HashMap<Digest, u64>>,
}

impl VerifiedBatches {
    fn knows(&self, envelope: Digest, now_ms: u64) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(&envelope).is_some_and(|until| now_ms < *until)
    }

    fn remember(&self, envelope: Digest, now_ms: u64) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= VERIFIED_MAX {
            until.retain(|_, end| now_ms < *end);
            if until.len() >= VERIFIED_MAX {
                until.clear();
            }
        }
        until.insert(envelope, now_ms.saturating_add(REQUEST_LIFE_MS));
    }
}
