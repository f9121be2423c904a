// SPDX-License-Identifier: EUPL-1.2
//! What each half of a cockpit is told by its broker, verified.

use std::sync::Arc;

use einmal_peer::{
    Archive, Clock, Tls, TrustStore,
    dial::{self, Target},
    files, trust,
};
use einmal_policy::Root;
use einmal_protocol::note::LedgerKey;
use tonic::transport::Channel;

use super::ServeError;
use crate::{config::Place, trusted::Trusted};

/// What a cockpit is told by its broker, verified: shared by the server and by commands beside it.
pub struct Site {
    /// To the broker.
    pub channel: Channel,
    /// Rules and directory.
    pub trust: Arc<TrustStore>,
    /// Those of before, too.
    pub trusted: Arc<Trusted>,
    /// The ledger that is followed.
    pub ledger: LedgerKey,
    pub(super) tls: Tls,
    pub(super) trust_domain: String,
}

impl Site {
    /// Fetches and verifies trust.
    ///
    /// # Errors
    /// Names the file or the document.
    pub async fn open<'a>(place: impl Into<Place<'a>>, clock: &Clock) -> Result<Self, ServeError> {
        let config = place.into();
        let root = files::envelope(config.root)?;
        let trust_domain = Root::pinned(&root)?.document().trust_domain.clone();
        let tls = Tls::load(config.tls)?;
        let target = Target::broker(config.broker, &trust_domain);
        let channel = dial::channel(&target, Arc::clone(&tls.client))?;
        let documents = trust::fetch(channel.clone()).await.map_err(Box::new)?;
        let state = config.state.join("trust.json");
        let archive = Arc::new(Archive::open(&config.state.join("archive"))?);
        let now_ms = clock.now_ms();
        let trust = TrustStore::archiving(root, documents, &state, Arc::clone(&archive), now_ms)?;
        let trust = Arc::new(trust);
        let trusted = Arc::new(Trusted::open(Arc::clone(&trust), archive)?);
        let directory = Arc::clone(&trust.current().directory);
        let ledger = directory
            .ledger(config.ledger)
            .filter(|ledger| ledger.entry.keeper == config.keeper)
            .ok_or_else(|| ServeError::NotItsLedger(config.ledger.to_owned()))?
            .key
            .clone();
        Ok(Self { channel, trust, trusted, ledger, tls, trust_domain })
    }

    /// For how many days the rules say that records are kept.
    pub fn retention_days(&self) -> u32 {
        self.trust.current().rules.retention_days()
    }
}
