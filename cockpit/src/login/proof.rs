// SPDX-License-Identifier: EUPL-1.2
//! That a person has logged in, in a form that the pages hand on and the keeper verifies for
//! itself (READ-ONLY-BY-ITS-OWNER). So pages in wrong hands can ask only about whom is logged in
//! there: an id token is signed by the identity provider for one login, and it opens nothing
//! without the secret that its `nonce` commits to, which lies sealed under the browser's cookie.

use std::{fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use einmal_protocol::{
    Digest,
    wire::{
        cockpit::v1::{self, login_proof::Kind},
        v1::Subject,
    },
};
use zeroize::Zeroizing;

use super::{LoginError, Provider, oidc::TOKEN_MAX};

const NONCE_LABEL: &[u8] = b"einmal login nonce v1\0";

/// Somebody who has logged in, as a session holds it.
#[derive(Clone)]
pub struct Login {
    /// Whom the token named.
    pub person: Subject,
    /// What the keeper verifies once more.
    pub proof: LoginProof,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(redacted)")
    }
}

/// What the pages hold of a login, sealed under the cookie, and hand to the keeper with every
/// question.
#[derive(Clone)]
pub enum LoginProof {
    /// A demonstration: proves nothing, and says so. A keeper alone cannot ask the provider that
    /// the pages of a demonstration start.
    Demo,
    /// OpenID Connect.
    Oidc(OidcProof),
}

/// An id token, and what shows that it was issued for this very login.
#[derive(Clone)]
pub struct OidcProof {
    /// A JWT.
    pub id_token: Zeroizing<String>,
    /// Random, of this login only.
    pub secret: LoginSecret,
}

/// 32 random bytes that a login begins with. Wiped on drop, never printed.
#[derive(Clone)]
pub struct LoginSecret(Zeroizing<[u8; 32]>);

impl LoginSecret {
    /// Takes 32 bytes of the system's randomness.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The `nonce` of the authorization request, which comes back in the token.
    pub fn nonce(&self) -> String {
        let bytes = Zeroizing::new([NONCE_LABEL, self.0.as_slice()].concat());
        BASE64_URL_SAFE_NO_PAD.encode(Digest::of(&bytes).as_bytes())
    }
}

impl fmt::Debug for LoginProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Demo => "LoginProof(demo)",
            Self::Oidc(_) => "LoginProof(redacted)",
        })
    }
}

impl From<&LoginProof> for v1::LoginProof {
    fn from(proof: &LoginProof) -> Self {
        let kind = match proof {
            LoginProof::Demo => Kind::Demo(v1::DemoProof {}),
            LoginProof::Oidc(oidc) => Kind::Oidc(v1::OidcProof {
                id_token: oidc.id_token.as_str().to_owned(),
                secret: oidc.secret.as_bytes().to_vec(),
            }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::LoginProof> for LoginProof {
    type Error = ProofError;

    fn try_from(proof: v1::LoginProof) -> Result<Self, ProofError> {
        match proof.kind.ok_or(ProofError::Missing)? {
            Kind::Demo(_) => Ok(Self::Demo),
            Kind::Oidc(oidc) => {
                let (id_token, secret) = (Zeroizing::new(oidc.id_token), oidc.secret);
                let secret: [u8; 32] =
                    Zeroizing::new(secret).as_slice().try_into().map_err(|_| ProofError::Form)?;
                if id_token.is_empty() || id_token.len() > TOKEN_MAX {
                    return Err(ProofError::Form);
                }
                let secret = LoginSecret::new(Zeroizing::new(secret));
                Ok(Self::Oidc(OidcProof { id_token, secret }))
            }
        }
    }
}

/// Which logins a keeper accepts. The default accepts none.
#[derive(Clone, Default)]
pub struct Logins {
    /// Whether a login that proves nothing counts: for demonstrations with invented persons only.
    pub demo: bool,
    /// Whose tokens count.
    pub oidc: Option<Arc<Provider>>,
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Logins(demo: {}, oidc: {})", self.demo, self.oidc.is_some())
    }
}

impl Logins {
    /// Demonstrations only.
    pub fn demo_only() -> Self {
        Self { demo: true, oidc: None }
    }

    /// The person who logged in. `named` is whom the caller says it is: a demo login has nothing
    /// else, and where a token says otherwise the caller is refused.
    ///
    /// # Errors
    /// Where there is no proof, it is of a kind that is not accepted, or it does not hold.
    pub async fn person(
        &self,
        named: Option<Subject>,
        proof: Option<v1::LoginProof>,
    ) -> Result<Subject, ProofError> {
        match LoginProof::try_from(proof.ok_or(ProofError::Missing)?)? {
            LoginProof::Demo if self.demo => named.ok_or(ProofError::Nobody),
            LoginProof::Demo => Err(ProofError::NoDemo),
            LoginProof::Oidc(proof) => {
                let provider = self.oidc.as_ref().ok_or(ProofError::NoProvider)?;
                let person = provider.proven(&proof).await?;
                if named.is_some_and(|named| named != person) {
                    return Err(ProofError::OtherPerson);
                }
                Ok(person)
            }
        }
    }
}

/// Why a proof is not accepted. Names no person and no claim's value.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    /// None.
    #[error("`login` is missing: send the proof that the person has logged in")]
    Missing,
    /// Malformed.
    #[error("`login` cannot be read: an id token and a secret of 32 bytes belong in it")]
    Form,
    /// Nobody is named.
    #[error("`subject` is missing")]
    Nobody,
    /// Demo logins are not accepted here.
    #[error("this keeper accepts no demo logins: let the person log in with an identity provider")]
    NoDemo,
    /// No provider is configured.
    #[error("this keeper knows no identity provider: name one in its configuration")]
    NoProvider,
    /// The token speaks of another person than the caller.
    #[error("the id token is another person's than `subject`")]
    OtherPerson,
    /// The token does not hold, or the provider's keys cannot be had.
    #[error(transparent)]
    Login(#[from] LoginError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(idnr: &str) -> Subject {
        Subject { idnr: idnr.into(), ..Subject::default() }
    }

    fn oidc(id_token: &str, secret: &[u8]) -> Option<v1::LoginProof> {
        let oidc = v1::OidcProof { id_token: id_token.into(), secret: secret.to_vec() };
        Some(v1::LoginProof { kind: Some(Kind::Oidc(oidc)) })
    }

    #[tokio::test]
    async fn a_demo_login_counts_only_where_it_is_allowed() {
        let demo = || Some((&LoginProof::Demo).into());
        let named = || Some(subject("86095742719"));
        assert_eq!(Logins::demo_only().person(named(), demo()).await, Ok(subject("86095742719")));
        assert_eq!(Logins::default().person(named(), demo()).await, Err(ProofError::NoDemo));
        assert_eq!(Logins::demo_only().person(named(), None).await, Err(ProofError::Missing));
        let empty = Some(v1::LoginProof { kind: None });
        assert_eq!(Logins::demo_only().person(named(), empty).await, Err(ProofError::Missing));
    }

    #[tokio::test]
    async fn a_proof_has_a_form_and_needs_a_provider() {
        let none = Logins::demo_only();
        for (proof, expected) in [
            (oidc("token", &[7; 32]), ProofError::NoProvider),
            (oidc("token", &[7; 31]), ProofError::Form),
            (oidc("", &[7; 32]), ProofError::Form),
            (oidc(&"a".repeat(TOKEN_MAX + 1), &[7; 32]), ProofError::Form),
        ] {
            assert_eq!(none.person(None, proof).await, Err(expected));
        }
    }

    #[test]
    fn the_nonce_is_pinned() {
        // Identity providers and other pages compute it too: this must never change.
        let secret = LoginSecret::new(Zeroizing::new([0; 32]));
        assert_eq!(secret.nonce().len(), 43);
        let bytes = [b"einmal login nonce v1\0".as_slice(), &[0; 32]].concat();
        let expected = BASE64_URL_SAFE_NO_PAD.encode(Digest::of(&bytes).as_bytes());
        assert_eq!(secret.nonce(), expected);
    }
}
