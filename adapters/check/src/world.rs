// SPDX-License-Identifier: EUPL-1.2
//! A world of the check's own: root, rules, directory, deny list, brokers, ledgers, a keeper and
//! authorities, all with keys that nobody else has. The rules say what the operator's say.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use einmal_peer::random::{self, NoRandomness};
use einmal_policy::{
    Trust, TrustState,
    chain::Accepted,
    deny::{DenyDocument, DenyEntry},
    directory::{Authority, Broker, DirectoryDocument, Keeper, LedgerEntry, Operator, Register},
    documents::{Documents, Offer},
    freshness::Freshness,
    root::{KeyText, Role, RoleKeys, RootDocument},
    rules_document::{RulesDocument, Witnesses},
    trust::TrustError,
};
use einmal_protocol::{
    Digest,
    cosignature::Cosigner,
    envelope::payload_type,
    key::{KeyError, SigningKey},
    note::{LedgerKey, NoteError},
    seal::{SealError, SealingPrivateKey},
    wire::{
        directory::v1::GetTrustResponse,
        v1::{Envelope, Kem, KeyCard, SealingKey},
    },
};
use prost::Message;
use serde::Serialize;

use crate::{
    broker::Board,
    choice::{self, Choice, Choices},
    log::Log,
};

/// The trust domain of all certificates.
pub const TRUST_DOMAIN: &str = "check.einmal.example";
/// Who runs the adapter: the last part of its certificate's name.
pub const OPERATOR: &str = "check-operator";
/// The authority that the rules permit nothing.
pub const STRANGER: &str = "check-stranger";
/// The authority that is put on the deny list.
pub const DENIED: &str = "check-denied";
const KEEPER: &str = "check-keeper";
const DAY_MS: u64 = 86_400_000;
/// A world lives no longer than this.
const LIFE_MS: u64 = 2 * DAY_MS;
/// Clocks differ.
const EARLY_MS: u64 = 10 * 60_000;

/// A register that is checked.
#[derive(Clone, Debug)]
pub struct RegisterSpec {
    /// Its id.
    pub id: String,
    /// What it holds.
    pub evidence_types: Vec<String>,
    /// Its area; where it is not known, one under which the rules permit something is taken.
    pub area: Option<String>,
    /// Its identity key.
    pub key: KeyText,
}

/// What a world is made of.
#[derive(Debug)]
pub struct Spec {
    /// What the rules say; their version, times and witnesses are replaced.
    pub rules: RulesDocument,
    /// The registers.
    pub registers: Vec<RegisterSpec>,
    /// Addresses of the brokers, each of which writes a ledger of its own.
    pub brokers: Vec<String>,
    /// Now, UTC milliseconds.
    pub now_ms: u64,
}

/// The keys that sign documents.
#[derive(Debug)]
struct Officers {
    root: SigningKey,
    register_authority: SigningKey,
    data_protection: SigningKey,
    emergency: SigningKey,
    online: SigningKey,
}

/// A world.
#[derive(Debug)]
pub struct World {
    /// What adapters pin.
    pub root: Envelope,
    /// What the brokers hand out.
    pub board: Arc<Board>,
    /// The same documents, verified.
    pub trust: Trust,
    /// The ledgers, one a broker.
    pub ledgers: Vec<Log>,
    /// What opens access records.
    pub keeper: SealingPrivateKey,
    /// What may be asked.
    pub choices: Choices,
    authorities: HashMap<String, SigningKey>,
    officers: Officers,
    deny: Mutex<DenyDocument>,
}

fn new_key() -> Result<SigningKey, WorldError> {
    Ok(SigningKey::from_seed(&random::bytes::<32>()?)?)
}

fn signed(
    kind: &str,
    document: &impl Serialize,
    signers: &[&SigningKey],
) -> Result<Envelope, WorldError> {
    let payload = serde_json::to_vec(document).map_err(|error| WorldError::Form(error.to_string()));
    Ok(Envelope::sign(kind, payload?, signers)?)
}

fn accepted(version: u64, envelope: &Envelope) -> Accepted {
    Accepted { version, digest: Digest::of(&envelope.payload).to_hex() }
}

/// Id of the n-th broker, counted from 1.
pub fn broker_id(number: usize) -> String {
    format!("check-broker-{number}")
}

impl World {
    /// Makes a world. The deny list is at first too old to count: an adapter that attaches now
    /// must answer nothing until [`World::freshen`].
    ///
    /// # Errors
    /// Where the rules cannot be used, or there is no randomness.
    pub fn new(spec: Spec) -> Result<Self, WorldError> {
        let Spec { mut rules, mut registers, brokers, now_ms } = spec;
        let issued_at_ms = now_ms.saturating_sub(EARLY_MS);
        let witness = Arc::new(vec![Cosigner::new("check.einmal.example/witness", new_key()?)?]);
        reissue(&mut rules, issued_at_ms, &witness);
        let officers = Officers {
            root: new_key()?,
            register_authority: new_key()?,
            data_protection: new_key()?,
            emergency: new_key()?,
            online: new_key()?,
        };
        let choices = choice::choose(&rules, &mut registers)?;
        let authorities = choices
            .askers
            .keys()
            .map(|id| Ok((id.clone(), new_key()?)))
            .collect::<Result<HashMap<_, _>, WorldError>>()?;
        let mut ledgers = Vec::new();
        for number in 1..=brokers.len() {
            let origin = format!("{TRUST_DOMAIN}/ledger-{number}");
            let mut log = Log::new(&origin, Arc::new(new_key()?));
            log.witnesses = Arc::clone(&witness);
            log.cosigned_at_s = now_ms / 1000;
            ledgers.push(log);
        }
        let keeper_identity = new_key()?;
        let directory = directory(
            (&choices, &authorities),
            &registers,
            (&brokers, &ledgers),
            keeper_identity.public().into(),
            issued_at_ms,
        )?;
        let rules = signed(
            payload_type::RULES,
            &rules,
            &[&officers.register_authority, &officers.data_protection],
        )?;
        let directory =
            signed(payload_type::DIRECTORY, &directory, &[&officers.register_authority])?;
        let root = root_document(&officers, issued_at_ms);
        let root = signed(payload_type::ROOT, &root, &[&officers.root])?;
        let empty = DenyDocument { version: 1, previous: None, issued_at_ms, entries: Vec::new() };
        let deny = signed(payload_type::DENY, &empty, &[&officers.emergency])?;
        let keeper = SealingPrivateKey::generate(Kem::XWing, random::entropy()?)?;
        let card = card(&keeper, &keeper_identity, now_ms)?;
        let documents = GetTrustResponse {
            roots: vec![root.clone()],
            rules: vec![rules],
            directory: Some(directory),
            deny: Some(deny),
            freshness: None,
        };
        let fresh = freshness(&officers, &documents, 1, now_ms)?;
        let trust =
            accept(&root, GetTrustResponse { freshness: Some(fresh), ..documents.clone() })?;
        let world = Self {
            root,
            board: Arc::new(Board::new(documents, vec![card])),
            trust,
            ledgers,
            keeper,
            choices,
            authorities,
            officers,
            deny: Mutex::new(empty),
        };
        // Twice as old as counts.
        let long_ago = now_ms.saturating_sub(2 * einmal_policy::freshness::STALE_MS);
        world.freshen(long_ago)?;
        Ok(world)
    }

    /// Says that the documents were the newest at this time.
    ///
    /// # Errors
    /// Where the key cannot sign.
    pub fn freshen(&self, now_ms: u64) -> Result<(), WorldError> {
        let version = self.deny.lock().unwrap_or_else(PoisonError::into_inner).version;
        let fresh = freshness(&self.officers, &self.board.documents(), version, now_ms)?;
        self.board.change(|documents| documents.freshness = Some(fresh));
        Ok(())
    }

    /// Puts an authority on the deny list.
    ///
    /// # Errors
    /// Where the key cannot sign.
    pub fn deny(&self, authority: &str, now_ms: u64) -> Result<(), WorldError> {
        let documents = self.board.documents();
        let before = documents.deny.unwrap_or_default();
        let envelope = {
            let mut deny = self.deny.lock().unwrap_or_else(PoisonError::into_inner);
            deny.version += 1;
            deny.previous = Some(Digest::of(&before.payload).to_hex());
            deny.issued_at_ms = now_ms;
            deny.entries.push(DenyEntry {
                id: authority.to_owned(),
                reason: "checked: what is denied must be refused at once".to_owned(),
                authority: Some(authority.to_owned()),
                ..DenyEntry::default()
            });
            signed(payload_type::DENY, &*deny, &[&self.officers.emergency])?
        };
        self.board.change(|documents| documents.deny = Some(envelope));
        self.freshen(now_ms)
    }

    /// The identity key of an authority.
    pub fn authority(&self, id: &str) -> Option<&SigningKey> {
        self.authorities.get(id)
    }

    /// What may be asked of a register about an evidence type.
    pub fn choice(&self, register: &str, evidence_type: &str, idnr_used: bool) -> Option<&Choice> {
        let key = (register.to_owned(), evidence_type.to_owned(), idnr_used);
        self.choices.found.get(&key)
    }
}

fn reissue(rules: &mut RulesDocument, issued_at_ms: u64, witness: &[Cosigner]) {
    rules.version = 1;
    rules.previous = None;
    rules.change = None;
    rules.issued_at_ms = issued_at_ms;
    rules.expires_at_ms = issued_at_ms + LIFE_MS;
    // Whoever checks needs the witnesses' keys. A witness is asked for in any case, so that an
    // adapter that does not count them is found out before the rules ask for it.
    let keys = witness.iter().map(|one| one.public().to_string()).collect();
    rules.witnesses = Some(Witnesses { required: 1, keys });
}

fn root_document(officers: &Officers, issued_at_ms: u64) -> RootDocument {
    let role = |key: &SigningKey| RoleKeys { keys: vec![key.public().into()], threshold: 1 };
    RootDocument {
        version: 1,
        previous: None,
        issued_at_ms,
        expires_at_ms: issued_at_ms + LIFE_MS,
        trust_domain: TRUST_DOMAIN.to_owned(),
        roles: BTreeMap::from([
            (Role::Root, role(&officers.root)),
            (Role::RegisterAuthority, role(&officers.register_authority)),
            (Role::DataProtectionOfficer, role(&officers.data_protection)),
            (Role::Emergency, role(&officers.emergency)),
            (Role::Online, role(&officers.online)),
        ]),
    }
}

fn directory(
    (choices, keys): (&Choices, &HashMap<String, SigningKey>),
    registers: &[RegisterSpec],
    (brokers, ledgers): (&[String], &[Log]),
    keeper: KeyText,
    issued_at_ms: u64,
) -> Result<DirectoryDocument, WorldError> {
    let operators = vec![OPERATOR.to_owned()];
    let authorities = choices.askers.iter().filter_map(|(id, asker)| {
        Some(Authority {
            id: id.clone(),
            name: id.clone(),
            area: asker.area.clone(),
            kinds: asker.kind.iter().cloned().collect(),
            region: String::new(),
            keys: vec![keys.get(id)?.public().into()],
            operators: operators.clone(),
        })
    });
    let mut entries = Vec::new();
    for log in ledgers {
        entries.push(LedgerEntry {
            origin: log.origin.clone(),
            key: LedgerKey::new(&log.origin, log.key.public().clone())?.to_string(),
            url: String::new(),
            keeper: KEEPER.to_owned(),
            final_checkpoint: None,
        });
    }
    let brokers = (1..).zip(brokers).zip(ledgers).map(|((number, address), log)| Broker {
        id: broker_id(number),
        name: broker_id(number),
        address: address.clone(),
        ledger: log.origin.clone(),
    });
    let registers = registers.iter().map(|register| Register {
        id: register.id.clone(),
        name: register.id.clone(),
        area: register.area.clone().unwrap_or_default(),
        region: String::new(),
        evidence_types: register.evidence_types.clone(),
        keys: vec![register.key.clone()],
        operators: operators.clone(),
    });
    Ok(DirectoryDocument {
        version: 1,
        previous: None,
        issued_at_ms,
        expires_at_ms: issued_at_ms + LIFE_MS,
        lowest_rules_version: 1,
        operators: vec![Operator { id: OPERATOR.to_owned(), name: OPERATOR.to_owned() }],
        authorities: authorities.collect(),
        registers: registers.collect(),
        keepers: vec![Keeper {
            id: KEEPER.to_owned(),
            name: KEEPER.to_owned(),
            address: String::new(),
            keys: vec![keeper],
        }],
        auditors: Vec::new(),
        brokers: brokers.collect(),
        ledgers: entries,
    })
}

fn card(
    keeper: &SealingPrivateKey,
    identity: &SigningKey,
    now_ms: u64,
) -> Result<Envelope, WorldError> {
    let card = KeyCard {
        participant: KEEPER.to_owned(),
        version: 1,
        previous_digest: Vec::new(),
        issued_at_ms: now_ms.saturating_sub(EARLY_MS),
        expires_at_ms: now_ms + LIFE_MS,
        keys: vec![SealingKey {
            kem: Kem::XWing.into(),
            public_key: keeper.public().bytes().to_vec(),
            not_before_ms: now_ms.saturating_sub(EARLY_MS),
            not_after_ms: now_ms + LIFE_MS,
        }],
    };
    Ok(Envelope::sign(payload_type::KEY_CARD, card.encode_to_vec(), &[identity])?)
}

fn freshness(
    officers: &Officers,
    documents: &GetTrustResponse,
    deny_version: u64,
    issued_at_ms: u64,
) -> Result<Envelope, WorldError> {
    let none = Envelope::default();
    let freshness = Freshness {
        issued_at_ms,
        rules: accepted(1, documents.rules.last().unwrap_or(&none)),
        directory: accepted(1, documents.directory.as_ref().unwrap_or(&none)),
        deny: accepted(deny_version, documents.deny.as_ref().unwrap_or(&none)),
    };
    signed(payload_type::FRESHNESS, &freshness, &[&officers.online])
}

fn accept(root: &Envelope, documents: GetTrustResponse) -> Result<Trust, WorldError> {
    let now_ms = einmal_peer::Clock::system().now_ms();
    let documents = Documents::default().with(&Offer::from(documents));
    let (trust, _) = Trust::accept(root, &documents, (&TrustState::default(), None), now_ms)?;
    Ok(trust)
}

/// Why no world can be made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A name of a ledger or witness.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A document.
    #[error("a document cannot be written: {0}")]
    Form(String),
    /// The rules.
    #[error("these rules cannot be used: {0}")]
    Rules(#[from] einmal_policy::rules::RulesError),
    /// The documents together.
    #[error("the check's own documents are not accepted: {0}")]
    Trust(#[from] TrustError),
}
