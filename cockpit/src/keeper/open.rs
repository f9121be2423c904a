// SPDX-License-Identifier: EUPL-1.2
//! Opens one body: verifies every signature in it, opens what is sealed to the day keys, compares
//! the authority's word with the register's, and makes the rows of the index. Pure but for the
//! random nonces of re-sealing; touches no database.

use std::collections::BTreeSet;

use einmal_protocol::{
    Digest,
    commitment::{Commitment, CommitmentError, Slot},
    envelope::payload_type,
    leaf::Leaf,
    permit::Permit,
    record,
    request::{Request, Unverified},
    seal::{Aad, SealKind, recipient_of},
    time::day_of,
    wire::{
        cockpit::v1::{ExportedRecord, Record, RecordResult},
        v1::{
            AccessRecord, AskedRecord, Envelope, ExchangeBody, NoticeBody, RefusalBody,
            RegisterRefusal, Subject, SubjectRole, UseBody, UseRecord, UseReport, body,
        },
    },
};
use prost::Message;
use zeroize::Zeroizing;

use super::{
    Participants,
    body::Checked,
    days::{DayKey, DayKeyError, KeyRing, Tag},
    facts::{Facts, result_of},
    notice::Noticed,
    subject,
};
use crate::finding::Finding;

/// The slot number of a row that stands on the authority's own record.
pub(crate) const ASKED_SLOT: i64 = -1;
/// A refusal's reason is shown only up to here.
const REASON_MAX: usize = 64;

/// One record of one person, sealed for the index.
pub(crate) struct Row {
    pub(crate) slot: i64,
    /// Nothing where the record names nobody whole enough to be found.
    pub(crate) tag: Option<Tag>,
    /// Sealed.
    pub(crate) facts: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

/// What links entries of the ledger to each other. None of it names a person.
pub(crate) struct Asked {
    pub(crate) digest: Digest,
    pub(crate) id: [u8; 16],
    pub(crate) retry_of: Option<[u8; 16]>,
    pub(crate) authority: String,
}

/// A report of use, opened.
pub(crate) struct Used {
    pub(crate) request: Digest,
    pub(crate) authority: String,
    pub(crate) use_: i32,
}

/// What an entry came to.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) asked: Option<Asked>,
    pub(crate) rows: Vec<Row>,
    pub(crate) used: Option<Used>,
    pub(crate) noticed: Option<Noticed>,
    pub(crate) findings: BTreeSet<Finding>,
}

impl Opened {
    fn found(finding: Finding) -> Self {
        Self { findings: BTreeSet::from([finding]), ..Self::default() }
    }
}

/// What a re-sealed record is bound to: its place and its day.
pub(crate) fn row_aad(index: u64, day: u32, slot: i64) -> Vec<u8> {
    [b"einmal record v1".as_slice(), &index.to_be_bytes(), &day.to_be_bytes(), &slot.to_be_bytes()]
        .concat()
}

/// Opens checked entries.
#[derive(Clone, Copy)]
pub(crate) struct Opener<'a> {
    pub(crate) ring: &'a KeyRing,
    pub(crate) participants: &'a dyn Participants,
    /// Origin of the ledger that is followed.
    pub(crate) ledger: &'a str,
    /// For how many days the rules say that records are kept.
    pub(crate) retention_days: u32,
}

/// A record before it is sealed for the index.
struct Draft {
    slot: i64,
    result: RecordResult,
    subject: Subject,
    plain: Zeroizing<Vec<u8>>,
}

impl Opener<'_> {
    /// Opens one entry.
    ///
    /// # Errors
    /// Where re-sealing fails, which is a fault of this machine.
    pub(crate) fn open(&self, entry: &Checked) -> Result<Opened, DayKeyError> {
        let mut opened = match &entry.kind {
            _ if entry.bytes.is_none() => Opened::default(),
            Some(body::Kind::Exchange(exchange)) => self.exchange(entry, exchange)?,
            Some(body::Kind::Refusal(refusal)) => self.refusal(entry, refusal)?,
            Some(body::Kind::Use(report)) => self.report(report),
            Some(body::Kind::Notice(notice)) => self.notice(entry, notice),
            None => Opened::found(Finding::Unreadable),
        };
        if entry.backdated {
            opened.findings.insert(Finding::Backdated);
        }
        Ok(opened)
    }

    fn notice(&self, entry: &Checked, notice: &NoticeBody) -> Opened {
        let noticed = Noticed::read(notice);
        let early = noticed.as_ref().is_some_and(|noticed| {
            let allowed = entry.leaf.day.saturating_sub(self.retention_days);
            noticed.forgot_before.is_some_and(|before| before > allowed)
        });
        let mut findings = BTreeSet::new();
        if noticed.is_none() {
            findings.insert(Finding::Unreadable);
        }
        if early {
            findings.insert(Finding::ForgotEarly);
        }
        Opened { noticed, findings, ..Opened::default() }
    }

    fn exchange(&self, entry: &Checked, body: &ExchangeBody) -> Result<Opened, DayKeyError> {
        let Ok(Unverified { request, membership }) = Unverified::parse(&body.signed_request) else {
            return Ok(Opened::found(Finding::Unreadable));
        };
        let mut findings = BTreeSet::new();
        self.check_request(&request, &membership, &mut findings);
        let permit = Permit::parse(&body.permit).ok();
        if permit.as_ref().map(Permit::request_digest) != Some(request.digest) {
            findings.insert(Finding::OtherPermit);
        }
        let asked = self.open_asked(&request, &mut findings);
        let mut drafts = Vec::new();
        if let Some(commitment) = self.commitment(&request, body, &entry.leaf, &mut findings) {
            drafts = self.open_slots(&request, permit.as_ref(), &commitment, &mut findings);
            compare(asked.as_ref(), &drafts, &mut findings);
            self.note(entry, commitment.committed_at_ms, "", asked, drafts, request, findings)
        } else {
            let at_ms = request.id.issued_at_ms();
            self.note(entry, at_ms, "", asked, drafts, request, findings)
        }
    }

    fn refusal(&self, entry: &Checked, body: &RefusalBody) -> Result<Opened, DayKeyError> {
        let Ok(Unverified { request, membership }) = Unverified::parse(&body.signed_request) else {
            return Ok(Opened::found(Finding::Unreadable));
        };
        let mut findings = BTreeSet::new();
        self.check_request(&request, &membership, &mut findings);
        if day_of(body.refused_at_ms) != entry.leaf.day {
            findings.insert(Finding::OtherDay);
        }
        if !body.register_refusal.is_empty() {
            let keys = self.participants.register_keys(&request.register).unwrap_or_default();
            let refusal = Envelope::parse(&body.register_refusal).ok();
            let refusal = refusal.as_ref().and_then(|envelope| {
                let payload = envelope.verified(payload_type::REFUSAL, &keys).ok()?;
                RegisterRefusal::decode(payload).ok()
            });
            match refusal {
                None => findings.insert(Finding::RegisterSignature),
                Some(refusal) => {
                    refusal.request_digest != request.digest.to_vec()
                        && findings.insert(Finding::OtherRequest)
                }
            };
        }
        let asked = self.open_asked(&request, &mut findings);
        let reason: String = body
            .reason
            .chars()
            .filter(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_')
            .take(REASON_MAX)
            .collect();
        let reason = if reason.is_empty() { "UNKNOWN".to_owned() } else { reason };
        self.note(entry, body.refused_at_ms, &reason, asked, Vec::new(), request, findings)
    }

    fn report(&self, body: &UseBody) -> Opened {
        self.read_report(body).map_or_else(
            || Opened::found(Finding::UseUnknown),
            |used| Opened { used: Some(used), ..Opened::default() },
        )
    }

    fn read_report(&self, body: &UseBody) -> Option<Used> {
        let envelope = Envelope::parse(&body.report).ok()?;
        // Who may have signed is known only once the payload has been read.
        let authority = UseReport::decode(envelope.payload.as_slice()).ok()?.authority;
        let keys = self.participants.authority_keys(&authority)?;
        let payload = envelope.verified(payload_type::USE, &keys).ok()?;
        let report = UseReport::decode(payload).ok()?;
        let request = Digest::try_from(report.request_digest.as_slice()).ok()?;
        let key = self.ring.by_id(&recipient_of(&report.sealed_use).ok()?)?;
        let aad = Aad::of_request(request, 0);
        let plain = key.private.open(SealKind::UseRecord, &aad, &report.sealed_use).ok()?;
        let record: UseRecord = record::parse(&plain).ok()?;
        (record.request_digest == report.request_digest && report.ledger == self.ledger)
            .then_some(Used { request, authority, use_: record.r#use })
    }

    fn check_request(
        &self,
        request: &Request,
        membership: &einmal_protocol::batch::Membership,
        findings: &mut BTreeSet<Finding>,
    ) {
        let keys = self.participants.authority_keys(&request.authority).unwrap_or_default();
        if membership.verify(&keys).is_err() {
            findings.insert(Finding::AuthoritySignature);
        }
        if request.ledger != self.ledger {
            findings.insert(Finding::OtherLedger);
        }
    }

    /// The commitment, if it is the register's and for this request. One of another request opens
    /// nothing here: its own entry shows it to whom it concerns.
    fn commitment(
        &self,
        request: &Request,
        body: &ExchangeBody,
        leaf: &Leaf,
        findings: &mut BTreeSet<Finding>,
    ) -> Option<Commitment> {
        let keys = self.participants.register_keys(&request.register).unwrap_or_default();
        let Ok(commitment) = Commitment::verify(&body.commitment, &keys) else {
            findings.insert(Finding::RegisterSignature);
            return None;
        };
        let slots = self.participants.slots(&request.evidence_type);
        if slots.is_none_or(|slots| commitment.slots.len() != slots as usize) {
            findings.insert(Finding::Slots);
        }
        if commitment.day != leaf.day {
            findings.insert(Finding::OtherDay);
        }
        let count = u32::try_from(commitment.slots.len()).unwrap_or(u32::MAX);
        match commitment.check(request.digest, Digest::of(&body.permit), count) {
            Ok(()) => Some(commitment),
            Err(CommitmentError::Other("permit")) => {
                findings.insert(Finding::OtherPermit);
                Some(commitment)
            }
            Err(CommitmentError::Other("day")) => {
                findings.insert(Finding::OtherDay);
                Some(commitment)
            }
            Err(_) => {
                findings.insert(Finding::OtherRequest);
                None
            }
        }
    }

    fn open_asked(
        &self,
        request: &Request,
        findings: &mut BTreeSet<Finding>,
    ) -> Option<AskedRecord> {
        let open = || {
            let key = self.ring.by_id(&recipient_of(&request.asked_record).ok()?)?;
            let aad = request.aad();
            let plain =
                key.private.open(SealKind::AskedRecord, &aad, &request.asked_record).ok()?;
            record::parse::<AskedRecord>(&plain).ok()
        };
        let Some(asked) = open() else {
            findings.insert(Finding::AskedNotOpened);
            return None;
        };
        if asked.request_id != request.id.as_bytes() {
            findings.insert(Finding::AskedOfOtherRequest);
        }
        Some(asked)
    }

    fn open_slots(
        &self,
        request: &Request,
        permit: Option<&Permit>,
        commitment: &Commitment,
        findings: &mut BTreeSet<Finding>,
    ) -> Vec<(AccessRecord, Draft)> {
        let mut opened = Vec::new();
        for (number, slot) in (0..).zip(&commitment.slots) {
            let Some((plain, access)) = self.open_slot(request, number, slot) else {
                findings.insert(Finding::SlotNotOpened);
                continue;
            };
            if access.request_digest != request.digest.to_vec() {
                findings.insert(Finding::RecordOfOtherRequest);
            }
            if matches!(access.role(), SubjectRole::Nobody | SubjectRole::Unspecified) {
                continue;
            }
            let permitted = |field: &String| {
                request.fields.contains(field)
                    && permit.is_some_and(|permit| {
                        permit.fields().iter().any(|grant| grant.field == *field)
                    })
            };
            if !access.fields.iter().all(permitted) {
                findings.insert(Finding::BeyondPermit);
            }
            let subject = access.subject.clone().unwrap_or_default();
            let result = result_of(access.outcome());
            opened.push((access, Draft { slot: i64::from(number), result, subject, plain }));
        }
        opened
    }

    fn open_slot(
        &self,
        request: &Request,
        number: u32,
        slot: &Slot,
    ) -> Option<(Zeroizing<Vec<u8>>, AccessRecord)> {
        let key = self.ring.by_id(&recipient_of(&slot.sealed_record).ok()?)?;
        let plain = record::open_access(slot, request.digest, number, &key.private).ok()?;
        let access = record::parse(&plain).ok()?;
        Some((plain, access))
    }

    /// Seals the records of an entry for the index, the authority's own too where the register's
    /// do not name the same person: hiding an access needs two liars.
    #[allow(clippy::too_many_arguments, reason = "the parts of one entry, used once")]
    fn note(
        &self,
        entry: &Checked,
        at_ms: u64,
        refusal_reason: &str,
        asked: Option<AskedRecord>,
        records: Vec<(AccessRecord, Draft)>,
        request: Request,
        mut findings: BTreeSet<Finding>,
    ) -> Result<Opened, DayKeyError> {
        let mut drafts: Vec<Draft> = records.into_iter().map(|(_, draft)| draft).collect();
        if let Some(subject) = asked.and_then(|asked| asked.subject) {
            let plain = Zeroizing::new(Vec::new());
            let refused = !refusal_reason.is_empty();
            let result = if refused { RecordResult::Refused } else { RecordResult::Unspecified };
            drafts.push(Draft { slot: ASKED_SLOT, result, subject, plain });
        }
        let mut rows: Vec<Row> = Vec::new();
        match self.ring.day(entry.leaf.day) {
            None => {
                findings.insert(Finding::NoDayKey);
            }
            Some(day) => {
                for draft in drafts {
                    let form = subject::form_of_record(&draft.subject);
                    let tag = form.map(|form| day.tag(&form));
                    if tag.is_some() && rows.iter().any(|row| row.tag == tag) {
                        continue;
                    }
                    let record = Record {
                        index: entry.index,
                        refusal_reason: refusal_reason.to_owned(),
                        logged_at_ms: at_ms,
                        findings: findings.iter().map(ToString::to_string).collect(),
                        ..Record::default()
                    };
                    let facts = Facts {
                        authority: request.authority.clone(),
                        register: request.register.clone(),
                        purpose: request.purpose.clone(),
                        at_ms,
                        result: draft.result.into(),
                    };
                    let place = (entry.index, entry.leaf.day, draft.slot);
                    let facts = facts.seal(&day, place)?;
                    rows.push(seal_row(entry, &day, record, draft, (tag, facts))?);
                }
            }
        }
        let asked = Asked {
            digest: request.digest,
            id: *request.id.as_bytes(),
            retry_of: request.retry_of.map(|id| *id.as_bytes()),
            authority: request.authority,
        };
        Ok(Opened { asked: Some(asked), rows, findings, ..Opened::default() })
    }
}

fn seal_row(
    entry: &Checked,
    day: &DayKey,
    record: Record,
    draft: Draft,
    (tag, facts): (Option<Tag>, Vec<u8>),
) -> Result<Row, DayKeyError> {
    let mut stored = ExportedRecord {
        record: Some(record),
        plain_record: draft.plain.to_vec(),
        slot: u32::try_from(draft.slot).unwrap_or_default(),
        ..ExportedRecord::default()
    };
    let bytes = Zeroizing::new(stored.encode_to_vec());
    zeroize::Zeroize::zeroize(&mut stored.plain_record);
    let sealed = day.reseal(&row_aad(entry.index, entry.leaf.day, draft.slot), &bytes)?;
    Ok(Row { slot: draft.slot, tag, facts, sealed })
}

/// The authority's word against the register's.
fn compare(
    asked: Option<&AskedRecord>,
    records: &[(AccessRecord, Draft)],
    findings: &mut BTreeSet<Finding>,
) {
    let about = records.iter().find(|(access, _)| access.role() == SubjectRole::Asked);
    let Some((access, _)) = about else {
        findings.insert(Finding::NobodyAsked);
        return;
    };
    let Some(asked) = asked else { return };
    let (theirs, ours) = (asked.subject.as_ref(), access.subject.as_ref());
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if subject::can_be_same(theirs, ours) => (),
        _ => {
            findings.insert(Finding::SubjectsDiffer);
        }
    }
    let cases = [&asked.case_reference, &access.case_reference];
    if cases.iter().all(|case| !case.is_empty()) && asked.case_reference != access.case_reference {
        findings.insert(Finding::CasesDiffer);
    }
}
