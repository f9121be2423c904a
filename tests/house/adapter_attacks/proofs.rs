// SPDX-License-Identifier: EUPL-1.2
//! NO-LOG-NO-DATA: only the true proof of this very commitment opens it.

use einmal_adapter_check::forgery::{self, Forgery, Scene, other_leaf};
use einmal_protocol::wire::register::v1::{
    Cancel, attach_request::Message as FromAdapter, attach_response::Message as ToAdapter,
};

use super::{
    double::After,
    stage::{LONG, SILENCE, Stage},
};

/// A stage whose ledger has a past that the adapter saw.
async fn stage_with_past() -> Stage {
    let mut stage = Stage::start().await;
    stage.log = stage.log.of((0..5).map(|number| other_leaf(100 + number)));
    stage.still_serves().await;
    stage
}

/// Each forgery is sent for a fresh commitment; the adapter ends the stream, comes back, and
/// serves what is true.
async fn nothing_is_revealed_for(forgeries: &[&Forgery]) {
    let mut stage = stage_with_past().await;
    for (number, (name, forge)) in forgeries.iter().enumerate() {
        let open = stage.honest_open().await;
        let committed = stage.commit(open).await;
        let forged = forge(&Scene { log: &stage.log, committed: &committed, seen: stage.seen });
        stage.line.logged(committed.exchange, forged).await;
        let after = stage.line.after(committed.exchange, LONG).await;
        assert_eq!(after, After::Ended, "{name}");
        stage.reattach().await;
        stage.still_serves().await;
        // A restarted adapter waits less before it dials again.
        if number % 4 == 3 {
            stage.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_log_step_is_followed_by_a_reveal() {
    let mut stage = Stage::start().await;
    for _ in 0..3 {
        let prepared = stage.prepared().await;
        let received = stage.exchange(&prepared).await;
        assert_eq!(received.proven.index() + 1, stage.log.size());
        assert!(!received.values.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_for_a_forged_proof() {
    let forgeries: Vec<&Forgery> = forgery::all().collect();
    let (first, second) = forgeries.split_at(forgeries.len() / 2);
    tokio::join!(nothing_is_revealed_for(first), nothing_is_revealed_for(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_without_a_log_step() {
    let mut stage = stage_with_past().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    assert_eq!(stage.line.after(committed.exchange, SILENCE).await, After::Silent);
    // What was not revealed is still there for the true proof.
    stage.reveal(&committed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_one_exchange_opens_no_other() {
    let mut stage = stage_with_past().await;
    let (one, other) = (stage.honest_open().await, stage.honest_open().await);
    let (one, other) = (stage.commit(one).await, stage.commit(other).await);
    stage.log = stage.log.with(other.leaf);
    stage.line.logged(one.exchange, stage.log.last(stage.seen)).await;
    assert_eq!(stage.line.after(one.exchange, LONG).await, After::Ended);
    // The true leaf stays in the ledger; what was in flight on the stream is gone.
    stage.reattach().await;
    stage.line.logged(other.exchange, stage.log.last(stage.seen)).await;
    stage.seen = stage.log.size();
    assert_eq!(stage.line.after(other.exchange, SILENCE).await, After::Silent);
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_step_of_nobody_is_held_against_the_ledger_all_the_same() {
    let mut stage = stage_with_past().await;
    // True: it is an exchange that the adapter has forgotten, and the ledger has grown.
    stage.log = stage.log.with(other_leaf(1));
    stage.line.logged(4711, stage.log.last(stage.seen)).await;
    stage.seen = stage.log.size();
    stage.still_serves().await;
    // False.
    let fork = stage.log.forked(other_leaf(2));
    stage.line.logged(4712, fork.with(other_leaf(3)).last(stage.seen)).await;
    assert!(stage.line.ends(LONG).await);
    stage.reattach().await;
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_exchange_reveals_nothing() {
    let mut stage = stage_with_past().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let cancel = Cancel { exchange: committed.exchange, reason: "CANCELLED".to_owned() };
    stage.line.send(ToAdapter::Cancel(cancel)).await;
    stage.log(&committed).await;
    assert_eq!(stage.line.after(committed.exchange, SILENCE).await, After::Silent);
    stage.still_serves().await;
}

/// Two roots of one size are proof enough: nothing more is revealed for this ledger.
#[tokio::test(flavor = "multi_thread")]
async fn after_two_roots_of_one_size_nothing_is_revealed_until_a_person_looked() {
    let mut stage = stage_with_past().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let fork = stage.log.first(stage.log.leaves().len() - 1).with(committed.leaf);
    assert_eq!(fork.size(), stage.seen);
    stage.line.logged(committed.exchange, Some(fork.last(stage.seen))).await;
    assert_eq!(stage.line.after(committed.exchange, LONG).await, After::Ended);
    stage.reattach().await;
    for _ in 0..2 {
        let open = stage.honest_open().await;
        stage.line.open(open).await;
        let answer = stage.line.next().await;
        assert!(matches!(answer, Some(FromAdapter::Decline(_))), "{answer:?}");
        stage.restart().await;
    }
    let proof = stage.folder.path().join("adapter-rechenzentrum-weser/forks.json");
    let text = std::fs::read_to_string(&proof).unwrap();
    assert!(text.contains(&stage.log.checkpoint().lines().nth(2).unwrap()[..8]), "{text}");
    std::fs::remove_file(proof).unwrap();
    stage.restart().await;
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_adapter_notices_a_fork_from_before() {
    let mut stage = stage_with_past().await;
    stage.restart().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let scene = Scene { log: &stage.log, committed: &committed, seen: stage.seen };
    // Whoever asks the adapter to forget gets no further than whoever shows a fork.
    let forged = scene.fork().with(committed.leaf).last(0);
    stage.line.logged(committed.exchange, forged).await;
    assert_eq!(stage.line.after(committed.exchange, LONG).await, After::Ended);
    stage.restart_after_drop().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let scene = Scene { log: &stage.log, committed: &committed, seen: stage.seen };
    let forged = scene.fork().with(committed.leaf).last(stage.seen);
    stage.line.logged(committed.exchange, forged).await;
    assert_eq!(stage.line.after(committed.exchange, LONG).await, After::Ended);
    stage.reattach().await;
    stage.still_serves().await;
}
