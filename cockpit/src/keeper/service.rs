// SPDX-License-Identifier: EUPL-1.2
//! What the pages may ask. A caller names the person whose session it is; only that person's
//! tags are computed, so nothing of anybody else can be found (READ-ONLY-BY-ITS-OWNER).

use einmal_protocol::{
    time::day_of,
    wire::{
        cockpit::v1::{
            ExportRecordRequest, ExportRecordResponse, Fork, GetStatusRequest, GetStatusResponse,
            ListRecordsRequest, ListRecordsResponse, LoginProof, SummarizeRecordsRequest,
            SummarizeRecordsResponse,
            keeper_service_client::KeeperServiceClient,
            keeper_service_server::{KeeperService, KeeperServiceServer},
        },
        v1::Subject,
    },
};
use hyper_util::rt::TokioIo;
use tokio_stream::StreamExt;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use super::{
    DayKeyError, IndexError, Keeper,
    days::Tag,
    exported::{self, Opened},
    index::Found,
    subject,
};
use crate::login::{LoginError, ProofError};

/// An export with rules and directory of a whole state.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;
/// A question is a person, an id token and a few words.
const QUESTION_MAX: usize = 64 * 1024;
const PIPE: usize = 256 * 1024;

/// The keeper as a gRPC service.
pub fn service(keeper: Keeper) -> KeeperServiceServer<Keeper> {
    KeeperServiceServer::new(keeper)
        .max_decoding_message_size(QUESTION_MAX)
        .max_encoding_message_size(MESSAGE_MAX)
}

/// A client of a keeper in the same process, over a pipe in memory. Pages know nothing else of
/// the keeper, so the two can become two processes. Must be called within a Tokio runtime.
pub fn connect_in_process(keeper: Keeper) -> KeeperServiceClient<Channel> {
    let (dial, accepted) = tokio::sync::mpsc::channel::<tokio::io::DuplexStream>(1);
    let incoming = tokio_stream::wrappers::ReceiverStream::new(accepted)
        .map(Ok::<_, std::convert::Infallible>);
    tokio::spawn(async move {
        let served =
            Server::builder().add_service(service(keeper)).serve_with_incoming(incoming).await;
        if served.is_err() {
            tracing::error!("the keeper's service ended");
        }
    });
    let connector = tower::service_fn(move |_| {
        let dial = dial.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(PIPE);
            dial.send(theirs).await.map_err(|_| std::io::ErrorKind::ConnectionRefused)?;
            Ok::<_, std::io::Error>(TokioIo::new(ours))
        }
    });
    client(Endpoint::from_static("http://keeper").connect_with_connector_lazy(connector))
}

/// A client of a keeper at the other end of a channel.
pub fn client(channel: Channel) -> KeeperServiceClient<Channel> {
    KeeperServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

impl Keeper {
    /// The tags of a person on all days that can still be opened. Birth identities that two logins
    /// share lead nowhere.
    pub(super) async fn tags(
        &self,
        named: Option<Subject>,
        login: Option<LoginProof>,
    ) -> Result<Vec<Tag>, Status> {
        let subject = &self.logins.person(named, login).await?;
        let forms = subject::forms_of_person(subject);
        if forms.number.is_none() && forms.birth.is_none() {
            return Err(Status::invalid_argument(
                "`subject` needs an identification number, or birth name, given names, birth \
                 date and birth place",
            ));
        }
        let oldest = day_of(self.clock.now_ms()).saturating_sub(self.retention.days());
        let (mut tags, mut birth) = (Vec::new(), Vec::new());
        for day in self.ring.since(oldest) {
            let number = forms.number.as_ref().map(|form| day.tag(form));
            tags.extend(number);
            birth.extend(forms.birth.as_ref().map(|form| (day.tag(form), number)));
        }
        if !birth.is_empty() {
            tags.extend(self.index.unshared(&birth).await?);
        }
        Ok(tags)
    }

    pub(super) fn open_found(&self, found: Found) -> Result<Opened, Status> {
        let damaged = || Status::data_loss("a record in the keeper's index does not open");
        let key = self.ring.day(found.day).ok_or_else(damaged)?;
        exported::open(&key, found).ok_or_else(damaged)
    }
}

#[tonic::async_trait]
impl KeeperService for Keeper {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }

    async fn summarize_records(
        &self,
        request: Request<SummarizeRecordsRequest>,
    ) -> Result<Response<SummarizeRecordsResponse>, Status> {
        Ok(Response::new(self.summarize(request.into_inner()).await?))
    }

    async fn export_record(
        &self,
        request: Request<ExportRecordRequest>,
    ) -> Result<Response<ExportRecordResponse>, Status> {
        let request = request.into_inner();
        let tags = self.tags(request.subject, request.login).await?;
        let mut places = self.index.places(&tags).await?;
        places.retain(|place| place.index == request.index);
        let found = self.index.load(&places).await?.pop();
        let found = found.ok_or_else(|| Status::not_found("this person has no such record"))?;
        let opened = self.open_found(found)?;
        let record = exported::export(&self.index, self.archive.as_ref(), opened).await?;
        Ok(Response::new(ExportRecordResponse { record: Some(record) }))
    }

    async fn get_status(
        &self,
        _request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let state = self.index.state().await?;
        Ok(Response::new(GetStatusResponse {
            ledger: self.ledger.name().to_owned(),
            complete_up_to: state.size,
            complete_up_to_ms: state.checked_at_ms,
            checkpoint: state.checkpoint,
            alarms: self.index.alarms().await?,
            forks: self
                .index
                .split_views()
                .await?
                .into_iter()
                .map(|fork| Fork { shown: fork.shown, kept: fork.kept })
                .collect(),
        }))
    }
}

impl From<IndexError> for Status {
    fn from(error: IndexError) -> Self {
        tracing::error!(%error, "the keeper's index failed");
        Self::unavailable("the keeper's index cannot be read at the moment")
    }
}

impl From<ProofError> for Status {
    fn from(error: ProofError) -> Self {
        match error {
            ProofError::Form | ProofError::Nobody => Self::invalid_argument(error.to_string()),
            ProofError::Login(
                LoginError::Away | LoginError::Http(_) | LoginError::Answer | LoginError::Busy,
            ) => Self::unavailable(error.to_string()),
            _ => Self::unauthenticated(error.to_string()),
        }
    }
}

impl From<DayKeyError> for Status {
    fn from(error: DayKeyError) -> Self {
        tracing::error!(%error, "a day key failed");
        Self::unavailable("a day key cannot be used at the moment")
    }
}
