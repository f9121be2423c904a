// SPDX-License-Identifier: EUPL-1.2
//! Root, rules, directory and key cards, and the decision: one pure function that broker,
//! adapter, `Explain` and replay all call. Pure: no clock, file, socket or randomness.

pub mod account;
pub mod asking;
pub mod chain;
pub mod change;
mod compile;
pub mod decide;
pub mod deny;
pub mod diff;
mod diff_askers;
mod diff_groups;
mod diff_vocabulary;
pub mod directory;
pub mod documents;
mod evaluate;
mod field_schema;
pub mod freshness;
pub mod key_card;
mod memory;
pub mod names;
pub mod root;
pub mod rules;
pub mod rules_document;
mod rules_error;
mod scope;
mod slice;
pub mod trust;
pub mod vocabulary;

pub use change::Change;
pub use decide::{Question, Refused, decide, explain};
pub use directory::Directory;
pub use root::{Role, Root};
pub use rules::Rules;
pub use trust::{Trust, TrustState};
