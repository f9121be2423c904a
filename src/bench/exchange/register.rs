// SPDX-License-Identifier: EUPL-1.2
//! The register's process: an adapter around a register in code, and beside it a plain service that
//! gives a whole answer without asking anybody.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use einmal_adapter_kit::{
    Answer, Found, Query, Register, RegisterFault, RegisterLimits, RegisterSetup,
};
use einmal_peer::{
    Clock, Tls, TlsFiles, files,
    listen::{self, Bounds},
};
use einmal_protocol::wire::{
    evidence::v1::{
        ExplainRequest, ExplainResponse, ReportUseRequest, ReportUseResponse,
        RequestEvidenceRequest, RequestEvidenceResponse,
        evidence_service_server::{EvidenceService, EvidenceServiceServer},
    },
    v1::Subject,
};
use prost::Message;
use tokio::{
    net::TcpListener,
    sync::{OnceCell, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, async_trait};

use super::stand::{ANSWER_FILE, FIELD, OPERATOR, PORT_FILE, REGISTER};
use crate::{Exit, adapter, demo::plan::TRUST_DOMAIN, told_to_stop};

/// More than are ever in flight.
const AT_ONCE: u32 = 1024;
/// Of the plain service; all come from this machine, and nginx opens one for each request.
const CONNECTIONS_MAX: usize = 2_048;

/// Runs both until told to stop.
pub(super) async fn run(folder: &Path) -> Result<(), Exit> {
    let stop = CancellationToken::new();
    let served = serve(folder, stop.clone()).await?;
    let mut config = adapter::read(&folder.join(format!("adapter-{OPERATOR}.toml")))?;
    let sections = std::mem::take(&mut config.registers);
    config.credits = AT_ONCE;
    let mut registers: Vec<RegisterSetup> = Vec::new();
    for mut section in sections.into_iter().filter(|section| section.id == REGISTER) {
        section.leave_out_the_journal();
        let mut setup = section.setup(Arc::new(InCode))?;
        let at_once = usize::try_from(AT_ONCE).ok();
        setup.limits =
            RegisterLimits { lookups: at_once, waiting: at_once, ..RegisterLimits::default() };
        registers.push(setup);
    }
    let adapter = einmal_adapter_kit::start(config.setup(Clock::system())?, registers)
        .await
        .map_err(Exit::failed)?;
    told_to_stop().await?;
    adapter.stop().await;
    stop.cancel();
    served.await.map_err(Exit::failed)?.map_err(Exit::failed)
}

/// Knows everybody, without looking.
struct InCode;

#[async_trait]
impl Register for InCode {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        let asked = query.person.to_subject();
        let subject = Subject {
            birth_name: "Beispiel".to_owned(),
            given_names: "Jona".to_owned(),
            birth_place: "Bremen".to_owned(),
            ..asked
        };
        let values = BTreeMap::from([(FIELD.to_owned(), "Beispiel".into())]);
        Ok(Answer::Found(Found { subject, affected: Vec::new(), values, blocked: false }))
    }
}

type Served = tokio::task::JoinHandle<Result<(), tonic::transport::Error>>;

/// Serves the plain service under the broker's certificate, so that clients dial it alike.
async fn serve(folder: &Path, stop: CancellationToken) -> Result<Served, Exit> {
    let tls = Tls::load(&TlsFiles {
        certificate: folder.join("pki/broker-1.pem"),
        key: folder.join("pki/broker-1.key"),
        authorities: folder.join("pki/ca.pem"),
        revocations: Vec::new(),
    })?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(Exit::failed)?;
    let port = listener.local_addr().map_err(Exit::failed)?.port();
    files::replace(&folder.join(PORT_FILE), port.to_string().as_bytes())?;
    let (into, incoming) = mpsc::channel(16);
    let hour = Duration::from_secs(3_600);
    let bounds = Bounds {
        connections: CONNECTIONS_MAX,
        of_caller: CONNECTIONS_MAX,
        of_address: CONNECTIONS_MAX,
        streams: 1_000,
        ping_every: listen::PING_EVERY,
        age: hour,
        grace: hour,
    };
    let mut server = bounds.server();
    let limits = (TRUST_DOMAIN.to_owned(), bounds);
    tokio::spawn(listen::accept(listener, tls, limits, into, stop.clone()));
    let service = Plain { file: folder.join(ANSWER_FILE), answer: OnceCell::new() };
    let server = server
        .add_service(EvidenceServiceServer::new(service))
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async move {
            stop.cancelled().await;
        });
    Ok(tokio::spawn(server))
}

/// Gives one answer to everybody.
struct Plain {
    file: std::path::PathBuf,
    answer: OnceCell<RequestEvidenceResponse>,
}

#[async_trait]
impl EvidenceService for Plain {
    async fn request_evidence(
        &self,
        _: Request<RequestEvidenceRequest>,
    ) -> Result<Response<RequestEvidenceResponse>, Status> {
        let read = async || {
            let bytes = tokio::fs::read(&self.file).await?;
            RequestEvidenceResponse::decode(bytes.as_slice()).map_err(std::io::Error::other)
        };
        let answer = self.answer.get_or_try_init(read).await;
        Ok(Response::new(answer.map_err(|error| Status::internal(error.to_string()))?.clone()))
    }

    async fn report_use(
        &self,
        _: Request<ReportUseRequest>,
    ) -> Result<Response<ReportUseResponse>, Status> {
        Err(Status::unimplemented("only evidence"))
    }

    async fn explain(
        &self,
        _: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        Err(Status::unimplemented("only evidence"))
    }
}
