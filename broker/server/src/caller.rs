// SPDX-License-Identifier: EUPL-1.2
//! Who is calling: the SPIFFE id of the connection, put there by the accept loop.

use einmal_peer::{PeerRole, SpiffeId, listen::Peer};
use einmal_policy::Directory;
use einmal_protocol::Reason;
use tonic::Request;

use crate::exchange::Failure;

/// The caller of a request, in the trust domain of the root.
///
/// # Errors
/// Where the connection has no identity: the server is then wired wrongly.
pub fn of<T>(request: &Request<T>) -> Result<SpiffeId, Failure> {
    peer(request).map(|peer| peer.id)
}

/// The caller, and until when its certificate is good.
///
/// # Errors
/// As `of`.
pub fn peer<T>(request: &Request<T>) -> Result<Peer, Failure> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| Failure::refused(Reason::NotAnOperator))
}

/// The operator that calls.
///
/// # Errors
/// Where the caller is none, or is not in the directory.
pub fn operator(caller: &SpiffeId, directory: &Directory) -> Result<String, Failure> {
    if caller.role != PeerRole::Operator || !directory.has_operator(&caller.id) {
        return Err(Failure::refused(Reason::NotAnOperator));
    }
    Ok(caller.id.clone())
}

/// Whether the caller may read bodies of a ledger: its own keeper, or an auditor.
pub fn may_read_bodies(caller: &SpiffeId, directory: &Directory, origin: &str) -> bool {
    match caller.role {
        PeerRole::Cockpit => {
            directory.ledger(origin).is_some_and(|ledger| ledger.entry.keeper == caller.id)
        }
        PeerRole::Auditor => {
            directory.document().auditors.iter().any(|auditor| auditor.id == caller.id)
        }
        PeerRole::Operator | PeerRole::Broker | PeerRole::Pages => false,
    }
}
