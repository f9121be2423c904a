// SPDX-License-Identifier: EUPL-1.2
//! What the register says, honestly asked: the right answer in the one shape (SAME-ANSWER).

use std::{collections::BTreeMap, time::Duration};

use einmal_peer::Clock;
use einmal_protocol::wire::v1::Kem;
use tokio::time::Instant;

use crate::{
    answer::Shape,
    case::{Case, Problem, Tried, case},
    questions::{Expect, Target, about_nobody},
    stage::{Declined, Stage},
    world::{DENIED, STRANGER},
};

/// Rounds of the comparison of times.
const ROUNDS: usize = 40;
/// As many times, where chance alone may have made the difference.
const BATCHES: usize = 4;
/// Medians of times may differ by this much, or by a tenth.
const TOLERANCE: Duration = Duration::from_millis(3);
/// And by no more than chance explains.
const CHANCE_Z: f64 = 3.0;
/// An adapter has to know newer documents after this time.
const POLLED: Duration = Duration::from_secs(20);

/// First, while the deny list is too old to count.
pub(crate) const BEGINNING: &[Case] = &[
    case!(
        "attach",
        "ATTACHED",
        attach,
        "The adapter attaches with its certificate; its Hello names all its registers and at \
         least one credit, and no checkpoint that it cannot have seen.",
        "Say Hello first, with the registers of the directory that you speak for.",
    ),
    case!(
        "key-card",
        "SIGNED-ALL-THE-WAY",
        key_card,
        "Each register has published a key card, signed by its identity key, with an X-Wing key \
         that is good now and for the next minutes.",
        "Publish the card before you attach, and renew it in time (docs/protocol.md § 2).",
    ),
    case!(
        "deny-list-stale",
        "PURPOSE-BOUND",
        stale,
        "While nobody has said for over an hour that the deny list is the newest, nothing is \
         answered; as soon as somebody does, it is.",
        "Refuse where `freshness` is older than an hour, and ask for newer every few seconds.",
    ),
];

/// Alone, so that times can be compared.
pub(crate) const CASES: &[Case] = &[
    case!(
        "found",
        "SIGNED-ALL-THE-WAY",
        found,
        "A person who is there is found in each lawful way: the evidence verifies, fits its \
         schema, has permitted fields only and those that are expected; the access records open \
         for the keeper and say the same.",
        "Compare the register's file with the question file; the adapter's log names the field.",
    ),
    case!(
        "fields",
        "PURPOSE-BOUND",
        fields,
        "Where fewer fields are asked for, fewer come.",
        "Send the permitted fields of this request only, whatever the register returned.",
    ),
    case!(
        "nothing",
        "SAME-ANSWER",
        nothing,
        "A person who does not exist is answered with NOTHING_FOUND inside the seal.",
        "\"No such person\", \"no data\" and \"blocked\" are this one value.",
    ),
    case!(
        "blocked",
        "SAME-ANSWER",
        blocked,
        "A blocked person (Auskunftssperre) is answered with NOTHING_FOUND inside the seal, and \
         gets an access record.",
        "Map the column that says who is blocked.",
    ),
    case!(
        "ambiguous",
        "SAME-ANSWER",
        ambiguous,
        "Where more than one person fits, the answer is AMBIGUOUS and transmits nothing \
         (IDNrG § 6 (4)).",
        "Match over all people, and count them.",
    ),
    case!(
        "same-size",
        "SAME-ANSWER",
        same_size,
        "Found, nothing, blocked and ambiguous have one size: of the commitment, of each sealed \
         access record, of each chunk.",
        "Pad evidence to its type's size and records to theirs; fill empty slots with dummies.",
    ),
    case!(
        "earliest-time",
        "SAME-ANSWER",
        earliest,
        "No commitment comes earlier than the evidence type's earliest time, and over 40 rounds \
         the medians of found and of nothing differ by at most 3 ms or a tenth, or by chance.",
        "Wait until the earliest time, counted from the lookup; if the register is slower than \
         that, ask for a later one in the rules.",
    ),
    case!(
        "load",
        "LOAD",
        load,
        "Many exchanges at once for some seconds: each is answered, rightly, and none is lost; at \
         most one in ten is declined with a fault.",
        "Look at the source's time limit; where the register bears fewer at once, offer fewer \
         credits.",
    ),
];

/// Last: what is denied stays denied.
pub(crate) const END: &[Case] = &[case!(
    "denied",
    "PURPOSE-BOUND",
    denied,
    "An authority that is put on the deny list is refused with DENIED within seconds, and what it \
     had asked before is not revealed any more.",
    "Ask for the deny list every five seconds; look at it before the decision and once more \
     before you reveal.",
)];

async fn attach(stage: &mut Stage) -> Tried {
    let hello = stage.line.hello.clone();
    let registers = &stage.world.trust.directory.document().registers;
    let missing = registers.iter().find(|register| !hello.registers.contains(&register.id));
    if let Some(register) = missing {
        return Err(Problem::failed(format!("its Hello does not name `{}`", register.id)));
    }
    let known = |id: &String| registers.iter().any(|register| register.id == *id);
    if !hello.registers.iter().all(known) {
        return Err(Problem::failed("its Hello names a register that is not in the directory"));
    }
    if hello.credits == 0 {
        return Err(Problem::failed("its Hello gives no credit"));
    }
    if hello.seen_size != 0 {
        let size = hello.seen_size;
        return Err(Problem::failed(format!("it says that it saw {size} leaves of a new ledger")));
    }
    Ok(format!("{} registers, {} credits", hello.registers.len(), hello.credits))
}

async fn key_card(stage: &mut Stage) -> Tried {
    let now_ms = Clock::system().now_ms();
    for register in &stage.world.trust.directory.document().registers {
        let at = |problem: Problem| problem.at(&register.id);
        let card = stage.world.card(&register.id, now_ms).map_err(Problem::failed).map_err(at)?;
        for later_ms in [0, 10 * 60_000] {
            if card.key_at(Kem::XWing, now_ms + later_ms).is_none() {
                let minutes = later_ms / 60_000;
                let what = format!("its card has no X-Wing key for {minutes} minutes from now");
                return Err(at(Problem::failed(what)));
            }
        }
    }
    Ok(format!("{} cards", stage.world.trust.directory.document().registers.len()))
}

async fn stale(stage: &mut Stage) -> Tried {
    let asked = stage.ask_main()?;
    let open = stage.open_of(&asked);
    let declined = stage.declined(&asked, open).await;
    stage.world.freshen(Clock::system().now_ms()).map_err(Problem::failed)?;
    let declined = declined?;
    if declined == Declined::Ended {
        stage.begin_anew().await?;
    }
    let began = Instant::now();
    stage.find_main(POLLED).await?;
    Ok(format!("{declined}; answered {} ms after it was fresh", began.elapsed().as_millis()))
}

impl Stage {
    /// The questions of this kind.
    fn targets_of(&self, expect: Expect) -> Result<Vec<Target>, Problem> {
        let of: Vec<Target> =
            self.targets.iter().filter(|target| target.expect == expect).cloned().collect();
        if of.is_empty() {
            let what = expect.as_str();
            return Err(Problem::not_checked(format!(
                "the question file has no person with `expect = \"{what}\"` who may be asked about"
            )));
        }
        Ok(of)
    }

    async fn all_answered(&mut self, expect: Expect) -> Tried {
        let targets = self.targets_of(expect)?;
        let mut fields = 0;
        for target in &targets {
            let at = |problem: Problem| problem.at(&target.to_string());
            let asked = self.ask(target)?;
            let answer = self.exchange(&asked).await.map_err(at)?;
            answer.check(target).map_err(Problem::failed).map_err(at)?;
            fields += answer.values.len();
            if answer.records == 0 {
                return Err(at(Problem::failed("nobody got an access record")));
            }
        }
        Ok(format!("{} questions, {fields} fields", targets.len()))
    }
}

async fn found(stage: &mut Stage) -> Tried {
    stage.all_answered(Expect::Found).await
}

async fn nothing(stage: &mut Stage) -> Tried {
    stage.all_answered(Expect::Nothing).await
}

async fn blocked(stage: &mut Stage) -> Tried {
    stage.all_answered(Expect::Blocked).await
}

async fn ambiguous(stage: &mut Stage) -> Tried {
    stage.all_answered(Expect::Ambiguous).await
}

async fn fields(stage: &mut Stage) -> Tried {
    let targets = stage.targets_of(Expect::Found)?;
    let mut narrowed = 0;
    for target in targets.iter().filter(|target| target.choice.fields.len() > 1) {
        let mut draft = stage.draft(target);
        draft.fields.truncate(1);
        let asked = stage.world.ask(&draft).map_err(Problem::failed)?;
        let answer = stage.exchange(&asked).await;
        answer.map_err(|problem| problem.at(&target.to_string()))?;
        narrowed += 1;
    }
    match narrowed {
        0 => Err(Problem::not_checked("no evidence type here has two permitted fields")),
        _ => Ok(format!("{narrowed} questions with one field instead of more")),
    }
}

/// Answers of one evidence type of one register must have one shape.
async fn same_size(stage: &mut Stage) -> Tried {
    let mut shapes: BTreeMap<(String, String), (Shape, Expect)> = BTreeMap::new();
    let mut expects = BTreeMap::new();
    let targets = std::sync::Arc::clone(&stage.targets);
    for target in targets.iter() {
        let at = |problem: Problem| problem.at(&target.to_string());
        let asked = stage.ask(target)?;
        let open = stage.open_of(&asked);
        let committed = stage.commit(&asked, open).await.map_err(at)?;
        let chunks = stage.reveal(&committed).await.map_err(at)?;
        let shape = Shape::of(&committed, &chunks);
        let even = shape.slots.windows(2).all(|pair| pair.first() == pair.last());
        if !even {
            let sizes = format!("the sealed access records have {:?} bytes", shape.slots);
            return Err(at(Problem::failed(sizes)));
        }
        *expects.entry(target.expect.as_str()).or_insert(0) += 1;
        let of = (target.register.clone(), target.evidence_type.clone());
        let (first, expect) = shapes.entry(of).or_insert_with(|| (shape.clone(), target.expect));
        if let Some(difference) = first.difference(&shape) {
            let first = expect.as_str();
            return Err(at(Problem::failed(format!("other than `{first}`: {difference}"))));
        }
    }
    let counts: Vec<String> =
        expects.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if expects.len() < 2 {
        let only = counts.join(", ");
        return Err(Problem::not_checked(format!("there is nothing to compare: {only}")));
    }
    Ok(format!("one size for {}", counts.join(", ")))
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

async fn earliest(stage: &mut Stage) -> Tried {
    let main = stage.main.clone();
    let of = (main.register.as_str(), main.evidence_type.as_str());
    let nobody = about_nobody(&stage.world, of, main.way);
    let nobody = nobody.ok_or_else(|| Problem::not_checked("nobody else can be asked about"))?;
    let mut times = [Vec::new(), Vec::new()];
    let mut seen = String::new();
    for _ in 0..BATCHES {
        let earliest = measure(stage, [&main, &nobody], &mut times).await?;
        let [one, other] = &mut times;
        let z = apart(one, other);
        let (count, one, other) = (one.len(), median(one), median(other));
        seen = format!(
            "medians of {count}: {} {:.1} ms, nothing {:.1} ms; earliest {} ms",
            main.expect.as_str(),
            one.as_secs_f64() * 1e3,
            other.as_secs_f64() * 1e3,
            earliest.as_millis()
        );
        if main.expect != Expect::Found {
            let why = format!("nobody is there to be compared with; {seen}");
            return Err(Problem::not_checked(why));
        }
        if one.abs_diff(other) <= TOLERANCE.max(one.max(other) / 10) {
            return Ok(seen);
        }
        if z.abs() > CHANCE_Z {
            let why = format!("{seen}; by chance hardly ever (z = {z:.1})");
            return Err(Problem::failed(why));
        }
    }
    // Neither alike nor surely apart: that must not read as a pass.
    Err(Problem::not_checked(format!("this machine is too busy to tell; try again: {seen}")))
}

/// Some more exchanges of each kind, and how long each took; the earliest time of the type.
async fn measure(
    stage: &mut Stage,
    targets: [&Target; 2],
    times: &mut [Vec<Duration>; 2],
) -> Result<Duration, Problem> {
    let mut earliest = Duration::ZERO;
    for round in 0..ROUNDS * 2 {
        // The one first, then the other first: whatever else the machine does hits both.
        let which = (round + round / 2) % 2;
        let (Some(target), Some(times)) = (targets.get(which), times.get_mut(which)) else {
            continue;
        };
        let asked = stage.ask(target)?;
        earliest = Duration::from_millis(asked.kind.earliest_ms.into());
        let open = stage.open_of(&asked);
        let began = Instant::now();
        let committed = stage.commit(&asked, open).await?;
        let took = began.elapsed();
        if took < earliest {
            return Err(Problem::failed(format!(
                "a commitment came after {} ms; the earliest is {} ms",
                took.as_millis(),
                earliest.as_millis()
            )));
        }
        times.push(took);
        stage.reveal(&committed).await?;
    }
    Ok(earliest)
}

/// How far times lie apart by their ranks (Mann and Whitney): on a busy machine medians differ by
/// chance, and 3 is left by chance three times in a thousand.
fn apart(one: &[Duration], other: &[Duration]) -> f64 {
    let wins: i32 = one.iter().flat_map(|a| other.iter().map(move |b| a.cmp(b) as i32)).sum();
    let count = f64::from(u32::try_from(one.len().max(1)).unwrap_or(u32::MAX));
    let spread = (count * count * (2.0 * count + 1.0) / 12.0).sqrt();
    f64::from(wins) / 2.0 / spread
}

async fn load(stage: &mut Stage) -> Tried {
    crate::load::run(stage).await
}

async fn denied(stage: &mut Stage) -> Tried {
    let twin = |id: &str| stage.world.choices.askers.get(id).cloned();
    let main = stage.main.clone();
    if main.choice.authority == STRANGER || twin(DENIED) != twin(&main.choice.authority) {
        return Err(Problem::not_checked("no authority that may ask can be denied"));
    }
    let denied = |stage: &Stage| {
        let mut draft = stage.draft(&main);
        draft.authority = DENIED.to_owned();
        stage.world.ask(&draft).map_err(Problem::failed)
    };
    // Before, it may.
    let asked = denied(stage)?;
    let open = stage.open_of(&asked);
    let open = einmal_protocol::wire::register::v1::Open { deadline_ms: 60_000, ..open };
    let before = stage.commit(&asked, open).await.map_err(|problem| problem.at("before"))?;
    stage.world.deny(DENIED, Clock::system().now_ms()).map_err(Problem::failed)?;
    let began = Instant::now();
    loop {
        let asked = denied(stage)?;
        let open = stage.open_of(&asked);
        let exchange = open.exchange;
        let refused = stage.refused(&asked, open, &[einmal_protocol::Reason::Denied]).await;
        match refused {
            Ok(()) => break,
            Err(problem) if began.elapsed() > POLLED => return Err(problem),
            Err(_) => stage.line.cancel(exchange).await,
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let took = began.elapsed();
    stage.log(&before).await;
    match stage.line.after(before.exchange, crate::stage::SILENCE).await {
        crate::line::After::Revealed(_) | crate::line::After::Partly(_) => {
            return Err(Problem::failed("what was asked before was revealed after the denial"));
        }
        crate::line::After::Ended => stage.reattach().await?,
        _ => {}
    }
    stage.still_serves().await?;
    Ok(format!("refused {:.1} s after the list was changed", took.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_times() {
        let mut times = [5, 1, 9].map(Duration::from_millis);
        assert_eq!(median(&mut times), Duration::from_millis(5));
        assert_eq!(median(&mut []), Duration::ZERO);
    }

    #[test]
    fn what_lies_apart_and_what_does_not() {
        let times = |from: u64| (from..from + 40).map(Duration::from_millis).collect::<Vec<_>>();
        assert!(apart(&times(0), &times(0)).abs() < 0.01);
        assert!(apart(&times(3), &times(0)) < 3.0);
        assert!(apart(&times(30), &times(0)) > 6.0);
        assert!(apart(&times(0), &times(30)) < -6.0);
    }
}
