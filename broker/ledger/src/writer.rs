// SPDX-License-Identifier: EUPL-1.2
//! Group commit: one task takes what has queued, commits it in one transaction, signs one
//! checkpoint, and only then answers. If it cannot know what is stored, it stops.

use std::{collections::HashMap, sync::Arc, time::Duration};

use einmal_protocol::{leaf::LeafKind, merkle::Edge, note::Checkpoint};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::{AppendError, Shared},
    memory::Memory,
    store::{Addition, AppendFault, Batch, Head, Slot, Store, StoreError, Taken},
    tree::Growth,
};

/// How often a step is tried whose failure certainly changed nothing.
const ATTEMPTS: u32 = 5;
/// Wait before the second try; doubled each time.
const PAUSE: Duration = Duration::from_millis(20);

/// An entry in the queue.
pub(crate) struct Waiting {
    pub(crate) addition: Addition,
    pub(crate) answer: Answer,
    /// Its share of the bytes that may wait.
    pub(crate) share: OwnedSemaphorePermit,
}

type Answer = oneshot::Sender<Result<Placed, AppendError>>;

/// Where an entry stands. Its proof is computed by who waits for it, not by the writer.
pub(crate) struct Placed {
    pub(crate) index: u64,
    pub(crate) growth: Arc<Growth>,
    pub(crate) checkpoint: Arc<Checkpoint>,
}

/// The one task that writes.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) memory: Option<Memory>,
    pub(crate) head: Head,
    pub(crate) edge: Edge,
    pub(crate) queue: mpsc::Receiver<Waiting>,
    pub(crate) batch_max: usize,
    pub(crate) closing: CancellationToken,
}

/// The writer has stopped, and said why.
struct Halted;

/// A batch, its duplicates taken out.
#[derive(Default)]
struct Sorted {
    fresh: Vec<Addition>,
    answers: Vec<Answer>,
    /// Later ones of a slot that an earlier one of the same batch takes, by its position.
    repeats: Vec<(usize, Answer)>,
    shares: Vec<OwnedSemaphorePermit>,
}

impl Writer {
    /// Runs until the ledger is closed or has to stop.
    pub(crate) async fn run(mut self) {
        loop {
            let batch = self.gather().await;
            if batch.is_empty() {
                return self.shared.stop("the ledger was closed");
            }
            if self.log(batch).await.is_err() {
                return;
            }
        }
    }

    /// What has queued; nothing once the ledger is closed and the queue empty.
    async fn gather(&mut self) -> Vec<Waiting> {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            () = self.closing.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            _ = self.queue.recv_many(&mut batch, self.batch_max) => return batch,
        }
        self.queue.recv_many(&mut batch, self.batch_max).await;
        batch
    }

    /// One batch from the queue to the answers.
    async fn log(&mut self, waiting: Vec<Waiting>) -> Result<(), Halted> {
        let slots: Vec<Slot> = waiting.iter().map(|one| one.addition.slot.clone()).collect();
        let Some(taken) = self.taken(&slots).await? else {
            waiting.into_iter().for_each(|one| give(one.answer, Err(AppendError::Busy)));
            return Ok(());
        };
        let Sorted { fresh, answers, repeats, shares } = sort(waiting, taken);
        if fresh.is_empty() {
            return Ok(());
        }
        let (first, kinds) = (self.head.size, kinds(&fresh));
        let (growth, edge) = self.grow(&fresh)?;
        let next = Head { origin: self.head.origin.clone(), size: edge.size(), root: edge.root() };
        let batch = Batch { tiles: growth.changed(first), entries: fresh, next };
        if let Some(refusal) = self.commit(&batch).await? {
            let repeats = repeats.into_iter().map(|(_, answer)| answer);
            answers.into_iter().chain(repeats).for_each(|one| give(one, Err(refusal.clone())));
            return Ok(());
        }
        self.head = batch.next;
        self.edge = edge;
        let checkpoint = self.sign_and_remember().await?;
        drop(shares);
        self.shared.publish(&growth, Arc::clone(&checkpoint));
        let growth = Arc::new(growth);
        for (index, answer) in (first..).zip(answers) {
            let (growth, checkpoint) = (Arc::clone(&growth), Arc::clone(&checkpoint));
            give(answer, Ok(Placed { index, growth, checkpoint }));
        }
        for (position, answer) in repeats {
            let kind = kinds.get(position).copied().unwrap_or(LeafKind::Use);
            give(answer, Err(AppendError::Duplicate { index: first + position as u64, kind }));
        }
        Ok(())
    }

    /// Which slots are taken; nothing where the store does not answer.
    async fn taken(&self, slots: &[Slot]) -> Result<Option<Vec<Option<Taken>>>, Halted> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            match self.store.taken(slots).await {
                Ok(taken) if taken.len() == slots.len() => return Ok(Some(taken)),
                Ok(_) => return Err(self.halt("the store answered for other ids than asked")),
                Err(error @ StoreError::Broken(_)) => return Err(self.halt(error)),
                Err(error) => tracing::warn!(%error, "looking for ids"),
            }
        }
        Ok(None)
    }

    /// The tree with the new leaves, computed twice, so that a flipped bit in memory is not signed.
    fn grow(&self, fresh: &[Addition]) -> Result<(Growth, Edge), Halted> {
        let growth = self.shared.tree().grow(fresh.iter().map(|one| one.leaf.hash()));
        let mut edge = self.edge.clone();
        fresh.iter().for_each(|one| edge.push(one.leaf.hash()));
        if growth.tree.size() != edge.size() || growth.tree.root() != Some(edge.root()) {
            return Err(self.halt("two computations of the root differ: the machine is faulty"));
        }
        Ok((growth, edge))
    }

    /// Commits; or says what to answer where nothing was written.
    async fn commit(&self, batch: &Batch) -> Result<Option<AppendError>, Halted> {
        let mut refusal = AppendError::Busy;
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let Err(fault) = self.store.append(&self.head, batch).await else { return Ok(None) };
            tracing::warn!(error = %fault, leaves = batch.entries.len(), "appending a batch");
            match fault {
                AppendFault::NotDone(StoreError::Full) => return Ok(Some(AppendError::Full)),
                AppendFault::NotDone(StoreError::Unavailable(_)) => {}
                AppendFault::Unknown(error @ (StoreError::Full | StoreError::Unavailable(_))) => {
                    if self.is_written(batch).await? {
                        return Ok(None);
                    }
                    if error == StoreError::Full {
                        refusal = AppendError::Full;
                    }
                }
                // A failed sync included: what the disk then says it has is not to be trusted.
                fault => return Err(self.halt(fault)),
            }
        }
        Ok(Some(refusal))
    }

    /// Finds out whether a batch with an unknown outcome is in the ledger.
    async fn is_written(&self, batch: &Batch) -> Result<bool, Halted> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            match self.store.row().await {
                Ok(row) if row.head == batch.next => return Ok(true),
                Ok(row) if row.head == self.head => return Ok(false),
                Ok(row) => return Err(self.halt(AppendFault::Moved { found: row.head })),
                Err(error @ StoreError::Broken(_)) => return Err(self.halt(error)),
                Err(error) => tracing::warn!(%error, "reading the ledger's row again"),
            }
        }
        Err(self.halt("whether the last batch was written cannot be found out"))
    }

    /// Signs the tree as it is now stored, and has the outside memory know before anyone else.
    async fn sign_and_remember(&mut self) -> Result<Arc<Checkpoint>, Halted> {
        let head = &self.head;
        let checkpoint = Checkpoint::sign(&head.origin, head.size, head.root, &self.shared.key)
            .map_err(|error| self.halt(error))?;
        let Some(mut memory) = self.memory.take() else {
            return Err(self.halt("the ledger's memory is gone"));
        };
        let note = checkpoint.note().to_owned();
        let written = tokio::task::spawn_blocking(move || {
            memory.write(&note)?;
            Ok::<_, crate::memory::MemoryError>(memory)
        });
        match written.await {
            Ok(Ok(memory)) => self.memory = Some(memory),
            Ok(Err(error)) => return Err(self.halt(error)),
            Err(error) => return Err(self.halt(error)),
        }
        Ok(Arc::new(checkpoint))
    }

    /// Stops for good. Whoever waits learns why, because the reason is set before they are let go.
    fn halt(&self, why: impl std::fmt::Display) -> Halted {
        let why = why.to_string();
        tracing::error!(reason = %why, size = self.head.size, "the ledger stops");
        self.shared.stop(&why);
        Halted
    }
}

fn kinds(fresh: &[Addition]) -> Vec<LeafKind> {
    fresh.iter().map(|one| one.leaf.kind).collect()
}

/// Takes duplicates out of a batch and answers those of stored leaves.
fn sort(waiting: Vec<Waiting>, taken: Vec<Option<Taken>>) -> Sorted {
    let mut sorted = Sorted::default();
    let mut seen: HashMap<Slot, usize> = HashMap::new();
    for (one, taken) in waiting.into_iter().zip(taken) {
        if let Some(taken) = taken {
            let (index, kind) = (taken.index, taken.leaf.kind);
            give(one.answer, Err(AppendError::Duplicate { index, kind }));
        } else if let Some(position) = seen.get(&one.addition.slot) {
            sorted.repeats.push((*position, one.answer));
        } else {
            seen.insert(one.addition.slot.clone(), sorted.fresh.len());
            sorted.fresh.push(one.addition);
            sorted.answers.push(one.answer);
            sorted.shares.push(one.share);
        }
    }
    sorted
}

/// Answers; whoever no longer waits misses it, as after a crash.
fn give(answer: Answer, result: Result<Placed, AppendError>) {
    drop(answer.send(result));
}

async fn pause(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(PAUSE * (1 << (attempt - 1))).await;
    }
}
