// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench exchange`: whole exchanges over real mTLS, in turns with the same bytes served by
//! a plain unary service, so that the difference is what a broker costs.
//!
//! Broker and register are processes of their own. This one asks: requests are signed and sealed
//! before the clock runs, and answers are taken unopened (one of each world is opened and verified).

mod chart;
mod envoy;
mod nginx;
mod register;
mod stand;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use einmal_peer::{dial::MESSAGE_MAX, files};
use einmal_protocol::wire::evidence::v1::{
    RequestEvidenceRequest, evidence_service_client::EvidenceServiceClient,
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use self::{
    chart::Bar,
    stand::{Proxies, Stand},
};
use super::{ExchangeArgs, ledger::thousandths, load::Waits};
use crate::Exit;

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// Straight to a plain service that gives the same bytes.
    Direct,
    /// To the plain service through Envoy.
    Envoy,
    /// To the plain service through nginx.
    Nginx,
    /// Through the broker, to a register.
    Einmal,
}

impl Path {
    const ALL: [Self; 4] = [Self::Direct, Self::Envoy, Self::Nginx, Self::Einmal];

    fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Einmal => "einmal",
        }
    }
}

/// A line of the table: what is measured in turns with the others of its kind.
struct Row {
    path: Path,
    in_flight: usize,
    /// Requests that share one signature.
    group: usize,
    waits: Waits,
    /// Microseconds of a processor an exchange, in each round.
    cpu: Cpu,
}

/// What an exchange costs each process, in each round.
#[derive(Default)]
struct Cpu {
    /// The one in the middle, where there is one.
    middle: Vec<f64>,
    /// The register's, or that of the plain service.
    register: Vec<f64>,
    /// This one, which asks.
    asking: Vec<f64>,
}

/// Runs it.
///
/// # Errors
/// Where a part does not start, or an exchange fails.
pub(super) async fn run(args: &ExchangeArgs) -> Result<(), Exit> {
    if let Some(folder) = &args.register {
        return register::run(folder).await;
    }
    if !args.json {
        println!(
            "store     KiB  in flight  a signature  path      per s    p50 ms    p99 ms  \
             p99.9 ms    cpu us  register    asking"
        );
    }
    let proxies = Proxies { envoy: envoy::find(args.envoy.as_deref()), nginx: nginx::find() };
    for (name, found) in [("Envoy", &proxies.envoy), ("nginx", &proxies.nginx)] {
        if found.is_none() {
            eprintln!("{name} is not installed: left out");
        }
    }
    let mut bars = Vec::new();
    for store in &args.stores {
        for &evidence_kib in &args.evidence {
            let Some(stand) = Stand::start(store, evidence_kib, &proxies).await? else {
                continue;
            };
            let measured = measure(&stand, args, (store, evidence_kib)).await;
            stand.stop().await;
            bars.extend(measured?);
        }
    }
    match &args.chart {
        Some(file) => Ok(files::replace(file, chart::svg(&bars).as_bytes())?),
        None => Ok(()),
    }
}

async fn measure(stand: &Stand, args: &ExchangeArgs, of: (&str, u32)) -> Result<Vec<Bar>, Exit> {
    let mut bars = Vec::new();
    for in_flight in args.in_flight.iter().copied().map(usize::from) {
        let row = |group, path| {
            let waits = Waits { group: 1, ..Waits::default() };
            Row { path, in_flight, group, waits, cpu: Cpu::default() }
        };
        let groups = args.per_signature.iter();
        let mut rows: Vec<Row> =
            groups.flat_map(|&group| Path::ALL.map(|path| row(group, path))).collect();
        rows.retain(|row| stand.has(row.path));
        for round in 0..args.rounds {
            let (store, kib) = of;
            let number = round + 1;
            eprintln!("{store}, {kib} KiB, {in_flight} at once: round {number} of {}", args.rounds);
            let mut failed = Vec::new();
            for row in &mut rows {
                match take(stand, row, args.requests).await {
                    // What is compared with may fail; what is measured may not.
                    Err(exit) if matches!(row.path, Path::Envoy | Path::Nginx) => {
                        eprintln!("{} is left out at {in_flight} at once: {exit}", row.path.name());
                        failed.push(row.path);
                    }
                    taken => taken?,
                }
            }
            rows.retain(|row| !failed.contains(&row.path));
            // Who came first comes last.
            rows.reverse();
        }
        rows.sort_by_key(|row| (row.group, row.path.name()));
        bars.extend(rows.iter_mut().map(|row| tell(args, of, row)));
    }
    Ok(bars)
}

/// One round of one row.
async fn take(stand: &Stand, row: &mut Row, requests: usize) -> Result<(), Exit> {
    let requests = Arc::new(stand.requests(requests, row.group).await?);
    let (channels, middle) = stand.way(row.path);
    let spent = || {
        let middle = middle.map_or(0, stand::Program::cpu_us);
        [middle, stand.register.cpu_us(), stand::cpu_us(std::process::id())]
    };
    let before = spent();
    let waits = load(channels, &requests, row.in_flight).await?;
    let mut each = spent()
        .into_iter()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before) as f64 / requests.len().max(1) as f64);
    let mut keep = |of: &mut Vec<f64>| of.extend(each.next());
    keep(&mut row.cpu.middle);
    keep(&mut row.cpu.register);
    keep(&mut row.cpu.asking);
    if middle.is_none() {
        row.cpu.middle.clear();
    }
    row.waits.add(waits);
    Ok(())
}

/// Sends all requests, so many at once.
async fn load(
    channels: &[Channel],
    requests: &Arc<Vec<RequestEvidenceRequest>>,
    in_flight: usize,
) -> Result<Waits, Exit> {
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut senders = JoinSet::new();
    for channel in channels.iter().cycle().take(in_flight) {
        let client =
            EvidenceServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX);
        let (next, requests) = (Arc::clone(&next), Arc::clone(requests));
        senders.spawn(async move {
            let (mut client, mut each_ms) = (client, Vec::new());
            while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                let before = Instant::now();
                client.request_evidence(request.clone()).await.map_err(Exit::failed)?;
                each_ms.push(before.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, Exit>(each_ms)
        });
    }
    let mut waits = Waits { group: 1, ..Waits::default() };
    while let Some(sender) = senders.join_next().await {
        waits.each_ms.extend(sender.map_err(Exit::failed)??);
    }
    waits.seconds = began.elapsed().as_secs_f64();
    Ok(waits)
}

fn tell(args: &ExchangeArgs, (store, evidence_kib): (&str, u32), row: &mut Row) -> Bar {
    let Cpu { middle, register, asking } = &mut row.cpu;
    let [cpu_us, register_us, asking_us] = [middle, register, asking].map(|each| median(each));
    let waits = &mut row.waits;
    let per_s = waits.per_second();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| waits.quantile(share));
    if args.json {
        let line = serde_json::json!({
            "path": row.path.name(), "store": store, "in_flight": row.in_flight,
            "evidence_kib": evidence_kib, "requests_per_signature": row.group,
            "per_s": thousandths(per_s), "p50_ms": thousandths(p50), "p99_ms": thousandths(p99),
            "p999_ms": thousandths(p999), "cpu_us": cpu_us.map(thousandths),
            "register_cpu_us": register_us.map(thousandths),
            "asking_cpu_us": asking_us.map(thousandths),
        });
        println!("{line}");
    } else {
        let whole = |us: Option<f64>| us.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
        let [middle, register, asking] = [cpu_us, register_us, asking_us].map(whole);
        println!(
            "{store:8} {evidence_kib:4} {:10} {:12}  {:8} {per_s:6.0} {p50:9.2} {p99:9.2} \
             {p999:9.2} {middle:>9} {register:>9} {asking:>9}",
            row.in_flight,
            row.group,
            row.path.name(),
        );
    }
    Bar {
        store: store.to_owned(),
        evidence_kib,
        in_flight: row.in_flight,
        group: row.group,
        path: row.path.name(),
        cpu_us,
    }
}

fn median(rounds: &mut [f64]) -> Option<f64> {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied()
}
