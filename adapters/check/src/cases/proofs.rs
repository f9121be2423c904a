// SPDX-License-Identifier: EUPL-1.2
//! NO-LOG-NO-DATA: only the true proof of this very commitment opens it.

use std::sync::Arc;

use crate::{
    asker::Asked,
    case::{Case, Problem, Tried, case},
    forgery::{
        Committed, Forgery, OF_ANOTHER_CHECKPOINT, OF_ANOTHER_HISTORY, OF_SOMETHING_ELSE, Scene,
        other_leaf,
    },
    line::After,
    stage::{SILENCE, Stage},
};

/// On a broker of its own.
pub(crate) const OTHER_LEAVES: &[Case] = &[
    case!(
        "proof-missing",
        "NO-LOG-NO-DATA",
        missing,
        "After its commitment, nothing is revealed as long as no proof comes; then the true proof \
         opens it.",
        "Reveal only in answer to a Logged message whose proof you verified.",
    ),
    case!(
        "proof-other",
        "NO-LOG-NO-DATA",
        other,
        "Nothing is revealed for a proof of another leaf, index, day, kind or commitment, for \
         garbage, or for an empty receipt.",
        "Rebuild the leaf from the body yourself, and walk the path to the root.",
    ),
];

/// On a broker of its own.
pub(crate) const OTHER_CHECKPOINTS: &[Case] = &[
    case!(
        "proof-checkpoint",
        "NO-LOG-NO-DATA",
        checkpoint,
        "Nothing is revealed under a checkpoint of another key or another ledger, with another \
         size, or from before the exchange was logged.",
        "Verify the checkpoint with the key that the directory names for the request's ledger.",
    ),
    case!(
        "proof-swapped",
        "NO-LOG-NO-DATA",
        swapped,
        "The proof for one exchange opens no other.",
        "Keep for each exchange the leaf that must be proven.",
    ),
    case!(
        "proof-witness",
        "NO-LOG-NO-DATA",
        witness,
        "Where the rules ask for a witness, nothing is revealed under a checkpoint without its \
         cosignature.",
        "Count the distinct witnesses of the rules that cosigned (docs/protocol.md § 5).",
    ),
    case!(
        "cancelled",
        "NO-LOG-NO-DATA",
        cancelled,
        "An exchange that the broker cancelled reveals nothing, though it is logged afterwards, \
         and its place is given back.",
        "End the exchange on Cancel, and send a Credit.",
    ),
    case!(
        "deadline",
        "NO-LOG-NO-DATA",
        deadline,
        "An exchange whose deadline has passed reveals nothing, though it is logged afterwards.",
        "Give up after Open.deadline_ms.",
    ),
];

/// On a broker of its own.
pub(crate) const OTHER_HISTORIES: &[Case] = &[case!(
    "proof-history",
    "APPEND-ONLY",
    history,
    "Nothing is revealed under a checkpoint that does not provably extend the last one seen: a \
     fork, a smaller tree, a missing or wrong consistency proof.",
    "Verify consistency from the last checkpoint of this ledger, and keep that over restarts.",
)];

/// On a broker of its own, and the last there: the ledger counts no more after it.
pub(crate) const FORK: &[Case] = &[case!(
    "fork-same-size",
    "APPEND-ONLY",
    same_size,
    "Two roots of one size prove that the ledger forked: nothing is revealed, then or on the next \
     stream.",
    "Compare the roots of checkpoints of one size, and stop using that ledger.",
)];

impl Stage {
    /// An honest commitment to an honest request.
    async fn committed_main(&mut self) -> Result<(Asked, Committed), Problem> {
        let asked = self.ask_main()?;
        let open = self.open_of(&asked);
        let committed = self.commit(&asked, open).await?;
        Ok((asked, committed))
    }

    /// A ledger of some length, which the adapter has seen.
    async fn with_past(&mut self) -> Result<(), Problem> {
        while self.log.size() < 6 {
            let number = u8::try_from(self.log.size()).unwrap_or_default();
            self.log.push(other_leaf(100 + number));
        }
        self.still_serves().await
    }

    /// After this nothing may have been revealed for an exchange, whether the stream goes on.
    async fn nothing_comes(&mut self, exchange: u64) -> Result<(), Problem> {
        match self.line.after(exchange, SILENCE).await {
            After::Silent => Ok(()),
            After::Ended => self.reattach().await,
            After::Other(_) => Ok(()),
            After::Revealed(chunks) | After::Partly(chunks) => Err(Problem::failed(format!(
                "it revealed {} bytes",
                chunks.iter().map(Vec::len).sum::<usize>()
            ))),
        }
    }
}

/// Each forgery is sent for a fresh commitment; then the adapter serves what is true.
async fn nothing_for(stage: &mut Stage, forgeries: &[Forgery]) -> Tried {
    stage.with_past().await?;
    let mut ended = 0;
    for (name, forge) in forgeries {
        let tried = async {
            let (_, committed) = stage.committed_main().await?;
            let forged = forge(&Scene { log: &stage.log, committed: &committed, seen: stage.seen });
            stage.last_a_while().await;
            let since = stage.line.since;
            stage.line.logged(committed.exchange, forged).await;
            stage.nothing_comes(committed.exchange).await?;
            ended += u32::from(stage.line.since != since);
            stage.line.cancel(committed.exchange).await;
            stage.still_serves().await
        };
        let tried: Result<(), Problem> = tried.await;
        tried.map_err(|problem| problem.at(name))?;
    }
    let count = forgeries.len();
    Ok(format!("nothing revealed for {count} forgeries; after {ended} it dialled anew"))
}

async fn missing(stage: &mut Stage) -> Tried {
    stage.with_past().await?;
    let (_, committed) = stage.committed_main().await?;
    match stage.line.after(committed.exchange, SILENCE).await {
        After::Silent => {}
        After::Ended => return Err(Problem::failed("it ended the stream instead of waiting")),
        After::Other(what) => return Err(Problem::failed(format!("it sent {what}"))),
        After::Revealed(_) | After::Partly(_) => {
            return Err(Problem::failed("it revealed before any proof came"));
        }
    }
    let chunks = stage.reveal(&committed).await?;
    Ok(format!("silent for {} ms, then {} chunks", SILENCE.as_millis(), chunks.len()))
}

async fn other(stage: &mut Stage) -> Tried {
    nothing_for(stage, OF_SOMETHING_ELSE).await
}

async fn checkpoint(stage: &mut Stage) -> Tried {
    nothing_for(stage, OF_ANOTHER_CHECKPOINT).await
}

async fn history(stage: &mut Stage) -> Tried {
    nothing_for(stage, OF_ANOTHER_HISTORY).await
}

async fn swapped(stage: &mut Stage) -> Tried {
    stage.with_past().await?;
    let (_, one) = stage.committed_main().await?;
    let (_, other) = stage.committed_main().await?;
    stage.last_a_while().await;
    let log = stage.log.with(other.leaf);
    stage.line.logged(one.exchange, log.last(stage.seen)).await;
    stage.nothing_comes(one.exchange).await?;
    stage.line.cancel(one.exchange).await;
    stage.line.cancel(other.exchange).await;
    stage.still_serves().await?;
    Ok("nothing revealed".to_owned())
}

async fn witness(stage: &mut Stage) -> Tried {
    stage.with_past().await?;
    let (_, committed) = stage.committed_main().await?;
    stage.last_a_while().await;
    let witnesses = std::mem::take(&mut stage.log.witnesses);
    stage.log(&committed).await;
    stage.log.witnesses = Arc::clone(&witnesses);
    let after = stage.nothing_comes(committed.exchange).await;
    // It may count as seen or not: whoever verified it knows it.
    let anew = match &after {
        Ok(()) => {
            stage.line.cancel(committed.exchange).await;
            stage.begin_anew().await
        }
        Err(_) => Ok(()),
    };
    after.and(anew)?;
    stage.still_serves().await?;
    Ok("nothing revealed without the cosignature".to_owned())
}

async fn cancelled(stage: &mut Stage) -> Tried {
    stage.with_past().await?;
    let (_, committed) = stage.committed_main().await?;
    stage.line.forget();
    stage.line.cancel(committed.exchange).await;
    if !stage.line.credits(1, SILENCE * 3).await {
        return Err(Problem::failed("it gave no Credit back for the cancelled exchange"));
    }
    stage.log(&committed).await;
    stage.nothing_comes(committed.exchange).await?;
    stage.still_serves().await?;
    Ok("nothing revealed, and the place was given back".to_owned())
}

async fn deadline(stage: &mut Stage) -> Tried {
    stage.with_past().await?;
    let asked = stage.ask_main()?;
    let open = stage.open_of(&asked);
    let open = einmal_protocol::wire::register::v1::Open { deadline_ms: 3_000, ..open };
    let committed = stage.commit(&asked, open).await?;
    tokio::time::sleep(std::time::Duration::from_millis(3_300)).await;
    stage.log(&committed).await;
    stage.nothing_comes(committed.exchange).await?;
    stage.still_serves().await?;
    Ok("nothing revealed after 3 s".to_owned())
}

async fn same_size(stage: &mut Stage) -> Tried {
    stage.with_past().await?;
    let (_, committed) = stage.committed_main().await?;
    let before = stage.log.first(stage.log.leaves().len().saturating_sub(1));
    let fork = before.with(committed.leaf);
    stage.last_a_while().await;
    stage.line.logged(committed.exchange, fork.last(stage.seen)).await;
    stage.nothing_comes(committed.exchange).await?;
    stage.begin_anew().await?;
    // Nothing is revealed for this ledger any more, by whatever means.
    let asked = stage.ask_main()?;
    let open = stage.open_of(&asked);
    let exchange = open.exchange;
    if let Ok(committed) = stage.commit(&asked, open).await {
        stage.log(&committed).await;
        match stage.line.after(exchange, SILENCE).await {
            After::Revealed(_) | After::Partly(_) => {
                return Err(Problem::failed(
                    "on the next stream it revealed for the forked ledger",
                ));
            }
            After::Silent | After::Ended | After::Other(_) => {}
        }
    }
    Ok("nothing revealed, on the next stream either".to_owned())
}
