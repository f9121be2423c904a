// SPDX-License-Identifier: EUPL-1.2
//! How a source shows who it is: a token from a file, a password, or a token that is fetched with
//! OAuth 2.0 client credentials (RFC 6749 § 4.4), kept, and renewed before its end.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use einmal_peer::{
    files::{self, FileError},
    http::{HttpClient, HttpRequest},
};
use http::{HeaderMap, HeaderValue, Method, header};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Problem, template::percent, tree::Node};

/// Keys of `auth`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum AuthKeys {
    Bearer { file: PathBuf },
    Basic { user: String, file: PathBuf },
    OAuth2 { token_url: String, client_id: String, file: PathBuf, scope: Option<String> },
}

/// A token in a file is read again after this: such files are replaced.
const FILE_AGE: Duration = Duration::from_secs(10);
const TOKEN_ANSWER_MAX: usize = 64 * 1024;
/// A token that does not say how long it holds is taken to hold for this.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
const TOKEN_LIFE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// After a token could not be fetched, nobody tries again for this long.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) enum Auth {
    None,
    Fixed(HeaderValue),
    File(BearerFile),
    Tokens(Arc<Tokens>),
}

impl Auth {
    /// # Errors
    /// Where a file cannot be used, or a value cannot stand in a header.
    pub(crate) fn new(
        keys: Option<&AuthKeys>,
        folder: &Path,
        http: impl FnOnce() -> HttpClient,
    ) -> Result<Self, FileError> {
        Ok(match keys {
            None => Self::None,
            Some(AuthKeys::Bearer { file }) => Self::File(BearerFile::open(folder.join(file))?),
            Some(AuthKeys::Basic { user, file }) => {
                let file = folder.join(file);
                let password = files::secret(&file)?;
                if user.contains(':') {
                    return Err(FileError::new(&file, "a user's name has no colon"));
                }
                let pair = Zeroizing::new(format!("{user}:{}", *password));
                Self::Fixed(basic(&pair).ok_or_else(|| unusable(&file))?)
            }
            Some(AuthKeys::OAuth2 { token_url, client_id, file, scope }) => {
                let file = folder.join(file);
                let secret = files::secret(&file)?;
                let mut pair = Zeroizing::new(String::with_capacity(1024));
                form(client_id, &mut pair);
                pair.push(':');
                form(&secret, &mut pair);
                let mut body = "grant_type=client_credentials".to_owned();
                if let Some(scope) = scope {
                    body.push_str("&scope=");
                    form(scope, &mut body);
                }
                Self::Tokens(Arc::new(Tokens {
                    http: http(),
                    url: token_url.clone(),
                    basic: basic(&pair).ok_or_else(|| unusable(&file))?,
                    body,
                    state: Mutex::default(),
                    renewing: tokio::sync::Mutex::default(),
                }))
            }
        })
    }

    /// The header's value, where there is one.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, Problem> {
        match self {
            Self::None => Ok(None),
            Self::Fixed(value) => Ok(Some(value.clone())),
            Self::File(file) => file.header().await.map(Some),
            Self::Tokens(tokens) => tokens.header().await.map(Some),
        }
    }

    /// Whether another try after "unauthorized" would be made with another token.
    pub(crate) fn forget(&self, refused: Option<&HeaderValue>) -> bool {
        match (self, refused) {
            (Self::Tokens(tokens), Some(refused)) => {
                tokens.forget(refused);
                true
            }
            _ => false,
        }
    }
}

fn unusable(file: &Path) -> FileError {
    FileError::new(file, "it has characters that cannot stand in a header")
}

/// `application/x-www-form-urlencoded`, in which a space may be `%20` as well.
fn form(text: &str, out: &mut String) {
    percent(text, out);
}

fn basic(pair: &str) -> Option<HeaderValue> {
    secret_header(&Zeroizing::new(format!("Basic {}", STANDARD.encode(pair))))
}

fn bearer(token: &str) -> Option<HeaderValue> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let is_token = !token.is_empty() && token.bytes().all(plain);
    is_token.then(|| secret_header(&Zeroizing::new(format!("Bearer {token}")))).flatten()
}

fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A token in a file.
pub(crate) struct BearerFile {
    path: PathBuf,
    read: Mutex<(Instant, HeaderValue)>,
}

impl BearerFile {
    fn open(path: PathBuf) -> Result<Self, FileError> {
        let header = bearer_of(&path)?;
        Ok(Self { path, read: Mutex::new((Instant::now(), header)) })
    }

    async fn header(&self) -> Result<HeaderValue, Problem> {
        let known = || {
            let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            (read.0.elapsed() < FILE_AGE).then(|| read.1.clone())
        };
        if let Some(header) = known() {
            return Ok(header);
        }
        let path = self.path.clone();
        let header = tokio::task::spawn_blocking(move || bearer_of(&path)).await;
        let header = header.map_err(|_| Problem::Away("the token's file cannot be read".into()))?;
        let header = header.map_err(|error| Problem::Refused(format!("auth: {error}")))?;
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) =
            (Instant::now(), header.clone());
        Ok(header)
    }
}

fn bearer_of(path: &Path) -> Result<HeaderValue, FileError> {
    bearer(&files::secret(path)?).ok_or_else(|| unusable(path))
}

/// Tokens of an authorization server.
pub(crate) struct Tokens {
    http: HttpClient,
    url: String,
    basic: HeaderValue,
    body: String,
    state: Mutex<State>,
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    failed: Option<(Instant, Problem)>,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
    ends_at: Instant,
}

impl Tokens {
    async fn header(self: &Arc<Self>) -> Result<HeaderValue, Problem> {
        let now = Instant::now();
        let known = self.with(|state| {
            let token = state.token.as_ref().filter(|token| now < token.ends_at)?;
            Some((token.header.clone(), now >= token.renew_at))
        });
        match known {
            Some((header, false)) => Ok(header),
            Some((header, true)) => {
                // It still holds: nobody waits for the next one.
                let tokens = Arc::clone(self);
                tokio::spawn(async move {
                    if let Err(problem) = tokens.renewed().await {
                        tracing::warn!(%problem, "a token could not be renewed in advance");
                    }
                });
                Ok(header)
            }
            // A task of its own: a question that ends at its time limit must not end the
            // fetching, or a slow authorization server would never give a token.
            None => {
                let tokens = Arc::clone(self);
                let renewed = tokio::spawn(async move { tokens.renewed().await }).await;
                renewed.map_err(|_| Problem::Away("fetching a token failed".into()))?
            }
        }
    }

    /// Fetches a token, one at a time; whoever waited takes what the other fetched.
    async fn renewed(&self) -> Result<HeaderValue, Problem> {
        let _one_at_a_time = self.renewing.lock().await;
        let now = Instant::now();
        let known = self.with(|state| {
            let fresh = state.token.as_ref().filter(|token| now < token.renew_at);
            if let Some(token) = fresh {
                return Some(Ok(token.header.clone()));
            }
            let failed = state.failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE);
            failed.map(|(_, problem)| Err(problem.clone()))
        });
        if let Some(known) = known {
            return known;
        }
        let fetched = self.fetch().await;
        self.with(|state| match fetched {
            Ok(token) => {
                let header = token.header.clone();
                *state = State { token: Some(token), failed: None };
                Ok(header)
            }
            Err(problem) => {
                state.failed = Some((Instant::now(), problem.clone()));
                Err(problem)
            }
        })
    }

    async fn fetch(&self) -> Result<Token, Problem> {
        let began = Instant::now();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = HeaderMap::from_iter([
            (header::AUTHORIZATION, self.basic.clone()),
            (header::CONTENT_TYPE, form),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ]);
        let body = self.body.clone().into_bytes();
        let request = HttpRequest { method: Method::POST, url: &self.url, headers, body };
        let answer = self.http.send(request, TOKEN_ANSWER_MAX).await;
        let answer = answer.map_err(|error| Problem::Away(format!("token: {error}")))?;
        let bytes = Zeroizing::new(answer.body);
        let node = Node::parse(&bytes);
        if answer.status.is_client_error() {
            let error = node.ok().as_ref().and_then(known_error).unwrap_or("without a reason");
            let status = answer.status.as_u16();
            return Err(Problem::Refused(format!("token: refused with status {status}: {error}")));
        }
        if answer.status != http::StatusCode::OK {
            return Err(Problem::Away(format!("token: status {}", answer.status.as_u16())));
        }
        let bad = |problem: &str| Problem::Refused(format!("token: {problem}"));
        let node = node.map_err(|problem| bad(&problem))?;
        let Some(Node::Text(token)) = node.at("/access_token") else {
            return Err(bad("the answer has no text at `/access_token`"));
        };
        match node.at("/token_type") {
            Some(Node::Text(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
            _ => return Err(bad("`/token_type` is not `Bearer`")),
        }
        let life = match node.at("/expires_in") {
            None | Some(Node::Null) => TOKEN_LIFE,
            Some(Node::Integer(seconds @ 1..)) => {
                Duration::from_secs(seconds.unsigned_abs()).min(TOKEN_LIFE_MAX)
            }
            Some(_) => return Err(bad("`/expires_in` is no number of seconds")),
        };
        let header = bearer(token).ok_or_else(|| bad("`/access_token` is no bearer token"))?;
        Ok(Token { header, renew_at: began + life * 3 / 4, ends_at: began + life * 9 / 10 })
    }

    /// A token that was refused is not used again.
    fn forget(&self, refused: &HeaderValue) {
        self.with(|state| {
            if state.token.as_ref().is_some_and(|token| token.header == *refused) {
                state.token = None;
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The error codes of RFC 6749 § 5.2; others may say anything.
fn known_error(answer: &Node) -> Option<&'static str> {
    let Some(Node::Text(code)) = answer.at("/error") else { return None };
    [
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    ]
    .into_iter()
    .find(|known| *known == code.as_str())
}
