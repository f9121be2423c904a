// SPDX-License-Identifier: EUPL-1.2
//! Witnesses as the ledger sees them: each remembers the largest checkpoint that it cosigned, and
//! cosigns only what extends it. So a witness is an outside memory too, one that all brokers of a
//! ledger share.

use std::{sync::Arc, time::Duration};

use einmal_protocol::{
    Digest,
    cosignature::{WitnessKey, cosignatures, with_cosignatures},
    merkle,
    note::{Checkpoint, LedgerKey},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Shared,
    shelf::Shelf,
    store::{Pending, StoreError},
    tree::Tree,
    writer::Work,
};

/// How often a checkpoint is offered again after the witness knew another size than we thought.
const OFFERS: u32 = 4;
/// Between two checkpoints that are cosigned where nobody waits for it.
const LATER: Duration = Duration::from_secs(1);

/// One witness (c2sp.org/tlog-witness).
pub trait Witness: Send + Sync + 'static {
    /// Its key, whose name stands in messages.
    fn key(&self) -> &WitnessKey;

    /// The newest checkpoint of a ledger that it cosigned, as a note.
    fn newest<'a>(&'a self, origin: &'a str) -> Pending<'a, Option<String>, WitnessFault>;

    /// Offers a checkpoint with the proof that it extends one of `old_size`.
    fn add_checkpoint<'a>(
        &'a self,
        old_size: u64,
        proof: &'a [Digest],
        note: &'a str,
    ) -> Pending<'a, Added, WitnessFault>;
}

/// What a witness says to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// Signature lines for the note.
    Cosigned(String),
    /// It has a checkpoint of this size: prove from there.
    Has(u64),
}

/// Why a witness has no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum WitnessFault {
    /// It may pass.
    #[error("the witness `{name}` does not answer: {problem}")]
    Unavailable {
        /// Which.
        name: String,
        /// What happened.
        problem: String,
    },
    /// It refuses: it knows another tree, or not this ledger.
    #[error("the witness `{name}` refuses: {problem}")]
    Refused {
        /// Which.
        name: String,
        /// What it said.
        problem: String,
    },
}

/// The witnesses of one ledger, and how many must have cosigned before anything is answered.
#[derive(Clone, Default)]
pub struct Witnesses {
    /// All of them.
    pub all: Vec<Arc<dyn Witness>>,
    /// At least so many; 0: they are told, and nobody waits for them.
    pub required: usize,
    /// How long they are waited for.
    pub patience: Duration,
}

impl std::fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} witnesses", self.required, self.all.len())
    }
}

/// Asks witnesses to cosign; remembers how far each has come.
pub(crate) struct Cosigner {
    witnesses: Witnesses,
    ledger: LedgerKey,
    known: Vec<Arc<Mutex<u64>>>,
}

/// What became of a checkpoint at the witnesses.
pub(crate) enum Cosigned {
    /// The same with their signatures, as many as came in time.
    Under(Arc<Checkpoint>),
    /// A witness holds a larger tree than we do.
    Ahead {
        /// Which.
        witness: String,
        /// How many leaves.
        size: u64,
    },
}

impl Cosigner {
    pub(crate) fn new(witnesses: Witnesses, ledger: LedgerKey) -> Self {
        let known = witnesses.all.iter().map(|_| Arc::default()).collect();
        Self { witnesses, ledger, known }
    }

    /// Whether answers wait for cosignatures.
    pub(crate) fn is_required(&self) -> bool {
        self.witnesses.required > 0
    }

    /// All of them.
    pub(crate) fn witnesses(&self) -> &Witnesses {
        &self.witnesses
    }

    /// Offers a checkpoint to all at once; answers when enough have cosigned, or patience ends.
    /// Those that come later still come: what they know is remembered for the next time.
    pub(crate) async fn cosign(
        &self,
        shelf: &Arc<Shelf>,
        tree: &Tree,
        checkpoint: &Arc<Checkpoint>,
    ) -> Cosigned {
        let enough = if self.is_required() { self.witnesses.required } else { self.known.len() };
        let mut asked = JoinSet::new();
        for (witness, known) in self.witnesses.all.iter().zip(&self.known) {
            let (shelf, tree, checkpoint) =
                (Arc::clone(shelf), tree.clone(), Arc::clone(checkpoint));
            let (witness, known) = (Arc::clone(witness), Arc::clone(known));
            let (ledger, patience) = (self.ledger.clone(), self.witnesses.patience);
            asked.spawn(async move {
                let name = witness.key().name().to_owned();
                // Whoever hangs is not waited for by one offer after the other.
                let offered = match tokio::time::timeout(patience, known.lock()).await {
                    Ok(mut known) => {
                        offer(&*witness, &mut known, &ledger, &shelf, &tree, &checkpoint).await
                    }
                    Err(_) => Err(unavailable(&*witness, "it has not answered yet".to_owned())),
                };
                (name, offered)
            });
        }
        let keys: Vec<WitnessKey> =
            self.witnesses.all.iter().map(|witness| witness.key().clone()).collect();
        let mut cosigned = Checkpoint::clone(checkpoint);
        let patience = tokio::time::sleep(self.witnesses.patience);
        tokio::pin!(patience);
        while cosignatures(&cosigned, &keys).len() < enough {
            let answer = tokio::select! {
                answer = asked.join_next() => answer,
                () = &mut patience => break,
            };
            match answer {
                // Lines that do not verify are left out: they count for nothing.
                Some(Ok((_, Ok(Added::Cosigned(lines))))) => {
                    match with_cosignatures(&cosigned, &lines, &keys) {
                        Ok(under) => cosigned = under,
                        Err(error) => tracing::warn!(%error, "cosignatures are not used"),
                    }
                }
                Some(Ok((witness, Ok(Added::Has(size))))) => {
                    return Cosigned::Ahead { witness, size };
                }
                Some(Ok((_, Err(fault)))) => {
                    tracing::warn!(%fault, "a checkpoint was not cosigned");
                }
                Some(Err(error)) => tracing::warn!(%error, "a checkpoint was not cosigned"),
                None => break,
            }
        }
        asked.detach_all();
        Cosigned::Under(Arc::new(cosigned))
    }
}

fn unavailable(witness: &dyn Witness, problem: String) -> WitnessFault {
    WitnessFault::Unavailable { name: witness.key().name().to_owned(), problem }
}

/// Offers a checkpoint to one witness, from the size that it has.
async fn offer(
    witness: &dyn Witness,
    known: &mut u64,
    ledger: &LedgerKey,
    shelf: &Shelf,
    tree: &Tree,
    checkpoint: &Checkpoint,
) -> Result<Added, WitnessFault> {
    let size = checkpoint.size();
    for _ in 0..OFFERS {
        if *known > size {
            return ahead(witness, known, ledger, size).await;
        }
        let proof = prove(shelf, tree, *known, size).await;
        let proof = proof.map_err(|error| unavailable(witness, error.to_string()))?;
        match witness.add_checkpoint(*known, &proof, checkpoint.note()).await? {
            Added::Cosigned(lines) => {
                *known = size;
                return Ok(Added::Cosigned(lines));
            }
            Added::Has(had) if had == *known => {
                return Err(unavailable(witness, "it contradicts itself".to_owned()));
            }
            Added::Has(had) => *known = had,
        }
    }
    Err(unavailable(witness, "another offers checkpoints at the same time".to_owned()))
}

/// That there is a larger tree is believed only where the ledger's own key has signed one: a word
/// alone must not stop the ledger.
async fn ahead(
    witness: &dyn Witness,
    known: &mut u64,
    ledger: &LedgerKey,
    size: u64,
) -> Result<Added, WitnessFault> {
    let note = witness.newest(ledger.name()).await?;
    let signed = note.and_then(|note| Checkpoint::parse(&note, ledger).ok());
    match signed.map(|signed| signed.size()).filter(|signed| *signed > size) {
        Some(signed) => {
            *known = signed;
            Ok(Added::Has(signed))
        }
        None => {
            *known = 0;
            Err(WitnessFault::Refused {
                name: witness.key().name().to_owned(),
                problem: "it speaks of a larger tree and shows no note of this ledger for it"
                    .to_owned(),
            })
        }
    }
}

/// The consistency path; empty from 0 and between equal sizes, as witnesses want it.
async fn prove(shelf: &Shelf, tree: &Tree, from: u64, to: u64) -> Result<Vec<Digest>, StoreError> {
    match merkle::plan_consistency(from, to) {
        Some(ranges) => shelf.hashes(tree, &ranges).await,
        None => Ok(Vec::new()),
    }
}

/// Has new checkpoints cosigned where nobody waits for it, at most once a second.
pub(crate) async fn cosign_later(
    cosigner: Arc<Cosigner>,
    shared: Arc<Shared>,
    writer: mpsc::Sender<Work>,
    closing: CancellationToken,
) {
    let mut checkpoints = shared.watch();
    loop {
        let checkpoint = checkpoints.borrow_and_update().clone();
        let tree = shared.tree();
        if tree.size() == checkpoint.size() && checkpoint.size() > 0 {
            match cosigner.cosign(&shared.shelf, &tree, &checkpoint).await {
                // Without a line where no witness answered: the public log must not stand still.
                Cosigned::Under(checkpoint) => shared.keep_cosigned(checkpoint),
                Cosigned::Ahead { witness, size } => {
                    let (answer, answered) = oneshot::channel();
                    let _ended = writer.send(Work::Refresh(answer)).await;
                    let _ended = answered.await;
                    let stored = shared.tree().size();
                    if stored < size && !shared.is_stopped() {
                        let why = behind(&format!("{witness} has cosigned"), size, stored);
                        tracing::error!(reason = why, "the ledger stops");
                        return shared.stop(&why);
                    }
                }
            }
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = tokio::time::sleep(LATER) => {}
        }
        tokio::select! {
            () = closing.cancelled() => return,
            changed = checkpoints.changed() => if changed.is_err() { return },
        }
    }
}

/// What is wrong where `who` "has cosigned", or otherwise knows of, more than there is.
pub(crate) fn behind(who: &str, signed: u64, stored: u64) -> String {
    format!(
        "{who} {signed} leaves, but the database has {stored}: commits were lost or a backup was \
         restored; close this ledger and begin a new origin"
    )
}
