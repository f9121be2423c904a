// SPDX-License-Identifier: EUPL-1.2
//! `einmal pki`: a throw-away certificate authority and identity keys, for demo and tests.

use std::path::{Path, PathBuf};

use einmal_peer::{Passphrase, SpiffeId, TlsFiles, files, keyfile::OpenedKey, random};
use einmal_policy::root::KeyText;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use zeroize::Zeroizing;

use crate::{Exit, signer};

/// What stands before an Ed25519 seed in PKCS#8: version 0, the algorithm's OID 1.3.101.112, and
/// the lengths of two nested octet strings.
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Makes certificates and keys for trying things out. For production, take those of your PKI.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Makes a certificate authority: ca.pem and ca.key in a folder.
    Init {
        /// The folder.
        folder: PathBuf,
    },
    /// Issues a certificate: <name>.pem and <name>.key beside the authority's.
    Issue {
        /// Folder of the authority.
        folder: PathBuf,
        /// spiffe://<trust-domain>/<operator|broker|cockpit|pages|auditor>/<id>
        id: String,
        /// File name without ending.
        #[arg(long)]
        name: String,
        /// Host names and addresses, for brokers.
        #[arg(long, default_value = "localhost,127.0.0.1", value_delimiter = ',')]
        hosts: Vec<String>,
    },
    Key(KeyArgs),
    Passphrase(PassphraseArgs),
}

/// Makes an identity key (PKCS#8) and prints its public half as it stands in the directory.
///
/// Keys that a person uses have a passphrase, keys of programs that run by themselves have none:
///
///   einmal pki key keys/register-authority.key --passphrase
///   einmal pki key keys/family-office.key
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
struct KeyArgs {
    /// The file.
    file: PathBuf,
    /// Encrypt it; you are asked for a passphrase twice.
    #[arg(long)]
    passphrase: bool,
    /// Encrypt it; the passphrase is the first line of this file.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Gives a key file a passphrase, another one, or with --remove none; prints the public half.
///
/// What the file held before may still be found on the disk, and in its backups.
#[derive(clap::Args)]
struct PassphraseArgs {
    /// The file; it is replaced. OpenSSL's are read as well.
    file: PathBuf,
    /// Leave it without a passphrase, for a program that runs by itself.
    #[arg(long)]
    remove: bool,
    /// The passphrase it has now is the first line of this file. Without it, you are asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The passphrase it gets is the first line of this file. Without it, you are asked twice.
    #[arg(long, value_name = "FILE", conflicts_with = "remove")]
    new_passphrase_file: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Where files cannot be written, or a name is malformed.
pub fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Init { folder } => {
            CertificateAuthority::create(&folder)?;
            println!("{}", folder.join("ca.pem").display());
            Ok(())
        }
        What::Issue { folder, id, name, hosts } => {
            let id = SpiffeId::parse(&id).map_err(Exit::usage)?;
            let files = CertificateAuthority::open(&folder)?.issue(&id, &name, &hosts)?;
            println!("{}\n{}", files.certificate.display(), files.key.display());
            Ok(())
        }
        What::Key(args) => {
            refuse_existing(&args.file)?;
            let passphrase = (args.passphrase || args.passphrase_file.is_some())
                .then(|| signer::new_passphrase(&args.file, args.passphrase_file.as_deref()))
                .transpose()?;
            print(&new_key(&args.file, passphrase.as_ref())?)
        }
        What::Passphrase(args) => {
            let opened = signer::open_file(&args.file, args.passphrase_file.as_deref())?;
            let passphrase = (!args.remove)
                .then(|| signer::new_passphrase(&args.file, args.new_passphrase_file.as_deref()))
                .transpose()?;
            opened.write(&args.file, passphrase.as_ref())?;
            print(&KeyText::from(opened.key().public()))
        }
    }
}

fn print(key: &KeyText) -> Result<(), Exit> {
    println!("{}", serde_json::to_string(key).map_err(Exit::failed)?);
    Ok(())
}

fn refuse_existing(file: &Path) -> Result<(), Exit> {
    if file.exists() {
        return Err(Exit::usage(format!("{} is there already", file.display())));
    }
    Ok(())
}

/// A throw-away certificate authority in a folder.
pub struct CertificateAuthority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl CertificateAuthority {
    /// Makes one.
    ///
    /// # Errors
    /// Where there is one already, or files cannot be written.
    pub fn create(folder: &Path) -> Result<Self, Exit> {
        let (certificate, key) = (folder.join("ca.pem"), folder.join("ca.key"));
        if certificate.exists() {
            return Err(Exit::usage(format!("{} is there already", certificate.display())));
        }
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Exit::failed)?;
        let mut params = params("Einmal throw-away authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let signed = params.self_signed(&pair).map_err(Exit::failed)?;
        files::replace(&certificate, signed.pem().as_bytes())?;
        files::replace_secret(&key, pair.serialize_pem().as_bytes())?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, pair) })
    }

    /// Opens one.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(folder: &Path) -> Result<Self, Exit> {
        let pem = files::read_text(&folder.join("ca.key"))?;
        let pair = KeyPair::from_pem(&pem).map_err(Exit::usage)?;
        let params = params("Einmal throw-away authority");
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, pair) })
    }

    /// Issues a certificate with one SPIFFE name.
    ///
    /// # Errors
    /// Where a host is malformed, or files cannot be written.
    pub fn issue(&self, id: &SpiffeId, name: &str, hosts: &[String]) -> Result<TlsFiles, Exit> {
        self.issue_with(id, name, hosts, |_| ())
    }

    /// As `issue`, for a certificate that ends so long from now.
    ///
    /// # Errors
    /// As `issue`.
    pub fn issue_for(
        &self,
        id: &SpiffeId,
        name: &str,
        hosts: &[String],
        life: std::time::Duration,
    ) -> Result<TlsFiles, Exit> {
        let ends = time::OffsetDateTime::from(std::time::SystemTime::now() + life);
        self.issue_with(id, name, hosts, |params| params.not_after = ends)
    }

    fn issue_with(
        &self,
        id: &SpiffeId,
        name: &str,
        hosts: &[String],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Result<TlsFiles, Exit> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Exit::failed)?;
        let mut params = params(name);
        change(&mut params);
        let uri = id.to_string().try_into().map_err(Exit::usage)?;
        params.subject_alt_names.push(SanType::URI(uri));
        for host in hosts {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(Exit::usage)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = params.signed_by(&pair, &self.issuer).map_err(Exit::failed)?;
        let files = TlsFiles {
            certificate: self.folder.join(format!("{name}.pem")),
            key: self.folder.join(format!("{name}.key")),
            authorities: self.folder.join("ca.pem"),
            revocations: Vec::new(),
        };
        files::replace(&files.certificate, signed.pem().as_bytes())?;
        files::replace_secret(&files.key, pair.serialize_pem().as_bytes())?;
        Ok(files)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

/// Makes an Ed25519 identity key in a file, without a passphrase; its public half.
///
/// # Errors
/// Where there is one already, or the file cannot be written.
pub fn identity_key(file: &Path) -> Result<KeyText, Exit> {
    refuse_existing(file)?;
    new_key(file, None)
}

/// Makes an Ed25519 identity key in a file, with a passphrase or without; its public half.
///
/// # Errors
/// As `identity_key`.
pub(crate) fn new_identity_key(
    file: &Path,
    passphrase: Option<&Passphrase>,
) -> Result<KeyText, Exit> {
    refuse_existing(file)?;
    new_key(file, passphrase)
}

fn new_key(file: &Path, passphrase: Option<&Passphrase>) -> Result<KeyText, Exit> {
    let seed = Zeroizing::new(random::bytes::<32>().map_err(Exit::failed)?);
    // Version 1 of PKCS#8 (RFC 8410 § 7): version 2, with the public key in it, is what OpenSSL 3.0
    // and many other programs cannot read.
    let der = Zeroizing::new([PKCS8_ED25519.as_slice(), seed.as_slice()].concat());
    let key = OpenedKey::new(der).map_err(Exit::failed)?;
    key.write(file, passphrase)?;
    Ok(KeyText::from(key.key().public()))
}
