// SPDX-License-Identifier: EUPL-1.2
//! Who may publish documents at once. Anybody of the trust domain may, and verifying costs seconds
//! of one core; so nobody has more than one place, and one who keeps it busy keeps nobody out.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Places in all; each caller has one.
const PLACES: usize = 16;

/// Callers whose documents are being verified.
#[derive(Debug, Default)]
pub struct Publishers {
    busy: Arc<Mutex<BTreeSet<String>>>,
}

/// A caller's place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    busy: Arc<Mutex<BTreeSet<String>>>,
    caller: String,
}

impl Publishers {
    /// A place for this caller; nothing where it has one already, or there is none left.
    pub fn enter(&self, caller: &str) -> Option<Place> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.len() >= PLACES || !busy.insert(caller.to_owned()) {
            return None;
        }
        Some(Place { busy: Arc::clone(&self.busy), caller: caller.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.caller);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_two_places_and_one_keeps_nobody_out() {
        let publishers = Publishers::default();
        let one = publishers.enter("it-city");
        assert!(one.is_some() && publishers.enter("it-city").is_none());
        let others: Vec<Place> =
            (1..PLACES).map(|n| publishers.enter(&format!("it-{n}")).unwrap()).collect();
        assert!(publishers.enter("late").is_none());
        drop(one);
        assert!(publishers.enter("late").is_some());
        assert_eq!(others.len(), PLACES - 1);
    }
}
