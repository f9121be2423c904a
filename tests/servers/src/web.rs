// SPDX-License-Identifier: EUPL-1.2
//! A web server that does what a test says, well or badly: HTTP/1.1 written byte by byte, with TLS
//! and client certificates where they are wanted. It remembers what it was asked.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct WebRequest {
    /// "GET".
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
    /// How many certificates the client showed.
    pub certificates: usize,
}

impl WebRequest {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum WebReply {
    /// Answers in good form, and keeps the connection.
    Answer {
        /// Its status.
        status: u16,
        /// Its headers, beside the length.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Vec<u8>,
    },
    /// Writes these bytes and closes.
    Raw(Vec<u8>),
    /// Writes one byte after the other, this far apart.
    Drip(Vec<u8>, Duration),
    /// Closes without a word.
    Close,
    /// Says nothing, and keeps the connection.
    Hang,
    /// Answers later.
    After(Duration, Box<WebReply>),
}

impl WebReply {
    /// A good answer of JSON.
    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::of(200, "application/json", body)
    }

    /// An answer of one content type.
    pub fn of(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Self::Answer { status, headers, body: body.into() }
    }

    /// An answer without a body.
    pub fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Vec::new() }
    }
}

type Handler = dyn Fn(&WebRequest) -> WebReply + Send + Sync;

/// A server; it ends when it is dropped.
pub struct WebServer {
    address: SocketAddr,
    tls: bool,
    seen: Arc<Mutex<Vec<WebRequest>>>,
    handler: Arc<Mutex<Arc<Handler>>>,
    task: JoinHandle<()>,
}

impl WebServer {
    /// Starts one on a free loopback port.
    ///
    /// # Panics
    /// Where it cannot listen.
    pub async fn start(
        handler: impl Fn(&WebRequest) -> WebReply + Send + Sync + 'static,
        certificates: Option<&WebCertificates>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let seen: Arc<Mutex<Vec<WebRequest>>> = Arc::default();
        let handler: Arc<Mutex<Arc<Handler>>> = Arc::new(Mutex::new(Arc::new(handler)));
        let acceptor = certificates.map(|own| TlsAcceptor::from(Arc::clone(&own.server)));
        let tls = acceptor.is_some();
        let shared = (Arc::clone(&handler), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (handler, seen) = shared.clone();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(tcp, 0, &handler, &seen).await,
                        Some(acceptor) => secure(tcp, acceptor, &handler, &seen).await,
                    }
                });
            }
        });
        Self { address, tls, seen, handler, task }
    }

    /// "https://127.0.0.1:1234", without a slash at its end.
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// What it was asked, in the order in which it came in.
    pub fn seen(&self) -> Vec<WebRequest> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How it answers from now on.
    pub fn answers(&self, handler: impl Fn(&WebRequest) -> WebReply + Send + Sync + 'static) {
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(handler);
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn secure(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    handler: &Mutex<Arc<Handler>>,
    seen: &Mutex<Vec<WebRequest>>,
) {
    if let Ok(stream) = acceptor.accept(tcp).await {
        let shown = stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len);
        serve(stream, shown, handler, seen).await;
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    certificates: usize,
    handler: &Mutex<Arc<Handler>>,
    seen: &Mutex<Vec<WebRequest>>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, certificates, &mut buffer).await {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        let act = Arc::clone(&handler.lock().unwrap_or_else(PoisonError::into_inner));
        let mut reply = act(&request);
        while let WebReply::After(pause, later) = reply {
            tokio::time::sleep(pause).await;
            reply = *later;
        }
        let written = match reply {
            WebReply::Answer { status, headers, body } => {
                let mut head = format!("HTTP/1.1 {status} -\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    head.push_str(&format!("{name}: {value}\r\n"));
                }
                head.push_str("\r\n");
                let answer = [head.as_bytes(), &body].concat();
                stream.write_all(&answer).await
            }
            WebReply::Raw(bytes) => {
                let _gone = stream.write_all(&bytes).await;
                let _gone = stream.shutdown().await;
                return;
            }
            WebReply::Drip(bytes, pause) => {
                for byte in bytes {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                }
                return;
            }
            WebReply::Hang => {
                // Until the client has enough of it.
                let _gone = stream.read(&mut [0; 16]).await;
                return;
            }
            WebReply::Close | WebReply::After(..) => return,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    certificates: usize,
    buffer: &mut Vec<u8>,
) -> Option<WebRequest> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(buffer.get(..end)?).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    while buffer.len() < end + 4 + length {
        more(stream, buffer).await?;
    }
    let body = buffer.get(end + 4..end + 4 + length)?.to_vec();
    buffer.drain(..end + 4 + length);
    Some(WebRequest { method, target, headers, body, certificates })
}

async fn more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 4096];
    let read = stream.read(&mut chunk).await.ok().filter(|read| *read > 0)?;
    buffer.extend_from_slice(chunk.get(..read)?);
    Some(())
}

/// An authority, a server of the names "localhost" and 127.0.0.1, and a client's certificate, in
/// a folder as `ca.pem`, `client.pem` and `client.key`.
pub struct WebCertificates {
    server: Arc<ServerConfig>,
}

impl WebCertificates {
    /// Makes them.
    ///
    /// # Panics
    /// Where a file cannot be written.
    pub fn new(folder: &Path, client_must_show_one: bool) -> Self {
        let key = || KeyPair::generate().expect("a key can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = key();
        let authority = params.self_signed(&authority_key).expect("a certificate can be made");
        let issuer = Issuer::new(params, authority_key);
        let issue = |names: &[&str]| {
            let key = key();
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let params = CertificateParams::new(names).expect("names are good");
            let certificate = params.signed_by(&key, &issuer).expect("it can be signed");
            (certificate, key)
        };
        let (server, server_key) = issue(&["localhost", "127.0.0.1"]);
        let (client, client_key) = issue(&["client.example"]);
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).expect("a file can be written");
            let private = fs::Permissions::from_mode(0o600);
            fs::set_permissions(&path, private).expect("an own file's mode can be set");
        };
        write("ca.pem", &authority.pem());
        write("client.pem", &client.pem());
        write("client.key", &client_key.serialize_pem());
        let key = PrivateKeyDer::Pkcs8(server_key.serialize_der().into());
        let server = config(authority.der(), server.der().clone(), key, client_must_show_one);
        Self { server: Arc::new(server) }
    }
}

fn config(
    authority: &CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    client_must_show_one: bool,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).expect("it is a certificate");
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let clients = clients.build().expect("there is an authority");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them");
    let config = match client_must_show_one {
        true => config.with_client_cert_verifier(clients),
        false => config.with_no_client_auth(),
    };
    config.with_single_cert(vec![certificate], key).expect("key and certificate fit")
}
