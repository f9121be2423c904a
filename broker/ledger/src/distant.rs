// SPDX-License-Identifier: EUPL-1.2
//! A memory on another machine: the ledger's keeper, which remembers the largest checkpoint that
//! the ledger's key signed. Unlike a witness it cosigns nothing, and asks for no proof: it takes a
//! checkpoint only from whoever knows which one it holds, and so must have compared that one.
//!
//! What it says is believed only under the ledger's own signature, so it can stop a ledger with
//! the truth alone. What it does not say, nobody knows: where it is needed, a keeper that is away,
//! or that forgets, keeps the ledger waiting.

use std::{sync::Arc, time::Duration};

use einmal_protocol::{
    Digest, merkle,
    note::{Checkpoint, LedgerKey},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Shared,
    open::{OpenError, extends},
    store::{Pending, StoreError},
    witness::behind,
    writer::{Halted, Work, Writer},
};

/// Before it is asked again; doubled each time …
const AGAIN: Duration = Duration::from_millis(50);
/// … up to this.
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// How often it is said that it is waited for.
const SAY: Duration = Duration::from_secs(60);
/// Between two checkpoints that it is told where nobody waits for it.
const LATER: Duration = Duration::from_secs(1);
/// Where it did not take one.
const MUCH_LATER: Duration = Duration::from_secs(30);

/// Somebody on another machine who remembers the largest checkpoint of a ledger.
pub trait DistantMemory: Send + Sync + 'static {
    /// Who it is, for messages: "the keeper `cockpit-1`".
    fn name(&self) -> &str;

    /// The largest that it knows, as a note; nothing where it knows none.
    fn largest(&self) -> Pending<'_, Option<String>, DistantFault>;

    /// Has it remember a note, if the largest that it knows is the one of this size and root (or
    /// none, for size 0). Gives the largest that it knows afterwards: the note, or the one that
    /// must be compared first.
    fn remember<'a>(
        &'a self,
        known: (u64, Digest),
        note: &'a str,
    ) -> Pending<'a, Option<String>, DistantFault>;
}

/// Why it has no answer that counts.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DistantFault {
    /// It may pass.
    #[error("{name} does not answer: {problem}")]
    Unavailable {
        /// Which.
        name: String,
        /// What happened.
        problem: String,
    },
    /// It proves nothing.
    #[error("{name} shows a note that this ledger's key did not sign")]
    Foreign {
        /// Which.
        name: String,
    },
}

/// How much hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is asked and told, and nobody waits for it.
    Told,
    /// Nothing is answered that it does not know.
    Required,
    /// As before, and it is the only memory: the configuration's `memory` is not looked at.
    Alone,
}

/// The memory on another machine that a ledger has.
#[derive(Clone)]
pub struct Distant {
    /// Who it is.
    pub memory: Arc<dyn DistantMemory>,
    /// How much hangs on it.
    pub need: Need,
    /// How long one answer may take.
    pub patience: Duration,
    /// Where it is needed and does not answer at start: start, and log nothing until it does.
    pub start_without: bool,
}

impl std::fmt::Debug for Distant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.memory.name(), self.need)
    }
}

impl Distant {
    /// Whether answers wait for it.
    pub(crate) fn is_needed(&self) -> bool {
        self.need != Need::Told
    }

    /// The largest checkpoint that it knows.
    ///
    /// # Errors
    /// Where it does not answer in time, or proves nothing.
    pub async fn largest(&self, key: &LedgerKey) -> Result<Option<Checkpoint>, DistantFault> {
        let answer = tokio::time::timeout(self.patience, self.memory.largest()).await;
        self.read(answer.map_err(|_| self.late())??, key)
    }

    /// Has it know a checkpoint; gives the largest that it knows then.
    pub(crate) async fn tell(
        &self,
        known: Option<(u64, Digest)>,
        checkpoint: &Checkpoint,
        key: &LedgerKey,
    ) -> Result<Option<Checkpoint>, DistantFault> {
        let known = known.unwrap_or_else(|| (0, merkle::empty_root()));
        let told = self.memory.remember(known, checkpoint.note());
        let answer = tokio::time::timeout(self.patience, told).await;
        self.read(answer.map_err(|_| self.late())??, key)
    }

    /// The largest that it knows, where it answers. Where it is needed and does not, that is an
    /// error, unless the ledger may start without.
    pub(crate) async fn ask_at_start(
        &self,
        key: &LedgerKey,
    ) -> Result<(Option<Afar>, Option<Checkpoint>), OpenError> {
        let (met, held) = match self.largest(key).await {
            Ok(held) => (true, held),
            Err(fault) if self.is_needed() && !self.start_without => {
                return Err(OpenError::Silent(fault));
            }
            Err(fault) => {
                tracing::warn!(%fault, "not asked what was signed last");
                (false, None)
            }
        };
        let known = held.as_ref().map(signed);
        let distant = self.clone();
        Ok((Some(Afar { distant, known, met, may_be_new: false }), held))
    }

    fn read(
        &self,
        note: Option<String>,
        key: &LedgerKey,
    ) -> Result<Option<Checkpoint>, DistantFault> {
        let foreign = || DistantFault::Foreign { name: self.memory.name().to_owned() };
        note.map(|note| Checkpoint::parse(&note, key).map_err(|_| foreign())).transpose()
    }

    fn late(&self) -> DistantFault {
        let problem = format!("not within {} ms", self.patience.as_millis());
        DistantFault::Unavailable { name: self.memory.name().to_owned(), problem }
    }
}

/// Size and root of a checkpoint.
fn signed(checkpoint: &Checkpoint) -> (u64, Digest) {
    (checkpoint.size(), checkpoint.root())
}

/// What the writer knows of it.
pub(crate) struct Afar {
    pub(crate) distant: Distant,
    /// What it held when it was last compared with the tree.
    pub(crate) known: Option<(u64, Digest)>,
    /// Whether it was asked since the start.
    pub(crate) met: bool,
    /// Whether the ledger may go on though it knows nothing.
    pub(crate) may_be_new: bool,
}

impl Afar {
    /// Where it is needed and has answered, it is to know the first checkpoint before that is
    /// shown. Where that fails, or another broker was faster, it is asked again before anything
    /// is logged.
    pub(crate) async fn tell_at_start(&mut self, checkpoint: &Checkpoint, key: &LedgerKey) {
        if !self.distant.is_needed() || !self.met || self.known == Some(signed(checkpoint)) {
            return;
        }
        let told = self.distant.tell(self.known, checkpoint, key).await;
        self.met = told.is_ok_and(|held| held.as_ref().map(signed) == Some(signed(checkpoint)));
        if self.met {
            self.known = Some(signed(checkpoint));
        }
    }

    /// Whether this, which it says is the largest, is more than it knew: then somebody else had it
    /// remembered. Otherwise it has not taken what it was told, or forgotten what it took.
    fn grew(&self, held: Option<&Checkpoint>) -> bool {
        let size = |known: Option<(u64, Digest)>| known.map(|(size, _)| size);
        size(held.map(signed)) > size(self.known)
    }
}

/// What is smaller than before is of the tree all the same, and must be looked into by a person.
fn alarm_where_less(name: &str, known: Option<(u64, Digest)>, held: Option<&Checkpoint>) {
    let held = held.map_or(0, Checkpoint::size);
    if known.is_some_and(|(size, _)| held < size) {
        tracing::error!(
            memory = name,
            leaves = held,
            "alarm: it knows less than it did: an old copy of it was restored, or it lies"
        );
    }
}

/// The one that answers wait for, and the one that is told later.
pub(crate) fn parted(afar: Option<Afar>) -> (Option<Afar>, Option<Afar>) {
    match afar {
        Some(afar) if afar.distant.is_needed() => (Some(afar), None),
        told => (None, told),
    }
}

/// Growing pauses between two questions, and what is said of them.
struct Waits {
    next: Duration,
    said: Option<tokio::time::Instant>,
}

impl Waits {
    fn new() -> Self {
        Self { next: AGAIN, said: None }
    }
}

impl Writer {
    /// Before anything else: where it did not answer at start, waits until it does.
    pub(crate) async fn meet(&mut self) -> Result<(), Halted> {
        let Some(afar) = self.afar.as_ref().filter(|afar| !afar.met) else { return Ok(()) };
        let may_be_new = afar.may_be_new;
        self.shared.wait(true);
        if self.ask_afar().await?.is_none() && !may_be_new {
            return Err(self.halt(OpenError::MemoryMissing { size: self.row.head.size }));
        }
        if let Some(afar) = &mut self.afar {
            afar.met = true;
        }
        self.sign_and_remember().await.map(drop)
    }

    /// Asks for the largest checkpoint, for as long as it takes, and compares it with the tree.
    pub(crate) async fn ask_afar(&mut self) -> Result<Option<Checkpoint>, Halted> {
        let Some(distant) = self.afar.as_ref().map(|afar| afar.distant.clone()) else {
            return Ok(None);
        };
        let key = self.shared.ledger_key().map_err(|error| self.halt(error))?;
        let mut waits = Waits::new();
        loop {
            match distant.largest(&key).await {
                Ok(held) => {
                    self.compare_afar(held.as_ref(), &key).await?;
                    return Ok(held);
                }
                Err(fault) => self.hold_on(&mut waits, &fault.to_string()).await?,
            }
        }
    }

    /// Has it know a checkpoint before anybody else does. False where the tree had to grow first:
    /// then another checkpoint is to be signed.
    pub(crate) async fn remember_afar(&mut self, checkpoint: &Checkpoint) -> Result<bool, Halted> {
        let Some(distant) = self.afar.as_ref().map(|afar| afar.distant.clone()) else {
            return Ok(true);
        };
        let key = self.shared.ledger_key().map_err(|error| self.halt(error))?;
        let mut waits = Waits::new();
        loop {
            let known = self.afar.as_ref().and_then(|afar| afar.known);
            if known.is_some_and(|(size, _)| size >= checkpoint.size()) {
                // It was compared with the tree, so what is signed now is of that one.
                self.shared.wait(false);
                return Ok(known.is_some_and(|(size, _)| size == checkpoint.size()));
            }
            match distant.tell(known, checkpoint, &key).await {
                Ok(Some(held)) if signed(&held) == signed(checkpoint) => {
                    if let Some(afar) = &mut self.afar {
                        afar.known = Some(signed(&held));
                    }
                }
                Ok(held) => {
                    let grew = self.afar.as_ref().is_some_and(|afar| afar.grew(held.as_ref()));
                    self.compare_afar(held.as_ref(), &key).await?;
                    if !grew {
                        let why =
                            format!("{} did not take what it was told", distant.memory.name());
                        self.hold_on(&mut waits, &why).await?;
                    }
                }
                Err(fault) => self.hold_on(&mut waits, &fault.to_string()).await?,
            }
        }
    }

    /// What it holds must be of the tree, which may have to be read first: another broker's.
    async fn compare_afar(
        &mut self,
        held: Option<&Checkpoint>,
        key: &LedgerKey,
    ) -> Result<(), Halted> {
        let Some(afar) = &self.afar else { return Ok(()) };
        let name = afar.distant.memory.name().to_owned();
        alarm_where_less(&name, afar.known, held);
        match held {
            Some(held) => {
                if held.size() > self.row.head.size {
                    self.reach(&format!("{name} knows of"), held.size()).await?;
                }
                self.must_extend(held.note(), key).await?;
            }
            None => tracing::warn!(memory = name, "it knows nothing of this ledger"),
        }
        if let Some(afar) = &mut self.afar {
            afar.known = held.map(signed);
        }
        Ok(())
    }

    /// Nothing can be answered without it. Whoever waits is answered when it is back; whoever
    /// comes after the second try is not let in.
    async fn hold_on(&mut self, waits: &mut Waits, problem: &str) -> Result<(), Halted> {
        if waits.next == AGAIN {
            // One slow answer is no reason to refuse others.
            tracing::warn!(problem, "asking this memory again");
        } else {
            self.shared.wait(true);
            if waits.said.is_none_or(|said| said.elapsed() >= SAY) {
                waits.said = Some(tokio::time::Instant::now());
                tracing::error!(problem, "alarm: nothing is logged until this memory answers");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(waits.next) => {}
            () = self.closing.cancelled() => {
                return Err(self.halt(format!("it was closed while it waited: {problem}")));
            }
        }
        waits.next = (waits.next * 2).min(AGAIN_MAX);
        Ok(())
    }
}

/// Tells new checkpoints where nobody waits for it, at most once a second. Where it knows more
/// than there is, or another tree, the ledger stops.
pub(crate) async fn tell_later(
    mut afar: Afar,
    shared: Arc<Shared>,
    writer: mpsc::Sender<Work>,
    closing: CancellationToken,
) {
    let Ok(key) = shared.ledger_key() else { return };
    let mut checkpoints = shared.watch();
    loop {
        let checkpoint = checkpoints.borrow_and_update().clone();
        let mut pause = LATER;
        while afar.known.is_none_or(|(size, _)| size < checkpoint.size()) {
            match afar.distant.tell(afar.known, &checkpoint, &key).await {
                Ok(Some(held)) if signed(&held) == signed(&checkpoint) => {
                    afar.known = Some(signed(&held));
                }
                Ok(held) => match compare_later(&mut afar, held, &key, (&shared, &writer)).await {
                    Ok(true) => {}
                    Ok(false) => {
                        pause = MUCH_LATER;
                        break;
                    }
                    Err(why) => {
                        tracing::error!(reason = why, "the ledger stops");
                        return shared.stop(&why);
                    }
                },
                Err(fault) => {
                    tracing::warn!(%fault, "it was not told what is signed");
                    pause = MUCH_LATER;
                    break;
                }
            }
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // One that was not taken is told again, though nothing is new.
        if afar.known.is_some_and(|(size, _)| size >= checkpoint.size()) {
            tokio::select! {
                () = closing.cancelled() => return,
                changed = checkpoints.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// As the writer does. False where it is of no use to ask again now; an error where the ledger has
/// to stop.
async fn compare_later(
    afar: &mut Afar,
    held: Option<Checkpoint>,
    key: &LedgerKey,
    (shared, writer): (&Shared, &mpsc::Sender<Work>),
) -> Result<bool, String> {
    let (name, grew) = (afar.distant.memory.name(), afar.grew(held.as_ref()));
    alarm_where_less(name, afar.known, held.as_ref());
    if let Some(held) = &held {
        let (answer, answered) = oneshot::channel();
        let _ended = writer.send(Work::Refresh(answer)).await;
        let _ended = answered.await;
        match extends(held.note(), &shared.shelf, &shared.tree(), key).await {
            Ok(()) => {}
            Err(OpenError::Store(StoreError::Unavailable(_))) => return Ok(false),
            Err(OpenError::Behind { stored, signed }) => {
                return Err(behind(&format!("{name} knows of"), signed, stored));
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    afar.known = held.as_ref().map(signed);
    Ok(grew)
}
