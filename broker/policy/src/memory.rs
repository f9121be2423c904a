// SPDX-License-Identifier: EUPL-1.2
//! What one version of the rules has decided and prepared. Bounded, and dropped with its rules:
//! nothing outlives the version that it was decided under.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{decide::Decided, slice::Slice};

/// Slices kept, about 36 KiB each.
const SLICES_KEPT: usize = 4096;
/// Decisions kept, under 1 KiB each for a question of a few fields.
const DECISIONS_KEPT: usize = 32_768;

/// Slices and decisions.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) slices: Shelf<Slice>,
    pub(crate) decisions: Shelf<Decided>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { slices: Shelf::of(SLICES_KEPT), decisions: Shelf::of(DECISIONS_KEPT) }
    }
}

/// Immutable things by their whole key, at most so many.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    kept: usize,
    generations: RwLock<Generations<T>>,
}

/// What was not used while the young one filled up is dropped.
#[derive(Debug)]
struct Generations<T> {
    young: HashMap<Box<[u8]>, Arc<T>>,
    old: HashMap<Box<[u8]>, Arc<T>>,
}

impl<T> Shelf<T> {
    fn of(kept: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { kept, generations: RwLock::new(generations) }
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<Arc<T>> {
        // Right at every moment, even after a panic elsewhere: only whole entries are put in.
        let read = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = read.young.get(key) {
            return Some(Arc::clone(found));
        }
        let found = Arc::clone(read.old.get(key)?);
        drop(read);
        self.keep(key, Arc::clone(&found));
        Some(found)
    }

    pub(crate) fn keep(&self, key: &[u8], value: Arc<T>) {
        let mut write = self.generations.write().unwrap_or_else(PoisonError::into_inner);
        if write.young.len() >= self.kept / 2 {
            write.old = std::mem::take(&mut write.young);
        }
        write.young.insert(key.into(), value);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let read = self.generations.read().unwrap();
        read.young.len() + read.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let shelf = Shelf::of(8);
        shelf.keep(b"used", Arc::new(0));
        for number in 1..1000_u32 {
            shelf.keep(&number.to_be_bytes(), Arc::new(number));
            assert_eq!(shelf.find(&number.to_be_bytes()).as_deref(), Some(&number));
            assert_eq!(shelf.find(b"used").as_deref(), Some(&0), "{number}");
            assert!(shelf.count() <= 8);
        }
        assert_eq!(shelf.find(&1_u32.to_be_bytes()), None);
    }
}
