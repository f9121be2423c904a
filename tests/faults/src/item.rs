// SPDX-License-Identifier: EUPL-1.2
//! What is appended: entries that follow from a number, so that whoever knows the number can say
//! what must stand in the ledger.

use einmal_ledger::NewEntry;
use einmal_protocol::{
    RequestId,
    leaf::{Leaf, LeafKind},
};

use crate::random::{Random, mix};

/// The day of the first entries.
const DAY: u32 = 20_779;
/// The time of the first ids, UTC milliseconds.
pub(crate) const ISSUED_MS: u64 = 1_795_372_800_000;

/// One entry. Both variants of a number want the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Item {
    pub(crate) number: u64,
    pub(crate) variant: u8,
}

impl Item {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, variant: 0 }
    }

    /// Another body under the same id, and where it is an exchange, a refusal.
    pub(crate) fn other(self) -> Self {
        Self { variant: 1, ..self }
    }

    fn kind(self) -> LeafKind {
        match (self.number % 7, self.variant) {
            (1, _) => LeafKind::Use,
            (2, 0) | (0 | 3..=6, 1) => LeafKind::Refusal,
            _ => LeafKind::Exchange,
        }
    }

    /// When its id was issued, UTC milliseconds: ids are not in the order of their times.
    pub(crate) fn issued_ms(self) -> u64 {
        ISSUED_MS + mix(self.number) % 600_000
    }

    /// A batch has entries of several days.
    fn day(self) -> u32 {
        let days = u32::try_from(mix(self.number ^ 1) % 3).unwrap();
        DAY + days
    }

    /// Mostly small, sometimes large; number and variant stand at its beginning.
    fn body(self) -> Vec<u8> {
        let mut random = Random::new(self.number ^ (u64::from(self.variant) << 63));
        let length = match random.below(100) {
            0 => 16_000 + random.below(80_000),
            1..=15 => 600 + random.below(4_000),
            16 => 0,
            _ => random.below(600),
        };
        let mut body = self.number.to_be_bytes().to_vec();
        body.push(self.variant);
        body.extend((0..length.div_ceil(8)).flat_map(|_| random.next().to_be_bytes()));
        body
    }

    pub(crate) fn entry(self) -> NewEntry {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&self.number.to_be_bytes());
        NewEntry {
            authority: format!("authority-{}", self.number % 5),
            id: RequestId::new(self.issued_ms(), random),
            kind: self.kind(),
            day: self.day(),
            body: self.body(),
        }
    }

    pub(crate) fn leaf(self) -> Leaf {
        Leaf::new(self.kind(), self.day(), &self.body())
    }

    /// Whose body this is; nothing where nobody asked for such a one.
    pub(crate) fn of_body(body: &[u8]) -> Option<Self> {
        let (number, rest) = body.split_first_chunk::<8>()?;
        let item = Self { number: u64::from_be_bytes(*number), variant: *rest.first()? };
        (item.body() == body).then_some(item)
    }
}
