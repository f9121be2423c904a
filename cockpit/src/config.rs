// SPDX-License-Identifier: EUPL-1.2
//! The cockpit's configuration file. Unknown keys are refused.

use std::{net::SocketAddr, path::PathBuf};

use einmal_peer::TlsFiles;
use serde::Deserialize;

use crate::{
    keeper::DayKeyFiles,
    login::{DemoPerson, LoginConfig},
};

/// `cockpit.toml`.
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

fn yes() -> bool {
    true
}

impl CockpitConfig {
    /// Where the day keys lie.
    pub fn day_key_files(&self) -> DayKeyFiles {
        DayKeyFiles { site_key: self.site_key.clone(), folders: self.day_keys.clone() }
    }

    /// The keeper's index.
    pub fn index(&self) -> PathBuf {
        self.state.join("index.sqlite")
    }
}
