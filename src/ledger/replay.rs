// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger replay`: every decision in the ledger, decided once more.

use std::{
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use einmal_broker::{BrokerConfig, open_ledger, serve};
use einmal_ledger::store::{Detail, Entry, Store};
use einmal_peer::{Archive, files};
use einmal_policy::{Trust, deny::DenyList};
use einmal_protocol::{
    Digest,
    leaf::{Leaf, LeafKind},
    permit::Permit,
    time::day_of,
    wire::v1::{Body, ExchangeBody, RefusalBody, body},
};
use prost::Message;
use serde::Serialize;

use super::ConfigArgs;
use crate::{
    Exit, broker,
    past::{Missing, Past},
    redecide::{self, By},
};

/// Entries are read this many at once.
const AT_ONCE: usize = 1_024;
/// How often one hears how far it is.
const PROGRESS: Duration = Duration::from_secs(2);
/// So many differences are told one by one; all are counted.
const TOLD_MAX: usize = 10_000;
/// So many indexes stand in the last line.
const INDEXES_MAX: usize = 20;

/// Decides every exchange and every refusal in the ledger once more, under the rules and the
/// directory of their time, and checks who signed them. Each must come out byte for byte as it was
/// logged.
///
/// Reads only, also beside a broker that runs. `einmal ledger verify` says whether the bodies are
/// those that the tree stands for: run it first.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// A folder with the documents of before; several times where several brokers wrote the
    /// ledger. Left out: the folder `archive` in the broker's state.
    #[arg(long = "archive", value_name = "FOLDER")]
    archives: Vec<PathBuf>,
    /// From this index on.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Up to this index, which is left out; nothing said: to the end.
    #[arg(long)]
    to: Option<u64>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where something differs, or could not be decided again for want of a document.
pub(super) async fn run(args: Args) -> Result<(), Exit> {
    let config = broker::read(&args.config.config)?;
    let store = open_ledger::inspect(&config.ledger).await.map_err(Exit::failed)?;
    let past = past(&config, &args.archives)?;
    let report = replay(&*store, past, args.from, args.to).await?;
    if args.json {
        println!("{}", serde_json::to_string(&report).map_err(Exit::failed)?);
    } else {
        report.print(&config.ledger.origin);
    }
    report.outcome()
}

/// What was trusted at any time, from the root that a broker pinned and from some archives; none
/// named: its own.
///
/// # Errors
/// Where a root or an archive cannot be used.
pub fn past(config: &BrokerConfig, archives: &[PathBuf]) -> Result<Past, Exit> {
    let own = [serve::archive(config)];
    let folders = if archives.is_empty() { &own } else { archives };
    let archives = folders.iter().map(|folder| Archive::inspect(folder));
    let newer = config.newer_roots.iter().map(|path| files::envelope(path));
    Past::open(
        &files::envelope(&config.root)?,
        newer.collect::<Result<_, _>>()?,
        archives.collect::<Result<_, _>>()?,
    )
}

/// Replays the entries from one index to another, which is left out.
///
/// # Errors
/// Where the ledger cannot be read, or has no such entries.
pub async fn replay(
    store: &dyn Store,
    past: Past,
    from: u64,
    to: Option<u64>,
) -> Result<Report, Exit> {
    let row = store.row().await.map_err(Exit::failed)?;
    let to = to.unwrap_or(row.head.size);
    if from > to || to > row.head.size {
        return Err(Exit::usage(format!("the ledger has {} entries", row.head.size)));
    }
    let mut replay = Replay::new(&row.head.origin, past);
    (replay.report.from, replay.report.to) = (from, to);
    let (mut at, mut told) = (from, Instant::now());
    while at < to {
        let wanted = AT_ONCE.min(usize::try_from(to - at).unwrap_or(AT_ONCE));
        let entries = store.entries(at, wanted, Detail::Bodies).await.map_err(Exit::failed)?;
        let last = entries.last().map(|entry| entry.index);
        at = last.ok_or_else(|| Exit::failed(format!("entry {at} is missing")))? + 1;
        replay.take(&entries);
        if told.elapsed() >= PROGRESS && at < to {
            eprintln!("einmal: replayed entries {from} to {at} of {to}");
            told = Instant::now();
        }
    }
    // What was gone may have been forgotten while this ran.
    let bodies_from = store.row().await.map_err(Exit::failed)?.bodies_from;
    Ok(replay.finish(bodies_from))
}

/// Decides entries once more, and counts.
#[derive(Debug)]
pub struct Replay {
    origin: String,
    past: Past,
    report: Report,
    /// Entries without their body, with their day.
    gone: Vec<(u64, u32)>,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The first index.
    pub from: u64,
    /// The index after the last.
    pub to: u64,
    /// Bodies that were decided again: `same`, `denied` and `differ`.
    pub replayed: u64,
    /// Came out the same.
    pub same: u64,
    /// Refused by a deny list that the archive holds, which refuses them again.
    pub denied: u64,
    /// Came out otherwise, or a signature does not hold.
    pub differ: u64,
    /// Which, and why.
    pub differences: Vec<Differs>,
    /// Bodies whose signatures hold, and that nothing of the past decides: all that follow.
    pub not_replayable: u64,
    /// Refusals that the register signed.
    pub by_register: u64,
    /// Refused for what was so at the moment: a clock, an operator, a person that did not open.
    pub by_circumstances: u64,
    /// Refused by a deny list that no archive holds.
    pub by_unknown_deny_list: u64,
    /// Bodies that want rules or a directory that no archive holds.
    pub undecidable: u64,
    /// Which documents those are.
    pub missing_documents: Vec<MissingDocument>,
    /// Reports of use: passed over.
    pub uses: u64,
    /// Notices of what was done with the ledger: passed over.
    pub notices: u64,
    /// Leaves whose body was forgotten in time.
    pub forgotten: u64,
}

/// A body that does not come out as it was logged.
#[derive(Clone, Debug, Serialize)]
pub struct Differs {
    /// Its position.
    pub index: u64,
    /// What differs.
    pub problem: String,
}

/// A document without which bodies cannot be decided again.
#[derive(Clone, Debug, Serialize)]
pub struct MissingDocument {
    /// "rules" or "directory".
    pub kind: &'static str,
    /// SHA-256 of its payload, hex.
    pub digest: String,
    /// Why it does not count.
    pub problem: String,
    /// How many bodies want it.
    pub bodies: u64,
    /// The first of them.
    pub first_index: u64,
}

/// What an entry says was decided.
enum Decided {
    Exchange(ExchangeBody),
    Refusal(RefusalBody),
}

/// An entry with the trust of its time.
struct Case<'a> {
    entry: &'a Entry,
    decided: Decided,
    trust: Arc<Trust>,
}

impl Replay {
    /// Of a ledger.
    pub fn new(origin: &str, past: Past) -> Self {
        let origin = origin.to_owned();
        Self { origin, past, report: Report::default(), gone: Vec::new() }
    }

    /// Decides some entries once more, on all cores.
    pub fn take(&mut self, entries: &[Entry]) {
        let cases: Vec<Case> = entries.iter().filter_map(|entry| self.case(entry)).collect();
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (origin, lists) = (self.origin.as_str(), self.past.deny_lists());
        let judge = |case: &Case| (case.entry.index, judge(case, origin, lists));
        let judged: Vec<(u64, Result<By, String>)> = thread::scope(|scope| {
            let shares = cases.chunks(cases.len().div_ceil(cores).max(1));
            let shares: Vec<_> = shares
                .map(|share| scope.spawn(|| share.iter().map(judge).collect::<Vec<_>>()))
                .collect();
            let join = |share: thread::ScopedJoinHandle<'_, Vec<_>>| {
                share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            shares.into_iter().flat_map(join).collect()
        });
        for (index, outcome) in judged {
            match outcome {
                Ok(By::Rules) => self.report.same += 1,
                Ok(By::DenyList(_)) => self.report.denied += 1,
                Ok(By::Register) => self.report.by_register += 1,
                Ok(By::Circumstances) => self.report.by_circumstances += 1,
                Ok(By::UnknownDenyList) => self.report.by_unknown_deny_list += 1,
                Err(problem) => self.report.differs(index, problem),
            }
        }
    }

    /// What is to be decided, with the trust of its time.
    fn case<'a>(&mut self, entry: &'a Entry) -> Option<Case<'a>> {
        let Some(bytes) = &entry.body else {
            self.gone.push((entry.index, entry.leaf.day));
            return None;
        };
        let mut differs = |problem: &str| {
            self.report.differs(entry.index, problem.to_owned());
            None
        };
        let Some(kind) = Body::decode(bytes.as_slice()).ok().and_then(|body| body.kind) else {
            return differs("the body is malformed");
        };
        let (decided, digests) = match kind {
            body::Kind::Use(_) => {
                self.report.uses += 1;
                return None;
            }
            body::Kind::Notice(_) => {
                self.report.notices += 1;
                return None;
            }
            body::Kind::Exchange(body) => {
                let Ok(permit) = Permit::parse(&body.permit) else {
                    return differs("the bytes are not a permit");
                };
                let digests = (permit.rules_digest(), permit.directory_digest());
                (Decided::Exchange(body), digests)
            }
            body::Kind::Refusal(body) => {
                let digest = |bytes: &[u8]| Digest::try_from(bytes).ok();
                let digests = digest(&body.rules_digest).zip(digest(&body.directory_digest));
                let Some(digests) = digests else { return differs("a digest is malformed") };
                (Decided::Refusal(body), digests)
            }
        };
        match self.past.trust(digests.0, digests.1) {
            Ok(trust) => Some(Case { entry, decided, trust }),
            Err(missing) => {
                self.report.lacks(entry.index, &missing);
                None
            }
        }
    }

    /// The result. Days before this one are forgotten.
    #[must_use]
    pub fn finish(mut self, bodies_from: u32) -> Report {
        for (index, day) in self.gone {
            match day < bodies_from {
                true => self.report.forgotten += 1,
                false => self.report.differs(index, "the body is gone before its time".to_owned()),
            }
        }
        let report = &mut self.report;
        report.differences.sort_by_key(|differs| differs.index);
        report.replayed = report.same + report.denied + report.differ;
        report.not_replayable = report.by_register
            + report.by_circumstances
            + report.by_unknown_deny_list
            + report.undecidable;
        self.report
    }
}

/// Decides one entry again; who decided it, where it comes out the same.
fn judge(case: &Case, origin: &str, lists: &[Arc<DenyList>]) -> Result<By, String> {
    let Case { entry, decided, trust } = case;
    let (kind, day, by) = match decided {
        Decided::Exchange(body) => {
            let found = redecide::exchange(trust, body).map_err(|error| error.to_string())?;
            if found.request.ledger != origin {
                return Err("the request names another ledger".to_owned());
            }
            (LeafKind::Exchange, found.commitment.day, By::Rules)
        }
        Decided::Refusal(body) => {
            let found = redecide::refusal(trust, lists, body).map_err(|error| error.to_string())?;
            (LeafKind::Refusal, day_of(body.refused_at_ms), found.by)
        }
    };
    let body = entry.body.as_deref().unwrap_or_default();
    if Leaf::new(kind, day, body) != entry.leaf {
        return Err("its leaf stands for another body".to_owned());
    }
    Ok(by)
}

impl Report {
    fn differs(&mut self, index: u64, problem: String) {
        self.differ += 1;
        if self.differences.len() < TOLD_MAX {
            self.differences.push(Differs { index, problem });
        }
    }

    fn lacks(&mut self, index: u64, missing: &Missing) {
        self.undecidable += 1;
        let digest = missing.digest.to_hex();
        if let Some(known) = self.missing_documents.iter_mut().find(|one| one.digest == digest) {
            known.bodies += 1;
        } else if self.missing_documents.len() < TOLD_MAX {
            self.missing_documents.push(MissingDocument {
                kind: missing.kind.as_str(),
                digest,
                problem: missing.problem.clone(),
                bodies: 1,
                first_index: index,
            });
        }
    }

    fn print(&self, origin: &str) {
        println!("{origin}, entries {} to {}", self.from, self.to);
        for (count, what) in [
            (self.same, "decided again: the same, byte for byte"),
            (self.denied, "decided again: the deny list refuses them, as it did"),
            (self.differ, "DIFFER"),
            (self.by_register, "refusals signed by the register"),
            (self.by_circumstances, "refused for what was so at the moment: not replayable"),
            (self.by_unknown_deny_list, "refused by a deny list that no archive holds"),
            (self.undecidable, "NOT DECIDED AGAIN: documents are missing"),
            (self.uses, "reports of use"),
            (self.notices, "notices"),
            (self.forgotten, "forgotten in time"),
        ] {
            println!("{count:>10}  {what}");
        }
        for Differs { index, problem } in &self.differences {
            println!("entry {index}: {problem}");
        }
        for MissingDocument { kind, digest, problem, bodies, first_index } in
            &self.missing_documents
        {
            println!("{kind} {digest}: {problem}; {bodies} entries want it, first {first_index}");
        }
    }

    /// What the command ends with.
    ///
    /// # Errors
    /// Where anything differs, or could not be decided again for want of a document.
    pub fn outcome(&self) -> Result<(), Exit> {
        if self.differ > 0 {
            let first = self.differences.iter().take(INDEXES_MAX);
            let indexes: Vec<String> = first.map(|differs| differs.index.to_string()).collect();
            let more = if self.differ > INDEXES_MAX as u64 { ", …" } else { "" };
            return Err(Exit::failed(format!(
                "alarm: {} entries do not come out as they were logged: {}{more}",
                self.differ,
                indexes.join(", ")
            )));
        }
        if self.undecidable + self.by_unknown_deny_list > 0 {
            return Err(Exit::failed(format!(
                "{} entries could not be decided again: name an archive that holds their \
                 documents, with --archive",
                self.undecidable + self.by_unknown_deny_list
            )));
        }
        Ok(())
    }
}
