// SPDX-License-Identifier: EUPL-1.2
//! What an adapter has open: counted, so that nothing is left over unseen.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What is open at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams to brokers, those that are ending too.
    pub streams: usize,
    /// Exchanges on them.
    pub exchanges: usize,
    /// Commitments that wait for their proof.
    pub unproven: usize,
    /// Lookups, or code of registers that does not end.
    pub lookups: usize,
}

/// A count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

/// One that is counted as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(Count);

impl Count {
    pub(crate) fn one(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    pub(crate) fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self(Count(count)) = self;
        count.fetch_sub(1, Ordering::Relaxed);
    }
}
