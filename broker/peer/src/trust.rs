// SPDX-License-Identifier: EUPL-1.2
//! The trust a party holds: verified from the pinned root, remembered across restarts, and for
//! ten minutes beside those before, so that a switch drops no exchange.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use einmal_policy::{
    Trust, TrustState,
    chain::Accepted,
    documents::{self, Documents, Offer},
    freshness::FreshnessError,
    trust::TrustError,
};
use einmal_protocol::{
    Digest,
    wire::{
        directory::v1::{
            GetTrustRequest, GetTrustResponse, PublishTrustRequest, PublishTrustResponse,
            directory_service_client::DirectoryServiceClient,
        },
        v1::Envelope,
    },
};
use prost::Message;
use tonic::transport::Channel;

use crate::{
    archive::Archive,
    dial::MESSAGE_MAX,
    files::{self, FileError},
};

/// How long the trusts before the current one still count.
pub const OVERLAP_MS: u64 = 10 * 60_000;
/// Newer documents are asked for this often: twice within the ten seconds in which a denial is to
/// be known everywhere.
pub const POLL: Duration = Duration::from_secs(5);
/// A broker may take so long to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// All documents together may be this long.
pub const TRUST_MAX: usize = 48 * 1024 * 1024;
/// So many trusts of before are kept at most.
const BEFORE_MAX: usize = 8;

/// Holds the current trust.
pub struct TrustStore {
    pinned: Envelope,
    state_file: PathBuf,
    archive: Option<Arc<Archive>>,
    /// Held while new documents are verified, which may take seconds; what is held is read
    /// meanwhile.
    renewing: Mutex<()>,
    held: RwLock<Held>,
}

#[derive(Clone)]
struct Held {
    state: TrustState,
    documents: Arc<Documents>,
    digests: Arc<[Digest]>,
    current: Arc<Trust>,
    /// Those before, and when each was replaced; the newest first.
    before: VecDeque<(Arc<Trust>, u64)>,
}

impl Held {
    fn new(
        state: TrustState,
        documents: Documents,
        trust: Trust,
        before: VecDeque<(Arc<Trust>, u64)>,
    ) -> Self {
        let digests = documents.digests().into();
        Self { state, documents: Arc::new(documents), digests, current: Arc::new(trust), before }
    }
}

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustStore({})", self.state_file.display())
    }
}

impl TrustStore {
    /// Verifies documents against the pinned root and what the state file remembers. Documents
    /// that were accepted before lie beside it, and are taken where they are newer.
    ///
    /// # Errors
    /// Where no documents are accepted, or the state cannot be read or written.
    pub fn open(
        pinned: Envelope,
        offer: impl Into<Offer>,
        state_file: &Path,
        now_ms: u64,
    ) -> Result<Self, TrustStoreError> {
        Self::new(pinned, &offer.into(), state_file, None, now_ms)
    }

    /// As `open`, and keeps all that it ever accepts in an archive too, before it counts.
    ///
    /// # Errors
    /// As `open`, and where the archive cannot be written.
    pub fn archiving(
        pinned: Envelope,
        offer: impl Into<Offer>,
        state_file: &Path,
        archive: Arc<Archive>,
        now_ms: u64,
    ) -> Result<Self, TrustStoreError> {
        Self::new(pinned, &offer.into(), state_file, Some(archive), now_ms)
    }

    fn new(
        pinned: Envelope,
        offer: &Offer,
        state_file: &Path,
        archive: Option<Arc<Archive>>,
        now_ms: u64,
    ) -> Result<Self, TrustStoreError> {
        let Verified { documents, trust, state, before } =
            verify(&pinned, offer, state_file, now_ms)?;
        for accepted in before.iter().chain([&documents]) {
            keep(archive.as_deref(), accepted)?;
        }
        remember(state_file, &documents, &state)?;
        let held = Held::new(state, documents, trust, VecDeque::new());
        Ok(Self {
            pinned,
            state_file: state_file.to_owned(),
            archive,
            renewing: Mutex::default(),
            held: RwLock::new(held),
        })
    }

    /// What would be trusted, and what is remembered. Writes nothing.
    ///
    /// # Errors
    /// Where no documents are accepted, or the state cannot be read.
    pub fn inspect(
        pinned: &Envelope,
        offer: &Offer,
        state_file: &Path,
        now_ms: u64,
    ) -> Result<(Trust, TrustState), TrustStoreError> {
        verify(pinned, offer, state_file, now_ms).map(|found| (found.trust, found.state))
    }

    /// Takes newer documents, away from the event loop. They are durable before they count.
    /// Answers whether anything changed.
    ///
    /// # Errors
    /// Where they are not accepted; what was held before goes on.
    pub async fn renew(
        self: &Arc<Self>,
        offer: Offer,
        now_ms: u64,
    ) -> Result<bool, TrustStoreError> {
        let this = Arc::clone(self);
        tokio::task::spawn_blocking(move || this.take(&offer, now_ms))
            .await
            .map_err(|_| TrustStoreError::Interrupted)?
    }

    fn take(&self, offer: &Offer, now_ms: u64) -> Result<bool, TrustStoreError> {
        let _alone = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.held();
        if offer.is_too_much() {
            return Err(TrustStoreError::TooMuch);
        }
        let mut documents = held.documents.with(offer);
        documents.keep_roots_about(&self.pinned);
        if documents == *held.documents {
            return Ok(false);
        }
        // Another process may remember in the same place, and know more.
        let state =
            stored(&self.state_file)?.map_or(held.state.clone(), |s| newest(&held.state, s));
        if state != held.state {
            let kept = kept(&self.state_file)?.unwrap_or_default();
            documents = held.documents.with(&kept.into()).with(offer);
            documents.keep_roots_about(&self.pinned);
        }
        let known = (&state, Some(&*held.current));
        let accepted = accept(&self.pinned, &mut documents, offer, known, now_ms);
        let (trust, state) = accepted?;
        keep(self.archive.as_deref(), &documents)?;
        remember(&self.state_file, &documents, &state)?;
        let mut before = held.before;
        if !trust.is_of(held.current.rules.digest(), held.current.directory.digest()) {
            tracing::info!(
                rules = trust.rules.document().version,
                directory = trust.directory.document().version,
                "rules or directory changed"
            );
            before.push_front((held.current, now_ms));
        }
        before.retain(|(_, since)| now_ms < since.saturating_add(OVERLAP_MS));
        before.truncate(BEFORE_MAX);
        // What is forbidden now is forbidden under the rules of before, too.
        for (earlier, _) in &mut before {
            *earlier = Arc::new(earlier.with_the_deny_list_of(&trust));
        }
        let held = Held::new(state, documents, trust, before);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(true)
    }

    /// Asks a broker for newer documents, and takes them.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn poll(
        self: &Arc<Self>,
        channel: Channel,
        now_ms: u64,
    ) -> Result<bool, tonic::Status> {
        let digests = Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).digests);
        let offer = tokio::time::timeout(PATIENCE, ask(channel, &digests)).await;
        let offer = offer.map_err(|_| {
            tonic::Status::deadline_exceeded("the broker does not hand out its trust")
        })??;
        if offer.is_empty() {
            return Ok(false);
        }
        Ok(self.renew(offer, now_ms).await.unwrap_or_else(|error| {
            tracing::error!(%error, "alarm: the broker's documents are not accepted");
            false
        }))
    }

    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The current trust.
    pub fn current(&self) -> Arc<Trust> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// The documents, to hand on.
    pub fn documents(&self) -> Arc<Documents> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).documents)
    }

    /// The documents that somebody does not hold yet, by the digests of those that they hold.
    pub fn unknown(&self, known: &[Vec<u8>]) -> Offer {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let (documents, digests) = (Arc::clone(&held.documents), Arc::clone(&held.digests));
        drop(held);
        documents::unknown(&documents, &digests, known)
    }

    /// Versions and digests of what is held.
    pub fn state(&self) -> TrustState {
        self.held.read().unwrap_or_else(PoisonError::into_inner).state.clone()
    }

    /// The pinned root.
    pub fn pinned(&self) -> &Envelope {
        &self.pinned
    }

    /// The trust that a permit was decided under: the current one, or for ten minutes one before.
    pub fn of_permit(&self, rules: Digest, directory: Digest, now_ms: u64) -> Option<Arc<Trust>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        if held.current.is_of(rules, directory) {
            return Some(Arc::clone(&held.current));
        }
        held.before
            .iter()
            .filter(|(_, since)| now_ms < since.saturating_add(OVERLAP_MS))
            .find(|(trust, _)| trust.is_of(rules, directory))
            .map(|(trust, _)| Arc::clone(trust))
    }
}

/// A new root may replace the online key: then its new holder has yet to say what is newest, and
/// what is held of the old one is let go.
fn accept(
    pinned: &Envelope,
    documents: &mut Documents,
    offer: &Offer,
    known: (&TrustState, Option<&Trust>),
    now_ms: u64,
) -> Result<(Trust, TrustState), TrustError> {
    match Trust::accept(pinned, documents, known, now_ms) {
        Err(TrustError::Freshness(FreshnessError::Signature(_))) if offer.freshness.is_none() => {
            documents.freshness = None;
            Trust::accept(pinned, documents, known, now_ms)
        }
        accepted => accepted,
    }
}

/// Documents that are accepted.
struct Verified {
    documents: Documents,
    trust: Trust,
    state: TrustState,
    /// Those that were accepted before and are good still.
    before: Option<Documents>,
}

fn verify(
    pinned: &Envelope,
    offer: &Offer,
    state_file: &Path,
    now_ms: u64,
) -> Result<Verified, TrustStoreError> {
    if offer.is_too_much() {
        return Err(TrustStoreError::TooMuch);
    }
    let state = stored(state_file)?.unwrap_or_default();
    let kept = kept(state_file)?;
    // What was accepted says what newer rules and deny lists change, although it may have expired
    // since: or one signer could lift what is denied, once a broker was down for long.
    let before = kept.as_ref().and_then(|documents| {
        let undated = Documents { freshness: None, ..documents.clone() };
        Trust::accept(pinned, &undated, (&state, None), 0).ok().map(|(trust, _)| trust)
    });
    let mut documents = kept.clone().unwrap_or_default().with(offer);
    documents.keep_roots_about(pinned);
    let known = (&state, before.as_ref());
    let mut accepted = accept(pinned, &mut documents, offer, known, now_ms);
    if before.is_none() && accepted.is_err() {
        // What was kept is of no use any more, say because another root was pinned since.
        documents = Documents::default().with(offer);
        documents.keep_roots_about(pinned);
        accepted = Trust::accept(pinned, &documents, (&state, None), now_ms);
    }
    let (trust, state) = accepted?;
    Ok(Verified { documents, trust, state, before: kept.filter(|_| before.is_some()) })
}

/// Keeps what is accepted, before it counts: what was decided must be decidable again.
fn keep(archive: Option<&Archive>, documents: &Documents) -> Result<(), FileError> {
    let Some(archive) = archive else { return Ok(()) };
    archive.keep(documents).inspect_err(|error| {
        tracing::error!(%error, "alarm: accepted documents cannot be archived, so they do not count");
    })
}

/// What is remembered.
fn stored(state_file: &Path) -> Result<Option<TrustState>, FileError> {
    let Some(bytes) = files::read_if_there(state_file)? else { return Ok(None) };
    let state = serde_json::from_slice(&bytes);
    state.map(Some).map_err(|error| FileError::new(state_file, error))
}

/// The newer of each. Versions may go back under a newer root, so that counts first.
fn newest(held: &TrustState, stored: TrustState) -> TrustState {
    let version = |one: &Option<Accepted>| one.as_ref().map_or(0, |one| one.version);
    if version(&held.root) != version(&stored.root) {
        return if version(&held.root) > version(&stored.root) { held.clone() } else { stored };
    }
    let newer = |held: &Option<Accepted>, stored: Option<Accepted>| {
        if version(&stored) > version(held) { stored } else { held.clone() }
    };
    TrustState {
        rules: newer(&held.rules, stored.rules),
        directory: newer(&held.directory, stored.directory),
        deny: newer(&held.deny, stored.deny),
        fresh_at_ms: held.fresh_at_ms.max(stored.fresh_at_ms),
        ..held.clone()
    }
}

fn documents_file(state_file: &Path) -> PathBuf {
    state_file.with_extension("documents")
}

/// The documents that were accepted last.
fn kept(state_file: &Path) -> Result<Option<Documents>, FileError> {
    let path = documents_file(state_file);
    let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
    let answer =
        GetTrustResponse::decode(bytes.as_slice()).map_err(|error| FileError::new(&path, error))?;
    Ok(Some(Documents::default().with(&answer.into())))
}

/// The documents first: after a crash in between, they are newer than the state, which is no
/// rollback.
fn remember(path: &Path, documents: &Documents, state: &TrustState) -> Result<(), FileError> {
    let answer = GetTrustResponse::from(Offer::from(documents.clone()));
    files::replace(&documents_file(path), &answer.encode_to_vec())?;
    let bytes = serde_json::to_vec_pretty(state).map_err(|error| FileError::new(path, error))?;
    files::replace(path, &bytes)
}

/// Asks a broker for all its documents. They are worth nothing until they are verified.
///
/// # Errors
/// Where the broker does not answer.
pub async fn fetch(channel: Channel) -> Result<Offer, tonic::Status> {
    ask(channel, &[]).await
}

/// Gives a broker newer documents.
///
/// # Errors
/// Where it does not answer, or does not accept them.
pub async fn publish(
    channel: Channel,
    offer: Offer,
) -> Result<PublishTrustResponse, tonic::Status> {
    let request = PublishTrustRequest::from(offer);
    let mut client = DirectoryServiceClient::new(channel).max_encoding_message_size(TRUST_MAX);
    let published = tokio::time::timeout(PATIENCE, client.publish_trust(request)).await;
    let late = |_| tonic::Status::deadline_exceeded("the broker does not take the documents");
    Ok(published.map_err(late)??.into_inner())
}

async fn ask(channel: Channel, known: &[Digest]) -> Result<Offer, tonic::Status> {
    let known = known.iter().map(|digest| digest.to_vec()).collect();
    let answer = DirectoryServiceClient::new(channel)
        .max_decoding_message_size(TRUST_MAX)
        .max_encoding_message_size(MESSAGE_MAX)
        .get_trust(GetTrustRequest { known })
        .await?;
    Ok(answer.into_inner().into())
}

/// Why there is no trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// Documents not accepted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// More than anybody verifies.
    #[error("more roots or rules are offered than are verified at once: offer fewer")]
    TooMuch,
    /// State file.
    #[error(transparent)]
    File(#[from] FileError),
    /// This process is about to end.
    #[error("the documents were not verified to the end")]
    Interrupted,
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
