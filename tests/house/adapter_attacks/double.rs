// SPDX-License-Identifier: EUPL-1.2
//! A broker double: the demo's broker certificate, the world's true documents, and a script.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use einmal::demo::plan::{Plan, TRUST_DOMAIN};
use einmal_peer::{Tls, files, listen};
use einmal_policy::key_card::participant_of;
use einmal_protocol::wire::{
    directory::v1::{
        GetTrustRequest, GetTrustResponse, ListKeyCardsRequest, ListKeyCardsResponse,
        PublishKeyCardRequest, PublishKeyCardResponse, PublishTrustRequest, PublishTrustResponse,
        directory_service_server::{DirectoryService, DirectoryServiceServer},
    },
    evidence::v1::{
        ExplainRequest, ExplainResponse, ReportUseRequest, ReportUseResponse,
        RequestEvidenceRequest, RequestEvidenceResponse,
        evidence_service_server::{EvidenceService, EvidenceServiceServer},
    },
    register::v1::{
        AttachRequest, AttachResponse, Hello, Logged, Open, Welcome,
        attach_request::Message as FromAdapter,
        attach_response::Message as ToAdapter,
        register_service_server::{RegisterService, RegisterServiceServer},
    },
    v1::{Envelope, Receipt},
};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Whatever is to come comes in this time, on a busy machine too.
const LONG: Duration = Duration::from_secs(20);

/// A broker that does what it is told.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    lines: mpsc::Receiver<Line>,
    script: Arc<Script>,
    stop: CancellationToken,
}

struct Script {
    documents: GetTrustResponse,
    cards: Mutex<HashMap<String, Envelope>>,
    answer: Mutex<Option<RequestEvidenceResponse>>,
    use_receipt: Mutex<Option<Receipt>>,
    lines: mpsc::Sender<Line>,
}

/// The stream of an adapter that attached, from the broker's side.
pub(crate) struct Line {
    pub(crate) hello: Hello,
    sender: mpsc::Sender<Result<AttachResponse, Status>>,
    requests: Streaming<AttachRequest>,
}

/// What an adapter did with an exchange after its log step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// It gave this, in these chunks.
    Revealed(Vec<Vec<u8>>),
    /// It ended the stream.
    Ended,
    /// Nothing.
    Silent,
}

impl Double {
    /// Listens with the certificate of the world's broker and hands out its documents.
    pub(crate) async fn start(plan: &Plan, listen: SocketAddr, cards: Vec<Envelope>) -> Self {
        let config = einmal::broker::read(&plan.config("broker")).unwrap_or_else(|e| panic!("{e}"));
        let tls = Tls::load(&config.tls).unwrap();
        let read = |path: &PathBuf| files::envelope(path).unwrap();
        let rules: Vec<Envelope> = config.rules.iter().map(read).collect();
        let (directory, deny) = (read(&config.directory), read(config.deny.as_ref().unwrap()));
        let newest = [rules.last().unwrap(), &directory, &deny];
        let freshness = plan.freshness(newest, plan.issued_at_ms);
        let documents = GetTrustResponse {
            roots: vec![read(&config.root)],
            freshness: Some(freshness.unwrap_or_else(|exit| panic!("{exit}"))),
            rules,
            directory: Some(directory),
            deny: Some(deny),
        };
        let cards = cards.into_iter().map(|card| (participant_of(&card).unwrap(), card)).collect();
        let (sender, lines) = mpsc::channel(16);
        let script = Arc::new(Script {
            documents,
            cards: Mutex::new(cards),
            answer: Mutex::default(),
            use_receipt: Mutex::default(),
            lines: sender,
        });
        let listener = TcpListener::bind(listen).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let (into, incoming) = mpsc::channel(16);
        let limits = (TRUST_DOMAIN.to_owned(), 100);
        tokio::spawn(listen::accept(listener, tls.server, limits, into, stop.clone()));
        let server = Server::builder()
            .add_service(DirectoryServiceServer::from_arc(Arc::clone(&script)))
            .add_service(EvidenceServiceServer::from_arc(Arc::clone(&script)))
            .add_service(RegisterServiceServer::from_arc(Arc::clone(&script)));
        tokio::spawn(server.serve_with_incoming(ReceiverStream::new(incoming)));
        Self { address, lines, script, stop }
    }

    /// The next adapter that attaches. It waits for its welcome.
    pub(crate) async fn line(&mut self) -> Line {
        timeout(LONG, self.lines.recv()).await.expect("an adapter attaches").unwrap()
    }

    /// The key card of a register that attached.
    pub(crate) fn card(&self, participant: &str) -> Envelope {
        self.script.cards.lock().unwrap()[participant].clone()
    }

    /// What the next questions are answered with.
    pub(crate) fn answer(&self, answer: RequestEvidenceResponse) {
        *self.script.answer.lock().unwrap() = Some(answer);
    }

    /// What the next reports of use are answered with.
    pub(crate) fn use_receipt(&self, receipt: Option<Receipt>) {
        *self.script.use_receipt.lock().unwrap() = receipt;
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Line {
    /// Says what a broker of this ledger says.
    pub(crate) async fn welcome(&self) {
        self.welcome_with(einmal::demo::plan::LEDGER, 64 * 1024).await;
    }

    pub(crate) async fn welcome_with(&self, ledger: &str, chunk_bytes_max: u32) {
        let welcome = Welcome {
            ledger: ledger.to_owned(),
            broker_time_ms: 0,
            heartbeat_interval_ms: 15_000,
            chunk_bytes_max,
        };
        self.send(ToAdapter::Welcome(welcome)).await;
    }

    pub(crate) async fn send(&self, message: ToAdapter) {
        self.send_raw(AttachResponse { message: Some(message) }).await;
    }

    pub(crate) async fn send_raw(&self, response: AttachResponse) {
        let _ = self.sender.send(Ok(response)).await;
    }

    pub(crate) async fn open(&self, open: Open) {
        self.send(ToAdapter::Open(open)).await;
    }

    pub(crate) async fn logged(&self, exchange: u64, receipt: impl Into<Option<Receipt>>) {
        self.send(ToAdapter::Logged(Logged { exchange, receipt: receipt.into() })).await;
    }

    /// The adapter's next message; nothing where it ended the stream.
    async fn message(&mut self) -> Option<FromAdapter> {
        self.requests.message().await.ok().flatten().and_then(|request| request.message)
    }

    /// The adapter's next word on exchanges.
    pub(crate) async fn next(&mut self) -> Option<FromAdapter> {
        let word = async {
            loop {
                match self.message().await {
                    Some(FromAdapter::Heartbeat(_) | FromAdapter::Credit(_)) => {}
                    word => return word,
                }
            }
        };
        timeout(LONG, word).await.expect("the adapter says something")
    }

    /// What comes for an exchange after its log step, if anything does in that time.
    pub(crate) async fn after(&mut self, exchange: u64, wait: Duration) -> After {
        let mut chunks = Vec::new();
        let reveal = async {
            loop {
                match self.message().await {
                    Some(FromAdapter::Reveal(reveal)) => {
                        assert_eq!(reveal.exchange, exchange, "a reveal of another exchange");
                        chunks.push(reveal.chunk);
                        if reveal.last {
                            return After::Revealed(chunks);
                        }
                    }
                    Some(FromAdapter::Heartbeat(_) | FromAdapter::Credit(_)) => {}
                    Some(FromAdapter::Commit(_)) => panic!("a commitment after the log step"),
                    Some(other) => panic!("not a word on the log step: {other:?}"),
                    None => return After::Ended,
                }
            }
        };
        timeout(wait, reveal).await.unwrap_or(After::Silent)
    }

    /// Whether the adapter gives a credit back in that time.
    pub(crate) async fn credit(&mut self, wait: Duration) -> bool {
        let credit = async {
            loop {
                match self.message().await {
                    Some(FromAdapter::Credit(_)) => return true,
                    Some(_) => {}
                    None => return false,
                }
            }
        };
        timeout(wait, credit).await.unwrap_or(false)
    }

    /// Ends the stream from this side as well, once the adapter has.
    pub(crate) async fn hang_up(&mut self) {
        assert!(self.ends(LONG).await, "the adapter must end the stream");
        self.sender = mpsc::channel(1).0;
    }

    /// Waits until the adapter has ended the stream; true unless it goes on.
    pub(crate) async fn ends(&mut self, wait: Duration) -> bool {
        let end = async { while self.message().await.is_some() {} };
        timeout(wait, end).await.is_ok()
    }
}

#[tonic::async_trait]
impl DirectoryService for Script {
    async fn get_trust(
        &self,
        _: Request<GetTrustRequest>,
    ) -> Result<Response<GetTrustResponse>, Status> {
        Ok(Response::new(self.documents.clone()))
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
        let cards = self.cards.lock().unwrap();
        let participants = request.into_inner().participants;
        let cards = participants.iter().filter_map(|id| cards.get(id).cloned()).collect();
        Ok(Response::new(ListKeyCardsResponse { cards }))
    }

    async fn publish_key_card(
        &self,
        request: Request<PublishKeyCardRequest>,
    ) -> Result<Response<PublishKeyCardResponse>, Status> {
        let card = request.into_inner().card.unwrap();
        self.cards.lock().unwrap().insert(participant_of(&card).unwrap(), card);
        Ok(Response::new(PublishKeyCardResponse { version: 1 }))
    }
}

#[tonic::async_trait]
impl EvidenceService for Script {
    async fn request_evidence(
        &self,
        _: Request<RequestEvidenceRequest>,
    ) -> Result<Response<RequestEvidenceResponse>, Status> {
        let answer = self.answer.lock().unwrap().clone();
        answer.map(Response::new).ok_or_else(|| Status::unavailable("no script"))
    }

    async fn report_use(
        &self,
        _: Request<ReportUseRequest>,
    ) -> Result<Response<ReportUseResponse>, Status> {
        let receipt = self.use_receipt.lock().unwrap().clone();
        Ok(Response::new(ReportUseResponse { receipt }))
    }

    async fn explain(
        &self,
        _: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        Err(Status::unimplemented("not in the script"))
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
        let first = requests.message().await?.and_then(|first| first.message);
        let Some(FromAdapter::Hello(hello)) = first else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (sender, responses) = mpsc::channel(256);
        let _ = self.lines.send(Line { hello, sender, requests }).await;
        Ok(Response::new(ReceiverStream::new(responses)))
    }
}
