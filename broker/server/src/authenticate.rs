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
    batch::{BatchError, Membership},
    key::PublicKey,
    request::{Request, RequestError, TimeError, Unverified},
    time::REQUEST_LIFE_MS,
};

use crate::{Broker, caller, exchange::Failure};

/// At most this many verified batches are remembered.
const VERIFIED_MAX: usize = 16_384;

/// A request whose authority's signature is good. From here on a refusal is a leaf.
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
pub fn authenticate(broker: &Broker, signed_request: Vec<u8>) -> Result<Authenticated, Failure> {
    let now_ms = broker.clock.now_ms();
    let trust = broker.trust.current();
    let unverified = Unverified::parse(&signed_request).map_err(malformed)?;
    let authority = trust
        .directory
        .authority(&unverified.request.authority)
        .ok_or_else(|| Failure::refused(Reason::UnknownAuthority))?;
    broker
        .verified
        .check(&unverified.membership, &authority.keys, now_ms)
        .map_err(|_| Failure::refused(Reason::BadSignature))?;
    let request = unverified.request;
    Ok(Authenticated { request, signed_request, trust, now_ms })
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
    /// Whether one of these keys signed a batch. Remembered for these keys only: a key that was
    /// denied since, or left the directory, signs nothing that counts.
    fn check(
        &self,
        membership: &Membership,
        keys: &[PublicKey],
        now_ms: u64,
    ) -> Result<(), BatchError> {
        let envelope = membership.envelope_digest();
        let ids: Vec<String> = keys.iter().map(PublicKey::id).collect();
        let parts: Vec<&[u8]> = std::iter::once(envelope.as_bytes().as_slice())
            .chain(ids.iter().map(String::as_bytes))
            .collect();
        let checked = Digest::of_parts(&parts);
        if !self.knows(checked, now_ms) {
            membership.verify(keys)?;
            self.remember(checked, now_ms);
        }
        Ok(())
    }

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

#[cfg(test)]
mod tests {
    use einmal_protocol::{batch, key::SigningKey};

    use super::*;

    #[test]
    fn a_batch_is_not_remembered_for_other_keys_than_those_of_now() {
        let key = |seed: u8| SigningKey::from_seed(&[seed; 32]).unwrap();
        let signed = batch::sign("office", &[b"request".to_vec()], &key(1)).unwrap().remove(0);
        let membership = batch::membership(&signed).unwrap();
        let verified = VerifiedBatches::default();
        let keys = [key(1).public().clone(), key(2).public().clone()];
        assert_eq!(verified.check(&membership, &keys, 0), Ok(()));
        assert_eq!(verified.check(&membership, &keys, 1), Ok(()));
        assert_eq!(verified.until.lock().unwrap().len(), 1);
        // The key that signed was denied; or all were.
        for left in [&keys[1..], &[]] {
            assert_eq!(verified.check(&membership, left, 2), Err(BatchError::Signature));
        }
    }
}
