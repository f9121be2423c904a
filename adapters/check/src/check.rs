// SPDX-License-Identifier: EUPL-1.2
//! The whole check: several brokers at once, each with a ledger of its own, so that what one does
//! to its stream disturbs no other.

use std::{
    collections::HashMap,
    io,
    net::TcpListener as Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_peer::Tls;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tonic::service::Routes;

use crate::{
    broker::Broker,
    case::{Case, Finding, Problem, Tried},
    cases::{ALL, SLOW, answers, proofs, requests, streams},
    log::Log,
    questions::{Expect, Questions, QuestionsError, Target, Way, about_nobody},
    report::Report,
    stage::Stage,
    world::{TRUST_DOMAIN, World, WorldError},
};

/// How many brokers the check plays.
pub const BROKERS: usize = 6;
/// A case that takes longer has failed.
const CASE_MAX: Duration = Duration::from_secs(100);
/// A register is to answer its first question after so long.
const FIRST: Duration = Duration::from_secs(15);
/// What is said where an adapter is gone.
const GONE: &str = "the adapter did not come back after an earlier case";

/// How a check is done.
pub struct Options {
    /// Ids of the cases to try; none: all but the slow ones.
    pub only: Vec<String>,
    /// The slow ones too.
    pub slow: bool,
    /// How long load is put on.
    pub load: Duration,
    /// How many exchanges at once.
    pub at_once: usize,
    /// How long to wait until the adapter attaches.
    pub wait: Duration,
    /// Whether the adapter runs in this process.
    pub in_process: bool,
    /// Told of each case that was tried.
    pub progress: Arc<dyn Fn(&Finding) + Send + Sync>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Options({:?})", self.only)
    }
}

impl Options {
    fn wants(&self, case: &Case) -> bool {
        self.only.is_empty() || self.only.iter().any(|id| id == case.id)
    }
}

/// Why nothing can be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The question file.
    #[error(transparent)]
    Questions(#[from] QuestionsError),
    /// The world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A port.
    #[error("a port of this machine cannot be used: {0}")]
    Port(#[from] io::Error),
    /// Not a case.
    #[error("there is no case `{0}`; --list has them all")]
    NoCase(String),
    /// No question at all.
    #[error("the rules permit no question to these registers; are these the right rules?")]
    NoQuestion,
}

/// A world whose brokers listen.
#[derive(Debug)]
pub struct Playing {
    world: Arc<World>,
    brokers: Vec<Broker>,
}

impl Playing {
    /// Lets the brokers of a world listen, each on its port and with its certificate.
    ///
    /// # Errors
    /// Where a port cannot be used.
    pub fn start(world: World, listeners: Vec<(Bound, Tls)>) -> Result<Self, CheckError> {
        let mut brokers = Vec::new();
        for (listener, tls) in listeners {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let board = Arc::clone(&world.board);
            let identity = (&tls, TRUST_DOMAIN);
            brokers.push(Broker::on(listener, identity, board, Routes::default())?);
        }
        Ok(Self { world: Arc::new(world), brokers })
    }

    /// Waits for the adapter and tries all cases.
    ///
    /// # Errors
    /// Where nothing can be checked at all.
    pub async fn check(
        self,
        questions: &Questions,
        options: Options,
    ) -> Result<Report, CheckError> {
        if let Some(id) = options.only.iter().find(|id| !crate::cases::all().any(|c| c.id == **id))
        {
            return Err(CheckError::NoCase(id.clone()));
        }
        let began = Instant::now();
        let (mut targets, left_out) = questions.targets(&self.world)?;
        targets.sort_by_key(|target| target.expect);
        let nobody = nobody(&self.world);
        if !targets.iter().any(|target| target.expect == Expect::Nothing) {
            let is_beside = |target: &&Target| is_beside(target, &targets);
            let beside: Vec<Target> = nobody.iter().filter(is_beside).cloned().collect();
            targets.extend(beside);
        }
        let mut candidates = targets.clone();
        candidates.retain(|target| target.expect != Expect::Ambiguous);
        candidates.extend(nobody);
        if candidates.is_empty() {
            return Err(CheckError::NoQuestion);
        }
        let questions = (Arc::new(targets), Arc::new(candidates));
        let findings = Run { options: Arc::new(options), tried: HashMap::new() }
            .all(self.world, self.brokers, questions)
            .await;
        Ok(Report { findings, left_out, took: began.elapsed() })
    }
}

/// Questions about nobody, one for each that the rules permit.
fn nobody(world: &World) -> Vec<Target> {
    let registers = &world.trust.directory.document().registers;
    let types = registers.iter().flat_map(|register| {
        register.evidence_types.iter().map(|kind| (register.id.as_str(), kind.as_str()))
    });
    types
        .flat_map(|of| Way::ALL.into_iter().filter_map(move |way| about_nobody(world, of, way)))
        .collect()
}

/// Whether a question about nobody is like one of the file: then the register answers it.
fn is_beside(nobody: &Target, targets: &[Target]) -> bool {
    targets.iter().any(|target| {
        (&target.register, &target.evidence_type, target.way)
            == (&nobody.register, &nobody.evidence_type, nobody.way)
    })
}

/// One run over all cases.
struct Run {
    options: Arc<Options>,
    tried: HashMap<&'static str, Finding>,
}

type Asking = (Arc<Vec<Target>>, Arc<Vec<Target>>);

impl Run {
    async fn all(
        mut self,
        world: Arc<World>,
        brokers: Vec<Broker>,
        questions: Asking,
    ) -> Vec<Finding> {
        let mut stages = self.attach(&world, brokers, questions).await;
        let mut first = stages.first_mut().and_then(Option::take);
        self.take(cases_on(&mut first, answers::BEGINNING, &self.options).await);
        if let Some(stage) = &mut first {
            // The case that does it may not have been asked for, or have failed.
            let _ = world.freshen(einmal_peer::Clock::system().now_ms());
            let _ = stage.find_main(FIRST).await;
        }
        let main = first.as_ref().map(|stage| stage.main.clone());
        let slow: &[Case] = match self.options.slow || !self.options.only.is_empty() {
            true => SLOW,
            false => &[],
        };
        let lists: [Vec<&'static [Case]>; BROKERS] = [
            vec![requests::CASES],
            vec![proofs::OTHER_LEAVES],
            vec![proofs::OTHER_CHECKPOINTS],
            vec![proofs::OTHER_HISTORIES],
            vec![streams::CASES],
            vec![slow, proofs::FORK],
        ];
        if let Some(slot) = stages.first_mut() {
            *slot = first;
        }
        let mut lanes = JoinSet::new();
        for ((number, mut stage), lists) in stages.into_iter().enumerate().zip(lists) {
            if let (Some(stage), Some(main)) = (&mut stage, &main) {
                stage.main = main.clone();
            }
            let options = Arc::clone(&self.options);
            lanes.spawn(async move {
                let mut findings = Vec::new();
                for list in lists {
                    findings.extend(cases_on(&mut stage, list, &options).await);
                }
                (number, stage, findings)
            });
        }
        let mut first = None;
        let mut others = Vec::new();
        while let Some(lane) = lanes.join_next().await {
            let Ok((number, stage, findings)) = lane else { continue };
            self.take(findings);
            if number == 0 { first = stage } else { others.push(stage) }
        }
        // Alone: times are compared.
        self.take(cases_on(&mut first, answers::CASES, &self.options).await);
        self.take(cases_on(&mut first, answers::END, &self.options).await);
        drop(others);
        self.findings()
    }

    /// Waits for the adapter at all brokers.
    async fn attach(
        &mut self,
        world: &Arc<World>,
        brokers: Vec<Broker>,
        (targets, candidates): Asking,
    ) -> Vec<Option<Stage>> {
        let mut waiting = JoinSet::new();
        let count = brokers.len();
        let logs: Vec<Log> = world.ledgers.clone();
        for (number, (broker, log)) in brokers.into_iter().zip(logs).enumerate() {
            let asking = (Arc::clone(&targets), Arc::clone(&candidates));
            let options = &self.options;
            let how = ((options.load, options.at_once), options.in_process, options.wait);
            let world = Arc::clone(world);
            waiting.spawn(
                async move { (number, Stage::start(world, broker, log, asking, how).await) },
            );
        }
        let mut stages: Vec<Option<Stage>> = (0..count).map(|_| None).collect();
        while let Some(Ok((number, stage))) = waiting.join_next().await {
            if let Some(slot) = stages.get_mut(number) {
                *slot = stage;
            }
        }
        let attached = stages.iter().flatten().count();
        if attached < count {
            let wait = self.options.wait.as_secs();
            let seen =
                format!("in {wait} s it attached to {attached} of the directory's {count} brokers");
            let case = answers::BEGINNING.iter().find(|case| case.id == "attach");
            if let Some(case) = case {
                let finding = Finding::of(case, Err(Problem::failed(seen)), self.options.wait);
                (self.options.progress)(&finding);
                self.tried.insert(case.id, finding);
            }
        }
        stages
    }

    fn take(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            // What was said first stands: that it did not attach everywhere.
            self.tried.entry(finding.case.id).or_insert(finding);
        }
    }

    fn findings(mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for case in ALL.into_iter().flatten().chain(SLOW) {
            let is_slow = SLOW.iter().any(|slow| slow.id == case.id);
            let found = self.tried.remove(case.id).or_else(|| {
                let why = match is_slow {
                    true => "it takes over a minute; ask for it with --slow",
                    false => "the check itself ended before it",
                };
                let finding = Finding::of(case, Err(Problem::not_checked(why)), Duration::ZERO);
                self.options.wants(case).then_some(finding)
            });
            findings.extend(found);
        }
        findings
    }
}

/// Tries cases, one after the other, on one broker.
async fn cases_on(
    stage: &mut Option<Stage>,
    cases: &'static [Case],
    options: &Options,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for case in cases.iter().filter(|case| options.wants(case)) {
        let began = Instant::now();
        let tried = match stage {
            Some(at) => try_case(at, case).await,
            None => (Err(Problem::not_checked(GONE)), false),
        };
        let (tried, is_gone) = tried;
        let finding = Finding::of(case, tried, began.elapsed());
        if is_gone {
            *stage = None;
        }
        (options.progress)(&finding);
        findings.push(finding);
    }
    findings
}

/// Tries a case; whether the adapter is gone afterwards.
async fn try_case(stage: &mut Stage, case: &'static Case) -> (Tried, bool) {
    let mut tried = match timeout(CASE_MAX, (case.run)(stage)).await {
        Ok(tried) => tried,
        Err(_) => {
            let seconds = CASE_MAX.as_secs();
            Err(Problem::failed(format!("it took over {seconds} s")))
        }
    };
    let leaked = stage.line.forget();
    if leaked && tried.is_ok() {
        let seen = "evidence came for an exchange that was not proven, or came twice";
        tried = Err(Problem::failed(seen));
    }
    let unclean = matches!(tried, Err(Problem::Failed(_))) || stage.line.has_ended();
    let is_gone = unclean && stage.begin_anew().await.is_err();
    (tried, is_gone)
}
