// SPDX-License-Identifier: EUPL-1.2
//! A batch on its way: entries that wait, each with who waits for it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use einmal_protocol::{leaf::LeafKind, note::Checkpoint};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    entry::AppendError,
    store::{Addition, Row, Slot, Taken},
    tree::Growth,
};

/// An entry in the queue.
pub(crate) struct Waiting {
    pub(crate) addition: Addition,
    pub(crate) answer: Answer,
    /// Its share of the bytes that may wait.
    pub(crate) share: OwnedSemaphorePermit,
}

pub(crate) type Answer = oneshot::Sender<Result<Placed, AppendError>>;

/// Where an entry stands. Its proof is computed by who waits for it, not by the writer.
pub(crate) struct Placed {
    pub(crate) index: u64,
    pub(crate) growth: Arc<Growth>,
    pub(crate) checkpoint: Arc<Checkpoint>,
}

/// A batch, its duplicates taken out.
#[derive(Default)]
pub(crate) struct Sorted {
    pub(crate) fresh: Vec<Addition>,
    answers: Vec<Answer>,
    /// Later ones of a slot that an earlier one of the same batch takes.
    repeats: Vec<(Slot, Answer)>,
    shares: Vec<OwnedSemaphorePermit>,
}

impl Sorted {
    /// Takes duplicates out of a batch, and what is too old to be told from one.
    pub(crate) fn new(waiting: Vec<Waiting>, row: &Row) -> Self {
        let mut sorted = Self::default();
        let mut seen = HashSet::new();
        for one in waiting {
            let (slot, leaf) = (&one.addition.slot, one.addition.leaf);
            if slot.issued_at_ms() < row.ids_from_ms || leaf.day < row.bodies_from {
                give(one.answer, Err(AppendError::TooOld));
            } else if seen.insert(slot.clone()) {
                sorted.fresh.push(one.addition);
                sorted.answers.push(one.answer);
                sorted.shares.push(one.share);
            } else {
                sorted.repeats.push((slot.clone(), one.answer));
            }
        }
        sorted
    }

    /// Refuses what is too old by now.
    pub(crate) fn take_out_old(&mut self, row: &Row) {
        let answers = std::mem::take(&mut self.answers);
        for (addition, answer) in std::mem::take(&mut self.fresh).into_iter().zip(answers) {
            if addition.slot.issued_at_ms() < row.ids_from_ms {
                give(answer, Err(AppendError::TooOld));
            } else {
                self.fresh.push(addition);
                self.answers.push(answer);
            }
        }
    }

    /// The ids of what is left.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        self.fresh.iter().map(|one| one.slot.clone()).collect()
    }

    /// Answers those whose id has its leaf, and leaves the others. False where there was none.
    pub(crate) fn take_out(&mut self, taken: Vec<Option<Taken>>) -> bool {
        let fresh = std::mem::take(&mut self.fresh);
        let answers = std::mem::take(&mut self.answers);
        let mut any = false;
        for ((addition, answer), taken) in fresh.into_iter().zip(answers).zip(taken) {
            if let Some(taken) = taken {
                any = true;
                give(answer, Err(duplicate(taken.index, taken.leaf.kind)));
            } else {
                self.fresh.push(addition);
                self.answers.push(answer);
            }
        }
        any
    }

    /// Nothing of it was written.
    pub(crate) fn refuse(self, why: &AppendError) {
        let repeats = self.repeats.into_iter().map(|(_, answer)| answer);
        self.answers.into_iter().chain(repeats).for_each(|one| give(one, Err(why.clone())));
    }

    /// It stands in the ledger from `first` on. Gives back those whose id was in the batch twice,
    /// where the first of them was taken out.
    pub(crate) fn answer(
        self,
        first: u64,
        growth: Growth,
        checkpoint: &Arc<Checkpoint>,
    ) -> Vec<(Slot, Answer)> {
        drop(self.shares);
        let growth = Arc::new(growth);
        let places: HashMap<&Slot, (u64, LeafKind)> = (first..)
            .zip(&self.fresh)
            .map(|(index, one)| (&one.slot, (index, one.leaf.kind)))
            .collect();
        for (index, answer) in (first..).zip(self.answers) {
            let (growth, checkpoint) = (Arc::clone(&growth), Arc::clone(checkpoint));
            give(answer, Ok(Placed { index, growth, checkpoint }));
        }
        let mut elsewhere = Vec::new();
        for (slot, answer) in self.repeats {
            match places.get(&slot) {
                Some((index, kind)) => give(answer, Err(duplicate(*index, *kind))),
                None => elsewhere.push((slot, answer)),
            }
        }
        elsewhere
    }

    /// Those whose id was in the batch twice, where nothing of it is left to write.
    pub(crate) fn into_repeats(self) -> Vec<(Slot, Answer)> {
        self.repeats
    }
}

/// Answers repeats by what was found; "busy" where nothing was.
pub(crate) fn answer_repeats(repeats: Vec<(Slot, Answer)>, taken: Vec<Option<Taken>>) {
    let mut taken = taken.into_iter();
    for (_, answer) in repeats {
        let found = taken.next().flatten();
        let why = found.map_or(AppendError::Busy, |one| duplicate(one.index, one.leaf.kind));
        give(answer, Err(why));
    }
}

fn duplicate(index: u64, kind: LeafKind) -> AppendError {
    AppendError::Duplicate { index, kind }
}

/// Answers; whoever no longer waits misses it, as after a crash.
fn give(answer: Answer, result: Result<Placed, AppendError>) {
    drop(answer.send(result));
}
