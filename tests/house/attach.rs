// SPDX-License-Identifier: EUPL-1.2
//! Attaching at full strength: registers that do not slow one another, replicas, brokers that come
//! and go, certificates that end, and nothing left over when a stream breaks.

mod brokers;
mod bulkheads;
mod certificates;
mod replicas;
mod stage;
