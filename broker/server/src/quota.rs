// SPDX-License-Identifier: EUPL-1.2
//! How many refusals of one authority are logged in a minute, so that nobody can flood the
//! ledger with them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

const MINUTE_MS: u64 = 60_000;

/// Counts by authority and minute.
#[derive(Debug)]
pub struct Quota {
    per_minute: u32,
    counts: Mutex<HashMap<String, (u64, u32)>>,
}

impl Quota {
    /// At most so many in a minute.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, counts: Mutex::default() }
    }

    /// Takes one, if the authority has one left.
    pub fn take(&self, authority: &str, now_ms: u64) -> bool {
        let minute = now_ms / MINUTE_MS;
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        // Authorities are those of the directory, so the map stays as small as it.
        let (counted, count) = counts.entry(authority.to_owned()).or_insert((minute, 0));
        if *counted != minute {
            (*counted, *count) = (minute, 0);
        }
        *count = count.saturating_add(1);
        *count <= self.per_minute
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_authority_has_its_own_and_a_new_minute_begins_anew() {
        let quota = Quota::new(2);
        assert!(quota.take("a", 0) && quota.take("a", 1) && !quota.take("a", 2));
        assert!(quota.take("b", 2));
        assert!(quota.take("a", MINUTE_MS));
    }
}
