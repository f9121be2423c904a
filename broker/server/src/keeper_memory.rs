// SPDX-License-Identifier: EUPL-1.2
//! The keeper of the broker's ledger as its memory on another machine, over mTLS. Who that is
//! stands in the directory, and where it is dialled too; a newer directory counts at once.

use std::sync::{Arc, Mutex, PoisonError};

use einmal_ledger::{DistantFault, DistantMemory, store::Pending};
use einmal_peer::{
    PeerRole, Tls, TrustStore,
    dial::{self, Target},
};
use einmal_policy::Directory;
use einmal_protocol::{
    Digest,
    note::NOTE_MAX,
    wire::cockpit::v1::{
        GetLargestRequest, RememberRequest, checkpoint_service_client::CheckpointServiceClient,
    },
};
use rustls::ClientConfig;
use tonic::{Status, transport::Channel};

/// A note, and what else stands in a message.
const MESSAGE_MAX: usize = NOTE_MAX + 128;

type Service = CheckpointServiceClient<Channel>;

/// The keeper that the directory names for a ledger.
pub struct KeeperMemory {
    origin: String,
    /// For messages: the directory of the start names it.
    name: String,
    trust: Arc<TrustStore>,
    trust_domain: String,
    tls: Arc<ClientConfig>,
    /// The keeper and address that were dialled last.
    dialled: Mutex<Option<((String, String), Service)>>,
}

impl KeeperMemory {
    /// The keeper of a ledger.
    ///
    /// # Errors
    /// Where the directory names no address for it.
    pub fn new(origin: &str, trust: Arc<TrustStore>, tls: &Tls) -> Result<Self, String> {
        let current = trust.current();
        let (id, _) = keeper_of(&current.directory, origin)?;
        Ok(Self {
            origin: origin.to_owned(),
            name: format!("the keeper `{id}`"),
            trust_domain: current.root.document().trust_domain.clone(),
            trust,
            tls: Arc::clone(&tls.client),
            dialled: Mutex::default(),
        })
    }

    fn service(&self) -> Result<Service, DistantFault> {
        let found = keeper_of(&self.trust.current().directory, &self.origin);
        let found = found.map_err(|problem| self.away(problem))?;
        let mut dialled = self.dialled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, service)) = dialled.as_ref().filter(|(known, _)| *known == found) {
            return Ok(service.clone());
        }
        let target = Target {
            address: found.1.clone(),
            trust_domain: self.trust_domain.clone(),
            role: PeerRole::Cockpit,
            id: Some(found.0.clone()),
        };
        let channel = dial::channel(&target, Arc::clone(&self.tls));
        let channel = channel.map_err(|error| self.away(error.to_string()))?;
        let service = CheckpointServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        *dialled = Some((found, service.clone()));
        Ok(service)
    }

    fn away(&self, problem: String) -> DistantFault {
        DistantFault::Unavailable { name: self.name.clone(), problem }
    }

    fn refused(&self, status: &Status) -> DistantFault {
        self.away(format!("{:?}: {}", status.code(), status.message()))
    }
}

/// Id and address of the keeper of a ledger.
fn keeper_of(directory: &Directory, origin: &str) -> Result<(String, String), String> {
    let ledger = directory.ledger(origin);
    let ledger = ledger.ok_or_else(|| format!("the directory has no ledger `{origin}`"))?;
    let mut keepers = directory.document().keepers.iter();
    let keeper = keepers.find(|keeper| keeper.id == ledger.entry.keeper);
    let keeper = keeper.filter(|keeper| !keeper.address.is_empty()).ok_or_else(|| {
        format!(
            "the directory names no `address` for the keeper `{}`, so it cannot be the ledger's \
             memory",
            ledger.entry.keeper
        )
    })?;
    Ok((keeper.id.clone(), keeper.address.clone()))
}

/// An empty note is none.
fn some(note: String) -> Option<String> {
    Some(note).filter(|note| !note.is_empty())
}

impl DistantMemory for KeeperMemory {
    fn name(&self) -> &str {
        &self.name
    }

    fn largest(&self) -> Pending<'_, Option<String>, DistantFault> {
        Box::pin(async move {
            let answer = self.service()?.get_largest(GetLargestRequest {}).await;
            Ok(some(answer.map_err(|status| self.refused(&status))?.into_inner().checkpoint))
        })
    }

    fn remember<'a>(
        &'a self,
        known: (u64, Digest),
        note: &'a str,
    ) -> Pending<'a, Option<String>, DistantFault> {
        Box::pin(async move {
            let request = RememberRequest {
                checkpoint: note.to_owned(),
                known_size: known.0,
                known_root: known.1.to_vec(),
            };
            let answer = self.service()?.remember(request).await;
            Ok(some(answer.map_err(|status| self.refused(&status))?.into_inner().checkpoint))
        })
    }
}
