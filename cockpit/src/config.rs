// SPDX-License-Identifier: EUPL-1.2
//! The cockpit's configuration files: one for both halves in one process, or one for each half,
//! so that the pages' file names no key of the keeper. Unknown keys are refused.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use einmal_peer::TlsFiles;
use serde::Deserialize;

use crate::{
    keeper::{DayKeyFiles, PagesDoor},
    login::{DemoPerson, LoginConfig},
};

/// `cockpit.toml`: keeper and pages in one process.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CockpitConfig {
    /// The keeper's id in the directory.
    pub keeper: String,
    /// A broker: "https://host:port".
    pub broker: String,
    /// Own certificate, `spiffe://<trust-domain>/cockpit/<keeper>`, and whom to believe.
    pub tls: TlsFiles,
    /// The pinned root.
    pub root: PathBuf,
    /// The keeper's identity key, which signs its key cards.
    pub identity: PathBuf,
    /// The ledger that it follows.
    pub ledger: String,
    /// The site's key, which wraps the day keys. On another disk, in no backup.
    pub site_key: PathBuf,
    /// Two folders for the day keys, on two disks, in no backup.
    pub day_keys: [PathBuf; 2],
    /// Folder for index and trusted state.
    pub state: PathBuf,
    /// Where the pages are served, in plain HTTP behind a TLS proxy.
    pub listen: SocketAddr,
    /// Where operators hand in the checkpoints that they were shown, over mTLS; the directory's
    /// `address` of this keeper. Left out: nowhere.
    #[serde(default)]
    pub checkpoints: Option<SocketAddr>,
    /// Where figures are served, in plain HTTP; keep it on loopback. Left out: nowhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Cookies only over HTTPS. False only for trying things out on one machine.
    #[serde(default = "yes")]
    pub secure_cookies: bool,
    /// The OpenID provider where people log in.
    #[serde(default)]
    pub login: Option<LoginConfig>,
    /// Folder of the npm package `@kern-ux/native`, whose style the pages then have. Left out: the
    /// pages' own.
    #[serde(default)]
    pub kern: Option<PathBuf>,
    /// Invented persons who may log in instead, for demonstrations only.
    #[serde(default)]
    pub demo_persons: Vec<DemoPerson>,
}

/// `cockpit-keeper.toml`: the keeper alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeeperConfig {
    /// The keeper's id in the directory.
    pub keeper: String,
    /// A broker: "https://host:port".
    pub broker: String,
    /// Own certificate, `spiffe://<trust-domain>/cockpit/<keeper>`, and whom to believe.
    pub tls: TlsFiles,
    /// The pinned root.
    pub root: PathBuf,
    /// The keeper's identity key, which signs its key cards.
    pub identity: PathBuf,
    /// The ledger that it follows.
    pub ledger: String,
    /// The site's key, which wraps the day keys. On another disk, in no backup.
    pub site_key: PathBuf,
    /// Two folders for the day keys, on two disks, in no backup.
    pub day_keys: [PathBuf; 2],
    /// Folder for index and trusted state.
    pub state: PathBuf,
    /// Where operators hand in checkpoints, as in [`CockpitConfig`].
    #[serde(default)]
    pub checkpoints: Option<SocketAddr>,
    /// Where figures are served, in plain HTTP; keep it on loopback. Left out: nowhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// The OpenID provider whose tokens count, as the pages have it too; the keeper verifies each
    /// by itself.
    #[serde(default)]
    pub login: Option<LoginConfig>,
    /// Where the pages ask, and which. Left out only where they are in the same process.
    #[serde(default)]
    pub pages: Option<PagesDoor>,
}

/// `cockpit-pages.toml`: the pages alone. They hold no key but that of their certificate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PagesConfig {
    /// The keeper's id in the directory.
    pub keeper: String,
    /// Where the keeper answers pages: "https://host:port".
    pub keeper_address: String,
    /// A broker, for rules and directory: "https://host:port".
    pub broker: String,
    /// Own certificate, `spiffe://<trust-domain>/pages/<id>`, and whom to believe.
    pub tls: TlsFiles,
    /// The pinned root.
    pub root: PathBuf,
    /// The ledger whose records are shown.
    pub ledger: String,
    /// Folder for accepted rules and directories.
    pub state: PathBuf,
    /// Where the pages are served, in plain HTTP behind a TLS proxy.
    pub listen: SocketAddr,
    /// Where figures are served, in plain HTTP; keep it on loopback. Left out: nowhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Cookies only over HTTPS. False only for trying things out on one machine.
    #[serde(default = "yes")]
    pub secure_cookies: bool,
    /// The OpenID provider where people log in.
    pub login: LoginConfig,
    /// Folder of the npm package `@kern-ux/native`, whose style the pages then have. Left out: the
    /// pages' own.
    #[serde(default)]
    pub kern: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

/// What both halves are told of the world that they are in.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The keeper's id in the directory.
    pub keeper: &'a str,
    /// A broker.
    pub broker: &'a str,
    /// Own certificate, and whom to believe.
    pub tls: &'a TlsFiles,
    /// The pinned root.
    pub root: &'a Path,
    /// The ledger.
    pub ledger: &'a str,
    /// Folder for trusted state.
    pub state: &'a Path,
}

macro_rules! places {
    ($($config:ty),*) => {$(
        impl<'a> From<&'a $config> for Place<'a> {
            fn from(config: &'a $config) -> Self {
                Self {
                    keeper: &config.keeper,
                    broker: &config.broker,
                    tls: &config.tls,
                    root: &config.root,
                    ledger: &config.ledger,
                    state: &config.state,
                }
            }
        }
    )*};
}

places!(CockpitConfig, KeeperConfig, PagesConfig);

impl CockpitConfig {
    /// The keeper's half.
    pub fn keeper(&self) -> KeeperConfig {
        KeeperConfig {
            keeper: self.keeper.clone(),
            broker: self.broker.clone(),
            tls: self.tls.clone(),
            root: self.root.clone(),
            identity: self.identity.clone(),
            ledger: self.ledger.clone(),
            site_key: self.site_key.clone(),
            day_keys: self.day_keys.clone(),
            state: self.state.clone(),
            checkpoints: self.checkpoints,
            // Both halves at one address.
            metrics: None,
            login: self.login.clone(),
            pages: None,
        }
    }

    /// The pages' half, whose people log in there; it has no address of the keeper, which is in the
    /// same process.
    pub fn pages(&self, login: LoginConfig) -> PagesConfig {
        PagesConfig {
            keeper: self.keeper.clone(),
            keeper_address: String::new(),
            broker: self.broker.clone(),
            tls: self.tls.clone(),
            root: self.root.clone(),
            ledger: self.ledger.clone(),
            state: self.state.clone(),
            listen: self.listen,
            metrics: None,
            secure_cookies: self.secure_cookies,
            login,
            kern: self.kern.clone(),
        }
    }
}

impl KeeperConfig {
    /// Where the day keys lie.
    pub fn day_key_files(&self) -> DayKeyFiles {
        DayKeyFiles { site_key: self.site_key.clone(), folders: self.day_keys.clone() }
    }

    /// The keeper's index.
    pub fn index(&self) -> PathBuf {
        self.state.join("index.sqlite")
    }
}
