// SPDX-License-Identifier: EUPL-1.2
//! The checkpoints of each ledger that a party saw, kept in a file: what a new checkpoint must be
//! consistent with, after a restart too. So nobody is shown two histories.
//!
//! A party that asks one thing after another always extends the last checkpoint. With several
//! questions (or streams) at one moment, each answer is proven against what was seen when it was
//! asked, and nothing proves two such answers against each other. The largest of them becomes the
//! last one; each other that nothing later extends is *loose*. New questions are always asked from
//! the last one, so that a fork cannot be carried on beside it, and the loose ones are handed in to
//! the keeper, who compares each with its own tree: two that contradict each other cannot both be
//! of it. That check comes with the next hand-in and not before the answer is used; until then two
//! branches can live beside each other only as long as the questions, or streams, that began them.
//!
//! What comes with no proof at all, or with one that does not hold, is a *suspect* if the ledger's
//! own key signed it: the keeper is asked about it too, and nothing else is made of it here.
//!
//! Too many loose ones for the file are dropped at random, so that nobody can choose which, and
//! call for a hand-in long before.
//!
//! A ledger that has shown two histories is *forked*: both notes go into `forks.json` beside the
//! file, and nothing more is done with that ledger, after a restart either, until a person has
//! looked into it and taken that file away.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use einmal_policy::Directory;
use einmal_protocol::note::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::{
    files::{self, FileError},
    random,
};

/// At most so many loose checkpoints of one ledger are kept.
const LOOSE_MAX: usize = 256;
/// At most so many suspects.
const SUSPECTS_MAX: usize = 64;
/// From so many on they should be handed in at once.
const LOOSE_MANY: usize = 64;

/// Remembers checkpoints by ledger.
#[derive(Debug)]
pub struct Seen {
    file: PathBuf,
    held: Mutex<Held>,
    /// One writer of the file at a time.
    saving: Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    ledgers: HashMap<String, Ledger>,
    forks: BTreeMap<String, Fork>,
}

/// Of one ledger.
#[derive(Debug)]
struct Ledger {
    last: Checkpoint,
    loose: Vec<Checkpoint>,
    suspects: Vec<Checkpoint>,
}

/// As it stands in the file: signed notes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notes {
    last: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loose: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    suspects: Vec<String>,
}

/// Two notes of one ledger that contradict each other: the proof, for people and courts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// A C2SP signed note that was shown here.
    pub shown: String,
    /// Another, shown here or to the keeper.
    pub other: String,
}

fn same(one: &Checkpoint, other: &Checkpoint) -> bool {
    one.size() == other.size() && one.root() == other.root()
}

impl Seen {
    /// Reads the files, where there are any. Checkpoints are verified with the directory's keys.
    ///
    /// # Errors
    /// Where a file cannot be read, or a checkpoint in it is not a ledger's.
    pub fn open(file: &Path, directory: &Directory) -> Result<Self, FileError> {
        let mut held = Held::default();
        if let Some(bytes) = files::read_if_there(file)? {
            let notes: HashMap<String, Notes> =
                serde_json::from_slice(&bytes).map_err(|error| FileError::new(file, error))?;
            for (origin, notes) in notes {
                // A ledger that left the directory is of no use any more.
                let Some(known) = directory.ledger(&origin) else { continue };
                let parse = |note: &String| {
                    Checkpoint::parse(note, &known.key).map_err(|error| FileError::new(file, error))
                };
                let all = |notes: &[String]| notes.iter().map(parse).collect::<Result<_, _>>();
                let (last, loose) = (parse(&notes.last)?, all(&notes.loose)?);
                let suspects = all(&notes.suspects)?;
                held.ledgers.insert(origin, Ledger { last, loose, suspects });
            }
        }
        let forks = forks_beside(file);
        if let Some(bytes) = files::read_if_there(&forks)? {
            held.forks =
                serde_json::from_slice(&bytes).map_err(|error| FileError::new(&forks, error))?;
        }
        for origin in held.forks.keys() {
            tracing::error!(
                origin,
                file = %forks.display(),
                "alarm: this ledger has shown two histories; nothing is done with it"
            );
        }
        Ok(Self { file: file.to_owned(), held: Mutex::new(held), saving: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // What is changed under it is changed by single inserts.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one of a ledger: what a question is asked from.
    pub fn last(&self, origin: &str) -> Option<Checkpoint> {
        self.held().ledgers.get(origin).map(|ledger| ledger.last.clone())
    }

    /// Whether a ledger may still be believed. To be asked before anything is asked or released.
    ///
    /// # Errors
    /// Where it has shown two histories.
    pub fn check(&self, origin: &str) -> Result<(), TwoHistories> {
        if self.held().forks.contains_key(origin) {
            return Err(TwoHistories { origin: origin.to_owned() });
        }
        Ok(())
    }

    /// Remembers a checkpoint that was proven to extend `from`, which was the last one when its
    /// question was asked. Answers overtake one another, so another may be the last meanwhile.
    ///
    /// # Errors
    /// Where there are two roots of one size, now or before: two histories.
    pub fn advance(
        &self,
        checkpoint: &Checkpoint,
        from: Option<&Checkpoint>,
    ) -> Result<(), TwoHistories> {
        let contradicted = self.remember(checkpoint, from);
        if let Some(other) = contradicted {
            self.mark_forked(checkpoint, &other);
        }
        self.check(checkpoint.origin())
    }

    /// The one that contradicts it, if any.
    fn remember(&self, checkpoint: &Checkpoint, from: Option<&Checkpoint>) -> Option<Checkpoint> {
        let mut held = self.held();
        let Some(ledger) = held.ledgers.get_mut(checkpoint.origin()) else {
            let ledger =
                Ledger { last: checkpoint.clone(), loose: Vec::new(), suspects: Vec::new() };
            held.ledgers.insert(checkpoint.origin().to_owned(), ledger);
            return None;
        };
        if let Some(other) = ledger.contradicts(checkpoint) {
            return Some(other);
        }
        // Whatever it extends needs no check of its own any more.
        if let Some(from) = from {
            ledger.loose.retain(|loose| !same(loose, from));
        }
        if same(&ledger.last, checkpoint) {
            return None;
        }
        let extends_last = from.is_some_and(|from| same(from, &ledger.last));
        if checkpoint.size() > ledger.last.size() {
            let before = std::mem::replace(&mut ledger.last, checkpoint.clone());
            if !extends_last {
                ledger.loosen(before);
            }
        } else {
            ledger.loosen(checkpoint.clone());
        }
        None
    }

    /// Remembers a checkpoint of the ledger's own key that nothing is proven about, so that the
    /// keeper is asked about it. It is never what a question is asked from.
    pub fn suspect(&self, checkpoint: &Checkpoint) {
        let contradicted = {
            let mut held = self.held();
            let Some(ledger) = held.ledgers.get_mut(checkpoint.origin()) else { return };
            let contradicted = ledger.contradicts(checkpoint);
            if contradicted.is_none() {
                add(&mut ledger.suspects, checkpoint.clone(), SUSPECTS_MAX);
            }
            contradicted
        };
        // One that was believed and this one: no keeper needs to be asked.
        if let Some(other) = contradicted {
            self.mark_forked(checkpoint, &other);
        }
    }

    /// What is to be handed in of a ledger: the last one, then the loose ones, then suspects.
    pub fn to_hand_in(&self, origin: &str) -> Vec<Checkpoint> {
        let held = self.held();
        let Some(ledger) = held.ledgers.get(origin) else { return Vec::new() };
        let all = std::iter::once(&ledger.last).chain(&ledger.loose).chain(&ledger.suspects);
        all.cloned().collect()
    }

    /// Whether a ledger's checkpoints should be handed in soon: many are loose, or one is suspect.
    pub fn is_pressing(&self, origin: &str) -> bool {
        let held = self.held();
        let ledger = held.ledgers.get(origin);
        ledger.is_some_and(|of| of.loose.len() >= LOOSE_MANY || !of.suspects.is_empty())
    }

    /// Lets a loose or suspect checkpoint go that the keeper found in its own tree.
    pub fn found_consistent(&self, checkpoint: &Checkpoint) {
        if let Some(ledger) = self.held().ledgers.get_mut(checkpoint.origin()) {
            ledger.loose.retain(|loose| !same(loose, checkpoint));
            ledger.suspects.retain(|suspect| !same(suspect, checkpoint));
        }
    }

    /// From now on nothing is done with this ledger. Both notes are kept as proof, in a file too.
    pub fn mark_forked(&self, shown: &Checkpoint, other: &Checkpoint) {
        tracing::error!(
            shown = shown.note(),
            other = other.note(),
            "alarm: the ledger shows two histories; nothing more is done with it"
        );
        let fork = Fork { shown: shown.note().to_owned(), other: other.note().to_owned() };
        // The first proof is as good as any.
        self.held().forks.entry(shown.origin().to_owned()).or_insert(fork);
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the writer's lock, so that no writer puts back what it read before another's.
        let bytes = serde_json::to_vec_pretty(&self.held().forks).unwrap_or_default();
        if let Err(error) = files::replace(&forks_beside(&self.file), &bytes) {
            tracing::error!(%error, "alarm: the proof of two histories cannot be kept in a file");
        }
    }

    /// Writes what is remembered. Called now and then and at the end: a file that is a little
    /// behind is still a point that every later checkpoint must extend.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self) -> Result<(), FileError> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |seen: &Checkpoint| seen.note().to_owned();
        let notes: HashMap<String, Notes> = {
            let held = self.held();
            held.ledgers
                .iter()
                .map(|(origin, ledger)| {
                    let notes = Notes {
                        last: text(&ledger.last),
                        loose: ledger.loose.iter().map(text).collect(),
                        suspects: ledger.suspects.iter().map(text).collect(),
                    };
                    (origin.clone(), notes)
                })
                .collect()
        };
        let bytes =
            serde_json::to_vec_pretty(&notes).map_err(|error| FileError::new(&self.file, error))?;
        files::replace(&self.file, &bytes)
    }
}

impl Ledger {
    fn loosen(&mut self, checkpoint: Checkpoint) {
        add(&mut self.loose, checkpoint, LOOSE_MAX);
    }

    /// One of the same size with another root, among those that were proven to extend something.
    fn contradicts(&self, checkpoint: &Checkpoint) -> Option<Checkpoint> {
        let mut known = std::iter::once(&self.last).chain(&self.loose);
        known.find(|other| other.size() == checkpoint.size() && !same(other, checkpoint)).cloned()
    }
}

fn add(list: &mut Vec<Checkpoint>, checkpoint: Checkpoint, max: usize) {
    if list.iter().any(|known| same(known, &checkpoint)) {
        return;
    }
    if list.len() >= max {
        tracing::warn!("too many checkpoints wait to be handed in to the keeper");
        let [one] = random::bytes::<1>().unwrap_or_default();
        list.swap_remove(usize::from(one) % list.len());
    }
    list.push(checkpoint);
}

fn forks_beside(file: &Path) -> PathBuf {
    file.with_file_name("forks.json")
}

/// A ledger signed two different histories. `forks.json` holds both notes as proof.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "the ledger `{origin}` has shown two histories: nothing more is done with it; both checkpoints \
     stand in `forks.json` in the state folder; when a person has looked into it, take that file \
     away and restart"
)]
pub struct TwoHistories {
    origin: String,
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
