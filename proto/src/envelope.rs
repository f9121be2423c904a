// SPDX-License-Identifier: EUPL-1.2
//! DSSE envelopes (secure-systems-lab/dsse, protocol 1.0.2). The bytes that were verified are the
//! bytes that are used: a payload is handed out by verification alone.

use std::collections::BTreeSet;

use prost::Message;

use crate::{
    key::{KeyError, PublicKey, Signer},
    wire::v1::{Envelope, Signature},
};

/// Payload types. Each signed thing has its own, so that none passes for another.
pub mod payload_type {
    /// A batch of requests.
    pub const BATCH: &str = "application/vnd.einmal.batch.v1+proto";
    /// A register's commitment.
    pub const COMMITMENT: &str = "application/vnd.einmal.commitment.v1+proto";
    /// Evidence.
    pub const EVIDENCE: &str = "application/vnd.einmal.evidence.v1+proto";
    /// A report of use.
    pub const USE: &str = "application/vnd.einmal.use.v1+proto";
    /// A register's refusal.
    pub const REFUSAL: &str = "application/vnd.einmal.refusal.v1+proto";
    /// A key card.
    pub const KEY_CARD: &str = "application/vnd.einmal.key-card.v1+proto";
    /// The root.
    pub const ROOT: &str = "application/vnd.einmal.root.v1+json";
    /// The rules.
    pub const RULES: &str = "application/vnd.einmal.rules.v1+json";
    /// The directory.
    pub const DIRECTORY: &str = "application/vnd.einmal.directory.v1+json";
    /// The deny list.
    pub const DENY: &str = "application/vnd.einmal.deny.v1+json";
    /// What the newest documents are.
    pub const FRESHNESS: &str = "application/vnd.einmal.freshness.v1+json";
    /// The day keys of a register's data-protection officer.
    pub const OFFICER_KEYS: &str = "application/vnd.einmal.officer-keys.v1+proto";
}

/// At most this many signatures are looked at.
pub const SIGNATURES_MAX: usize = 16;

/// DSSE's pre-authentication encoding: what is really signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(payload.len() + payload_type.len() + 32);
    bytes.extend_from_slice(b"DSSEv1 ");
    bytes.extend_from_slice(payload_type.len().to_string().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(payload_type.as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(payload.len().to_string().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(payload);
    bytes
}

impl Envelope {
    /// Signs a payload with one or more keys.
    ///
    /// # Errors
    /// Where a key cannot sign.
    pub fn sign<S: Signer + ?Sized>(
        payload_type: &str,
        payload: Vec<u8>,
        keys: &[&S],
    ) -> Result<Self, KeyError> {
        let message = pae(payload_type, &payload);
        let signatures = keys
            .iter()
            .map(|key| Ok(Signature { key_id: key.public().id(), signature: key.sign(&message)? }))
            .collect::<Result<_, KeyError>>()?;
        Ok(Self { payload_type: payload_type.to_owned(), payload, signatures })
    }

    /// The payload, if one of the keys signed it as this type.
    ///
    /// # Errors
    /// Where the type is another or no signature is by one of the keys.
    pub fn verified<'a>(
        &'a self,
        payload_type: &str,
        keys: &[PublicKey],
    ) -> Result<&'a [u8], EnvelopeError> {
        if self.signers(payload_type, keys)?.is_empty() {
            return Err(EnvelopeError::Signature);
        }
        Ok(&self.payload)
    }

    /// The distinct keys, among those given, that signed this payload as this type. A key that
    /// signed twice, or stands twice in the list, counts once.
    ///
    /// # Errors
    /// Where the type is another or there are too many signatures to look at.
    pub fn signers<'k>(
        &self,
        payload_type: &str,
        keys: &'k [PublicKey],
    ) -> Result<BTreeSet<&'k PublicKey>, EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::PayloadType {
                expected: payload_type.to_owned(),
                got: self.payload_type.chars().take(80).collect(),
            });
        }
        if self.signatures.len() > SIGNATURES_MAX {
            return Err(EnvelopeError::TooManySignatures { got: self.signatures.len() });
        }
        let message = pae(&self.payload_type, &self.payload);
        let mut signers = BTreeSet::new();
        for signature in &self.signatures {
            // The id is only a hint: an empty one means "try them all".
            let candidates = keys
                .iter()
                .filter(|key| signature.key_id.is_empty() || signature.key_id == key.id());
            for key in candidates {
                if !signers.contains(key) && key.verifies(&message, &signature.signature) {
                    signers.insert(key);
                }
            }
        }
        Ok(signers)
    }

    /// Reads an envelope from bytes.
    ///
    /// # Errors
    /// Where they are not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        Self::decode(bytes).map_err(|_| EnvelopeError::Form)
    }
}

/// Why an envelope is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Another kind of thing.
    #[error("the envelope holds `{got}`, expected `{expected}`")]
    PayloadType {
        /// What was expected.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// No valid signature.
    #[error("no signature in the envelope is by a key that may sign it")]
    Signature,
    /// More than `SIGNATURES_MAX`.
    #[error("the envelope has {got} signatures, at most {SIGNATURES_MAX} are looked at")]
    TooManySignatures {
        /// How many.
        got: usize,
    },
    /// Not an envelope.
    #[error("the bytes are not an envelope")]
    Form,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn pae_is_the_published_vector() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn golden_bytes() {
        let envelope = Envelope::sign(payload_type::BATCH, b"einmal".to_vec(), &[&key(7)]).unwrap();
        assert_eq!(
            crate::digest::Digest::of(&envelope.encode_to_vec()).to_hex(),
            include_str!("../tests/golden/envelope.sha256").trim()
        );
    }

    #[test]
    fn one_key_counts_once() {
        let (one, two) = (key(1), key(2));
        let envelope = Envelope::sign("t", b"p".to_vec(), &[&one, &one, &one]).unwrap();
        let keys = [one.public().clone(), one.public().clone(), two.public().clone()];
        assert_eq!(envelope.signers("t", &keys).unwrap().len(), 1);
    }

    #[test]
    fn another_type_or_payload_or_key_is_refused() {
        let one = key(1);
        let keys = [one.public().clone()];
        let good = Envelope::sign("t", b"p".to_vec(), &[&one]).unwrap();
        assert_eq!(good.verified("t", &keys), Ok(&b"p"[..]));
        assert!(matches!(good.verified("u", &keys), Err(EnvelopeError::PayloadType { .. })));
        assert_eq!(good.verified("t", &[key(2).public().clone()]), Err(EnvelopeError::Signature));
        let tampered = Envelope { payload: b"q".to_vec(), ..good.clone() };
        assert_eq!(tampered.verified("t", &keys), Err(EnvelopeError::Signature));
        let flooded = Envelope { signatures: vec![good.signatures[0].clone(); 17], ..good };
        assert!(matches!(
            flooded.verified("t", &keys),
            Err(EnvelopeError::TooManySignatures { got: 17 })
        ));
    }
}
