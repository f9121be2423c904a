// SPDX-License-Identifier: EUPL-1.2
//! Bounds of every server of ours, in one place: how many connections, of whom and from where, and
//! what HTTP/2 may do on each.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::{SpiffeId, listen::HANDSHAKES_MAX, random};

/// How often a peer is asked whether it still reads.
pub const PING_EVERY: Duration = Duration::from_secs(20);
/// Headers of one request together, CONTINUATION frames included: ours are under 1 KiB.
const HEADERS_MAX: u32 = 16 * 1024;
/// Streams that were reset before they were looked at; more end the connection.
const RESET_EARLY_MAX: usize = 20;
/// Streams that we had to reset because the peer broke the protocol; more end the connection.
const BROKEN_MAX: usize = 64;

/// Handshakes at once from one address: a quarter of all, so that whoever only connects keeps out
/// nobody who is elsewhere.
const GREETING_MAX: usize = HANDSHAKES_MAX / 4;

/// What one server bears.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Of them with one SPIFFE id.
    pub of_caller: usize,
    /// Of them, and handshakes, from one address.
    pub of_address: usize,
    /// Requests at once on one connection.
    pub streams: u32,
    /// Whoever does not answer a ping within half of this is gone, or reads nothing, and is cut.
    pub ping_every: Duration,
    /// A connection is told to go at this age, or up to a tenth later.
    pub age: Duration,
    /// And cut so much later.
    pub grace: Duration,
}

impl Bounds {
    /// An HTTP/2 server with all of them that concern a connection.
    pub fn server(&self) -> Server {
        Server::builder()
            .http2_keepalive_interval(Some(self.ping_every))
            .http2_keepalive_timeout(Some(self.ping_every / 2))
            .http2_max_header_list_size(HEADERS_MAX)
            .http2_max_pending_accept_reset_streams(Some(RESET_EARLY_MAX))
            .http2_max_local_error_reset_streams(Some(BROKEN_MAX))
            .max_concurrent_streams(self.streams)
            .max_connection_age(spread(self.age))
            .max_connection_age_grace(self.grace)
    }
}

/// Not the same at every server, so that not all that were started together are dialled anew
/// together.
fn spread(age: Duration) -> Duration {
    let hundredths = random::bytes::<1>().map_or(0, |[byte]| u32::from(byte) % 11);
    age * (100 + hundredths) / 100
}

/// Who is connected.
#[derive(Debug)]
pub(crate) struct Seats {
    bounds: Bounds,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    taken: HashMap<u64, Taken>,
    of_address: HashMap<IpAddr, usize>,
    /// Of them those that have not said who they are.
    greeting: HashMap<IpAddr, usize>,
    of_caller: HashMap<String, usize>,
}

#[derive(Debug)]
struct Taken {
    chain: Vec<CertificateDer<'static>>,
    caller: SpiffeId,
    cut: CancellationToken,
}

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    taken: Option<(u64, String)>,
    /// Ends the connection.
    pub(crate) cut: CancellationToken,
}

impl Seats {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { bounds, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // What is changed under it is changed as a whole.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody who has not said yet who they are; nothing where too many come from there.
    pub(crate) fn come(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let mut held = self.held();
        if !count(&mut held.greeting, address, GREETING_MAX) {
            return None;
        }
        if !count(&mut held.of_address, address, self.bounds.of_address) {
            uncount(&mut held.greeting, &address);
            return None;
        }
        let (seats, cut) = (Arc::clone(self), CancellationToken::new());
        Some(Seat { seats, address, taken: None, cut })
    }

    /// Cuts everybody who would not be let in any more.
    pub(crate) fn look_again<E: std::fmt::Display>(
        &self,
        accepts: impl Fn(&[CertificateDer<'static>]) -> Result<(), E>,
    ) {
        for taken in self.held().taken.values() {
            if let Err(error) = accepts(&taken.chain) {
                tracing::warn!(peer = %taken.caller, %error, "a connection is cut");
                taken.cut.cancel();
            }
        }
    }
}

impl Seat {
    /// They have said who they are.
    pub(crate) fn take(
        &mut self,
        caller: &SpiffeId,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<(), &'static str> {
        let mut held = self.seats.held();
        if held.taken.len() >= self.seats.bounds.connections {
            return Err("too many connections");
        }
        let name = caller.to_string();
        if !count(&mut held.of_caller, name.clone(), self.seats.bounds.of_caller) {
            return Err("too many connections of this caller");
        }
        uncount(&mut held.greeting, &self.address);
        let id = held.next;
        held.next += 1;
        let taken = Taken { chain, caller: caller.clone(), cut: self.cut.clone() };
        held.taken.insert(id, taken);
        self.taken = Some((id, name));
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.seats.held();
        uncount(&mut held.of_address, &self.address);
        if let Some((id, name)) = &self.taken {
            held.taken.remove(id);
            uncount(&mut held.of_caller, name);
        } else {
            uncount(&mut held.greeting, &self.address);
        }
    }
}

/// One more, where there may be.
fn count<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, max: usize) -> bool {
    let count = counts.entry(key).or_default();
    let is_free = *count < max;
    *count += usize::from(is_free);
    is_free
}

fn uncount<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(id: &str) -> SpiffeId {
        SpiffeId {
            trust_domain: "example".to_owned(),
            role: crate::PeerRole::Operator,
            id: id.to_owned(),
        }
    }

    #[test]
    fn seats_are_bounded_in_total_by_caller_and_by_address_and_come_back() {
        let age = Duration::from_secs(1);
        let bounds = Bounds {
            connections: 3,
            of_caller: 2,
            of_address: 4,
            streams: 1,
            ping_every: age,
            age,
            grace: age,
        };
        let seats = Arc::new(Seats::new(bounds));
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut held: Vec<Seat> = (0..4).map(|_| seats.come(here).unwrap()).collect();
        assert!(seats.come(here).is_none());
        held.push(seats.come(there).unwrap());
        held[0].take(&caller("a"), Vec::new()).unwrap();
        held[1].take(&caller("a"), Vec::new()).unwrap();
        held[2].take(&caller("a"), Vec::new()).unwrap_err();
        held[2].take(&caller("b"), Vec::new()).unwrap();
        held[3].take(&caller("c"), Vec::new()).unwrap_err();
        // Cut are those who would not be let in any more.
        seats.look_again(|_| Err("revoked"));
        assert_eq!(held.iter().filter(|seat| seat.cut.is_cancelled()).count(), 3);
        drop(held);
        let left = |seats: &Seats| {
            let held = seats.held();
            (held.taken.len(), held.of_address.len(), held.greeting.len(), held.of_caller.len())
        };
        assert_eq!(left(&seats), (0, 0, 0, 0));
        // Who says nothing has a quarter of all handshakes, and those who speak are not counted.
        let wide = Bounds { of_address: 10_000, ..seats.bounds.clone() };
        let seats = Arc::new(Seats::new(wide));
        let mut silent: Vec<Seat> = std::iter::from_fn(|| seats.come(here)).collect();
        assert_eq!(silent.len(), GREETING_MAX);
        silent[0].take(&caller("a"), Vec::new()).unwrap();
        silent.push(seats.come(here).unwrap());
        assert!(seats.come(here).is_none() && seats.come(there).is_some());
        drop(silent);
        assert_eq!(left(&seats), (0, 0, 0, 0));
    }
}
