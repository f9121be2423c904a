// SPDX-License-Identifier: EUPL-1.2
//! Sealing: HPKE (RFC 9180) base mode, HKDF-SHA256, AES-256-GCM, with X25519 or the hybrid X-Wing
//! (X25519 + ML-KEM-768, draft-connolly-cfrg-xwing-kem), because a birth certificate must still
//! be secret in forty years.

use hpke::{
    Deserializable, Kem as HpkeKem, OpModeR, OpModeS, Serializable,
    aead::AesGcm256,
    kdf::HkdfSha256,
    kem::{X25519HkdfSha256, XWing},
    single_shot_open, single_shot_seal_with_rng,
};
use prost::Message;
use zeroize::Zeroizing;

use crate::{
    digest::Digest,
    entropy::{Entropy, EntropyStream},
    request_id::RequestId,
    wire::v1::{Kem, Sealed},
};

/// What is sealed. Its name goes into HPKE's `info`, so that no seal passes for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealKind {
    /// The person asked about, for the register.
    Person,
    /// The signed evidence, for the request's reply key.
    Evidence,
    /// The register's access record, for the keeper.
    AccessRecord,
    /// The authority's own record, for the keeper.
    AskedRecord,
    /// What became of the evidence, for the keeper.
    UseRecord,
    /// A record that is kept longer, for a data-protection officer.
    HeldRecord,
    /// Who an exchange in a register's journal was about, for the register's data-protection
    /// officer.
    JournalRecord,
}

impl SealKind {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Person => b"einmal person v1",
            Self::Evidence => b"einmal evidence v1",
            Self::AccessRecord => b"einmal access-record v1",
            Self::AskedRecord => b"einmal asked-record v1",
            Self::UseRecord => b"einmal use-record v1",
            Self::HeldRecord => b"einmal held-record v1",
            Self::JournalRecord => b"einmal journal-record v1",
        }
    }
}

/// What a seal is bound to beside its kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Aad(Vec<u8>);

impl Aad {
    /// For what is sealed before the request exists, the person and the asked record: id,
    /// authority, register, ledger and issue time.
    pub fn before_request(id: RequestId, authority: &str, register: &str, ledger: &str) -> Self {
        let mut bytes = Vec::new();
        for part in
            [id.as_bytes().as_slice(), authority.as_bytes(), register.as_bytes(), ledger.as_bytes()]
        {
            // Lengths first, so that no two questions share one form.
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&id.issued_at_ms().to_be_bytes());
        Self(bytes)
    }

    /// For everything else: digest of the signed request, and the slot (0 where there is none).
    pub fn of_request(request: Digest, slot: u32) -> Self {
        let mut bytes = request.to_vec();
        bytes.extend_from_slice(&slot.to_be_bytes());
        Self(bytes)
    }
}

/// A public sealing key, parsed once.
#[derive(Clone)]
pub struct SealingPublicKey {
    kem: Kem,
    bytes: Vec<u8>,
    parsed: ParsedPublic,
}

#[derive(Clone)]
enum ParsedPublic {
    X25519(<X25519HkdfSha256 as HpkeKem>::PublicKey),
    XWing(Box<<XWing as HpkeKem>::PublicKey>),
}

impl std::fmt::Debug for SealingPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingPublicKey({:?}, {})", self.kem, crate::digest::hex(&self.id()))
    }
}

impl PartialEq for SealingPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.kem == other.kem && self.bytes == other.bytes
    }
}
impl Eq for SealingPublicKey {}

impl SealingPublicKey {
    /// Reads a public key.
    ///
    /// # Errors
    /// Where the KEM is unknown or the bytes are no key of it.
    pub fn new(kem: Kem, bytes: &[u8]) -> Result<Self, SealError> {
        let parsed = match kem {
            Kem::X25519 => {
                ParsedPublic::X25519(Deserializable::from_bytes(bytes).map_err(|_| SealError::Key)?)
            }
            Kem::XWing => ParsedPublic::XWing(Box::new(
                Deserializable::from_bytes(bytes).map_err(|_| SealError::Key)?,
            )),
            Kem::Unspecified => return Err(SealError::Kem),
        };
        Ok(Self { kem, bytes: bytes.to_vec(), parsed })
    }

    /// The KEM.
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// The raw key.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The first 16 bytes of SHA-256 of the key.
    pub fn id(&self) -> Vec<u8> {
        key_id(&self.bytes)
    }

    /// Seals; the bytes of a `Sealed` message.
    ///
    /// # Errors
    /// Where the public key makes no shared secret (a point of small order).
    pub fn seal(
        &self,
        kind: SealKind,
        aad: &Aad,
        plain: &[u8],
        entropy: Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let mut random = entropy.into_stream();
        let (encapsulated_key, ciphertext) = match &self.parsed {
            ParsedPublic::X25519(key) => {
                seal_to::<X25519HkdfSha256>(key, kind, aad, plain, &mut random)?
            }
            ParsedPublic::XWing(key) => seal_to::<XWing>(key, kind, aad, plain, &mut random)?,
        };
        Ok(Sealed { kem: self.kem.into(), key_id: self.id(), encapsulated_key, ciphertext }
            .encode_to_vec())
    }
}

/// A private sealing key. Wiped on drop.
pub struct SealingPrivateKey {
    kem: Kem,
    bytes: Zeroizing<Vec<u8>>,
    public: SealingPublicKey,
}

impl std::fmt::Debug for SealingPrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SealingPrivateKey({:?})", self.public)
    }
}

impl SealingPrivateKey {
    /// A fresh key pair.
    ///
    /// # Errors
    /// Where the KEM is unknown.
    pub fn generate(kem: Kem, entropy: Entropy) -> Result<Self, SealError> {
        let mut random = entropy.into_stream();
        let bytes = match kem {
            Kem::X25519 => {
                let (private, _) = X25519HkdfSha256::gen_keypair_with_rng(&mut random);
                Zeroizing::new(private.to_bytes().to_vec())
            }
            Kem::XWing => {
                let (private, _) = XWing::gen_keypair_with_rng(&mut random);
                Zeroizing::new(private.to_bytes().to_vec())
            }
            Kem::Unspecified => return Err(SealError::Kem),
        };
        Self::new(kem, &bytes)
    }

    /// Reads a private key.
    ///
    /// # Errors
    /// Where the KEM is unknown or the bytes are no key of it.
    pub fn new(kem: Kem, bytes: &[u8]) -> Result<Self, SealError> {
        let public = match kem {
            Kem::X25519 => {
                let key = Deserializable::from_bytes(bytes).map_err(|_| SealError::Key)?;
                X25519HkdfSha256::sk_to_pk(&key).to_bytes().to_vec()
            }
            Kem::XWing => {
                let key = Deserializable::from_bytes(bytes).map_err(|_| SealError::Key)?;
                XWing::sk_to_pk(&key).to_bytes().to_vec()
            }
            Kem::Unspecified => return Err(SealError::Kem),
        };
        let public = SealingPublicKey::new(kem, &public)?;
        Ok(Self { kem, bytes: Zeroizing::new(bytes.to_vec()), public })
    }

    /// The public half.
    pub fn public(&self) -> &SealingPublicKey {
        &self.public
    }

    /// The KEM.
    pub fn kem(&self) -> Kem {
        self.kem
    }

    /// The raw private key, for a key store.
    pub fn secret_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Opens the bytes of a `Sealed` message.
    ///
    /// # Errors
    /// Where they are not one, are for another key, or do not open under this kind and AAD.
    pub fn open(
        &self,
        kind: SealKind,
        aad: &Aad,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let sealed = Sealed::decode(sealed).map_err(|_| SealError::Form)?;
        if sealed.kem() != self.kem || sealed.key_id != self.public.id() {
            return Err(SealError::OtherKey);
        }
        match self.kem {
            Kem::X25519 => open_with::<X25519HkdfSha256>(&self.bytes, kind, aad, &sealed),
            Kem::XWing => open_with::<XWing>(&self.bytes, kind, aad, &sealed),
            Kem::Unspecified => Err(SealError::Kem),
        }
    }
}

/// Encapsulated key and ciphertext.
fn seal_to<K: HpkeKem>(
    key: &K::PublicKey,
    kind: SealKind,
    aad: &Aad,
    plain: &[u8],
    random: &mut EntropyStream,
) -> Result<(Vec<u8>, Vec<u8>), SealError> {
    let mode = OpModeS::Base;
    let (encapsulated, ciphertext) = single_shot_seal_with_rng::<AesGcm256, HkdfSha256, K>(
        &mode,
        key,
        kind.info(),
        plain,
        &aad.0,
        random,
    )
    .map_err(|_| SealError::Key)?;
    Ok((encapsulated.to_bytes().to_vec(), ciphertext))
}

fn open_with<K: HpkeKem>(
    private: &[u8],
    kind: SealKind,
    aad: &Aad,
    sealed: &Sealed,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let key = K::PrivateKey::from_bytes(private).map_err(|_| SealError::Key)?;
    let encapsulated =
        K::EncappedKey::from_bytes(&sealed.encapsulated_key).map_err(|_| SealError::Form)?;
    single_shot_open::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        &key,
        &encapsulated,
        kind.info(),
        &sealed.ciphertext,
        &aad.0,
    )
    .map(Zeroizing::new)
    .map_err(|_| SealError::Open)
}

/// The id of the key that some sealed bytes are for.
///
/// # Errors
/// Where the bytes are not a `Sealed` message.
pub fn recipient_of(sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    Sealed::decode(sealed).map(|sealed| sealed.key_id).map_err(|_| SealError::Form)
}

/// The first 16 bytes of SHA-256 of a public key.
pub fn key_id(public_key: &[u8]) -> Vec<u8> {
    Digest::of(public_key).as_bytes().get(..16).unwrap_or_default().to_vec()
}

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// A KEM that this version does not know.
    #[error("the seal names a KEM that is not known here; x25519 and x-wing are")]
    Kem,
    /// Not a key.
    #[error("the sealing key is not a key of its KEM")]
    Key,
    /// Not a sealed message.
    #[error("the bytes are not a sealed message")]
    Form,
    /// Sealed for another key.
    #[error("the message is sealed for another key")]
    OtherKey,
    /// Tampered with, or bound to something else.
    #[error("the sealed message does not open: it was changed or belongs to another exchange")]
    Open,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aad() -> Aad {
        Aad::of_request(Digest::of(b"request"), 3)
    }

    #[test]
    fn seals_open_only_as_what_they_are() {
        for kem in [Kem::X25519, Kem::XWing] {
            let key = SealingPrivateKey::generate(kem, Entropy::new([1; 32])).unwrap();
            let sealed = key
                .public()
                .seal(SealKind::Evidence, &aad(), b"canary", Entropy::new([2; 32]))
                .unwrap();
            assert!(!sealed.windows(6).any(|window| window == b"canary"));
            let open = |kind, aad: &Aad, bytes: &[u8]| key.open(kind, aad, bytes);
            assert_eq!(open(SealKind::Evidence, &aad(), &sealed).unwrap().as_slice(), b"canary");
            assert_eq!(open(SealKind::Person, &aad(), &sealed), Err(SealError::Open));
            let other = Aad::of_request(Digest::of(b"request"), 4);
            assert_eq!(open(SealKind::Evidence, &other, &sealed), Err(SealError::Open));
            let stranger = SealingPrivateKey::generate(kem, Entropy::new([9; 32])).unwrap();
            assert_eq!(
                stranger.open(SealKind::Evidence, &aad(), &sealed),
                Err(SealError::OtherKey)
            );
            let mut tampered = sealed.clone();
            *tampered.last_mut().unwrap() ^= 1;
            assert_eq!(open(SealKind::Evidence, &aad(), &tampered), Err(SealError::Open));
            let again = SealingPrivateKey::new(kem, key.secret_bytes()).unwrap();
            assert_eq!(again.public(), key.public());
        }
    }

    #[test]
    fn golden_bytes() {
        let digests: Vec<String> = [Kem::X25519, Kem::XWing]
            .into_iter()
            .map(|kem| {
                let key = SealingPrivateKey::generate(kem, Entropy::new([1; 32])).unwrap();
                let sealed = key
                    .public()
                    .seal(SealKind::Person, &aad(), b"einmal", Entropy::new([2; 32]))
                    .unwrap();
                Digest::of(&sealed).to_hex()
            })
            .collect();
        assert_eq!(digests.join("\n"), include_str!("../tests/golden/sealed.sha256").trim());
    }
}
