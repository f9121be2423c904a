// SPDX-License-Identifier: EUPL-1.2
//! Identity keys: Ed25519 and ECDSA P-256, which HSMs and the German administrative PKI have.

use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
        Ed25519KeyPair, KeyPair, UnparsedPublicKey,
    },
};

use crate::digest::{Digest, hex};

/// A signature algorithm. The numbers are part of key ids and never change.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// RFC 8032; public key 32 bytes, signature 64.
    Ed25519,
    /// FIPS 186-5 with SHA-256; public key 65 bytes (uncompressed point), signature r ‖ s.
    EcdsaP256,
}

impl Algorithm {
    fn number(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::EcdsaP256 => 2,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::EcdsaP256 => 65,
        }
    }
}

/// A public key of known algorithm and right length.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl PublicKey {
    /// Takes a raw public key.
    ///
    /// # Errors
    /// Where the length is not the algorithm's.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        if bytes.len() != algorithm.key_length() {
            return Err(KeyError::Length { expected: algorithm.key_length(), got: bytes.len() });
        }
        Ok(Self { algorithm, bytes: bytes.to_vec() })
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The raw key.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first 32 hex digits of SHA-256(algorithm, key): a hint in envelopes.
    pub fn id(&self) -> String {
        let digest = Digest::of_parts(&[&[self.algorithm.number()], &self.bytes]);
        hex(digest.as_bytes().get(..16).unwrap_or_default())
    }

    /// True only for a signature by this key over these bytes. Verified singly: batch
    /// verification accepts signatures that an auditor would later refuse.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::Ed25519 => {
                UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature).is_ok()
            }
            Algorithm::EcdsaP256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes)
                .verify(message, signature)
                .is_ok(),
        }
    }

    /// A signature that another program or device made, in the form that `verifies` takes, if it is
    /// by this key over these bytes. Many devices give an ECDSA signature in DER.
    pub fn signature_from(&self, message: &[u8], signature: &[u8]) -> Option<Vec<u8>> {
        if self.verifies(message, signature) {
            return Some(signature.to_vec());
        }
        if self.algorithm != Algorithm::EcdsaP256 {
            return None;
        }
        let fixed = fixed_from_der(signature)?;
        self.verifies(message, &fixed).then_some(fixed)
    }
}

/// r ‖ s of the DER form of an ECDSA signature, SEQUENCE { r INTEGER, s INTEGER }.
fn fixed_from_der(der: &[u8]) -> Option<Vec<u8>> {
    let (&[0x30, length], integers) = der.split_first_chunk()? else { return None };
    if usize::from(length) != integers.len() {
        return None;
    }
    let (r, rest) = integer(integers)?;
    let (s, rest) = integer(rest)?;
    rest.is_empty().then(|| [r, s].concat())
}

/// One INTEGER of at most 32 bytes, filled up to that, and what comes after it.
fn integer(der: &[u8]) -> Option<([u8; 32], &[u8])> {
    let (&[0x02, length], rest) = der.split_first_chunk()? else { return None };
    let (value, rest) = rest.split_at_checked(length.into())?;
    let value = value.strip_prefix(&[0]).unwrap_or(value);
    let mut fixed = [0; 32];
    let start = fixed.len().checked_sub(value.len())?;
    fixed.get_mut(start..)?.copy_from_slice(value);
    Some((fixed, rest))
}

/// Whatever signs under one public key: a private key in memory, or a device that keeps its own.
pub trait Signer {
    /// The public half.
    fn public(&self) -> &PublicKey;

    /// Signs; in the form that `PublicKey::verifies` takes.
    ///
    /// # Errors
    /// Where randomness or the device fails.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

impl Signer for SigningKey {
    fn public(&self) -> &PublicKey {
        self.public()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.sign(message)
    }
}

/// A private identity key. ring wipes nothing on drop, so such keys live as long as the process.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(Box<EcdsaKeyPair>, SystemRandom),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

impl SigningKey {
    /// Reads a PKCS#8 key, Ed25519 or P-256. `random` is what ECDSA draws its nonces from.
    ///
    /// # Errors
    /// Where the bytes are neither.
    pub fn from_pkcs8(pkcs8: &[u8], random: &SystemRandom) -> Result<Self, KeyError> {
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8) {
            let public = PublicKey::new(Algorithm::Ed25519, pair.public_key().as_ref())?;
            return Ok(Self { pair: Pair::Ed25519(pair), public });
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, random)
            .map_err(|_| KeyError::Pkcs8)?;
        let public = PublicKey::new(Algorithm::EcdsaP256, pair.public_key().as_ref())?;
        Ok(Self { pair: Pair::EcdsaP256(Box::new(pair), random.clone()), public })
    }

    /// The Ed25519 key of a 32-byte seed.
    ///
    /// # Errors
    /// Where the seed is not 32 bytes.
    pub fn from_seed(seed: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::Pkcs8)?;
        let public = PublicKey::new(Algorithm::Ed25519, pair.public_key().as_ref())?;
        Ok(Self { pair: Pair::Ed25519(pair), public })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    ///
    /// # Errors
    /// Where no randomness can be had for ECDSA.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::EcdsaP256(pair, random) => pair
                .sign(random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Random),
        }
    }
}

/// Why a key cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Wrong length for the algorithm.
    #[error("the public key has {got} bytes, its algorithm needs {expected}")]
    Length {
        /// What the algorithm needs.
        expected: usize,
        /// What was given.
        got: usize,
    },
    /// Not a PKCS#8 Ed25519 or P-256 key.
    #[error("not a PKCS#8 private key of Ed25519 or ECDSA P-256")]
    Pkcs8,
    /// No randomness.
    #[error("the system gave no randomness to sign with")]
    Random,
    /// A device that keeps the key did not sign; what it said.
    #[error("the device that keeps the key did not sign: {0}")]
    Device(String),
}

#[cfg(test)]
mod tests {
    use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;

    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a test has nobody to hand it randomness")]
    fn a_signature_in_der_is_taken_from_its_key_alone() {
        let random = SystemRandom::new();
        let fresh = || EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
        let (one, two) = (fresh().unwrap(), fresh().unwrap());
        let key = SigningKey::from_pkcs8(one.as_ref(), &random).unwrap();
        let other = SigningKey::from_pkcs8(two.as_ref(), &random).unwrap();
        let device =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, one.as_ref(), &random)
                .unwrap();
        // Often enough that r and s are seen with a leading zero, and one byte short.
        for round in 0..600_u32 {
            let message = round.to_be_bytes();
            let der = device.sign(&random, &message).unwrap();
            let fixed = key.public().signature_from(&message, der.as_ref()).unwrap();
            assert!(key.public().verifies(&message, &fixed));
            assert_eq!(key.public().signature_from(&message, &fixed), Some(fixed));
            assert_eq!(key.public().signature_from(b"another", der.as_ref()), None);
            assert_eq!(other.public().signature_from(&message, der.as_ref()), None);
            let cut = &der.as_ref()[..der.as_ref().len() - 1];
            assert_eq!(key.public().signature_from(&message, cut), None);
        }
        assert_eq!(key.public().signature_from(b"", b""), None);
        assert_eq!(key.public().signature_from(b"", &[0x30, 4, 2, 0, 2, 0]), None);
        assert_eq!(key.public().signature_from(b"", &[0x30, 3, 2, 200, 1]), None);
    }

    /// A device, as far as anybody who asks it to sign can see.
    struct Device(SigningKey);

    impl Signer for Device {
        fn public(&self) -> &PublicKey {
            self.0.public()
        }

        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
            if message.ends_with(b"broken") {
                return Err(KeyError::Device("token removed".to_owned()));
            }
            self.0.sign(message)
        }
    }

    #[test]
    fn an_envelope_is_signed_by_a_device_as_by_a_key() {
        let device: &dyn Signer = &Device(SigningKey::from_seed(&[1; 32]).unwrap());
        let signed = crate::wire::v1::Envelope::sign("t", b"p".to_vec(), &[device]).unwrap();
        assert_eq!(signed.verified("t", &[device.public().clone()]), Ok(&b"p"[..]));
        let broken = crate::wire::v1::Envelope::sign("t", b"broken".to_vec(), &[device]);
        assert!(matches!(broken, Err(KeyError::Device(_))));
    }
}
