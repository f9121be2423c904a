// SPDX-License-Identifier: EUPL-1.2
//! An OpenID provider for demonstrations: whoever comes chooses an invented person. It proves
//! nothing, says so, and listens on the loopback only. The pages use it as they use a real one.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use askama::Template;
use axum::{
    Form, Json, Router,
    extract::{DefaultBodyLimit, Query, State},
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use einmal_peer::{Clock, random};
use einmal_protocol::{
    Digest,
    person::{idnr_is_valid, is_date},
};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{LoginConfig, encode, oidc::ClaimNames};

/// A code is good for this long.
const CODE_MS: u64 = 60_000;
/// Codes at one time.
const CODES_MAX: usize = 10_000;
const CLIENT: &str = "einmal-demo";
const LEVEL: &str = "high";

/// An invented person for demonstrations.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoPerson {
    /// Eleven digits with a right check digit.
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

impl std::fmt::Debug for DemoPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DemoPerson(redacted)")
    }
}

struct Code {
    person: usize,
    nonce: String,
    challenge: String,
    until_ms: u64,
}

/// The provider; it runs until told to stop.
pub struct DemoProvider {
    issuer: String,
    public_url: String,
    persons: Vec<DemoPerson>,
    key: Ed25519KeyPair,
    codes: Mutex<HashMap<String, Code>>,
    clock: Clock,
}

impl std::fmt::Debug for DemoProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DemoProvider({})", self.issuer)
    }
}

impl DemoProvider {
    /// Starts it for the pages at `public_url`; what comes back is the pages' `[login]`.
    ///
    /// # Errors
    /// Where a person is malformed or there twice, or nothing can be listened on.
    pub async fn start(
        persons: Vec<DemoPerson>,
        public_url: &str,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<LoginConfig, DemoProviderError> {
        for (position, person) in persons.iter().enumerate() {
            let good = idnr_is_valid(&person.idnr) && is_date(&person.birth_date);
            let before = persons.iter().take(position);
            if !good || before.into_iter().any(|other| other.idnr == person.idnr) {
                return Err(DemoProviderError::Person { number: position + 1 });
            }
        }
        if persons.is_empty() {
            return Err(DemoProviderError::Nobody);
        }
        let port = |error: std::io::Error| DemoProviderError::Port(error.to_string());
        let listener =
            TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.map_err(port)?;
        let issuer = format!("http://{}", listener.local_addr().map_err(port)?);
        let seed: [u8; 32] = random::bytes().map_err(|_| DemoProviderError::Randomness)?;
        let key = Ed25519KeyPair::from_seed_unchecked(&seed)
            .map_err(|_| DemoProviderError::Randomness)?;
        let provider = Arc::new(Self {
            issuer: issuer.clone(),
            public_url: public_url.to_owned(),
            persons,
            key,
            codes: Mutex::default(),
            clock,
        });
        tokio::spawn(async move {
            let served = axum::serve(listener, provider.router());
            if served.with_graceful_shutdown(stop.cancelled_owned()).await.is_err() {
                tracing::error!("the demo's login ended");
            }
        });
        Ok(LoginConfig {
            issuer,
            client_id: CLIENT.into(),
            public_url: Some(public_url.to_owned()),
            client_secret: None,
            certificate: None,
            key: None,
            authorities: None,
            acr: vec![LEVEL.into()],
            scope: "openid profile".into(),
            claims: ClaimNames::default(),
            logins_per_minute: 1200,
        })
    }

    fn router(self: Arc<Self>) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/authorize", get(ask).post(choose))
            .route("/token", post(token))
            .route("/logout", get(logout))
            .route("/style.css", get(crate::pages::style))
            .layer(DefaultBodyLimit::max(8 * 1024))
            .with_state(self)
    }

    fn redirect_uri(&self) -> String {
        format!("{}{}", self.public_url, super::RETURN_PATH)
    }

    fn sign(&self, person: &DemoPerson, nonce: &str) -> String {
        let now = self.clock.now_ms() / 1000;
        let claims = json!({
            "iss": self.issuer,
            "sub": BASE64_URL_SAFE_NO_PAD.encode(Digest::of(person.idnr.as_bytes()).as_bytes()),
            "aud": CLIENT,
            "iat": now,
            "auth_time": now,
            "exp": now + 300,
            "nonce": nonce,
            "acr": LEVEL,
            "idnr": person.idnr,
            "birth_family_name": person.birth_name,
            "given_name": person.given_names,
            "birthdate": person.birth_date,
            "place_of_birth": { "locality": person.birth_place },
        });
        let header = json!({ "alg": "EdDSA", "kid": "demo" });
        let part = |json: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

type Shared = State<Arc<DemoProvider>>;

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    client_id: String,
    redirect_uri: String,
    response_type: String,
    state: String,
    nonce: String,
    code_challenge: String,
    code_challenge_method: String,
    ui_locales: String,
    person: Option<usize>,
}

impl Wanted {
    fn is_good(&self, provider: &DemoProvider) -> bool {
        self.client_id == CLIENT
            && self.redirect_uri == provider.redirect_uri()
            && self.response_type == "code"
            && self.code_challenge_method == "S256"
            && [&self.state, &self.nonce, &self.code_challenge]
                .iter()
                .all(|text| (20..200).contains(&text.len()))
    }
}

#[derive(Template)]
#[template(path = "demo_provider.html")]
struct ChoosePage<'a> {
    english: bool,
    wanted: Option<&'a Wanted>,
    persons: &'a [DemoPerson],
    back: &'a str,
}

fn show(provider: &DemoProvider, page: &ChoosePage<'_>) -> Response {
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self' {}; base-uri 'none'; \
         frame-ancestors 'none'",
        provider.public_url
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    match page.render() {
        Ok(html) => (headers, Html(html)).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn discovery(State(provider): Shared) -> Response {
    let at = |path: &str| format!("{}{path}", provider.issuer);
    Json(json!({
        "issuer": provider.issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/keys"),
        "end_session_endpoint": at("/logout"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["EdDSA"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": [LEVEL],
    }))
    .into_response()
}

async fn keys(State(provider): Shared) -> Response {
    let x = BASE64_URL_SAFE_NO_PAD.encode(provider.key.public_key().as_ref());
    let key = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "demo", "use": "sig", "x": x });
    Json(json!({ "keys": [key] })).into_response()
}

async fn ask(State(provider): Shared, Query(wanted): Query<Wanted>) -> Response {
    if !wanted.is_good(&provider) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let page = ChoosePage {
        english: wanted.ui_locales == "en",
        wanted: Some(&wanted),
        persons: &provider.persons,
        back: &provider.public_url,
    };
    show(&provider, &page)
}

async fn choose(State(provider): Shared, Form(wanted): Form<Wanted>) -> Response {
    let person = wanted.person.filter(|person| *person < provider.persons.len());
    let (Some(person), true) = (person, wanted.is_good(&provider)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(code) = random::bytes::<32>() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let code = BASE64_URL_SAFE_NO_PAD.encode(code);
    let now_ms = provider.clock.now_ms();
    let mut codes = provider.codes.lock().unwrap_or_else(PoisonError::into_inner);
    codes.retain(|_, code| code.until_ms > now_ms);
    if codes.len() >= CODES_MAX {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (nonce, challenge) = (wanted.nonce, wanted.code_challenge);
    let until_ms = now_ms.saturating_add(CODE_MS);
    codes.insert(code.clone(), Code { person, nonce, challenge, until_ms });
    let query = encode(&[("code", &code), ("state", &wanted.state)]);
    let to = format!("{}?{query}", wanted.redirect_uri);
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Redeem {
    grant_type: String,
    code: String,
    redirect_uri: String,
    client_id: String,
    code_verifier: String,
}

async fn token(State(provider): Shared, Form(redeem): Form<Redeem>) -> Response {
    let mut codes = provider.codes.lock().unwrap_or_else(PoisonError::into_inner);
    // Taken out whatever comes of it: a code is good once.
    let code = codes.remove(&redeem.code);
    drop(codes);
    let challenge =
        BASE64_URL_SAFE_NO_PAD.encode(Digest::of(redeem.code_verifier.as_bytes()).as_bytes());
    let good = code.filter(|code| {
        redeem.grant_type == "authorization_code"
            && redeem.client_id == CLIENT
            && redeem.redirect_uri == provider.redirect_uri()
            && code.challenge == challenge
            && code.until_ms > provider.clock.now_ms()
    });
    let person = good.and_then(|code| Some((provider.persons.get(code.person)?, code.nonce)));
    let Some((person, nonce)) = person else {
        let problem = Json(json!({ "error": "invalid_grant" }));
        return (StatusCode::BAD_REQUEST, problem).into_response();
    };
    let id_token = provider.sign(person, &nonce);
    let answer = json!({
        "access_token": "none", "token_type": "Bearer", "expires_in": 1, "id_token": id_token,
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

async fn logout(State(provider): Shared) -> Response {
    let page =
        ChoosePage { english: false, wanted: None, persons: &[], back: &provider.public_url };
    show(&provider, &page)
}

/// Why the demo's login does not start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DemoProviderError {
    /// None.
    #[error("the demo login needs at least one person")]
    Nobody,
    /// Malformed or there twice.
    #[error("demo person {number} has a wrong number or birth date, or is there twice")]
    Person {
        /// Counted from 1.
        number: usize,
    },
    /// Nothing to listen on.
    #[error("the demo's login cannot listen: {0}")]
    Port(String),
    /// No randomness.
    #[error("the system gives no randomness")]
    Randomness,
}
