// SPDX-License-Identifier: EUPL-1.2
//! SAME-ANSWER over the whole house and a real register: who is there, who is not, who is blocked
//! and who is ambiguous look alike from outside, in size and in time.

use std::time::{Duration, Instant};

use einmal::demo::people::town;
use einmal_protocol::{person::PersonQuery, wire::v1::Outcome};

use crate::{
    blind::shape,
    refusals::{dial, send},
    world::World,
};

/// Each kind is asked so often.
const ROUNDS: usize = 50;
/// Of two kinds that take the same time, the ranks differ by more than this once in 150,000 runs.
const Z_MAX: f64 = 4.5;

/// Present, absent, blocked, ambiguous; all asked for by names, so that the questions are alike.
fn kinds() -> [(PersonQuery, Outcome); 4] {
    let town = town();
    let names = |index: usize| {
        let person = town.person(index).unwrap();
        PersonQuery::Names {
            family_name: person.family_name.clone(),
            given_names: person.given_names.clone(),
            birth_date: person.birth_date.clone(),
        }
    };
    let nobody = PersonQuery::Names {
        family_name: "Gibtsnicht".into(),
        given_names: "Niemand".into(),
        birth_date: "1984-03-09".into(),
    };
    [
        (names(town.applicant), Outcome::Found),
        (nobody, Outcome::NothingFound),
        (names(town.blocked[0]), Outcome::NothingFound),
        (names(town.alike.0), Outcome::Ambiguous),
    ]
}

/// How far the ranks of two samples lie apart (Mann-Whitney), in standard deviations.
fn rank_distance(one: &[Duration], other: &[Duration]) -> f64 {
    let count = |wins: usize| f64::from(u32::try_from(wins).unwrap());
    let wins = one.iter().flat_map(|left| other.iter().map(move |right| left.cmp(right)));
    let twice: usize = wins
        .map(|order| match order {
            std::cmp::Ordering::Greater => 2,
            std::cmp::Ordering::Equal => 1,
            std::cmp::Ordering::Less => 0,
        })
        .sum();
    let (m, n) = (count(one.len()), count(other.len()));
    (count(twice) / 2.0 - m * n / 2.0) / (m * n * (m + n + 1.0) / 12.0).sqrt()
}

/// The kinds in another order each round, so that a busy moment meets none of them alone.
fn order(round: usize) -> [usize; 4] {
    let mut order = [0, 1, 2, 3];
    let mut dice = round.wrapping_mul(0x9E37_79B9).wrapping_add(0x7F4A_7C15);
    for place in (1..order.len()).rev() {
        dice = dice.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        order.swap(place, (dice >> 16) % (place + 1));
    }
    order
}

#[tokio::test(flavor = "multi_thread")]
async fn present_absent_blocked_and_ambiguous_take_the_same_size_and_time() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let mut evidence = dial(&world, "it-bremen");
    let ask = world.ask("residence-registration");
    let mut shapes = Vec::new();
    let mut times: [Vec<Duration>; 4] = Default::default();
    for (query, outcome) in kinds() {
        let mut ask = ask.clone();
        ask.person.query = query;
        shapes.push(shape(&world, &client, ask, outcome).await);
    }
    assert!(shapes.iter().all(|shape| *shape == shapes[0]), "{shapes:?}");
    for round in 0..ROUNDS {
        for kind in order(round) {
            let mut ask = ask.clone();
            ask.person.query = kinds()[kind].0.clone();
            let prepared = client.prepare(&[ask]).await.unwrap().remove(0);
            let request = prepared.signed_request.clone();
            let began = Instant::now();
            send(&mut evidence, request, &prepared).await.unwrap();
            times[kind].push(began.elapsed());
        }
    }
    let rules = &world.house.broker.broker.trust.current().rules;
    let earliest = rules.evidence_type("residence-registration").unwrap().earliest_ms;
    let earliest = Duration::from_millis(u64::from(earliest));
    assert!(times.iter().flatten().all(|time| *time >= earliest));
    let mut all: Vec<Duration> = times.iter().flatten().copied().collect();
    all.sort_unstable();
    let spread = all[all.len() * 3 / 4] - all[all.len() / 4];
    println!("median {:?}, middle half within {spread:?}", all[all.len() / 2]);
    for (number, one) in times.iter().enumerate() {
        for other in &times[number + 1..] {
            let z = rank_distance(one, other);
            assert!(z.abs() < Z_MAX, "kind {number} can be told by its time: {z}");
        }
        // The test could see it: so much longer as the middle half of all times is wide.
        let later: Vec<Duration> = one.iter().map(|time| *time + spread).collect();
        assert!(rank_distance(&later, one) > Z_MAX, "too few exchanges to tell anything");
    }
    world.house.stop().await;
}
