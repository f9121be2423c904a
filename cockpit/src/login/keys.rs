// SPDX-License-Identifier: EUPL-1.2
//! A provider's public keys (RFC 7517): only those that tokens may be signed with. Pure.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;

/// Most keys that a provider may have at one time.
const KEYS_MAX: usize = 64;

/// How a token may be signed. Nothing else is: not `none`, and no shared secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5 with SHA-256, 2048 to 8192 bits.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// Reads the header's `alg`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    public: Public,
}

/// The keys of a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySet(Vec<Key>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySet({} keys)", self.0.len())
    }
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key, if it is one that tokens may be signed with. Others are passed over, as RFC 7517
    /// § 5 says.
    fn key(&self) -> Option<Key> {
        if self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let (public, name) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Public::Rsa { n: number(&self.n)?, e: number(&self.e)? }, "RS256"),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                if (x.len(), y.len()) != (32, 32) {
                    return None;
                }
                (Public::P256([&[4], x.as_slice(), &y].concat()), "ES256")
            }
            ("OKP", Some("Ed25519")) => (Public::Ed25519(bytes(&self.x)?), "EdDSA"),
            _ => return None,
        };
        if self.alg.as_deref().is_some_and(|alg| alg != name) {
            return None;
        }
        Some(Key { id: self.kid.clone(), public })
    }
}

fn bytes(text: &Option<String>) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.as_ref()?).ok()
}

/// Big-endian without leading zeros, as ring wants it.
fn number(text: &Option<String>) -> Option<Vec<u8>> {
    let bytes = bytes(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).map(<[u8]>::to_vec)
}

impl KeySet {
    /// Reads a JWK Set. Keys of other kinds are passed over.
    pub fn parse(json: &[u8]) -> Option<Self> {
        let set: Jwks = serde_json::from_slice(json).ok()?;
        let keys: Vec<Key> = set.keys.iter().take(KEYS_MAX).filter_map(Jwk::key).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Whether a key of the set signed. Nothing where no key could have: another kind, another
    /// `kid`, or no `kid` and several keys.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Option<bool> {
        let mut fitting = self.0.iter().filter(|key| {
            let kind = matches!(
                (&key.public, algorithm),
                (Public::Rsa { .. }, Algorithm::Rs256)
                    | (Public::P256(_), Algorithm::Es256)
                    | (Public::Ed25519(_), Algorithm::EdDsa)
            );
            kind && id.is_none_or(|id| key.id.as_deref() == Some(id))
        });
        let (key, other) = (fitting.next()?, fitting.next());
        if other.is_some() {
            return None;
        }
        let verified = match &key.public {
            Public::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Public::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
            }
            Public::Ed25519(point) => {
                UnparsedPublicKey::new(&ED25519, point).verify(message, signature)
            }
        };
        Some(verified.is_ok())
    }
}
