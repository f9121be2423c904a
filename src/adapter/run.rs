// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter run`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use einmal_adapter_kit::{
    Adapter, Register, StartError,
    settings::{AdapterConfig, RegisterSection},
};
use einmal_adapters::{ConfiguredRegister, Mistake, SourcesConfig};
use einmal_peer::{
    Clock,
    dial::{self, Target},
    files, trust,
};
use einmal_policy::{Root, Trust, TrustState, documents::Documents, rules_document::EvidenceType};
use einmal_protocol::wire::v1::Envelope;
use rustls::ClientConfig;

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

/// The file of a register that says what its sources are.
fn sources(section: &RegisterSection) -> Result<(&Path, SourcesConfig), Exit> {
    let file = section.sources()?;
    let sources = SourcesConfig::parse(&files::read_text(file)?)
        .map_err(|error| Exit::usage(format!("{}: {error}", file.display())))?;
    Ok((file, sources))
}

/// Ids of the evidence types that a register maps.
///
/// # Errors
/// Where its file cannot be read.
pub(super) fn types(section: &RegisterSection) -> Result<Vec<String>, Exit> {
    Ok(sources(section)?.1.evidence_types().map(str::to_owned).collect())
}

/// Opens a register's sources, and checks their mapping against the evidence types of the rules.
///
/// # Errors
/// All mistakes that were found.
pub(crate) async fn open(
    section: &RegisterSection,
    types: &[EvidenceType],
) -> Result<ConfiguredRegister, Exit> {
    let (file, sources) = sources(section)?;
    let opened = ConfiguredRegister::open(&sources, &config::folder_of(file), types).await;
    opened.map_err(|mistakes| wrong(file, &mistakes))
}

/// The same, but one whose sources do not answer is opened as soon as they do.
async fn open_or_later(
    section: &RegisterSection,
    types: &[EvidenceType],
) -> Result<Arc<dyn Register>, Exit> {
    let (file, sources) = sources(section)?;
    let opened =
        einmal_adapters::open_or_later(&section.id, sources, config::folder_of(file), types);
    opened.await.map_err(|mistakes| wrong(file, &mistakes))
}

fn wrong(file: &Path, mistakes: &[Mistake]) -> Exit {
    let lines: Vec<String> = mistakes.iter().map(|m| format!("\n  {m}")).collect();
    Exit::usage(format!("{}:{}", file.display(), lines.concat()))
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

/// Reads `adapter.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<AdapterConfig, Exit> {
    Ok(AdapterConfig::read(path)?)
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
pub(crate) async fn start_as(mut adapter: AdapterConfig, clock: Clock) -> Result<Adapter, Exit> {
    let sections = std::mem::take(&mut adapter.registers);
    let setup = adapter.setup(clock)?;
    // The mapping is checked against the evidence types of the rules before anything is dialled
    // for good.
    let tls = Arc::clone(&setup.tls.client);
    let trust = trust_of(&setup.broker, (&setup.root, tls), &setup.clock).await?;
    let types = &trust.rules.document().evidence_types;
    let mut registers = Vec::new();
    for section in &sections {
        registers.push(section.setup(open_or_later(section, types).await?)?);
    }
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
