// SPDX-License-Identifier: EUPL-1.2
//! All cases. Those of one list run one after the other on one broker.

pub(crate) mod answers;
pub(crate) mod proofs;
pub(crate) mod requests;
pub(crate) mod streams;

use crate::case::Case;

/// In the order of the report.
pub(crate) const ALL: [&[Case]; 9] = [
    answers::BEGINNING,
    answers::CASES,
    requests::CASES,
    proofs::OTHER_LEAVES,
    proofs::OTHER_CHECKPOINTS,
    proofs::OTHER_HISTORIES,
    streams::CASES,
    answers::END,
    proofs::FORK,
];

/// Run only where they are asked for.
pub(crate) const SLOW: &[Case] = streams::SLOW;

/// All cases, in the order of the report.
pub fn all() -> impl Iterator<Item = &'static Case> {
    ALL.into_iter().flatten().chain(SLOW)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_distinct_and_no_sentence_is_missing() {
        let mut ids: Vec<&str> = super::all().map(|case| case.id).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count);
        for case in super::all() {
            assert!(case.tried.ends_with('.') || case.tried.ends_with(")."), "{}", case.id);
            assert!(!case.advice.is_empty() && !case.promise.is_empty(), "{}", case.id);
        }
    }
}
