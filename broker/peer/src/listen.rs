// SPDX-License-Identifier: EUPL-1.2
//! The accept loop: TCP, then TLS 1.3 with a client certificate, then the SPIFFE id in it. Ours,
//! because tonic's own knows neither SPIFFE nor limits on handshakes.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::{SpiffeId, certificate};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at once: whoever only connects must not take the places of those who prove
/// themselves.
const HANDSHAKES_MAX: usize = 512;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub id: SpiffeId,
    /// When the first of its certificates ends, UTC milliseconds. The handshake looks at that once;
    /// whoever keeps a connection for long has to look again.
    pub ends_at_ms: u64,
}

/// A connection with a known peer.
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _place: OwnedSemaphorePermit,
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Accepts until told to stop. Peers of another trust domain, or with no SPIFFE id, get no
/// further than the handshake.
pub async fn accept(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    (trust_domain, connections_max): (String, usize),
    into: mpsc::Sender<io::Result<PeerStream>>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let places = Arc::new(Semaphore::new(connections_max));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // Out of file descriptors, most often: the next accept would fail at once too.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(handshake) = Arc::clone(&handshakes).try_acquire_owned() else {
            tracing::warn!(HANDSHAKES_MAX, "a connection was refused: too many handshakes");
            continue;
        };
        let places = Arc::clone(&places);
        let (acceptor, trust_domain, into) = (acceptor.clone(), trust_domain.clone(), into.clone());
        tokio::spawn(async move {
            match greet(tcp, acceptor, &trust_domain).await {
                Ok((stream, peer)) => {
                    drop(handshake);
                    let Ok(place) = places.try_acquire_owned() else {
                        tracing::warn!(connections_max, "a connection was refused: too many");
                        return;
                    };
                    let _ = into.send(Ok(PeerStream { stream, peer, _place: place })).await;
                }
                Err(error) => tracing::info!(%error, "a handshake failed"),
            }
        });
    }
}

async fn greet(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    trust_domain: &str,
) -> io::Result<(TlsStream<TcpStream>, Peer)> {
    tcp.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await??;
    let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let certificate = chain.first().ok_or_else(|| refused("no client certificate".to_owned()))?;
    let id = SpiffeId::of_certificate(certificate).map_err(|error| refused(error.to_string()))?;
    if id.trust_domain != trust_domain {
        return Err(refused(format!("{id} is of another trust domain")));
    }
    let ends_at_ms = certificate::first_end(chain);
    let ends_at_ms = ends_at_ms
        .ok_or_else(|| refused(format!("the times of {id}'s certificate cannot be read")))?;
    Ok((stream, Peer { id, ends_at_ms }))
}
