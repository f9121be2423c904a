// SPDX-License-Identifier: EUPL-1.2
//! What an id token must be (OpenID Connect Core § 3.1.3.7), and whom it names. Pure: no clock,
//! no network; so the pages and whoever doubts them check the same bytes in the same way.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use einmal_protocol::{
    Digest,
    person::{idnr_is_valid, is_date},
    wire::v1::Subject,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::keys::{Algorithm, KeySet};

/// A token is at most this long. A session keeps it.
pub const TOKEN_MAX: usize = 8 * 1024;
/// Clocks may differ by this much.
const LEEWAY_S: u64 = 60;
/// A token begins a session right after it was made.
const AGE_MAX_S: u64 = 600;
/// And proves the login for as long as a session can last that then began.
pub const PROOF_LIFE_S: u64 = AGE_MAX_S + 60 * 60;
/// Names and places are at most this long.
const TEXT_MAX: usize = 200;

/// Where a provider puts what is known of the person. A dot leads into an object:
/// "place_of_birth.locality".
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClaimNames {
    /// Identification number.
    pub idnr: String,
    /// Name at birth.
    pub birth_name: String,
    /// Given names.
    pub given_names: String,
    /// YYYY-MM-DD.
    pub birth_date: String,
    /// Place of birth.
    pub birth_place: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            idnr: "idnr".into(),
            birth_name: "birth_family_name".into(),
            given_names: "given_name".into(),
            birth_date: "birthdate".into(),
            birth_place: "place_of_birth.locality".into(),
        }
    }
}

/// What is expected of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The provider.
    pub issuer: String,
    /// Whom it was made for: us.
    pub client_id: String,
    /// Levels of assurance that are enough.
    pub acr: Vec<String>,
    /// Where the person stands.
    pub claims: ClaimNames,
}

/// What a token is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// To begin a session.
    ToLogIn,
    /// In a session that it began: its own `exp` bounded that, [`PROOF_LIFE_S`] bounds this.
    InSession,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Verifies a token and says whom it names.
///
/// # Errors
/// Says what is wrong, never what the token says.
pub fn verify(
    token: &str,
    keys: &KeySet,
    expected: &Expected,
    nonce: &str,
    (shown, now_ms): (Shown, u64),
) -> Result<Subject, TokenError> {
    let claims = signed(token, keys)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(expected.issuer.as_str()) {
        return Err(TokenError::Issuer);
    }
    audience(&claims, &expected.client_id)?;
    times(&claims, shown, now_ms / 1000)?;
    // Digests are compared, so that the time it takes says nothing about the nonce.
    let said = text("nonce").ok_or(TokenError::Nonce)?;
    if Digest::of(said.as_bytes()) != Digest::of(nonce.as_bytes()) {
        return Err(TokenError::Nonce);
    }
    let level = text("acr").ok_or(TokenError::Level)?;
    if !expected.acr.iter().any(|enough| enough == level) {
        return Err(TokenError::Level);
    }
    person(&claims, &expected.claims)
}

/// The claims of a token whose signature is good.
fn signed(token: &str, keys: &KeySet) -> Result<Map<String, Value>, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::Form);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
    let (header, payload) = message.split_once('.').ok_or(TokenError::Form)?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Form);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenError::Form)?;
    let algorithm = Algorithm::parse(&header.alg).ok_or(TokenError::Algorithm)?;
    if header.crit.is_some() {
        return Err(TokenError::Critical);
    }
    let signature = decode(signature)?;
    match keys.verify(algorithm, header.kid.as_deref(), message.as_bytes(), &signature) {
        Some(true) => serde_json::from_slice(&decode(payload)?).map_err(|_| TokenError::Form),
        Some(false) => Err(TokenError::Signature),
        None => Err(TokenError::NoKey),
    }
}

fn audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), TokenError> {
    let (named, several) = match claims.get("aud") {
        Some(Value::String(one)) => (one == client_id, false),
        Some(Value::Array(all)) => {
            (all.iter().any(|one| one.as_str() == Some(client_id)), all.len() > 1)
        }
        _ => (false, false),
    };
    let presenter = match claims.get("azp") {
        Some(azp) => azp.as_str() == Some(client_id),
        None => !several,
    };
    if named && presenter { Ok(()) } else { Err(TokenError::Audience) }
}

fn times(claims: &Map<String, Value>, shown: Shown, now: u64) -> Result<(), TokenError> {
    let second = |name: &str| match claims.get(name) {
        None => Ok(None),
        // Providers may write a fraction; whole seconds are enough.
        Some(value) => value
            .as_u64()
            .or_else(|| value.as_f64().filter(|at| *at >= 0.0).map(|at| at as u64))
            .map(Some)
            .ok_or(TokenError::Form),
    };
    let required = |name| second(name).and_then(|at| at.ok_or(TokenError::Form));
    let expires = required("exp")?;
    let age_max = match shown {
        Shown::ToLogIn if expires.saturating_add(LEEWAY_S) <= now => {
            return Err(TokenError::Expired);
        }
        Shown::ToLogIn => AGE_MAX_S,
        Shown::InSession => PROOF_LIFE_S,
    };
    let is_old = |at: u64| at.saturating_add(age_max + LEEWAY_S) <= now;
    let is_ahead = |at: u64| at > now.saturating_add(LEEWAY_S);
    let issued = required("iat")?;
    if is_old(issued) || second("auth_time")?.is_some_and(is_old) {
        return Err(TokenError::Expired);
    }
    if is_ahead(issued) || second("nbf")?.is_some_and(is_ahead) {
        return Err(TokenError::NotYet);
    }
    Ok(())
}

fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    // A name with a dot of its own, such as a URL, is looked for first.
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        claim(claims.get(first)?.as_object()?, rest)
    })
}

/// Whole enough that records can be found by it, or refused: half a person finds half the records
/// and says nothing of the rest.
fn person(claims: &Map<String, Value>, names: &ClaimNames) -> Result<Subject, TokenError> {
    let text = |name: &str| {
        let text = claim(claims, name).and_then(Value::as_str).unwrap_or_default().trim();
        let good = text.chars().count() <= TEXT_MAX && !text.chars().any(char::is_control);
        if good { Ok(text.to_owned()) } else { Err(TokenError::Person) }
    };
    let idnr: String = text(&names.idnr)?.split_whitespace().collect();
    let subject = Subject {
        idnr,
        birth_name: text(&names.birth_name)?,
        given_names: text(&names.given_names)?,
        birth_date: text(&names.birth_date)?,
        birth_place: text(&names.birth_place)?,
    };
    let number = idnr_is_valid(&subject.idnr);
    if !subject.idnr.is_empty() && !number {
        return Err(TokenError::Person);
    }
    if !subject.birth_date.is_empty() && !is_date(&subject.birth_date) {
        return Err(TokenError::Person);
    }
    let birth =
        [&subject.birth_name, &subject.given_names, &subject.birth_date, &subject.birth_place];
    if number || birth.iter().all(|part| !part.is_empty()) {
        Ok(subject)
    } else {
        Err(TokenError::Person)
    }
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    /// Not a signed token.
    #[error("the id token is malformed")]
    Form,
    /// `none`, a shared secret, or unknown.
    #[error("the id token is signed by an algorithm other than RS256, ES256, EdDSA")]
    Algorithm,
    /// A header that must be understood and is not.
    #[error("the id token has critical headers")]
    Critical,
    /// No key of the provider fits.
    #[error("no key of the provider fits the id token")]
    NoKey,
    /// Wrong signature.
    #[error("the id token's signature is wrong")]
    Signature,
    /// Of another provider.
    #[error("the id token is from another issuer")]
    Issuer,
    /// For somebody else.
    #[error("the id token is for another client")]
    Audience,
    /// Over, or made long ago.
    #[error("the id token is too old")]
    Expired,
    /// From the future.
    #[error("the id token is not valid yet: compare the clocks")]
    NotYet,
    /// Of another login.
    #[error("the id token belongs to another login")]
    Nonce,
    /// Not sure enough.
    #[error("the id token's level of assurance is not among those configured in `acr`")]
    Level,
    /// Nobody, or not whole.
    #[error("the id token does not name a person by the configured claims")]
    Person,
}
