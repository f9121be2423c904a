// SPDX-License-Identifier: EUPL-1.2
//! The door: places, lines, and that nothing is ever lost.

use tokio::task::JoinSet;

use super::*;

fn door(limits: Limits) -> Arc<Admission> {
    Arc::new(Admission::new(&limits))
}

fn is_empty(door: &Admission) -> bool {
    let state = door.state();
    (state.busy, state.all, state.begun.len(), state.waiting.len()) == (0, 0, 0, 0)
}

/// Fills all places of the broker's work.
async fn fill(door: &Arc<Admission>, who: &str) -> Vec<Place> {
    let mut places = Vec::new();
    while places.len() < door.figures().at_once {
        places.push(door.enter(who).await.unwrap());
    }
    places
}

async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn who_finds_no_place_waits_and_is_turned_away_in_time_with_when_to_come_back() {
    let door = door(Limits { queue_ms: 200, ..Limits::default() });
    let places = fill(&door, "flood").await;
    let began = tokio::time::Instant::now();
    let failure = door.enter("quiet").await.unwrap_err();
    assert_eq!(failure.reason, Reason::BrokerBusy);
    assert!(failure.retry_after.unwrap() >= Duration::from_millis(500));
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!((door.figures().waiting, door.figures().turned_away), (0, 1));
    drop(places);
    assert!(is_empty(&door));
}

#[tokio::test]
async fn a_flood_waits_in_its_own_line_and_others_are_next() {
    let door = door(Limits { queue_max: 100, queue_ms: 60_000, ..Limits::default() });
    let mut places = fill(&door, "flood").await;
    let mut flood = JoinSet::new();
    for _ in 0..500 {
        let door = Arc::clone(&door);
        flood.spawn(async move { door.enter("flood").await });
    }
    until(|| door.figures().turned_away == 450).await;
    assert_eq!(door.figures(), Figures { at_once: 64, waiting: 50, turned_away: 450 });
    let quiet = tokio::spawn({
        let door = Arc::clone(&door);
        async move { door.enter("quiet").await }
    });
    until(|| door.figures().waiting == 51).await;
    // One of the flood, and then the quiet one.
    places.truncate(62);
    let place = quiet.await.unwrap().unwrap();
    assert_eq!(door.figures().waiting, 49);
    // Those that give up leave their places in line.
    flood.shutdown().await;
    drop((place, places));
    assert!(is_empty(&door));
}

#[tokio::test]
async fn who_is_at_a_register_leaves_the_place_to_others_and_comes_back_at_once() {
    let door = door(Limits::default());
    let places = fill(&door, "one").await;
    let first = places.first().unwrap();
    let other = first
        .away(async { door.enter("two").await })
        .await
        .expect("a place is free while the first is away");
    // Both are there: one more than may begin.
    assert_eq!(door.state().busy, 65);
    // A call that is given up while away comes back too.
    let given_up = first.away(std::future::pending::<()>());
    assert!(tokio::time::timeout(Duration::from_millis(5), given_up).await.is_err());
    assert_eq!(door.state().busy, 65);
    drop((other, places));
    assert!(is_empty(&door));
}

#[tokio::test]
async fn nobody_has_all_that_may_be_begun() {
    let door = door(Limits { in_flight_max: 100, ..Limits::default() });
    let mut held = Vec::new();
    let mut refused = 0;
    for n in 0..300 {
        // All of them are at a register that hangs.
        match door.enter(if n < 200 { "flood" } else { "quiet" }).await {
            Ok(place) => {
                place.admission.state().give_back();
                held.push(place);
            }
            Err(_) => refused += 1,
        }
    }
    let begun = door.state().begun.clone();
    assert!((80..=82).contains(&begun["flood"]), "{begun:?}");
    assert!(begun["quiet"] >= 14, "{begun:?}");
    assert_eq!(refused, 300 - held.len());
}

/// Whatever is dropped at whatever moment, all places come back.
#[tokio::test(flavor = "multi_thread")]
async fn no_place_is_ever_lost() {
    let door = door(Limits { queue_ms: 2, in_flight_max: 150, ..Limits::default() });
    let mut load = JoinSet::new();
    for n in 0_u64..400 {
        let door = Arc::clone(&door);
        load.spawn(async move {
            for step in 0..40 {
                let work = async {
                    let place = door.enter(["a", "b", "c"][(n % 3) as usize]).await?;
                    place.away(tokio::time::sleep(Duration::from_micros(n * 7 % 900))).await;
                    place.is_logged();
                    Ok::<_, Failure>(())
                };
                let patience = Duration::from_micros((n * 31 + step * 97) % 3_000);
                let _ = tokio::time::timeout(patience, work).await;
            }
        });
    }
    load.join_all().await;
    assert!(is_empty(&door));
}
