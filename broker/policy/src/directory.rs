// SPDX-License-Identifier: EUPL-1.2
//! The directory: who takes part, with which keys, through which operators, and which ledgers
//! there are. Signed by the register authority. It cannot grant what the rules do not.

use std::collections::{BTreeSet, HashMap};

use einmal_protocol::{Digest, key::PublicKey, note::LedgerKey, request::is_id};
use serde::{Deserialize, Serialize};

use crate::root::KeyText;

/// The directory as it is signed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDocument {
    /// Strictly rising.
    pub version: u64,
    /// SHA-256 (hex) of the previous version's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// UTC milliseconds.
    pub issued_at_ms: u64,
    /// UTC milliseconds.
    pub expires_at_ms: u64,
    /// Rules below this version are refused.
    pub lowest_rules_version: u64,
    /// Who runs connectors and adapters.
    pub operators: Vec<Operator>,
    /// Who asks.
    pub authorities: Vec<Authority>,
    /// Who is asked.
    pub registers: Vec<Register>,
    /// Who keeps the citizens' records.
    pub keepers: Vec<Keeper>,
    /// Who reads bodies to check them.
    #[serde(default)]
    pub auditors: Vec<Operator>,
    /// Who routes.
    pub brokers: Vec<Broker>,
    /// Where it is logged.
    pub ledgers: Vec<LedgerEntry>,
}

/// Who runs programs for participants (betriebsverantwortliche Stelle).
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Last part of its SPIFFE id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A public body that needs evidence.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// Its id; never given to another.
    pub id: String,
    /// Its name, as citizens read it.
    pub name: String,
    /// Its area.
    pub area: String,
    /// Kinds that rules name: "parental-allowance-office".
    pub kinds: Vec<String>,
    /// Regional key (AGS, 8 digits, or ARS, 12); empty where it is not regional.
    #[serde(default)]
    pub region: String,
    /// Its identity keys.
    pub keys: Vec<KeyText>,
    /// Operators that may carry for it.
    pub operators: Vec<String>,
}

/// A public body that holds data.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Its id; never given to another.
    pub id: String,
    /// Its name, as citizens read it.
    pub name: String,
    /// Its area.
    pub area: String,
    /// Regional key; empty where it serves everywhere.
    #[serde(default)]
    pub region: String,
    /// What it holds.
    pub evidence_types: Vec<String>,
    /// Its identity keys.
    pub keys: Vec<KeyText>,
    /// Operators that may carry for it.
    pub operators: Vec<String>,
}

/// A keeper of access records.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Keeper {
    /// Last part of its SPIFFE id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// "https://host:port", where adapters and clients hand in the checkpoints that they saw, not
    /// through a broker; empty where nobody does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// Its identity keys.
    pub keys: Vec<KeyText>,
}

/// A broker.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// Last part of its SPIFFE id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// "https://host:port".
    pub address: String,
    /// Origin of the ledger that it writes.
    pub ledger: String,
}

/// A ledger.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// Its origin.
    pub origin: String,
    /// Its key as `name+hash+key`.
    pub key: String,
    /// Where checkpoint and tiles are served; may be empty.
    #[serde(default)]
    pub url: String,
    /// The keeper whose keys its records are sealed to.
    pub keeper: String,
    /// The last checkpoint, once the ledger is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_checkpoint: Option<String>,
}

/// A participant's entry with its keys parsed.
#[derive(Clone, Debug)]
pub struct Entry<T> {
    /// As in the document.
    pub entry: T,
    /// Its identity keys.
    pub keys: Vec<PublicKey>,
}

/// An open or closed ledger.
#[derive(Clone, Debug)]
pub struct KnownLedger {
    /// As in the document.
    pub entry: LedgerEntry,
    /// Its key.
    pub key: LedgerKey,
}

/// A directory, parsed and indexed.
#[derive(Clone, Debug)]
pub struct Directory {
    document: DirectoryDocument,
    digest: Digest,
    operators: HashMap<String, Operator>,
    authorities: HashMap<String, Entry<Authority>>,
    registers: HashMap<String, Entry<Register>>,
    keepers: HashMap<String, Entry<Keeper>>,
    ledgers: HashMap<String, KnownLedger>,
}

impl Directory {
    /// Reads a payload whose signatures were checked.
    ///
    /// # Errors
    /// Names the entry that is malformed, double or refers to something that is not there.
    pub fn parse(payload: &[u8]) -> Result<Self, DirectoryError> {
        let document: DirectoryDocument = serde_json::from_slice(payload)
            .map_err(|error| DirectoryError::Form(error.to_string()))?;
        let operators = index(&document.operators, |entry| &entry.id, |entry| Ok(entry.clone()))?;
        let known = |ids: &[String], by: &str| match ids
            .iter()
            .find(|id| !operators.contains_key(*id))
        {
            Some(id) => {
                Err(DirectoryError::Unknown { what: "operator", id: id.clone(), by: by.to_owned() })
            }
            None => Ok(()),
        };
        let authorities = index(
            &document.authorities,
            |entry| &entry.id,
            |entry| {
                known(&entry.operators, &entry.id)?;
                with_keys(entry, &entry.id, &entry.keys)
            },
        )?;
        let registers = index(
            &document.registers,
            |entry| &entry.id,
            |entry| {
                known(&entry.operators, &entry.id)?;
                with_keys(entry, &entry.id, &entry.keys)
            },
        )?;
        let keepers = index(
            &document.keepers,
            |entry| &entry.id,
            |entry| with_keys(entry, &entry.id, &entry.keys),
        )?;
        // Both have key cards, found by id alone: one id for both, and a register could make the
        // keys that a keeper's records are sealed to.
        if let Some(both) = document.keepers.iter().find(|entry| registers.contains_key(&entry.id))
        {
            return Err(DirectoryError::Twice { id: both.id.clone() });
        }
        let mut ledgers = HashMap::new();
        for entry in &document.ledgers {
            let bad = || DirectoryError::Malformed { what: "ledger", id: entry.origin.clone() };
            let key = LedgerKey::parse(&entry.key).map_err(|_| bad())?;
            if key.name() != entry.origin {
                return Err(bad());
            }
            if !keepers.contains_key(&entry.keeper) {
                return Err(DirectoryError::Unknown {
                    what: "keeper",
                    id: entry.keeper.clone(),
                    by: entry.origin.clone(),
                });
            }
            let ledger = KnownLedger { entry: entry.clone(), key };
            if ledgers.insert(entry.origin.clone(), ledger).is_some() {
                return Err(DirectoryError::Twice { id: entry.origin.clone() });
            }
        }
        if let Some(broker) = document.brokers.iter().find(|b| !ledgers.contains_key(&b.ledger)) {
            return Err(DirectoryError::Unknown {
                what: "ledger",
                id: broker.ledger.clone(),
                by: broker.id.clone(),
            });
        }
        let digest = Digest::of(payload);
        Ok(Self { document, digest, operators, authorities, registers, keepers, ledgers })
    }

    /// This directory, where some keys sign nothing that counts and some operators carry for
    /// nobody. It keeps its digest: permits name what was signed.
    #[must_use]
    pub fn without(&self, keys: &BTreeSet<PublicKey>, operators: &BTreeSet<&str>) -> Self {
        let mut this = self.clone();
        let allowed = |carries: &mut Vec<String>| {
            carries.retain(|operator| !operators.contains(operator.as_str()));
        };
        for found in this.authorities.values_mut() {
            found.keys.retain(|key| !keys.contains(key));
            allowed(&mut found.entry.operators);
        }
        for found in this.registers.values_mut() {
            found.keys.retain(|key| !keys.contains(key));
            allowed(&mut found.entry.operators);
        }
        for found in this.keepers.values_mut() {
            found.keys.retain(|key| !keys.contains(key));
        }
        this.operators.retain(|operator, _| !operators.contains(operator.as_str()));
        this
    }

    /// The document.
    pub fn document(&self) -> &DirectoryDocument {
        &self.document
    }

    /// SHA-256 of the payload.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// An authority.
    pub fn authority(&self, id: &str) -> Option<&Entry<Authority>> {
        self.authorities.get(id)
    }

    /// A register.
    pub fn register(&self, id: &str) -> Option<&Entry<Register>> {
        self.registers.get(id)
    }

    /// A keeper.
    pub fn keeper(&self, id: &str) -> Option<&Entry<Keeper>> {
        self.keepers.get(id)
    }

    /// A ledger by its origin.
    pub fn ledger(&self, origin: &str) -> Option<&KnownLedger> {
        self.ledgers.get(origin)
    }

    /// Whether an operator is entered.
    pub fn has_operator(&self, id: &str) -> bool {
        self.operators.contains_key(id)
    }

    /// Whether an operator may carry for an authority.
    pub fn may_carry_for_authority(&self, operator: &str, authority: &str) -> bool {
        self.authority(authority)
            .is_some_and(|found| found.entry.operators.iter().any(|id| id == operator))
    }

    /// Whether an operator may carry for a register.
    pub fn may_carry_for_register(&self, operator: &str, register: &str) -> bool {
        self.register(register)
            .is_some_and(|found| found.entry.operators.iter().any(|id| id == operator))
    }

    /// The identity keys of a register or keeper, for its key cards.
    pub fn card_keys(&self, participant: &str) -> Option<&[PublicKey]> {
        self.register(participant)
            .map(|found| found.keys.as_slice())
            .or_else(|| self.keeper(participant).map(|found| found.keys.as_slice()))
    }

    /// The registers that hold an evidence type, those of a region first, then those that serve
    /// everywhere.
    pub fn registers_of<'a>(
        &'a self,
        evidence_type: &'a str,
        region: &'a str,
    ) -> impl Iterator<Item = &'a Register> {
        let holds = move |register: &&Register| {
            register.evidence_types.iter().any(|held| held == evidence_type)
        };
        let near = self
            .document
            .registers
            .iter()
            .filter(holds)
            .filter(move |r| !r.region.is_empty() && region.starts_with(&r.region));
        let everywhere =
            self.document.registers.iter().filter(holds).filter(|r| r.region.is_empty());
        near.chain(everywhere)
    }
}

fn index<T, E>(
    entries: &[T],
    id: impl Fn(&T) -> &String,
    make: impl Fn(&T) -> Result<E, DirectoryError>,
) -> Result<HashMap<String, E>, DirectoryError> {
    let mut found = HashMap::with_capacity(entries.len());
    for entry in entries {
        let key = id(entry);
        if !is_id(key) {
            return Err(DirectoryError::Malformed { what: "id", id: key.clone() });
        }
        if found.insert(key.clone(), make(entry)?).is_some() {
            return Err(DirectoryError::Twice { id: key.clone() });
        }
    }
    Ok(found)
}

fn with_keys<T: Clone>(entry: &T, id: &str, keys: &[KeyText]) -> Result<Entry<T>, DirectoryError> {
    let malformed = || DirectoryError::Malformed { what: "keys", id: id.to_owned() };
    let parsed: Vec<PublicKey> =
        keys.iter().map(KeyText::parse).collect::<Result<_, _>>().map_err(|_| malformed())?;
    let distinct: BTreeSet<_> = parsed.iter().collect();
    if parsed.is_empty() || distinct.len() != parsed.len() {
        return Err(malformed());
    }
    Ok(Entry { entry: entry.clone(), keys: parsed })
}

/// Why a directory is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DirectoryError {
    /// Not the form.
    #[error("the directory is malformed: {0}")]
    Form(String),
    /// A part of an entry.
    #[error("the {what} of `{id}` is malformed")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// Of which entry.
        id: String,
    },
    /// Two entries of one id.
    #[error("`{id}` is entered twice")]
    Twice {
        /// The id.
        id: String,
    },
    /// A reference to nothing.
    #[error("`{by}` names the {what} `{id}`, which is not entered")]
    Unknown {
        /// Kind of entry.
        what: &'static str,
        /// Its id.
        id: String,
        /// Who names it.
        by: String,
    },
}
