// SPDX-License-Identifier: EUPL-1.2
//! What the pages may ask. A caller names the person whose session it is; only that person's
//! tags are computed, so nothing of anybody else can be found (READ-ONLY-BY-ITS-OWNER).

use einmal_protocol::{
    Digest,
    leaf::LEAF_LENGTH,
    permit::Permit,
    record,
    time::day_of,
    wire::{
        cockpit::v1::{
            ExportRecordRequest, ExportRecordResponse, ExportedRecord, GetStatusRequest,
            GetStatusResponse, ListRecordsRequest, ListRecordsResponse, Record,
            keeper_service_client::KeeperServiceClient,
            keeper_service_server::{KeeperService, KeeperServiceServer},
        },
        v1::{AccessRecord, Body, Receipt, SignedRequest, Subject, body},
    },
};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio_stream::StreamExt;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use super::{
    DAYS_KEPT, DayKeyError, IndexError, Keeper,
    days::Tag,
    index::{Found, use_aad},
    open::{ASKED_SLOT, row_aad},
    subject,
};
use crate::finding::Finding;

const PAGE_DEFAULT: u32 = 50;
const PAGE_MAX: u32 = 200;
/// An export with rules and directory of a whole state.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;
const PIPE: usize = 256 * 1024;

/// The keeper as a gRPC service.
pub fn service(keeper: Keeper) -> KeeperServiceServer<Keeper> {
    KeeperServiceServer::new(keeper).max_encoding_message_size(MESSAGE_MAX)
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
    let channel = Endpoint::from_static("http://keeper").connect_with_connector_lazy(connector);
    KeeperServiceClient::new(channel).max_decoding_message_size(MESSAGE_MAX)
}

/// A record as the index holds it, opened.
struct Opened {
    record: Record,
    plain: Vec<u8>,
    slot: i64,
    body: Vec<u8>,
}

impl Keeper {
    /// The tags of a person on all days that can still be opened. Birth identities that two logins
    /// share lead nowhere.
    async fn tags(&self, subject: Option<&Subject>) -> Result<Vec<Tag>, Status> {
        let subject = subject.ok_or_else(|| Status::invalid_argument("`subject` is missing"))?;
        let forms = subject::forms_of_person(subject);
        if forms.number.is_none() && forms.birth.is_none() {
            return Err(Status::invalid_argument(
                "`subject` needs an identification number, or birth name, given names, birth \
                 date and birth place",
            ));
        }
        let oldest = day_of(self.clock.now_ms()).saturating_sub(DAYS_KEPT);
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

    fn open_found(&self, found: Found) -> Result<Opened, Status> {
        let damaged = || Status::data_loss("a record in the keeper's index does not open");
        let key = self.ring.day(found.day).ok_or_else(damaged)?;
        let aad = row_aad(found.index, found.day, found.slot);
        let plain = key.unseal(&aad, &found.sealed).map_err(|_| damaged())?;
        let stored = ExportedRecord::decode(plain.as_slice()).map_err(|_| damaged())?;
        let mut record = stored.record.ok_or_else(damaged)?;
        let (request, permit) = request_and_permit(&found.body).ok_or_else(damaged)?;
        record.request = request;
        record.permit = permit;
        if found.slot != ASKED_SLOT {
            let access: AccessRecord =
                record::parse(&stored.plain_record).map_err(|_| damaged())?;
            record.access = Some(access);
        }
        let mut uses = Vec::new();
        for (report, sealed) in &found.uses {
            let plain =
                key.unseal(&use_aad(found.index, *report), sealed).map_err(|_| damaged())?;
            let bytes = plain.as_slice().try_into().map_err(|_| damaged())?;
            uses.push(i32::from_be_bytes(bytes));
        }
        if let Some(first) = uses.first() {
            record.r#use = *first;
            if uses.iter().any(|other| other != first) {
                record.findings.push(Finding::UseReportedTwice.to_string());
            }
        }
        if found.retried {
            record.findings.push(Finding::Retried.to_string());
        }
        Ok(Opened { record, plain: stored.plain_record, slot: found.slot, body: found.body })
    }

    async fn receipt(&self, index: u64) -> Result<Receipt, IndexError> {
        let state = self.index.state().await?;
        let leaf = self.index.leaf(index).await?.ok_or(IndexError::Damaged("a leaf"))?;
        let path = self.index.inclusion(index, state.size).await?;
        debug_assert_eq!(leaf.len(), LEAF_LENGTH);
        Ok(Receipt {
            index,
            leaf,
            inclusion: path.into_iter().map(Digest::to_vec).collect(),
            checkpoint: state.checkpoint,
            consistency: None,
        })
    }
}

/// The bytes of the request in a body, and of the permit where there is one.
fn request_and_permit(body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (signed, permit) = match Body::decode(body).ok()?.kind? {
        body::Kind::Exchange(exchange) => (exchange.signed_request, exchange.permit),
        body::Kind::Refusal(refusal) => (refusal.signed_request, Vec::new()),
        body::Kind::Use(_) => return None,
    };
    Some((SignedRequest::decode(signed.as_slice()).ok()?.request, permit))
}

/// Digests of the rules and the directory that a body was decided under.
fn decided_under(body: &[u8]) -> Option<(Digest, Digest)> {
    match Body::decode(body).ok()?.kind? {
        body::Kind::Exchange(exchange) => {
            let permit = Permit::parse(&exchange.permit).ok()?;
            Some((permit.rules_digest(), permit.directory_digest()))
        }
        body::Kind::Refusal(refusal) => Some((
            Digest::try_from(refusal.rules_digest.as_slice()).ok()?,
            Digest::try_from(refusal.directory_digest.as_slice()).ok()?,
        )),
        body::Kind::Use(_) => None,
    }
}

#[tonic::async_trait]
impl KeeperService for Keeper {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        let request = request.into_inner();
        let size = match request.page_size {
            0 => PAGE_DEFAULT,
            size @ 1..=PAGE_MAX => size,
            _ => return Err(Status::invalid_argument("`page_size` is at most 200")),
        };
        let before = match request.page_token.as_str() {
            "" => i64::MAX.unsigned_abs(),
            token => token
                .parse()
                .map_err(|_| Status::invalid_argument("`page_token` is not from an answer"))?,
        };
        let tags = self.tags(request.subject.as_ref()).await?;
        let mut found = self.index.find(&tags, before, size + 1).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().map(|found| found.index.to_string());
        let records = found
            .into_iter()
            .map(|found| self.open_found(found).map(|opened| opened.record))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(ListRecordsResponse {
            records,
            next_page_token: last.filter(|_| more).unwrap_or_default(),
            total: self.index.count(&tags).await?,
        }))
    }

    async fn export_record(
        &self,
        request: Request<ExportRecordRequest>,
    ) -> Result<Response<ExportRecordResponse>, Status> {
        let request = request.into_inner();
        let tags = self.tags(request.subject.as_ref()).await?;
        let before = request.index.saturating_add(1);
        let found = self.index.find(&tags, before, 1).await?.pop();
        let found = found
            .filter(|found| found.index == request.index)
            .ok_or_else(|| Status::not_found("this person has no such record"))?;
        let Opened { record, plain, slot, body } = self.open_found(found)?;
        let slot = u32::try_from(slot).unwrap_or_default();
        let (rules, directory) = decided_under(&body)
            .map(|(rules, directory)| {
                (self.archive.rules(rules), self.archive.directory(directory))
            })
            .unwrap_or_default();
        Ok(Response::new(ExportRecordResponse {
            record: Some(ExportedRecord {
                receipt: Some(self.receipt(record.index).await?),
                record: Some(record),
                body,
                plain_record: plain,
                slot,
                roots: self.archive.roots(),
                rules,
                directory,
            }),
        }))
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
        }))
    }
}

impl From<IndexError> for Status {
    fn from(error: IndexError) -> Self {
        tracing::error!(%error, "the keeper's index failed");
        Self::unavailable("the keeper's index cannot be read at the moment")
    }
}

impl From<DayKeyError> for Status {
    fn from(error: DayKeyError) -> Self {
        tracing::error!(%error, "a day key failed");
        Self::unavailable("a day key cannot be used at the moment")
    }
}
