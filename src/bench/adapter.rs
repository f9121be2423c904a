// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench adapter`: where an exchange's time goes at the register's side, and what many
//! registers in one process cost in memory.
//!
//! Phases are timed by the adapter of a demo house, one exchange after the other, so that what is
//! measured is work and not waiting for others. Memory is that of `einmal adapter run` as a process
//! of its own, after each of its registers was asked.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use einmal_adapter_kit::{Phase, Taken};
use einmal_client::{Ask, Client};
use einmal_peer::{Clock, files};
use einmal_policy::directory::Register;
use tokio::task::JoinSet;

use super::{AdapterArgs, directory, stage};
use crate::{
    Exit,
    demo::{
        application,
        house::House,
        plan::{Plan, tls},
        registers::questions,
    },
    pki::identity_key,
};

/// The register that is asked, and copied: an SQLite database.
const SAMPLE: &str = "meldebehoerde-bremen";
/// Exchanges before anything is measured: pools are filled, cards fetched.
const WARM_UP: usize = 5;
/// Exchanges at once while each of many registers is asked.
const AT_ONCE: usize = 8;
/// How long many registers may take to be attached.
const ATTACHED: Duration = Duration::from_secs(120);

/// Runs it.
///
/// # Errors
/// Where the house does not start, or an exchange fails.
pub(super) async fn run(args: &AdapterArgs) -> Result<(), Exit> {
    let folder = stage::folder(None)?;
    let measured = measure(&folder, args).await;
    let _gone = std::fs::remove_dir_all(&folder);
    measured
}

async fn measure(folder: &Path, args: &AdapterArgs) -> Result<(), Exit> {
    let clock = Clock::system();
    let plan = Plan::create(folder, &clock).await?;
    let many = many(&plan, args.registers)?;
    let house = House::start(plan, clock).await?;
    let client = Arc::new(house.client().await?);
    let question = questions(&house.plan.town).into_iter().find(|one| one.register == SAMPLE);
    let ask = question.as_ref().map(application::ask);
    let ask = ask.ok_or_else(|| Exit::failed("the demo does not ask its residents' register"))?;
    phases(&house, &client, &ask, args).await?;
    if args.registers > 0 {
        memory(&house, (&client, &ask), &many, args).await?;
    }
    house.stop().await;
    Ok(())
}

/// Asks one register again and again, and prints what each phase took.
async fn phases(house: &House, client: &Client, ask: &Ask, args: &AdapterArgs) -> Result<(), Exit> {
    for _ in 0..WARM_UP {
        exchange(client, ask).await?;
    }
    let mut rounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..args.rounds {
        let before = taken(house);
        for _ in 0..args.exchanges {
            exchange(client, ask).await?;
        }
        for (was, is) in before.iter().zip(taken(house)) {
            let times = u32::try_from(is.times - was.times).map_err(Exit::failed)?;
            let each = (is.total - was.total).checked_div(times).unwrap_or_default();
            rounds.entry(is.phase.name()).or_default().push(each.as_secs_f64() * 1e6);
        }
    }
    for phase in Phase::ALL {
        let mut each = rounds.remove(phase.name()).unwrap_or_default();
        each.sort_by(f64::total_cmp);
        let median = each.get(each.len() / 2).copied().unwrap_or_default();
        match args.json {
            true => println!("{}", serde_json::json!({ "part": phase.name(), "us": median })),
            false => println!("{:<10} {median:>9.1} us", phase.name()),
        }
    }
    Ok(())
}

/// Of all adapters of the house together: only one of them is asked.
fn taken(house: &House) -> Vec<Taken> {
    let mut sums: Vec<Taken> = Vec::new();
    for adapter in &house.adapters {
        for (place, more) in adapter.taken().into_iter().enumerate() {
            match sums.get_mut(place) {
                Some(sum) => {
                    sum.times += more.times;
                    sum.total += more.total;
                }
                None => sums.push(more),
            }
        }
    }
    sums
}

async fn exchange(client: &Client, ask: &Ask) -> Result<(), Exit> {
    for prepared in client.prepare(std::slice::from_ref(ask)).await? {
        client.send(&prepared).await?;
    }
    Ok(())
}

fn register(number: u16) -> String {
    format!("bench-register-{number}")
}

/// Enters so many copies of a register in the directory, each with a database, a key and a journal
/// of its own, and writes the configuration of an adapter for all of them.
fn many(plan: &Plan, count: u16) -> Result<PathBuf, Exit> {
    let mut config = String::new();
    directory::amend(plan, |directory| {
        let sample = directory.registers.iter().find(|register| register.id == SAMPLE).cloned();
        let sample = sample.ok_or_else(|| Exit::failed("the demo has no residents' register"))?;
        let operator = sample.operators.first().cloned().unwrap_or_default();
        let plan_config = files::read_text(&plan.config(&format!("adapter-{operator}")))?;
        let broker = plan_config.lines().find(|line| line.starts_with("broker = "));
        let _ = write!(
            config,
            "{}\nroot = \"trust/root.signed\"\nstate = \"adapter-many\"\n\n{}",
            broker.unwrap_or_default(),
            tls(&operator)
        );
        for number in 0..count {
            let id = register(number);
            let key = identity_key(&plan.folder.join(format!("keys/{id}.key")))?;
            copy_of_sample(&plan.folder, &id)?;
            let _ = write!(
                config,
                "\n[[register]]\nid = \"{id}\"\nidentity = \"keys/{id}.key\"\n\
                 sources = \"{id}/{SAMPLE}.toml\"\nofficer = \"officer/officer.cards\"\n\
                 journal = \"adapter-many/journal/{id}\"\n"
            );
            directory.registers.push(Register { id, keys: vec![key], ..sample.clone() });
        }
        Ok(())
    })?;
    let file = plan.config("adapter-many");
    files::replace(&file, config.as_bytes())?;
    Ok(file)
}

fn copy_of_sample(folder: &Path, id: &str) -> Result<(), Exit> {
    let own = folder.join(id);
    std::fs::create_dir_all(&own).map_err(Exit::failed)?;
    for ending in ["toml", "db"] {
        let name = format!("{SAMPLE}.{ending}");
        let from = folder.join("registers").join(&name);
        std::fs::copy(from, own.join(name)).map_err(Exit::failed)?;
    }
    Ok(())
}

/// Ends with what is measured.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts an adapter for many registers, asks each of them, and prints what it has in memory.
async fn memory(
    house: &House,
    (client, ask): (&Arc<Client>, &Ask),
    config: &Path,
    args: &AdapterArgs,
) -> Result<(), Exit> {
    let adapter = Command::new(std::env::current_exe().map_err(Exit::failed)?)
        .args(["adapter", "run", "--config"])
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Exit::failed)?;
    let adapter = Program(adapter);
    let process = adapter.0.id().to_string();
    let attachments = &house.broker.broker.attachments;
    let attached = async {
        while !(0..args.registers).all(|number| attachments.has(&register(number))) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let attached = tokio::time::timeout(ATTACHED, attached).await;
    attached.map_err(|_| Exit::failed("the adapter did not attach all its registers in time"))?;
    let idle = stage::resident_kib(&process);
    let mut running = JoinSet::new();
    for number in 0..args.registers {
        if running.len() >= AT_ONCE
            && let Some(one) = running.join_next().await
        {
            one.map_err(Exit::failed)??;
        }
        let (client, ask) =
            (Arc::clone(client), Ask { register: Some(register(number)), ..ask.clone() });
        running.spawn(async move { exchange(&client, &ask).await });
    }
    while let Some(one) = running.join_next().await {
        one.map_err(Exit::failed)??;
    }
    let asked = stage::resident_kib(&process);
    let mib = |kib: u64| kib / 1024;
    match args.json {
        true => println!(
            "{}",
            serde_json::json!({
                "part": "memory", "registers": args.registers,
                "mib_attached": mib(idle), "mib_asked": mib(asked),
            })
        ),
        false => println!(
            "{} registers in one process: {} MiB attached, {} MiB after each was asked",
            args.registers,
            mib(idle),
            mib(asked)
        ),
    }
    Ok(())
}
