// SPDX-License-Identifier: EUPL-1.2
//! The talk with an OpenID provider: discovery, the way there, the code for a token, its keys.
//! Everything fetched has a size, a deadline and an age; a flood of logins costs us little and
//! the provider no more than was agreed.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use einmal_peer::{
    Clock,
    files::{self, FileError},
    http::{HttpClient, HttpError, HttpOptions, HttpRequest},
};
use einmal_protocol::{Digest, wire::v1::Subject};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde::Deserialize;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{
    Attempt, RETURN_PATH, encode,
    keys::KeySet,
    oidc::{self, ClaimNames, Expected, Shown, TOKEN_MAX, TokenError},
    pace::Pace,
    proof::{Login, LoginProof, OidcProof},
};

/// Documents of the provider are at most this long.
const DOCUMENT_MAX: usize = 256 * 1024;
/// The provider is asked anew what it says of itself after this long.
const FRESH_MS: u64 = 60 * 60_000;
/// Where it does not answer, what it said before counts for this long.
const KEPT_MS: u64 = 24 * 60 * 60_000;
/// An unknown key or a failure makes us ask again, but not more often than this.
const AGAIN_MS: u64 = 10_000;
/// Whoever asks it what it says of itself waits so long: less than a keeper's own deadline.
const ASK_WITHIN: Duration = Duration::from_secs(3);
/// Codes that are exchanged at one moment.
const AT_ONCE: usize = 64;

/// `[login]` of cockpit.toml: the OpenID provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginConfig {
    /// The provider, as its tokens name it: "https://id.example".
    pub issuer: String,
    /// Who we are to it.
    pub client_id: String,
    /// Where citizens reach the pages: "https://cockpit.example". `/anmelden/zurueck` below it is
    /// the redirect URI to register with the provider. A keeper alone needs none.
    #[serde(default)]
    pub public_url: Option<String>,
    /// File with the client's secret, if the provider wants one.
    #[serde(default)]
    pub client_secret: Option<PathBuf>,
    /// Certificate (PEM) that we show to the provider, if it wants one (RFC 8705).
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its key, PKCS#8.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// Authorities (PEM) that the provider's certificate must come from. Left out: the system's.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
    /// Levels of assurance that are enough.
    #[serde(default = "high")]
    pub acr: Vec<String>,
    /// Which claims to ask for.
    #[serde(default = "scope")]
    pub scope: String,
    /// Where the person stands in the token.
    #[serde(default)]
    pub claims: ClaimNames,
    /// More logins than that are asked to come back later.
    #[serde(default = "per_minute")]
    pub logins_per_minute: u32,
}

fn high() -> Vec<String> {
    vec!["high".into(), "http://eidas.europa.eu/LoA/high".into()]
}

fn scope() -> String {
    "openid profile".into()
}

fn per_minute() -> u32 {
    1200
}

#[derive(Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Clone)]
struct Known {
    metadata: Metadata,
    keys: KeySet,
    at_ms: u64,
}

#[derive(Default)]
struct Memory {
    known: Option<Known>,
    tried_ms: u64,
}

/// What is known without asking.
enum Remembered {
    /// Good.
    Fresh(Known),
    /// To be asked anew; what it said before counts where it does not answer.
    Kept(Option<Known>),
    /// To be asked anew, but it was a moment ago.
    Paced(Option<Known>),
}

/// An OpenID provider that we are registered with.
pub struct Provider {
    expected: Expected,
    public_url: String,
    scope: String,
    secret: Option<Zeroizing<String>>,
    http: HttpClient,
    memory: Mutex<Memory>,
    /// Held by the one who asks the provider.
    asking: tokio::sync::Mutex<()>,
    pace: Pace,
    places: Semaphore,
    clock: Clock,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Provider({})", self.expected.issuer)
    }
}

impl Provider {
    /// Reads the files. The provider is asked at the first login, so that a cockpit starts while
    /// it is away.
    ///
    /// # Errors
    /// Names the key or the file.
    pub fn new(config: &LoginConfig, clock: Clock) -> Result<Self, LoginSetupError> {
        if !is_safe(&config.issuer) {
            return Err(LoginSetupError::Url("issuer"));
        }
        let public_url = config.public_url.as_deref().map(|url| url.trim_end_matches('/'));
        let bare = |url: &str| url.parse::<Uri>().is_ok_and(|uri| uri.path() == "/");
        if public_url.is_some_and(|url| !is_safe(url) || !bare(url)) {
            return Err(LoginSetupError::Url("public_url"));
        }
        if config.acr.is_empty() {
            return Err(LoginSetupError::NoLevel);
        }
        let secret = match &config.client_secret {
            Some(path) => Some(Zeroizing::new(files::read_text(path)?.trim().to_owned())),
            None => None,
        };
        Ok(Self {
            expected: Expected {
                issuer: config.issuer.clone(),
                client_id: config.client_id.clone(),
                acr: config.acr.clone(),
                claims: config.claims.clone(),
            },
            public_url: public_url.unwrap_or_default().to_owned(),
            scope: config.scope.clone(),
            secret,
            http: HttpClient::new(options(config)?),
            memory: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            pace: Pace::new(config.logins_per_minute),
            places: Semaphore::new(AT_ONCE),
            clock,
        })
    }

    fn redirect_uri(&self) -> String {
        format!("{}{RETURN_PATH}", self.public_url)
    }

    /// Where the browser goes to log in. `language` is a BCP 47 tag.
    ///
    /// # Errors
    /// Where the provider does not answer.
    pub async fn begin(&self, attempt: &Attempt, language: &str) -> Result<String, LoginError> {
        let known = self.known(None).await?;
        let challenge =
            BASE64_URL_SAFE_NO_PAD.encode(Digest::of(attempt.verifier.as_bytes()).as_bytes());
        let query = encode(&[
            ("response_type", "code"),
            ("client_id", &self.expected.client_id),
            ("redirect_uri", &self.redirect_uri()),
            ("scope", &self.scope),
            ("state", &attempt.state),
            ("nonce", &attempt.secret.nonce()),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("acr_values", &self.expected.acr.join(" ")),
            // Whoever sits at a shared computer next must not be let in as the person before.
            ("prompt", "login"),
            ("ui_locales", language),
        ]);
        Ok(join(&known.metadata.authorization_endpoint, &query))
    }

    /// Gets the token for a code: whom it names, and the token as a proof of it.
    ///
    /// # Errors
    /// Where there are too many at once, the provider refuses, or the token is not good.
    pub async fn finish(&self, attempt: &Attempt, code: &str) -> Result<Login, LoginError> {
        if !self.pace.admits(self.clock.now_ms()) {
            return Err(LoginError::Busy);
        }
        let _place = self.places.try_acquire().map_err(|_| LoginError::Busy)?;
        let known = self.known(None).await?;
        let id_token = self.exchange(&known, attempt, code).await?;
        let proof = OidcProof { id_token, secret: attempt.secret.clone() };
        let person = self.verified(&proof, Shown::ToLogIn).await?;
        Ok(Login { person, proof: LoginProof::Oidc(proof) })
    }

    /// Whom the proof of a session names, verified anew.
    ///
    /// # Errors
    /// Where the token is not good, or the provider's keys cannot be had.
    pub async fn proven(&self, proof: &OidcProof) -> Result<Subject, LoginError> {
        self.verified(proof, Shown::InSession).await
    }

    async fn verified(&self, proof: &OidcProof, shown: Shown) -> Result<Subject, LoginError> {
        let known = self.known(None).await?;
        let (nonce, at) = (proof.secret.nonce(), (shown, self.clock.now_ms()));
        let check = |keys: &KeySet| oidc::verify(&proof.id_token, keys, &self.expected, &nonce, at);
        let person = match check(&known.keys) {
            // It may have changed its keys.
            Err(TokenError::NoKey) => check(&self.known(Some(known.at_ms)).await?.keys),
            checked => checked,
        };
        Ok(person?)
    }

    /// Where the browser may go to log out from the provider, too. Names nobody.
    pub async fn end(&self) -> Option<String> {
        let endpoint = self.known(None).await.ok()?.metadata.end_session_endpoint?;
        let query = encode(&[
            ("client_id", &self.expected.client_id),
            ("post_logout_redirect_uri", &format!("{}/", self.public_url)),
        ]);
        Some(join(&endpoint, &query))
    }

    async fn exchange(
        &self,
        known: &Known,
        attempt: &Attempt,
        code: &str,
    ) -> Result<Zeroizing<String>, LoginError> {
        let redirect_uri = self.redirect_uri();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", &attempt.verifier),
        ];
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(secret) = &self.secret {
            // RFC 6749 § 2.3.1: both are form-encoded before they are joined.
            let part = |text: &str| encode(&[("", text)]).trim_start_matches('=').to_owned();
            let pair = format!("{}:{}", part(&self.expected.client_id), part(secret));
            let value = format!("Basic {}", BASE64_STANDARD.encode(pair));
            let mut value = HeaderValue::from_str(&value).map_err(|_| LoginError::Answer)?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        } else {
            form.push(("client_id", &self.expected.client_id));
        }
        let request = HttpRequest {
            method: Method::POST,
            url: &known.metadata.token_endpoint,
            headers,
            body: encode(&form).into_bytes(),
        };
        let answer = self.http.send(request, 2 * TOKEN_MAX).await?;
        let body = Zeroizing::new(answer.body);
        if answer.status != StatusCode::OK {
            return Err(LoginError::Refused);
        }
        let answer: TokenAnswer = serde_json::from_slice(&body).map_err(|_| LoginError::Answer)?;
        Ok(Zeroizing::new(answer.id_token))
    }

    /// What the provider says of itself: from memory while it is fresh, and newer than
    /// `outdated_ms` where that is given. One asks it anew; all others go on with what it said
    /// before, so that a provider that hangs stops nobody whose session has begun.
    async fn known(&self, outdated_ms: Option<u64>) -> Result<Known, LoginError> {
        let kept = match self.remembered(outdated_ms) {
            Remembered::Fresh(known) => return Ok(known),
            Remembered::Kept(known) => known,
            Remembered::Paced(kept) => return kept.ok_or(LoginError::Away),
        };
        let asking = match (&kept, self.asking.try_lock()) {
            (_, Ok(asking)) => asking,
            (Some(known), Err(_)) => return Ok(known.clone()),
            (None, Err(_)) => self.asking.lock().await,
        };
        // Somebody else may have asked meanwhile.
        match self.remembered(outdated_ms) {
            Remembered::Fresh(known) => return Ok(known),
            Remembered::Paced(kept) => return kept.ok_or(LoginError::Away),
            Remembered::Kept(_) => {}
        }
        let at_ms = self.clock.now_ms();
        let asked = tokio::time::timeout(ASK_WITHIN, self.discover(at_ms)).await;
        let asked = asked.unwrap_or(Err(LoginError::Away));
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        // Failures and doubts are paced, from when they ended; the first doubt may come at once.
        memory.tried_ms = if asked.is_ok() && kept.is_none() { 0 } else { self.clock.now_ms() };
        if let Ok(known) = &asked {
            memory.known = Some(known.clone());
        }
        drop((memory, asking));
        asked.or_else(|error| {
            tracing::warn!(%error, "the login provider cannot be asked; trying again");
            kept.ok_or(error)
        })
    }

    fn remembered(&self, outdated_ms: Option<u64>) -> Remembered {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = self.clock.now_ms();
        let age = |known: &Known| now_ms.saturating_sub(known.at_ms);
        let newer = |known: &Known| outdated_ms.is_none_or(|outdated| known.at_ms > outdated);
        match memory.known.clone().filter(|known| age(known) < KEPT_MS) {
            Some(known) if age(&known) < FRESH_MS && newer(&known) => Remembered::Fresh(known),
            kept if now_ms.saturating_sub(memory.tried_ms) < AGAIN_MS => Remembered::Paced(kept),
            kept => Remembered::Kept(kept),
        }
    }

    async fn discover(&self, at_ms: u64) -> Result<Known, LoginError> {
        let issuer = self.expected.issuer.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let metadata: Metadata =
            serde_json::from_slice(&self.document(&url).await?).map_err(|_| LoginError::Answer)?;
        let urls = [
            Some(&metadata.authorization_endpoint),
            Some(&metadata.token_endpoint),
            Some(&metadata.jwks_uri),
            metadata.end_session_endpoint.as_ref(),
        ];
        if metadata.issuer != self.expected.issuer || !urls.iter().flatten().all(|at| is_safe(at)) {
            return Err(LoginError::Answer);
        }
        let keys = self.document(&metadata.jwks_uri).await?;
        let keys = KeySet::parse(&keys).ok_or(LoginError::Answer)?;
        Ok(Known { metadata, keys, at_ms })
    }

    async fn document(&self, url: &str) -> Result<Vec<u8>, LoginError> {
        let answer = self.http.get(url, DOCUMENT_MAX).await?;
        if answer.status == StatusCode::OK { Ok(answer.body) } else { Err(LoginError::Answer) }
    }
}

fn options(config: &LoginConfig) -> Result<HttpOptions, LoginSetupError> {
    let mut options = HttpOptions::default();
    if let Some(path) = &config.authorities {
        let mut store = RootCertStore::empty();
        for certificate in certificates(path)? {
            store.add(certificate).map_err(|error| FileError::new(path, error))?;
        }
        options.authorities = Some(store);
    }
    options.identity = match (&config.certificate, &config.key) {
        (Some(chain), Some(path)) => {
            let pem = files::read(path)?;
            let key =
                PrivateKeyDer::from_pem_slice(&pem).map_err(|error| FileError::new(path, error))?;
            Some((certificates(chain)?, key))
        }
        (None, None) => None,
        _ => return Err(LoginSetupError::HalfIdentity),
    };
    Ok(options)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = files::read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.map_err(|error| FileError::new(path, error))
}

/// HTTPS, or plain HTTP that does not leave this machine.
fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let plain = || matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let named = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    named && (uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && plain()))
}

fn join(url: &str, query: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{query}")
}

/// Why a login cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoginSetupError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a URL for this.
    #[error("`login.{0}` must be https://host without a path (http only on this machine)")]
    Url(&'static str),
    /// Everybody would be let in.
    #[error("`login.acr` must name at least one level of assurance")]
    NoLevel,
    /// One of two.
    #[error("`login.certificate` and `login.key` belong together")]
    HalfIdentity,
}

/// Why a login failed. Names nobody.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoginError {
    /// Too many.
    #[error("more logins than `logins_per_minute`, or than the provider answers")]
    Busy,
    /// It did not answer a moment ago.
    #[error("the login provider did not answer a moment ago")]
    Away,
    /// No answer.
    #[error("the login provider does not answer: {0}")]
    Http(#[from] HttpError),
    /// It answers something else.
    #[error("the login provider's answer is not what OpenID Connect says")]
    Answer,
    /// It does not take the code.
    #[error("the login provider does not take the code: check client and redirect URI")]
    Refused,
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_this_machine_in_the_clear() {
        for (url, safe) in [
            ("https://id.example", true),
            ("http://127.0.0.1:8080", true),
            ("http://localhost/x", true),
            ("http://id.example", false),
            ("http://localhost.example", false),
            ("https://user@id.example", false),
            ("javascript:alert(1)", false),
            ("/relative", false),
        ] {
            assert_eq!(is_safe(url), safe, "{url}");
        }
    }
}
