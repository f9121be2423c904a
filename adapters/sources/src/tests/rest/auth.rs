// SPDX-License-Identifier: EUPL-1.2
//! How a REST source shows who it is.

use super::*;

#[tokio::test]
async fn mutual_tls_and_own_authorities() {
    let folder = Folder::new();
    let certificates = WebCertificates::new(&folder.0, true);
    let server = WebServer::start(everybody, Some(&certificates)).await;
    let own = "identity = { certificate = \"client.pem\", key = \"client.key\" }";
    let keys = format!("{POST}authorities = \"ca.pem\"\n{own}");
    let register = folder.open(&config(&server.url(), &keys)).await.unwrap();
    assert_eq!(found(&register, BIRTH, FIELDS, anna()).await.subject.idnr, ANNA);
    assert_eq!(server.seen()[0].certificates, 1);
    // Without ours the server ends it, without its authority we do.
    for keys in [format!("{POST}authorities = \"ca.pem\""), format!("{POST}{own}")] {
        let register = folder.open(&config(&server.url(), &keys)).await.unwrap();
        let before = server.seen().len();
        assert!(matches!(problem(&register).await, RegisterFault::Source { .. }));
        assert_eq!(server.seen().len(), before);
    }
    secret(&folder, "client.key", "x", 0o644);
    let mistakes = folder.open(&config(&server.url(), &keys)).await.unwrap_err();
    assert!(mistakes.iter().any(|m| m.at == "sources.dienst.identity"), "{mistakes:?}");
    assert!(mistakes.iter().any(|m| m.problem.contains("chmod 600")), "{mistakes:?}");
}

#[tokio::test]
async fn headers_basic_and_bearer() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    secret(&folder, "password", "gehe:im\n", 0o600);
    secret(&folder, "token", "abc.DEF-123\n", 0o400);
    for (keys, right) in [
        (
            "auth = { kind = \"basic\", user = \"amt\", file = \"password\" }",
            "Basic YW10OmdlaGU6aW0=",
        ),
        ("auth = { kind = \"bearer\", file = \"token\" }", "Bearer abc.DEF-123"),
    ] {
        let headers = "headers = { x-client = \"einmal\", x-api-key = { file = \"token\" } }";
        let keys = format!("{POST}{keys}\n{headers}");
        let register = folder.open(&config(&server.url(), &keys)).await.unwrap();
        found(&register, BIRTH, FIELDS, anna()).await;
        let seen = server.seen();
        let request = seen.last().unwrap();
        assert_eq!(request.header("authorization"), Some(right));
        assert_eq!(request.header("x-client"), Some("einmal"));
        assert_eq!(request.header("x-api-key"), Some("abc.DEF-123"));
    }
}

/// Tokens with numbers, and people for who has the newest.
fn with_tokens(life: u64, pause: Duration) -> impl Fn(&WebRequest) -> WebReply {
    let count = AtomicUsize::new(0);
    move |request| {
        if request.target == "/token" {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let token = json!({ "access_token": format!("t{number}"), "token_type": "bearer",
                "expires_in": life });
            return WebReply::After(pause, Box::new(WebReply::json(token.to_string())));
        }
        match request.header("authorization") {
            Some(token) if token.starts_with("Bearer t") => everybody(request),
            _ => WebReply::status(401),
        }
    }
}

fn oauth(url: &str) -> String {
    format!(
        "{POST}auth = {{ kind = \"oauth2\", token_url = \"{url}/token\", client_id = \"am t\", \
         file = \"secret\", scope = \"read all\" }}"
    )
}

fn tokens(server: &WebServer) -> Vec<WebRequest> {
    server.seen().into_iter().filter(|request| request.target == "/token").collect()
}

#[tokio::test]
async fn oauth2_client_credentials() {
    let server = WebServer::start(with_tokens(3600, Duration::from_millis(200)), None).await;
    let folder = Folder::new();
    secret(&folder, "secret", "p:ss wörd\n", 0o600);
    let register = folder.open(&config(&server.url(), &oauth(&server.url()))).await.unwrap();
    // One token for all.
    for answer in join_all((0..8).map(|_| ask(&register, BIRTH, FIELDS, anna()))).await {
        assert!(matches!(answer, Ok(Answer::Found(_))));
    }
    let asked = tokens(&server);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body, b"grant_type=client_credentials&scope=read%20all");
    // "am%20t:p%3Ass%20w%C3%B6rd", as RFC 6749 § 2.3.1 says.
    let basic = "Basic YW0lMjB0OnAlM0FzcyUyMHclQzMlQjZyZA==";
    assert_eq!(asked[0].header("authorization"), Some(basic));
    // A token that is refused is thrown away; all who are refused at once share the next one.
    let refused = with_tokens(3600, Duration::from_millis(200));
    server.answers(move |request| match request.header("authorization") {
        Some("Bearer t1") => WebReply::status(401),
        _ if request.target == "/token" => {
            WebReply::json(r#"{"access_token": "t2", "token_type": "Bearer"}"#)
        }
        _ => refused(request),
    });
    for answer in join_all((0..8).map(|_| ask(&register, BIRTH, FIELDS, anna()))).await {
        assert!(matches!(answer, Ok(Answer::Found(_))));
    }
    assert_eq!(tokens(&server).len(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_nobody_waits() {
    let server = WebServer::start(with_tokens(2, Duration::from_millis(100)), None).await;
    let folder = Folder::new();
    secret(&folder, "secret", "x", 0o600);
    let register = folder.open(&config(&server.url(), &oauth(&server.url()))).await.unwrap();
    assert_eq!(tokens(&server).len(), 1);
    tokio::time::sleep(Duration::from_millis(1550)).await;
    // Between three quarters and nine tenths of its life: the old one is used, a new one fetched.
    for answer in join_all((0..4).map(|_| ask(&register, BIRTH, FIELDS, anna()))).await {
        assert!(matches!(answer, Ok(Answer::Found(_))));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(tokens(&server).len(), 2);
}

#[tokio::test]
async fn token_servers_that_refuse_or_are_away() {
    let server = WebServer::start(everybody, None).await;
    let folder = Folder::new();
    secret(&folder, "secret", "geheim", 0o600);
    let config = config(&server.url(), &oauth(&server.url()));
    let refused = r#"{"error": "invalid_client", "error_description": "Geheim"}"#;
    for (reply, word) in [
        (WebReply::of(401, "application/json", refused), "status 401: invalid_client"),
        (WebReply::of(400, "application/json", r#"{"error": "Geheim"}"#), "without a reason"),
        (WebReply::json(r#"{"access_token": 1, "token_type": "bearer"}"#), "`/access_token`"),
        (WebReply::json(r#"{"access_token": "a", "token_type": "mac"}"#), "`/token_type`"),
        (WebReply::json(r#"{"access_token": "a\nb", "token_type": "bearer"}"#), "no bearer token"),
        (WebReply::json("Geheim"), "no JSON"),
    ] {
        server.answers(move |_| reply.clone());
        let mistakes = folder.open(&config).await.unwrap_err();
        assert_eq!(mistakes[0].at, "sources.dienst.auth");
        let text = mistakes[0].to_string();
        assert!(text.contains(word) && !text.contains("Geheim"), "{text}");
    }
    // A server that is away may come back: the register starts, and says so.
    server.answers(|_| WebReply::status(503));
    let register = folder.open(&config).await.unwrap();
    let unchecked = register.unchecked();
    assert!(unchecked["dienst"][1].contains("token: status 503"), "{unchecked:?}");
    let before = tokens(&server).len();
    assert!(matches!(problem(&register).await, RegisterFault::Source { .. }));
    // It is not asked again by every question.
    assert_eq!(tokens(&server).len(), before);
    server.answers(with_tokens(60, Duration::ZERO));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(found(&register, BIRTH, FIELDS, anna()).await.subject.idnr, ANNA);
}
