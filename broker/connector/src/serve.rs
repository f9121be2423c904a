// SPDX-License-Identifier: EUPL-1.2
//! Listening on the loopback or on a Unix socket, never elsewhere: what is said here is plain.

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::settings::Limits;

/// No connection lasts longer, so that one who reads slowly holds its place not for ever.
const CONNECTION_LIFE: Duration = Duration::from_secs(10 * 60);
/// Open answers may finish for so long when the connector ends.
const GRACE: Duration = Duration::from_secs(5);

/// Where applications call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A loopback address.
    Loopback(SocketAddr),
    /// A socket that its owner and group may use.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loopback(at) => write!(f, "http://{at}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(crate) enum Door {
    Loopback(TcpListener),
    Unix(UnixListener),
}

impl Address {
    /// Reads "unix:" and a path, or a loopback address with its port.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Some(Self::Unix(PathBuf::from(path)));
        }
        let at: SocketAddr = text.parse().ok()?;
        at.ip().is_loopback().then_some(Self::Loopback(at))
    }

    pub(crate) async fn open(self) -> io::Result<(Door, Self)> {
        match self {
            Self::Loopback(at) => {
                let listener = TcpListener::bind(at).await?;
                let at = listener.local_addr()?;
                Ok((Door::Loopback(listener), Self::Loopback(at)))
            }
            Self::Unix(path) => {
                remove_old(&path)?;
                let listener = UnixListener::bind(&path)?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))?;
                Ok((Door::Unix(listener), Self::Unix(path)))
            }
        }
    }
}

/// A socket of a connector that ended; any other file is left alone.
fn remove_old(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

/// Answers until it is told to stop, then lets open answers finish.
pub(crate) async fn serve(door: Door, router: Router, limits: Limits, stop: CancellationToken) {
    let seats = Arc::new(Semaphore::new(limits.connections));
    let (tracker, read) = (TaskTracker::new(), Duration::from_millis(limits.read_ms));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { break };
        let served = |stream: Stream| {
            let (router, stop) = (router.clone(), stop.clone());
            tracker.spawn(async move {
                let _seat = seat;
                let served = connection(stream, router, read, stop);
                let _ = tokio::time::timeout(CONNECTION_LIFE, served).await;
            });
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&door) => accepted,
        };
        match accepted {
            Ok(stream) => served(stream),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    tracker.close();
    let _ = tokio::time::timeout(GRACE, tracker.wait()).await;
}

type Stream = Box<dyn Duplex>;

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn accept(door: &Door) -> io::Result<Stream> {
    Ok(match door {
        Door::Loopback(listener) => Box::new(listener.accept().await?.0),
        Door::Unix(listener) => Box::new(listener.accept().await?.0),
    })
}

async fn connection(stream: Stream, router: Router, read: Duration, stop: CancellationToken) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
