// SPDX-License-Identifier: EUPL-1.2
//! The conformance kit: plays broker, ledger, keeper and authority against any adapter, honestly
//! and not. [`World`] makes a world with keys of its own, [`Playing`] lets its brokers listen and
//! tries the cases; [`Broker`], [`Line`], [`Log`] and [`forgery`] are what hostile doubles in tests
//! are made of as well.

mod answer;
pub mod asker;
pub mod broker;
pub mod case;
pub mod cases;
pub mod check;
pub mod choice;
pub mod forgery;
pub mod line;
mod load;
pub mod log;
pub mod questions;
pub mod report;
mod stage;
pub mod world;

pub use broker::{Board, Broker};
pub use case::{Case, Finding, Verdict};
pub use check::{BROKERS, CheckError, Options, Playing};
pub use line::{After, Line};
pub use log::Log;
pub use questions::Questions;
pub use report::Report;
pub use world::{RegisterSpec, Spec, World};
