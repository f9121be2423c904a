// SPDX-License-Identifier: EUPL-1.2
//! What an operator or a data-protection officer may look at beside a running keeper. It needs no
//! key, and names no person.

use std::path::Path;

use super::{IndexError, Keeper, Notice, SplitView, index::Index};

/// A view of one keeper's index.
pub struct Desk {
    index: Index,
}

/// How a keeper stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Entries verified and indexed.
    pub complete_up_to: u64,
    /// When, in UTC milliseconds.
    pub checked_at_ms: u64,
    /// The newest checkpoint.
    pub checkpoint: String,
    /// The newest day of any leaf; days since 1970 (UTC).
    pub newest_day: u32,
    /// Everything of days before this one is forgotten; 0: nothing yet.
    pub forgotten_before: u32,
    /// Open alarms.
    pub alarms: Vec<String>,
    /// Split views, each with its proof.
    pub forks: Vec<SplitView>,
    /// The newest notices, newest first.
    pub notices: Vec<Notice>,
    /// Checkpoints that wait until the keeper gets there.
    pub waiting: u64,
}

impl Desk {
    /// Opens the index of a ledger.
    ///
    /// # Errors
    /// Where it cannot be opened, or is another ledger's.
    pub async fn open(index: &Path, origin: &str) -> Result<Self, IndexError> {
        Ok(Self { index: Index::open(index, origin).await? })
    }

    /// A running keeper's own view.
    pub(super) fn of(keeper: &Keeper) -> Self {
        Self { index: keeper.index.clone() }
    }

    /// How the keeper stands.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn standing(&self) -> Result<Standing, IndexError> {
        let state = self.index.state().await?;
        let (newest_day, forgotten_before) = self.index.horizon().await?;
        Ok(Standing {
            complete_up_to: state.size,
            checked_at_ms: state.checked_at_ms,
            checkpoint: state.checkpoint,
            newest_day,
            forgotten_before,
            alarms: self.index.alarms().await?,
            forks: self.index.split_views().await?,
            notices: self.index.notices().await?,
            waiting: self.index.waiting().await?,
        })
    }

    /// Takes away all alarms, after somebody has looked into them.
    ///
    /// # Errors
    /// Where the index cannot be written.
    pub async fn clear_alarms(&self) -> Result<(), IndexError> {
        self.index.clear_alarms().await
    }
}
