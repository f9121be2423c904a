// SPDX-License-Identifier: EUPL-1.2
//! Root, rules, directory and key cards, and the decision: one pure function that broker,
//! adapter, `Explain` and replay all call.

pub mod rules_document;
