// SPDX-License-Identifier: EUPL-1.2
//! One session after the other, each answer the protocol has.

use einmal_peer::Clock;
use einmal_protocol::{
    cosignature::{cosignatures, with_cosignatures},
    key::SigningKey,
    merkle::{empty_root, leaf_hash},
    note::{Checkpoint, NoteError},
};
use einmal_witness::{StartError, StateError, Witness, WitnessAnswer, WitnessClient};

use crate::fixture::{
    Folder, NOW_S, ORIGIN, Tree, client, ledger_key, signed, some_root, witness_key,
};

/// The status of a refusal; 200 and 409 for the other answers.
async fn status(
    client: &WitnessClient,
    old: u64,
    proof: &[einmal_protocol::Digest],
    note: &str,
) -> u16 {
    match client.add_checkpoint(old, proof, note).await.unwrap() {
        WitnessAnswer::Cosigned(_) => 200,
        WitnessAnswer::Conflict { .. } => 409,
        WitnessAnswer::Refused { status, .. } => status,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_every_answer() {
    let folder = Folder::new();
    let running = folder.start().await;
    let client = client(&running);
    let (tree, fork) = (Tree::new(40), Tree::forked(40, 3));
    assert_eq!(client.newest(ORIGIN).await, Ok(None));
    assert_eq!(client.newest("other.example/l").await, Ok(None));

    // 404: nobody told it about this ledger. 403: not signed by the ledger's key.
    let other_key = SigningKey::from_seed(&[6; 32]).unwrap();
    let foreign = Checkpoint::sign("other.example/l", 5, some_root(), &other_key).unwrap();
    assert_eq!(status(&client, 0, &[], foreign.note()).await, 404);
    let forged = Checkpoint::sign(ORIGIN, 5, tree.root(5), &other_key).unwrap();
    assert_eq!(status(&client, 0, &[], forged.note()).await, 403);
    let tampered = tree.note(5).replacen("\n5\n", "\n6\n", 1);
    assert_eq!(status(&client, 0, &[], &tampered).await, 403);
    // 400: no checkpoint, or the old size is larger than the new one.
    assert_eq!(status(&client, 0, &[], "nothing\n").await, 400);
    assert_eq!(status(&client, 9, &[], &tree.note(5)).await, 400);
    // 409 with the size; 422 where the first tree comes with a proof, or the empty one is not empty.
    let conflict = client.add_checkpoint(4, &tree.proof(4, 5), &tree.note(5)).await.unwrap();
    assert_eq!(conflict, WitnessAnswer::Conflict { size: 0 });
    assert_eq!(status(&client, 0, &[some_root()], &tree.note(5)).await, 422);
    assert_eq!(status(&client, 0, &[], &signed(0, some_root())).await, 422);
    assert_eq!((client.newest(ORIGIN).await, folder.remembered()), (Ok(None), None));

    // 200, from nothing: first the empty tree, then five leaves, then seventeen.
    assert_eq!(status(&client, 0, &[], &signed(0, empty_root())).await, 200);
    assert_eq!(status(&client, 0, &[], &tree.note(5)).await, 200);
    let answer = client.add_checkpoint(5, &tree.proof(5, 17), &tree.note(17)).await.unwrap();
    let WitnessAnswer::Cosigned(lines) = answer else { panic!("{answer:?}") };
    let cosigned = with_cosignatures(&tree.checkpoint(17), &lines, &[witness_key()]).unwrap();
    let said = cosignatures(&cosigned, &[witness_key()]);
    assert_eq!((said.len(), said[0].time_s, &*said[0].witness), (1, NOW_S, "witness.example/w9"));
    assert_eq!(client.newest(ORIGIN).await, Ok(Some(cosigned.note().to_owned())));
    assert_eq!(folder.remembered().unwrap().note(), cosigned.note());
    // The same tree again is cosigned again; lines of others are neither checked nor handed on.
    let junk = format!("{}— stranger AAAAAAAA\n", tree.note(17));
    assert_eq!(status(&client, 17, &[], &junk).await, 200);
    assert_eq!(client.newest(ORIGIN).await, Ok(Some(cosigned.note().to_owned())));

    // 409: old sizes that are not the newest, whatever else is right.
    for (old, new) in [(0, 17), (0, 20), (5, 17), (5, 20), (16, 17), (5, 5)] {
        let answer = client.add_checkpoint(old, &tree.proof(old, new), &tree.note(new)).await;
        assert_eq!(answer.unwrap(), WitnessAnswer::Conflict { size: 17 }, "{old} {new}");
    }
    // 422: wrong proofs, and the fork.
    let good = tree.proof(17, 33);
    for wrong in [&[][..], &good[1..], &[&good[..], &[some_root()]].concat(), &[some_root(); 63]] {
        assert_eq!(status(&client, 17, wrong, &tree.note(33)).await, 422);
    }
    assert_eq!(status(&client, 17, &fork.proof(17, 33), &fork.note(33)).await, 422);
    assert!(folder.forks().is_empty(), "no two trees of one size so far");
    assert_eq!(status(&client, 17, &[some_root()], &tree.note(17)).await, 422);
    assert_eq!(status(&client, 17, &[], &fork.note(17)).await, 422);
    assert_eq!(status(&client, 5, &[], &fork.note(17)).await, 409);
    let forks = folder.forks();
    assert_eq!(forks.len(), 1, "the same two notes once");
    assert!(forks[0].contains(cosigned.note()) && forks[0].contains(&fork.note(17)));
    assert_eq!(client.newest(ORIGIN).await, Ok(Some(cosigned.note().to_owned())));
    assert_eq!(status(&client, 17, &good, &tree.note(33)).await, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_nothing() {
    let folder = Folder::new();
    let tree = Tree::new(40);
    let running = folder.start().await;
    assert_eq!(status(&client(&running), 0, &[], &tree.note(9)).await, 200);
    // Two processes on one folder would contradict each other.
    let second = folder.try_start(Clock::system()).await.unwrap_err();
    assert!(matches!(second, StartError::State(StateError::InUse(_))), "{second}");
    running.stop().await;

    // A clock that went back does not make the older tree the newer one.
    let running = folder.try_start(Clock::standing_at(NOW_S * 1000 - 3_600_000)).await.unwrap();
    let asked = client(&running);
    assert_eq!(status(&asked, 0, &[], &tree.note(9)).await, 409);
    assert_eq!(status(&asked, 9, &tree.proof(9, 30), &tree.note(30)).await, 200);
    let newest = Checkpoint::parse(&asked.newest(ORIGIN).await.unwrap().unwrap(), &ledger_key());
    let said = cosignatures(&newest.unwrap(), &[witness_key()]);
    assert_eq!(said[0].time_s, NOW_S);
    running.stop().await;
}

/// The note is on the disk before the answer exists; and what could not be written is not said.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_before_it_is_written() {
    let folder = Folder::new();
    let tree = Tree::new(40);
    let config = folder.config(&[ledger_key()]);
    let witness = Witness::open(&config, Clock::standing_at(NOW_S * 1000)).unwrap();
    let ask = |witness: &Witness, old, new| {
        let (proof, note) = (tree.proof(old, new), tree.note(new));
        witness.add_checkpoint(
            einmal_witness::AddCheckpoint { old_size: old, proof, note }.to_string().as_bytes(),
        )
    };
    assert!(matches!(ask(&witness, 0, 4), einmal_witness::Verdict::Cosigned(_)));
    assert_eq!(folder.remembered().unwrap().size(), 4);
    // No folder can be made where a file lies, and none is renamed into it.
    std::fs::rename(config.state.join("logs"), config.state.join("away")).unwrap();
    std::fs::write(config.state.join("logs"), b"in the way").unwrap();
    assert_eq!(ask(&witness, 4, 9), einmal_witness::Verdict::Fenced);
    std::fs::remove_file(config.state.join("logs")).unwrap();
    std::fs::rename(config.state.join("away"), config.state.join("logs")).unwrap();
    // What the disk holds is not known until it is read again.
    assert_eq!(ask(&witness, 4, 9), einmal_witness::Verdict::Fenced);
    drop(witness);
    let witness = Witness::open(&config, Clock::standing_at(NOW_S * 1000)).unwrap();
    assert!(matches!(ask(&witness, 4, 9), einmal_witness::Verdict::Cosigned(_)));
}

#[tokio::test]
async fn what_cannot_be_trusted_does_not_start() {
    let folder = Folder::new();
    let config = folder.config(&[ledger_key()]);
    let open = |config: &_| Witness::open(config, Clock::system()).map(|_| ());
    std::fs::create_dir_all(config.state.join("logs")).unwrap();
    let name = einmal_protocol::Digest::of(ORIGIN.as_bytes()).to_hex();
    let file = config.state.join("logs").join(format!("{name}.checkpoint"));
    let tree = Tree::new(9);
    let other =
        Checkpoint::sign(ORIGIN, 9, leaf_hash(b"x"), &SigningKey::from_seed(&[6; 32]).unwrap());
    for note in ["", "nothing", other.unwrap().note(), &tree.note(9).replacen("\n9\n", "\n8\n", 1)]
    {
        std::fs::write(&file, note).unwrap();
        let refused = open(&config).unwrap_err();
        assert!(matches!(refused, StartError::State(StateError::Damaged { .. })), "{refused}");
    }
    std::fs::write(&file, tree.note(9)).unwrap();
    open(&config).unwrap();
    let mut twice = folder.config(&[ledger_key(), ledger_key()]);
    assert!(matches!(open(&twice), Err(StartError::Twice(_))));
    twice.logs.truncate(1);
    twice.logs[0].vkey.push('A');
    assert!(matches!(open(&twice), Err(StartError::Log { number: 1, error: NoteError::Key })));
    let unnamed = einmal_witness::WitnessConfig { name: "a b".to_owned(), ..config.clone() };
    assert!(matches!(open(&unnamed), Err(StartError::Key(NoteError::Key))));
    let keyless = einmal_witness::WitnessConfig { key: file, ..config };
    assert!(matches!(open(&keyless), Err(StartError::File(_))));
}
