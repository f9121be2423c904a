// SPDX-License-Identifier: EUPL-1.2
//! `einmal cockpit`

mod officer;

use std::path::{Path, PathBuf};

use einmal_cockpit::{
    keeper::{Desk, Forgetting, Notice},
    serve::{CockpitConfig, Running, ServeError, Site},
};
use einmal_peer::Clock;
use einmal_protocol::time::{day_to_iso, to_iso};

use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs a cockpit: the keeper of access records, and the pages where citizens read them.
///
/// The configuration is a TOML file; deploy/config/cockpit.toml is a commented sample. People log
/// in by OpenID Connect; without `[login]`, at a provider for demonstrations with invented persons.
///
/// The commands below work on the files of a cockpit, which may run meanwhile.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file; paths in it are relative to it.
    #[arg(long, global = true, default_value = "cockpit.toml")]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t)]
    log: LogForm,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(clap::Subcommand)]
enum What {
    Status(StatusArgs),
    Forget(ForgetArgs),
    Hold(officer::HoldArgs),
    /// Lists the records that are held longer, and until when.
    Holds,
    HoldKey(officer::HoldKeyArgs),
    OpenHold(officer::OpenHoldArgs),
}

/// Says how the keeper stands: how far it has verified, alarms, split views, and who did what with
/// the ledger itself.
#[derive(clap::Args)]
struct StatusArgs {
    /// Print the split views only, each with its proof, as JSON.
    #[arg(long)]
    forks: bool,
    /// Take away all alarms, after you have looked into them.
    #[arg(long)]
    clear_alarms: bool,
}

/// Forgets now what is older than the rules allow; a running cockpit does it by itself, once a
/// day. Destroys day keys first, then rows. There is no way back.
#[derive(clap::Args)]
struct ForgetArgs {
    /// Only say what would be forgotten.
    #[arg(long)]
    dry_run: bool,
    /// Forget although this machine's clock is more than 35 days ahead of the ledger's newest
    /// leaf. Look at the clock first.
    #[arg(long)]
    even_if_clock_runs_ahead: bool,
}

/// The configuration, with its paths made whole.
///
/// # Errors
/// Where the file cannot be read, or a key is unknown, missing or wrong.
pub fn read(path: &Path) -> Result<CockpitConfig, Exit> {
    let mut cockpit: CockpitConfig = config::read(path)?;
    let folder = config::folder_of(path);
    cockpit.tls = cockpit.tls.within(&folder);
    let [first, second] = &mut cockpit.day_keys;
    for file in [
        &mut cockpit.root,
        &mut cockpit.identity,
        &mut cockpit.site_key,
        &mut cockpit.state,
        first,
        second,
    ] {
        *file = folder.join(&*file);
    }
    let login = cockpit.login.as_mut().map(|login| {
        [&mut login.client_secret, &mut login.certificate, &mut login.key, &mut login.authorities]
    });
    for file in login.into_iter().flatten().chain([&mut cockpit.kern]).flatten() {
        *file = folder.join(&*file);
    }
    Ok(cockpit)
}

fn exit(error: ServeError) -> Exit {
    match error {
        ServeError::Broker(_) => Exit::unavailable(error),
        ServeError::Port { .. } => Exit::failed(error),
        _ => Exit::usage(error),
    }
}

/// Starts a cockpit from its configuration file.
///
/// # Errors
/// Where it cannot be used, or the broker does not answer.
pub async fn start(path: &Path, clock: Clock) -> Result<Running, Exit> {
    einmal_cockpit::serve::start(&read(path)?, clock).await.map_err(exit)
}

/// Runs it.
///
/// # Errors
/// Where the cockpit does not start, or a command does not do what it was asked.
pub async fn run(args: Args) -> Result<(), Exit> {
    let Some(what) = args.what else { return serve(&args).await };
    logging::begin(args.log, "warn");
    let clock = Clock::system();
    match what {
        What::Status(status) => show(&read(&args.config)?, &status).await,
        What::Forget(forget) => forget_now(&read(&args.config)?, &forget, clock).await,
        What::Hold(hold) => officer::hold(&read(&args.config)?, &hold, &clock).await,
        What::Holds => officer::list(&read(&args.config)?).await,
        What::HoldKey(key) => officer::make_key(&key),
        What::OpenHold(open) => officer::open(&read(&args.config)?, &open).await,
    }
}

async fn forget_now(config: &CockpitConfig, args: &ForgetArgs, clock: Clock) -> Result<(), Exit> {
    let site = Site::open(config, &clock).await.map_err(exit)?;
    let (index, files) = (config.index(), config.day_key_files());
    let forgetting =
        Forgetting::beside(&index, &config.ledger, files, clock).await.map_err(Exit::failed)?;
    let days = site.retention_days();
    let due = if args.dry_run {
        forgetting.due(days).await
    } else {
        forgetting.run(days, args.even_if_clock_runs_ahead).await
    }
    .map_err(Exit::failed)?;
    let (would, before) = (if args.dry_run { "would forget" } else { "forgot" }, due.before_day);
    println!("{would} all of days before {} ({days} days are kept)", day_to_iso(before));
    let mut keys = due.key_days.iter().map(|day| day_to_iso(*day));
    match (keys.next(), keys.next_back()) {
        (Some(first), Some(last)) => {
            println!("  day keys: {} ({first} to {last})", due.key_days.len());
        }
        (Some(only), None) => println!("  day keys: 1 ({only})"),
        _ => println!("  day keys: 0"),
    }
    for (what, count) in &due.rows {
        println!("  {what}: {count}");
    }
    if due.clock_runs_ahead {
        println!("  this machine's clock is more than 35 days ahead of the newest leaf");
    }
    Ok(())
}

async fn show(config: &CockpitConfig, args: &StatusArgs) -> Result<(), Exit> {
    let desk = Desk::open(&config.index(), &config.ledger).await.map_err(Exit::usage)?;
    if args.clear_alarms {
        desk.clear_alarms().await.map_err(Exit::failed)?;
    }
    let standing = desk.standing().await.map_err(Exit::failed)?;
    if args.forks {
        let text = serde_json::to_string_pretty(&standing.forks).map_err(Exit::failed)?;
        println!("{text}");
        return Ok(());
    }
    println!("ledger            {}", config.ledger);
    println!("complete up to    {}", standing.complete_up_to);
    println!("verified at       {}", to_iso(standing.checked_at_ms));
    println!("newest day        {}", day_to_iso(standing.newest_day));
    println!(
        "forgotten before  {}",
        match standing.forgotten_before {
            0 => "nothing yet".to_owned(),
            day => day_to_iso(day),
        }
    );
    println!("checkpoints ahead {}", standing.waiting);
    println!("split views       {} (--forks prints them)", standing.forks.len());
    println!("alarms            {}", standing.alarms.len());
    for alarm in &standing.alarms {
        println!("  {alarm}");
    }
    println!("notices           {}", standing.notices.len());
    for notice in &standing.notices {
        let Notice { index, what, by, at_ms, from_index, to_index, reason } = notice;
        let range = match (what.as_str(), to_index) {
            ("read", 0) => format!(" from {from_index} on"),
            ("read", to) => format!(" {from_index} to {to}"),
            ("hold", _) => format!(" of entry {from_index}"),
            _ => String::new(),
        };
        println!("  {index:>8}  {}  {by}  {what}{range}: {reason}", to_iso(*at_ms));
    }
    Ok(())
}

async fn serve(args: &Args) -> Result<(), Exit> {
    logging::begin(args.log, "info");
    let running = start(&args.config, Clock::system()).await?;
    eprintln!("einmal: pages at http://{}/", running.address);
    if let Some(at) = running.checkpoints {
        eprintln!("einmal: checkpoints are handed in at https://{at}");
    }
    told_to_stop().await?;
    running.stop().await;
    Ok(())
}
