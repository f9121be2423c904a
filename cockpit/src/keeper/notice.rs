// SPDX-License-Identifier: EUPL-1.2
//! Notices: what was done with the ledger itself. The keeper lists them for the data-protection
//! officer: who read bodies and why, what was forgotten, what is held longer.

use einmal_protocol::wire::v1::{NoticeBody, notice_body::What};
use sqlx::{Row as _, Sqlite, Transaction};

use super::{
    IndexError,
    body::Checked,
    index::{Index, int, number, sql},
};

/// A reason is kept only up to here; the ledger takes no longer one.
const REASON_MAX: usize = 500;
/// At most so many are shown.
const SHOWN_MAX: i64 = 1000;

/// A notice as it stands in the ledger, without what the keeper has no use for.
pub(crate) struct Noticed {
    notice: Notice,
    /// Where it says that bodies were forgotten: those of days before this one.
    pub(crate) forgot_before: Option<u32>,
}

/// A notice. It names no person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// Position in the ledger.
    pub index: u64,
    /// "forgot", "read", "hold" or "look".
    pub what: String,
    /// Who: "auditor/<id>", "broker/<id>", "cockpit/<id>" or "operator".
    pub by: String,
    /// When, in UTC milliseconds.
    pub at_ms: u64,
    /// The first entry that it is about.
    pub from_index: u64,
    /// One past the last; 0 where it went on with whatever came.
    pub to_index: u64,
    /// Why, in the words of whoever did it.
    pub reason: String,
}

/// Cut at a whole character, and nothing that could confuse a terminal.
fn clean(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if out.len() + c.len_utf8() > REASON_MAX {
            break;
        }
        out.push(c);
    }
    out
}

impl Noticed {
    /// Nothing where it is of a kind that is not known here.
    pub(crate) fn read(body: &NoticeBody) -> Option<Self> {
        let mut notice = Notice { by: clean(&body.by), at_ms: body.at_ms, ..Notice::default() };
        let mut forgot_before = None;
        let what = match body.what.as_ref()? {
            What::Forgot(forgot) => {
                forgot_before = Some(forgot.before_day);
                notice.reason = format!("{} bodies", forgot.bodies);
                "forgot"
            }
            What::BodiesRead(read) => {
                (notice.from_index, notice.to_index) = (read.from_index, read.to_index);
                notice.reason = clean(&read.reason);
                "read"
            }
            What::Hold(hold) => {
                (notice.from_index, notice.to_index) = (hold.index, hold.index.saturating_add(1));
                notice.reason = clean(&hold.reason);
                "hold"
            }
            What::Look(look) => {
                notice.reason = clean(&look.reason);
                "look"
            }
        };
        notice.what = what.to_owned();
        Some(Self { notice, forgot_before })
    }

    pub(crate) async fn append(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        entry: &Checked,
    ) -> Result<(), IndexError> {
        let notice = self.notice.clone();
        sql("INSERT INTO notices VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(int(entry.index))
            .bind(i64::from(entry.leaf.day))
            .bind(notice.what)
            .bind(notice.by)
            .bind(int(notice.at_ms))
            .bind(int(notice.from_index))
            .bind(int(notice.to_index))
            .bind(notice.reason)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

impl Index {
    /// The newest notices, newest first.
    pub(super) async fn notices(&self) -> Result<Vec<Notice>, IndexError> {
        sql("SELECT * FROM notices ORDER BY leaf_index DESC LIMIT ?")
            .bind(SHOWN_MAX)
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| {
                Ok(Notice {
                    index: number(row, "leaf_index")?,
                    what: row.try_get("what")?,
                    by: row.try_get("by_whom")?,
                    at_ms: number(row, "at_ms")?,
                    from_index: number(row, "from_index")?,
                    to_index: number(row, "to_index")?,
                    reason: row.try_get("reason")?,
                })
            })
            .collect()
    }
}
