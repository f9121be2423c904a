// SPDX-License-Identifier: EUPL-1.2
//! A commitment: the register's signed word on whose data and which fields will go out, made
//! before logging, so that the ledger holds it before anything is revealed.

use prost::Message;

use crate::{
    digest::Digest,
    envelope::{EnvelopeError, payload_type},
    key::PublicKey,
    wire::v1::{self, Envelope},
};

/// A commitment's envelope is at most this long.
pub const COMMITMENT_MAX: usize = 256 * 1024;
/// At most this many slots.
pub const SLOTS_MAX: u32 = 32;

/// A register's commitment, its signature checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// Digest of the request that it answers.
    pub request_digest: Digest,
    /// Digest of the permit that it keeps to.
    pub permit_digest: Digest,
    /// UTC day.
    pub day: u32,
    /// When it was made.
    pub committed_at_ms: u64,
    /// SHA-256 of the sealed evidence that will be revealed.
    pub sealed_evidence_digest: Digest,
    /// One for each slot of the evidence type.
    pub slots: Vec<Slot>,
}

/// One person's access record, or a dummy: which, only the keeper can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Bytes of a `Sealed` message.
    pub sealed_record: Vec<u8>,
    /// SHA-256 of the plain bytes, padding and salt included.
    pub plain_digest: Digest,
}

impl Commitment {
    /// The payload to sign.
    pub fn to_payload(&self) -> Vec<u8> {
        v1::Commitment {
            request_digest: self.request_digest.to_vec(),
            permit_digest: self.permit_digest.to_vec(),
            day: self.day,
            committed_at_ms: self.committed_at_ms,
            sealed_evidence_digest: self.sealed_evidence_digest.to_vec(),
            slots: self
                .slots
                .iter()
                .map(|slot| v1::RecordSlot {
                    sealed_record: slot.sealed_record.clone(),
                    plain_digest: slot.plain_digest.to_vec(),
                })
                .collect(),
        }
        .encode_to_vec()
    }

    /// Reads an envelope's bytes and checks that one of the register's keys signed it.
    ///
    /// # Errors
    /// Where it is malformed or signed by somebody else.
    pub fn verify(envelope: &[u8], register: &[PublicKey]) -> Result<Self, CommitmentError> {
        if envelope.len() > COMMITMENT_MAX {
            return Err(CommitmentError::Form);
        }
        let envelope = Envelope::parse(envelope)?;
        let payload = envelope.verified(payload_type::COMMITMENT, register)?;
        let wire = v1::Commitment::decode(payload).map_err(|_| CommitmentError::Form)?;
        let digest = |bytes: &[u8]| Digest::try_from(bytes).map_err(|_| CommitmentError::Form);
        if wire.slots.is_empty() || wire.slots.len() > SLOTS_MAX as usize {
            return Err(CommitmentError::Form);
        }
        Ok(Self {
            request_digest: digest(&wire.request_digest)?,
            permit_digest: digest(&wire.permit_digest)?,
            day: wire.day,
            committed_at_ms: wire.committed_at_ms,
            sealed_evidence_digest: digest(&wire.sealed_evidence_digest)?,
            slots: wire
                .slots
                .into_iter()
                .map(|slot| {
                    Ok(Slot {
                        plain_digest: digest(&slot.plain_digest)?,
                        sealed_record: slot.sealed_record,
                    })
                })
                .collect::<Result<_, CommitmentError>>()?,
        })
    }

    /// Whether this commitment answers that request under that permit, with that many slots, on
    /// the day that its time says.
    ///
    /// # Errors
    /// Names the part that belongs to something else.
    pub fn check(
        &self,
        request: Digest,
        permit: Digest,
        slots: u32,
    ) -> Result<(), CommitmentError> {
        let part = if self.request_digest != request {
            "request"
        } else if self.permit_digest != permit {
            "permit"
        } else if self.slots.len() != slots as usize {
            "slots"
        } else if self.day != crate::time::day_of(self.committed_at_ms) {
            "day"
        } else {
            return Ok(());
        };
        Err(CommitmentError::Other(part))
    }
}

/// Why a commitment is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommitmentError {
    /// Malformed.
    #[error("the bytes are not a commitment")]
    Form,
    /// Not signed by the register.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It belongs to something else.
    #[error("the commitment's {0} is another")]
    Other(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    #[test]
    fn signed_checked_and_golden() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let commitment = Commitment {
            request_digest: Digest::of(b"request"),
            permit_digest: Digest::of(b"permit"),
            day: 1,
            committed_at_ms: crate::time::DAY_MS + 5,
            sealed_evidence_digest: Digest::of(b"evidence"),
            slots: vec![Slot { sealed_record: b"s".to_vec(), plain_digest: Digest::of(b"p") }],
        };
        let envelope =
            Envelope::sign(payload_type::COMMITMENT, commitment.to_payload(), &[&key]).unwrap();
        let bytes = envelope.encode_to_vec();
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            include_str!("../tests/golden/commitment.sha256").trim()
        );
        let keys = [key.public().clone()];
        assert_eq!(Commitment::verify(&bytes, &keys), Ok(commitment.clone()));
        assert!(Commitment::verify(&bytes, &[]).is_err());
        let (request, permit) = (Digest::of(b"request"), Digest::of(b"permit"));
        assert_eq!(commitment.check(request, permit, 1), Ok(()));
        assert_eq!(commitment.check(permit, permit, 1), Err(CommitmentError::Other("request")));
        assert_eq!(commitment.check(request, request, 1), Err(CommitmentError::Other("permit")));
        assert_eq!(commitment.check(request, permit, 2), Err(CommitmentError::Other("slots")));
    }
}
