// SPDX-License-Identifier: EUPL-1.2
//! Handing in what one was shown: each adapter and client gives the checkpoints that it saw to the
//! keeper of their ledger, straight and not through the broker, so that nobody can be shown another
//! ledger than the others.

use std::{sync::Arc, time::Duration};

use einmal_policy::Directory;
use einmal_protocol::{
    note::{Checkpoint, LedgerKey, NOTE_MAX},
    wire::cockpit::v1::{
        HandInRequest, Verdict, checkpoint_service_client::CheckpointServiceClient,
    },
};
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    PeerRole, Seen, TrustStore,
    dial::{self, Target},
    random,
};

/// The first time comes so long after the start, at most: many adapters are started at one moment.
const FIRST_WITHIN: Duration = Duration::from_secs(60);
/// Then once a day.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// Where many wait, or the keeper did not answer: no sooner than after this.
const AGAIN: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is needed to hand in.
#[derive(Clone)]
pub struct HandIn {
    tls: Arc<ClientConfig>,
    trust_domain: String,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandedIn {
    /// The keeper has them in its tree.
    pub consistent: usize,
    /// The keeper has not come so far, and compares them then.
    pub ahead: usize,
    /// They contradict the keeper's tree: the ledger is marked as forked.
    pub forked: usize,
    /// The keeper did not answer, or not in a way that can be believed.
    pub failed: usize,
}

impl std::fmt::Debug for HandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HandIn({})", self.trust_domain)
    }
}

impl HandIn {
    /// With the party's own certificate.
    pub fn new(tls: Arc<ClientConfig>, trust_domain: &str) -> Self {
        Self { tls, trust_domain: trust_domain.to_owned() }
    }

    /// Hands in now what was seen of every ledger whose keeper has an address.
    pub async fn now(&self, seen: &Seen, directory: &Directory) -> HandedIn {
        let mut all = HandedIn::default();
        for entry in &directory.document().ledgers {
            let Some(ledger) = directory.ledger(&entry.origin) else { continue };
            let notes = seen.to_hand_in(&entry.origin);
            if notes.is_empty() {
                continue;
            }
            let keepers = &directory.document().keepers;
            let keeper = keepers.iter().find(|keeper| keeper.id == entry.keeper);
            let Some(keeper) = keeper.filter(|keeper| !keeper.address.is_empty()) else {
                tracing::debug!(keeper = entry.keeper, "takes no checkpoints; none is handed in");
                continue;
            };
            let target = Target {
                address: keeper.address.clone(),
                trust_domain: self.trust_domain.clone(),
                role: PeerRole::Cockpit,
                id: Some(keeper.id.clone()),
            };
            let Ok(channel) = dial::channel(&target, Arc::clone(&self.tls)) else {
                tracing::warn!(keeper = keeper.id, "the directory's address cannot be dialled");
                all.failed += notes.len();
                continue;
            };
            let mut keeper = CheckpointServiceClient::new(channel)
                .max_decoding_message_size(NOTE_MAX + 64)
                .max_encoding_message_size(NOTE_MAX + 64);
            for note in notes {
                if !one(&mut keeper, (seen, &ledger.key), &note, &mut all).await {
                    break;
                }
            }
        }
        if let Err(error) = seen.save() {
            tracing::error!(%error, "the last checkpoints cannot be kept");
        }
        all
    }

    /// Hands in shortly after the start, then once a day, and sooner where many wait; until told
    /// to stop.
    pub async fn daily(
        self,
        seen: impl AsRef<Seen>,
        trust: impl AsRef<TrustStore>,
        stop: CancellationToken,
    ) {
        let mut wait = jittered(FIRST_WITHIN);
        loop {
            tokio::select! {
                () = self.until_due(seen.as_ref(), trust.as_ref(), wait) => {}
                () = stop.cancelled() => return,
            }
            let directory = Arc::clone(&trust.as_ref().current().directory);
            let handed_in = tokio::select! {
                handed_in = self.now(seen.as_ref(), &directory) => handed_in,
                () = stop.cancelled() => return,
            };
            tracing::debug!(?handed_in, "checkpoints were handed in");
            wait = if handed_in.failed == 0 { jittered(EVERY) } else { jittered(AGAIN) };
        }
    }

    /// Waits, or less long where the keeper should be asked soon.
    async fn until_due(&self, seen: &Seen, trust: &TrustStore, wait: Duration) {
        let began = tokio::time::Instant::now();
        loop {
            let waited = began.elapsed();
            let directory = Arc::clone(&trust.current().directory);
            let mut ledgers = directory.document().ledgers.iter();
            let pressing = ledgers.any(|ledger| seen.is_pressing(&ledger.origin));
            if waited >= wait || (pressing && waited >= AGAIN) {
                return;
            }
            tokio::time::sleep(LOOK.min(wait.saturating_sub(waited))).await;
        }
    }
}

/// Half to the whole of a time.
fn jittered(time: Duration) -> Duration {
    let [jitter] = random::bytes::<1>().unwrap_or([128]);
    time / 2 + time / 2 * u32::from(jitter) / 256
}

/// Hands one in; false where it is of no use to go on with this keeper.
async fn one(
    keeper: &mut CheckpointServiceClient<Channel>,
    (seen, key): (&Seen, &LedgerKey),
    shown: &Checkpoint,
    all: &mut HandedIn,
) -> bool {
    let request = HandInRequest { checkpoint: shown.note().to_owned() };
    let answer = match tokio::time::timeout(TIMEOUT, keeper.hand_in(request)).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => {
            tracing::warn!(code = ?status.code(), message = status.message(), "the keeper took no checkpoint");
            all.failed += 1;
            return false;
        }
        Err(_) => {
            tracing::warn!("the keeper took no checkpoint in time");
            all.failed += 1;
            return false;
        }
    };
    // A keeper that holds nothing yet has no note. Any other must be the ledger's.
    let kept = Checkpoint::parse(&answer.checkpoint, key).ok();
    let two_roots = kept
        .as_ref()
        .is_some_and(|kept| kept.size() == shown.size() && kept.root() != shown.root());
    match (answer.verdict(), kept) {
        (Verdict::Forked, Some(kept)) => {
            seen.mark_forked(shown, &kept);
            all.forked += 1;
        }
        (_, Some(kept)) if two_roots => {
            seen.mark_forked(shown, &kept);
            all.forked += 1;
        }
        (Verdict::Consistent, Some(kept)) if kept.size() >= shown.size() => {
            seen.found_consistent(shown);
            all.consistent += 1;
        }
        (Verdict::Ahead, _) => all.ahead += 1,
        _ => {
            tracing::error!("alarm: the keeper's answer about a checkpoint makes no sense");
            all.failed += 1;
        }
    }
    true
}
