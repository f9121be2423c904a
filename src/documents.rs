// SPDX-License-Identifier: EUPL-1.2
//! `einmal root` and `einmal directory`, and what signing has in common with `einmal rules`:
//! build a payload, have each signer add a signature, verify the whole from the pinned root.

use std::path::{Path, PathBuf};

use einmal_peer::{Clock, files};
use einmal_policy::{
    Directory, Role, Root, chain::check_expiry, directory::DirectoryDocument, documents::Offer,
    root::RootDocument,
};
use einmal_protocol::{Digest, envelope::payload_type, wire::v1::Envelope};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Exit,
    publisher::{self, Publisher, PublisherArgs},
};

/// Works on the root: which keys may sign what, and how many of them it takes.
#[derive(clap::Args)]
pub struct RootArgs {
    #[command(subcommand)]
    what: Steps,
}

/// Works on the directory: who takes part, with which keys, through which operators.
#[derive(clap::Args)]
pub struct DirectoryArgs {
    #[command(subcommand)]
    what: Steps,
}

#[derive(clap::Subcommand)]
enum Steps {
    /// Reads a JSON document, checks it, and writes an envelope without signatures.
    Build {
        /// The document, as JSON.
        document: PathBuf,
        /// Where the envelope goes.
        #[arg(long, short)]
        out: PathBuf,
    },
    /// Adds a signature to an envelope. Each signer does this on their own machine.
    Sign(SignArgs),
    /// Verifies an envelope from the pinned root, and says who is missing.
    Verify(VerifyArgs),
    /// Gives a signed envelope to every broker of the directory. Effective at once.
    Publish(PublishArgs),
}

/// Arguments of every `sign`.
#[derive(clap::Args)]
pub struct SignArgs {
    /// The envelope; it is changed in place.
    envelope: PathBuf,
    /// PKCS#8 key of the signer.
    #[arg(long)]
    key: PathBuf,
}

/// Arguments of every `verify`.
#[derive(clap::Args)]
pub struct VerifyArgs {
    /// The envelope.
    envelope: PathBuf,
    /// The pinned root.
    #[arg(long)]
    root: PathBuf,
    /// A newer root; several times, in order. What is verified is signed under the last.
    #[arg(long = "newer-root", value_name = "FILE")]
    newer_roots: Vec<PathBuf>,
}

/// Arguments of every `publish`.
#[derive(clap::Args)]
pub struct PublishArgs {
    /// The signed envelope.
    envelope: PathBuf,
    /// Another one that must count at the same moment: rules and directory signed anew, for a root
    /// that replaces the keys that signed them. May be given several times.
    #[arg(long)]
    with: Vec<PathBuf>,
    #[command(flatten)]
    publisher: PublisherArgs,
}

/// Verifies envelopes here, gives them to every broker, and says which took them.
///
/// # Errors
/// Where they are not accepted here or there.
pub async fn publish(args: &PublishArgs) -> Result<(), Exit> {
    let config = publisher::read(&args.publisher.config)?;
    let publisher = Publisher::open(&config, Clock::system()).await?;
    let mut offer = Offer::default();
    for path in std::iter::once(&args.envelope).chain(&args.with) {
        let envelope = files::envelope(path)?;
        let unknown =
            |kind: &str| Exit::usage(format!("{}: {kind} is not published", path.display()));
        match envelope.payload_type.as_str() {
            payload_type::ROOT => offer.roots.push(envelope),
            payload_type::RULES => offer.rules = publisher.rules_up_to(envelope),
            payload_type::DIRECTORY => offer.directory = Some(envelope),
            payload_type::DENY => offer.deny = Some(envelope),
            payload_type::FRESHNESS => offer.freshness = Some(envelope),
            kind => return Err(unknown(kind)),
        }
    }
    publisher::report(&publisher.publish(offer).await?)
}

/// Runs `einmal root`.
///
/// # Errors
/// Where a document or signature is not accepted.
pub async fn run_root(args: RootArgs) -> Result<(), Exit> {
    match args.what {
        Steps::Build { document, out } => {
            let document: RootDocument = read_json(&document)?;
            build(payload_type::ROOT, &document, &out)
        }
        Steps::Sign(args) => sign(&args),
        Steps::Verify(args) => {
            let mut newer = args.newer_roots()?;
            newer.push(files::envelope(&args.envelope)?);
            let pinned = Root::pinned(&files::envelope(&args.root)?).map_err(Exit::failed)?;
            let now_ms = Clock::system().now_ms();
            let root = pinned.walk(&newer, now_ms).map_err(Exit::refused)?;
            println!("root version {} is good", root.document().version);
            Ok(())
        }
        Steps::Publish(args) => publish(&args).await,
    }
}

/// Runs `einmal directory`.
///
/// # Errors
/// Where a document or signature is not accepted.
pub async fn run_directory(args: DirectoryArgs) -> Result<(), Exit> {
    match args.what {
        Steps::Build { document, out } => {
            let document: DirectoryDocument = read_json(&document)?;
            let payload = serde_json::to_vec(&document).map_err(Exit::failed)?;
            Directory::parse(&payload).map_err(Exit::usage)?;
            build(payload_type::DIRECTORY, &document, &out)
        }
        Steps::Sign(args) => sign(&args),
        Steps::Verify(args) => {
            let envelope = files::envelope(&args.envelope)?;
            args.check(&envelope, payload_type::DIRECTORY, &[Role::RegisterAuthority])?;
            let directory = Directory::parse(&envelope.payload).map_err(Exit::refused)?;
            let document = directory.document();
            check_expiry("directory", document.expires_at_ms, Clock::system().now_ms())
                .map_err(Exit::refused)?;
            println!(
                "directory version {} is good: {} authorities, {} registers, {} operators, {} ledgers",
                document.version,
                document.authorities.len(),
                document.registers.len(),
                document.operators.len(),
                document.ledgers.len()
            );
            Ok(())
        }
        Steps::Publish(args) => publish(&args).await,
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Exit> {
    let bytes = files::read(path)?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Exit::usage(format!("{}: {error}", path.display())))
}

/// Writes an unsigned envelope over a document.
///
/// # Errors
/// Where the file cannot be written.
pub fn build(kind: &str, document: &impl Serialize, out: &Path) -> Result<(), Exit> {
    let payload = serde_json::to_vec(document).map_err(Exit::failed)?;
    let digest = Digest::of(&payload);
    let envelope = Envelope { payload_type: kind.to_owned(), payload, signatures: Vec::new() };
    files::replace(out, &envelope.encode_to_vec())?;
    println!("{}: {kind}, digest {digest}, not signed yet", out.display());
    Ok(())
}

/// Adds a signature.
///
/// # Errors
/// Where envelope or key cannot be used, or this key has signed already.
pub fn sign(args: &SignArgs) -> Result<(), Exit> {
    let mut envelope = files::envelope(&args.envelope)?;
    let key = files::signing_key(&args.key)?;
    if envelope.signatures.iter().any(|signature| signature.key_id == key.public().id()) {
        return Err(Exit::usage("this key has signed already"));
    }
    let signed = Envelope::sign(&envelope.payload_type, envelope.payload.clone(), &[&key])
        .map_err(Exit::failed)?;
    envelope.signatures.extend(signed.signatures);
    files::replace(&args.envelope, &envelope.encode_to_vec())?;
    println!("{}: {} signatures", args.envelope.display(), envelope.signatures.len());
    Ok(())
}

/// Checks the thresholds of some roles.
///
/// # Errors
/// Names the role that falls short.
pub fn check(root: &Path, envelope: &Envelope, kind: &str, roles: &[Role]) -> Result<(), Exit> {
    let root = Root::pinned(&files::envelope(root)?).map_err(Exit::usage)?;
    root.check_signed(envelope, kind, roles).map_err(Exit::refused)
}

impl VerifyArgs {
    /// The envelope's file.
    pub fn envelope(&self) -> &Path {
        &self.envelope
    }

    /// The pinned root's file.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn newer_roots(&self) -> Result<Vec<Envelope>, Exit> {
        Ok(self.newer_roots.iter().map(|path| files::envelope(path)).collect::<Result<_, _>>()?)
    }

    /// Checks the thresholds of some roles, under the newest root that is named.
    ///
    /// # Errors
    /// Where the roots do not follow from the pinned one, or a role falls short.
    pub fn check(&self, envelope: &Envelope, kind: &str, roles: &[Role]) -> Result<(), Exit> {
        let pinned = Root::pinned(&files::envelope(&self.root)?).map_err(Exit::usage)?;
        let now_ms = Clock::system().now_ms();
        let root = pinned.walk(&self.newer_roots()?, now_ms).map_err(Exit::refused)?;
        root.check_signed(envelope, kind, roles).map_err(Exit::refused)
    }
}
