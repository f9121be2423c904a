// SPDX-License-Identifier: EUPL-1.2
//! Root, rules, directory and key cards, and the decision: one pure function that broker,
//! adapter, `Explain` and replay all call. Pure: no clock, file, socket or randomness.

pub mod chain;
pub mod change;
pub mod decide;
pub mod deny;
pub mod directory;
pub mod documents;
pub mod freshness;
pub mod key_card;
pub mod root;
pub mod rules;
pub mod rules_document;
pub mod trust;

pub use change::Change;
pub use decide::{Question, Refused, decide, explain};
pub use directory::Directory;
pub use root::{Role, Root};
pub use rules::Rules;
pub use trust::{Trust, TrustState};
