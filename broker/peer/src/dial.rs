// SPDX-License-Identifier: EUPL-1.2
//! Dialling a broker or a keeper: one HTTP/2 channel over mTLS, and the other end must be it.

use std::{io, sync::Arc, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::identity::{PeerRole, SpiffeId};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for the largest evidence with its commitment.
pub const MESSAGE_MAX: usize = 4 * 1024 * 1024;

/// Whom to dial.
#[derive(Clone, Debug)]
pub struct Target {
    /// "https://host:port".
    pub address: String,
    /// Its SPIFFE id must say this trust domain.
    pub trust_domain: String,
    /// And this role.
    pub role: PeerRole,
    /// And this id, where it is known.
    pub id: Option<String>,
}

impl Target {
    /// Any broker of a trust domain.
    pub fn broker(address: &str, trust_domain: &str) -> Self {
        let (address, trust_domain) = (address.to_owned(), trust_domain.to_owned());
        Self { address, trust_domain, role: PeerRole::Broker, id: None }
    }
}

/// A channel that connects when first used and reconnects by itself.
///
/// # Errors
/// Where the address is not of the form https://host:port.
pub fn channel(target: &Target, tls: Arc<ClientConfig>) -> Result<Channel, DialError> {
    let bad = || DialError::Address(target.address.clone());
    let uri: Uri = target.address.parse().map_err(|_| bad())?;
    let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16())
    else {
        return Err(bad());
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| bad())?;
    // TLS is ours, so tonic is told of none.
    let endpoint = Endpoint::from_shared(format!("http://{}", uri.authority().ok_or_else(bad)?))
        .map_err(|_| bad())?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .tcp_nodelay(true);
    let target = target.clone();
    let connect = service_fn(move |_: Uri| {
        let (tls, name, host, target) =
            (Arc::clone(&tls), name.clone(), host.clone(), target.clone());
        async move {
            let stream = connect(tls, name, (host, port), &target).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connect))
}

async fn connect(
    tls: Arc<ClientConfig>,
    name: ServerName<'static>,
    (host, port): (String, u16),
    target: &Target,
) -> io::Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    let stream = TlsConnector::from(tls).connect(name, tcp).await?;
    let refused = |why: &str| io::Error::new(io::ErrorKind::PermissionDenied, why.to_owned());
    let (_, session) = stream.get_ref();
    let certificate = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .ok_or_else(|| refused("the other end has no certificate"))?;
    let peer =
        SpiffeId::of_certificate(certificate).map_err(|error| refused(&error.to_string()))?;
    let expected = target.id.as_ref().is_none_or(|id| *id == peer.id);
    if peer.role != target.role || peer.trust_domain != target.trust_domain || !expected {
        return Err(refused("the other end is not whom was dialled"));
    }
    Ok(stream)
}

/// Why nobody can be dialled there.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Not an address.
    #[error("`{0}` is no address; write https://host:port")]
    Address(String),
}
