// SPDX-License-Identifier: EUPL-1.2
//! mTLS: TLS 1.3 only, ring as provider, both sides with certificates, revocation lists enforced
//! where they are configured, expired ones too.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::WebPkiServerVerifier,
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
    version::TLS13,
};
use serde::Deserialize;

use crate::{
    certificate,
    files::{self, FileError},
    identity::SpiffeId,
    live::{Live, Material},
};

/// Where certificate, key, authorities and revocation lists lie, all PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// Own certificate, then intermediates.
    pub certificate: PathBuf,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
    /// Certificates of the authorities that others' certificates must come from.
    pub authorities: PathBuf,
    /// Revocation lists; where there are any, each certificate must be covered by a current one.
    #[serde(default)]
    pub revocations: Vec<PathBuf>,
}

impl TlsFiles {
    /// The same files, where paths are relative to a configuration's folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        Self {
            certificate: folder.join(self.certificate),
            key: folder.join(self.key),
            authorities: folder.join(self.authorities),
            revocations: self.revocations.into_iter().map(|path| folder.join(path)).collect(),
        }
    }
}

/// Both directions of mTLS for one party.
#[derive(Clone)]
pub struct Tls {
    /// For listening.
    pub server: Arc<ServerConfig>,
    /// For dialling.
    pub client: Arc<ClientConfig>,
    /// Who the own certificate says we are.
    pub own: SpiffeId,
    /// Where it was read from.
    pub files: TlsFiles,
    pub(crate) live: Arc<Live>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files and builds both configurations.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn load(paths: &TlsFiles) -> Result<Self, FileError> {
        let chain = certificates(&paths.certificate)?;
        let roots = authorities(&paths.authorities)?;
        let pem = files::read(&paths.key)?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            if crate::keyfile::is_encrypted(&pem) {
                FileError::new(&paths.key, "this key has a passphrase; TLS needs one without")
            } else {
                FileError::new(&paths.key, error)
            }
        })?;
        let mut lists = Vec::new();
        for path in &paths.revocations {
            let pem = files::read(path)?;
            let list = CertificateRevocationListDer::from_pem_slice(&pem)
                .map_err(|error| FileError::new(path, error))?;
            lists.push(list);
        }
        let failed = |error: &dyn std::fmt::Display| FileError::new(&paths.certificate, error);
        let own = chain.first().map(SpiffeId::of_certificate).transpose();
        let own = own.map_err(|error| failed(&error))?;
        let own = own.ok_or_else(|| failed(&"no certificate in it"))?;
        let material = material(roots, lists, chain, key).map_err(|error| failed(&error))?;
        let live = Arc::new(Live::new(material));
        Ok(Self {
            own,
            server: server(&live).map_err(|error| failed(&error))?,
            client: client(&live).map_err(|error| failed(&error))?,
            files: paths.clone(),
            live,
        })
    }

    /// When the first of the own certificates ends, UTC milliseconds.
    pub fn ends_at_ms(&self) -> u64 {
        self.live.held().ends_at_ms
    }

    /// Goes on with what was read later, listening and dialling. Whether its end is another.
    pub(crate) fn take(&self, later: &Self) -> bool {
        let before = self.ends_at_ms();
        self.live.replace(later.live.held());
        before != self.ends_at_ms()
    }
}

/// Certificates that others' certificates must come from, of a PEM file.
///
/// # Errors
/// Where it cannot be read or holds none.
pub fn authorities(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| FileError::new(path, error))?;
    }
    Ok(roots)
}

/// An own certificate chain and its key (PKCS#8, without a passphrase), to be shown to others. The
/// key's mode is checked.
///
/// # Errors
/// Names the file that cannot be used.
pub fn identity(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), FileError> {
    let chain = certificates(certificate)?;
    files::check_mode(key)?;
    let pem = files::read(key)?;
    let found = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| FileError::new(key, error))?;
    Ok((chain, found))
}

/// All certificates in a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = files::read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| FileError::new(path, error))?;
    if found.is_empty() {
        return Err(FileError::new(path, "no certificate in it"));
    }
    Ok(found)
}

/// The suites of BSI TR-02102-2 that ring has: AES-GCM, no ChaCha20.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| {
        use rustls::CipherSuite::{TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384};
        matches!(suite.suite(), TLS13_AES_256_GCM_SHA384 | TLS13_AES_128_GCM_SHA256)
    });
    Arc::new(provider)
}

/// All that the configurations of one party are made of.
fn material(
    roots: RootCertStore,
    lists: Vec<CertificateRevocationListDer<'static>>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Material, Box<dyn std::error::Error>> {
    let roots = Arc::new(roots);
    let mut clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider());
    let mut servers = WebPkiServerVerifier::builder_with_provider(roots, provider());
    if !lists.is_empty() {
        clients = clients.with_crls(lists.clone()).enforce_revocation_expiration();
        servers = servers.with_crls(lists).enforce_revocation_expiration();
    }
    let ends_at_ms = certificate::first_end(&chain).ok_or("its times cannot be read")?;
    let own = Arc::new(CertifiedKey::from_der(chain, key, &provider())?);
    Ok(Material { own, clients: clients.build()?, servers: servers.build()?, ends_at_ms })
}

fn server(live: &Arc<Live>) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(live) as Arc<_>)
        .with_cert_resolver(Arc::clone(live) as Arc<_>);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session would not look at the certificate again.
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn client(live: &Arc<Live>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        // Not dangerous: it asks the one that webpki made of the authorities read last.
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(live) as Arc<_>)
        .with_client_cert_resolver(Arc::clone(live) as Arc<_>);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
