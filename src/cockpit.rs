// SPDX-License-Identifier: EUPL-1.2
//! `einmal cockpit`

mod officer;
mod overview;

use std::path::{Path, PathBuf};

use einmal_cockpit::{
    keeper::{Desk, Forgetting, Notice},
    login::LoginConfig,
    serve::{self, CockpitConfig, KeeperConfig, PagesConfig, Running, ServeError, Site},
};
use einmal_peer::{Clock, TlsFiles};
use einmal_protocol::time::{day_to_iso, to_iso};

use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs a cockpit: the keeper of access records, and the pages where citizens read them.
///
/// Without a command both run in one process, for demonstrations and small sites. `keeper` and
/// `pages` run one of them: the pages, which face the internet, then hold no key of any day, and
/// may stand on another machine. The configuration is a TOML file; deploy/config holds commented
/// samples: cockpit.toml for both, cockpit-keeper.toml and cockpit-pages.toml for one each. People
/// log in by OpenID Connect; without `[login]`, at a provider for demonstrations with invented
/// persons.
///
/// The other commands work on the files of a keeper, which may run meanwhile.
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
    /// Runs the keeper alone: it holds the day keys, follows the ledger, and answers pages over
    /// mTLS.
    Keeper,
    /// Runs the pages alone; they ask a keeper.
    Pages,
    Status(StatusArgs),
    Forget(ForgetArgs),
    Hold(officer::HoldArgs),
    /// Lists the records that are held longer, and until when.
    Holds,
    HoldKey(officer::HoldKeyArgs),
    OpenHold(officer::OpenHoldArgs),
    Officer(overview::OfficerArgs),
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
    let [first, second] = &mut cockpit.day_keys;
    let [root, identity] = [&mut cockpit.root, &mut cockpit.identity];
    let files = [root, identity, &mut cockpit.site_key, &mut cockpit.state, first, second];
    make_whole(path, &mut cockpit.tls, files);
    make_login_whole(path, cockpit.login.as_mut(), &mut cockpit.kern);
    Ok(cockpit)
}

fn make_whole<'a>(
    path: &Path,
    tls: &mut TlsFiles,
    files: impl IntoIterator<Item = &'a mut PathBuf>,
) {
    let folder = config::folder_of(path);
    *tls = tls.clone().within(&folder);
    for file in files {
        *file = folder.join(&*file);
    }
}

fn make_login_whole(path: &Path, login: Option<&mut LoginConfig>, kern: &mut Option<PathBuf>) {
    let folder = config::folder_of(path);
    let files = login.map(|login| {
        [&mut login.client_secret, &mut login.certificate, &mut login.key, &mut login.authorities]
    });
    for file in files.into_iter().flatten().chain([kern]).flatten() {
        *file = folder.join(&*file);
    }
}

/// A keeper's configuration with its paths made whole, from its own file or from one for both.
///
/// # Errors
/// As [`read`].
pub fn read_keeper(path: &Path) -> Result<KeeperConfig, Exit> {
    // What tells them apart: only a file for both says where the pages are served.
    let table: toml::Table = config::read(path)?;
    if table.contains_key("listen") {
        return Ok(read(path)?.keeper());
    }
    let mut keeper: KeeperConfig = config::read(path)?;
    let [first, second] = &mut keeper.day_keys;
    let [root, identity] = [&mut keeper.root, &mut keeper.identity];
    let files = [root, identity, &mut keeper.site_key, &mut keeper.state, first, second];
    make_whole(path, &mut keeper.tls, files);
    make_login_whole(path, keeper.login.as_mut(), &mut None);
    Ok(keeper)
}

/// The pages' configuration with its paths made whole.
///
/// # Errors
/// As [`read`].
pub fn read_pages(path: &Path) -> Result<PagesConfig, Exit> {
    let mut pages: PagesConfig = config::read(path)?;
    make_whole(path, &mut pages.tls, [&mut pages.root, &mut pages.state]);
    make_login_whole(path, Some(&mut pages.login), &mut pages.kern);
    Ok(pages)
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
    serve::start(&read(path)?, clock).await.map_err(exit)
}

/// Runs it.
///
/// # Errors
/// Where the cockpit does not start, or a command does not do what it was asked.
pub async fn run(args: Args) -> Result<(), Exit> {
    let Some(what) = args.what else { return serve_both(&args).await };
    let serves = matches!(what, What::Keeper | What::Pages);
    logging::begin(args.log, if serves { "info" } else { "warn" });
    let clock = Clock::system();
    match what {
        What::Keeper => serve_keeper(&args.config, clock).await,
        What::Pages => serve_pages(&args.config, clock).await,
        What::Status(status) => show(&read_keeper(&args.config)?, &status).await,
        What::Forget(forget) => forget_now(&read_keeper(&args.config)?, &forget, clock).await,
        What::Hold(hold) => officer::hold(&read_keeper(&args.config)?, &hold, &clock).await,
        What::Holds => officer::list(&read_keeper(&args.config)?).await,
        What::HoldKey(key) => officer::make_key(&key),
        What::Officer(look) => overview::show(&read_keeper(&args.config)?, &look, &clock).await,
        What::OpenHold(open) => officer::open(&read_keeper(&args.config)?, &open).await,
    }
}

async fn forget_now(config: &KeeperConfig, args: &ForgetArgs, clock: Clock) -> Result<(), Exit> {
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

async fn show(config: &KeeperConfig, args: &StatusArgs) -> Result<(), Exit> {
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

async fn serve_keeper(path: &Path, clock: Clock) -> Result<(), Exit> {
    let running = serve::start_keeper(&read_keeper(path)?, clock).await.map_err(exit)?;
    for (what, at) in
        [("pages ask", running.pages), ("checkpoints are handed in", running.checkpoints)]
    {
        if let Some(at) = at {
            eprintln!("einmal: {what} at https://{at}");
        }
    }
    told_to_stop().await?;
    running.stop().await;
    Ok(())
}

async fn serve_pages(path: &Path, clock: Clock) -> Result<(), Exit> {
    let running = serve::start_pages(&read_pages(path)?, clock).await.map_err(exit)?;
    eprintln!("einmal: pages at http://{}/", running.address);
    told_to_stop().await?;
    running.stop().await;
    Ok(())
}

async fn serve_both(args: &Args) -> Result<(), Exit> {
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
