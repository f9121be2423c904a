// SPDX-License-Identifier: EUPL-1.2
//! A broker that does what it is told: true mTLS, true documents, and all else as the caller
//! likes. Several share one board of documents and key cards, as several brokers of one directory
//! do.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use einmal_peer::{
    Tls,
    listen::{self, Bounds},
};
use einmal_policy::key_card::participant_of;
use einmal_protocol::wire::{
    directory::v1::{
        GetTrustRequest, GetTrustResponse, ListKeyCardsRequest, ListKeyCardsResponse,
        PublishKeyCardRequest, PublishKeyCardResponse, PublishTrustRequest, PublishTrustResponse,
        directory_service_server::{DirectoryService, DirectoryServiceServer},
    },
    register::v1::{
        AttachRequest, AttachResponse,
        attach_request::Message as FromAdapter,
        register_service_server::{RegisterService, RegisterServiceServer},
    },
    v1::Envelope,
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::line::Line;

/// Connections that one broker takes.
const CONNECTIONS_MAX: usize = 100;
const STREAMS_MAX: u32 = 1_000;
/// Streams that wait to be taken.
const LINES_MAX: usize = 16;
/// Messages on their way to an adapter.
const QUEUE: usize = 256;
/// Key cards that are kept.
const CARDS_MAX: usize = 4_096;

/// The signed documents and key cards that brokers hand out.
#[derive(Debug, Default)]
pub struct Board {
    documents: RwLock<GetTrustResponse>,
    cards: Mutex<HashMap<String, Envelope>>,
    polls: AtomicU64,
}

impl Board {
    /// A board with these documents, and the key cards of whoever does not attach.
    pub fn new(documents: GetTrustResponse, cards: Vec<Envelope>) -> Self {
        let cards = cards.into_iter().filter_map(|card| Some((participant_of(&card).ok()?, card)));
        Self {
            documents: RwLock::new(documents),
            cards: Mutex::new(cards.collect()),
            polls: AtomicU64::new(0),
        }
    }

    /// Changes the documents.
    pub fn change(&self, change: impl FnOnce(&mut GetTrustResponse)) {
        change(&mut self.documents.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The documents.
    pub fn documents(&self) -> GetTrustResponse {
        self.documents.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The key card that a participant published last.
    pub fn card(&self, participant: &str) -> Option<Envelope> {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner).get(participant).cloned()
    }

    /// How often somebody asked for the documents.
    pub fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }
}

/// A broker that does what it is told.
#[derive(Debug)]
pub struct Broker {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it hands out.
    pub board: Arc<Board>,
    lines: mpsc::Receiver<Line>,
    stop: CancellationToken,
}

/// The broker's services.
struct Script {
    board: Arc<Board>,
    lines: mpsc::Sender<Line>,
    stop: CancellationToken,
}

impl Broker {
    /// Listens with this certificate. `more` are services beside those for adapters.
    ///
    /// # Errors
    /// Where nobody can listen there.
    pub async fn start(
        listen: SocketAddr,
        (tls, trust_domain): (&Tls, &str),
        board: Arc<Board>,
        more: Routes,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        Self::on(listener, (tls, trust_domain), board, more)
    }

    /// As `start`, on a port that is open already.
    ///
    /// # Errors
    /// Where the port is none any more.
    pub fn on(
        listener: TcpListener,
        (tls, trust_domain): (&Tls, &str),
        board: Arc<Board>,
        more: Routes,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let stop = CancellationToken::new();
        let script =
            Arc::new(Script { board: Arc::clone(&board), lines: sender, stop: stop.clone() });
        let (into, incoming) = mpsc::channel(LINES_MAX);
        let hour = Duration::from_secs(3_600);
        let bounds = Bounds {
            connections: CONNECTIONS_MAX,
            of_caller: CONNECTIONS_MAX,
            of_address: CONNECTIONS_MAX,
            streams: STREAMS_MAX,
            ping_every: listen::PING_EVERY,
            age: hour,
            grace: hour,
        };
        let mut server = bounds.server();
        let limits = (trust_domain.to_owned(), bounds);
        tokio::spawn(listen::accept(listener, tls.clone(), limits, into, stop.clone()));
        let routes = more
            .add_service(DirectoryServiceServer::from_arc(Arc::clone(&script)))
            .add_service(RegisterServiceServer::from_arc(script));
        let server = server.add_routes(routes);
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(stopped_with(
            server.serve_with_incoming(ReceiverStream::new(incoming)),
            stopped,
        ));
        Ok(Self { address, board, lines, stop })
    }

    /// The next adapter that attaches in this time. It waits for its welcome.
    pub async fn line(&mut self, wait: Duration) -> Option<Line> {
        timeout(wait, self.lines.recv()).await.ok().flatten()
    }
}

/// Serves until told to stop, and then lets go of everything at once.
async fn stopped_with(
    serve: impl Future<Output = Result<(), tonic::transport::Error>>,
    stopped: impl Future<Output = ()>,
) {
    tokio::select! {
        _ = serve => {}
        () = stopped => {}
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tonic::async_trait]
impl DirectoryService for Script {
    async fn get_trust(
        &self,
        _: Request<GetTrustRequest>,
    ) -> Result<Response<GetTrustResponse>, Status> {
        self.board.polls.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(self.board.documents()))
    }

    async fn publish_trust(
        &self,
        _: Request<PublishTrustRequest>,
    ) -> Result<Response<PublishTrustResponse>, Status> {
        Err(Status::unavailable("no script"))
    }

    async fn list_key_cards(
        &self,
        request: Request<ListKeyCardsRequest>,
    ) -> Result<Response<ListKeyCardsResponse>, Status> {
        let participants = request.into_inner().participants;
        let cards = participants.iter().filter_map(|id| self.board.card(id)).collect();
        Ok(Response::new(ListKeyCardsResponse { cards }))
    }

    async fn publish_key_card(
        &self,
        request: Request<PublishKeyCardRequest>,
    ) -> Result<Response<PublishKeyCardResponse>, Status> {
        let card = request.into_inner().card.ok_or_else(|| Status::invalid_argument("no card"))?;
        let participant =
            participant_of(&card).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut cards = self.board.cards.lock().unwrap_or_else(PoisonError::into_inner);
        if cards.len() >= CARDS_MAX && !cards.contains_key(&participant) {
            return Err(Status::resource_exhausted("too many key cards"));
        }
        cards.insert(participant, card);
        Ok(Response::new(PublishKeyCardResponse { version: 1 }))
    }
}

#[tonic::async_trait]
impl RegisterService for Script {
    type AttachStream = ReceiverStream<Result<AttachResponse, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let mut requests = request.into_inner();
        let first = tokio::select! {
            first = requests.message() => first?.and_then(|first| first.message),
            () = self.stop.cancelled() => None,
        };
        let Some(FromAdapter::Hello(hello)) = first else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (sender, responses) = mpsc::channel(QUEUE);
        let _ = self.lines.send(Line::new(hello, sender, requests)).await;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}
