// SPDX-License-Identifier: EUPL-1.2
//! Generated code: the messages and services as the `.proto` files define them.
//! `tests/codegen.rs` keeps them equal.
#![allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::pedantic,
    clippy::too_many_lines,
    unreachable_pub,
    reason = "generated; documented in the .proto files"
)]

/// Shared messages: what is signed, sealed and logged.
pub mod protocol {
    /// Version 1.
    pub mod v1 {
        include!("gen/einmal.protocol.v1.rs");
    }
}
/// What an authority calls.
pub mod evidence {
    /// Version 1.
    pub mod v1 {
        include!("gen/einmal.evidence.v1.rs");
    }
}
/// What an adapter dials.
pub mod register {
    /// Version 1.
    pub mod v1 {
        include!("gen/einmal.register.v1.rs");
    }
}
/// Bodies for keepers and auditors.
pub mod ledger {
    /// Version 1.
    pub mod v1 {
        include!("gen/einmal.ledger.v1.rs");
    }
}
/// Trust and key cards.
pub mod directory {
    /// Version 1.
    pub mod v1 {
        include!("gen/einmal.directory.v1.rs");
    }
}
/// Keeper and exports.
pub mod cockpit {
    /// Version 1.
    pub mod v1 {
        include!("gen/einmal.cockpit.v1.rs");
    }
}

pub use protocol::v1;

/// All files as a descriptor set, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/einmal.descriptors.bin");
