// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench cockpit`: lists of a person with many records in a large index; the tail's own
//! speed over real bodies; and, in a whole house, from an answer to its record being visible.

mod entries;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_cockpit::{
    keeper::{
        DayKeyFiles, Entry, Keeper, KeeperSettings, NoArchive, connect_in_process, fill::Filling,
    },
    login::Logins,
};
use einmal_peer::Clock;
use einmal_protocol::{
    key::SigningKey,
    merkle::Edge,
    note::{Checkpoint, LedgerKey},
    time::{DAY_MS, day_of},
    wire::{
        cockpit::v1::{
            ListRecordsRequest, RecordFilter, keeper_service_client::KeeperServiceClient,
        },
        v1::Subject,
    },
};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use self::entries::{AUTHORITY, Maker};
use super::{CockpitArgs, ledger::thousandths, load::Waits};
use crate::{
    Exit,
    demo::{application, house::House, registers::questions},
};

const LEDGER: &str = "bench.einmal.example/ledger";
/// Two years and today, as long as records are kept.
const DAYS: u32 = 731;
/// Valid numbers of nobody.
const PEOPLE: [&str; 3] = ["86095742719", "47036892816", "65929970489"];
/// Entries of one checkpoint while following.
const RUN: usize = 500;

/// Runs it.
pub(super) async fn run(args: &CockpitArgs) -> Result<(), Exit> {
    let above = args.folder.clone().unwrap_or_else(std::env::temp_dir);
    let folder = above.join(format!("einmal-bench-cockpit-{}", std::process::id()));
    let measured = measure(args, &folder).await;
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("einmal: {} could not be removed: {error}", folder.display());
    }
    measured
}

async fn measure(args: &CockpitArgs, folder: &Path) -> Result<(), Exit> {
    if !args.json {
        println!("what        per s      p50 ms     p99 ms");
    }
    let key = SigningKey::from_seed(&[3; 32]).map_err(Exit::failed)?;
    lists(args, &folder.join("lists"), &key).await?;
    ingest(args, &folder.join("ingest"), &key).await?;
    if args.visible > 0 {
        visible(args, &folder.join("house")).await?;
    }
    Ok(())
}

fn tell(args: &CockpitArgs, what: &str, mut waits: Waits) {
    let (rate, p50, p99) = (waits.per_second(), waits.quantile(0.5), waits.quantile(0.99));
    if args.json {
        let row = serde_json::json!({
            "what": what, "per_s": thousandths(rate),
            "p50_ms": thousandths(p50), "p99_ms": thousandths(p99),
            "entries": args.entries, "people": args.people, "records": args.records,
        });
        println!("{row}");
    } else {
        println!("{what:8} {rate:8.0}  {p50:10.3} {p99:10.3}");
    }
}

/// A keeper with the keys of two years.
async fn keeper(folder: PathBuf, ledger: &SigningKey, clock: Clock) -> Result<Keeper, Exit> {
    std::fs::create_dir_all(&folder).map_err(Exit::failed)?;
    let now_ms = clock.now_ms();
    let settings = KeeperSettings {
        participant: "keeper".to_owned(),
        identity: Arc::new(SigningKey::from_seed(&[4; 32]).map_err(Exit::failed)?),
        files: DayKeyFiles {
            site_key: folder.join("site.key"),
            folders: [folder.join("days-1"), folder.join("days-2")],
        },
        index: folder.join("index.sqlite"),
        ledger: LedgerKey::new(LEDGER, ledger.public().clone()).map_err(Exit::failed)?,
        retention_days: DAYS,
        logins: Logins::demo_only(),
    };
    let keeper = Keeper::open(settings, Arc::new(NoArchive), clock).await.map_err(Exit::failed)?;
    let mut at_ms = now_ms.saturating_sub(u64::from(DAYS) * DAY_MS);
    while at_ms < now_ms {
        keeper.card(at_ms).map_err(Exit::failed)?;
        at_ms += 30 * DAY_MS;
    }
    keeper.card(now_ms).map_err(Exit::failed)?;
    Ok(keeper)
}

fn person(number: usize) -> Subject {
    let idnr = PEOPLE.get(number % PEOPLE.len()).copied().unwrap_or_default().to_owned();
    Subject {
        idnr,
        birth_name: "Beispiel".to_owned(),
        given_names: "Jona".to_owned(),
        birth_date: "1990-04-01".to_owned(),
        birth_place: "Kiel".to_owned(),
    }
}

async fn lists(args: &CockpitArgs, folder: &Path, key: &SigningKey) -> Result<(), Exit> {
    let clock = Clock::system();
    let today = day_of(clock.now_ms());
    let keeper = keeper(folder.to_owned(), key, clock).await?;
    let known: Vec<Subject> = (0..PEOPLE.len()).map(person).collect();
    let mut maker = Maker::new(&keeper, LEDGER)?;
    let (body, plain) = maker.template(&person(0), args.body)?;
    let authorities: Vec<String> = (0..40).map(|number| format!("authority-{number}")).collect();
    let purposes: Vec<String> = (0..10).map(|number| format!("purpose-{number}")).collect();
    let filling = Filling {
        entries: args.entries,
        people: args.people,
        known: &known,
        records: args.records,
        days: today.saturating_sub(DAYS - 1)..today + 1,
        body: &body,
        plain: &plain,
        authorities: &authorities,
        purposes: &purposes,
        ledger: key,
    };
    let began = Instant::now();
    keeper.fill(&filling).await.map_err(Exit::failed)?;
    if !args.json {
        let seconds = began.elapsed().as_secs_f64();
        eprintln!("{} entries written in {seconds:.1} s", args.entries);
    }
    let client = connect_in_process(keeper);
    tell(args, "list", list(args, &client, None).await?);
    let filter =
        RecordFilter { purposes: vec!["purpose-none".to_owned()], ..RecordFilter::default() };
    tell(args, "filter", list(args, &client, Some(filter)).await?);
    Ok(())
}

/// Lists for a while, so many at once, each waiting for its answer before the next.
async fn list(
    args: &CockpitArgs,
    client: &KeeperServiceClient<Channel>,
    filter: Option<RecordFilter>,
) -> Result<Waits, Exit> {
    let time = Duration::from_secs(args.seconds.clamp(1, 3600));
    let expected = if filter.is_some() { 0 } else { args.records.min(args.entries / 3) };
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for at in 0..args.at_once.clamp(1, 64) {
        let (mut client, filter) = (client.clone(), filter.clone());
        tasks.spawn(async move {
            let mut each_ms = Vec::new();
            while began.elapsed() < time {
                let request = ListRecordsRequest {
                    subject: Some(person(at + each_ms.len())),
                    login: application::demo_login(),
                    filter: filter.clone(),
                    ..ListRecordsRequest::default()
                };
                let before = Instant::now();
                let answer = client.list_records(request).await.map_err(Exit::failed)?;
                each_ms.push(before.elapsed().as_secs_f64() * 1e3);
                let total = answer.into_inner().total;
                if total != expected {
                    return Err(Exit::failed(format!("{total} records and not {expected}")));
                }
            }
            Ok(each_ms)
        });
    }
    let mut waits = Waits { group: 1, ..Waits::default() };
    while let Some(done) = tasks.join_next().await {
        waits.each_ms.extend(done.map_err(Exit::failed)??);
    }
    waits.seconds = began.elapsed().as_secs_f64();
    Ok(waits)
}

/// Takes entries as a ledger's stream brings them: each wait stands for one run of [`RUN`].
async fn ingest(args: &CockpitArgs, folder: &Path, key: &SigningKey) -> Result<(), Exit> {
    let keeper = keeper(folder.to_owned(), key, Clock::system()).await?;
    let mut maker = Maker::new(&keeper, LEDGER)?;
    let mut intake = keeper.intake(maker.known());
    let (mut edge, mut made) = (Edge::default(), Vec::new());
    for index in 0..args.ingest.max(RUN) as u64 {
        let (leaf, body) = maker.entry(&person(usize::try_from(index).unwrap_or_default()))?;
        edge.push(leaf.hash());
        made.push(Entry { index, leaf: leaf.to_bytes().to_vec(), body });
        if made.len().is_multiple_of(RUN) {
            let note = Checkpoint::sign(LEDGER, edge.size(), edge.root(), key);
            maker.checkpoints.push(note.map_err(Exit::failed)?.note().to_owned());
        }
    }
    let mut waits = Waits { group: RUN, ..Waits::default() };
    let began = Instant::now();
    for (run, checkpoint) in made.chunks_exact(RUN).zip(&maker.checkpoints) {
        let before = Instant::now();
        intake.take(run.to_vec(), checkpoint).await.map_err(Exit::failed)?;
        waits.each_ms.push(before.elapsed().as_secs_f64() * 1e3);
    }
    waits.seconds = began.elapsed().as_secs_f64();
    let listed = connect_in_process(keeper.clone())
        .list_records(ListRecordsRequest {
            subject: Some(person(0)),
            login: application::demo_login(),
            ..ListRecordsRequest::default()
        })
        .await
        .map_err(Exit::failed)?
        .into_inner();
    let findings = listed.records.iter().map(|record| record.findings.len()).sum::<usize>();
    if listed.total == 0 || findings > 0 {
        return Err(Exit::failed(format!("what was taken is not whole: {AUTHORITY}")));
    }
    tell(args, "ingest", waits);
    Ok(())
}

/// From an answer to its record standing in the person's list, over broker, tail and index.
async fn visible(args: &CockpitArgs, folder: &Path) -> Result<(), Exit> {
    let house = House::create(folder).await?;
    let client = house.client().await?;
    let questions = questions(&house.plan.town);
    let question = questions.first().ok_or_else(|| Exit::failed("the demo asks nothing"))?;
    let person = application::person_of(&house.plan.town, &question.person);
    let person = person.map(application::subject);
    let mut keeper = connect_in_process(house.cockpit.keeper.clone());
    let mut waits = Waits { group: 1, ..Waits::default() };
    for number in 1..=args.visible as u64 {
        client.ask(application::ask(question)).await.map_err(Exit::failed)?;
        let before = Instant::now();
        loop {
            let request = ListRecordsRequest {
                subject: person.clone(),
                login: application::demo_login(),
                page_size: 1,
                ..ListRecordsRequest::default()
            };
            let listed = keeper.list_records(request).await.map_err(Exit::failed)?.into_inner();
            if listed.total >= number {
                break;
            }
            if before.elapsed() > Duration::from_secs(30) {
                return Err(Exit::failed("a record did not become visible in 30 s"));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let took = before.elapsed().as_secs_f64();
        waits.each_ms.push(took * 1e3);
        waits.seconds += took;
    }
    house.stop().await;
    tell(args, "visible", waits);
    Ok(())
}
