// SPDX-License-Identifier: EUPL-1.2
//! Between the pages and their keeper, a liar: it hands on what the keeper says until it is told
//! to lie.

use std::sync::{Arc, Mutex};

use einmal_protocol::{
    note::Checkpoint,
    wire::{
        cockpit::v1::{
            ExportRecordRequest, ExportRecordResponse, GetStatusRequest, GetStatusResponse,
            ListRecordsRequest, ListRecordsResponse, SummarizeRecordsRequest,
            SummarizeRecordsResponse,
            keeper_service_client::KeeperServiceClient,
            keeper_service_server::{KeeperService, KeeperServiceServer},
        },
        v1::Receipt,
    },
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use crate::house::{canary, demo, key, ledger_key};

/// What it lies about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    Body,
    Path,
    Position,
    Signature,
    NoReceipt,
    RolledBack,
    Forked,
}

#[derive(Default)]
struct Told {
    lie: Option<Lie>,
    before: Option<Receipt>,
}

#[derive(Clone)]
pub(crate) struct Liar {
    keeper: KeeperServiceClient<Channel>,
    told: Arc<Mutex<Told>>,
}

/// Starts it.
pub(crate) async fn between(
    keeper: KeeperServiceClient<Channel>,
) -> (KeeperServiceClient<Channel>, Liar) {
    let liar = Liar { keeper, told: Arc::default() };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let service = KeeperServiceServer::new(liar.clone());
    tokio::spawn(async move {
        Server::builder().add_service(service).serve(address).await.unwrap();
    });
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    (KeeperServiceClient::new(channel), liar)
}

impl Liar {
    pub(crate) fn begin(&self, lie: Lie) {
        self.told.lock().unwrap().lie = Some(lie);
    }

    /// Keeps the proof of the first record as it is now.
    pub(crate) async fn remember(&self) {
        let request = ExportRecordRequest { subject: Some(canary()), index: 0, login: demo() };
        let answer = self.keeper.clone().export_record(request).await.unwrap().into_inner();
        self.told.lock().unwrap().before = answer.record.unwrap().receipt;
    }
}

#[tonic::async_trait]
impl KeeperService for Liar {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        self.keeper.clone().list_records(request.into_inner()).await
    }

    async fn summarize_records(
        &self,
        request: Request<SummarizeRecordsRequest>,
    ) -> Result<Response<SummarizeRecordsResponse>, Status> {
        self.keeper.clone().summarize_records(request.into_inner()).await
    }

    async fn export_record(
        &self,
        request: Request<ExportRecordRequest>,
    ) -> Result<Response<ExportRecordResponse>, Status> {
        let mut answer =
            self.keeper.clone().export_record(request.into_inner()).await?.into_inner();
        let told = self.told.lock().unwrap();
        let record = answer.record.as_mut().unwrap();
        let receipt = record.receipt.as_mut().unwrap();
        match told.lie {
            None => {}
            Some(Lie::Body) => record.body[60] ^= 1,
            Some(Lie::Path) => receipt.inclusion[0][0] ^= 1,
            Some(Lie::Position) => receipt.index += 1,
            Some(Lie::Signature) => {
                receipt.checkpoint = receipt.checkpoint.replacen("\n2\n", "\n3\n", 1);
            }
            Some(Lie::NoReceipt) => record.receipt = None,
            Some(Lie::RolledBack) => record.receipt = told.before.clone(),
            // Signed by the ledger itself: another history of the same size.
            Some(Lie::Forked) => {
                let root = einmal_protocol::Digest::of(b"another");
                let (ledger, key) = (ledger_key(), key(3));
                let note = Checkpoint::sign(ledger.name(), 2, root, &key).unwrap();
                receipt.checkpoint = note.note().to_owned();
            }
        }
        Ok(Response::new(answer))
    }

    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        self.keeper.clone().get_status(request.into_inner()).await
    }
}
