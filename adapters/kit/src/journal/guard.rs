// SPDX-License-Identifier: EUPL-1.2
//! One exchange's entry: durable before anything is revealed, and followed by a note where nothing
//! was revealed after all.

use einmal_policy::Trust;
use einmal_protocol::{
    request::Request,
    wire::v1::{Receipt, SubjectRole},
};

use super::{Exchange, Involved, Journal, Records, What, Withheld};
use crate::answer::Said;

/// What will be written of an exchange once its receipt is there: the part that is sealed.
pub(crate) struct Sealed {
    pub(crate) key_day: u32,
    pub(crate) bytes: Vec<u8>,
}

/// An entry that is durable, of an exchange that is not revealed yet.
pub(crate) struct Noted<'j> {
    journal: Option<&'j Journal>,
    request_id: Vec<u8>,
    revealed: bool,
}

impl Journal {
    /// Seals whom an answer is about.
    ///
    /// # Errors
    /// Where the officer gave no key for today.
    pub(crate) fn seal_said(
        &self,
        said: &Said,
        (request, slots, case_reference): (&Request, u32, &str),
    ) -> Result<Sealed, super::JournalError> {
        let people = said.subjects().iter().enumerate().map(|(number, subject)| Involved {
            subject: Some(subject.clone()),
            role: if number == 0 { SubjectRole::Asked } else { SubjectRole::Affected }.into(),
        });
        let mut records = Records {
            people: people.collect(),
            outcome: said.outcome().into(),
            fields: said.fields(),
            case_reference: case_reference.to_owned(),
        };
        let sealed = self.seal(&records, (request.digest, slots));
        records.wipe();
        sealed.map(|(key_day, bytes)| Sealed { key_day, bytes })
    }

    /// Writes an exchange down; nothing where that failed, and nothing may then be revealed.
    pub(crate) async fn exchange(
        &self,
        (request, trust, broker): (&Request, &Trust, &str),
        sealed: Sealed,
        receipt: Receipt,
    ) -> Option<Noted<'_>> {
        let directory = &trust.directory;
        let authorities = &directory.document().authorities;
        let named = authorities.iter().find(|authority| authority.id == request.authority);
        let purpose = trust.rules.purpose(&request.purpose);
        let ledger = directory.ledger(&request.ledger);
        let request_id = request.id.as_bytes().to_vec();
        // From here on: an entry that is cancelled half-way may be durable all the same.
        let noted = Noted { journal: Some(self), request_id: request_id.clone(), revealed: false };
        let exchange = Exchange {
            request_id,
            at_ms: self.clock.now_ms(),
            authority: request.authority.clone(),
            authority_name: named.map(|authority| authority.name.clone()).unwrap_or_default(),
            evidence_type: request.evidence_type.clone(),
            purpose: request.purpose.clone(),
            legal_basis: purpose.map(|purpose| purpose.legal_basis.clone()).unwrap_or_default(),
            request_digest: request.digest.to_vec(),
            broker: broker.to_owned(),
            ledger: request.ledger.clone(),
            ledger_key: ledger.map(|ledger| ledger.entry.key.clone()).unwrap_or_default(),
            receipt: Some(Receipt { consistency: None, ..receipt }),
            sealed: sealed.bytes,
            key_day: sealed.key_day,
        };
        self.append(What::Exchange(exchange)).await.then_some(noted)
    }
}

impl Noted<'_> {
    /// A register without a journal.
    pub(crate) fn nowhere() -> Self {
        Self { journal: None, request_id: Vec::new(), revealed: false }
    }

    /// From now on it is revealed.
    pub(crate) fn revealed(&mut self) {
        self.revealed = true;
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let (Some(journal), false) = (self.journal, self.revealed) {
            let request_id = std::mem::take(&mut self.request_id);
            let at_ms = journal.clock.now_ms();
            journal.note(What::Withheld(Withheld { request_id, at_ms }));
        }
    }
}
