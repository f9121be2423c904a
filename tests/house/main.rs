// SPDX-License-Identifier: EUPL-1.2
//! End-to-end tests: the whole house in one process over real mTLS, and hostile doubles of its
//! parties. Each module proves promises of the design by name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail; clippy knows only functions marked as tests"
)]

mod adapter_attacks;
mod adapter_check;
mod attach;
mod backup;
mod bench;
mod blind;
mod browser;
mod citizen;
mod client_attacks;
mod connections;
mod connector;
mod crash;
mod deny;
mod doctor;
mod figures;
mod foreign;
mod forgets;
mod halves;
mod hand_in;
mod hearing;
mod holds;
mod house_rules;
mod journal;
mod keeper_memory;
mod ledger_service;
mod once;
mod overload;
mod own_adapter;
mod published;
mod real_servers;
mod refusals;
mod replay;
mod same_answer;
mod shared;
mod streams;
mod trust;
mod world;
