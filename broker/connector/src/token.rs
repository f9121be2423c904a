// SPDX-License-Identifier: EUPL-1.2
//! Tokens of applications: 32 random bytes; the configuration holds their hash only.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use einmal_peer::random::{self, NoRandomness};
use einmal_protocol::Digest;
use serde::{Deserialize, Deserializer, de::Error};

/// The hash of a token.
#[derive(Clone, Copy, Debug)]
pub struct TokenHash(Digest);

impl TokenHash {
    /// Of a token as an application presents it.
    pub fn of(token: &str) -> Self {
        Self(Digest::of(token.as_bytes()))
    }

    /// As it stands in the configuration.
    pub fn to_hex(self) -> String {
        self.0.to_hex()
    }

    /// Compares all bytes, wherever the first difference is.
    pub fn is(&self, other: &Self) -> bool {
        let bytes = self.0.as_bytes().iter().zip(other.0.as_bytes());
        bytes.fold(0, |differs, (one, two)| differs | (one ^ two)) == 0
    }
}

impl<'de> Deserialize<'de> for TokenHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Digest::from_hex(&text)
            .map(Self)
            .ok_or_else(|| D::Error::custom("a token's hash is 64 hex digits"))
    }
}

/// A new token and its hash.
///
/// # Errors
/// Where the system gives no randomness.
pub fn new() -> Result<(String, TokenHash), NoRandomness> {
    let token = URL_SAFE_NO_PAD.encode(random::bytes::<32>()?);
    let hash = TokenHash::of(&token);
    Ok((token, hash))
}
