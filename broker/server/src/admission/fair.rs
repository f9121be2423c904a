// SPDX-License-Identifier: EUPL-1.2
//! A bounded queue in which everybody has a line of their own, and the lines are served in turn:
//! deficit round robin where each exchange costs the same. Nobody's line may be longer than what is
//! left for all others, so that whoever floods it leaves room. Pure: it knows no clock.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

/// What waits, line by line.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    length_max: usize,
    length: usize,
    next: u64,
    lines: HashMap<Arc<str>, VecDeque<(u64, T)>>,
    /// Whose turn it is: each line that is not empty, once.
    turns: VecDeque<Arc<str>>,
}

impl<T> FairQueue<T> {
    /// Holds at most so many.
    pub(super) fn new(length_max: usize) -> Self {
        let (lines, turns) = (HashMap::new(), VecDeque::new());
        Self { length_max, length: 0, next: 0, lines, turns }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Puts one at the end of a line. Its ticket, or nothing where the line is as long as it may be.
    pub(super) fn push(&mut self, who: &Arc<str>, item: T) -> Option<u64> {
        let own = self.lines.get(who).map_or(0, VecDeque::len);
        if own >= self.length_max.saturating_sub(self.length) {
            return None;
        }
        if own == 0 {
            self.turns.push_back(Arc::clone(who));
        }
        let ticket = self.next;
        self.next += 1;
        self.length += 1;
        self.lines.entry(Arc::clone(who)).or_default().push_back((ticket, item));
        Some(ticket)
    }

    /// The first of the line whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let who = self.turns.pop_front()?;
        let line = self.lines.get_mut(&who)?;
        let (_, item) = line.pop_front()?;
        self.length -= 1;
        if line.is_empty() {
            self.lines.remove(&who);
        } else {
            self.turns.push_back(who);
        }
        Some(item)
    }

    /// Takes one out of its line. Whether it still stood there.
    pub(super) fn remove(&mut self, who: &str, ticket: u64) -> bool {
        let Some(line) = self.lines.get_mut(who) else { return false };
        let Ok(place) = line.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else {
            return false;
        };
        line.remove(place);
        self.length -= 1;
        if line.is_empty() {
            self.lines.remove(who);
            self.turns.retain(|other| **other != *who);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn names() -> Vec<Arc<str>> {
        ["flood", "quiet", "other", "more"].map(Arc::from).to_vec()
    }

    #[test]
    fn whoever_floods_waits_behind_nobody_but_themselves() {
        let (mut queue, names) = (FairQueue::new(100), names());
        let taken = (0..1_000).filter(|n| queue.push(&names[0], ("flood", *n)).is_some()).count();
        // Half of it, so that there is room for others.
        assert_eq!(taken, 50);
        for n in 0..3 {
            queue.push(&names[1], ("quiet", n)).unwrap();
        }
        let served: Vec<_> = (0..6).map(|_| queue.pop().unwrap()).collect();
        let expected = ["flood", "quiet"].repeat(3);
        assert_eq!(served.iter().map(|(who, _)| *who).collect::<Vec<_>>(), expected);
        assert_eq!(served[5].1, 2, "each line is in order");
    }

    proptest! {
        /// Nothing is lost, doubled or served out of its line's order, whoever leaves meanwhile;
        /// and in any run of turns nobody who waits is served two less than somebody else.
        #[test]
        fn it_is_a_fair_and_whole_queue(steps in vec((0_u8..4, 0_usize..4), 0..400)) {
            let (mut queue, names) = (FairQueue::new(40), names());
            let mut model: Vec<VecDeque<u64>> = vec![VecDeque::new(); 4];
            for (step, who) in steps {
                match step {
                    0 | 1 => {
                        let next = queue.next;
                        let length: usize = model.iter().map(VecDeque::len).sum();
                        let room = model[who].len() < 40 - length;
                        let ticket = queue.push(&names[who], (who, next));
                        prop_assert_eq!(ticket.is_some(), room);
                        model[who].extend(ticket);
                    }
                    2 => match queue.pop() {
                        Some((who, ticket)) => {
                            prop_assert_eq!(model[who].pop_front(), Some(ticket));
                        }
                        None => prop_assert!(model.iter().all(VecDeque::is_empty)),
                    },
                    _ => {
                        let last = model[who].pop_back();
                        let ticket = last.unwrap_or(u64::MAX);
                        prop_assert_eq!(queue.remove(&names[who], ticket), last.is_some());
                        prop_assert!(!queue.remove(&names[who], ticket));
                    }
                }
                prop_assert_eq!(queue.len(), model.iter().map(VecDeque::len).sum::<usize>());
                let waiting = model.iter().filter(|line| !line.is_empty()).count();
                prop_assert_eq!((queue.lines.len(), queue.turns.len()), (waiting, waiting));
            }
            // All that wait to the end are served in turn.
            let lengths: Vec<usize> = model.iter().map(VecDeque::len).collect();
            let mut served = [0_usize; 4];
            while let Some((who, _)) = queue.pop() {
                served[who] += 1;
                let waits = |other: &usize| served[*other] < lengths[*other];
                let least = (0..4).filter(waits).map(|other| served[other]).min();
                prop_assert!(least.is_none_or(|least| served[who] <= least + 1));
            }
        }
    }
}
