// SPDX-License-Identifier: EUPL-1.2
//! A broker double: the demo's broker certificate, the world's true documents, and a script. What
//! adapters see of it is the conformance kit's broker.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use einmal::demo::plan::{Plan, TRUST_DOMAIN};
pub(crate) use einmal_adapter_check::{After, Line};
use einmal_adapter_check::{Board, Broker, line::LONG};
use einmal_peer::{Tls, files};
use einmal_protocol::wire::{
    directory::v1::GetTrustResponse,
    evidence::v1::{
        ExplainRequest, ExplainResponse, ReportUseRequest, ReportUseResponse,
        RequestEvidenceRequest, RequestEvidenceResponse,
        evidence_service_client::EvidenceServiceClient,
        evidence_service_server::{EvidenceService, EvidenceServiceServer},
    },
    v1::{Envelope, Receipt},
};
use tonic::{Request, Response, Status, service::Routes, transport::Channel};

/// A broker that does what it is told.
pub(crate) struct Double {
    pub(crate) address: SocketAddr,
    broker: Broker,
    script: Arc<Script>,
}

/// The way to the true broker, and what becomes of its answer.
type Relay = (EvidenceServiceClient<Channel>, Tamper);
/// Changes an answer.
pub(crate) type Tamper = fn(&mut RequestEvidenceResponse, &RequestEvidenceResponse);

/// What authorities are told.
#[derive(Default)]
struct Script {
    answer: Mutex<Option<RequestEvidenceResponse>>,
    use_receipt: Mutex<Option<Receipt>>,
    fails: Mutex<Option<Status>>,
    /// Asks the true broker and changes its answer.
    relay: Mutex<Option<Relay>>,
    /// Says nothing at all.
    hangs: AtomicBool,
    /// The questions that came, as they came.
    asked: Mutex<Vec<RequestEvidenceRequest>>,
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
        let script = Arc::new(Script::default());
        let more = Routes::new(EvidenceServiceServer::from_arc(Arc::clone(&script)));
        let board = Arc::new(Board::new(documents, cards));
        let broker = Broker::start(listen, (&tls, TRUST_DOMAIN), board, more).await.unwrap();
        Self { address: broker.address, broker, script }
    }

    /// The next adapter that attaches. It waits for its welcome.
    pub(crate) async fn line(&mut self) -> Line {
        self.broker.line(LONG).await.expect("an adapter attaches")
    }

    /// The key card of a register that attached.
    pub(crate) fn card(&self, participant: &str) -> Envelope {
        self.broker.board.card(participant).unwrap()
    }

    /// What the next questions are answered with.
    pub(crate) fn answer(&self, answer: RequestEvidenceResponse) {
        *self.script.answer.lock().unwrap() = Some(answer);
    }

    /// From now on asks the true broker. What it answers first is given on as it is, and handed to
    /// `tamper` with each later answer.
    pub(crate) fn relay(&self, broker: EvidenceServiceClient<Channel>, tamper: Tamper) {
        *self.script.relay.lock().unwrap() = Some((broker, tamper));
    }

    /// What the next questions fail with.
    pub(crate) fn fail(&self, status: Option<Status>) {
        *self.script.fails.lock().unwrap() = status;
    }

    /// Whether the next questions get no answer at all.
    pub(crate) fn hang(&self, hangs: bool) {
        self.script.hangs.store(hangs, Ordering::Relaxed);
    }

    /// The questions that came since last asked.
    pub(crate) fn asked(&self) -> Vec<RequestEvidenceRequest> {
        std::mem::take(&mut *self.script.asked.lock().unwrap())
    }

    /// What the next reports of use are answered with.
    pub(crate) fn use_receipt(&self, receipt: Option<Receipt>) {
        *self.script.use_receipt.lock().unwrap() = receipt;
    }
}

#[tonic::async_trait]
impl EvidenceService for Script {
    async fn request_evidence(
        &self,
        request: Request<RequestEvidenceRequest>,
    ) -> Result<Response<RequestEvidenceResponse>, Status> {
        let request = request.into_inner();
        self.asked.lock().unwrap().push(request.clone());
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if let Some(status) = self.fails.lock().unwrap().clone() {
            return Err(status);
        }
        let relay = self.relay.lock().unwrap().clone();
        if let Some((mut broker, tamper)) = relay {
            let mut answer = broker.request_evidence(request).await?.into_inner();
            let mut earlier = self.answer.lock().unwrap();
            let first = answer.clone();
            tamper(&mut answer, earlier.get_or_insert(first));
            return Ok(Response::new(answer));
        }
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
