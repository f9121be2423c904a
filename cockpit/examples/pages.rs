// SPDX-License-Identifier: EUPL-1.2
//! The pages over an invented ledger, for looking at them: `cargo run -p einmal-cockpit
//! --example pages`, then open <http://127.0.0.1:8460>.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a demo")]

#[path = "../tests/house/mod.rs"]
mod house;
#[path = "../tests/house/words.rs"]
mod words;

use einmal_protocol::{
    time::DAY_MS,
    wire::v1::{Initiation, Outcome, SubjectRole, Use},
};
use house::{Ask, House, NOW, by_number, canary, other};

#[tokio::main]
async fn main() {
    let mut house = House::build().await;
    let mut residence = Ask::about(&canary());
    residence.evidence_type = "residence".into();
    residence.purpose = "housing-allowance".into();
    residence.initiation = Initiation::Statutory;
    residence.outcome = Outcome::NothingFound;
    residence.released.clear();
    house.exchange(&residence);
    let made = house.make(&Ask::about(&canary()));
    house.log_made(&made);
    house.report(&made, Use::Used, 1);
    house.refusal(&residence, "NOT_PERMITTED");
    residence.at_ms += 60_000;
    house.refusal(&residence, "DENIED");
    let mut lie = Ask::about(&canary());
    lie.records = vec![(by_number(&other()), SubjectRole::Asked)];
    house.exchange(&lie);
    let mut later = Ask::about(&canary());
    later.at_ms = NOW + 29 * DAY_MS;
    later.records.push((other(), SubjectRole::Affected));
    let made = house.make(&later);
    house.log_made(&made);
    house.catch_up().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8460").await.unwrap();
    println!("http://127.0.0.1:8460");
    let pages = words::pages(&house).await;
    einmal_cockpit::pages::serve(listener, pages, std::future::pending()).await.unwrap();
}
