// SPDX-License-Identifier: EUPL-1.2
//! A small world for tests: an authority, a register and a ledger with real keys, and a keeper
//! that follows them. Everything is signed, sealed and committed as in earnest.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a world for tests, of which each uses its part"
)]

pub(crate) mod logins;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use einmal_cockpit::{
    keeper::{
        DayKeyFiles, Entry, Intake, IntakeError, Keeper, KeeperSettings, NoArchive, Participants,
        Taken, connect_in_process,
    },
    login::{LoginConfig, Logins},
};
use einmal_peer::Clock;
use einmal_protocol::{
    Digest, RequestId, batch,
    commitment::{Commitment, Slot},
    entropy::Entropy,
    envelope::payload_type,
    key::{PublicKey, SigningKey},
    leaf::{Leaf, LeafKind, body_bytes},
    merkle::Edge,
    note::{Checkpoint, LedgerKey},
    permit::{Grants, Permit},
    record::{ASKED_SIZE, USE_SIZE, seal, seal_access},
    seal::{Aad, SealKind, SealingPrivateKey, SealingPublicKey},
    time::{DAY_MS, day_of},
    wire::{
        cockpit::v1::{
            ListRecordsRequest, LoginProof, Record, keeper_service_client::KeeperServiceClient,
        },
        v1::{
            self, AccessRecord, AskedRecord, Envelope, ExchangeBody, FieldGrant, Initiation, Kem,
            KeyCard, Outcome, RefusalBody, Subject, SubjectRole, Use, UseBody, UseRecord,
            UseReport, body,
        },
    },
};
use prost::Message;
use tonic::transport::Channel;

use logins::{demo_logins, provider};

pub(crate) const LEDGER: &str = "einmal.example/ledger";
pub(crate) const AUTHORITY: &str = "elterngeldstelle-bremen";
pub(crate) const REGISTER: &str = "standesamt-bremen";
pub(crate) const SLOTS: u32 = 3;
/// 3 March 2026, 09:14 UTC.
pub(crate) const NOW: u64 = 1_772_529_240_000;

static WORLDS: AtomicU64 = AtomicU64::new(0);

/// The canary: none of these strings may ever lie in the clear.
pub(crate) const CANARY: [&str; 6] =
    ["86095742719", "Kanarienvogel", "Serafine Ottilie", "1987-11-30", "Zwiefalten", "EG-4711/26"];

pub(crate) fn canary() -> Subject {
    Subject {
        idnr: CANARY[0].into(),
        birth_name: CANARY[1].into(),
        given_names: CANARY[2].into(),
        birth_date: CANARY[3].into(),
        birth_place: CANARY[4].into(),
    }
}

pub(crate) fn other() -> Subject {
    Subject {
        idnr: "47036892816".into(),
        birth_name: "Beispiel".into(),
        given_names: "Jona".into(),
        birth_date: "1990-04-01".into(),
        birth_place: "Kiel".into(),
    }
}

pub(crate) fn by_number(subject: &Subject) -> Subject {
    Subject {
        idnr: subject.idnr.clone(),
        birth_date: subject.birth_date.clone(),
        ..Subject::default()
    }
}

pub(crate) fn by_birth(subject: &Subject) -> Subject {
    Subject { idnr: String::new(), ..subject.clone() }
}

pub(crate) struct Known {
    authority: PublicKey,
    register: PublicKey,
}

impl Participants for Known {
    fn authority_keys(&self, id: &str) -> Option<Vec<PublicKey>> {
        (id == AUTHORITY).then(|| vec![self.authority.clone()])
    }
    fn register_keys(&self, id: &str) -> Option<Vec<PublicKey>> {
        (id == REGISTER).then(|| vec![self.register.clone()])
    }
    fn slots(&self, _evidence_type: &str) -> Option<u32> {
        Some(SLOTS)
    }
}

/// What an exchange is like; tests change what they are about.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) asked: Subject,
    pub(crate) records: Vec<(Subject, SubjectRole)>,
    pub(crate) outcome: Outcome,
    pub(crate) fields: Vec<String>,
    pub(crate) released: Vec<String>,
    pub(crate) case_reference: String,
    pub(crate) register_case: String,
    pub(crate) clerk: String,
    pub(crate) at_ms: u64,
    pub(crate) ledger: String,
    pub(crate) retry_of: Vec<u8>,
    pub(crate) authority_key: u8,
    pub(crate) register_key: u8,
    pub(crate) purpose: String,
    pub(crate) evidence_type: String,
    pub(crate) spoilt_slot: Option<u32>,
    pub(crate) record_of: Option<Digest>,
    pub(crate) initiation: Initiation,
}

impl Ask {
    pub(crate) fn about(subject: &Subject) -> Self {
        let fields: Vec<String> = ["birth_date", "given_names"].map(Into::into).into();
        Self {
            asked: by_number(subject),
            records: vec![(subject.clone(), SubjectRole::Asked)],
            outcome: Outcome::Found,
            released: fields.clone(),
            fields,
            case_reference: CANARY[5].into(),
            register_case: CANARY[5].into(),
            clerk: String::new(),
            at_ms: NOW,
            ledger: LEDGER.into(),
            retry_of: Vec::new(),
            authority_key: 1,
            register_key: 2,
            purpose: "parental-allowance".into(),
            evidence_type: "birth-certificate".into(),
            spoilt_slot: None,
            record_of: None,
            initiation: Initiation::Application,
        }
    }
}

/// The parts of an exchange, before they are put into a body.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) id: RequestId,
    pub(crate) digest: Digest,
    pub(crate) signed_request: Vec<u8>,
    pub(crate) permit: Vec<u8>,
    pub(crate) commitment: Vec<u8>,
    pub(crate) plain_digests: Vec<Digest>,
    pub(crate) day: u32,
}

pub(crate) struct House {
    pub(crate) folder: PathBuf,
    pub(crate) keeper: Keeper,
    pub(crate) intake: Intake,
    pub(crate) clock: Clock,
    pub(crate) entries: Vec<Entry>,
    pub(crate) edge: Edge,
    /// Where people log in; the keeper takes its tokens.
    pub(crate) login: LoginConfig,
    counter: u64,
}

pub(crate) fn demo() -> Option<LoginProof> {
    Some((&einmal_cockpit::login::LoginProof::Demo).into())
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

pub(crate) fn ledger_key() -> LedgerKey {
    LedgerKey::new(LEDGER, key(3).public().clone()).unwrap()
}

pub(crate) fn files(folder: &std::path::Path) -> DayKeyFiles {
    DayKeyFiles {
        site_key: folder.join("site.key"),
        folders: [folder.join("one"), folder.join("two")],
    }
}

pub(crate) async fn open_keeper(folder: &std::path::Path, clock: Clock, logins: Logins) -> Keeper {
    let settings = KeeperSettings {
        participant: "keeper".into(),
        identity: Arc::new(key(4)),
        files: files(folder),
        index: folder.join("index.sqlite"),
        ledger: ledger_key(),
        retention_days: 731,
        logins,
    };
    Keeper::open(settings, Arc::new(NoArchive), clock).await.unwrap()
}

pub(crate) fn known() -> Arc<Known> {
    Arc::new(Known { authority: key(1).public().clone(), register: key(2).public().clone() })
}

pub(crate) fn fresh_folder() -> PathBuf {
    let number = WORLDS.fetch_add(1, Ordering::Relaxed);
    let folder =
        std::env::temp_dir().join(format!("einmal-cockpit-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl House {
    pub(crate) async fn build() -> Self {
        let folder = fresh_folder();
        let clock = Clock::standing_at(NOW);
        let login = provider(&clock).await;
        let keeper = open_keeper(&folder, clock.clone(), demo_logins(&login, &clock)).await;
        let intake = keeper.intake(known());
        Self {
            folder,
            keeper,
            intake,
            clock,
            entries: Vec::new(),
            edge: Edge::default(),
            login,
            counter: 0,
        }
    }

    pub(crate) async fn reopen(&mut self) {
        self.reopen_for(demo_logins(&self.login, &self.clock)).await;
    }

    /// Opens the keeper again, which then takes these logins.
    pub(crate) async fn reopen_for(&mut self, logins: Logins) {
        self.keeper = open_keeper(&self.folder, self.clock.clone(), logins).await;
        self.intake = self.keeper.intake(known());
    }

    pub(crate) fn client(&self) -> KeeperServiceClient<Channel> {
        connect_in_process(self.keeper.clone())
    }

    fn seed(&mut self) -> [u8; 32] {
        self.counter += 1;
        *Digest::of(&self.counter.to_be_bytes()).as_bytes()
    }

    pub(crate) fn day_key(&self, at_ms: u64) -> SealingPublicKey {
        let card = self.keeper.card(self.clock.now_ms()).unwrap();
        let card = KeyCard::decode(card.payload.as_slice()).unwrap();
        let day = u64::from(day_of(at_ms)) * DAY_MS;
        let key =
            card.keys.iter().find(|key| key.not_after_ms > day + DAY_MS).expect("a key of the day");
        SealingPublicKey::new(Kem::XWing, &key.public_key).unwrap()
    }

    pub(crate) fn make(&mut self, ask: &Ask) -> Made {
        let keeper = self.day_key(ask.at_ms);
        let mut random = [0; 10];
        random.copy_from_slice(&self.seed()[..10]);
        let id = RequestId::new(ask.at_ms - 1000, random);
        let aad = Aad::before_request(id, AUTHORITY, REGISTER, &ask.ledger);
        let asked = AskedRecord {
            request_id: id.as_bytes().to_vec(),
            subject: Some(ask.asked.clone()),
            case_reference: ask.case_reference.clone(),
            clerk: ask.clerk.clone(),
        };
        let entropy = Entropy::new(self.seed());
        let asked =
            seal(&asked, (SealKind::AskedRecord, ASKED_SIZE), &aad, &keeper, entropy).unwrap();
        let reply = SealingPrivateKey::generate(Kem::X25519, Entropy::new(self.seed())).unwrap();
        let request = v1::Request {
            id: id.as_bytes().to_vec(),
            authority: AUTHORITY.into(),
            ledger: ask.ledger.clone(),
            register: REGISTER.into(),
            evidence_type: ask.evidence_type.clone(),
            fields: ask.fields.clone(),
            purpose: ask.purpose.clone(),
            initiation: ask.initiation.into(),
            idnr_used: true,
            sealed_person_digest: Digest::of(b"sealed person").to_vec(),
            reply_kem: Kem::X25519.into(),
            reply_key: reply.public().bytes().to_vec(),
            asked_record: asked.sealed,
            retry_of: ask.retry_of.clone(),
        };
        let signed =
            batch::sign(AUTHORITY, &[request.encode_to_vec()], &key(ask.authority_key)).unwrap();
        let digest = batch::membership(&signed[0]).unwrap().request_digest;
        let grants = ask.fields.iter().map(|field| FieldGrant {
            field: field.clone(),
            policies: vec!["elterngeld-geburtsurkunde".into()],
        });
        let permit = Permit::new(
            digest,
            Digest::of(b"rules"),
            Digest::of(b"directory"),
            Arc::new(Grants::new(grants.collect(), true)),
        );
        let (commitment, plain_digests) = self.commit(ask, digest, permit.digest(), &keeper);
        Made {
            id,
            digest,
            signed_request: signed[0].encode_to_vec(),
            permit: permit.bytes().to_vec(),
            commitment,
            plain_digests,
            day: day_of(ask.at_ms),
        }
    }

    fn commit(
        &mut self,
        ask: &Ask,
        request: Digest,
        permit: Digest,
        keeper: &SealingPublicKey,
    ) -> (Vec<u8>, Vec<Digest>) {
        let mut slots = Vec::new();
        for number in 0..SLOTS {
            let record = match ask.records.get(number as usize) {
                Some((subject, role)) => AccessRecord {
                    request_digest: ask.record_of.unwrap_or(request).to_vec(),
                    subject: Some(subject.clone()),
                    role: (*role).into(),
                    outcome: ask.outcome.into(),
                    fields: ask.released.clone(),
                    case_reference: ask.register_case.clone(),
                },
                None => AccessRecord {
                    request_digest: request.to_vec(),
                    role: SubjectRole::Nobody.into(),
                    ..AccessRecord::default()
                },
            };
            let entropy = Entropy::new(self.seed());
            let slot = number + u32::from(ask.spoilt_slot == Some(number));
            let sealed = seal_access(&record, request, slot, keeper, entropy).unwrap();
            slots.push(Slot { sealed_record: sealed.sealed, plain_digest: sealed.plain_digest });
        }
        let plain_digests = slots.iter().map(|slot| slot.plain_digest).collect();
        let commitment = Commitment {
            request_digest: request,
            permit_digest: permit,
            day: day_of(ask.at_ms),
            committed_at_ms: ask.at_ms,
            sealed_evidence_digest: Digest::of(b"sealed evidence"),
            slots,
        };
        let envelope = Envelope::sign(
            payload_type::COMMITMENT,
            commitment.to_payload(),
            &[&key(ask.register_key)],
        );
        (envelope.unwrap().encode_to_vec(), plain_digests)
    }

    pub(crate) fn log(&mut self, kind: LeafKind, day: u32, body: Vec<u8>) -> u64 {
        let leaf = Leaf::new(kind, day, &body);
        let index = self.entries.len() as u64;
        self.entries.push(Entry { index, leaf: leaf.to_bytes().to_vec(), body });
        self.edge.push(leaf.hash());
        index
    }

    pub(crate) fn log_made(&mut self, made: &Made) -> u64 {
        let body = body_bytes(body::Kind::Exchange(ExchangeBody {
            signed_request: made.signed_request.clone(),
            permit: made.permit.clone(),
            commitment: made.commitment.clone(),
        }));
        self.log(LeafKind::Exchange, made.day, body)
    }

    pub(crate) fn exchange(&mut self, ask: &Ask) -> u64 {
        let made = self.make(ask);
        self.log_made(&made)
    }

    pub(crate) fn refusal(&mut self, ask: &Ask, reason: &str) -> u64 {
        let made = self.make(ask);
        let body = body_bytes(body::Kind::Refusal(RefusalBody {
            signed_request: made.signed_request,
            reason: reason.into(),
            fields: Vec::new(),
            rules_digest: Digest::of(b"rules").to_vec(),
            directory_digest: Digest::of(b"directory").to_vec(),
            refused_at_ms: ask.at_ms,
            register_refusal: Vec::new(),
        }));
        self.log(LeafKind::Refusal, made.day, body)
    }

    pub(crate) fn report(&mut self, made: &Made, use_: Use, signer: u8) -> u64 {
        let keeper = self.day_key(NOW);
        let record = UseRecord { request_digest: made.digest.to_vec(), r#use: use_.into() };
        let aad = Aad::of_request(made.digest, 0);
        let entropy = Entropy::new(self.seed());
        let sealed =
            seal(&record, (SealKind::UseRecord, USE_SIZE), &aad, &keeper, entropy).unwrap();
        let report = UseReport {
            request_id: made.id.as_bytes().to_vec(),
            authority: AUTHORITY.into(),
            ledger: LEDGER.into(),
            request_digest: made.digest.to_vec(),
            sealed_use: sealed.sealed,
            reported_at_ms: NOW,
        };
        let envelope =
            Envelope::sign(payload_type::USE, report.encode_to_vec(), &[&key(signer)]).unwrap();
        let body = body_bytes(body::Kind::Use(UseBody { report: envelope.encode_to_vec() }));
        self.log(LeafKind::Use, made.day, body)
    }

    pub(crate) fn checkpoint(&self) -> String {
        let (size, root) = (self.edge.size(), self.edge.root());
        Checkpoint::sign(LEDGER, size, root, &key(3)).unwrap().note().to_owned()
    }

    /// Everything that the keeper has not seen yet.
    pub(crate) async fn catch_up(&mut self) -> Result<Taken, IntakeError> {
        let from = usize::try_from(self.intake.size().await.unwrap()).unwrap();
        let entries = self.entries[from..].to_vec();
        let checkpoint = self.checkpoint();
        self.intake.take(entries, &checkpoint).await
    }

    pub(crate) async fn records(&self, subject: &Subject) -> Vec<Record> {
        let request = ListRecordsRequest {
            subject: Some(subject.clone()),
            page_size: 200,
            login: demo(),
            ..ListRecordsRequest::default()
        };
        self.client().list_records(request).await.unwrap().into_inner().records
    }

    pub(crate) async fn alarms(&self) -> Vec<String> {
        self.client()
            .get_status(einmal_protocol::wire::cockpit::v1::GetStatusRequest {})
            .await
            .unwrap()
            .into_inner()
            .alarms
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
