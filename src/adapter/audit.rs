// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter audit`: whether what the journals hold receipts for is still in the published
//! ledgers.

use std::{path::PathBuf, sync::Arc};

use einmal_adapter_kit::journal::audit::{self, Audited, Published, Source};
use einmal_peer::{Clock, Tls, files};
use serde_json::json;

use super::run::{read, trust_of};
use crate::Exit;

/// Looks for what the registers' journals hold receipts for in the ledgers as they are published
/// now: all new entries, some old ones, and those that were missing. A running adapter does it by
/// itself every hour, and raises an alarm.
#[derive(clap::Args)]
pub struct Args {
    /// The adapter's configuration file.
    #[arg(long, default_value = "adapter.toml")]
    config: PathBuf,
    /// Where the ledgers are published, if not where the directory says: origin=URL; several times.
    #[arg(long, value_name = "ORIGIN=URL")]
    published: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where anything is missing, or nothing could be looked for.
pub async fn run(args: Args) -> Result<(), Exit> {
    let clock = Clock::system();
    let adapter = read(&args.config)?;
    let root = files::envelope(&adapter.root)?;
    let tls = Tls::load(&adapter.tls)?;
    let trust = trust_of(&adapter.broker, (&root, Arc::clone(&tls.client)), &clock).await?;
    let mut all: Vec<(String, Audited)> = Vec::new();
    let mut failures = Vec::new();
    for entry in &trust.directory.document().ledgers {
        let Some(known) = trust.directory.ledger(&entry.origin) else { continue };
        let other = args
            .published
            .iter()
            .find_map(|text| text.split_once('=').filter(|(origin, _)| *origin == entry.origin));
        let url = other.map_or_else(|| entry.url.clone(), |(_, url)| url.to_owned());
        if url.is_empty() {
            failures.push(format!("the directory says of no place where {} is", entry.origin));
            continue;
        }
        let source = Source { url, key: known.key.clone() };
        let mut published = match Published::fetch(&source).await {
            Ok(published) => published,
            Err(error) => {
                failures.push(error.to_string());
                continue;
            }
        };
        for section in &adapter.registers {
            let Some(setup) = section.journal()? else { continue };
            let now_ms = clock.now_ms();
            match audit::audit(&setup.folder, &mut published, &source.key, now_ms).await {
                Ok(audited) => all.push((section.id.clone(), audited)),
                Err(error) => failures.push(format!("{}: {error}", section.id)),
            }
        }
    }
    tell(&all, &failures, args.json);
    if all.iter().any(|(_, audited)| !audited.is_good()) {
        return Err(Exit::failed("alarm: the published ledger does not bear out all receipts"));
    }
    if !failures.is_empty() {
        return Err(Exit::unavailable("not all receipts could be looked for"));
    }
    Ok(())
}

fn tell(all: &[(String, Audited)], failures: &[String], as_json: bool) {
    if as_json {
        let registers: Vec<_> = all
            .iter()
            .map(|(register, audited)| json!({ "register": register, "audit": audited }))
            .collect();
        println!("{:#}", json!({ "registers": registers, "failures": failures }));
        return;
    }
    for (register, one) in all {
        println!(
            "{register}  {}: {} new, {} old looked at again, {} missing{}",
            one.ledger,
            one.new,
            one.sampled,
            one.missing.len(),
            if one.waiting { "; some wait for the published tree" } else { "" }
        );
        for problem in &one.alarms {
            println!("  ALARM: {problem}");
        }
        for missing in &one.missing {
            println!(
                "  ALARM: request {}, position {}: {}",
                missing.request_id, missing.index, missing.problem
            );
        }
    }
    for failure in failures {
        println!("not looked for: {failure}");
    }
}
