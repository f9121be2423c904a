// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter check`

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use einmal_adapter_check::{
    CheckError, Finding, Options, Playing, Questions, RegisterSpec, Report, Spec, Verdict, World,
    cases,
};
use einmal_adapter_kit::{
    Adapter,
    settings::{AdapterConfig, RegisterSection},
};
use einmal_peer::{Clock, TrustStore, files};
use einmal_policy::{Directory, Rules, documents::Offer, rules_document::RulesDocument};

use super::run::{self as running, read};
use crate::{
    Exit,
    logging::{self, LogForm},
    rules,
};

pub mod folder;

use folder::{Folder, Paths, Prepared};

/// An adapter in this process attaches in this time.
const WAIT: u64 = 20;
/// Somebody has to start the other adapter first.
const WAIT_PREPARED: u64 = 900;

/// Checks an adapter: plays broker, ledger, keeper and authority against it, honestly and not.
///
/// It makes a world of its own with fresh keys, on this machine, and contacts nobody else. Of the
/// adapter's configuration it takes the registers, their sources and their mapping, not the keys.
/// It reads the registers, changes nothing and leaves nothing behind.
///
/// Check the register of adapter.toml, with invented persons who are in it:
///
///   einmal adapter check --config adapter.toml --question check-question.toml
///
/// The same before there are trusted rules, and the report for a build server:
///
///   einmal adapter check --config adapter.toml --question check-question.toml \
///       --rules rules --junit report.xml
///
/// Check any other adapter, in any language: writes root, certificate and keys to a folder, says
/// how to start it, and waits until it attaches:
///
///   einmal adapter check --prepare world --rules rules \
///       --register residents-office=residence-registration --question check-question.toml
///
/// Without --question nobody is known who is in the register, and what needs such a person is
/// "not checked". Nothing of that file is printed. deploy/config/check-question.toml is a sample.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[command(
    after_help = "Exit codes: 0 no case failed (look for \"not checked\"), 1 a case failed, \
                        64 wrong usage or configuration."
)]
pub struct Args {
    /// The adapter's configuration file.
    #[arg(long, default_value = "adapter.toml")]
    config: PathBuf,
    /// File with invented persons who are in the register, and who are not.
    #[arg(long, value_name = "FILE")]
    question: Option<PathBuf>,
    /// Rules: a folder that people write, or a signed file. Without it, those that the adapter
    /// last trusted, in its state folder.
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    /// Write the world to this folder, and wait for any adapter to attach.
    #[arg(long, value_name = "FOLDER")]
    prepare: Option<PathBuf>,
    /// With --prepare: a register and what it holds, instead of --config. May be repeated.
    #[arg(long, value_name = "ID=TYPE,TYPE", requires_all = ["prepare", "rules"])]
    register: Vec<String>,
    /// With --prepare: the address of this machine that the adapter dials.
    #[arg(long, value_name = "HOST", default_value = "127.0.0.1", requires = "prepare")]
    host: String,
    /// Seconds to wait until the adapter attaches. Default: 20, with --prepare 900.
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Only these cases, separated by commas.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// List the cases and do nothing.
    #[arg(long)]
    list: bool,
    /// Also what takes over a minute.
    #[arg(long)]
    slow: bool,
    /// How many seconds load is put on.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    load: u64,
    /// How many exchanges at once under load.
    #[arg(long, value_name = "NUMBER", default_value_t = 8)]
    at_once: usize,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write the report as JUnit XML to this file, too.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Where a case failed, or nothing can be checked.
pub async fn run(args: Args) -> Result<(), Exit> {
    if args.list {
        return list();
    }
    // The adapter's own alarms are what is provoked here; EINMAL_LOG shows them.
    logging::begin(LogForm::Text, "off");
    let report = check(&args).await?;
    if let Some(file) = &args.junit {
        files::replace(file, report.to_junit().as_bytes())?;
    }
    let text = match args.json {
        true => format!("{:#}\n", report.to_json()),
        false => report.to_text(),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(Exit::failed)?;
    match report.is_good() {
        true => Ok(()),
        false => Err(Exit::failed(report.summary())),
    }
}

fn list() -> Result<(), Exit> {
    let mut out = std::io::stdout().lock();
    for case in cases::all() {
        writeln!(out, "{:<17} {:<20} {}", case.id, case.promise, case.tried)
            .map_err(Exit::failed)?;
    }
    Ok(())
}

/// Checks, and gives the report.
///
/// # Errors
/// Where nothing can be checked.
async fn check(args: &Args) -> Result<Report, Exit> {
    let questions = match &args.question {
        Some(file) => Questions::parse(&files::read_text(file)?).map_err(Exit::usage)?,
        None => Questions::default(),
    };
    let clock = Clock::system();
    let adapter = match args.register.is_empty() {
        true => Some(read(&args.config)?),
        false => None,
    };
    let (rules, directory) = rules_of(args.rules.as_deref(), adapter.as_ref(), &clock)?;
    let rules = rules.document().clone();
    let registers = match &adapter {
        Some(adapter) => of_config(adapter)?,
        None => args.register.iter().map(|text| of_text(text)).collect::<Result<_, _>>()?,
    };
    known_types(&registers, &rules)?;
    let own = Folder::temporary()?;
    let folder = args.prepare.clone().unwrap_or_else(|| own.path().join("adapter"));
    let folders = (folder.as_path(), own.path());
    let stand = stand(folders, &args.host, &registers, rules, directory.as_deref())?;
    let Stand { paths, addresses, playing } = stand;
    let running = match (&args.prepare, adapter) {
        (None, Some(adapter)) => Some(start(adapter, &paths, &addresses, clock).await?),
        _ => {
            paths.explain(&addresses, &registers)?;
            None
        }
    };
    let report = playing.check(&questions, options(args)).await.map_err(exit_of);
    if let Some(adapter) = running {
        // Its brokers are gone; there is nothing to wait for.
        let _ = tokio::time::timeout(Duration::from_secs(5), adapter.stop()).await;
    }
    report
}

/// A world with brokers that listen.
pub struct Stand {
    /// What the adapter gets.
    pub paths: Paths,
    /// Where the brokers listen.
    pub addresses: Vec<String>,
    /// What tries the cases.
    pub playing: Playing,
}

/// Makes a world for these registers, in a folder for the adapter and one of its own, and lets its
/// brokers listen.
///
/// # Errors
/// Where the rules cannot be used, or files cannot be written.
pub fn stand(
    (folder, own): (&Path, &Path),
    host: &str,
    registers: &Registers,
    rules: RulesDocument,
    directory: Option<&Directory>,
) -> Result<Stand, Exit> {
    let prepared = Prepared::write(folder, own, host, registers)?;
    let area = |id: &String| directory?.register(id).map(|found| found.entry.area.clone());
    let specs = registers.iter().zip(&prepared.keys).map(|((id, types), key)| RegisterSpec {
        id: id.clone(),
        evidence_types: types.clone(),
        area: area(id),
        key: key.clone(),
    });
    let spec = Spec {
        rules,
        registers: specs.collect(),
        brokers: prepared.addresses.clone(),
        now_ms: Clock::system().now_ms(),
    };
    let world = World::new(spec).map_err(Exit::usage)?;
    prepared.pin(&world.root)?;
    let Prepared { paths, addresses, listeners, .. } = prepared;
    let playing = Playing::start(world, listeners).map_err(exit_of)?;
    Ok(Stand { paths, addresses, playing })
}

fn exit_of(error: CheckError) -> Exit {
    match error {
        CheckError::Port(_) => Exit::failed(error),
        _ => Exit::usage(error),
    }
}

fn options(args: &Args) -> Options {
    let wait = if args.prepare.is_some() { WAIT_PREPARED } else { WAIT };
    let live = std::io::stderr().is_terminal() && !args.json;
    let (done, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let progress = move |finding: &Finding| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        let is_bad = usize::from(finding.verdict == Verdict::Failed);
        let failed = failed.fetch_add(is_bad, Ordering::Relaxed) + is_bad;
        if live {
            eprint!("\r{done} cases tried, {failed} failed; last: {:<20}\r", finding.case.id);
        }
    };
    Options {
        only: args.only.clone(),
        slow: args.slow,
        load: Duration::from_secs(args.load.clamp(1, 3600)),
        at_once: args.at_once.clamp(1, 4096),
        wait: Duration::from_secs(args.wait.unwrap_or(wait)),
        in_process: args.prepare.is_none(),
        progress: Arc::new(progress),
    }
}

/// The rules to check under, and where it is known the directory.
///
/// # Errors
/// Where there are none: neither named nor trusted before.
pub(super) fn rules_of(
    named: Option<&Path>,
    adapter: Option<&AdapterConfig>,
    clock: &Clock,
) -> Result<(Arc<Rules>, Option<Arc<Directory>>), Exit> {
    let advice = "say which rules with --rules FOLDER";
    let trusted = || {
        let adapter = adapter.ok_or_else(|| Exit::usage(advice))?;
        let root = files::envelope(&adapter.root)?;
        let state = adapter.state.join("trust.json");
        TrustStore::inspect(&root, &Offer::default(), &state, clock.now_ms())
            .map(|(trust, _)| trust)
            .map_err(|error| {
                Exit::usage(format!("{}: no trusted rules: {error}; {advice}", state.display()))
            })
    };
    match named {
        Some(path) => {
            let rules = Arc::new(rules::open(path)?);
            Ok((rules, trusted().ok().map(|trust| trust.directory)))
        }
        None => {
            let trust = trusted()?;
            Ok((trust.rules, Some(trust.directory)))
        }
    }
}

/// Registers by id, with the evidence types that each holds.
pub type Registers = Vec<(String, Vec<String>)>;

/// The registers of a configuration, with what their files map.
fn of_config(adapter: &AdapterConfig) -> Result<Registers, Exit> {
    let of = |register: &RegisterSection| Ok((register.id.clone(), running::types(register)?));
    adapter.registers.iter().map(of).collect()
}

/// `ID=TYPE,TYPE`
fn of_text(text: &str) -> Result<(String, Vec<String>), Exit> {
    let malformed = || Exit::usage(format!("`{text}`: write --register ID=TYPE,TYPE"));
    let (id, types) = text.split_once('=').ok_or_else(malformed)?;
    let types: Vec<String> = types.split(',').map(str::to_owned).collect();
    let is_id = einmal_protocol::request::is_id;
    if !is_id(id) || !types.iter().all(|one| is_id(one)) {
        return Err(malformed());
    }
    Ok((id.to_owned(), types))
}

fn known_types(registers: &Registers, rules: &RulesDocument) -> Result<(), Exit> {
    for (id, types) in registers {
        let unknown =
            types.iter().find(|id| !rules.evidence_types.iter().any(|known| known.id == **id));
        if let Some(unknown) = unknown {
            let problem = "which the rules do not have; are these the right rules?";
            return Err(Exit::usage(format!("`{id}` holds `{unknown}`, {problem}")));
        }
    }
    Ok(())
}

/// Starts the adapter of a configuration in this process, in the world of the check.
async fn start(
    mut adapter: AdapterConfig,
    paths: &Paths,
    addresses: &[String],
    clock: Clock,
) -> Result<Adapter, Exit> {
    adapter.broker = addresses.first().cloned().unwrap_or_default();
    adapter.tls = paths.tls.clone();
    adapter.root = paths.root.clone();
    adapter.state = paths.state.clone();
    for register in &mut adapter.registers {
        register.identity = paths.identity(&register.id);
        // What is tried here is nobody's access, and belongs into no journal.
        register.leave_out_the_journal();
    }
    running::start_as(adapter, clock).await
}
