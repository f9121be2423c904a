// SPDX-License-Identifier: EUPL-1.2
//! `einmal doctor`: what is wrong, or will be soon, in plain words. It reads and asks; it changes
//! nothing.

mod ledger;
mod party;
mod programs;

use std::path::{Path, PathBuf};

use einmal_peer::Clock;
use serde::Serialize;

use crate::Exit;

/// Looks at the configuration of any number of programs, their files, certificates, documents and
/// their broker, and says what is wrong and what to do.
///
/// Each check is one line: ok, warn or FAIL. Without a file it looks at those that lie in this
/// folder under their usual names. It prints no secret and nothing about persons.
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// A broker's configuration file.
    #[arg(long, visible_alias = "config", value_name = "FILE")]
    pub broker: Vec<PathBuf>,
    /// An adapter's.
    #[arg(long, value_name = "FILE")]
    pub adapter: Vec<PathBuf>,
    /// A cockpit's, or a keeper's of its own.
    #[arg(long, value_name = "FILE")]
    pub cockpit: Vec<PathBuf>,
    /// Pages' of their own.
    #[arg(long, value_name = "FILE")]
    pub pages: Vec<PathBuf>,
    /// A client's.
    #[arg(long, value_name = "FILE")]
    pub client: Vec<PathBuf>,
    /// A publisher's.
    #[arg(long, value_name = "FILE")]
    pub publisher: Vec<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works still.
    Warn,
    /// It does not work.
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How it came out.
    pub level: Level,
    /// The configuration file.
    pub about: String,
    /// What was found.
    pub what: String,
    /// What to do; empty where there is nothing to do.
    pub to_do: String,
}

/// The checks of one configuration file.
#[derive(Debug)]
struct Chart {
    about: String,
    findings: Vec<Finding>,
}

impl Chart {
    fn new(file: &Path) -> Self {
        Self { about: file.display().to_string(), findings: Vec::new() }
    }

    fn add(&mut self, level: Level, what: String, to_do: &str) {
        let (about, to_do) = (self.about.clone(), to_do.to_owned());
        self.findings.push(Finding { level, about, what, to_do });
    }

    fn ok(&mut self, what: impl Into<String>) {
        self.add(Level::Ok, what.into(), "");
    }

    fn warn(&mut self, what: impl Into<String>, to_do: &str) {
        self.add(Level::Warn, what.into(), to_do);
    }

    fn fail(&mut self, what: impl Into<String>, to_do: &str) {
        self.add(Level::Fail, what.into(), to_do);
    }

    /// The value; or the problem is noted and there is none.
    fn value<T>(&mut self, found: Result<T, impl std::fmt::Display>, to_do: &str) -> Option<T> {
        found.map_err(|error| self.fail(error.to_string(), to_do)).ok()
    }
}

/// Runs it.
///
/// # Errors
/// Where a check fails.
pub async fn run(mut args: Args) -> Result<(), Exit> {
    let Args { broker, adapter, cockpit, pages, client, publisher, .. } = &mut args;
    let lists = [broker, adapter, cockpit, pages, client, publisher];
    if lists.iter().all(|list| list.is_empty()) {
        let names: [&[&str]; 6] = [
            &["broker.toml"],
            &["adapter.toml"],
            &["cockpit.toml", "cockpit-keeper.toml"],
            &["cockpit-pages.toml"],
            &["client.toml"],
            &["publisher.toml"],
        ];
        for (list, names) in lists.into_iter().zip(names) {
            list.extend(names.iter().map(PathBuf::from).filter(|path| path.exists()));
        }
    }
    let findings = examine(&args, &Clock::system()).await;
    if findings.is_empty() {
        return Err(Exit::usage("there is no configuration file here: name one, see --help"));
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, failures) = (count(Level::Warn), count(Level::Fail));
    if args.json {
        let object = serde_json::json!({
            "ok": count(Level::Ok), "warn": warnings, "fail": failures, "checks": findings,
        });
        println!("{object}");
    } else {
        print(&findings);
    }
    if failures > 0 {
        return Err(Exit::failed(format!("{failures} checks FAIL, {warnings} warn")));
    }
    Ok(())
}

/// Makes all checks.
pub async fn examine(args: &Args, clock: &Clock) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &args.broker {
        findings.extend(programs::broker(file, clock).await.findings);
    }
    for file in &args.adapter {
        findings.extend(programs::adapter(file, clock).await.findings);
    }
    for file in &args.cockpit {
        findings.extend(programs::cockpit(file, clock).await.findings);
    }
    for file in &args.pages {
        findings.extend(programs::pages(file, clock).await.findings);
    }
    for file in &args.client {
        findings.extend(programs::client(file, clock).await.findings);
    }
    for file in &args.publisher {
        findings.extend(programs::publisher(file, clock).await.findings);
    }
    findings
}

fn print(findings: &[Finding]) {
    let mut about = "";
    for finding in findings {
        if finding.about != about {
            about = &finding.about;
            println!("{about}");
        }
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        // One line a check: some errors have several.
        let what = finding.what.split_whitespace().collect::<Vec<_>>().join(" ");
        match finding.to_do.as_str() {
            "" => println!("  {level:<4}  {what}"),
            to_do => println!("  {level:<4}  {what} – {to_do}"),
        }
    }
}
