// SPDX-License-Identifier: EUPL-1.2
//! Where pages in another process ask the keeper, over mTLS: only certificates of pages that the
//! configuration names, only KeeperService. It is mTLS and not a Unix socket so that the pages,
//! which face the internet, can stand on another machine than the day keys; it is the same scheme
//! of names and revocation that all other connections have.

use std::{io, net::SocketAddr, time::Duration};

use einmal_peer::{
    Clock, PeerRole, Tls,
    listen::{self, Bounds, Peer, PeerStream},
};
use serde::Deserialize;
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, service::interceptor::InterceptedService};

use super::{Keeper, service};

/// Several pages with a few connections each.
const CONNECTIONS_MAX: usize = 64;
const STREAMS_MAX: u32 = 256;
/// Questions of one connection at once; the rest waits, within its deadline.
const AT_ONCE_MAX: usize = 64;
/// A question that takes longer is given up; a citizen has gone by then.
const DEADLINE: Duration = Duration::from_secs(10);
/// A connection is made anew this often, and its certificate is looked at then.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// `[pages]` of a keeper's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagesDoor {
    /// Where pages ask, over mTLS.
    pub listen: SocketAddr,
    /// Whose certificates may: the last part of `spiffe://<trust-domain>/pages/<id>`.
    pub allowed: Vec<String>,
}

/// Whether a connection is of pages that may ask.
fn admit(request: &Request<()>, allowed: &[String], now_ms: u64) -> Result<(), Status> {
    let peer = request.extensions().get::<Peer>();
    let peer = peer.ok_or_else(|| Status::unauthenticated("the connection has no identity"))?;
    if peer.id.role != PeerRole::Pages || !allowed.contains(&peer.id.id) {
        return Err(Status::permission_denied("only pages that the keeper's configuration names"));
    }
    if peer.ends_at_ms <= now_ms {
        return Err(Status::unauthenticated(
            "the certificate has ended: renew it and connect anew",
        ));
    }
    Ok(())
}

/// Answers pages until told to stop.
///
/// # Errors
/// Where the port cannot be listened on.
pub async fn answer_pages(
    keeper: Keeper,
    door: PagesDoor,
    (tls, trust_domain): (Tls, String),
    stop: CancellationToken,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(door.listen).await?;
    let address = listener.local_addr()?;
    let (into, incoming) = mpsc::channel::<io::Result<PeerStream>>(64);
    let bounds = Bounds {
        connections: CONNECTIONS_MAX,
        of_caller: CONNECTIONS_MAX,
        of_address: CONNECTIONS_MAX,
        streams: STREAMS_MAX,
        ping_every: listen::PING_EVERY,
        age: AGE_MAX,
        grace: DEADLINE,
    };
    tokio::spawn(listen::accept(listener, tls, (trust_domain, bounds.clone()), into, stop.clone()));
    let clock: Clock = keeper.clock.clone();
    let checked = InterceptedService::new(service(keeper), move |request: Request<()>| {
        admit(&request, &door.allowed, clock.now_ms()).map(|()| request)
    });
    let served = tokio::spawn(async move {
        let ended = bounds
            .server()
            .timeout(DEADLINE)
            .concurrency_limit_per_connection(AT_ONCE_MAX)
            .add_service(checked)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled())
            .await;
        if let Err(error) = ended {
            tracing::error!(%error, "pages are not answered any more");
        }
    });
    Ok((address, served))
}
