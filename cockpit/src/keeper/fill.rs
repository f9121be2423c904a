// SPDX-License-Identifier: EUPL-1.2
//! Fills an index for measurements, fast: rows as following a ledger would write them, tags and
//! seals under the real day keys, but with nothing sealed to the keeper first and nothing
//! verified. Not for anything else: what it writes is in no ledger.

use einmal_protocol::{
    Digest,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    note::Checkpoint,
    time::DAY_MS,
    wire::{
        cockpit::v1::{ExportedRecord, Record, RecordResult},
        v1::Subject,
    },
};
use prost::Message;

use super::{
    DayKeyError, IndexError, Keeper,
    body::Checked,
    facts::Facts,
    index::Noted,
    open::{Asked, Opened, Row, row_aad},
    subject,
};

/// Entries of one transaction.
const AT_ONCE: u64 = 2_000;

/// What is filled in.
pub struct Filling<'a> {
    /// Entries altogether.
    pub entries: u64,
    /// People whom all but the known ones' are about, in turns.
    pub people: u64,
    /// People whose lists are measured.
    pub known: &'a [Subject],
    /// Records of each known person, spread evenly.
    pub records: u64,
    /// The days that the entries are spread over.
    pub days: std::ops::Range<u32>,
    /// Bytes of each `Body`.
    pub body: &'a [u8],
    /// Plain bytes of each access record.
    pub plain: &'a [u8],
    /// What records are filtered by; the time is set.
    pub authorities: &'a [String],
    /// Purposes, in turns.
    pub purposes: &'a [String],
    /// The ledger's key.
    pub ledger: &'a SigningKey,
}

impl Filling<'_> {
    fn day(&self, index: u64) -> u32 {
        let days = u64::from(self.days.end.saturating_sub(self.days.start));
        let passed = index * days / self.entries.max(1);
        self.days.start + u32::try_from(passed).unwrap_or_default()
    }

    /// The canonical form of whom an entry is about.
    fn about(&self, index: u64) -> Option<subject::Form> {
        let known = self.known.len() as u64;
        let spread = (self.entries / (self.records * known).max(1)).max(1);
        let turn = index / spread;
        if index.is_multiple_of(spread) && turn < self.records * known {
            let at = usize::try_from(turn % known.max(1)).unwrap_or_default();
            return subject::form_of_record(self.known.get(at)?);
        }
        let person = index % self.people.max(1);
        Some(subject::Form::new(format!("measured person {person}").into_bytes()))
    }

    fn entry(&self, keeper: &Keeper, index: u64) -> Result<Option<Noted>, DayKeyError> {
        let day = self.day(index);
        let (Some(key), Some(form)) = (keeper.ring.day(day), self.about(index)) else {
            return Ok(None);
        };
        let turn = |list: &[String]| {
            let at = usize::try_from(index % (list.len() as u64).max(1)).unwrap_or_default();
            list.get(at).cloned().unwrap_or_default()
        };
        let at_ms = u64::from(day) * DAY_MS + index % DAY_MS;
        let (authority, purpose) = (turn(self.authorities), turn(self.purposes));
        let result = RecordResult::Found.into();
        let register = "register-1".to_owned();
        let facts = Facts { authority: authority.clone(), register, purpose, at_ms, result };
        let record = Record { index, logged_at_ms: at_ms, ..Record::default() };
        let plain_record = self.plain.to_vec();
        let stored =
            ExportedRecord { record: Some(record), plain_record, ..ExportedRecord::default() };
        let row = Row {
            slot: 0,
            tag: Some(key.tag(&form)),
            facts: facts.seal(&key, (index, day, 0))?,
            sealed: key.reseal(&row_aad(index, day, 0), &stored.encode_to_vec())?,
        };
        let mut id = [0; 16];
        id[8..].copy_from_slice(&index.to_be_bytes());
        let digest = Digest::of(&id);
        let asked = Asked { digest, id, retry_of: None, authority };
        let leaf = Leaf { kind: LeafKind::Exchange, day, body: digest };
        let bytes = Some(self.body.to_vec());
        let entry = Checked { index, leaf, bytes, kind: None, backdated: false };
        let opened = Opened { asked: Some(asked), rows: vec![row], ..Opened::default() };
        Ok(Some(Noted { entry, opened }))
    }
}

impl Keeper {
    /// Fills an empty index.
    ///
    /// # Errors
    /// Where the index cannot be written, or a day has no key.
    pub async fn fill(&self, filling: &Filling<'_>) -> Result<(), IndexError> {
        let mut tree = self.index.tree().await?;
        while tree.size() < filling.entries {
            let end = (tree.size() + AT_ONCE).min(filling.entries);
            let mut noted = Vec::new();
            for index in tree.size()..end {
                let entry = filling.entry(self, index).map_err(|_| IndexError::Sealing)?;
                noted.push(entry.ok_or(IndexError::Damaged("the key of a day"))?);
            }
            let nodes: Vec<_> =
                noted.iter().flat_map(|noted| tree.push(noted.entry.leaf.hash())).collect();
            let name = self.ledger.name();
            let checkpoint = Checkpoint::sign(name, tree.size(), tree.root(), filling.ledger)
                .map_err(|_| IndexError::Damaged("the ledger's key"))?;
            let at_ms = self.clock.now_ms();
            self.index.append(&nodes, &noted, (&checkpoint, at_ms), &self.ring).await?;
        }
        Ok(())
    }
}
