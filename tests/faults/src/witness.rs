// SPDX-License-Identifier: EUPL-1.2
//! An honest witness, but for its moods: away, silent, slow, babbling, lying.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use einmal_ledger::{Added, Witness, WitnessFault, Witnesses, store::Pending};
use einmal_protocol::{
    Digest,
    cosignature::{Cosigner, WitnessKey},
    key::SigningKey,
    merkle,
    note::Checkpoint,
};

use crate::{inject::Plan, site::ledger_key};

/// How long it is waited for.
const PATIENCE: Duration = Duration::from_millis(30);
const NAME: &str = "witness.example/w";

/// What it remembers outlives the ledger's lives.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Option<Checkpoint>>);

/// A witness in one life of the ledger.
pub(crate) struct Moody {
    cosigner: Cosigner,
    remembered: Arc<Remembered>,
    plan: Arc<Plan>,
}

impl Moody {
    pub(crate) fn new(remembered: &Arc<Remembered>, plan: &Arc<Plan>) -> Self {
        let key = SigningKey::from_seed(&[9; 32]).unwrap();
        let cosigner = Cosigner::new(NAME, key).unwrap();
        Self { cosigner, remembered: Arc::clone(remembered), plan: Arc::clone(plan) }
    }

    pub(crate) fn alone(self, required: usize) -> Witnesses {
        Witnesses { all: vec![Arc::new(self)], required, patience: PATIENCE }
    }

    fn cosign(&self, old_size: u64, proof: &[Digest], note: &str) -> Result<Added, WitnessFault> {
        let refused = |problem: &str| {
            Err(WitnessFault::Refused { name: NAME.to_owned(), problem: problem.to_owned() })
        };
        let Ok(checkpoint) = Checkpoint::parse(note, &ledger_key()) else {
            return refused("not signed by the ledger");
        };
        let mut newest = self.remembered.0.lock().unwrap();
        let known = newest.as_ref().map_or((0, merkle::empty_root()), |n| (n.size(), n.root()));
        if known.0 != old_size {
            return Ok(Added::Has(known.0));
        }
        if !merkle::verify_consistency(known, (checkpoint.size(), checkpoint.root()), proof) {
            self.plan.count("FORK: a witness saw two trees");
            return refused("not consistent");
        }
        let line = self.cosigner.cosign(&checkpoint, 1_795_372_800).unwrap();
        *newest = Some(checkpoint);
        Ok(Added::Cosigned(line))
    }
}

fn silent() -> WitnessFault {
    WitnessFault::Unavailable { name: NAME.to_owned(), problem: "as told".to_owned() }
}

impl Witness for Moody {
    fn key(&self) -> &WitnessKey {
        self.cosigner.public()
    }

    fn newest<'a>(&'a self, _origin: &'a str) -> Pending<'a, Option<String>, WitnessFault> {
        let newest = self.remembered.0.lock().unwrap().as_ref().map(|n| n.note().to_owned());
        let away = self.plan.draw() < 100;
        Box::pin(async move { if away { Err(silent()) } else { Ok(newest) } })
    }

    fn add_checkpoint<'a>(
        &'a self,
        old_size: u64,
        proof: &'a [Digest],
        note: &'a str,
    ) -> Pending<'a, Added, WitnessFault> {
        Box::pin(async move {
            match self.plan.draw() {
                0..=49 => {
                    self.plan.count("the witness is away");
                    Err(silent())
                }
                50..=79 => {
                    self.plan.count("the witness cosigns and does not say so");
                    self.cosign(old_size, proof, note).and_then(|_| Err(silent()))
                }
                80..=109 => {
                    self.plan.count("the witness is too slow");
                    tokio::time::sleep(PATIENCE + PATIENCE / 2).await;
                    self.cosign(old_size, proof, note)
                }
                110..=139 => {
                    self.plan.count("the witness babbles");
                    Ok(Added::Cosigned(format!("— {NAME} AAAA\n")))
                }
                140..=141 => {
                    self.plan.count("the witness claims a larger tree");
                    Ok(Added::Has(1 << 40))
                }
                _ => self.cosign(old_size, proof, note),
            }
        })
    }
}
