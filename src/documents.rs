// SPDX-License-Identifier: EUPL-1.2
//! `einmal root` and `einmal directory`, and what signing has in common with `einmal rules`:
//! build a payload, have each signer add a signature, verify the whole from the pinned root.

use std::path::{Path, PathBuf};

use einmal_peer::{Clock, files};
use einmal_policy::{
    Directory, Role, Root,
    chain::check_expiry,
    directory::DirectoryDocument,
    documents::Offer,
    root::{KeyText, RootDocument},
};
use einmal_protocol::{
    Digest,
    envelope::{pae, payload_type},
    key::PublicKey,
    wire::v1::{Envelope, Signature},
};
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Exit,
    publisher::{self, Publisher, PublisherArgs},
    signer::{self, PassphraseArgs},
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
    Sign(SignArgs),
    /// Verifies an envelope from the pinned root, and says who is missing.
    Verify(VerifyArgs),
    /// Gives a signed envelope to every broker of the directory. Effective at once.
    Publish(PublishArgs),
}

/// Adds a signature to an envelope. Each signer does this on their own machine.
///
/// With a key file: `sign ENVELOPE --key mine.key`. It asks for the passphrase if there is one.
///
/// With a key that never leaves its device, in two steps; for example a P-256 key in an HSM:
///
///   sign ENVELOPE --to-be-signed bytes
///   openssl dgst -sha256 -binary -out hash bytes
///   pkcs11-tool --module MODULE --login --sign --id 01 --mechanism ECDSA \
///       --input-file hash --output-file signature
///   sign ENVELOPE --signature signature --public mine.pub
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct SignArgs {
    /// The envelope; it is changed in place.
    envelope: PathBuf,
    /// PKCS#8 key of the signer.
    #[arg(long, required_unless_present_any = ["to_be_signed", "signature"])]
    key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// Only write here the bytes that have to be signed; the envelope stays as it is.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "passphrase_file", "signature", "public"])]
    to_be_signed: Option<PathBuf>,
    /// Attach this signature over those bytes, made elsewhere: Ed25519 (64 bytes), or ECDSA P-256
    /// with SHA-256 (r ‖ s or DER). It is verified first.
    #[arg(long, value_name = "FILE", requires = "public", conflicts_with_all = ["key", "passphrase_file"])]
    signature: Option<PathBuf>,
    /// Whose signature it is: a file with the public key as in the directory,
    /// {"algorithm": "...", "key": "..."}.
    #[arg(long, value_name = "FILE", requires = "signature")]
    public: Option<PathBuf>,
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

/// Adds a signature, or writes what is to be signed.
///
/// # Errors
/// Where envelope, key or signature cannot be used, or this key has signed already.
pub fn sign(args: &SignArgs) -> Result<(), Exit> {
    let mut envelope = files::envelope(&args.envelope)?;
    let message = pae(&envelope.payload_type, &envelope.payload);
    let made = match (&args.key, &args.signature, &args.public, &args.to_be_signed) {
        (Some(key), _, _, _) => {
            let signer = signer::open(key, &args.passphrase)?;
            refuse_second(&envelope, signer.public())?;
            let signature = signer.sign(&message).map_err(Exit::failed)?;
            Signature { key_id: signer.public().id(), signature }
        }
        (_, Some(signature), Some(public), _) => {
            let public = public_key(public)?;
            refuse_second(&envelope, &public)?;
            attach(&public, &message, signature)?
        }
        (_, _, _, Some(out)) => {
            if out.canonicalize().ok() == args.envelope.canonicalize().ok() {
                return Err(Exit::usage("--to-be-signed would replace the envelope itself"));
            }
            files::replace(out, &message)?;
            println!(
                "{}: {} bytes to be signed, SHA-256 {}",
                out.display(),
                message.len(),
                Digest::of(&message)
            );
            return Ok(());
        }
        _ => return Err(Exit::usage("name --key, --to-be-signed, or --signature with --public")),
    };
    envelope.signatures.push(made);
    files::replace(&args.envelope, &envelope.encode_to_vec())?;
    println!("{}: {} signatures", args.envelope.display(), envelope.signatures.len());
    Ok(())
}

fn refuse_second(envelope: &Envelope, public: &PublicKey) -> Result<(), Exit> {
    if envelope.signatures.iter().any(|signature| signature.key_id == public.id()) {
        return Err(Exit::usage("this key has signed already"));
    }
    Ok(())
}

/// A public key in a file, as it stands in the directory.
///
/// # Errors
/// Where it is no such key.
pub fn public_key(path: &Path) -> Result<PublicKey, Exit> {
    let text: KeyText = read_json(path)?;
    text.parse().map_err(|error| Exit::usage(format!("{}: {error}", path.display())))
}

fn attach(public: &PublicKey, message: &[u8], path: &Path) -> Result<Signature, Exit> {
    let made = files::read(path)?;
    let signature = public.signature_from(message, &made).ok_or_else(|| {
        Exit::refused(format!(
            "{}: not a signature by this key over the bytes of this envelope; write those with \
             --to-be-signed, and sign them as they are: Ed25519, or ECDSA P-256 with SHA-256",
            path.display()
        ))
    })?;
    Ok(Signature { key_id: public.id(), signature })
}

impl VerifyArgs {
    /// The envelope's file.
    pub fn envelope(&self) -> &Path {
        &self.envelope
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

#[cfg(test)]
#[path = "documents_tests.rs"]
mod tests;
