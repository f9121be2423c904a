// SPDX-License-Identifier: EUPL-1.2
//! The data-protection officer's view on the command line: counts and what is out of the ordinary.

use einmal_cockpit::{
    keeper::{
        Archive, HoldError,
        hold::Office,
        officer::{Count, DAYS_MAX, HIDDEN_BELOW, LookError, Officer, Overview},
    },
    serve::{KeeperConfig, Site},
};
use einmal_peer::Clock;
use einmal_protocol::{
    time::{day_of, day_to_iso, to_iso},
    wire::v1::Look,
};

use super::exit;
use crate::Exit;

/// Counts for the data-protection officer: how often who asked, for which purpose, at which hour
/// and with which result, never about whom; what is out of the ordinary; how the ledger stands.
///
/// That it was looked at, and why, stands in the ledger before anything is counted. Counts below
/// ten are hidden.
#[derive(clap::Args)]
pub(super) struct OfficerArgs {
    /// Why: up to 500 bytes that name no person. It stands in the ledger.
    #[arg(long)]
    reason: String,
    /// So many days, today the last of them; at most 92.
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

fn ended(error: LookError) -> Exit {
    match error {
        LookError::Reason | LookError::Days => Exit::usage(error),
        LookError::NotWritten(HoldError::Broker(_)) => Exit::unavailable(error),
        _ => Exit::failed(error),
    }
}

pub(super) async fn show(
    config: &KeeperConfig,
    args: &OfficerArgs,
    clock: &Clock,
) -> Result<(), Exit> {
    if !(1..=DAYS_MAX).contains(&args.days) {
        return Err(ended(LookError::Days));
    }
    let site = Site::open(config, clock).await.map_err(exit)?;
    let officer = Officer::open(&config.index(), &config.ledger).await.map_err(Exit::usage)?;
    let (files, today) = (config.day_key_files(), day_of(clock.now_ms()));
    let office = Office {
        channel: site.channel.clone(),
        ledger: &site.ledger,
        keeper: &config.keeper,
        archive: site.trusted.as_ref() as &dyn Archive,
        files: &files,
        today,
    };
    let from_day = (today + 1).saturating_sub(args.days);
    let look = Look { from_day, to_day: today, reason: args.reason.clone() };
    let overview = officer.look(office, look).await.map_err(ended)?;
    if args.json {
        println!("{}", serde_json::to_string(&overview).map_err(Exit::failed)?);
    } else {
        print(&overview);
    }
    Ok(())
}

fn text(count: Option<u64>) -> String {
    count.map_or_else(|| format!("< {HIDDEN_BELOW} or hidden"), |count| count.to_string())
}

fn print(overview: &Overview) {
    let (from, to) = (day_to_iso(overview.from_day), day_to_iso(overview.to_day));
    println!("{from} to {to}; that you looked is entry {}", overview.notice_index);
    println!("accesses and refusals  {}", text(overview.total));
    let table = |title: &str, counts: &[Count]| {
        println!("{title}");
        for count in counts {
            println!("  {:40} {}", count.what, text(count.count));
        }
    };
    table("by authority", &overview.authorities);
    table("by purpose", &overview.purposes);
    table("by hour", &overview.hours);
    table("by result", &overview.results);
    println!("out of the ordinary    {}", overview.anomalies.len());
    for found in &overview.anomalies {
        println!("  {} ({}): {}", found.authority, found.kind, found.text);
    }
    let ledger = &overview.ledger;
    let checked = to_iso(ledger.checked_at_ms);
    println!("complete up to         {} ({checked})", ledger.complete_up_to);
    println!("checkpoints ahead      {}", ledger.waiting_checkpoints);
    println!("split views            {}", ledger.split_views);
    println!("alarms                 {}", overview.alarms.len());
    for alarm in &overview.alarms {
        println!("  {alarm}");
    }
}
