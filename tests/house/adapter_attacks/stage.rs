// SPDX-License-Identifier: EUPL-1.2
//! A real adapter and a real client, with a double between them.

use std::{sync::Arc, time::Duration};

use einmal::demo::{
    application,
    plan::{KEEPER, LEDGER, Plan},
    registers::questions,
};
use einmal_adapter_check::forgery::Committed;
use einmal_adapter_kit::Adapter;
use einmal_client::{Ask, Client, Prepared, Received};
use einmal_cockpit::keeper::{DayKeyFiles, DayKeys};
use einmal_peer::{Clock, files};
use einmal_policy::{Question, Trust, decide};
use einmal_protocol::{
    batch,
    commitment::Commitment,
    request::Unverified,
    wire::{
        evidence::v1::RequestEvidenceResponse,
        register::v1::{Open, attach_request::Message as FromAdapter},
        v1::{ExchangeBody, Request, SignedRequest},
    },
};
use prost::Message;

use super::{
    double::{After, Double, Line},
    log::{self, Log},
};
use crate::world::Folder;

/// Whoever is not silent on purpose speaks in this time.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// Chunks are at most this long.
pub(crate) const CHUNK_MAX: u32 = 64 * 1024;
/// Whoever says nothing for so long says nothing.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);
/// The evidence type of the honest exchanges.
pub(crate) const TYPE: &str = "residence-registration";

pub(crate) struct Stage {
    pub(crate) folder: Folder,
    pub(crate) plan: Plan,
    pub(crate) double: Double,
    pub(crate) adapter: Option<Adapter>,
    /// Only the adapter's.
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) trust: Arc<Trust>,
    pub(crate) line: Line,
    /// The true ledger.
    pub(crate) log: Log,
    /// Size of the last checkpoint that the adapter saw.
    pub(crate) seen: u64,
    client_seen: u64,
    next: u64,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A stage whose world was changed before anybody came to it.
    pub(crate) async fn with(change: impl FnOnce(&Plan)) -> Self {
        let folder = Folder::new();
        let system = Clock::system();
        let plan = Plan::create(folder.path(), &system).await.unwrap_or_else(|e| panic!("{e}"));
        change(&plan);
        let keys = folder.path().join("keeper");
        let files = DayKeyFiles {
            site_key: keys.join("site.key"),
            folders: [keys.join("one"), keys.join("two")],
        };
        let identity = folder.path().join(format!("keys/{KEEPER}.key"));
        let identity = Arc::new(files::signing_key(&identity).unwrap());
        let mut days = DayKeys::open(KEEPER.to_owned(), identity, files, system.now_ms()).unwrap();
        let card = days.card(system.now_ms()).unwrap();
        let config = einmal::broker::read(&plan.config("broker")).unwrap_or_else(|e| panic!("{e}"));
        let mut double = Double::start(&plan, config.listen, vec![card]).await;
        let clock = Clock::system();
        let adapter = start_adapter(&plan, &clock).await;
        let line = double.line().await;
        line.welcome(LEDGER, CHUNK_MAX).await;
        let client = einmal::request::connect(&plan.config("client"), system.clone()).await;
        let client = client.unwrap_or_else(|e| panic!("{e}"));
        let log = log::of_world(folder.path());
        let (trust, adapter) = (client.trust(), Some(adapter));
        Self {
            folder,
            plan,
            double,
            adapter,
            clock,
            client,
            trust,
            line,
            log,
            seen: 0,
            client_seen: 0,
            next: 0,
        }
    }

    /// A question of the application, by evidence type.
    pub(crate) fn ask(&self, evidence_type: &str) -> Ask {
        let questions = questions(&self.plan.town);
        let question = questions.iter().find(|question| question.evidence_type == evidence_type);
        application::ask(question.unwrap())
    }

    pub(crate) async fn prepare(&self, ask: Ask) -> Prepared {
        self.client.prepare(&[ask]).await.unwrap().remove(0)
    }

    pub(crate) async fn prepared(&self) -> Prepared {
        self.prepare(self.ask(TYPE)).await
    }

    /// What an honest broker opens for a request, under a new exchange id.
    pub(crate) fn open_of(&mut self, signed_request: &[u8], sealed_person: &[u8]) -> Open {
        let request = Unverified::parse(signed_request).unwrap().request;
        let question = Question::from(&request);
        let permit = decide(&self.trust.rules, &self.trust.directory, &question, request.digest);
        self.next += 1;
        Open {
            exchange: self.next,
            signed_request: signed_request.to_vec(),
            sealed_person: sealed_person.to_vec(),
            permit: permit.map(|permit| permit.bytes().to_vec()).unwrap_or_default(),
            deadline_ms: 10_000,
        }
    }

    /// An honest question about somebody.
    pub(crate) async fn honest_open(&mut self) -> Open {
        let prepared = self.prepared().await;
        self.open_of(&prepared.signed_request, &prepared.sealed_person)
    }

    /// The request changed, and signed again with the key of that name.
    pub(crate) fn forge(
        &self,
        prepared: &Prepared,
        signer: &str,
        change: impl Fn(&mut Request),
    ) -> Vec<u8> {
        let signed = SignedRequest::decode(prepared.signed_request.as_slice()).unwrap();
        let mut request = Request::decode(signed.request.as_slice()).unwrap();
        change(&mut request);
        let key = self.folder.path().join(format!("keys/{signer}.key"));
        let key = files::signing_key(&key).unwrap();
        let signed = batch::sign(&request.authority, &[request.encode_to_vec()], &key).unwrap();
        signed[0].encode_to_vec()
    }

    /// Opens an exchange and takes the adapter's commitment.
    pub(crate) async fn commit(&mut self, open: Open) -> Committed {
        self.line.open(open.clone()).await;
        let message = self.line.next().await;
        let commit = match message {
            Some(FromAdapter::Commit(commit)) => commit,
            Some(FromAdapter::Reveal(_)) => panic!("revealed without a log step"),
            other => panic!("no commitment: {other:?}"),
        };
        assert_eq!(commit.exchange, open.exchange);
        let register = Unverified::parse(&open.signed_request).unwrap().request.register;
        let keys = &self.trust.directory.register(&register).unwrap().keys;
        let commitment = Commitment::verify(&commit.commitment, keys).unwrap();
        let body = ExchangeBody {
            signed_request: open.signed_request,
            permit: open.permit,
            commitment: commit.commitment,
        };
        Committed::new(open.exchange, body, commitment)
    }

    /// Logs truly.
    pub(crate) async fn log(&mut self, committed: &Committed) {
        self.log = self.log.with(committed.leaf);
        self.line.logged(committed.exchange, self.log.last(self.seen)).await;
        self.seen = self.log.size();
    }

    /// Logs truly and takes what is revealed for it.
    pub(crate) async fn reveal(&mut self, committed: &Committed) -> Vec<Vec<u8>> {
        self.log(committed).await;
        match self.line.after(committed.exchange, LONG).await {
            After::Revealed(chunks) => chunks,
            other => panic!("an honest log step must be followed by a reveal, not {other:?}"),
        }
    }

    /// The whole exchange, honestly, up to what the client makes of it.
    pub(crate) async fn exchange(&mut self, prepared: &Prepared) -> Received {
        let open = self.open_of(&prepared.signed_request, &prepared.sealed_person);
        let committed = self.commit(open).await;
        let sealed_evidence = self.reveal(&committed).await.concat();
        self.deliver(prepared, &committed, sealed_evidence).await
    }

    /// Hands a revealed answer to the client.
    pub(crate) async fn deliver(
        &mut self,
        prepared: &Prepared,
        committed: &Committed,
        sealed_evidence: Vec<u8>,
    ) -> Received {
        let seen = self.client_seen;
        let at = self.log.leaves().iter().position(|leaf| *leaf == committed.leaf).unwrap();
        self.double.answer(RequestEvidenceResponse {
            permit: committed.body.permit.clone(),
            commitment: committed.body.commitment.clone(),
            sealed_evidence,
            receipt: Some(self.log.receipt(at as u64, seen)),
        });
        self.client_seen = self.log.size();
        self.client.send(prepared).await.unwrap()
    }

    /// The adapter serves as before.
    pub(crate) async fn still_serves(&mut self) {
        let open = self.honest_open().await;
        let committed = self.commit(open).await;
        self.reveal(&committed).await;
    }

    /// The adapter dropped the stream, and comes back.
    pub(crate) async fn reattach(&mut self) {
        self.line = self.double.line().await;
        assert_eq!(self.line.hello.seen_size, self.seen, "it must remember what it saw");
        self.line.welcome(LEDGER, CHUNK_MAX).await;
    }

    /// As `restart`, while the adapter is about to dial again.
    pub(crate) async fn restart_after_drop(&mut self) {
        self.reattach().await;
        self.restart().await;
    }

    /// The adapter's process ends, and another begins with its files.
    pub(crate) async fn restart(&mut self) {
        let adapter = self.adapter.take().unwrap();
        let hang_up = async {
            assert!(self.line.ends(LONG).await, "the adapter must end the stream");
            self.line.close();
        };
        tokio::join!(adapter.stop(), hang_up);
        self.adapter = Some(start_adapter(&self.plan, &self.clock).await);
        self.reattach().await;
    }
}

async fn start_adapter(plan: &Plan, clock: &Clock) -> Adapter {
    let config = plan.config("adapter-rechenzentrum-weser");
    einmal::adapter::start(&config, clock.clone()).await.unwrap_or_else(|e| panic!("{e}"))
}
