// SPDX-License-Identifier: EUPL-1.2
//! End-to-end tests: the whole house in one process over real mTLS, and hostile doubles of its
//! parties. Each module proves promises of the design by name.

mod adapter_attacks;
mod blind;
mod client_attacks;
mod crash;
mod foreign;
mod house_rules;
mod once;
mod refusals;
mod world;
