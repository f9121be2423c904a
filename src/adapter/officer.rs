// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter officer`: the day keys of a register's data-protection officer.

use std::path::{Path, PathBuf};

use einmal_adapter_kit::journal::{
    fingerprint,
    officer::{KEY, Officer, Renewed},
};
use einmal_peer::{Clock, KeyFile, files};
use einmal_policy::{Root, root::Role, rules::RETENTION_DAYS, rules_document::RulesDocument};
use einmal_protocol::{envelope::payload_type, time::day_to_iso};

use crate::{Exit, pki, signer};

/// Keys are made for so many days, unless somebody says otherwise.
const DAYS: u32 = 400;
const DAYS_MAX: u32 = 1_000;

/// Makes and renews the keys to which a register's journal is sealed. For its data-protection
/// officer, on a machine of their own.
///
///   einmal adapter officer init officer --passphrase
///   einmal adapter officer renew officer
///
/// The file officer/officer.cards goes to whoever runs the adapter; the rest of the folder to
/// nobody. Lost keys are lost: keep a copy of the folder where you keep the folder's day keys as
/// secret, and renew it there too, so that what is to be forgotten is.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Makes an officer's folder: an identity key, and a key for each day.
    Init {
        /// The folder.
        folder: PathBuf,
        /// For so many days, from today on.
        #[arg(long, default_value_t = DAYS)]
        days: u32,
        /// Encrypt it; you are asked for a passphrase twice.
        #[arg(long)]
        passphrase: bool,
        /// Encrypt it; the passphrase is the first line of this file.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Adds days, and destroys the keys of those that are over.
    Renew {
        /// The folder.
        folder: PathBuf,
        /// For so many days, from today on.
        #[arg(long, default_value_t = DAYS)]
        days: u32,
        /// The signed rules, which say for how long records are kept. Without them: two years.
        #[arg(long, value_name = "FILE", requires = "root")]
        rules: Option<PathBuf>,
        /// The root that they are signed under.
        #[arg(long, value_name = "FILE", requires = "rules")]
        root: Option<PathBuf>,
        /// The passphrase is the first line of this file. Without it, you are asked.
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
}

/// Runs it.
///
/// # Errors
/// Where files cannot be read or written, or the rules are not signed as they must be.
pub fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Init { folder, days, passphrase, passphrase_file } => {
            let key = folder.join(KEY);
            let asks = passphrase || passphrase_file.is_some();
            let passphrase = asks
                .then(|| signer::new_passphrase(&key, passphrase_file.as_deref()))
                .transpose()?;
            pki::new_identity_key(&key, passphrase.as_ref())?;
            let passphrase_file = passphrase_file.as_deref();
            let opened = match passphrase {
                Some(passphrase) => KeyFile::read(&key)?.open(Some(&passphrase))?,
                None => signer::open_file(&key, passphrase_file)?,
            };
            let officer = Officer::new(&folder, opened)?;
            let made = officer.renew(at_most(days)?, RETENTION_DAYS, Clock::system().now_ms())?;
            tell(&officer, &made);
            println!(
                "send that file to the operator of the adapter, and tell them the fingerprint by \
                 another way: they compare it before they use the file"
            );
            Ok(())
        }
        What::Renew { folder, days, rules, root, passphrase_file } => {
            let retention_days = match (rules, root) {
                (Some(rules), Some(root)) => retention(&rules, &root)?,
                _ => RETENTION_DAYS,
            };
            let officer = open(&folder, passphrase_file.as_deref())?;
            let now_ms = Clock::system().now_ms();
            let renewed = officer.renew(at_most(days)?, retention_days, now_ms)?;
            match (renewed.destroyed.first(), renewed.destroyed.last()) {
                (Some(first), Some(last)) => println!(
                    "destroyed {} day keys, {} to {}: older than {retention_days} days; what was \
                     journalled then opens nobody any more",
                    renewed.destroyed.len(),
                    day_to_iso(*first),
                    day_to_iso(*last)
                ),
                _ => println!("no day key is older than {retention_days} days"),
            }
            tell(&officer, &renewed);
            println!("send that file to the operator of the adapter, which takes it by itself");
            Ok(())
        }
    }
}

/// Makes an officer without a passphrase, for the demo and for tests.
///
/// # Errors
/// Where files cannot be written.
pub fn make(folder: &Path, days: u32, now_ms: u64) -> Result<Officer, Exit> {
    pki::new_identity_key(&folder.join(KEY), None)?;
    let officer = open(folder, None)?;
    officer.renew(at_most(days)?, RETENTION_DAYS, now_ms)?;
    Ok(officer)
}

/// Opens an officer's folder.
///
/// # Errors
/// Where there is none, or the passphrase is wrong.
pub(super) fn open(folder: &Path, passphrase_file: Option<&Path>) -> Result<Officer, Exit> {
    Ok(Officer::new(folder, signer::open_file(&folder.join(KEY), passphrase_file)?)?)
}

fn at_most(days: u32) -> Result<u32, Exit> {
    if !(2..=DAYS_MAX).contains(&days) {
        return Err(Exit::usage(format!("--days is a number from 2 to {DAYS_MAX}")));
    }
    Ok(days)
}

fn tell(officer: &Officer, renewed: &Renewed) {
    println!(
        "made {} day keys, the last for {}; {} is version {}",
        renewed.made.len(),
        day_to_iso(renewed.last_day),
        officer.cards().display(),
        renewed.version
    );
    println!("fingerprint  {}", fingerprint(officer.public()));
}

/// For how many days the signed rules keep records.
fn retention(rules: &Path, root: &Path) -> Result<u32, Exit> {
    let (rules, root) = (files::envelope(rules)?, files::envelope(root)?);
    let root = Root::pinned(&root).map_err(Exit::usage)?;
    let signers = [Role::RegisterAuthority, Role::DataProtectionOfficer];
    root.check_signed(&rules, payload_type::RULES, &signers).map_err(Exit::usage)?;
    let document: RulesDocument = serde_json::from_slice(&rules.payload).map_err(Exit::usage)?;
    Ok(document.retention_days.unwrap_or(RETENTION_DAYS))
}
