// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules`

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use einmal_peer::{Clock, files};
use einmal_policy::{
    Change, Role, Rules,
    chain::check_expiry,
    change,
    rules::SCHEMA,
    rules_document::{Area, EvidenceType, Purpose, RuleTest, RulesDocument, Witnesses},
};
use einmal_protocol::{Digest, envelope::payload_type};
use serde::Deserialize;

use crate::{
    Exit, config,
    documents::{self, SignArgs, VerifyArgs},
};

/// Works on the rules: who may get which fields of which evidence for which purpose.
///
/// A folder holds areas.toml, purposes.toml, evidence-types.toml, tests.toml, policies/*.cedar
/// and, if it likes, ledger.toml; deploy/rules is an example. `build` compiles it and runs its tests; the
/// register authority and the data-protection officer each `sign`; `verify` checks both.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Compiles a folder, runs its tests, and writes an envelope without signatures.
    Build {
        /// The folder.
        folder: PathBuf,
        /// Where the envelope goes.
        #[arg(long, short)]
        out: PathBuf,
        /// Strictly rising.
        #[arg(long, default_value_t = 1)]
        version: u64,
        /// The envelope of the version before; needed from version 2 on.
        #[arg(long)]
        previous: Option<PathBuf>,
        /// Refused after so many days.
        #[arg(long, default_value_t = 90)]
        days: u64,
    },
    /// Adds a signature to an envelope. Each signer does this on their own machine.
    Sign(SignArgs),
    /// Verifies an envelope from the pinned root, compiles it and runs its tests.
    Verify(VerifyArgs),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Areas {
    areas: Vec<Area>,
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

/// Reads a folder of rules.
///
/// # Errors
/// Names the file and line that is wrong.
pub fn read_folder(folder: &Path, edition: Edition) -> Result<RulesDocument, Exit> {
    let schema = match files::read_if_there(&folder.join("schema.cedarschema"))? {
        Some(bytes) => String::from_utf8(bytes).map_err(Exit::usage)?,
        None => SCHEMA.to_owned(),
    };
    let policies = folder.join("policies");
    let entries = std::fs::read_dir(&policies)
        .map_err(|error| Exit::usage(format!("{}: {error}", policies.display())))?;
    // By name, so that the same folder gives the same bytes on every machine.
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(Exit::failed)?.path();
        if path.extension().is_some_and(|ending| ending == "cedar") {
            found.insert(path.clone(), files::read_text(&path)?);
        }
    }
    let policies: Vec<String> = found.into_values().collect();
    let ledger_file = folder.join("ledger.toml");
    let ledger =
        if ledger_file.exists() { config::read(&ledger_file)? } else { OfLedger::default() };
    Ok(RulesDocument {
        version: edition.version,
        previous: edition.previous,
        change: None,
        issued_at_ms: edition.issued_at_ms,
        expires_at_ms: edition.expires_at_ms,
        schema,
        policies: policies.join("\n"),
        areas: config::read::<Areas>(&folder.join("areas.toml"))?.areas,
        purposes: config::read::<Purposes>(&folder.join("purposes.toml"))?.purposes,
        evidence_types: config::read::<EvidenceTypes>(&folder.join("evidence-types.toml"))?
            .evidence_types,
        tests: config::read::<Tests>(&folder.join("tests.toml"))?.tests,
        retention_days: ledger.retention_days,
        witnesses: ledger.witnesses,
    })
}

fn compile(document: &RulesDocument) -> Result<Rules, Exit> {
    let payload = serde_json::to_vec(document).map_err(Exit::failed)?;
    Rules::parse(&payload).map_err(Exit::usage)
}

/// Runs it.
///
/// # Errors
/// Where rules or signatures are not accepted.
pub fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Build { folder, out, version, previous, days } => {
            let old = match previous {
                Some(path) => Some(files::envelope(&path)?.payload),
                None => None,
            };
            let previous = old.as_deref().map(|payload| Digest::of(payload).to_hex());
            let issued_at_ms = Clock::system().now_ms();
            let expires_at_ms = issued_at_ms.saturating_add(days.saturating_mul(86_400_000));
            let edition = Edition { version, previous, issued_at_ms, expires_at_ms };
            let mut document = read_folder(&folder, edition)?;
            // Compiled once to derive the class, which is then part of what is signed.
            document.change = old.as_ref().map(|_| Change::Widens);
            let rules = compile(&document)?;
            if let Some(old) = old {
                let old = Rules::parse(&old).map_err(Exit::usage)?;
                let derived = change::class(&old, &rules);
                println!("change from version {}: {derived}", old.document().version);
                document.change = Some(derived);
            }
            println!("{} tests pass", document.tests.len());
            documents::build(payload_type::RULES, &document, &out)
        }
        What::Sign(args) => documents::sign(&args),
        What::Verify(args) => {
            let envelope = files::envelope(args.envelope())?;
            let both = [Role::RegisterAuthority, Role::DataProtectionOfficer];
            documents::check(args.root(), &envelope, payload_type::RULES, &both)?;
            let rules = Rules::parse(&envelope.payload).map_err(Exit::refused)?;
            let document = rules.document();
            check_expiry("rules", document.expires_at_ms, Clock::system().now_ms())
                .map_err(Exit::refused)?;
            println!(
                "version {} of the rules is good: {} evidence types, {} purposes, {} tests pass",
                document.version,
                document.evidence_types.len(),
                document.purposes.len(),
                document.tests.len()
            );
            Ok(())
        }
    }
}
