// SPDX-License-Identifier: EUPL-1.2
//! One exchange at a register: verify, decide again, look up, commit, check the log, reveal.
//!
//! The order is in the types: a commitment needs a [`Verified`] request, a reveal needs the
//! [`Witnessed`] log entry of that very commitment.

use std::{sync::Arc, time::Duration};

use einmal_policy::{Question, Trust, rules_document::EvidenceType};
use einmal_protocol::{
    Digest, Reason,
    commitment::Commitment,
    envelope::payload_type,
    key::PublicKey,
    leaf::{Leaf, LeafKind, body_bytes},
    permit::Permit,
    person::{Person, PersonError},
    receipt::Witnessed,
    request::{Request, TimeError, Unverified},
    seal::SealingPublicKey,
    time::day_of,
    wire::{
        register::v1::{Commit, Decline, Open, attach_request::Message},
        v1::{Envelope, ExchangeBody, Outcome, Receipt, RegisterRefusal, body},
    },
};
use prost::Message as _;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    adapter::Shared,
    answer::{Said, Unsealed, say, seal},
    attach::ToBroker,
    bulkhead::LookupFault,
    journal::{Journal, NotLogged, Noted, Sealed, What},
    node::Node,
    register::{Answer, Query},
    spent::Phase,
};

/// A commitment that is not logged in this time is forgotten.
const LOG_TIMEOUT: Duration = Duration::from_secs(30);
/// Longer answers, in bytes, are sealed beside the others.
const LONG_ANSWER: u32 = 64 * 1024;

/// Why an exchange came to no commitment.
enum Declined {
    /// The request may not: signed, and logged by the broker.
    Refused(Reason),
    /// We failed. Why goes to our own operator, the reason to the broker.
    Fault(Reason, String),
}

impl Declined {
    fn fault(error: impl std::fmt::Display) -> Self {
        Self::Fault(Reason::RegisterFault, error.to_string())
    }

    fn result(&self) -> &'static str {
        if matches!(self, Self::Refused(_)) { "refused" } else { "failed" }
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Refused(reason) | Self::Fault(reason, _) => *reason,
        }
    }
}

/// A request whose signature, time and permit were checked here, not believed.
pub(crate) struct Verified {
    pub(crate) request: Request,
    trust: Arc<Trust>,
    pub(crate) permit: Permit,
    pub(crate) kind: EvidenceType,
    pub(crate) person: Person,
    pub(crate) keeper: SealingPublicKey,
    signed_request: Vec<u8>,
}

/// A commitment with what will be revealed for it.
struct Committed {
    verified: Verified,
    envelope: Vec<u8>,
    leaf: Leaf,
    sealed_evidence: Vec<u8>,
    /// For the journal, where this register has one.
    noted: Option<Sealed>,
}

/// Tells the story of one exchange.
pub(crate) async fn exchange(shared: &Shared, broker: &ToBroker, open: Open) {
    let id = open.exchange;
    let mut told = shared.told.begin();
    let (node, committed) = match commit(shared, broker, open).await {
        Ok(committed) => committed,
        Err((request, declined)) => {
            told.declined(declined.result(), declined.reason());
            return decline(shared, broker, id, request, declined).await;
        }
    };
    let proven = broker.expect(id, committed.leaf, shared.unproven.one());
    let message = Message::Commit(Commit { exchange: id, commitment: committed.envelope.clone() });
    if !broker.send(message).await {
        return;
    }
    let authority = committed.verified.request.authority.clone();
    let mut unlogged =
        Unlogged { shared, node: &node, broker: &broker.broker, authority, logged: false };
    told.came_to("unlogged");
    let Ok(Ok((proven, receipt))) = timeout(LOG_TIMEOUT, proven).await else { return };
    let witnessed = match proven.witnessed(committed.verified.trust.rules.quorum()) {
        Ok(witnessed) => witnessed,
        Err(error) => {
            tracing::error!(broker = broker.broker, %error, "alarm: not revealed");
            return;
        }
    };
    unlogged.logged = true;
    told.came_to("withheld");
    if reveal(shared, broker, id, &node, committed, (&witnessed, receipt)).await {
        told.came_to("revealed");
    }
}

/// A commitment that waits for its log entry. However the wait ends without one, it is counted:
/// in time, cancelled, past the broker's own deadline, or with the stream.
struct Unlogged<'e> {
    shared: &'e Shared,
    node: &'e Node,
    broker: &'e str,
    authority: String,
    logged: bool,
}

impl Drop for Unlogged<'_> {
    fn drop(&mut self) {
        if !self.logged {
            let now_ms = self.shared.clock.now_ms();
            self.shared.orphans.count(self.broker, &self.authority, now_ms);
            if let Some(journal) = &self.node.journal {
                let (broker, authority) = (self.broker.to_owned(), self.authority.clone());
                journal.note(What::NotLogged(NotLogged { broker, authority, at_ms: now_ms }));
            }
        }
    }
}

type DeclinedRequest = (Option<(Arc<Node>, Digest)>, Declined);

/// Steps 4: verify, decide again, open, look up, sign, seal. Takes at least the evidence type's
/// earliest time, whatever was found (SAME-ANSWER).
async fn commit(
    shared: &Shared,
    broker: &ToBroker,
    open: Open,
) -> Result<(Arc<Node>, Committed), DeclinedRequest> {
    let unverified = Unverified::parse(&open.signed_request)
        .map_err(|_| (None, Declined::Refused(Reason::MalformedRequest)))?;
    let node = shared
        .nodes
        .get(&unverified.request.register)
        .cloned()
        .ok_or((None, Declined::Refused(Reason::UnknownRegister)))?;
    let known = Some((Arc::clone(&node), unverified.request.digest));
    let declined = |declined| (known.clone(), declined);
    let verified = verify(shared, broker, &node, unverified, open);
    let verified = shared.spent.until(Phase::Verify, verified).await.map_err(declined)?;
    let lookup = node.bulkhead.enter(&verified.request.evidence_type).await;
    let lookup = lookup.map_err(|closed| declined(Declined::fault(closed)))?;
    // From here on, not from the question's arrival: a broker could use that time up by being slow
    // with the keeper's card.
    let began = Instant::now();
    let query = Query {
        person: verified.person.query.clone(),
        evidence_type: verified.request.evidence_type.clone(),
        fields: verified.request.fields.clone(),
    };
    let answer = lookup.retrieve(&node.register, query);
    let answer = shared.spent.until(Phase::Lookup, answer).await;
    let earliest = began + Duration::from_millis(u64::from(verified.kind.earliest_ms));
    let size = verified.kind.size;
    let committed = beside_others(size, || prepare(shared, &node, verified, answer));
    sleep_until(earliest).await;
    // No sooner: how fast its place comes free must not tell what was found.
    drop(lookup);
    Ok((node, committed.map_err(declined)?))
}

/// Sealing a long answer keeps a thread busy for a while; exchanges that wait for it go on another.
fn beside_others<T>(size: u32, work: impl FnOnce() -> T) -> T {
    let has_others = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if size > LONG_ANSWER && has_others { tokio::task::block_in_place(work) } else { work() }
}

/// The broker's permit is a claim: the signature is checked, the rules decide again, and what was
/// declared must be real.
async fn verify(
    shared: &Shared,
    broker: &ToBroker,
    node: &Node,
    unverified: Unverified,
    open: Open,
) -> Result<Verified, Declined> {
    let now_ms = shared.clock.now_ms();
    if let Some(journal) = &node.journal {
        journal.ready().map_err(Declined::fault)?;
    }
    let Unverified { request, membership } = unverified;
    let claimed =
        Permit::parse(&open.permit).map_err(|_| Declined::Refused(Reason::PermitDiffers))?;
    let question = Question::from(&request);
    let trust = trust_of(shared, broker, (&claimed, &question), now_ms).await?;
    trust.check_time(now_ms).map_err(|reason| match reason.is_refusal() {
        true => Declined::Refused(reason),
        false => Declined::Fault(reason, reason.message().to_owned()),
    })?;
    let authority = trust
        .directory
        .authority(&request.authority)
        .ok_or(Declined::Refused(Reason::UnknownAuthority))?;
    membership.verify(&authority.keys).map_err(|_| Declined::Refused(Reason::BadSignature))?;
    request.check_time(now_ms).map_err(|error| {
        Declined::Refused(match error {
            TimeError::Ahead { .. } => Reason::ClockSkew,
            TimeError::Expired { .. } => Reason::RequestExpired,
        })
    })?;
    shared.seen.check(&request.ledger).map_err(Declined::fault)?;
    if shared.revealed.knows(&request.authority, request.id) {
        return Err(Declined::Refused(Reason::Replayed));
    }
    let permit = trust
        .decide(&question, request.digest)
        .map_err(|refused| Declined::Refused(refused.reason))?;
    if permit.bytes() != open.permit {
        return Err(Declined::Refused(Reason::PermitDiffers));
    }
    let kind = trust
        .rules
        .evidence_type(&request.evidence_type)
        .cloned()
        .ok_or(Declined::Refused(Reason::UnknownEvidenceType))?;
    let person = open_person(node, &request, &open.sealed_person)?;
    let keeper = keeper_key(shared, broker, &trust, &request.ledger, now_ms).await?;
    let signed_request = open.signed_request;
    Ok(Verified { request, trust, permit, kind, person, keeper, signed_request })
}

/// The trust that a permit names. A broker may have switched to newer rules a moment ago: then it
/// is asked for them, rather than refused.
async fn trust_of(
    shared: &Shared,
    broker: &ToBroker,
    (permit, question): (&Permit, &Question),
    now_ms: u64,
) -> Result<Arc<Trust>, Declined> {
    let find = || shared.trust.of_permit(permit.rules_digest(), permit.directory_digest(), now_ms);
    // It is asked as well where the deny list here is not fresh any more, or forbids what the
    // broker's does not: an entry may have been lifted.
    let is_good =
        |trust: &Arc<Trust>| trust.check_time(now_ms).is_ok() && trust.not_denied(question).is_ok();
    if let Some(trust) = find().filter(is_good) {
        return Ok(trust);
    }
    let polled = shared.trust.poll(broker.channel.clone(), now_ms).await;
    polled.map_err(|status| Declined::fault(status.message()))?;
    find().ok_or(Declined::Refused(Reason::PermitDiffers))
}

/// Opens the person and checks that declared is real (the concrete check).
fn open_person(node: &Node, request: &Request, sealed: &[u8]) -> Result<Person, Declined> {
    let not_opened = Declined::Refused(Reason::PersonNotOpened);
    if Digest::of(sealed) != request.sealed_person_digest {
        return Err(not_opened);
    }
    let Some(plain) = node.open_person(&request.aad(), sealed) else { return Err(not_opened) };
    let person = Person::from_plain(&plain).map_err(|error| {
        Declined::Refused(match error {
            PersonError::Form => Reason::PersonNotOpened,
            PersonError::Query => Reason::QueryNotLawful,
            PersonError::CheckDigit => Reason::BadCheckDigit,
        })
    })?;
    if person.query.uses_idnr() != request.idnr_used {
        return Err(Declined::Refused(Reason::DeclaredNotReal));
    }
    Ok(person)
}

async fn keeper_key(
    shared: &Shared,
    broker: &ToBroker,
    trust: &Trust,
    ledger: &str,
    now_ms: u64,
) -> Result<SealingPublicKey, Declined> {
    let keeper = trust
        .directory
        .ledger(ledger)
        .map(|ledger| ledger.entry.keeper.clone())
        .ok_or(Declined::Refused(Reason::WrongLedger))?;
    shared
        .cards
        .key_or_fetch(&keeper, &trust.directory, &broker.channel, now_ms)
        .await
        .map_err(Declined::fault)
}

/// Signs the evidence, seals it and the access records, and signs the commitment to them. What
/// the register holds but cannot send says so inside the seal: a fault that only happens where
/// something was found would tell the broker that it was (SAME-ANSWER).
fn prepare(
    shared: &Shared,
    node: &Node,
    verified: Verified,
    answer: Result<Answer, LookupFault>,
) -> Result<Committed, Declined> {
    let now_ms = shared.clock.now_ms();
    let not_transmitted = |problem: &dyn std::fmt::Display| {
        tracing::error!(register = node.id, %problem, "alarm: an answer cannot be transmitted");
        Said::nothing(Outcome::NotTransmitted, verified.person.query.to_subject())
    };
    let said = match &answer {
        Ok(answer) => say(&verified, answer),
        Err(fault) if fault.may_be_about_the_person() => not_transmitted(fault),
        Err(fault) => return Err(Declined::fault(fault)),
    };
    drop(answer);
    let seal = |said: &Said| shared.spent.on(Phase::Seal, || seal(node, &verified, said, now_ms));
    let (said, sealed) = match seal(&said) {
        Err(Unsealed::DoesNotFit(problem)) => {
            let said = not_transmitted(&problem);
            let sealed = seal(&said);
            (said, sealed)
        }
        sealed => (said, sealed),
    };
    let (sealed_evidence, slots) = sealed.map_err(|unsealed| match unsealed {
        Unsealed::DoesNotFit(problem) => Declined::fault(problem),
        Unsealed::Failed(problem) => Declined::fault(problem),
    })?;
    let what = (&verified.request, verified.kind.slots, verified.person.case_reference.as_str());
    let note =
        |journal: &Journal| shared.spent.on(Phase::Journal, || journal.seal_said(&said, what));
    let noted = node.journal.as_ref().map(note).transpose().map_err(Declined::fault)?;
    let commitment = Commitment {
        request_digest: verified.request.digest,
        permit_digest: verified.permit.digest(),
        day: day_of(now_ms),
        committed_at_ms: now_ms,
        sealed_evidence_digest: Digest::of(&sealed_evidence),
        slots,
    };
    let sign =
        || Envelope::sign(payload_type::COMMITMENT, commitment.to_payload(), &[&node.identity]);
    let envelope = shared.spent.on(Phase::Sign, sign).map_err(Declined::fault)?.encode_to_vec();
    // The body exactly as the broker must log it; only this leaf's proof will count.
    let body = body_bytes(body::Kind::Exchange(ExchangeBody {
        signed_request: verified.signed_request.clone(),
        permit: verified.permit.bytes().to_vec(),
        commitment: envelope.clone(),
    }));
    let leaf = Leaf::new(LeafKind::Exchange, commitment.day, &body);
    Ok(Committed { leaf, envelope, sealed_evidence, noted, verified })
}

/// Step 6, against the proof that this very commitment is in the ledger, and once. Says whether it was
/// revealed.
async fn reveal(
    shared: &Shared,
    broker: &ToBroker,
    id: u64,
    node: &Node,
    committed: Committed,
    (witnessed, receipt): (&Witnessed, Receipt),
) -> bool {
    let proven = witnessed.proven();
    let Committed { verified, leaf, sealed_evidence, noted, .. } = committed;
    let request = &verified.request;
    let named = verified.trust.directory.ledger(&request.ledger);
    let right_ledger = named.is_some_and(|l| l.entry.origin == proven.checkpoint().origin());
    if proven.leaf() != leaf || !right_ledger {
        tracing::error!(broker = broker.broker, "alarm: a proof is for another exchange");
        return false;
    }
    // No journal, no data. Before the last checks, which are to be the last before it leaves.
    let what = (request, verified.trust.as_ref(), broker.broker.as_str());
    let noted = shared.spent.until(Phase::Disk, note(node, what, noted, receipt)).await;
    let Some(mut noted) = noted else {
        tracing::error!(register = node.id, "alarm: not revealed: it was not journalled");
        return false;
    };
    let now_ms = shared.clock.now_ms();
    // What was denied since it was decided stays here, though it is logged.
    let newest = shared.trust.current();
    if newest.not_denied(&Question::from(request)).is_err()
        || newest.check_time(now_ms).is_err()
        || !is_signed_still(&verified, &newest)
    {
        tracing::warn!(request.id = %request.id, "not revealed: it was denied meanwhile");
        return false;
    }
    // It may have been found out while this exchange waited for its proof.
    if shared.seen.check(&request.ledger).is_err() {
        tracing::error!(broker = broker.broker, "alarm: not revealed: the ledger has forked");
        return false;
    }
    if !shared.revealed.remember(&request.authority, request.id, now_ms) {
        tracing::error!(broker = broker.broker, "alarm: an exchange was to be revealed twice");
        return false;
    }
    noted.revealed();
    tracing::info!(
        request.id = %request.id, register = node.id, request.authority, request.evidence_type,
        ledger.index = proven.index(), "revealed"
    );
    broker.reveal(id, &sealed_evidence).await;
    true
}

/// Writes it into the register's journal; nothing where it has one and that failed.
async fn note<'n>(
    node: &'n Node,
    what: (&Request, &Trust, &str),
    sealed: Option<Sealed>,
    receipt: Receipt,
) -> Option<Noted<'n>> {
    match (&node.journal, sealed) {
        (Some(journal), Some(sealed)) => journal.exchange(what, sealed, receipt).await,
        (None, None) => Some(Noted::nowhere()),
        _ => None,
    }
}

/// Whether the request is signed by a key of its authority that was not denied meanwhile.
fn is_signed_still(verified: &Verified, newest: &Trust) -> bool {
    let Some(authority) = verified.trust.directory.authority(&verified.request.authority) else {
        return false;
    };
    let is_denied =
        |key: &&PublicKey| newest.deny.as_ref().is_some_and(|d| d.keys().contains(*key));
    if !authority.keys.iter().any(|key| is_denied(&key)) {
        return true;
    }
    let left: Vec<PublicKey> =
        authority.keys.iter().filter(|key| !is_denied(key)).cloned().collect();
    Unverified::parse(&verified.signed_request)
        .is_ok_and(|request| request.membership.verify(&left).is_ok())
}

async fn decline(
    shared: &Shared,
    broker: &ToBroker,
    id: u64,
    known: Option<(Arc<Node>, Digest)>,
    declined: Declined,
) {
    let fault = |reason: Reason| Decline {
        exchange: id,
        refusal: Vec::new(),
        fault: reason.as_str().to_owned(),
    };
    let decline = match (declined, known) {
        (Declined::Refused(reason), Some((node, request))) => {
            tracing::info!(register = node.id, %reason, "refused");
            let refusal = RegisterRefusal {
                request_digest: request.to_vec(),
                register: node.id.clone(),
                reason: reason.as_str().to_owned(),
                refused_at_ms: shared.clock.now_ms(),
            };
            let signed =
                Envelope::sign(payload_type::REFUSAL, refusal.encode_to_vec(), &[&node.identity]);
            match signed {
                Ok(envelope) => Decline {
                    exchange: id,
                    refusal: envelope.encode_to_vec(),
                    fault: String::new(),
                },
                Err(_) => fault(Reason::RegisterFault),
            }
        }
        (Declined::Refused(reason), None) => fault(reason),
        (Declined::Fault(reason, problem), known) => {
            let register = known.map(|(node, _)| node.id.clone());
            tracing::error!(register, problem, "an exchange failed");
            fault(reason)
        }
    };
    broker.send(Message::Decline(decline)).await;
}
