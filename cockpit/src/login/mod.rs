// SPDX-License-Identifier: EUPL-1.2
//! Who logs in: OpenID Connect, authorization code with PKCE, at the level of assurance "high".
//! What a token must be is pure ([`oidc`], [`keys`]); the talk with the provider stands beside it.

pub mod demo_provider;
pub mod keys;
pub mod oidc;
mod pace;
pub mod proof;
pub mod provider;

pub use demo_provider::{DemoPerson, DemoProvider, DemoProviderError};
pub use proof::{Login, LoginProof, LoginSecret, Logins, OidcProof, ProofError};
pub use provider::{LoginConfig, LoginError, LoginSetupError, Provider};

/// Where the provider sends people back to.
pub const RETURN_PATH: &str = "/anmelden/zurueck";

/// What one attempt to log in is known by. All three are secrets of one browser.
pub struct Attempt {
    /// Comes back beside the code: the answer belongs to this browser.
    pub state: String,
    /// What its nonce is made of, which comes back in the token: the token belongs to this attempt.
    pub secret: LoginSecret,
    /// Proves to the provider that who began the attempt ends it (RFC 7636).
    pub verifier: String,
}

impl std::fmt::Debug for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Attempt(redacted)")
    }
}

/// A query or form of pairs, percent-encoded.
pub fn encode(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text
}
