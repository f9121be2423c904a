// SPDX-License-Identifier: EUPL-1.2
//! Load: many exchanges at once, each of them verified.

use std::{collections::HashMap, sync::Arc, time::Duration};

use einmal_peer::Clock;
use einmal_protocol::wire::register::v1::{Open, attach_request::Message as FromAdapter};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    answer,
    asker::{AskError, Asked},
    case::{Problem, Tried},
    forgery::Committed,
    line::{LONG, Word, name_of},
    questions::Target,
    stage::{Declined, Stage},
};

/// An exchange under way.
struct Running {
    asked: Asked,
    open: Open,
    since: Instant,
    committed: Option<(Committed, Instant)>,
    chunks: Vec<Vec<u8>>,
}

/// What was measured.
#[derive(Default)]
struct Times {
    commit: Vec<Duration>,
    reveal: Vec<Duration>,
    /// Exchanges that were declined with a fault.
    faults: usize,
}

/// Puts load on the adapter for as long as the stage says.
pub(crate) async fn run(stage: &mut Stage) -> Tried {
    let (lasts, at_once) = stage.load;
    let at_once = at_once.min(stage.line.hello.credits as usize).max(1);
    let before = memory_mib();
    let mut requests = requests(stage, stage.main.clone(), at_once);
    let began = Instant::now();
    let (mut running, mut times) = (HashMap::new(), Times::default());
    let mut verifying = JoinSet::new();
    loop {
        while running.len() < at_once && began.elapsed() < lasts {
            let asked = requests.recv().await;
            let asked = asked.ok_or_else(|| Problem::not_checked("no request could be made"))?;
            let asked = asked.map_err(Problem::failed)?;
            let open = stage.open_of(&asked);
            stage.line.open(open.clone()).await;
            let (committed, chunks) = (None, Vec::new());
            let since = Instant::now();
            running.insert(open.exchange, Running { asked, open, since, committed, chunks });
        }
        if running.is_empty() {
            break;
        }
        let Some(done) = step(stage, &mut running, &mut times).await? else { continue };
        let (world, target) = (Arc::clone(&stage.world), stage.main.clone());
        verifying.spawn_blocking(move || verify(&world, &target, done));
    }
    let took = began.elapsed();
    drop(requests);
    while let Some(verified) = verifying.join_next().await {
        verified.map_err(Problem::failed)??;
    }
    let (count, faults) = (times.reveal.len(), times.faults);
    if count == 0 || faults * 10 > count + faults {
        let all = count + faults;
        return Err(Problem::failed(format!(
            "with {at_once} at once, {faults} of {all} were declined with a fault"
        )));
    }
    let seconds = took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = count as f64 / seconds;
    let memory = match (stage.in_process, before, memory_mib()) {
        (true, Some(before), Some(after)) => {
            format!("; memory of adapter and check {before} MiB, then {after} MiB")
        }
        _ => String::new(),
    };
    Ok(format!(
        "{count} exchanges, {at_once} at once, in {seconds:.1} s ({rate:.0} a second, the check's \
         own work included), all right, {faults} declined with a fault; to the commitment {}; from the proof to the last chunk {}\
         {memory}",
        percentiles(&mut times.commit),
        percentiles(&mut times.reveal)
    ))
}

/// Makes requests beside the exchanges, some ahead.
fn requests(
    stage: &Stage,
    target: Target,
    ahead: usize,
) -> mpsc::Receiver<Result<Asked, AskError>> {
    let (sender, receiver) = mpsc::channel(ahead);
    let (world, mut draft) = (Arc::clone(&stage.world), stage.draft(&target));
    tokio::task::spawn_blocking(move || {
        loop {
            draft.issued_at_ms = Clock::system().now_ms();
            let asked = world.ask(&draft);
            let failed = asked.is_err();
            if sender.blocking_send(asked).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Takes one word of the adapter; an exchange where it ended one.
async fn step(
    stage: &mut Stage,
    running: &mut HashMap<u64, Running>,
    times: &mut Times,
) -> Result<Option<(Asked, Committed, Vec<Vec<u8>>)>, Problem> {
    let word = match stage.line.next_word(LONG).await {
        Word::Said(word) => word,
        Word::Ended => return Err(Problem::failed("it ended the stream under load")),
        Word::Silent => {
            let left = running.len();
            return Err(Problem::failed(format!("{left} exchanges were not answered in 20 s")));
        }
    };
    let unknown = || Problem::failed("it spoke of an exchange that is not open");
    match word {
        FromAdapter::Commit(commit) => {
            let found = running.get_mut(&commit.exchange).ok_or_else(unknown)?;
            times.commit.push(found.since.elapsed());
            let open = found.open.clone();
            let committed = stage.take_commit(&found.asked, open, commit.commitment)?;
            stage.log(&committed).await;
            found.committed = Some((committed, Instant::now()));
        }
        FromAdapter::Reveal(reveal) => {
            let found = running.get_mut(&reveal.exchange).ok_or_else(unknown)?;
            found.chunks.push(reveal.chunk);
            if !reveal.last {
                return Ok(None);
            }
            let found = running.remove(&reveal.exchange).ok_or_else(unknown)?;
            let early = || Problem::failed("it revealed before it committed");
            let (committed, since) = found.committed.ok_or_else(early)?;
            times.reveal.push(since.elapsed());
            return Ok(Some((found.asked, committed, found.chunks)));
        }
        FromAdapter::Decline(decline) => {
            let found = running.remove(&decline.exchange).ok_or_else(unknown)?;
            let said = stage.read_decline(&found.asked, &decline.refusal, &decline.fault)?;
            // A register may be too slow for so many; it may not refuse what is permitted.
            let Declined::Fault(_) = said else {
                return Err(Problem::failed(format!("an honest request was declined: {said}")));
            };
            times.faults += 1;
        }
        other => return Err(Problem::failed(format!("it sent {}", name_of(&other)))),
    }
    Ok(None)
}

fn verify(
    world: &crate::world::World,
    target: &Target,
    (asked, committed, chunks): (Asked, Committed, Vec<Vec<u8>>),
) -> Result<(), Problem> {
    let answer = answer::open(world, &asked, &committed, &chunks)?;
    answer.check(target).map_err(Problem::failed)
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        let index = (times.len() * percent / 100).min(times.len().saturating_sub(1));
        times.get(index).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    format!("p50 {:.0} ms, p99 {:.0} ms", at(50), at(99))
}

/// Memory of this process, where the system tells it.
fn memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
