// SPDX-License-Identifier: EUPL-1.2
//! What every party that dials or listens shares: mTLS with SPIFFE identities, trust that is
//! fetched, verified, remembered and archived, key cards, and the last checkpoint seen; what
//! is told before any of it ends; and what operators watch.

pub mod archive;
pub mod cards;
pub mod certificate;
pub mod clock;
pub mod dial;
pub mod expiry;
pub mod figures;
pub mod files;
pub mod hand_in;
pub mod http;
pub mod identity;
pub mod keyfile;
pub mod listen;
mod live;
pub mod random;
pub mod reload;
mod seats;
pub mod seen;
pub mod tls;
pub mod trust;

pub use archive::Archive;
pub use cards::Cards;
pub use clock::Clock;
pub use hand_in::HandIn;
pub use identity::{PeerRole, SpiffeId};
pub use keyfile::{KeyFile, Passphrase};
pub use seen::Seen;
pub use tls::{Tls, TlsFiles};
pub use trust::TrustStore;
