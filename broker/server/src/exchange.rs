// SPDX-License-Identifier: EUPL-1.2
//! One exchange, from question to answer: authenticate, decide, route, commit, log, reveal.
//!
//! The order is in the types: only a [`Permitted`] can be opened at a register, only a
//! [`Committed`] can be logged, only a logged one can be revealed. The broker holds the person
//! and the evidence sealed, and cannot tell whether anything was found (BLIND-BROKER).

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use einmal_ledger::{AppendError, NewEntry};
use einmal_peer::SpiffeId;
use einmal_policy::Question;
use einmal_protocol::{
    Digest, Reason,
    commitment::Commitment,
    evidence::EVIDENCE_MAX,
    leaf::{LeafKind, body_bytes},
    permit::Permit,
    time::day_is_open,
    wire::{
        evidence::v1::RequestEvidenceResponse,
        register::v1::{Decline, Logged, Open, attach_request::Message},
        v1::{ExchangeBody, FieldRefusal, body},
    },
};

use crate::{
    Broker,
    admission::Place,
    attachments::OpenExchange,
    authenticate::{Authenticated, authenticate, check_circumstances},
    caller, receipts, refusal,
    shared::{Elsewhere, Marker, Settled},
    window::{Claim, First, Outcome},
};

/// Sealed evidence is at most this long: padded evidence and the seal around it.
const SEALED_EVIDENCE_MAX: usize = EVIDENCE_MAX + 4 * 1024;

/// Where something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// Here.
    Broker,
    /// At the register.
    Register,
    /// At the ledger.
    Ledger,
}

impl Hop {
    /// Its name in errors.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Register => "register",
            Self::Ledger => "ledger",
        }
    }
}

/// An exchange that came to no answer: refused, or failed. Never holds personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable reason.
    pub reason: Reason,
    /// Where.
    pub hop: Hop,
    /// Which fields were refused, by which policies.
    pub fields: Vec<FieldRefusal>,
    /// More, for people.
    pub detail: Option<String>,
    /// The register's signed word, where it refused; logged as received.
    pub register_refusal: Vec<u8>,
    /// When to try again, where that is known.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// The caller may not.
    pub fn refused(reason: Reason) -> Self {
        Self {
            reason,
            hop: Hop::Broker,
            fields: Vec::new(),
            detail: None,
            register_refusal: Vec::new(),
            retry_after: None,
        }
    }

    /// The register, or the way to it, failed.
    pub fn fault(reason: Reason) -> Self {
        Self { hop: Hop::Register, ..Self::refused(reason) }
    }

    /// The ledger failed.
    pub fn ledger(reason: Reason) -> Self {
        Self { hop: Hop::Ledger, ..Self::refused(reason) }
    }

    /// With more for people.
    #[must_use]
    pub fn with_detail(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

/// A question as it came in.
pub struct Asked {
    /// Its place among those that the broker works on.
    pub place: Place,
    /// When the caller stops waiting, where it says so.
    pub until: Option<Instant>,
    /// Bytes of a `SignedRequest`.
    pub signed_request: Vec<u8>,
    /// Bytes of a `Sealed` message. Never stored.
    pub sealed_person: Vec<u8>,
    /// Size of the last checkpoint that the caller saw.
    pub seen_size: u64,
}

/// A request that the rules permit.
struct Permitted {
    authenticated: Arc<Authenticated>,
    permit: Permit,
    slots: u32,
}

/// A permitted request with the register's signed word on it.
struct Committed {
    permitted: Permitted,
    commitment: Commitment,
    /// The envelope as received.
    envelope: Vec<u8>,
}

/// Tells the story of one exchange, or joins one that tells the same.
///
/// # Errors
/// A refusal or a fault, each with its stable reason.
pub async fn exchange(broker: &Arc<Broker>, caller: &SpiffeId, mut asked: Asked) -> Outcome {
    let signed_request = std::mem::take(&mut asked.signed_request);
    let authenticated = authenticate(broker, signed_request).inspect_err(|failure| {
        broker.metrics.unlogged_refusals.inc();
        broker.metrics.ended(failure.reason);
        tracing::info!(reason = %failure.reason, operator = %caller.id, "refused, not logged");
    })?;
    let authenticated = Arc::new(authenticated);
    let permitted = check_circumstances(broker, caller, &authenticated, &asked.sealed_person)
        .and_then(|()| permit(&authenticated));
    let (authority, id) = (authenticated.request.authority.clone(), authenticated.request.id);
    let bytes = Digest::of(&authenticated.signed_request);
    let (seen_size, mut again) = (asked.seen_size, false);
    let mut outcome = match broker.window.claim(&authority, id, bytes, authenticated.now_ms) {
        Claim::Other => {
            broker.metrics.ended(Reason::IdReused);
            return Err(Failure::refused(Reason::IdReused));
        }
        Claim::Same(outcome) => {
            // An identical retry gets the answer only where it would be permitted now.
            permitted?;
            // Waiting is no work.
            drop(asked);
            again = true;
            outcome
        }
        Claim::First(first) => {
            let outcome = first.subscribe();
            // On its own task: once logged, it goes on although the caller may be gone.
            let run = run(Arc::clone(broker), asked, authenticated, permitted, first);
            tokio::spawn(run);
            outcome
        }
    };
    let settled = outcome.wait_for(Option::is_some).await;
    let settled = settled.ok().and_then(|settled| settled.clone());
    match settled.unwrap_or_else(|| Err(Failure::fault(Reason::RegisterFault))) {
        Ok(answer) if again => receipts::seen_from(broker, answer, seen_size).await,
        outcome => outcome,
    }
}

/// Runs the first exchange of an id to its end and tells the window what came of it.
async fn run(
    broker: Arc<Broker>,
    asked: Asked,
    authenticated: Arc<Authenticated>,
    permitted: Result<Permitted, Failure>,
    first: First,
) {
    let began = Instant::now();
    let (mut logged, mut marker) = (false, None);
    broker.metrics.in_flight.inc();
    let outcome = match permitted {
        Ok(permitted) => {
            let limit = broker.limits.exchange();
            let abandoned = first.abandoned();
            let told = (&mut logged, &mut marker, abandoned);
            let answer = answer(&broker, asked, permitted, told);
            match tokio::time::timeout(limit, answer).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::fault(Reason::DeadlineExceeded)),
            }
        }
        Err(failure) => Err(failure),
    };
    let outcome = match outcome {
        Ok(answer) => Ok(Arc::new(answer)),
        // Between log and reveal the answer is lost, and only a new id may ask again.
        Err(failure) if logged => Err(Failure { reason: Reason::AnswerLost, ..failure }),
        Err(failure) if failure.reason.is_refusal() => {
            logged = refusal::log(&broker, &authenticated, &failure).await;
            Err(failure)
        }
        Err(failure) => Err(failure),
    };
    broker.metrics.in_flight.dec();
    report(&broker, &authenticated, &outcome, began);
    if let Some(marker) = &marker {
        broker.shared.settle(marker, settled(&outcome, logged)).await;
    }
    broker.window.settle(first, outcome, logged, broker.clock.now_ms());
}

fn settled(outcome: &Outcome, logged: bool) -> Settled<'_> {
    match outcome {
        Ok(answer) => Settled::Answered(answer),
        Err(_) if logged => Settled::Ended,
        Err(_) => Settled::Dropped,
    }
}

/// The answer that another broker gave to the same bytes, which are permitted here too; or one of
/// our own.
async fn answer(
    broker: &Broker,
    asked: Asked,
    permitted: Permitted,
    (logged, marker, abandoned): (&mut bool, &mut Option<Marker>, impl Future<Output = ()>),
) -> Result<RequestEvidenceResponse, Failure> {
    let request = &permitted.authenticated.request;
    let place = &asked.place;
    place.away(broker.shared.admit(&request.authority, &request.register)).await?;
    match place.away(broker.shared.elsewhere(&permitted.authenticated)).await {
        Elsewhere::Nothing(claimed) => *marker = claimed,
        Elsewhere::Other => return Err(Failure::refused(Reason::IdReused)),
        Elsewhere::Answered(answer) => {
            // It stands where this broker may not have looked yet.
            broker.ledger.refresh().await;
            let seen = receipts::seen_from(broker, Arc::new(*answer), asked.seen_size).await?;
            *logged = true;
            return Ok(Arc::unwrap_or_clone(seen));
        }
    }
    commit_log_reveal(broker, asked, permitted, (logged, abandoned)).await
}

/// Step 2: the rules decide, per field. The same pure function as at the register.
fn permit(authenticated: &Arc<Authenticated>) -> Result<Permitted, Failure> {
    let Authenticated { request, trust, .. } = authenticated.as_ref();
    let permit = trust.decide(&Question::from(request), request.digest).map_err(|refused| {
        Failure { fields: refused.fields, ..Failure::refused(refused.reason) }
    })?;
    let kind = trust
        .rules
        .evidence_type(&request.evidence_type)
        .ok_or_else(|| Failure::refused(Reason::UnknownEvidenceType))?;
    Ok(Permitted { slots: kind.slots, authenticated: Arc::clone(authenticated), permit })
}

/// Steps 3 to 6. `logged` is set as soon as the exchange is, or may be, in the ledger. Up to there
/// it ends where nobody waits for it any more, and the register is told; from there on it goes on,
/// because the access stands in the log: whoever asks again with the same bytes gets its answer.
async fn commit_log_reveal(
    broker: &Broker,
    asked: Asked,
    permitted: Permitted,
    (logged, abandoned): (&mut bool, impl Future<Output = ()>),
) -> Result<RequestEvidenceResponse, Failure> {
    if broker.draining.load(Ordering::Relaxed) {
        return Err(Failure::refused(Reason::Draining));
    }
    if !broker.ledger.is_healthy() {
        // It says itself, once, why it stopped.
        return Err(Failure::ledger(Reason::LedgerUnavailable));
    }
    if !broker.ledger.has_room() {
        // While what is under way can still be logged.
        tracing::error!("alarm: nothing new is begun: the ledger's disk is nearly full");
        return Err(Failure::ledger(Reason::LedgerUnavailable));
    }
    let Ok(_place) = Arc::clone(&broker.in_flight).try_acquire_owned() else {
        return Err(Failure::refused(Reason::BrokerBusy));
    };
    let Authenticated { request, trust, .. } = permitted.authenticated.as_ref();
    // It may have been denied, or have left the directory, since it attached.
    let may_carry =
        |operator: &str| trust.directory.may_carry_for_register(operator, &request.register);
    let room = broker.in_flight.available_permits();
    let mut open = broker.attachments.open(&request.register, room, may_carry)?;
    let Asked { place, until, seen_size, sealed_person, .. } = asked;
    let left = caller::time_left(until, broker.limits.exchange())?;
    let committed = tokio::select! {
        committed = commit(broker, (&mut open, &place), (sealed_person, left), permitted) => committed?,
        () = abandoned => return Err(caller::is_gone()),
        () = tokio::time::sleep(left) => return Err(caller::is_gone()),
    };
    let entry = log(broker, &committed, logged).await?;
    place.is_logged();
    let receipt = {
        // One at a time on a stream, so that each proof starts where the one before ended.
        // An adapter that does not read keeps its own exchanges here, and no place of others.
        let mut sent = place.away(open.attachment().sent_size.lock()).await;
        let receipt = receipts::receipt(broker, &entry, *sent).await?;
        place.away(open.prove(Logged { exchange: 0, receipt: Some(receipt.0) })).await?;
        *sent = receipt.1;
        drop(sent);
        receipts::receipt(broker, &entry, seen_size).await?.0
    };
    let sealed_evidence = place.away(reveal(open, &committed)).await?;
    Ok(RequestEvidenceResponse {
        permit: committed.permitted.permit.bytes().to_vec(),
        commitment: committed.envelope,
        sealed_evidence,
        receipt: Some(receipt),
    })
}

/// Steps 3 and 4: the question goes to the register, its signed commitment comes back.
async fn commit(
    broker: &Broker,
    (open, place): (&mut OpenExchange, &Place),
    (sealed_person, left): (Vec<u8>, Duration),
    permitted: Permitted,
) -> Result<Committed, Failure> {
    let Authenticated { request, signed_request, trust, .. } = permitted.authenticated.as_ref();
    let question = Open {
        exchange: 0,
        signed_request: signed_request.clone(),
        sealed_person,
        permit: permitted.permit.bytes().to_vec(),
        deadline_ms: u32::try_from(left.as_millis()).unwrap_or(u32::MAX),
    };
    let answer = async {
        open.ask(question).await?;
        open.next().await
    };
    let envelope = match place.away(answer).await? {
        Message::Commit(commit) => commit.commitment,
        Message::Decline(decline) => {
            if !decline.refusal.is_empty() {
                open.is_good();
            }
            return Err(declined(broker, &permitted.authenticated, decline).await);
        }
        _ => return Err(Failure::fault(Reason::RegisterMisbehaved)),
    };
    let misbehaved =
        |detail: String| Failure::fault(Reason::RegisterMisbehaved).with_detail(detail);
    let register = trust
        .directory
        .register(&request.register)
        .ok_or_else(|| Failure::refused(Reason::UnknownRegister))?;
    let commitment = Commitment::verify(&envelope, &register.keys)
        .and_then(|commitment| {
            commitment.check(request.digest, permitted.permit.digest(), permitted.slots)?;
            Ok(commitment)
        })
        .map_err(|error| misbehaved(error.to_string()))?;
    if !day_is_open(commitment.day, broker.clock.now_ms()) {
        return Err(misbehaved("the commitment's day is over or has not begun".to_owned()));
    }
    open.is_good();
    Ok(Committed { permitted, commitment, envelope })
}

/// What a register's refusal or fault means to the caller.
async fn declined(broker: &Broker, authenticated: &Authenticated, decline: Decline) -> Failure {
    if decline.refusal.is_empty() {
        return refusal::fault_of_register(&decline.fault);
    }
    let failure = refusal::of_register(authenticated, &decline.refusal)
        .unwrap_or_else(|| Failure::fault(Reason::RegisterMisbehaved));
    if failure.reason == Reason::Replayed {
        // It was revealed, so it was logged: by us, before we were started anew, or by another
        // broker. In our ledger stands whether these are the same bytes again (ONCE).
        let Authenticated { request, signed_request, .. } = authenticated;
        if let Ok(Some(found)) = broker.ledger.find(&request.authority, request.id).await {
            return known(broker, found.index, signed_request).await;
        }
    }
    failure
}

/// Step 5: one durable append, before anything is revealed (NO-LOG-NO-DATA).
async fn log(
    broker: &Broker,
    committed: &Committed,
    logged: &mut bool,
) -> Result<einmal_ledger::Logged, Failure> {
    let Committed { permitted, commitment, envelope } = committed;
    let Authenticated { request, signed_request, .. } = permitted.authenticated.as_ref();
    let body = body_bytes(body::Kind::Exchange(ExchangeBody {
        signed_request: signed_request.clone(),
        permit: permitted.permit.bytes().to_vec(),
        commitment: envelope.clone(),
    }));
    let entry = NewEntry {
        authority: request.authority.clone(),
        id: request.id,
        kind: LeafKind::Exchange,
        day: commitment.day,
        body,
    };
    // From here on it may stand there, though the deadline may pass before we know.
    *logged = true;
    match broker.ledger.append(entry).await {
        Ok(entry) => Ok(entry),
        Err(AppendError::Duplicate { index, .. }) => {
            *logged = false;
            Err(known(broker, index, signed_request).await)
        }
        Err(AppendError::TooOld) => {
            *logged = false;
            Err(Failure::refused(Reason::RequestExpired))
        }
        Err(AppendError::Stopped(problem)) => {
            // The only error that leaves open whether the entry stands in the ledger.
            tracing::error!(problem, "the ledger stopped");
            Err(Failure::ledger(Reason::LedgerUnavailable))
        }
        Err(error) => {
            *logged = false;
            tracing::error!(%error, "the ledger cannot append");
            Err(Failure::ledger(Reason::LedgerUnavailable))
        }
    }
}

/// The id stands in the ledger already: with these bytes, or with others?
async fn known(broker: &Broker, index: u64, signed_request: &[u8]) -> Failure {
    let same = broker.ledger.entries(index, 1).await.ok().and_then(|mut entries| {
        let body = entries.pop()?.body?;
        Some(refusal::signed_request_of(&body)? == signed_request)
    });
    match same {
        Some(true) => Failure::ledger(Reason::AnswerLost),
        _ => Failure::refused(Reason::IdReused),
    }
}

/// Step 6: the sealed evidence comes in chunks, and must be what was committed to.
async fn reveal(mut open: OpenExchange, committed: &Committed) -> Result<Vec<u8>, Failure> {
    let misbehaved = || Failure::fault(Reason::RegisterMisbehaved);
    let mut sealed = Vec::new();
    loop {
        let Message::Reveal(reveal) = open.next().await? else { return Err(misbehaved()) };
        if sealed.len() + reveal.chunk.len() > SEALED_EVIDENCE_MAX {
            return Err(misbehaved());
        }
        sealed.extend_from_slice(&reveal.chunk);
        if reveal.last {
            break;
        }
    }
    if Digest::of(&sealed) != committed.commitment.sealed_evidence_digest {
        return Err(misbehaved());
    }
    open.end();
    Ok(sealed)
}

/// One event and one count per exchange: ids only.
fn report(broker: &Broker, authenticated: &Authenticated, outcome: &Outcome, began: Instant) {
    let request = &authenticated.request;
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(_) => {
            broker.metrics.answered(began.elapsed());
            tracing::info!(
                request.id = %request.id, request.authority, request.register,
                request.evidence_type, request.purpose, took_us, "answered"
            );
        }
        Err(failure) => {
            broker.metrics.ended(failure.reason);
            tracing::info!(
                request.id = %request.id, request.authority, request.register,
                request.evidence_type, request.purpose, took_us,
                reason = %failure.reason, hop = failure.hop.as_str(), "not answered"
            );
        }
    }
}
