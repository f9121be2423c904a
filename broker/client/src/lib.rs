// SPDX-License-Identifier: EUPL-1.2
//! What an authority links: resolve, sign, seal, send, verify, open, report, in one call each.

mod brokers;
mod error;
mod prepare;
mod receive;

use std::{path::PathBuf, sync::Arc, time::Duration};

use einmal_peer::{Cards, Clock, HandIn, Seen, Tls, TrustStore, hand_in::HandedIn, trust};
use einmal_policy::{Root, Trust, documents::Offer};
use einmal_protocol::{
    RequestId,
    envelope::payload_type,
    key::SigningKey,
    leaf::{Leaf, LeafKind, body_bytes},
    note::{Checkpoint, LedgerKey},
    permit::Permit,
    person::Person,
    receipt::{self, Proven, ReceiptError},
    record,
    seal::{Aad, SealKind},
    time::day_of,
    wire::{
        evidence::v1::{ExplainRequest, ExplainResponse, ReportUseRequest, RequestEvidenceRequest},
        v1::{Envelope, Initiation, Use, UseBody, UseRecord, UseReport, body},
    },
};
use prost::Message;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

use brokers::{Brokers, Patience};
pub use error::ClientError;
pub use prepare::Prepared;
pub use receive::Received;

/// What a client needs.
pub struct ClientSetup {
    /// The broker to ask first, "https://host:port"; others come from the directory.
    pub broker: String,
    /// Own certificate and whom to believe.
    pub tls: Tls,
    /// The pinned root.
    pub root: Envelope,
    /// Folder for trusted state and last checkpoints.
    pub state: PathBuf,
    /// The time.
    pub clock: Clock,
    /// Id of the authority in the directory.
    pub authority: String,
    /// Its identity key.
    pub identity: SigningKey,
}

/// A question about one person.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who is asked; left out: the register of the authority's region that holds it.
    pub register: Option<String>,
    /// For what.
    pub evidence_type: String,
    /// Which fields; any order.
    pub fields: Vec<String>,
    /// What for.
    pub purpose: String,
    /// On whose initiative.
    pub initiation: Initiation,
    /// About whom, in which case. Sealed; the broker never sees it.
    pub person: Person,
    /// The earlier request whose answer was lost.
    pub retry_of: Option<RequestId>,
}

/// An authority's way to evidence.
pub struct Client {
    clock: Clock,
    authority: String,
    identity: SigningKey,
    trust: Arc<TrustStore>,
    cards: Cards,
    seen: Arc<Seen>,
    hand_in: HandIn,
    /// Ends what hands in once a day, and what asks for newer trust.
    _tasks: DropGuard,
    brokers: Arc<Brokers>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.authority)
    }
}

impl Client {
    /// Fetches rules and directory and verifies them from the pinned root.
    ///
    /// # Errors
    /// Where the broker does not answer, its documents are not accepted, or the authority is not
    /// in the directory with this key.
    pub async fn connect(setup: ClientSetup) -> Result<Self, ClientError> {
        let trust_domain = Root::pinned(&setup.root)?.document().trust_domain.clone();
        let (brokers, channel) = Brokers::new(&setup.broker, &trust_domain, setup.tls.clone())?;
        let now_ms = setup.clock.now_ms();
        let state = setup.state.join("trust.json");
        let trust = match trust::fetch(channel).await {
            Ok(documents) => TrustStore::open(setup.root, documents, &state, now_ms)?,
            // What was accepted before names other brokers.
            Err(status) => TrustStore::open(setup.root, Offer::default(), &state, now_ms)
                .map_err(|_| ClientError::from(status))?,
        };
        let (trust, brokers) = (Arc::new(trust), Arc::new(brokers));
        let directory = Arc::clone(&trust.current().directory);
        let entry = directory.authority(&setup.authority).ok_or_else(|| ClientError::Unknown {
            what: "authority",
            id: setup.authority.clone(),
        })?;
        if !entry.keys.contains(setup.identity.public()) {
            return Err(ClientError::OtherKey);
        }
        let seen = Arc::new(Seen::open(&setup.state.join("seen.json"), &directory)?);
        let cards = Cards::open(&setup.state.join("cards"), &directory, now_ms)?;
        let hand_in = HandIn::new(Arc::clone(&setup.tls.client), &trust_domain);
        let stop = CancellationToken::new();
        let daily = hand_in.clone().daily(Arc::clone(&seen), Arc::clone(&trust), stop.clone());
        tokio::spawn(daily);
        let polled = (Arc::clone(&trust), Arc::clone(&brokers), setup.clock.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(poll(polled)));
        Ok(Self {
            clock: setup.clock,
            authority: setup.authority,
            identity: setup.identity,
            trust,
            cards,
            seen,
            hand_in,
            _tasks: stop.drop_guard(),
            brokers,
        })
    }

    /// Id of the authority in the directory.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The trust that this client holds.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.current()
    }

    /// Takes newer rules and directory, if the broker has them.
    ///
    /// # Errors
    /// Where the broker does not answer, or they are not accepted.
    pub async fn renew_trust(&self) -> Result<(), ClientError> {
        let offer = trust::fetch(self.channel()?).await?;
        self.trust.renew(offer, self.clock.now_ms()).await?;
        Ok(())
    }

    /// The trust that an answer was decided under: the broker may hold newer rules than this
    /// client held when it asked.
    async fn trust_of(&self, prepared: &Prepared, permit: &[u8]) -> Arc<Trust> {
        // The rules of then, and the deny list of now.
        let of_then = || Arc::new(prepared.trust.with_the_deny_list_of(&self.trust.current()));
        let Ok(permit) = Permit::parse(permit) else { return of_then() };
        let (rules, directory) = (permit.rules_digest(), permit.directory_digest());
        let find = || self.trust.of_permit(rules, directory, self.clock.now_ms());
        if let Some(trust) = find() {
            return trust;
        }
        if prepared.trust.is_of(rules, directory) {
            return of_then();
        }
        for (_, channel) in self.brokers.channels(self.trust().directory.document(), None) {
            if let Err(status) = self.trust.poll(channel, self.clock.now_ms()).await {
                tracing::warn!(message = status.message(), "a broker does not hand out its trust");
            }
            if let Some(trust) = find() {
                return trust;
            }
        }
        of_then()
    }

    /// Signs and seals some questions under one signature. Nothing is sent yet.
    ///
    /// # Errors
    /// Where a register cannot be resolved, or a key card is missing.
    pub async fn prepare(&self, asks: &[Ask]) -> Result<Vec<Prepared>, ClientError> {
        prepare::prepare(self, asks).await
    }

    /// Sends one prepared question, verifies the answer and opens it. May be called again with
    /// the same question: the broker gives the same answer, within some minutes. A broker that
    /// drains, is busy or away is left for the next of the directory, which gets the same bytes.
    ///
    /// # Errors
    /// A refusal or fault with its stable reason, or what in the answer does not hold.
    pub async fn send(&self, prepared: &Prepared) -> Result<Received, ClientError> {
        self.send_with(prepared, Patience::Once).await
    }

    /// As `send`, but goes on trying until `time` is over, waiting as long as brokers ask to.
    ///
    /// # Errors
    /// As `send`; `Late` where no broker answered in time.
    pub async fn send_within(
        &self,
        prepared: &Prepared,
        time: Duration,
    ) -> Result<Received, ClientError> {
        let ends = tokio::time::Instant::now() + time;
        self.send_with(prepared, Patience::Until(ends)).await
    }

    async fn send_with(
        &self,
        prepared: &Prepared,
        patience: Patience,
    ) -> Result<Received, ClientError> {
        self.seen.check(&prepared.ledger)?;
        // What this client had seen when it asked: the proof must start there.
        let seen = self.seen.last(&prepared.ledger);
        let request = RequestEvidenceRequest {
            signed_request: prepared.signed_request.clone(),
            sealed_person: prepared.sealed_person.clone(),
            seen_size: seen.as_ref().map_or(0, Checkpoint::size),
        };
        let directory = self.trust().directory.clone();
        let answer = self
            .brokers
            .ask(directory.document(), &prepared.ledger, patience, |mut broker| {
                let request = request.clone();
                async move { broker.request_evidence(request).await }
            })
            .await?;
        let note = answer.receipt.as_ref().map(|receipt| receipt.checkpoint.clone());
        let trust = self.trust_of(prepared, &answer.permit).await;
        let received = receive::receive(prepared, &trust, answer, seen.as_ref())
            .inspect_err(|error| self.suspect(error, note.as_deref(), &prepared.ledger_key))?;
        self.seen.advance(received.proven.checkpoint(), seen.as_ref())?;
        Ok(received)
    }

    /// Asks one question.
    ///
    /// # Errors
    /// As `prepare` and `send`.
    pub async fn ask(&self, ask: Ask) -> Result<Received, ClientError> {
        let prepared = self.prepare(&[ask]).await?;
        let prepared = prepared.first().ok_or(ClientError::Misbehaved("an empty batch"))?;
        self.send(prepared).await
    }

    /// Says what became of an answer. To be called for every answer.
    ///
    /// # Errors
    /// Where the broker refuses it or does not answer, or its receipt does not hold.
    pub async fn report_use(&self, received: &Received, used: Use) -> Result<Proven, ClientError> {
        let now_ms = self.clock.now_ms();
        let trust = self.trust.current();
        let ledger = trust
            .directory
            .ledger(&received.ledger)
            .ok_or_else(|| ClientError::Unknown { what: "ledger", id: received.ledger.clone() })?;
        let keeper = self.sealing_key(&ledger.entry.keeper, &trust).await?;
        let record = UseRecord { request_digest: received.request.to_vec(), r#use: used.into() };
        let sealed = record::seal(
            &record,
            (SealKind::UseRecord, record::USE_SIZE),
            &Aad::of_request(received.request, 0),
            &keeper,
            einmal_peer::random::entropy()?,
        )?;
        let report = UseReport {
            request_id: received.id.as_bytes().to_vec(),
            authority: self.authority.clone(),
            ledger: received.ledger.clone(),
            request_digest: received.request.to_vec(),
            sealed_use: sealed.sealed,
            reported_at_ms: now_ms,
        };
        let envelope =
            Envelope::sign(payload_type::USE, report.encode_to_vec(), &[&self.identity])?
                .encode_to_vec();
        self.seen.check(&received.ledger)?;
        let seen = self.seen.last(&received.ledger);
        let request = ReportUseRequest {
            report: envelope.clone(),
            seen_size: seen.as_ref().map_or(0, Checkpoint::size),
        };
        let (document, ledger_id) = (trust.directory.document(), received.ledger.as_str());
        let answer = self
            .brokers
            .ask(document, ledger_id, Patience::Once, |mut broker| {
                let request = request.clone();
                async move { broker.report_use(request).await }
            })
            .await?;
        let receipt = answer.receipt.ok_or(ClientError::Misbehaved("no receipt"))?;
        let body = body_bytes(body::Kind::Use(UseBody { report: envelope }));
        let proven = [day_of(now_ms), day_of(now_ms) + 1]
            .into_iter()
            .map(|day| Leaf::new(LeafKind::Use, day, &body))
            .find(|leaf| receipt.leaf == leaf.to_bytes())
            .ok_or(ClientError::Misbehaved("a receipt for another report"))
            .map(|leaf| receipt::verify(&receipt, leaf, &ledger.key, seen.as_ref()))?
            .map_err(ClientError::from)
            .inspect_err(|error| self.suspect(error, Some(&receipt.checkpoint), &ledger.key))?;
        self.seen.advance(proven.checkpoint(), seen.as_ref())?;
        Ok(proven)
    }

    /// What would be decided, and by which rules. Fetches and logs nothing.
    ///
    /// # Errors
    /// Where the broker does not answer.
    pub async fn explain(&self, ask: &Ask) -> Result<ExplainResponse, ClientError> {
        let trust = self.trust.current();
        let request = ExplainRequest {
            authority: self.authority.clone(),
            register: prepare::resolve(self, &trust, ask)?,
            evidence_type: ask.evidence_type.clone(),
            fields: ask.fields.clone(),
            purpose: ask.purpose.clone(),
            initiation: ask.initiation.into(),
            idnr_used: ask.person.query.uses_idnr(),
        };
        let ledger = prepare::open_ledger(&trust)?;
        let document = trust.directory.document();
        self.brokers
            .ask(document, &ledger.entry.origin, Patience::Once, |mut broker| {
                let request = request.clone();
                async move { broker.explain(request).await }
            })
            .await
    }

    /// Keeps the last checkpoints, so that after a restart they are still what new ones must
    /// extend. To be called before the process ends.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self) -> Result<(), ClientError> {
        Ok(self.seen.save()?)
    }

    /// Hands in what this client saw of each ledger to its keeper, now. It is done by itself
    /// shortly after the start and once a day; a process that ends sooner calls this.
    pub async fn hand_in(&self) -> HandedIn {
        self.hand_in.now(&self.seen, &self.trust.current().directory).await
    }

    /// A checkpoint of the ledger's own key that is not proven to extend the last one may be of
    /// another history: the keeper is asked.
    fn suspect(&self, error: &ClientError, note: Option<&str>, key: &LedgerKey) {
        if let ClientError::Receipt(
            ReceiptError::NoConsistency { .. } | ReceiptError::Inconsistent { .. },
        ) = error
            && let Some(checkpoint) = note.and_then(|note| Checkpoint::parse(note, key).ok())
        {
            self.seen.suspect(&checkpoint);
        }
    }

    /// The broker that is best at the moment.
    fn channel(&self) -> Result<Channel, ClientError> {
        let channels = self.brokers.channels(self.trust().directory.document(), None);
        channels.into_iter().next().map(|(_, channel)| channel).ok_or(ClientError::Late)
    }

    async fn sealing_key(
        &self,
        participant: &str,
        trust: &Trust,
    ) -> Result<einmal_protocol::seal::SealingPublicKey, ClientError> {
        let now_ms = self.clock.now_ms();
        let mut last = ClientError::Late;
        for (_, channel) in self.brokers.channels(trust.directory.document(), None) {
            let key = self.cards.key_or_fetch(participant, &trust.directory, &channel, now_ms);
            match key.await {
                Ok(key) => return Ok(key),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }
}

/// Takes newer rules, directory and deny list while the client lasts.
async fn poll((trust, brokers, clock): (Arc<TrustStore>, Arc<Brokers>, Clock)) {
    loop {
        tokio::time::sleep(trust::POLL).await;
        for (_, channel) in brokers.channels(trust.current().directory.document(), None) {
            match trust.poll(channel, clock.now_ms()).await {
                Ok(_) => break,
                Err(status) => {
                    let message = status.message();
                    tracing::debug!(message, "a broker does not hand out its trust");
                }
            }
        }
    }
}
