// SPDX-License-Identifier: EUPL-1.2
//! The files of a check's world: what the adapter gets, and what the check keeps to itself.

use std::{
    fmt::Write as _,
    net::TcpListener,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use einmal_adapter_check::{
    BROKERS,
    world::{OPERATOR, TRUST_DOMAIN, broker_id},
};
use einmal_peer::{PeerRole, SpiffeId, Tls, TlsFiles, files, random};
use einmal_policy::root::KeyText;
use einmal_protocol::{digest::hex, wire::v1::Envelope};
use prost::Message;

use super::Registers;
use crate::{
    Exit,
    pki::{CertificateAuthority, identity_key},
};

/// A folder that only its owner may read, and that is gone afterwards.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn temporary() -> Result<Self, Exit> {
        let name = format!("einmal-check-{}", hex(&random::bytes::<8>().map_err(Exit::failed)?));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(Exit::failed)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where the adapter finds what it needs.
#[derive(Clone, Debug)]
pub struct Paths {
    folder: PathBuf,
    /// Its certificate, its key, and whom to believe.
    pub tls: TlsFiles,
    /// The root that it pins.
    pub root: PathBuf,
    /// A folder for its state.
    pub state: PathBuf,
}

/// A world's files and open ports.
pub(super) struct Prepared {
    pub(super) paths: Paths,
    /// Public identity keys, in the order of the registers.
    pub(super) keys: Vec<KeyText>,
    pub(super) addresses: Vec<String>,
    pub(super) listeners: Vec<(TcpListener, Tls)>,
}

impl Prepared {
    /// Makes certificates and keys; those of the check itself stay in `own`.
    pub(super) fn write(
        folder: &Path,
        own: &Path,
        host: &str,
        registers: &Registers,
    ) -> Result<Self, Exit> {
        if folder.join("root.signed").exists() {
            let problem = "a world was prepared there before; take another folder";
            return Err(Exit::usage(format!("{}: {problem}", folder.display())));
        }
        let authority = CertificateAuthority::create(&own.join("pki"))?;
        let issue = |role, id: &str| {
            let trust_domain = TRUST_DOMAIN.to_owned();
            let id = SpiffeId { trust_domain, role, id: id.to_owned() };
            authority.issue(&id, &id.id, &[host.to_owned(), "localhost".to_owned()])
        };
        let (mut addresses, mut listeners) = (Vec::new(), Vec::new());
        for number in 1..=BROKERS {
            let tls = Tls::load(&issue(PeerRole::Broker, &broker_id(number))?)?;
            let listener = TcpListener::bind((host, 0))
                .map_err(|error| Exit::usage(format!("{host}: nobody can listen: {error}")))?;
            let port = listener.local_addr().map_err(Exit::failed)?.port();
            addresses.push(format!("https://{host}:{port}"));
            listeners.push((listener, tls));
        }
        let issued = issue(PeerRole::Operator, OPERATOR)?;
        let tls = TlsFiles {
            certificate: folder.join("adapter.pem"),
            key: folder.join("adapter.key"),
            authorities: folder.join("ca.pem"),
            revocations: Vec::new(),
        };
        files::replace(&tls.certificate, &files::read(&issued.certificate)?)?;
        files::replace_secret(&tls.key, &files::read(&issued.key)?)?;
        files::replace(&tls.authorities, &files::read(&issued.authorities)?)?;
        let paths = Paths {
            folder: folder.to_owned(),
            tls,
            root: folder.join("root.signed"),
            state: folder.join("state"),
        };
        let keys = registers.iter().map(|(id, _)| identity_key(&paths.identity(id)));
        let keys = keys.collect::<Result<_, _>>()?;
        Ok(Self { paths, keys, addresses, listeners })
    }

    /// Writes the root that the adapter pins.
    pub(super) fn pin(&self, root: &Envelope) -> Result<(), Exit> {
        Ok(files::replace(&self.paths.root, &root.encode_to_vec())?)
    }
}

impl Paths {
    /// Where a register's identity key lies.
    pub fn identity(&self, register: &str) -> PathBuf {
        self.folder.join(format!("keys/{register}.key"))
    }

    /// Says how to start an adapter in this world, and writes a configuration for ours.
    ///
    /// # Errors
    /// Where the configuration cannot be written.
    pub fn explain(&self, addresses: &[String], registers: &Registers) -> Result<(), Exit> {
        let broker = addresses.first().map(String::as_str).unwrap_or_default();
        let mut config = format!(
            "# For `einmal adapter run` in the world of a check. `sources` is yours to write.\n\
             broker = \"{broker}\"\nroot = \"root.signed\"\nstate = \"state\"\n\n\
             [tls]\ncertificate = \"adapter.pem\"\nkey = \"adapter.key\"\n\
             authorities = \"ca.pem\"\n"
        );
        let mut text = format!(
            "A world for one check is in {}:\n\n  root.signed   pin this root\n  \
             adapter.pem, adapter.key   certificate spiffe://{TRUST_DOMAIN}/operator/{OPERATOR}\n  \
             ca.pem        whom to believe\n  adapter.toml  the same for `einmal adapter run`\n",
            self.folder.display()
        );
        for (id, types) in registers {
            let _ = write!(
                config,
                "\n[[register]]\nid = \"{id}\"\nidentity = \"keys/{id}.key\"\n\
                 sources = \"{id}.toml\"\njournal = \"none\"\n"
            );
            let types = types.join(", ");
            let _ = writeln!(text, "  keys/{id}.key   identity of `{id}`, which holds {types}");
        }
        let _ = write!(
            text,
            "\nLet the adapter ask {broker} for documents first, and attach to all {BROKERS} \
             brokers of the directory.\nIts state folder must be empty. Waiting for it ...\n"
        );
        files::replace(&self.folder.join("adapter.toml"), config.as_bytes())?;
        eprint!("{text}");
        Ok(())
    }
}
