// SPDX-License-Identifier: EUPL-1.2
//! A small HTTP client: a deadline and a size limit on each request, connections kept open,
//! redirects not followed, compression not asked for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Bytes, Incoming},
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Connections kept open to one server.
const IDLE_MAX: usize = 8;

/// How an [`HttpClient`] behaves.
#[derive(Debug)]
pub struct HttpOptions {
    /// A request ends after this long, connecting included.
    pub deadline: Duration,
    /// Connecting alone, TLS included, ends after this long.
    pub connect_within: Duration,
    /// Whose certificates count; the system's authorities where nothing is said.
    pub authorities: Option<RootCertStore>,
    /// Own certificate chain and its key, shown to servers that ask for one.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let ten_seconds = Duration::from_secs(10);
        let (authorities, identity) = (None, None);
        Self { deadline: ten_seconds, connect_within: ten_seconds, authorities, identity }
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct HttpRequest<'a> {
    /// What is done.
    pub method: Method,
    /// "http://host/path" or "https://host/path".
    pub url: &'a str,
    /// Beside `host` and `user-agent`. Mark secrets as sensitive.
    pub headers: HeaderMap,
    /// The body, empty where there is none.
    pub body: Vec<u8>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its content type, empty where it has none.
    pub content_type: String,
    /// All its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// A client, to be shared.
#[derive(Debug)]
pub struct HttpClient {
    options: HttpOptions,
    tls: OnceLock<Arc<ClientConfig>>,
    idle: Mutex<HashMap<Server, Vec<Sender>>>,
}

type Sender = SendRequest<Full<Bytes>>;

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    tls: bool,
    host: String,
    port: u16,
}

impl Default for HttpClient {
    fn default() -> Self {
        Self::new(HttpOptions::default())
    }
}

impl HttpClient {
    /// A client without connections yet.
    pub fn new(options: HttpOptions) -> Self {
        Self { options, tls: OnceLock::new(), idle: Mutex::default() }
    }

    /// Fetches. An answer longer than `size_max` bytes is an error.
    ///
    /// # Errors
    /// Where there is no answer in time or it is too long. Any status is an answer.
    pub async fn get(&self, url: &str, size_max: usize) -> Result<HttpAnswer, HttpError> {
        let once = || {
            let (method, headers, body) = (Method::GET, HeaderMap::new(), Vec::new());
            self.send(HttpRequest { method, url, headers, body }, size_max)
        };
        match once().await {
            // A server that closes connections after so many requests; asking twice is harmless.
            Err(HttpError::Broken(_)) => once().await,
            answer => answer,
        }
    }

    /// Sends a body.
    ///
    /// # Errors
    /// As [`HttpClient::get`]; the server may have taken the body all the same.
    pub async fn post(
        &self,
        url: &str,
        content_type: &str,
        body: Vec<u8>,
        size_max: usize,
    ) -> Result<HttpAnswer, HttpError> {
        let content_type = HeaderValue::from_str(content_type).map_err(|_| HttpError::Url)?;
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, content_type)]);
        let request = HttpRequest { method: Method::POST, url, headers, body };
        self.send(request, size_max).await
    }

    /// Sends a request, once, within the client's deadline. An answer longer than `size_max` bytes
    /// is an error.
    ///
    /// # Errors
    /// As [`HttpClient::get`]; the server may have taken the request all the same.
    pub async fn send(
        &self,
        request: HttpRequest<'_>,
        size_max: usize,
    ) -> Result<HttpAnswer, HttpError> {
        let (server, request) = prepare(request)?;
        let work = self.exchange(&server, request, size_max);
        timeout(self.options.deadline, work).await.unwrap_or(Err(HttpError::TooSlow))
    }

    async fn exchange(
        &self,
        server: &Server,
        request: Request<Full<Bytes>>,
        size_max: usize,
    ) -> Result<HttpAnswer, HttpError> {
        // A server may close an idle connection at any moment: what it never read goes out again
        // on a new one.
        let (mut sender, response) = match self.idle(server) {
            Some(mut sender) => match sender.try_send_request(request).await {
                Ok(response) => (sender, response),
                Err(mut failed) => {
                    let Some(request) = failed.take_message() else {
                        return Err(HttpError::broken(failed.into_error()));
                    };
                    self.fresh(server, request).await?
                }
            },
            None => self.fresh(server, request).await?,
        };
        let answer = read(response, size_max).await?;
        if sender.ready().await.is_ok() {
            self.keep(server, sender);
        }
        Ok(answer)
    }

    async fn fresh(
        &self,
        server: &Server,
        request: Request<Full<Bytes>>,
    ) -> Result<(Sender, http::Response<Incoming>), HttpError> {
        let patience = self.options.connect_within;
        let mut sender = timeout(patience, self.dial(server)).await.unwrap_or_else(|_| {
            let ms = patience.as_millis();
            Err(HttpError::Unreachable(format!("{}: no connection within {ms} ms", server.host)))
        })?;
        let response = sender.send_request(request).await.map_err(HttpError::broken)?;
        Ok((sender, response))
    }

    fn idle(&self, server: &Server) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(server)?;
        senders.retain(|sender| !sender.is_closed());
        senders.pop()
    }

    fn keep(&self, server: &Server, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(server.clone()).or_default();
        if senders.len() < IDLE_MAX {
            senders.push(sender);
        }
    }

    async fn dial(&self, server: &Server) -> Result<Sender, HttpError> {
        let host = server.host.trim_start_matches('[').trim_end_matches(']');
        let unreachable =
            |error: std::io::Error| HttpError::Unreachable(format!("{host}: {error}"));
        let tcp = TcpStream::connect((host, server.port)).await.map_err(unreachable)?;
        tcp.set_nodelay(true).map_err(unreachable)?;
        if !server.tls {
            return begin(tcp).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| HttpError::Url)?;
        let tls = TlsConnector::from(self.tls()?).connect(name, tcp).await.map_err(unreachable)?;
        begin(tls).await
    }

    fn tls(&self) -> Result<Arc<ClientConfig>, HttpError> {
        if let Some(tls) = self.tls.get() {
            return Ok(Arc::clone(tls));
        }
        let authorities = match &self.options.authorities {
            Some(authorities) => authorities.clone(),
            None => {
                let mut found = RootCertStore::empty();
                found.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                found
            }
        };
        if authorities.is_empty() {
            return Err(HttpError::NoAuthorities);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Unreachable(error.to_string()))?
            .with_root_certificates(authorities);
        let tls = match &self.options.identity {
            Some((chain, key)) => tls
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(|error| HttpError::Unreachable(error.to_string()))?,
            None => tls.with_no_client_auth(),
        };
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(tls))))
    }
}

/// HTTP on a connection; what drives it runs until either side closes.
async fn begin(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Sender, HttpError> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(HttpError::broken)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended");
        }
    });
    Ok(sender)
}

fn prepare(wanted: HttpRequest<'_>) -> Result<(Server, Request<Full<Bytes>>), HttpError> {
    let HttpRequest { method, url, headers, body } = wanted;
    let uri: Uri = url.parse().map_err(|_| HttpError::Url)?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(HttpError::Url),
    };
    let authority = uri.authority().ok_or(HttpError::Url)?;
    if authority.as_str().contains('@') {
        return Err(HttpError::Url);
    }
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let server = Server { tls, host: authority.host().to_owned(), port };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .header(header::USER_AGENT, "einmal");
    if let Some(all) = request.headers_mut() {
        all.extend(headers);
    }
    let request = request.body(Full::new(body.into())).map_err(|_| HttpError::Url)?;
    Ok((server, request))
}

async fn read(
    response: http::Response<Incoming>,
    size_max: usize,
) -> Result<HttpAnswer, HttpError> {
    let (head, body) = response.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    if !matches!(text(header::CONTENT_ENCODING), "" | "identity") {
        return Err(HttpError::Compressed);
    }
    let content_type = text(header::CONTENT_TYPE).to_owned();
    let body = Limited::new(body, size_max).collect().await.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            HttpError::TooLarge { size_max }
        } else {
            HttpError::Broken(error.to_string())
        }
    })?;
    let (status, headers) = (head.status, head.headers);
    Ok(HttpAnswer { status, content_type, headers, body: body.to_bytes().to_vec() })
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum HttpError {
    /// Not a URL that can be fetched.
    #[error("not a URL of the form http://host/ or https://host/, without user or password")]
    Url,
    /// No connection.
    #[error("cannot connect to {0}")]
    Unreachable(String),
    /// The connection broke, or the answer is no HTTP.
    #[error("the answer broke off: {0}")]
    Broken(String),
    /// The deadline passed.
    #[error("no whole answer in time")]
    TooSlow,
    /// More than was asked for.
    #[error("the answer is longer than {size_max} bytes")]
    TooLarge {
        /// The limit.
        size_max: usize,
    },
    /// Compressed although that was not asked for.
    #[error("the answer is compressed, which was not asked for")]
    Compressed,
    /// Nobody to trust.
    #[error("this system has no certificate authorities: install its CA certificates")]
    NoAuthorities,
}

impl HttpError {
    fn broken(error: hyper::Error) -> Self {
        Self::Broken(error.to_string())
    }
}
