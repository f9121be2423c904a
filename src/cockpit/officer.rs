// SPDX-License-Identifier: EUPL-1.2
//! Legal hold on the command line: one record is kept beyond its time, sealed to a
//! data-protection officer.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_cockpit::{
    export::ExportFile,
    keeper::{
        Archive, HoldError, Holds,
        hold::{Office, Wish},
        parse_day,
    },
    serve::{KeeperConfig, Site},
};
use einmal_peer::{Clock, files, random};
use einmal_protocol::{
    digest::hex,
    seal::{SealingPrivateKey, SealingPublicKey},
    time::{day_of, day_to_iso},
    wire::v1::Kem,
};
use zeroize::Zeroizing;

use super::exit;
use crate::Exit;

const PUBLIC: &str = "einmal-officer-public-x-wing ";
const PRIVATE: &str = "einmal-officer-private-x-wing ";

/// Keeps one record longer than the rules say (IDNrG § 9 (3)): opens it with the key of its day,
/// seals it to a data-protection officer, has the hold written into the ledger, and stores the
/// sealed copy.
#[derive(clap::Args)]
pub(super) struct HoldArgs {
    /// Position in the ledger.
    #[arg(long)]
    index: u64,
    /// Which record of the entry, where there are several.
    #[arg(long)]
    slot: Option<u32>,
    /// The officer's public key, from `hold-key`.
    #[arg(long)]
    officer: PathBuf,
    /// Why: up to 500 bytes that name no person. It stands in the ledger.
    #[arg(long)]
    reason: String,
    /// The copy is deleted after this day: YYYY-MM-DD, at most ten years ahead.
    #[arg(long)]
    until: String,
}

/// Makes an officer's key pair: FILE.key, for its owner alone, and FILE.pub.
#[derive(clap::Args)]
pub(super) struct HoldKeyArgs {
    /// Where to; without ending.
    #[arg(long)]
    out: PathBuf,
}

/// Opens a record that is held longer, as its officer. The file is an export that `einmal verify`
/// accepts.
#[derive(clap::Args)]
pub(super) struct OpenHoldArgs {
    /// Position in the ledger.
    #[arg(long)]
    index: u64,
    /// Which record of the entry, where several are held.
    #[arg(long)]
    slot: Option<u32>,
    /// The officer's private key.
    #[arg(long)]
    key: PathBuf,
    /// Where to; only its owner can read the file.
    #[arg(long)]
    out: PathBuf,
}

fn ended(error: HoldError) -> Exit {
    match error {
        HoldError::Broker(_) => Exit::unavailable(error),
        HoldError::NotWritten(_) | HoldError::Receipt(_) | HoldError::Index(_) => {
            Exit::failed(error)
        }
        _ => Exit::usage(error),
    }
}

pub(super) async fn hold(
    config: &KeeperConfig,
    args: &HoldArgs,
    clock: &Clock,
) -> Result<(), Exit> {
    let officer = public_key(&args.officer)?;
    let until_day = parse_day(&args.until)
        .ok_or_else(|| Exit::usage(format!("`{}` is no day; write YYYY-MM-DD", args.until)))?;
    let site = Site::open(config, clock).await.map_err(exit)?;
    let holds = Holds::open(&config.index(), &config.ledger).await.map_err(Exit::usage)?;
    let files = config.day_key_files();
    let office = Office {
        channel: site.channel.clone(),
        ledger: &site.ledger,
        keeper: &config.keeper,
        archive: site.trusted.as_ref() as &dyn Archive,
        files: &files,
        today: day_of(clock.now_ms()),
    };
    let wish = Wish {
        index: args.index,
        slot: args.slot,
        officer: &officer,
        reason: &args.reason,
        until_day,
    };
    let held = holds.hold(office, wish).await.map_err(ended)?;
    println!(
        "entry {} slot {} is held until {}; the notice is entry {}",
        held.index, held.slot, args.until, held.notice_index
    );
    Ok(())
}

pub(super) async fn list(config: &KeeperConfig) -> Result<(), Exit> {
    let holds = Holds::open(&config.index(), &config.ledger).await.map_err(Exit::usage)?;
    for held in holds.list().await.map_err(Exit::failed)? {
        println!(
            "{:>8}  slot {}  until {}  officer {}  notice {}  {}",
            held.index,
            held.slot,
            day_to_iso(held.until_day),
            hex(&held.officer_key),
            held.notice_index,
            held.reason
        );
    }
    Ok(())
}

pub(super) fn make_key(args: &HoldKeyArgs) -> Result<(), Exit> {
    let (private, public) = (with_ending(&args.out, "key"), with_ending(&args.out, "pub"));
    for path in [&private, &public] {
        if path.exists() {
            return Err(Exit::usage(format!("{} is there already", path.display())));
        }
    }
    let entropy = random::entropy().map_err(Exit::failed)?;
    let key = SealingPrivateKey::generate(Kem::XWing, entropy).map_err(Exit::failed)?;
    let secret = Zeroizing::new(BASE64_STANDARD.encode(key.secret_bytes()));
    let text = Zeroizing::new(format!("{PRIVATE}{}\n", secret.as_str()));
    files::replace_secret(&private, text.as_bytes())?;
    let text = format!("{PUBLIC}{}\n", BASE64_STANDARD.encode(key.public().bytes()));
    files::replace(&public, text.as_bytes())?;
    println!("officer {}", hex(&key.public().id()));
    Ok(())
}

pub(super) async fn open(config: &KeeperConfig, args: &OpenHoldArgs) -> Result<(), Exit> {
    let key = key_bytes(&args.key, PRIVATE)?;
    let key = SealingPrivateKey::new(Kem::XWing, &key).map_err(Exit::usage)?;
    let holds = Holds::open(&config.index(), &config.ledger).await.map_err(Exit::usage)?;
    let export = holds.open_copy(args.index, args.slot, &key).await.map_err(ended)?;
    let summary = format!("entry {} of {}, held longer", args.index, config.ledger);
    let file = ExportFile::from_wire(export, summary).map_err(Exit::failed)?;
    let json = Zeroizing::new(file.to_json().map_err(Exit::failed)?);
    files::replace_secret(&args.out, json.as_bytes())?;
    println!("{}", args.out.display());
    Ok(())
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn public_key(path: &Path) -> Result<SealingPublicKey, Exit> {
    SealingPublicKey::new(Kem::XWing, &key_bytes(path, PUBLIC)?)
        .map_err(|error| Exit::usage(format!("{}: {error}", path.display())))
}

fn key_bytes(path: &Path, kind: &str) -> Result<Zeroizing<Vec<u8>>, Exit> {
    let wrong =
        || Exit::usage(format!("{}: not a file of `hold-key` of this kind", path.display()));
    let bytes = files::read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
    let text = text.trim_end().strip_prefix(kind).ok_or_else(wrong)?;
    BASE64_STANDARD.decode(text).map(Zeroizing::new).map_err(|_| wrong())
}
