// SPDX-License-Identifier: EUPL-1.2
//! The HTTP client against servers that misbehave, and over TLS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use einmal_peer::http::{HttpClient, HttpError, HttpOptions};
use einmal_witness::WitnessClient;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// A server that says the same to whoever connects, and keeps the connection open or not.
async fn says(answer: &'static str, keep: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                while tcp.read(&mut asked).await.is_ok_and(|read| read > 0) {
                    tcp.write_all(answer.as_bytes()).await.unwrap();
                    if !keep {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn quick() -> HttpClient {
    HttpClient::new(HttpOptions { deadline: Duration::from_millis(500), ..HttpOptions::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_limits_in_size_and_time() {
    let client = quick();
    let get = async |answer, keep| {
        let url = format!("http://{}/x", says(answer, keep).await);
        let twice = (client.get(&url, 10).await, client.get(&url, 10).await);
        assert_eq!(twice.0, twice.1, "the same on a connection kept and on a new one");
        twice.0.map(|answer| (answer.status.as_u16(), answer.body))
    };
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", true).await,
        Ok((200, b"abc".to_vec()))
    );
    // The connection is closed although nobody said so: the next request takes a new one.
    assert_eq!(
        get("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", false).await,
        Ok((200, b"abc".to_vec()))
    );
    // Redirects are answers, and nobody follows them.
    let elsewhere =
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(get(elsewhere, true).await, Ok((302, Vec::new())));
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nabcdefghijk";
    assert_eq!(get(large, true).await, Err(HttpError::TooLarge { size_max: 10 }));
    let lied = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc";
    assert!(matches!(get(lied, false).await, Err(HttpError::Broken(_))));
    assert_eq!(get(lied, true).await, Err(HttpError::TooSlow));
    assert_eq!(get("HTTP/1.1 200 OK\r\nContent-", true).await, Err(HttpError::TooSlow));
    let packed = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na";
    assert_eq!(get(packed, true).await, Err(HttpError::Compressed));
    assert!(matches!(get("SSH-2.0\r\n", true).await, Err(HttpError::Broken(_))));
    for url in ["", "x", "ftp://h/", "http:///", "http://u:p@h/", "file:///etc/passwd", "//h/"] {
        assert_eq!(client.get(url, 10).await, Err(HttpError::Url), "{url}");
    }
    assert!(matches!(client.get("http://127.0.0.1:1/", 10).await, Err(HttpError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_answers_nonsense_is_named() {
    let http = Arc::new(quick());
    for (answer, newest, added) in [
        ("HTTP/1.1 409 C\r\nContent-Length: 2\r\n\r\n7\n", true, true),
        ("HTTP/1.1 500 E\r\nContent-Length: 0\r\n\r\n", true, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\u{7f}", false, false),
        ("HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", false, false),
    ] {
        let witness =
            WitnessClient::new(http.clone(), &format!("http://{}", says(answer, true).await));
        assert_eq!(witness.newest("l").await.is_err(), newest, "{answer}");
        assert_eq!(witness.add_checkpoint(0, &[], "note").await.is_err(), added, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_of_known_authorities_count() {
    let (authority_key, server_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(server_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.der().clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let acceptor = TlsAcceptor::from(Arc::new(config));
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut tls) = acceptor.accept(tcp).await else { continue };
            let _ = tls.read(&mut [0; 4096]).await;
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await;
            let _ = tls.shutdown().await;
        }
    });
    let mut known = RootCertStore::empty();
    known.add(authority.der().clone()).unwrap();
    let options = HttpOptions { authorities: Some(known), ..HttpOptions::default() };
    let client = HttpClient::new(options);
    let url = format!("https://localhost:{port}/");
    assert_eq!(client.get(&url, 10).await.unwrap().body, b"abc");
    let by_address = client.get(&format!("https://127.0.0.1:{port}/"), 10).await;
    assert!(matches!(by_address, Err(HttpError::Unreachable(_))), "{by_address:?}");
    let other = HttpOptions { authorities: Some(RootCertStore::empty()), ..HttpOptions::default() };
    assert_eq!(HttpClient::new(other).get(&url, 10).await, Err(HttpError::NoAuthorities));
}
