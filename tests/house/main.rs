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
