// SPDX-License-Identifier: EUPL-1.2
//! Rules from a folder that people write, or from an envelope that was built of one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use einmal_peer::files;
use einmal_policy::{
    Directory, Rules,
    rules::{RulesError, SCHEMA},
    rules_document::{
        Area, AuthorityKind, EvidenceType, Purpose, RuleTest, RulesDocument, Witnesses,
    },
    vocabulary::RULES_MAX,
};
use einmal_protocol::{envelope::payload_type, wire::v1::Envelope};
use serde::Deserialize;

use crate::{Exit, config, rules::place::Places};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Areas {
    areas: Vec<Area>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kinds {
    kinds: Vec<AuthorityKind>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Purposes {
    purposes: Vec<Purpose>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceTypes {
    evidence_types: Vec<EvidenceType>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tests {
    tests: Vec<RuleTest>,
}

/// What the rules say about the ledger; the file may be missing.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfLedger {
    #[serde(default)]
    retention_days: Option<u32>,
    #[serde(default)]
    witnesses: Option<Witnesses>,
}

/// What a version of the rules says about itself.
#[derive(Default)]
pub struct Edition {
    /// Strictly rising.
    pub version: u64,
    /// Digest of the version before, in hex.
    pub previous: Option<String>,
    /// UTC milliseconds.
    pub issued_at_ms: u64,
    /// UTC milliseconds.
    pub expires_at_ms: u64,
}

/// A folder of rules, and where in it everything stands.
pub(super) struct Folder {
    /// What would be signed.
    pub(super) document: RulesDocument,
    places: Places,
}

impl Folder {
    /// Compiles the document and runs its tests.
    ///
    /// # Errors
    /// Names the file, line and column of what is wrong.
    pub(super) fn compile(&self) -> Result<Rules, Exit> {
        self.parse().map_err(|error| self.explain(&error))
    }

    /// Compiles the document without its tests.
    ///
    /// # Errors
    /// Names the file, line and column of what is wrong.
    pub(super) fn compile_untested(&self) -> Result<Rules, Exit> {
        let mut document = self.document.clone();
        document.tests.clear();
        parse(&document)?.map_err(|error| self.explain(&error))
    }

    fn parse(&self) -> Result<Rules, RulesError> {
        match serde_json::to_vec(&self.document) {
            Ok(payload) => Rules::parse(&payload),
            Err(error) => Err(RulesError::Form(error.to_string())),
        }
    }

    /// An error with its place.
    pub(super) fn explain(&self, error: &RulesError) -> Exit {
        Exit::usage(self.places.explain(error))
    }
}

fn parse(document: &RulesDocument) -> Result<Result<Rules, RulesError>, Exit> {
    Ok(Rules::parse(&serde_json::to_vec(document).map_err(Exit::failed)?))
}

/// Reads a folder of rules.
///
/// # Errors
/// Names the file and line that is wrong.
pub fn read_folder(folder: &Path, edition: Edition) -> Result<RulesDocument, Exit> {
    read(folder, edition).map(|folder| folder.document)
}

/// Reads a folder of rules, and remembers where everything stands.
///
/// # Errors
/// Names the file and line that is wrong.
pub(super) fn read(folder: &Path, edition: Edition) -> Result<Folder, Exit> {
    for entry in [folder, &folder.join("policies")].into_iter().filter_map(|f| f.read_dir().ok()) {
        for file in entry.flatten() {
            bounded(&file.path())?;
        }
    }
    let schema = match files::read_if_there(&folder.join("schema.cedarschema"))? {
        Some(bytes) => String::from_utf8(bytes).map_err(Exit::usage)?,
        None => SCHEMA.to_owned(),
    };
    let policies = policies(folder)?;
    let ledger: OfLedger = if_there(&folder.join("ledger.toml"))?.unwrap_or_default();
    let kinds: Option<Kinds> = if_there(&folder.join("kinds.toml"))?;
    let text: Vec<&str> = policies.iter().map(|(_, text)| text.as_str()).collect();
    let document = RulesDocument {
        version: edition.version,
        previous: edition.previous,
        change: None,
        issued_at_ms: edition.issued_at_ms,
        expires_at_ms: edition.expires_at_ms,
        schema,
        policies: text.join(JOINT),
        kinds: kinds.map(|listed| listed.kinds).unwrap_or_default(),
        areas: config::read::<Areas>(&folder.join("areas.toml"))?.areas,
        purposes: config::read::<Purposes>(&folder.join("purposes.toml"))?.purposes,
        evidence_types: config::read::<EvidenceTypes>(&folder.join("evidence-types.toml"))?
            .evidence_types,
        tests: config::read::<Tests>(&folder.join("tests.toml"))?.tests,
        retention_days: ledger.retention_days,
        witnesses: ledger.witnesses,
    };
    Ok(Folder { document, places: Places::new(folder.to_owned(), policies) })
}

/// Between two files of policies.
pub(super) const JOINT: &str = "\n";

/// Looked at before it is read: whatever somebody sends, this machine does not run out of memory.
fn bounded(path: &Path) -> Result<(), Exit> {
    match path.metadata() {
        Ok(found) if found.is_file() && found.len() > RULES_MAX as u64 => {
            Err(Exit::usage(format!(
                "{}: {} bytes, and rules are at most {RULES_MAX}: split or shorten",
                path.display(),
                found.len()
            )))
        }
        _ => Ok(()),
    }
}

/// The files of policies by name, so that the same folder gives the same bytes on every machine.
fn policies(folder: &Path) -> Result<Vec<(PathBuf, String)>, Exit> {
    let folder = folder.join("policies");
    let entries = std::fs::read_dir(&folder)
        .map_err(|error| Exit::usage(format!("{}: {error}", folder.display())))?;
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(Exit::failed)?.path();
        if path.extension().is_some_and(|ending| ending == "cedar") {
            found.insert(path.clone(), files::read_text(&path)?);
        }
    }
    Ok(found.into_iter().collect())
}

fn if_there<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, Exit> {
    if path.exists() { config::read(path).map(Some) } else { Ok(None) }
}

/// Rules from a folder, or from an envelope whose signatures are not looked at.
///
/// # Errors
/// Where they are not sound.
pub(crate) fn open(path: &Path) -> Result<Rules, Exit> {
    if path.is_dir() {
        return read(path, Edition { version: 1, ..Edition::default() })?.compile();
    }
    let envelope = of_kind(path, payload_type::RULES)?;
    let place = |error| Exit::usage(format!("{}: {error}", path.display()));
    Rules::parse(&envelope.payload).map_err(place)
}

/// A directory whose signatures are not looked at.
///
/// # Errors
/// Where it is not sound.
pub(super) fn open_directory(path: &Path) -> Result<Directory, Exit> {
    let envelope = of_kind(path, payload_type::DIRECTORY)?;
    let place = |error| Exit::usage(format!("{}: {error}", path.display()));
    Directory::parse(&envelope.payload).map_err(place)
}

fn of_kind(path: &Path, kind: &str) -> Result<Envelope, Exit> {
    if kind == payload_type::RULES {
        bounded(path)?;
    }
    let envelope = files::envelope(path)?;
    if envelope.payload_type == kind {
        return Ok(envelope);
    }
    let other = &envelope.payload_type;
    Err(Exit::usage(format!("{}: it holds `{other}`, not `{kind}`", path.display())))
}
