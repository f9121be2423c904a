// SPDX-License-Identifier: EUPL-1.2
//! `einmal deny`

use std::path::{Path, PathBuf};

use einmal_peer::{Clock, files};
use einmal_policy::{
    Trust,
    deny::{DenyDocument, DenyEntry, DenyList},
    documents::Offer,
    freshness::STALE_MS,
    root::KeyText,
};
use einmal_protocol::{envelope::payload_type, key::Signer, time::to_iso, wire::v1::Envelope};
use prost::Message;

use crate::{
    Exit,
    documents::{self, PublishArgs, SignArgs},
    publisher::{self, Publisher, PublisherArgs},
    signer::{self, PassphraseArgs},
};

/// Works on the deny list: what is forbidden at once, whatever the rules say.
///
/// The emergency key adds entries; they are effective at every broker and register within ten
/// seconds. To lift one grants again, so it takes the register authority and the data-protection
/// officer: `lift` writes a file, each of them signs it, `publish` gives it to the brokers.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Init(InitArgs),
    Add(Box<AddArgs>),
    Lift(LiftArgs),
    Sign(SignArgs),
    /// Gives a signed list to every broker of the directory. Effective at once.
    Publish(PublishArgs),
    Show(ShowArgs),
}

/// Writes the first list, which forbids nothing, signed by the emergency key.
#[derive(clap::Args)]
struct InitArgs {
    /// The emergency key, PKCS#8. Without one the list is not signed yet: `einmal deny sign`.
    #[arg(long)]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Where the list goes.
    #[arg(long, short)]
    out: PathBuf,
}

/// Forbids every request that fits all that you name, at once and everywhere.
#[derive(clap::Args)]
#[command(after_help = "Example, no office may fetch diagnoses any more:\n  \
    einmal deny add stop-diagnoses --evidence-type disability-status --field diagnosis \\\n    \
    --reason \"wrong data were entered, see ticket 4711\" --key keys/emergency.key")]
#[group(id = "criteria", required = true, multiple = true)]
struct AddArgs {
    /// A name for the entry; refusals show it.
    id: String,
    #[command(flatten)]
    publisher: PublisherArgs,
    /// The emergency key, PKCS#8. With --out it may be left out: `einmal deny sign` follows.
    #[arg(long, required_unless_present = "out")]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Why. Citizens and authorities can read it; name no person.
    #[arg(long)]
    reason: String,
    /// This authority.
    #[arg(long, group = "criteria")]
    authority: Option<String>,
    /// Authorities of this kind.
    #[arg(long, group = "criteria")]
    authority_kind: Option<String>,
    /// This register.
    #[arg(long, group = "criteria")]
    register: Option<String>,
    /// This evidence type.
    #[arg(long, group = "criteria")]
    evidence_type: Option<String>,
    /// This field of the evidence type.
    #[arg(long, requires = "evidence_type")]
    field: Option<String>,
    /// This purpose, and every narrower one.
    #[arg(long, group = "criteria")]
    purpose: Option<String>,
    /// This operator carries for nobody. Alone.
    #[arg(long, group = "criteria")]
    operator: Option<String>,
    /// Everything that this identity key signs: a file with the public key as in the directory,
    /// {"algorithm": "...", "key": "..."}. Alone.
    #[arg(long, group = "criteria")]
    signed_by: Option<PathBuf>,
    /// Every request. Alone.
    #[arg(long, group = "criteria")]
    everything: bool,
    /// Forbid it although rules and directory know no such name.
    #[arg(long)]
    even_if_unknown: bool,
    /// Write the list here instead of publishing it: where more than one emergency key must sign.
    #[arg(long, short)]
    out: Option<PathBuf>,
}

/// Writes a list without some entries, not signed yet.
#[derive(clap::Args)]
struct LiftArgs {
    /// Ids of the entries.
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    publisher: PublisherArgs,
    /// Where the list goes.
    #[arg(long, short)]
    out: PathBuf,
}

/// Shows what is forbidden, and whether that is fresh.
#[derive(clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    publisher: PublisherArgs,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where a list is not accepted, or a broker does not take it.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Init(args) => init(&args),
        What::Add(args) => add(*args).await,
        What::Lift(args) => lift(&args).await,
        What::Sign(args) => documents::sign(&args),
        What::Publish(args) => documents::publish(&args).await,
        What::Show(args) => show(&args).await,
    }
}

async fn open(args: &PublisherArgs) -> Result<Publisher, Exit> {
    Publisher::open(&publisher::read(&args.config)?, Clock::system()).await
}

fn init(args: &InitArgs) -> Result<(), Exit> {
    let document = DenyDocument {
        version: 1,
        previous: None,
        issued_at_ms: Clock::system().now_ms(),
        entries: Vec::new(),
    };
    let key = key(args.key.as_deref(), &args.passphrase)?;
    write(&args.out, &signed(&document, key.as_deref())?)
}

/// The emergency key, unless a device keeps it: then the list is signed in a step of its own.
fn key(path: Option<&Path>, passphrase: &PassphraseArgs) -> Result<Option<Box<dyn Signer>>, Exit> {
    path.map(|path| signer::open(path, passphrase)).transpose()
}

fn signed(document: &DenyDocument, key: Option<&dyn Signer>) -> Result<Envelope, Exit> {
    let keys: Vec<&dyn Signer> = key.into_iter().collect();
    Envelope::sign(payload_type::DENY, bytes(document)?, &keys).map_err(Exit::failed)
}

fn bytes(document: &DenyDocument) -> Result<Vec<u8>, Exit> {
    let payload = serde_json::to_vec(document).map_err(Exit::failed)?;
    DenyList::parse(&payload).map_err(Exit::usage)?;
    Ok(payload)
}

fn write(out: &Path, envelope: &Envelope) -> Result<(), Exit> {
    files::replace(out, &envelope.encode_to_vec())?;
    println!("{}: {} signatures", out.display(), envelope.signatures.len());
    Ok(())
}

/// The list after the newest one.
fn next(publisher: &Publisher) -> DenyDocument {
    let trust = publisher.trust.current();
    let held = trust.deny.as_deref();
    DenyDocument {
        version: held.map_or(1, |held| held.document().version.saturating_add(1)),
        previous: held.map(|held| held.digest().to_hex()),
        issued_at_ms: publisher.clock.now_ms(),
        entries: held.map(|held| held.document().entries.clone()).unwrap_or_default(),
    }
}

async fn add(args: AddArgs) -> Result<(), Exit> {
    let key = key(args.key.as_deref(), &args.passphrase)?;
    let signed_by = match &args.signed_by {
        Some(path) => {
            let text: KeyText = serde_json::from_slice(&files::read(path)?)
                .map_err(|error| Exit::usage(format!("{}: {error}", path.display())))?;
            Some(text)
        }
        None => None,
    };
    let entry = DenyEntry {
        id: args.id,
        reason: args.reason,
        authority: args.authority,
        authority_kind: args.authority_kind,
        register: args.register,
        evidence_type: args.evidence_type,
        field: args.field,
        purpose: args.purpose,
        operator: args.operator,
        key: signed_by,
        everything: args.everything,
    };
    let publisher = open(&args.publisher).await?;
    if !args.even_if_unknown {
        check_names(&publisher.trust.current(), &entry)?;
    }
    let mut document = next(&publisher);
    document.entries.push(entry);
    let signed = signed(&document, key.as_deref())?;
    match args.out {
        Some(out) => write(&out, &signed),
        None => publish(&publisher, signed).await,
    }
}

/// A name that is misspelt would forbid nothing, and nobody would notice.
fn check_names(trust: &Trust, entry: &DenyEntry) -> Result<(), Exit> {
    let directory = trust.signed_directory();
    let rules = &trust.rules;
    let kind_is_known = |kind: &str| {
        let mut kinds = directory.document().authorities.iter().flat_map(|office| &office.kinds);
        kinds.any(|known| known == kind)
    };
    let type_is_known = |id: &str| rules.evidence_type(id).is_some();
    let field_is_known = |field: &str| {
        let kind = entry.evidence_type.as_deref().and_then(|id| rules.evidence_type(id));
        kind.is_some_and(|kind| kind.fields.iter().any(|known| known.name == field))
    };
    let is_known =
        |named: &Option<String>, known: &dyn Fn(&str) -> bool| named.as_deref().is_none_or(known);
    let DenyEntry { authority, authority_kind, register, evidence_type, .. } = entry;
    let DenyEntry { field, purpose, operator, .. } = entry;
    let checked = [
        ("authority", authority, is_known(authority, &|id| directory.authority(id).is_some())),
        ("kind of authority", authority_kind, is_known(authority_kind, &kind_is_known)),
        ("register", register, is_known(register, &|id| directory.register(id).is_some())),
        ("evidence type", evidence_type, is_known(evidence_type, &type_is_known)),
        ("field", field, is_known(field, &field_is_known)),
        ("purpose", purpose, is_known(purpose, &|id| rules.purpose(id).is_some())),
        ("operator", operator, is_known(operator, &|id| directory.has_operator(id))),
    ];
    if let Some((what, named, _)) = checked.into_iter().find(|(_, _, known)| !known) {
        let name = named.as_deref().unwrap_or_default();
        return Err(Exit::usage(format!(
            "rules and directory know no {what} `{name}`, so nothing would be forbidden; correct \
             it, or say --even-if-unknown"
        )));
    }
    Ok(())
}

async fn lift(args: &LiftArgs) -> Result<(), Exit> {
    let publisher = open(&args.publisher).await?;
    let mut document = next(&publisher);
    for id in &args.ids {
        let count = document.entries.len();
        document.entries.retain(|entry| entry.id != *id);
        if document.entries.len() == count {
            return Err(Exit::usage(format!("the deny list has no entry `{id}`")));
        }
    }
    documents::build(payload_type::DENY, &document, &args.out)?;
    println!("register authority and data-protection officer sign it, then `einmal deny publish`");
    Ok(())
}

async fn publish(publisher: &Publisher, envelope: Envelope) -> Result<(), Exit> {
    let version = DenyList::parse(&envelope.payload).map_err(Exit::usage)?.document().version;
    let told = publisher.publish(Offer { deny: Some(envelope), ..Offer::default() }).await?;
    println!("deny list version {version}");
    publisher::report(&told)
}

async fn show(args: &ShowArgs) -> Result<(), Exit> {
    let publisher = open(&args.publisher).await?;
    let trust = publisher.trust.current();
    let Some(deny) = &trust.deny else {
        return Err(Exit::failed("there is no deny list yet: `einmal deny init`, then publish it"));
    };
    let (document, signed_at) = (deny.document(), trust.fresh_until_ms.saturating_sub(STALE_MS));
    let is_fresh = publisher.clock.now_ms() < trust.fresh_until_ms;
    if args.json {
        let object = serde_json::json!({
            "version": document.version,
            "digest": deny.digest().to_hex(),
            "fresh": is_fresh,
            "fresh_until_ms": trust.fresh_until_ms,
            "entries": document.entries,
        });
        println!("{object}");
        return Ok(());
    }
    println!("version    {}, digest {}", document.version, deny.digest());
    println!(
        "fresh      {}",
        match (is_fresh, trust.fresh_until_ms) {
            (true, _) => format!("yes, said at {}", to_iso(signed_at)),
            (false, 0) => "NO: nobody ever said so; start `einmal online`".to_owned(),
            (false, _) => format!("NO: last said at {}; is `einmal online` up?", to_iso(signed_at)),
        }
    );
    println!("entries    {}", document.entries.len());
    for entry in &document.entries {
        println!("  {}: {}", entry.id, entry.reason);
        println!("    {}", what(entry));
    }
    Ok(())
}

/// What an entry names, in words.
fn what(entry: &DenyEntry) -> String {
    let named = [
        ("authority", &entry.authority),
        ("authorities of the kind", &entry.authority_kind),
        ("register", &entry.register),
        ("evidence type", &entry.evidence_type),
        ("field", &entry.field),
        ("purpose", &entry.purpose),
        ("operator", &entry.operator),
    ];
    let mut words: Vec<String> = named
        .into_iter()
        .filter_map(|(what, name)| Some(format!("{what} `{}`", name.as_ref()?)))
        .collect();
    words.extend(entry.key.as_ref().map(|key| format!("all that the key {} signs", key.key)));
    words.extend(entry.everything.then(|| "everything".to_owned()));
    words.join(", ")
}
