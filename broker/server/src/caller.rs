// SPDX-License-Identifier: EUPL-1.2
//! Who is calling: the SPIFFE id of the connection, put there by the accept loop.

use std::time::{Duration, Instant};

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

/// When the caller stops waiting, where it says so (`grpc-timeout`).
pub fn until<T>(request: &Request<T>) -> Option<Instant> {
    let patience = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    Instant::now().checked_add(duration(patience)?)
}

/// How much time there is for what may take no longer than `limit`.
///
/// # Errors
/// Where the caller's is over.
pub fn time_left(until: Option<Instant>, limit: Duration) -> Result<Duration, Failure> {
    let left = until.map_or(limit, |until| until.saturating_duration_since(Instant::now()));
    if left < Duration::from_millis(1) { Err(is_gone()) } else { Ok(left.min(limit)) }
}

/// Nobody waits for the answer.
pub fn is_gone() -> Failure {
    let detail = "the caller's time was over, or it was gone; nothing was logged".to_owned();
    Failure::refused(Reason::DeadlineExceeded).with_detail(detail)
}

/// Up to eight digits and a unit.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_read_as_grpc_writes_them_and_nothing_else_is() {
        assert_eq!(duration("250m"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2S"), Some(Duration::from_secs(2)));
        assert_eq!(duration("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for wrong in ["", "S", "1", "-1S", "+1S", "123456789S", "1 S", "1s", "1\u{fc}"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
