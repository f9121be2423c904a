// SPDX-License-Identifier: EUPL-1.2
//! Evidence: signed by the register, padded to its type's size, sealed to the reply key. Found or
//! not, it has one size (SAME-ANSWER).

use prost::Message;
use zeroize::Zeroizing;

use crate::{
    digest::Digest,
    entropy::Entropy,
    envelope::{EnvelopeError, payload_type},
    key::{KeyError, PublicKey, SigningKey},
    pad::{self, PadError},
    seal::{Aad, SealError, SealKind, SealingPrivateKey, SealingPublicKey},
    wire::v1::{self, Envelope},
};

/// Plain evidence is at most this long, padding included.
pub const EVIDENCE_MAX: usize = 2 * 1024 * 1024;

/// Signs, pads and seals.
///
/// # Errors
/// Where the evidence is longer than its type's size, or a key fails.
pub fn seal(
    evidence: &v1::Evidence,
    request: Digest,
    size: usize,
    (register, reply): (&SigningKey, &SealingPublicKey),
    entropy: Entropy,
) -> Result<Vec<u8>, EvidenceError> {
    let payload = evidence.encode_to_vec();
    let envelope = Envelope::sign(payload_type::EVIDENCE, payload, &[register])?;
    let encoded = Zeroizing::new(envelope.encode_to_vec());
    let (salt, seal) = entropy.fork();
    let plain = pad::pad(salt.into_stream().array(), &encoded, size)?;
    Ok(reply.seal(SealKind::Evidence, &Aad::of_request(request, 0), &plain, seal)?)
}

/// Opens, unpads and verifies.
///
/// # Errors
/// Where it does not open, is not the register's, or answers another request.
pub fn open(
    sealed: &[u8],
    request: Digest,
    reply: &SealingPrivateKey,
    register: &[PublicKey],
) -> Result<v1::Evidence, EvidenceError> {
    let plain = reply.open(SealKind::Evidence, &Aad::of_request(request, 0), sealed)?;
    let envelope = Envelope::parse(pad::unpad(&plain)?)?;
    let payload = envelope.verified(payload_type::EVIDENCE, register)?;
    let evidence = v1::Evidence::decode(payload).map_err(|_| EvidenceError::Form)?;
    if evidence.request_digest != request.to_vec() {
        return Err(EvidenceError::OtherRequest);
    }
    Ok(evidence)
}

/// Why evidence cannot be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EvidenceError {
    /// Too long for its type, or not padded.
    #[error(transparent)]
    Pad(#[from] PadError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Not the register's.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// A key failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Malformed.
    #[error("the opened bytes are not evidence")]
    Form,
    /// It answers another request.
    #[error("the evidence answers another request")]
    OtherRequest,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::{FieldValue, Kem, Outcome};

    #[test]
    fn found_or_not_one_size_and_only_for_its_request() {
        let register = SigningKey::from_seed(&[1; 32]).unwrap();
        let reply = SealingPrivateKey::generate(Kem::XWing, Entropy::new([2; 32])).unwrap();
        let request = Digest::of(b"request");
        let found = v1::Evidence {
            request_digest: request.to_vec(),
            register: "r".into(),
            outcome: Outcome::Found.into(),
            fields: vec![FieldValue { field: "a".into(), json: "\"canary\"".into() }],
            answered_at_ms: 1,
        };
        let nothing = v1::Evidence {
            outcome: Outcome::NothingFound.into(),
            fields: Vec::new(),
            ..found.clone()
        };
        let seal = |evidence| {
            let keys = (&register, reply.public());
            super::seal(evidence, request, 2048, keys, Entropy::new([3; 32])).unwrap()
        };
        assert_eq!(seal(&found).len(), seal(&nothing).len());
        let keys = [register.public().clone()];
        let opened = open(&seal(&found), request, &reply, &keys).unwrap();
        assert_eq!(opened.fields[0].json, "\"canary\"");
        assert!(open(&seal(&found), Digest::of(b"other"), &reply, &keys).is_err());
        assert!(open(&seal(&found), request, &reply, &[]).is_err());
    }
}
