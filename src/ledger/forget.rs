// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger forget`: what the signed rules no longer keep is deleted.

use einmal_broker::{forget, serve};
use einmal_peer::Clock;
use einmal_protocol::time::day_to_iso;

use super::{ConfigArgs, open};
use crate::{Exit, broker};

/// Deletes bodies and ids whose time is over.
///
/// For how long they are kept stands in the signed rules (`retention_days`), never on a command
/// line. A running broker does this by itself; beside it this command may run too. A leaf says
/// what was deleted, before it is.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only show what would be deleted.
    #[arg(long)]
    dry_run: bool,
    /// Delete although this machine's clock is more than 35 days ahead of the newest leaf. What is
    /// deleted cannot be brought back.
    #[arg(long)]
    even_if_clock_runs_ahead: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) async fn run(args: Args) -> Result<(), Exit> {
    let config = broker::read(&args.config.config)?;
    let now_ms = Clock::system().now_ms();
    let trust = serve::trust(&config, now_ms).map_err(Exit::usage)?;
    let retention_days = trust.current().rules.retention_days();
    let ledger = open(&config, trust.current().rules.quorum().required).await?;
    let plan = forget::plan(&ledger, retention_days, now_ms).await.map_err(Exit::failed)?;
    let before = day_to_iso(plan.before_day);
    if !args.json {
        println!(
            "{}: the rules keep records for {retention_days} days, so everything before {before} \
             is to go",
            config.ledger.origin
        );
        for day in &plan.days {
            let (count, kib) = (day.bodies, day.bytes / 1024);
            println!("  {}  {count:>9} bodies  {kib:>9} KiB", day_to_iso(day.day));
        }
    }
    let mut deleted = None;
    if !args.dry_run {
        if plan.clock_may_be_ahead() && !args.even_if_clock_runs_ahead {
            return Err(Exit::failed(format!(
                "nothing was deleted: this clock says {}, the newest leaf before the last week is \
                 of {}; if the clock is right, say --even-if-clock-runs-ahead",
                day_to_iso(plan.today),
                plan.newest_day.map(day_to_iso).unwrap_or_default()
            )));
        }
        let done = forget::forget(&ledger, &plan, "operator", now_ms).await;
        deleted = Some(done.map_err(Exit::failed)?);
    }
    ledger.close().await;
    match (args.json, deleted) {
        (true, deleted) => {
            let days: Vec<_> = plan
                .days
                .iter()
                .map(|day| {
                    serde_json::json!({
                        "day": day_to_iso(day.day), "bodies": day.bodies, "bytes": day.bytes,
                    })
                })
                .collect();
            let object = serde_json::json!({
                "ledger": config.ledger.origin, "retention_days": retention_days,
                "before": before, "days": days, "bodies": plan.bodies(), "deleted": deleted,
            });
            println!("{object}");
        }
        (false, None) => println!("{} bodies would be deleted; nothing was", plan.bodies()),
        (false, Some(0)) => println!("nothing was there to delete"),
        (false, Some(count)) => println!("{count} bodies deleted; a leaf says so"),
    }
    Ok(())
}
