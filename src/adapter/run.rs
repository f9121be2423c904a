// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter run`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use einmal_adapter_kit::{Adapter, AdapterSetup, RegisterLimits, RegisterSetup, StartError};
use einmal_adapters::{ConfiguredRegister, SourcesConfig};
use einmal_peer::{
    Clock, Tls, TlsFiles,
    dial::{self, Target},
    files, trust,
};
use einmal_policy::{Root, Trust, TrustState, documents::Documents, rules_document::EvidenceType};
use einmal_protocol::wire::v1::Envelope;
use rustls::ClientConfig;
use serde::Deserialize;

use super::journal;
use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs an adapter in front of one or more registers. It dials the brokers and opens no port.
///
/// The configuration is a TOML file; deploy/config/adapter.toml is a commented sample. Each
/// register has a file of its own that maps its tables to evidence, without code.
#[derive(clap::Args)]
#[group(id = "run")]
pub struct Args {
    /// Configuration file; paths in it are relative to it.
    #[arg(long, default_value = "adapter.toml")]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogForm,
}

/// `adapter.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// A broker to ask for rules and directory first: "https://host:port".
    pub(crate) broker: String,
    /// Own certificate and whom to believe.
    pub(crate) tls: TlsFiles,
    /// The pinned root.
    pub(crate) root: PathBuf,
    /// Folder for trusted state and sealing keys.
    pub(crate) state: PathBuf,
    /// Exchanges open at once on each stream.
    #[serde(default = "credits")]
    credits: u32,
    /// Other processes serve the same registers.
    #[serde(default)]
    replicated: bool,
    /// The registers.
    #[serde(rename = "register")]
    pub(crate) registers: Vec<RegisterSection>,
    /// The folder that it lies in.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
}

/// `[[register]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterSection {
    /// Its id in the directory.
    pub(crate) id: String,
    /// Its identity key, PKCS#8.
    pub(crate) identity: PathBuf,
    /// Its sources and their mapping to evidence.
    pub(crate) sources: PathBuf,
    /// Folder of its journal, or "none".
    pub(super) journal: Option<String>,
    /// Public file of its data-protection officer.
    pub(super) officer: Option<PathBuf>,
    /// What it may take of this adapter.
    #[serde(default)]
    limits: RegisterLimits,
}

impl RegisterSection {
    fn config(&self) -> Result<SourcesConfig, Exit> {
        let file = &self.sources;
        SourcesConfig::parse(&files::read_text(file)?)
            .map_err(|error| Exit::usage(format!("{}: {error}", file.display())))
    }

    /// Has it journal nothing.
    pub(super) fn leave_out_the_journal(&mut self) {
        (self.journal, self.officer) = (Some(journal::NONE.to_owned()), None);
    }

    /// Ids of the evidence types that it maps.
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub(super) fn types(&self) -> Result<Vec<String>, Exit> {
        Ok(self.config()?.evidence_types().map(str::to_owned).collect())
    }

    /// Opens its sources, and checks their mapping against the evidence types of the rules.
    ///
    /// # Errors
    /// All mistakes that were found.
    pub(crate) async fn open(&self, types: &[EvidenceType]) -> Result<ConfiguredRegister, Exit> {
        let (file, sources) = (&self.sources, self.config()?);
        let opened = ConfiguredRegister::open(&sources, &config::folder_of(file), types).await;
        opened.map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(|m| format!("\n  {m}")).collect();
            Exit::usage(format!("{}:{}", file.display(), lines.concat()))
        })
    }
}

fn credits() -> u32 {
    64
}

/// Reads `adapter.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<AdapterConfig, Exit> {
    let mut adapter: AdapterConfig = config::read(path)?;
    let folder = config::folder_of(path);
    adapter.tls = config::tls_in(&folder, adapter.tls);
    for file in [&mut adapter.root, &mut adapter.state] {
        *file = folder.join(&*file);
    }
    for register in &mut adapter.registers {
        for file in [&mut register.identity, &mut register.sources] {
            *file = folder.join(&*file);
        }
    }
    adapter.folder = folder;
    Ok(adapter)
}

/// What a broker's documents say, verified from the pinned root.
///
/// # Errors
/// Where the broker does not answer, or the documents are not accepted.
pub(super) async fn trust_of(
    broker: &str,
    (root, tls): (&Envelope, Arc<ClientConfig>),
    clock: &Clock,
) -> Result<Trust, Exit> {
    let trust_domain = Root::pinned(root).map_err(Exit::usage)?.document().trust_domain.clone();
    let target = Target::broker(broker, &trust_domain);
    let channel = dial::channel(&target, tls).map_err(Exit::usage)?;
    let offer = trust::fetch(channel).await.map_err(|status| {
        Exit::unavailable(format!("the broker does not answer: {}", status.message()))
    })?;
    let documents = Documents::default().with(&offer);
    let state = (&TrustState::default(), None);
    let (trust, _) =
        Trust::accept(root, &documents, state, clock.now_ms()).map_err(Exit::failed)?;
    Ok(trust)
}

/// Starts an adapter from its configuration file.
///
/// # Errors
/// Where the configuration, a register's mapping or the trust cannot be used, or the broker does
/// not answer.
pub async fn start(path: &Path, clock: Clock) -> Result<Adapter, Exit> {
    start_as(read(path)?, clock).await
}

/// Starts an adapter from a configuration that was read.
///
/// # Errors
/// As `start`.
pub(crate) async fn start_as(adapter: AdapterConfig, clock: Clock) -> Result<Adapter, Exit> {
    let root = files::envelope(&adapter.root)?;
    let tls = Tls::load(&adapter.tls)?;
    // The mapping is checked against the evidence types of the rules before anything is dialled
    // for good.
    let trust = trust_of(&adapter.broker, (&root, Arc::clone(&tls.client)), &clock).await?;
    let types = &trust.rules.document().evidence_types;
    let mut registers = Vec::new();
    for section in &adapter.registers {
        registers.push(RegisterSetup {
            id: section.id.clone(),
            identity: files::signing_key(&section.identity)?,
            register: Arc::new(section.open(types).await?),
            limits: section.limits.clone(),
            journal: journal::setup(section, &adapter.folder)?,
        });
    }
    let setup = AdapterSetup {
        broker: adapter.broker,
        tls,
        root,
        state: adapter.state,
        clock,
        credits: adapter.credits,
        replicated: adapter.replicated,
    };
    einmal_adapter_kit::start(setup, registers).await.map_err(|error| match error {
        StartError::Broker(_) => Exit::unavailable(error),
        _ => Exit::usage(error),
    })
}

/// Runs it.
///
/// # Errors
/// Where the adapter does not start.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(args.log, "info");
    let adapter = start(&args.config, Clock::system()).await?;
    told_to_stop().await?;
    adapter.stop().await;
    Ok(())
}
