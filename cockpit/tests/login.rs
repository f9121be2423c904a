// SPDX-License-Identifier: EUPL-1.2
//! Logging in: which tokens count, and what a hostile browser, a flood and a provider that is
//! away can do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[path = "house/browser.rs"]
mod browser;
mod house;
#[path = "house/words.rs"]
mod words;

use axum::http::{StatusCode, header};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use browser::{Browser, fetch};
use einmal_cockpit::{
    login::{
        Attempt, Login, LoginConfig, LoginProof, LoginSecret, Logins, OidcProof, Provider,
        keys::KeySet,
        oidc::{ClaimNames, Expected, PROOF_LIFE_S, Shown, TokenError, verify},
    },
    pages::{Pages, router},
};
use einmal_protocol::wire::cockpit::v1::ListRecordsRequest;
use house::{
    logins::{COCKPIT, provider},
    *,
};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};
use serde_json::{Value, json};

const SECOND: u64 = NOW / 1000;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwk(seed: u8, kid: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair(seed).public_key()) })
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn expected() -> Expected {
    Expected {
        issuer: "https://id.example".into(),
        client_id: "cockpit".into(),
        acr: vec!["high".into()],
        claims: ClaimNames::default(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "cockpit", "sub": "x", "nonce": "n-1", "acr": "high",
        "iat": SECOND - 5, "exp": SECOND + 300, "nbf": SECOND - 5, "auth_time": SECOND - 5,
        "idnr": CANARY[0], "birth_family_name": CANARY[1], "given_name": CANARY[2],
        "birthdate": CANARY[3], "place_of_birth": { "locality": CANARY[4] },
    })
}

fn token(header: &Value, claims: &Value, seed: u8) -> String {
    let message = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    format!("{message}.{}", b64(pair(seed).sign(message.as_bytes())))
}

fn good_header() -> Value {
    json!({ "alg": "EdDSA", "kid": "one" })
}

fn check(token: &str) -> Result<einmal_protocol::wire::v1::Subject, TokenError> {
    verify(token, &set(&[jwk(1, "one"), jwk(2, "two")]), &expected(), "n-1", (Shown::ToLogIn, NOW))
}

/// The claims with one of them changed; null takes it away.
fn with(name: &str, value: Value) -> String {
    let mut changed = claims();
    match value {
        Value::Null => drop(changed.as_object_mut().unwrap().remove(name)),
        value => changed[name] = value,
    }
    token(&good_header(), &changed, 1)
}

#[test]
fn a_good_token_names_the_whole_person() {
    assert_eq!(check(&token(&good_header(), &claims(), 1)), Ok(canary()));
    // The same audience among several, if we are the one it was given to.
    let mut several = claims();
    several["aud"] = json!(["other", "cockpit"]);
    several["azp"] = json!("cockpit");
    assert!(check(&token(&good_header(), &several, 1)).is_ok());
    // A birth identity without a number is a person, too.
    assert_eq!(check(&with("idnr", Value::Null)), Ok(by_birth(&canary())));
}

#[test]
fn what_is_not_ours_fresh_and_sure_is_refused() {
    for (name, value, error) in [
        ("iss", json!("https://evil.example"), TokenError::Issuer),
        ("iss", json!("https://id.example/"), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Issuer),
        ("aud", json!("other"), TokenError::Audience),
        ("aud", json!(["other", "cockpit"]), TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("azp", json!("other"), TokenError::Audience),
        ("exp", json!(SECOND - 61), TokenError::Expired),
        ("exp", Value::Null, TokenError::Form),
        ("exp", json!("never"), TokenError::Form),
        ("iat", json!(SECOND - 700), TokenError::Expired),
        ("iat", json!(SECOND + 61), TokenError::NotYet),
        ("iat", Value::Null, TokenError::Form),
        ("nbf", json!(SECOND + 61), TokenError::NotYet),
        ("auth_time", json!(SECOND - 700), TokenError::Expired),
        ("nonce", json!("n-2"), TokenError::Nonce),
        ("nonce", Value::Null, TokenError::Nonce),
        ("acr", json!("substantial"), TokenError::Level),
        ("acr", json!("highest"), TokenError::Level),
        ("acr", Value::Null, TokenError::Level),
        ("idnr", json!("86095742710"), TokenError::Person),
        ("birthdate", json!("30.11.1987"), TokenError::Person),
        ("given_name", json!("A\u{0}B"), TokenError::Person),
        ("given_name", json!("A".repeat(201)), TokenError::Person),
    ] {
        assert_eq!(check(&with(name, value.clone())), Err(error), "{name}: {value}");
    }
    let mut nobody = claims();
    nobody["idnr"] = json!("");
    nobody["place_of_birth"] = json!("");
    assert_eq!(check(&token(&good_header(), &nobody, 1)), Err(TokenError::Person), "half a person");
}

#[test]
fn a_token_proves_its_login_for_as_long_as_a_session() {
    let good = token(&good_header(), &claims(), 1);
    let at = |shown, seconds: u64| {
        let now_ms = NOW + seconds * 1000;
        verify(&good, &set(&[jwk(1, "one")]), &expected(), "n-1", (shown, now_ms))
    };
    assert_eq!(at(Shown::ToLogIn, 400), Err(TokenError::Expired));
    assert_eq!(at(Shown::InSession, 400), Ok(canary()));
    assert_eq!(at(Shown::InSession, PROOF_LIFE_S), Ok(canary()));
    assert_eq!(at(Shown::InSession, PROOF_LIFE_S + 60), Err(TokenError::Expired));
}

#[test]
fn signatures_of_others_and_other_ways_to_sign_are_refused() {
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
    for (header, seed, error) in [
        (header("EdDSA", "one"), 2, TokenError::Signature),
        (header("EdDSA", "three"), 1, TokenError::NoKey),
        (json!({ "alg": "EdDSA" }), 1, TokenError::NoKey),
        (header("none", "one"), 1, TokenError::Algorithm),
        (header("None", "one"), 1, TokenError::Algorithm),
        (header("HS256", "one"), 1, TokenError::Algorithm),
        (header("PS256", "one"), 1, TokenError::Algorithm),
        (header("ES256", "one"), 1, TokenError::NoKey),
        (json!({ "alg": "EdDSA", "kid": "one", "crit": ["x"] }), 1, TokenError::Critical),
    ] {
        assert_eq!(check(&token(&header, &claims(), seed)), Err(error), "{header}");
    }
    let good = token(&good_header(), &claims(), 1);
    let bare = good.rsplit_once('.').unwrap().0;
    let unsigned = format!("{}.{}.", b64(r#"{"alg":"none"}"#), b64(claims().to_string()));
    for broken in ["", ".", "..", "a.b.c", bare, &"x".repeat(40_000), &format!("{good}=")] {
        assert_eq!(check(broken).unwrap_err(), TokenError::Form, "{}", broken.len());
    }
    assert_eq!(check(&unsigned), Err(TokenError::Algorithm));
    // A public key as the secret of an HMAC: the oldest trick.
    let message = format!("{}.{}", b64(r#"{"alg":"HS256"}"#), b64(claims().to_string()));
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, pair(1).public_key().as_ref());
    let forged = format!("{message}.{}", b64(ring::hmac::sign(&secret, message.as_bytes())));
    assert_eq!(check(&forged), Err(TokenError::Algorithm));
}

#[test]
fn es256_and_rs256_count_and_keys_for_other_uses_do_not() {
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let point = key.public_key().as_ref();
    let mut jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "p", "alg": "ES256",
                          "x": b64(&point[1..33]), "y": b64(&point[33..]) });
    let message = format!("{}.{}", b64(r#"{"alg":"ES256"}"#), b64(claims().to_string()));
    let signature = key.sign(&random, message.as_bytes()).unwrap();
    let signed = format!("{message}.{}", b64(signature));
    let check = |keys: &KeySet| verify(&signed, keys, &expected(), "n-1", (Shown::ToLogIn, NOW));
    assert_eq!(check(&set(&[jwk.clone()])), Ok(canary()));
    jwk["use"] = json!("enc");
    assert!(KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).is_none());

    // Made with `openssl dgst -sha256 -sign` under a key of 2048 bits.
    let rsa = json!({ "kty": "RSA", "kid": "rs", "e": "AQAB", "n": include_str!("house/rsa.n") });
    let signed = include_str!("house/rsa.token").trim();
    let subject = verify(signed, &set(&[rsa]), &expected(), "n-1", (Shown::ToLogIn, NOW)).unwrap();
    assert_eq!(subject.idnr, CANARY[0]);
    let mut forged = signed.to_owned();
    forged.replace_range(120..121, if &signed[120..121] == "A" { "B" } else { "A" });
    let rsa = json!({ "kty": "RSA", "kid": "rs", "e": "AQAB", "n": include_str!("house/rsa.n") });
    assert!(verify(&forged, &set(&[rsa]), &expected(), "n-1", (Shown::ToLogIn, NOW)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_belongs_to_the_browser_that_logged_in() {
    let house = House::build().await;
    let router = router(words::pages(&house).await);
    let mut victim = Browser::new(&router);
    let mut attacker = Browser::new(&router);

    // Fixation: a cookie that was there before never becomes a session.
    let planted = b64([7; 32]);
    victim.cookies.push(("__Host-einmal".into(), planted.clone()));
    let welcome = victim.log_in(&canary()).await;
    assert_eq!(welcome.status, StatusCode::OK, "{}", welcome.text);
    let set: Vec<&str> = welcome
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    let session = set.iter().find(|set| set.starts_with("__Host-einmal=")).unwrap();
    assert!(session.contains("; Secure") && session.contains("SameSite=Strict"), "{session}");
    assert!(!session.contains(&planted) && !session.contains("Domain"));
    assert!(set.iter().any(|set| set.starts_with("__Host-anmeldung=;")), "the attempt is over");
    attacker.cookies.push(("__Host-einmal".into(), planted));
    assert_eq!(attacker.get("/zugriffe").await.status, StatusCode::SEE_OTHER);

    // A code of one browser is worth nothing in another, nor twice, nor with another state.
    let back = victim.choose_at_provider(0).await;
    attacker.cookies.clear();
    assert_eq!(attacker.get(&back).await.status, StatusCode::FORBIDDEN, "no attempt");
    attacker.get("/anmelden/los").await;
    assert_eq!(attacker.get(&back).await.status, StatusCode::FORBIDDEN, "another attempt");
    let own = attacker.choose_at_provider(1).await;
    let state = own.split("state=").nth(1).unwrap();
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let mixed = format!("/anmelden/zurueck?code={code}&state={state}");
    assert_eq!(attacker.get(&mixed).await.status, StatusCode::FORBIDDEN, "PKCE");
    assert_eq!(attacker.get("/zugriffe").await.status, StatusCode::SEE_OTHER);
    assert_eq!(victim.get(&back).await.status, StatusCode::FORBIDDEN, "the code was spent");

    let back = victim.choose_at_provider(0).await;
    let attempt = victim.cookies.iter().find(|(name, _)| name == "__Host-anmeldung").cloned();
    let before = victim.cookies.clone();
    assert_eq!(victim.get(&back).await.status, StatusCode::OK);
    assert_ne!(before, victim.cookies, "a login makes a new cookie");
    let mut old = Browser::new(&router);
    old.cookies = before;
    assert_eq!(old.get("/zugriffe").await.status, StatusCode::SEE_OTHER, "the old one is over");
    victim.cookies.extend(attempt);
    assert_eq!(victim.get(&back).await.status, StatusCode::FORBIDDEN, "a code is good once");
    let refused = victim.get("/anmelden/zurueck?error=access_denied&state=x").await;
    assert!(refused.text.contains("Die Anmeldung wurde abgebrochen"));
}

/// A provider that counts, and answers what it was told to.
async fn double(answer: Value) -> (LoginConfig, std::sync::Arc<std::sync::atomic::AtomicU32>) {
    use axum::{Json, Router, routing};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let metadata = json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
    });
    let counted = std::sync::Arc::clone(&asked);
    let router = Router::new()
        .route(
            "/.well-known/openid-configuration",
            routing::get(move || async move { Json(metadata) }),
        )
        .route("/keys", routing::get(|| async { Json(json!({ "keys": [jwk(1, "one")] })) }))
        .route(
            "/token",
            routing::post(move || async move {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Json(answer)
            }),
        );
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = json!({
        "issuer": issuer, "client_id": "cockpit", "public_url": COCKPIT,
        "logins_per_minute": 600,
    });
    (serde_json::from_value(config).unwrap(), asked)
}

/// Logs in at the demo's provider as its first person, without any pages.
async fn log_in_at(provider: &Provider) -> Login {
    let secret = LoginSecret::new(zeroize::Zeroizing::new([9; 32]));
    let attempt = Attempt { state: b64([7; 32]), secret, verifier: b64([8; 32]) };
    let url = provider.begin(&attempt, "de").await.unwrap();
    let (at, query) = url.split_once('?').unwrap();
    let (_, back, _) = fetch("POST", at, &format!("{query}&person=0")).await;
    let code = back.split("code=").nth(1).unwrap().split('&').next().unwrap();
    provider.finish(&attempt, code).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_verifies_each_login_for_itself() {
    let mut house = House::build().await;
    let config = house.login.clone();
    let provider = std::sync::Arc::new(Provider::new(&config, house.clock.clone()).unwrap());
    house.reopen_for(Logins { demo: false, oidc: Some(provider.clone()) }).await;
    house.exchange(&Ask::about(&canary()));
    house.exchange(&Ask::about(&other()));
    house.catch_up().await.unwrap();

    let pages = Pages { demo: false, ..words::pages_at(&house, &config) };
    let mut browser = Browser::new(&router(pages));
    browser.log_in(&canary()).await;
    assert!(browser.get("/zugriffe").await.text.contains("1 Eintrag"));
    assert!(browser.get("/zugriffe/0").await.text.contains("card proof good"));
    assert_eq!(browser.get("/zugriffe/1").await.status, StatusCode::NOT_FOUND);

    // Pages in wrong hands: they may say what they like of whom they ask for.
    let login = log_in_at(&provider).await;
    let LoginProof::Oidc(proof) = &login.proof else { panic!("a proof") };
    let mut stolen = proof.clone();
    stolen.secret = LoginSecret::new(zeroize::Zeroizing::new([6; 32]));
    let list = async |subject, proof: Option<&LoginProof>| {
        let request = ListRecordsRequest {
            subject,
            login: proof.map(Into::into),
            ..ListRecordsRequest::default()
        };
        let answer = house.client().list_records(request).await;
        answer.map(|answer| answer.into_inner().total).map_err(|status| status.code())
    };
    let good = Some(&login.proof);
    assert_eq!(list(Some(canary()), good).await, Ok(1));
    assert_eq!(list(None, good).await, Ok(1), "the token says who it is");
    for (subject, proof) in [
        (Some(other()), good),
        (Some(canary()), None),
        (Some(canary()), Some(&LoginProof::Demo)),
        (Some(canary()), Some(&LoginProof::Oidc(stolen))),
    ] {
        assert_eq!(list(subject, proof).await, Err(tonic::Code::Unauthenticated));
    }
    house.clock.shift_ms((PROOF_LIFE_S as i64 + 61) * 1000);
    assert_eq!(list(Some(canary()), good).await, Err(tonic::Code::Unauthenticated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_the_keeper_does_not_accept_ends_its_session() {
    let mut house = House::build().await;
    let (ours, theirs) = (house.login.clone(), provider(&house.clock).await);
    let theirs = std::sync::Arc::new(Provider::new(&theirs, house.clock.clone()).unwrap());
    house.reopen_for(Logins { demo: false, oidc: Some(theirs) }).await;
    let mut browser = Browser::new(&router(words::pages_at(&house, &ours)));
    browser.log_in(&canary()).await;
    let refused = browser.get("/zugriffe").await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.text.contains("Anmeldung"), "{}", refused.text);
    let after = browser.get("/zugriffe").await;
    assert_eq!(after.location(), "/anmelden", "the session is over");
}

/// A provider that answers until it is told to hang.
async fn hanging() -> (LoginConfig, std::sync::Arc<std::sync::atomic::AtomicBool>) {
    use axum::{Json, Router, routing};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let hangs = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let metadata = json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/keys"),
    });
    let silent = std::sync::Arc::clone(&hangs);
    let discovery = async move || {
        if silent.load(std::sync::atomic::Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        Json(metadata)
    };
    let keys = json!({ "keys": [jwk(1, "one")] });
    let router = Router::new()
        .route("/.well-known/openid-configuration", routing::get(discovery))
        .route("/keys", routing::get(|| async { Json(keys) }));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = json!({ "issuer": issuer, "client_id": "cockpit", "public_url": COCKPIT });
    (serde_json::from_value(config).unwrap(), hangs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_stops_no_session_that_has_begun() {
    let (config, hangs) = hanging().await;
    let clock = einmal_peer::Clock::standing_at(NOW);
    let provider = std::sync::Arc::new(Provider::new(&config, clock.clone()).unwrap());
    let secret = LoginSecret::new(zeroize::Zeroizing::new([9; 32]));
    let mut claims = claims();
    claims["iss"] = json!(config.issuer);
    claims["nonce"] = json!(secret.nonce());
    let id_token = zeroize::Zeroizing::new(token(&good_header(), &claims, 1));
    let proof = OidcProof { id_token, secret };
    assert_eq!(provider.proven(&proof).await, Ok(canary()));

    // Its keys are more than an hour old now, and it does not answer.
    hangs.store(true, std::sync::atomic::Ordering::Relaxed);
    clock.shift_ms(61 * 60_000);
    let (begun, mut asked) = (std::time::Instant::now(), tokio::task::JoinSet::new());
    for _ in 0..20 {
        let (provider, proof) = (std::sync::Arc::clone(&provider), proof.clone());
        asked.spawn(async move { (provider.proven(&proof).await, begun.elapsed()) });
    }
    let answers = asked.join_all().await;
    assert!(answers.iter().all(|(person, _)| *person == Ok(canary())));
    let waited = answers.iter().filter(|(_, took)| took.as_secs() >= 1).count();
    assert!(waited <= 1, "{waited} waited for it");
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let again = std::time::Instant::now();
    assert_eq!(provider.proven(&proof).await, Ok(canary()));
    assert!(again.elapsed().as_millis() < 500, "it is not asked at once again");
    // It answers again, and after a moment it is asked again.
    hangs.store(false, std::sync::atomic::Ordering::Relaxed);
    clock.shift_ms(11_000);
    assert_eq!(provider.proven(&proof).await, Ok(canary()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_logins_a_minute_do_not_hurt() {
    let house = House::build().await;
    let (config, asked) = double(json!({ "id_token": token(&good_header(), &claims(), 1) })).await;
    let router = router(words::pages_at(&house, &config));
    let begun = std::time::Instant::now();
    let mut statuses = std::collections::BTreeMap::new();
    let mut browser = Browser::new(&router);
    for _ in 0..10_000 {
        let there = browser.get("/anmelden/los").await;
        let state = there.location().split("&state=").nth(1).unwrap();
        let state = state.split('&').next().unwrap().to_owned();
        let back = browser.get(&format!("/anmelden/zurueck?code=x&state={state}")).await;
        *statuses.entry(back.status).or_insert(0) += 1;
        browser.urls.clear();
    }
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked <= 110, "the provider was asked {asked} times; the clock stood still");
    assert!(statuses[&StatusCode::SERVICE_UNAVAILABLE] >= 9_800, "{statuses:?}");
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    // And the next minute people log in again.
    house.clock.shift_ms(60_000);
    let there = browser.get("/anmelden/los").await;
    let state = there.location().split("&state=").nth(1).unwrap().split('&').next().unwrap();
    let back = browser.get(&format!("/anmelden/zurueck?code=x&state={state}")).await;
    assert_eq!(back.status, StatusCode::FORBIDDEN, "its token has another nonce");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lies_or_is_away_lets_nobody_in() {
    let house = House::build().await;
    let (config, _) = double(json!({ "error": "invalid_grant" })).await;
    for issuer in ["http://127.0.0.1:1", &config.issuer.replace("127.0.0.1", "localhost")] {
        let mut config = config.clone();
        config.issuer = issuer.to_owned();
        let mut browser = Browser::new(&router(words::pages_at(&house, &config)));
        let there = browser.get("/anmelden/los").await;
        assert_eq!(there.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(there.text.contains("Der Anmeldedienst antwortet gerade nicht"));
    }
    // The demo's provider wants its own client, its own address, and PKCE.
    let config = house.login.clone();
    let at = format!("{}/authorize", config.issuer);
    let query = "client_id=einmal-demo&response_type=code&code_challenge_method=S256\
                 &state=aaaaaaaaaaaaaaaaaaaaaaaa&nonce=aaaaaaaaaaaaaaaaaaaaaaaa";
    let challenge = "code_challenge=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let redirect = "redirect_uri=https%3A%2F%2Fcockpit.example%2Fanmelden%2Fzurueck";
    for (query, status) in [
        (format!("{query}&{challenge}&{redirect}"), 200),
        (format!("{query}&{redirect}"), 400),
        (format!("{query}&{challenge}&redirect_uri=https%3A%2F%2Fevil.example%2F"), 400),
    ] {
        assert_eq!(fetch("GET", &format!("{at}?{query}"), "").await.0, status, "{query}");
    }
}
