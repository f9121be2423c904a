// SPDX-License-Identifier: EUPL-1.2
//! Where operators, auditors and brokers hand in the checkpoints that they were shown, over mTLS.

use std::{io, net::SocketAddr, time::Duration};

use einmal_peer::{
    PeerRole, Tls,
    listen::{self, Bounds, Peer, PeerStream},
};
use einmal_protocol::{
    Digest,
    note::{Checkpoint, NOTE_MAX},
    wire::cockpit::v1::{
        GetLargestRequest, GetLargestResponse, HandInRequest, HandInResponse, RememberRequest,
        RememberResponse, Verdict,
        checkpoint_service_server::{CheckpointService, CheckpointServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{Compared, Keeper};

/// Connections at once; each hands in a few notes and leaves.
const CONNECTIONS_MAX: usize = 1024;
/// Of one operator, auditor or broker.
const CALLER_MAX: usize = 64;
const STREAMS_MAX: u32 = 16;
const AT_ONCE_MAX: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(10);
const AGE_MAX: Duration = Duration::from_secs(300);
/// The largest number that the index holds; no ledger comes near it.
const SIZE_MAX: u64 = i64::MAX.unsigned_abs();

/// A note, and what else stands in a message.
const MESSAGE_MAX: usize = NOTE_MAX + 128;

struct Room(Keeper);

impl Room {
    fn parse(&self, note: &str) -> Result<Checkpoint, Status> {
        let checkpoint = Checkpoint::parse(note, &self.0.ledger)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        if checkpoint.size() > SIZE_MAX {
            return Err(Status::invalid_argument("no ledger has so many leaves"));
        }
        Ok(checkpoint)
    }
}

fn peer_of<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Status::unauthenticated("the connection has no identity"))
}

#[tonic::async_trait]
impl CheckpointService for Room {
    async fn hand_in(
        &self,
        request: Request<HandInRequest>,
    ) -> Result<Response<HandInResponse>, Status> {
        let peer = peer_of(&request)?.id;
        let peer = format!("{}/{}", peer.role.as_str(), peer.id);
        let keeper = &self.0;
        let checkpoint = self.parse(&request.into_inner().checkpoint)?;
        let now_ms = keeper.clock.now_ms();
        let verdict = match keeper.index.hand_in(&checkpoint, &peer, now_ms).await? {
            Compared::Consistent => Verdict::Consistent,
            Compared::Ahead => Verdict::Ahead,
            Compared::Forked => Verdict::Forked,
        };
        tracing::debug!(peer, size = checkpoint.size(), ?verdict, "a checkpoint was handed in");
        let checkpoint = keeper.index.state().await?.checkpoint;
        Ok(Response::new(HandInResponse { verdict: verdict.into(), checkpoint }))
    }

    async fn get_largest(
        &self,
        _request: Request<GetLargestRequest>,
    ) -> Result<Response<GetLargestResponse>, Status> {
        let checkpoint = self.0.index.largest().await?.unwrap_or_default();
        Ok(Response::new(GetLargestResponse { checkpoint }))
    }

    async fn remember(
        &self,
        request: Request<RememberRequest>,
    ) -> Result<Response<RememberResponse>, Status> {
        if peer_of(&request)?.id.role != PeerRole::Broker {
            return Err(Status::permission_denied("only brokers have checkpoints remembered"));
        }
        let request = request.into_inner();
        let root = Digest::try_from(request.known_root.as_slice())
            .map_err(|_| Status::invalid_argument("a root has 32 bytes"))?;
        let checkpoint = self.parse(&request.checkpoint)?;
        let keeper = &self.0;
        let at = (&keeper.ledger, keeper.clock.now_ms());
        let held = keeper.index.remember(&checkpoint, (request.known_size, root), at).await?;
        Ok(Response::new(RememberResponse { checkpoint: held.unwrap_or_default() }))
    }
}

/// Takes checkpoints until told to stop: from any certificate of the trust domain.
///
/// # Errors
/// Where the port cannot be listened on.
pub async fn take_checkpoints(
    keeper: Keeper,
    at: SocketAddr,
    (tls, trust_domain): (Tls, String),
    stop: CancellationToken,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = TcpListener::bind(at).await?;
    let address = listener.local_addr()?;
    let (into, incoming) = mpsc::channel::<io::Result<PeerStream>>(64);
    let bounds = Bounds {
        connections: CONNECTIONS_MAX,
        of_caller: CALLER_MAX,
        of_address: CONNECTIONS_MAX,
        streams: STREAMS_MAX,
        ping_every: listen::PING_EVERY,
        age: AGE_MAX,
        grace: TIMEOUT,
    };
    tokio::spawn(listen::accept(listener, tls, (trust_domain, bounds.clone()), into, stop.clone()));
    let service = CheckpointServiceServer::new(Room(keeper))
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let served = tokio::spawn(async move {
        let ended = bounds
            .server()
            .timeout(TIMEOUT)
            .concurrency_limit_per_connection(AT_ONCE_MAX)
            .add_service(service)
            .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stop.cancelled())
            .await;
        if let Err(error) = ended {
            tracing::error!(%error, "checkpoints are not taken any more");
        }
    });
    Ok((address, served))
}
