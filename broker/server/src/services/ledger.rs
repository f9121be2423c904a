// SPDX-License-Identifier: EUPL-1.2
//! Bodies, for keepers and auditors of the directory only.

use std::{pin::Pin, sync::Arc};

use einmal_protocol::{
    Reason,
    wire::ledger::v1::{
        Entry, GetCheckpointRequest, GetCheckpointResponse, TailEntriesRequest,
        TailEntriesResponse, ledger_service_server::LedgerService,
    },
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use crate::{Broker, caller, exchange::Failure};

/// Entries in one message.
const RUN: usize = 64;

/// Serves `einmal.ledger.v1`.
pub(crate) struct LedgerRoom(pub(crate) Arc<Broker>);

type Entries = Pin<Box<dyn Stream<Item = Result<TailEntriesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl LedgerService for LedgerRoom {
    type TailEntriesStream = Entries;

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let checkpoint = self.0.ledger.checkpoint().note().to_owned();
        Ok(Response::new(GetCheckpointResponse { checkpoint }))
    }

    async fn tail_entries(
        &self,
        request: Request<TailEntriesRequest>,
    ) -> Result<Response<Entries>, Status> {
        let caller = caller::of(&request)?;
        if !caller::may_read_bodies(&caller, &self.0.trust.current().directory, &self.0.origin) {
            return Err(Failure::refused(Reason::OperatorMayNotCarry).into());
        }
        let (sender, entries) = mpsc::channel(4);
        tokio::spawn(tail(Arc::clone(&self.0), request.into_inner().from_index, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(entries))))
    }
}

/// Sends what there is, a run at a time, then waits for more, until the reader is gone.
async fn tail(
    broker: Arc<Broker>,
    mut next: u64,
    sender: mpsc::Sender<Result<TailEntriesResponse, Status>>,
) {
    let mut checkpoints = broker.ledger.watch();
    loop {
        // Taken before the entries are read: it covers all that are sent under it.
        let checkpoint = checkpoints.borrow_and_update().clone();
        while next < checkpoint.size() {
            let left = usize::try_from(checkpoint.size() - next).unwrap_or(RUN).min(RUN);
            let entries = match broker.ledger.entries(next, left).await {
                Ok(entries) if !entries.is_empty() => entries,
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "entries cannot be read");
                    let _ =
                        sender.send(Err(Failure::ledger(Reason::LedgerUnavailable).into())).await;
                    return;
                }
            };
            next += entries.len() as u64;
            let entries = entries
                .into_iter()
                .map(|entry| Entry {
                    index: entry.index,
                    leaf: entry.leaf.to_bytes().to_vec(),
                    body: entry.body.unwrap_or_default(),
                })
                .collect();
            // Each run with a checkpoint of its own, so that a reader who was away for long need
            // not hold everything before it can verify anything.
            let note = if next == checkpoint.size() {
                checkpoint.note().to_owned()
            } else {
                match broker.ledger.checkpoint_at(next).await {
                    Ok(checkpoint) => checkpoint.note().to_owned(),
                    Err(error) => {
                        tracing::error!(%error, "a run cannot be signed");
                        return;
                    }
                }
            };
            let response = TailEntriesResponse { entries, checkpoint: note };
            if sender.send(Ok(response)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = checkpoints.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}
