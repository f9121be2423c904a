// SPDX-License-Identifier: EUPL-1.2
//! Legal hold (IDNrG § 9 (3)): one record is kept beyond its time, because a reason that is
//! written down asks for it. The copy is sealed to a data-protection officer's own key, so it
//! outlives the day's key and the keeper cannot open it; it has an end of its own. That it is held
//! is a leaf *before* the copy is stored: a crash in between leaves a notice without a copy, never
//! a copy without a notice (READ-ONLY-BY-ITS-OWNER: every opening not by the person is a leaf).

use std::path::Path;

use einmal_peer::random::{self, NoRandomness};
use einmal_protocol::{
    Digest,
    leaf::{Leaf, LeafKind},
    note::LedgerKey,
    receipt::{self, ReceiptError},
    seal::{Aad, SealError, SealKind, SealingPrivateKey, SealingPublicKey},
    time::{DAY_MS, day_to_iso},
    wire::{
        cockpit::v1::ExportedRecord,
        ledger::v1::{
            ReadEntriesRequest, RecordHoldRequest, ledger_service_client::LedgerServiceClient,
        },
        v1::{Body, Hold, NoticeBody, Receipt, body, notice_body},
    },
};
use prost::Message;
use sqlx::Row as _;
use tonic::{Status, transport::Channel};
use zeroize::Zeroizing;

use super::{
    Archive, Compared, DayKeyError, DayKeyFiles, DayKeys, IndexError, exported,
    index::{Index, int, number, sql},
};

/// A reason has at most so many bytes.
pub const REASON_MAX: usize = 500;
/// A copy is held at most so long.
pub const YEARS_MAX: u32 = 10;
const DAYS_MAX: u32 = YEARS_MAX * 366;
const READ_MAX: usize = 4 * 1024 * 1024;

/// The records that one keeper holds longer.
pub struct Holds {
    index: Index,
}

/// What is to be held.
pub struct Wish<'a> {
    /// Position in the ledger.
    pub index: u64,
    /// Which record of the entry; left out: the only one.
    pub slot: Option<u32>,
    /// Whom the copy is sealed to.
    pub officer: &'a SealingPublicKey,
    /// Why. Names no person: it stands in the ledger.
    pub reason: &'a str,
    /// Deleted after this day; days since 1970 (UTC).
    pub until_day: u32,
}

/// Where the hold is written down, and with what.
pub struct Office<'a> {
    /// To the broker.
    pub channel: Channel,
    /// The ledger.
    pub ledger: &'a LedgerKey,
    /// The keeper's id in the directory.
    pub keeper: &'a str,
    /// What an export carries.
    pub archive: &'a dyn Archive,
    /// The keeper's day keys.
    pub files: &'a DayKeyFiles,
    /// Today; days since 1970 (UTC).
    pub today: u32,
}

/// A record that is held longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Position in the ledger.
    pub index: u64,
    /// Which record of the entry.
    pub slot: u32,
    /// Deleted after this day.
    pub until_day: u32,
    /// Why.
    pub reason: String,
    /// Id of the officer's key.
    pub officer_key: Vec<u8>,
    /// Where the notice stands in the ledger.
    pub notice_index: u64,
}

impl Holds {
    /// Those in an index.
    ///
    /// # Errors
    /// Where it cannot be opened, or is another ledger's.
    pub async fn open(index: &Path, origin: &str) -> Result<Self, IndexError> {
        Ok(Self { index: Index::open(index, origin).await? })
    }

    /// Opens a record with its day's key, seals it to the officer, has it written into the ledger
    /// that it is held, and stores the copy.
    ///
    /// # Errors
    /// Where there is no such record, its day is forgotten, reason or end are out of bounds, or
    /// the broker's receipt does not hold. Nothing is stored then.
    pub async fn hold(&self, office: Office<'_>, wish: Wish<'_>) -> Result<Held, HoldError> {
        check(&wish, office.today)?;
        let (slot, export) = self.open_record(&office, &wish).await?;
        let leaf = export.receipt.as_ref().map(|receipt| receipt.leaf.clone()).unwrap_or_default();
        let plain = Zeroizing::new(export.encode_to_vec());
        let sealed = wish.officer.seal(
            SealKind::HeldRecord,
            &aad(&leaf, slot),
            &plain,
            random::entropy()?,
        )?;
        let hold = Hold {
            index: wish.index,
            slot,
            reason: wish.reason.to_owned(),
            until_day: wish.until_day,
            sealed_digest: Digest::of(&sealed).to_vec(),
            officer_key: wish.officer.id(),
        };
        let notice_index = self.write_down(&office, hold).await?;
        sql("INSERT INTO holds VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (leaf_index, slot, officer_key) DO UPDATE SET \
             until_day = excluded.until_day, reason = excluded.reason, \
             notice_index = excluded.notice_index, sealed = excluded.sealed")
        .bind(int(wish.index))
        .bind(i64::from(slot))
        .bind(wish.officer.id())
        .bind(i64::from(wish.until_day))
        .bind(wish.reason.to_owned())
        .bind(int(notice_index))
        .bind(sealed)
        .execute(&self.index.pool)
        .await
        .map_err(IndexError::from)?;
        Ok(Held {
            index: wish.index,
            slot,
            until_day: wish.until_day,
            reason: wish.reason.to_owned(),
            officer_key: wish.officer.id(),
            notice_index,
        })
    }

    async fn open_record(
        &self,
        office: &Office<'_>,
        wish: &Wish<'_>,
    ) -> Result<(u32, ExportedRecord), HoldError> {
        let mut records = self.index.records_of(wish.index).await?;
        // The authority's own record, which counts as slot 0, matters only where there is no other:
        // in a refusal.
        if records.iter().any(|found| found.slot >= 0) {
            records.retain(|found| found.slot >= 0);
        }
        if let Some(slot) = wish.slot {
            records.retain(|found| u32::try_from(found.slot.max(0)) == Ok(slot));
        }
        let found = records.pop().ok_or(HoldError::NoRecord)?;
        if !records.is_empty() && wish.slot.is_none() {
            return Err(HoldError::WhichSlot);
        }
        let slot = u32::try_from(found.slot.max(0)).unwrap_or_default();
        let key = DayKeys::one(office.files, found.day)?.ok_or(HoldError::Forgotten)?;
        let opened = exported::open(&key, found).ok_or(IndexError::Damaged("a record"))?;
        let export = exported::export(&self.index, office.archive, opened).await?;
        Ok((slot, export))
    }

    /// The leaf's position.
    async fn write_down(&self, office: &Office<'_>, hold: Hold) -> Result<u64, HoldError> {
        let request = RecordHoldRequest { hold: Some(hold.clone()) };
        let mut broker = LedgerServiceClient::new(office.channel.clone());
        let answer = broker.record_hold(request).await.map_err(Box::new)?.into_inner();
        prove(&self.index, office, answer.receipt, notice_body::What::Hold(hold)).await
    }

    /// All of them.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn list(&self) -> Result<Vec<Held>, IndexError> {
        sql("SELECT leaf_index, slot, until_day, reason, officer_key, notice_index FROM holds \
             ORDER BY leaf_index, slot")
        .fetch_all(&self.index.pool)
        .await?
        .iter()
        .map(|row| {
            let small = |column| -> Result<u32, IndexError> {
                u32::try_from(number(row, column)?).map_err(|_| IndexError::Damaged("a number"))
            };
            Ok(Held {
                index: number(row, "leaf_index")?,
                slot: small("slot")?,
                until_day: small("until_day")?,
                reason: row.try_get("reason")?,
                officer_key: row.try_get("officer_key")?,
                notice_index: number(row, "notice_index")?,
            })
        })
        .collect()
    }

    /// Opens a copy with the officer's key.
    ///
    /// # Errors
    /// Where there is none for this key, or it does not open.
    pub async fn open_copy(
        &self,
        index: u64,
        slot: Option<u32>,
        officer: &SealingPrivateKey,
    ) -> Result<ExportedRecord, HoldError> {
        let mut rows =
            sql("SELECT slot, sealed FROM holds WHERE leaf_index = ? AND officer_key = ?")
                .bind(int(index))
                .bind(officer.public().id())
                .fetch_all(&self.index.pool)
                .await
                .map_err(IndexError::from)?;
        if let Some(slot) = slot {
            rows.retain(|row| row.try_get::<i64, _>("slot").is_ok_and(|at| at == i64::from(slot)));
        }
        let row = rows.pop().ok_or(HoldError::NoRecord)?;
        if !rows.is_empty() {
            return Err(HoldError::WhichSlot);
        }
        let slot = u32::try_from(number(&row, "slot")?).unwrap_or_default();
        let sealed: Vec<u8> = row.try_get("sealed").map_err(IndexError::from)?;
        let leaf = self.index.leaf(index).await?.ok_or(HoldError::NoRecord)?;
        let plain = officer.open(SealKind::HeldRecord, &aad(&leaf, slot), &sealed)?;
        ExportedRecord::decode(plain.as_slice()).map_err(|_| HoldError::Seal(SealError::Form))
    }
}

/// The position of a notice that the broker says it has written. Believed only against its proof,
/// its body, and the keeper's own tree.
pub(super) async fn prove(
    index: &Index,
    office: &Office<'_>,
    receipt: Option<Receipt>,
    expected: notice_body::What,
) -> Result<u64, HoldError> {
    let broken = |why: &'static str| HoldError::NotWritten(why);
    let mut broker =
        LedgerServiceClient::new(office.channel.clone()).max_decoding_message_size(READ_MAX);
    let receipt = receipt.ok_or(broken("there is no receipt"))?;
    let request = ReadEntriesRequest {
        from_index: receipt.index,
        count: 1,
        reason: "a notice of its own".to_owned(),
    };
    let mut entries = broker.read_entries(request).await.map_err(Box::new)?.into_inner();
    let run = entries.message().await.map_err(Box::new)?;
    let entry = run
        .and_then(|run| run.entries.into_iter().next())
        .filter(|entry| entry.index == receipt.index)
        .ok_or(broken("the entry cannot be read"))?;
    let leaf = Leaf::parse(&entry.leaf).map_err(|_| broken("the leaf cannot be read"))?;
    let whole = leaf == Leaf::new(LeafKind::Notice, leaf.day, &entry.body);
    let written = Body::decode(entry.body.as_slice()).ok().and_then(|body| match body.kind {
        Some(body::Kind::Notice(NoticeBody { what: Some(written), by, .. })) => Some((written, by)),
        _ => None,
    });
    let by = format!("cockpit/{}", office.keeper);
    if !whole || written != Some((expected, by)) {
        return Err(broken("the entry says something else"));
    }
    let proven = receipt::verify(&receipt, leaf, office.ledger, None)?;
    let compared = index.compare(proven.checkpoint(), u64::from(office.today) * DAY_MS).await?;
    if compared == Compared::Forked {
        return Err(broken("its checkpoint is not of the keeper's tree"));
    }
    Ok(proven.index())
}

/// Binds the copy to its place.
fn aad(leaf: &[u8], slot: u32) -> Aad {
    Aad::of_request(Digest::of(leaf), slot)
}

fn check(wish: &Wish<'_>, today: u32) -> Result<(), HoldError> {
    let reason = wish.reason.trim();
    if reason.is_empty()
        || wish.reason.len() > REASON_MAX
        || wish.reason.chars().any(char::is_control)
    {
        return Err(HoldError::Reason);
    }
    if wish.until_day <= today || wish.until_day > today.saturating_add(DAYS_MAX) {
        return Err(HoldError::Until { today: day_to_iso(today) });
    }
    Ok(())
}

/// Why a record is not held longer, or its copy not opened.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// No such record.
    #[error("there is no such record; it may be forgotten already, or held for another officer")]
    NoRecord,
    /// Several persons.
    #[error("the entry has several records; say which with --slot")]
    WhichSlot,
    /// Too late.
    #[error("the day of this record is forgotten: nobody can open it any more")]
    Forgotten,
    /// Not a reason.
    #[error("the reason must have 1 to {REASON_MAX} bytes on one line, and name no person")]
    Reason,
    /// Not an end.
    #[error("the end must be after today ({today}) and at most {YEARS_MAX} years ahead")]
    Until {
        /// Today.
        today: String,
    },
    /// The broker.
    #[error("the broker does not write the hold into the ledger: {}", .0.message())]
    Broker(#[from] Box<Status>),
    /// Not in the ledger.
    #[error("alarm: the hold is not in the ledger as the broker says: {0}; nothing was stored")]
    NotWritten(&'static str),
    /// Not in the ledger.
    #[error("alarm: {0}; nothing was stored")]
    Receipt(#[from] ReceiptError),
    /// Sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A day key.
    #[error(transparent)]
    Days(#[from] DayKeyError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}
