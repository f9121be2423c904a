// SPDX-License-Identifier: EUPL-1.2
//! One broker with its ledger, and the adapter that attached to it: where cases are tried.

use std::{sync::Arc, time::Duration};

use einmal_peer::Clock;
use einmal_protocol::{
    Digest, Reason,
    commitment::Commitment,
    envelope::payload_type,
    wire::{
        register::v1::{Open, attach_request::Message as FromAdapter},
        v1::{Envelope, ExchangeBody, RegisterRefusal},
    },
};
use prost::Message;
use tokio::time::Instant;

use crate::{
    answer::{self, Answer},
    asker::{Asked, Draft},
    broker::Broker,
    case::Problem,
    forgery::Committed,
    line::{After, LONG, Line, Word, name_of},
    log::Log,
    questions::Target,
    world::World,
};

/// Whoever is silent for so long says nothing.
pub(crate) const SILENCE: Duration = Duration::from_millis(1500);
/// An adapter that lost its stream is back in this time.
pub(crate) const BACK: Duration = Duration::from_secs(25);
/// Chunks are at most this long.
pub(crate) const CHUNK_MAX: u32 = 64 * 1024;
/// After a stream that lasted so long an adapter should dial again at once.
const LASTING: Duration = Duration::from_millis(1100);

/// What an adapter said instead of a commitment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Declined {
    /// Signed by the register, about this request.
    Refused(Reason),
    /// Not signed.
    Fault(String),
    /// It ended the stream.
    Ended,
}

/// One broker with its ledger, and the adapter that attached to it.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    pub(crate) broker: Broker,
    pub(crate) line: Line,
    /// The true ledger.
    pub(crate) log: Log,
    /// Size of the last checkpoint that the adapter saw.
    pub(crate) seen: u64,
    next: u64,
    /// It was waited for, and did not come.
    is_gone: bool,
    /// What honest exchanges ask.
    pub(crate) main: Target,
    /// What they could ask, the best first.
    pub(crate) candidates: Arc<Vec<Target>>,
    /// All that may be asked.
    pub(crate) targets: Arc<Vec<Target>>,
    /// How long load is put on, and how many exchanges at once.
    pub(crate) load: (Duration, usize),
    /// Whether the adapter runs in this process.
    pub(crate) in_process: bool,
}

impl Stage {
    /// Waits for the adapter, and welcomes it.
    pub(crate) async fn start(
        world: Arc<World>,
        mut broker: Broker,
        log: Log,
        (targets, candidates): (Arc<Vec<Target>>, Arc<Vec<Target>>),
        (load, in_process, wait): ((Duration, usize), bool, Duration),
    ) -> Option<Self> {
        let line = broker.line(wait).await?;
        line.welcome(&log.origin, CHUNK_MAX).await;
        let main = candidates.first()?.clone();
        Some(Self {
            world,
            broker,
            line,
            log,
            seen: 0,
            next: 0,
            is_gone: false,
            main,
            candidates,
            targets,
            load,
            in_process,
        })
    }

    /// Looks for a question that the register answers, from now on the main one.
    pub(crate) async fn find_main(&mut self, patience: Duration) -> Result<(), Problem> {
        let until = Instant::now() + patience;
        loop {
            let mut last = Problem::not_checked("there is no question that the rules permit");
            for target in Arc::clone(&self.candidates).iter() {
                let asked = self.ask(target)?;
                let open = self.open_of(&asked);
                match self.commit(&asked, open).await {
                    Ok(committed) => {
                        self.reveal(&committed).await?;
                        self.main = target.clone();
                        return Ok(());
                    }
                    Err(problem) => last = problem.at(&target.to_string()),
                }
            }
            if Instant::now() > until {
                return Err(last);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// A request about a target, as its authority makes it now.
    pub(crate) fn draft(&self, target: &Target) -> Draft {
        Draft {
            authority: target.choice.authority.clone(),
            register: target.register.clone(),
            ledger: self.log.origin.clone(),
            evidence_type: target.evidence_type.clone(),
            fields: target.choice.fields.clone(),
            purpose: target.choice.purpose.clone(),
            initiation: target.choice.initiation,
            person: target.person.clone(),
            issued_at_ms: Clock::system().now_ms(),
        }
    }

    /// An honest request about a target.
    pub(crate) fn ask(&self, target: &Target) -> Result<Asked, Problem> {
        self.world.ask(&self.draft(target)).map_err(Problem::failed)
    }

    /// An honest request about the main target.
    pub(crate) fn ask_main(&self) -> Result<Asked, Problem> {
        self.ask(&self.main.clone())
    }

    /// What an honest broker opens for a request, under a new exchange id.
    pub(crate) fn open_of(&mut self, asked: &Asked) -> Open {
        self.next += 1;
        asked.open(self.next, self.world.permit(asked))
    }

    /// Opens an exchange and takes the adapter's commitment.
    pub(crate) async fn commit(&mut self, asked: &Asked, open: Open) -> Result<Committed, Problem> {
        self.line.open(open.clone()).await;
        self.committed(asked, open).await
    }

    /// Takes the adapter's commitment to an exchange that was opened.
    pub(crate) async fn committed(
        &mut self,
        asked: &Asked,
        open: Open,
    ) -> Result<Committed, Problem> {
        let commit = match self.line.word_on(open.exchange, LONG).await {
            Word::Said(FromAdapter::Commit(commit)) => commit,
            Word::Said(FromAdapter::Reveal(_)) => {
                return Err(Problem::failed("it revealed before anything was logged"));
            }
            Word::Said(FromAdapter::Decline(decline)) => {
                let declined = self.read_decline(asked, &decline.refusal, &decline.fault)?;
                return Err(Problem::failed(format!("it declined an honest request: {declined}")));
            }
            Word::Said(other) => {
                return Err(Problem::failed(format!("it sent {}", name_of(&other))));
            }
            Word::Ended => return Err(Problem::failed("it ended the stream instead of answering")),
            Word::Silent => return Err(Problem::failed("it gave no commitment in 20 s")),
        };
        self.take_commit(asked, open, commit.commitment)
    }

    /// Verifies a commitment.
    pub(crate) fn take_commit(
        &self,
        asked: &Asked,
        open: Open,
        envelope: Vec<u8>,
    ) -> Result<Committed, Problem> {
        let register = self.world.trust.directory.register(&asked.request.register);
        let keys = register.map(|found| found.keys.as_slice()).unwrap_or_default();
        let commitment = Commitment::verify(&envelope, keys)
            .map_err(|error| Problem::failed(format!("its commitment: {error}")))?;
        let permit = Digest::of(&open.permit);
        commitment
            .check(asked.digest, permit, asked.kind.slots)
            .map_err(|error| Problem::failed(format!("its commitment: {error}")))?;
        let body = ExchangeBody {
            signed_request: open.signed_request,
            permit: open.permit,
            commitment: envelope,
        };
        Ok(Committed::new(open.exchange, body, commitment))
    }

    /// Logs truly.
    pub(crate) async fn log(&mut self, committed: &Committed) {
        self.log.push(committed.leaf);
        self.line.logged(committed.exchange, self.log.last(self.seen)).await;
        self.seen = self.log.size();
    }

    /// Logs truly and takes what is revealed for it.
    pub(crate) async fn reveal(&mut self, committed: &Committed) -> Result<Vec<Vec<u8>>, Problem> {
        self.log(committed).await;
        self.revealed(committed).await
    }

    async fn revealed(&mut self, committed: &Committed) -> Result<Vec<Vec<u8>>, Problem> {
        let seen = match self.line.after(committed.exchange, LONG).await {
            After::Revealed(chunks) => return Ok(chunks),
            After::Partly(_) => "it began to reveal and did not end".to_owned(),
            After::Other(what) => format!("after the true proof it sent {what}"),
            After::Ended => "it ended the stream after the true proof".to_owned(),
            After::Silent => "it revealed nothing in 20 s after the true proof".to_owned(),
        };
        Err(Problem::failed(seen))
    }

    /// A whole exchange, honestly, opened and verified.
    pub(crate) async fn exchange(&mut self, asked: &Asked) -> Result<Answer, Problem> {
        let open = self.open_of(asked);
        let committed = self.commit(asked, open).await?;
        let chunks = self.reveal(&committed).await?;
        answer::open(&self.world, asked, &committed, &chunks)
    }

    /// The adapter serves an honest request about the main target.
    pub(crate) async fn still_serves(&mut self) -> Result<(), Problem> {
        let asked = self.ask_main()?;
        let open = self.open_of(&asked);
        let serves = async {
            let committed = self.commit(&asked, open).await?;
            self.reveal(&committed).await
        };
        serves.await.map(|_| ()).map_err(|problem| problem.at("and an honest request after it"))
    }

    /// Opens an exchange that must be declined, or at least not be committed to.
    pub(crate) async fn declined(
        &mut self,
        asked: &Asked,
        open: Open,
    ) -> Result<Declined, Problem> {
        let exchange = open.exchange;
        self.line.open(open).await;
        match self.line.word_on(exchange, LONG).await {
            Word::Said(FromAdapter::Decline(decline)) => {
                self.read_decline(asked, &decline.refusal, &decline.fault)
            }
            Word::Said(FromAdapter::Commit(_)) => {
                self.line.cancel(exchange).await;
                Err(Problem::failed("it committed to it"))
            }
            Word::Said(FromAdapter::Reveal(_)) => Err(Problem::failed("it revealed at once")),
            Word::Said(other) => Err(Problem::failed(format!("it sent {}", name_of(&other)))),
            Word::Ended => Ok(Declined::Ended),
            Word::Silent => Err(Problem::failed("it said nothing in 20 s; a Decline must come")),
        }
    }

    pub(crate) fn read_decline(
        &self,
        asked: &Asked,
        refusal: &[u8],
        fault: &str,
    ) -> Result<Declined, Problem> {
        let bad = |what: &str| Problem::failed(format!("its refusal {what}"));
        if refusal.is_empty() {
            return Ok(Declined::Fault(fault.chars().take(64).collect()));
        }
        if !fault.is_empty() {
            return Err(bad("is a fault as well; only one of the two may be set"));
        }
        let register = self.world.trust.directory.register(&asked.question.register);
        let keys = register.map(|found| found.keys.as_slice()).unwrap_or_default();
        let envelope = Envelope::parse(refusal).map_err(|_| bad("is no envelope"))?;
        let payload = envelope.verified(payload_type::REFUSAL, keys);
        let payload = payload.map_err(|_| bad("is not signed by the register's identity key"))?;
        let refusal = RegisterRefusal::decode(payload).map_err(|_| bad("is malformed"))?;
        if refusal.request_digest != asked.digest.to_vec() {
            return Err(bad("is about another request"));
        }
        if refusal.register != asked.question.register {
            return Err(bad("names another register"));
        }
        let reason = Reason::parse(&refusal.reason);
        let reason =
            reason.ok_or_else(|| bad("has a reason that is not in the protocol's list"))?;
        if !reason.is_refusal() {
            return Err(bad("has a fault for a reason"));
        }
        Ok(Declined::Refused(reason))
    }

    /// Opens an exchange that must be refused for one of these reasons.
    pub(crate) async fn refused(
        &mut self,
        asked: &Asked,
        open: Open,
        reasons: &[Reason],
    ) -> Result<(), Problem> {
        match self.declined(asked, open).await? {
            Declined::Refused(reason) if reasons.contains(&reason) => Ok(()),
            other => {
                let names: Vec<&str> = reasons.iter().map(|reason| reason.as_str()).collect();
                Err(Problem::failed(format!("{other}, not {}", names.join(" or "))))
            }
        }
    }

    /// Waits until the adapter has dialled again, and welcomes it.
    pub(crate) async fn reattach(&mut self) -> Result<(), Problem> {
        self.take_line().await?;
        let (says, seen) = (self.line.hello.seen_size, self.seen);
        if says != seen {
            self.seen = says.min(self.log.size());
            return Err(Problem::failed(format!(
                "it came back and says that it saw {says} leaves; it was shown {seen}"
            )));
        }
        Ok(())
    }

    async fn take_line(&mut self) -> Result<(), Problem> {
        self.line.close();
        // It is waited for once.
        let line = if self.is_gone { None } else { self.broker.line(BACK).await };
        self.is_gone = line.is_none();
        self.line = line.ok_or_else(|| {
            Problem::failed(format!("it did not dial again within {} s", BACK.as_secs()))
        })?;
        self.line.welcome(&self.log.origin, CHUNK_MAX).await;
        Ok(())
    }

    /// After a case that failed: a new stream, whatever the adapter remembers.
    pub(crate) async fn begin_anew(&mut self) -> Result<(), Problem> {
        self.take_line().await?;
        self.seen = self.line.hello.seen_size.min(self.log.size());
        Ok(())
    }

    /// Waits until this stream has lasted a while, so that an adapter that waits longer after
    /// short ones dials at once.
    pub(crate) async fn last_a_while(&self) {
        tokio::time::sleep_until(self.line.since + LASTING).await;
    }
}

impl std::fmt::Display for Declined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "refused with {reason}"),
            Self::Fault(fault) => write!(f, "declined with the fault `{fault}`"),
            Self::Ended => f.write_str("the stream was ended"),
        }
    }
}
