// SPDX-License-Identifier: EUPL-1.2
//! `einmal pki`: a throw-away certificate authority and identity keys, for demo and tests.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_peer::{SpiffeId, TlsFiles, files, random};
use einmal_policy::root::KeyText;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use zeroize::Zeroizing;

use crate::Exit;

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
        /// spiffe://<trust-domain>/<operator|broker|cockpit|auditor>/<id>
        id: String,
        /// File name without ending.
        #[arg(long)]
        name: String,
        /// Host names and addresses, for brokers.
        #[arg(long, default_value = "localhost,127.0.0.1", value_delimiter = ',')]
        hosts: Vec<String>,
    },
    /// Makes an identity key (PKCS#8) and prints its public half as it stands in the directory.
    Key {
        /// The file.
        file: PathBuf,
    },
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
        What::Key { file } => {
            let key = identity_key(&file)?;
            println!("{}", serde_json::to_string(&key).map_err(Exit::failed)?);
            Ok(())
        }
    }
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
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Exit::failed)?;
        let mut params = params(name);
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

/// Makes an Ed25519 identity key in a file; its public half.
///
/// # Errors
/// Where there is one already, or the file cannot be written.
pub fn identity_key(file: &Path) -> Result<KeyText, Exit> {
    if file.exists() {
        return Err(Exit::usage(format!("{} is there already", file.display())));
    }
    let seed = Zeroizing::new(random::bytes::<32>().map_err(Exit::failed)?);
    // Version 1 of PKCS#8 (RFC 8410 § 7): version 2, with the public key in it, is what OpenSSL 3.0
    // and many other programs cannot read.
    let der = Zeroizing::new([PKCS8_ED25519.as_slice(), seed.as_slice()].concat());
    let text = Zeroizing::new(BASE64_STANDARD.encode(der.as_slice()));
    let pem = Zeroizing::new(format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        text.as_str()
    ));
    files::replace_secret(file, pem.as_bytes())?;
    let public = files::signing_key(file)?.public().clone();
    Ok(KeyText { algorithm: public.algorithm(), key: BASE64_STANDARD.encode(public.bytes()) })
}
