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

use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::{
    SpiffeId, Tls, certificate,
    seats::{Seat, Seats},
};

pub use crate::seats::{Bounds, PING_EVERY};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes at once: whoever only connects must not take the places of those who prove
/// themselves.
pub(crate) const HANDSHAKES_MAX: usize = 512;

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
    /// Says when the connection has to end although nobody closed it.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _seat: Seat,
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
        if self.cut.as_mut().poll(context).is_ready() {
            let why = "its certificate is not accepted any more";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, why)));
        }
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
/// further than the handshake. Where authorities or revocation lists are read anew, each connection
/// whose certificate would not be accepted any more is cut.
pub async fn accept(
    listener: TcpListener,
    tls: Tls,
    (trust_domain, bounds): (String, Bounds),
    into: mpsc::Sender<io::Result<PeerStream>>,
    stop: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.server));
    let seats = Arc::new(Seats::new(bounds));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut changes = tls.live.changes();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Ok(()) = changes.changed() => {
                seats.look_again(|chain| tls.live.accepts(chain));
                continue;
            }
            () = stop.cancelled() => return,
        };
        let (tcp, address) = match accepted {
            Ok((tcp, from)) => (tcp, from.ip()),
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
        let Some(mut seat) = seats.come(address) else {
            tracing::info!(%address, "a connection was refused: too many from this address");
            continue;
        };
        let (acceptor, trust_domain, into) = (acceptor.clone(), trust_domain.clone(), into.clone());
        tokio::spawn(async move {
            match greet(tcp, acceptor, &trust_domain).await {
                Ok((stream, peer, chain)) => {
                    drop(handshake);
                    if let Err(why) = seat.take(&peer.id, chain) {
                        tracing::warn!(peer = %peer.id, why, "a connection was refused");
                        return;
                    }
                    let cut = Box::pin(seat.cut.clone().cancelled_owned());
                    let _ = into.send(Ok(PeerStream { stream, peer, cut, _seat: seat })).await;
                }
                Err(error) => tracing::info!(%error, "a handshake failed"),
            }
        });
    }
}

type Chain = Vec<CertificateDer<'static>>;

async fn greet(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    trust_domain: &str,
) -> io::Result<(TlsStream<TcpStream>, Peer, Chain)> {
    tcp.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(tcp)).await??;
    let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default().to_vec();
    let certificate = chain.first().ok_or_else(|| refused("no client certificate".to_owned()))?;
    let id = SpiffeId::of_certificate(certificate).map_err(|error| refused(error.to_string()))?;
    if id.trust_domain != trust_domain {
        return Err(refused(format!("{id} is of another trust domain")));
    }
    let ends_at_ms = certificate::first_end(&chain);
    let ends_at_ms = ends_at_ms
        .ok_or_else(|| refused(format!("the times of {id}'s certificate cannot be read")))?;
    Ok((stream, Peer { id, ends_at_ms }, chain))
}
