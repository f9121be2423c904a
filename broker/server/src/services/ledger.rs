// SPDX-License-Identifier: EUPL-1.2
//! Bodies, for keepers and auditors of the directory only. What an auditor reads is a leaf before
//! it is read.

use std::{pin::Pin, sync::Arc};

use einmal_ledger::{AppendError, StoredEntry};
use einmal_peer::{PeerRole, SpiffeId};
use einmal_protocol::{
    Reason,
    wire::{
        ledger::v1::{
            Entry, GetCheckpointRequest, GetCheckpointResponse, ReadEntriesRequest,
            ReadEntriesResponse, RecordHoldRequest, RecordHoldResponse, RecordLookRequest,
            RecordLookResponse, TailEntriesRequest, TailEntriesResponse,
            ledger_service_server::LedgerService,
        },
        v1::{BodiesRead, Hold, notice_body::What},
    },
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

use crate::{Broker, caller, exchange::Failure, notice};

/// Entries in one message.
const RUN: usize = 64;
/// Messages ready for a reader who takes them slowly; then reading waits for them.
const READY: usize = 4;
/// Entries of one range.
const COUNT_MAX: u64 = 1_000_000;
/// A hold ends at most so many days after today: ten years.
const HOLD_MAX: u32 = 3_660;

/// Serves `einmal.ledger.v1`.
pub(crate) struct LedgerRoom(pub(crate) Arc<Broker>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Some entries and the checkpoint that covers them.
struct Run {
    entries: Vec<Entry>,
    checkpoint: String,
}

impl From<Run> for TailEntriesResponse {
    fn from(run: Run) -> Self {
        Self { entries: run.entries, checkpoint: run.checkpoint }
    }
}

impl From<Run> for ReadEntriesResponse {
    fn from(run: Run) -> Self {
        Self { entries: run.entries, checkpoint: run.checkpoint }
    }
}

#[tonic::async_trait]
impl LedgerService for LedgerRoom {
    type TailEntriesStream = Answers<TailEntriesResponse>;
    type ReadEntriesStream = Answers<ReadEntriesResponse>;

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let checkpoint = self.0.ledger.public_checkpoint().note().to_owned();
        Ok(Response::new(GetCheckpointResponse { checkpoint }))
    }

    async fn tail_entries(
        &self,
        request: Request<TailEntriesRequest>,
    ) -> Result<Response<Self::TailEntriesStream>, Status> {
        let caller = caller::of(&request)?;
        let TailEntriesRequest { from_index, reason } = request.into_inner();
        let read = BodiesRead { from_index, to_index: 0, reason };
        let place = self.admit(&caller, read).await?;
        let (sender, entries) = mpsc::channel(READY);
        tokio::spawn(tail(Arc::clone(&self.0), from_index, sender, place));
        Ok(Response::new(Box::pin(ReceiverStream::new(entries))))
    }

    async fn read_entries(
        &self,
        request: Request<ReadEntriesRequest>,
    ) -> Result<Response<Self::ReadEntriesStream>, Status> {
        let caller = caller::of(&request)?;
        let ReadEntriesRequest { from_index, count, reason } = request.into_inner();
        let size = self.0.ledger.checkpoint().size();
        if !(1..=COUNT_MAX).contains(&count) {
            return Err(Status::invalid_argument("`count` is a number from 1 to 1,000,000"));
        }
        if from_index >= size {
            return Err(Status::out_of_range(format!("the ledger has {size} entries")));
        }
        let to_index = from_index.saturating_add(count).min(size);
        let read = BodiesRead { from_index, to_index, reason };
        let place = self.admit(&caller, read).await?;
        let (sender, entries) = mpsc::channel(READY);
        let broker = Arc::clone(&self.0);
        tokio::spawn(async move {
            let _place = place;
            send_range(&broker, from_index, to_index, &sender).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(entries))))
    }

    async fn record_hold(
        &self,
        request: Request<RecordHoldRequest>,
    ) -> Result<Response<RecordHoldResponse>, Status> {
        let caller = caller::of(&request)?;
        self.admit_keeper(&caller)?;
        let broker = &self.0;
        let now_ms = broker.clock.now_ms();
        let hold = request.into_inner().hold.unwrap_or_default();
        check_hold(&hold, broker.ledger.checkpoint().size(), now_ms)
            .map_err(Status::invalid_argument)?;
        let by = format!("cockpit/{}", caller.id);
        let logged = notice::log(&broker.ledger, &by, What::Hold(hold), now_ms).await;
        let logged = logged.map_err(|error| not_logged(&error))?;
        Ok(Response::new(RecordHoldResponse { receipt: Some(logged.receipt(None)) }))
    }

    async fn record_look(
        &self,
        request: Request<RecordLookRequest>,
    ) -> Result<Response<RecordLookResponse>, Status> {
        let caller = caller::of(&request)?;
        self.admit_keeper(&caller)?;
        let broker = &self.0;
        let look = request.into_inner().look.unwrap_or_default();
        if !notice::is_reason(&look.reason) || look.from_day > look.to_day {
            return Err(Status::invalid_argument(
                "`reason` is one line of at most 500 bytes and not empty; `to_day` is not before \
                 `from_day`",
            ));
        }
        let by = format!("cockpit/{}", caller.id);
        let now_ms = broker.clock.now_ms();
        let logged = notice::log(&broker.ledger, &by, What::Look(look), now_ms).await;
        let logged = logged.map_err(|error| not_logged(&error))?;
        Ok(Response::new(RecordLookResponse { receipt: Some(logged.receipt(None)) }))
    }
}

impl LedgerRoom {
    /// Only the ledger's own keeper.
    fn admit_keeper(&self, caller: &SpiffeId) -> Result<(), Status> {
        let broker = &self.0;
        let directory = &broker.trust.current().directory;
        let reads = caller::may_read_bodies(caller, directory, &broker.origin);
        if caller.role != PeerRole::Cockpit || !reads {
            return Err(Failure::refused(Reason::OperatorMayNotCarry).into());
        }
        Ok(())
    }

    /// Whether the caller may read bodies; where an auditor does, that is logged first.
    async fn admit(
        &self,
        caller: &SpiffeId,
        read: BodiesRead,
    ) -> Result<OwnedSemaphorePermit, Status> {
        let broker = &self.0;
        let directory = &broker.trust.current().directory;
        if !caller::may_read_bodies(caller, directory, &broker.origin) {
            return Err(Failure::refused(Reason::OperatorMayNotCarry).into());
        }
        let place = Arc::clone(&broker.readers)
            .try_acquire_owned()
            .map_err(|_| Failure::refused(Reason::BrokerBusy))?;
        if caller.role == PeerRole::Auditor {
            if !notice::is_reason(&read.reason) {
                return Err(Status::invalid_argument(
                    "an auditor says why in `reason`: one line of at most 500 bytes, no person's \
                     name in it; it is logged",
                ));
            }
            let by = format!("auditor/{}", caller.id);
            let now_ms = broker.clock.now_ms();
            let logged = notice::log(&broker.ledger, &by, What::BodiesRead(read), now_ms).await;
            logged.map_err(|error| not_logged(&error))?;
        }
        Ok(place)
    }
}

fn not_logged(error: &AppendError) -> Status {
    tracing::error!(%error, "a notice could not be logged, so it is not done");
    Failure::ledger(Reason::LedgerUnavailable).into()
}

/// What is wrong with a hold, if anything.
fn check_hold(hold: &Hold, size: u64, now_ms: u64) -> Result<(), &'static str> {
    let today = einmal_protocol::time::day_of(now_ms);
    if hold.index >= size {
        return Err("the ledger has no leaf of this index");
    }
    if !notice::is_reason(&hold.reason) {
        return Err("`reason` is one line of at most 500 bytes and not empty");
    }
    if !(today..=today + HOLD_MAX).contains(&hold.until_day) {
        return Err("`until_day` is today or later, and at most ten years ahead");
    }
    if hold.sealed_digest.len() != 32 || hold.officer_key.is_empty() || hold.officer_key.len() > 64
    {
        return Err("`sealed_digest` has 32 bytes, `officer_key` 1 to 64");
    }
    Ok(())
}

/// Sends what there is, a run at a time, then waits for more, until the reader is gone.
async fn tail(
    broker: Arc<Broker>,
    mut next: u64,
    sender: mpsc::Sender<Result<TailEntriesResponse, Status>>,
    _place: OwnedSemaphorePermit,
) {
    let mut checkpoints = broker.ledger.watch();
    loop {
        // Taken before the entries are read: it covers all that are sent under it.
        let size = checkpoints.borrow_and_update().size();
        if next < size {
            if !send_range(&broker, next, size, &sender).await {
                return;
            }
            next = size;
        }
        tokio::select! {
            changed = checkpoints.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

/// Sends a range, each run with a checkpoint of its own, so that a reader who was away for long
/// need not hold everything before it can verify anything. False where the reader is gone.
async fn send_range<T: From<Run>>(
    broker: &Broker,
    from: u64,
    to: u64,
    sender: &mpsc::Sender<Result<T, Status>>,
) -> bool {
    let mut next = from;
    while next < to {
        let answer = run(broker, next, to).await;
        let count = answer.as_ref().map_or(0, |run| run.entries.len() as u64);
        let failed = answer.is_err();
        if sender.send(answer.map(T::from)).await.is_err() || failed {
            return false;
        }
        next += count;
    }
    true
}

async fn run(broker: &Broker, from: u64, to: u64) -> Result<Run, Status> {
    let unreadable = |error: String| {
        tracing::error!(error, "entries cannot be read");
        Status::from(Failure::ledger(Reason::LedgerUnavailable))
    };
    let left = usize::try_from(to - from).unwrap_or(RUN).min(RUN);
    let found = broker.ledger.entries(from, left).await;
    let found = found.map_err(|error| unreadable(error.to_string()))?;
    if found.is_empty() {
        return Err(unreadable(format!("leaf {from} is missing")));
    }
    let newest = broker.ledger.checkpoint();
    let end = from + found.len() as u64;
    let checkpoint = if end == newest.size() {
        newest.note().to_owned()
    } else {
        let signed = broker.ledger.checkpoint_at(end).await;
        signed.map_err(|error| unreadable(error.to_string()))?.note().to_owned()
    };
    Ok(Run { entries: found.into_iter().map(entry).collect(), checkpoint })
}

fn entry(entry: StoredEntry) -> Entry {
    Entry {
        index: entry.index,
        leaf: entry.leaf.to_bytes().to_vec(),
        body: entry.body.unwrap_or_default(),
    }
}
