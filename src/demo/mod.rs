// SPDX-License-Identifier: EUPL-1.2
//! `einmal demo`: a whole world on this machine, and its main job run for real.

pub mod application;
pub mod connector;
pub mod house;
pub mod library;
pub mod people;
pub mod plan;
pub mod registers;
mod table;

use std::{path::PathBuf, sync::Arc, time::Instant};

use einmal_protocol::wire::v1::Outcome;

use self::{connector::DemoConnector, house::House, plan::Plan, table::Table};
use crate::{
    Exit,
    logging::{self, LogForm},
    told_to_stop,
};

/// Starts a whole world on this machine and fetches the 17 evidences of one application for
/// parental allowance.
///
/// It makes a certificate authority, signs rules and directory, creates a dozen registers as real
/// databases and files with invented people, and starts broker, adapters and cockpit on free
/// loopback ports over real mTLS. It stays up until Ctrl-C, so that you can read the records as a
/// citizen and ask more with `einmal request`.
#[derive(clap::Args)]
pub struct Args {
    /// End after checking that all 17 were delivered, recorded and proven.
    #[arg(long)]
    once: bool,
    /// Print the figures as one JSON object on the last line of standard output.
    #[arg(long)]
    json: bool,
    /// Keep the world in this folder; it must be empty or not there. Otherwise it lies in a
    /// temporary folder and is gone at the end.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Where not all 17 were delivered, recorded and proven.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(LogForm::Text, "error");
    let (folder, temporary) = match &args.folder {
        Some(folder) => (folder.clone(), false),
        None => {
            let name = format!("einmal-demo-{}", std::process::id());
            (std::env::temp_dir().join(name), true)
        }
    };
    let empty = std::fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
    if !empty {
        let folder = folder.display();
        return Err(Exit::usage(format!("{folder} is not empty; name another folder")));
    }
    let ended = live(&args, &folder).await;
    if temporary && let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("einmal: {} could not be removed: {error}", folder.display());
    }
    ended
}

async fn live(args: &Args, folder: &std::path::Path) -> Result<(), Exit> {
    eprintln!("einmal: making certificates, rules, directory, registers …");
    let house = House::create(folder).await?;
    eprintln!(
        "einmal: {} registers attached; the application begins\n",
        house.plan.registers.len()
    );
    let client = Arc::new(house.client().await?);
    let questions = registers::questions(&house.plan.town);
    let questions: Vec<_> = questions.iter().map(|q| (q.evidence_type, q.register)).collect();
    let mut table = Table::begin(&questions);
    let began = Instant::now();
    let lines = application::apply(&client, &house.plan.town, |number, line| {
        table.tell(number, line);
    })
    .await?;
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    client.save()?;
    let found = |line: &&application::Line| {
        line.answer.as_ref().is_ok_and(|received| received.outcome == Outcome::Found)
    };
    let delivered = lines.iter().filter(found).count();
    let size = house.broker.broker.ledger.checkpoint().size();
    let (recorded, proven) =
        application::check(&lines, &house.cockpit.keeper, size, &house.plan.root()?).await?;
    eprintln!(
        "\neinmal: {delivered} of 17 delivered, {recorded} recorded for their persons, {proven} \
         proven offline, in {elapsed_ms} ms"
    );
    if !args.once {
        let connector = DemoConnector::start(&house).await?;
        tell(&house.plan, &house);
        eprintln!("\nAs an authority's application, in one line:\n{}", connector.curl(&house));
        told_to_stop().await?;
        eprintln!("\neinmal: stopping");
        connector.running.stop().await;
    }
    house.stop().await;
    if args.json {
        let object = serde_json::json!({
            "delivered": delivered,
            "recorded": recorded,
            "proven": proven,
            "elapsed_ms": elapsed_ms,
        });
        println!("{object}");
    }
    if (delivered, recorded, proven) == (17, 17, 17) {
        Ok(())
    } else {
        Err(Exit::failed("not all 17 were delivered, recorded and proven"))
    }
}

/// What to look at now.
fn tell(plan: &Plan, house: &House) {
    let folder = plan.folder.display();
    let public = house.broker.public.map(|at| at.to_string()).unwrap_or_default();
    // As this program was called, since `einmal` need not be on the path.
    let einmal = std::env::args().next().unwrap_or_else(|| "einmal".to_owned());
    let metrics = house.broker.metrics.map(|at| at.to_string()).unwrap_or_default();
    eprintln!(
        "\n\
         Read it as the citizen:   http://{}/  (choose a person on the login page)\n\
         \x20                         open a record, then \"export\", and check it offline:\n\
         \x20                         {einmal} verify <export.json> --root {folder}/trust/root.signed\n\
         Ask more:                 {einmal} request --config {folder}/client.toml \\\n\
         \x20                           --person {folder}/person.toml --evidence residence-registration \\\n\
         \x20                           --fields street,postcode,place --purpose parental-allowance\n\
         Ask what is not allowed:  the same with --purpose child-benefit, or with --explain\n\
         The ledger:               {einmal} ledger show --config {folder}/broker.toml\n\
         \x20                         http://{public}/checkpoint  (published once a minute)\n\
         Figures:                  http://{metrics}/metrics\n\
         \n\
         Ctrl-C ends it.",
        house.cockpit.address
    );
}
