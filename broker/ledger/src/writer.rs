// SPDX-License-Identifier: EUPL-1.2
//! Group commit: one task takes what has queued, commits it in one transaction, signs one
//! checkpoint, and only then answers. Other processes may append to the same ledger: what they
//! added is read and must extend what this one knows. If it cannot know what is stored, it stops.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_protocol::{merkle::Edge, note::Checkpoint};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::{Answer, Sorted, Waiting, answer_repeats},
    distant::Afar,
    entry::AppendError,
    follow::follow,
    ledger::Shared,
    memory::Memory,
    store::{Addition, AppendFault, Batch, Head, Row, Slot, Store, StoreError, Taken},
    tree::{Growth, Tree},
    witness::Cosigner,
};

/// How often a step is tried whose failure certainly changed nothing.
pub(crate) const ATTEMPTS: u32 = 5;
/// Wait before the second try; doubled each time.
const PAUSE: Duration = Duration::from_millis(20);
/// How often another process may have been faster, before the entries are answered "busy".
const AGAIN_MAX: u32 = 100;
/// How long which ids are taken may stay unknown, before the entries are answered "busy".
const UNTOLD_MAX: Duration = Duration::from_secs(1);

/// Longest wait for more entries than there are, before a commit.
const LINGER_MAX: Duration = Duration::from_millis(1);
/// And it ends after so many turns of the scheduler that brought none.
const LINGER_TURNS: u32 = 16;

/// What the last batch tells about the next one.
#[derive(Default)]
pub(crate) struct Pace {
    expected: usize,
    commit: Duration,
}

/// Work for the writer.
pub(crate) enum Work {
    /// An entry to log.
    Append(Waiting),
    /// Look what other processes have appended, and say when that is known.
    Refresh(oneshot::Sender<()>),
    /// End the ledger for good; answers with its last checkpoint.
    End(oneshot::Sender<Result<Arc<Checkpoint>, AppendError>>),
}

/// The one task that writes.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn Store>,
    /// Nothing where the one on another machine is the only one.
    pub(crate) memory: Option<Memory>,
    /// The one on another machine, where answers wait for it.
    pub(crate) afar: Option<Afar>,
    pub(crate) cosigner: Arc<Cosigner>,
    /// The ledger as this process last saw it: durable, but signed only once it is published.
    pub(crate) row: Row,
    pub(crate) tree: Tree,
    pub(crate) edge: Edge,
    pub(crate) queue: mpsc::Receiver<Work>,
    pub(crate) batch_max: usize,
    pub(crate) follow: Duration,
    /// How many may be about to append, and how long the last commit took.
    pub(crate) pace: Pace,
    /// The storage's connection when it was last compared with what was signed.
    pub(crate) generation: u64,
    pub(crate) closing: CancellationToken,
}

/// The writer has stopped, and said why.
pub(crate) struct Halted;

/// What came of a commit.
enum Committed {
    /// It is durable.
    Yes,
    /// Nothing was written; what to answer.
    No(AppendError),
    /// Another process was faster; nothing was written, and the tree is now that one's.
    Overtaken,
    /// One of its ids has its leaf; nothing was written.
    Taken,
}

impl Writer {
    /// Runs until the ledger is closed or has to stop.
    pub(crate) async fn run(mut self) {
        if self.meet().await.is_err() {
            return;
        }
        loop {
            let Some(work) = self.gather().await else {
                return self.shared.stop("the ledger was closed");
            };
            if self.work(work).await.is_err() {
                return;
            }
        }
    }

    /// What has queued; empty when it is time to look at what others did, nothing once the ledger
    /// is closed and the queue empty.
    async fn gather(&mut self) -> Option<Vec<Work>> {
        let mut work = Vec::new();
        let follow = tokio::time::sleep(self.follow);
        tokio::select! {
            biased;
            () = self.closing.cancelled(), if !self.queue.is_closed() => self.queue.close(),
            count = self.queue.recv_many(&mut work, self.batch_max) => {
                self.linger(&mut work).await;
                return (count > 0).then_some(work);
            }
            () = follow, if self.store.is_shared() => return Some(work),
        }
        let count = self.queue.recv_many(&mut work, self.batch_max).await;
        (count > 0).then_some(work)
    }

    /// Whoever has just been answered tends to come again at once. Waiting a moment for as many as
    /// there were makes one commit of what would be two, which halves what each waits for the disk.
    async fn linger(&mut self, work: &mut Vec<Work>) {
        let expected = self.pace.expected.min(self.batch_max);
        if work.len() >= expected {
            return;
        }
        let until = Instant::now() + (self.pace.commit / 4).min(LINGER_MAX);
        // Shorter than timers are. Not until the time is over, whatever comes: at each turn the
        // system is asked for news, and who is far away does not come so soon.
        let mut turns_without = 0;
        while work.len() < expected && turns_without < LINGER_TURNS && Instant::now() < until {
            tokio::task::yield_now().await;
            turns_without += 1;
            while work.len() < self.batch_max
                && let Ok(one) = self.queue.try_recv()
            {
                turns_without = 0;
                work.push(one);
            }
        }
    }

    async fn work(&mut self, work: Vec<Work>) -> Result<(), Halted> {
        if self.shared.is_stopped() {
            return Err(Halted);
        }
        let (mut waiting, mut refreshed, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut look = work.is_empty();
        for one in work {
            match one {
                Work::Append(one) => waiting.push(one),
                Work::Refresh(answer) => refreshed.push(answer),
                Work::End(answer) => ends.push(answer),
            }
        }
        look |= !refreshed.is_empty();
        if !waiting.is_empty() {
            self.log(waiting).await?;
        }
        if look {
            self.look().await?;
        }
        for answer in refreshed {
            let _gone = answer.send(());
        }
        match ends.is_empty() {
            true => Ok(()),
            false => self.end(ends).await,
        }
    }

    /// Ends the ledger for good.
    async fn end(
        &mut self,
        answers: Vec<oneshot::Sender<Result<Arc<Checkpoint>, AppendError>>>,
    ) -> Result<(), Halted> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            // The last try may have done it, and only its answer was lost.
            let done = attempt > 0
                && self.store.row().await.is_ok_and(|row| row.closed && row.head == self.row.head);
            if !done {
                self.look().await?;
                if let Err(fault) = self.store.close(&self.row.head).await {
                    tracing::warn!(error = %fault, "closing the ledger");
                    continue;
                }
            }
            if self.shared.tree().size() != self.row.head.size {
                self.sign_and_remember().await?;
            }
            let (last, halted) = (self.shared.checkpoint(), self.halt(AppendFault::Closed));
            answers.into_iter().for_each(|one| drop(one.send(Ok(Arc::clone(&last)))));
            return Err(halted);
        }
        answers.into_iter().for_each(|one| drop(one.send(Err(AppendError::Busy))));
        Ok(())
    }

    /// One batch from the queue to the answers.
    async fn log(&mut self, waiting: Vec<Waiting>) -> Result<(), Halted> {
        let (began, count) = (Instant::now(), waiting.len());
        let mut sorted = Sorted::new(waiting, &self.row);
        let mut again = 0;
        let (first, growth) = loop {
            if sorted.fresh.is_empty() {
                return self.answer_repeats(sorted.into_repeats()).await;
            }
            if again > AGAIN_MAX {
                sorted.refuse(&AppendError::Busy);
                return Ok(());
            }
            let (growth, edge) = self.grow(&sorted.fresh)?;
            let first = self.row.head.size;
            let origin = self.row.head.origin.clone();
            let next = Head { origin, size: edge.size(), root: edge.root() };
            let entries = std::mem::take(&mut sorted.fresh);
            let batch = Batch { tiles: growth.changed(first), entries, next };
            let committed = self.commit(&batch).await?;
            sorted.fresh = batch.entries;
            match committed {
                Committed::Yes => {
                    self.row.head = batch.next;
                    self.tree = growth.tree.clone();
                    self.edge = edge;
                    break (first, growth);
                }
                Committed::Taken => {
                    again += 1;
                    let told = self.take_out(&mut sorted).await?;
                    if !told && began.elapsed() > UNTOLD_MAX {
                        again = AGAIN_MAX + 1;
                    }
                }
                Committed::Overtaken => again += 1,
                Committed::No(refusal) => {
                    sorted.refuse(&refusal);
                    return Ok(());
                }
            }
        };
        self.shared.shelf.keep(&growth.completed);
        let checkpoint = self.sign_and_remember().await?;
        self.pace = Pace { expected: count + self.queue.len(), commit: began.elapsed() };
        let elsewhere = sorted.answer(first, growth, &checkpoint);
        self.answer_repeats(elsewhere).await
    }

    /// Answers those of a batch whose id has its leaf, and leaves the others. False where the store
    /// does not say which.
    async fn take_out(&mut self, sorted: &mut Sorted) -> Result<bool, Halted> {
        // The leaf may be another process's, and beyond what we have signed.
        self.look().await?;
        sorted.take_out_old(&self.row);
        let Some(taken) = self.taken(&sorted.slots()).await? else { return Ok(false) };
        if !sorted.take_out(taken) {
            tracing::warn!("an id was taken, and then it was not: trying again");
        }
        Ok(true)
    }

    /// Answers entries whose id was in the same batch as one that was stored before.
    async fn answer_repeats(&self, repeats: Vec<(Slot, Answer)>) -> Result<(), Halted> {
        if !repeats.is_empty() {
            let slots: Vec<Slot> = repeats.iter().map(|(slot, _)| slot.clone()).collect();
            answer_repeats(repeats, self.taken(&slots).await?.unwrap_or_default());
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
        let hashes: Vec<_> = fresh.iter().map(|one| one.leaf.hash()).collect();
        let growth = self.tree.grow(hashes.iter().copied());
        let mut edge = self.edge.clone();
        hashes.iter().for_each(|hash| edge.push(*hash));
        if growth.tree.size() != edge.size() || growth.tree.root() != Some(edge.root()) {
            return Err(self.halt("two computations of the root differ: the machine is faulty"));
        }
        Ok((growth, edge))
    }

    async fn commit(&mut self, batch: &Batch) -> Result<Committed, Halted> {
        let mut refusal = AppendError::Busy;
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let Err(fault) = self.store.append(&self.row.head, batch).await else {
                return Ok(Committed::Yes);
            };
            match fault {
                AppendFault::SlotTaken => return Ok(Committed::Taken),
                AppendFault::Moved { found } => {
                    return Ok(match self.catch_up(found).await? {
                        true => Committed::Overtaken,
                        false => Committed::No(AppendError::Busy),
                    });
                }
                AppendFault::NotDone(StoreError::Full) => {
                    return Ok(Committed::No(AppendError::Full));
                }
                AppendFault::NotDone(error @ StoreError::Unavailable(_)) => {
                    tracing::warn!(%error, leaves = batch.entries.len(), "appending a batch");
                }
                AppendFault::Unknown(error @ (StoreError::Full | StoreError::Unavailable(_))) => {
                    tracing::warn!(%error, leaves = batch.entries.len(), "appending a batch");
                    if self.is_written(batch).await? {
                        return Ok(Committed::Yes);
                    }
                    if error == StoreError::Full {
                        refusal = AppendError::Full;
                    }
                }
                // A failed sync included: what the disk then says it has is not to be trusted.
                fault => return Err(self.halt(fault)),
            }
        }
        Ok(Committed::No(refusal))
    }

    /// Finds out whether a batch with an unknown outcome is in the ledger.
    async fn is_written(&mut self, batch: &Batch) -> Result<bool, Halted> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            match self.store.row().await {
                Ok(row) if row.head == batch.next => return Ok(true),
                Ok(row) if row.head == self.row.head => return Ok(false),
                // Another process may have appended after it, or instead of it: the ids tell.
                Ok(row) if self.store.is_shared() && row.head.size > self.row.head.size => {
                    return self.is_among(batch).await;
                }
                Ok(row) => return Err(self.halt(AppendFault::Moved { found: row.head })),
                Err(error @ StoreError::Broken(_)) => return Err(self.halt(error)),
                Err(error) => tracing::warn!(%error, "reading the ledger's row again"),
            }
        }
        Err(self.halt("whether the last batch was written cannot be found out"))
    }

    /// Whether a batch is where it was to be, though the ledger has grown beyond it.
    async fn is_among(&self, batch: &Batch) -> Result<bool, Halted> {
        let slots: Vec<Slot> = batch.entries.iter().map(|one| one.slot.clone()).collect();
        let Some(taken) = self.taken(&slots).await? else {
            return Err(self.halt("whether the last batch was written cannot be found out"));
        };
        let ours = (self.row.head.size..)
            .zip(&batch.entries)
            .zip(&taken)
            .all(|((index, entry), taken)| *taken == Some(Taken { index, leaf: entry.leaf }));
        Ok(ours)
    }

    /// Looks what other processes have appended; where there is something, signs and shows it.
    async fn look(&mut self) -> Result<(), Halted> {
        let row = match self.store.row().await {
            Ok(row) => row,
            Err(error @ StoreError::Broken(_)) => return Err(self.halt(error)),
            Err(error) => {
                tracing::warn!(%error, "looking what others have appended");
                return Ok(());
            }
        };
        if row.closed {
            return Err(self.halt(AppendFault::Closed));
        }
        (self.row.bodies_from, self.row.ids_from_ms) = (row.bodies_from, row.ids_from_ms);
        if row.head != self.row.head && !self.catch_up(row.head).await? {
            return Ok(());
        }
        // What was taken over while a batch was overtaken may not be shown yet.
        if self.shared.tree().size() != self.row.head.size {
            self.sign_and_remember().await?;
        }
        Ok(())
    }

    /// Takes over what others have appended, after proving that it extends what we knew. False
    /// where it cannot be read now: then nothing has changed.
    pub(crate) async fn catch_up(&mut self, found: Head) -> Result<bool, Halted> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            let known = (&self.tree, &self.edge);
            match follow(&self.shared.shelf, &self.row.head, known, &found).await {
                Ok((growth, edge)) => {
                    self.shared.shelf.keep(&growth.completed);
                    self.tree = growth.tree;
                    self.edge = edge;
                    self.row.head = found;
                    // The horizons may have moved too.
                    if let Ok(row) = self.store.row().await {
                        (self.row.bodies_from, self.row.ids_from_ms) =
                            (row.bodies_from, row.ids_from_ms);
                    }
                    return Ok(true);
                }
                Err(StoreError::Unavailable(problem)) => {
                    tracing::warn!(problem, "reading what others have appended");
                }
                Err(error) => return Err(self.halt(error)),
            }
        }
        Ok(false)
    }

    /// Stops for good. Whoever waits learns why, because the reason is set before they are let go.
    pub(crate) fn halt(&self, why: impl std::fmt::Display) -> Halted {
        let why = why.to_string();
        tracing::error!(reason = %why, size = self.row.head.size, "the ledger stops");
        self.shared.stop(&why);
        Halted
    }
}

pub(crate) async fn pause(attempt: u32) {
    if attempt > 0 {
        tokio::time::sleep(PAUSE * (1 << (attempt - 1))).await;
    }
}
