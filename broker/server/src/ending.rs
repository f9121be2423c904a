// SPDX-License-Identifier: EUPL-1.2
//! When an adapter's stream has to end although nobody broke it: its certificate is over, its
//! operator may no longer carry for one of its registers, or its connection is old, so that every
//! certificate is looked at again. The adapter is told, and attaches anew; what is open ends as
//! usual.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_policy::Trust;
use tonic::Status;

use crate::{
    Broker, Limits,
    attachment::{Attachment, Course},
};

/// How often it is looked.
pub(crate) const LOOK: Duration = Duration::from_secs(1);
/// An adapter that is told to go has so long to attach anew before it is asked nothing more.
const ANEW: Duration = Duration::from_secs(10);

/// Watches one stream.
pub(crate) struct Ending {
    /// Under which its registers were looked at last.
    trust: Arc<Trust>,
    certificate_ends_at_ms: u64,
    /// From when on its connection is old.
    old_at: Instant,
    exchange: Duration,
    /// Why and when it was told to go.
    told: Option<(Why, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Certificate,
    MayNotCarry,
    Old,
}

impl Why {
    fn status(self) -> Status {
        match self {
            Self::Certificate => Status::unauthenticated(
                "your certificate is over: install a newer one, then attach again",
            ),
            Self::MayNotCarry => Status::permission_denied(
                "you may no longer carry for each of the registers: attach for the others",
            ),
            Self::Old => Status::unavailable("the connection is old: attach again"),
        }
    }
}

impl Ending {
    pub(crate) fn new(limits: &Limits, trust: Arc<Trust>, certificate_ends_at_ms: u64) -> Self {
        // Well before the connection itself is cut, and not all at one moment.
        let age = Duration::from_secs(limits.connection_age_s);
        let [jitter] = einmal_peer::random::bytes::<1>().unwrap_or([128]);
        let old = age / 2 + age / 4 * u32::from(jitter) / 256;
        let (old_at, exchange) = (Instant::now() + old, limits.exchange());
        Self { trust, certificate_ends_at_ms, old_at, exchange, told: None }
    }

    /// Looks whether the stream has to end, and tells the adapter.
    ///
    /// # Errors
    /// Where it is over now.
    pub(crate) fn look(&mut self, broker: &Broker, stream: &Attachment) -> Result<(), Status> {
        let now = Instant::now();
        match (self.why(broker, stream, now), self.told) {
            (Some(why), told)
                if told.is_none_or(|(told, _)| why == Why::Certificate && why != told) =>
            {
                tracing::info!(operator = stream.operator, ?why, "a stream is told to end");
                // What it may no longer carry for is not asked for in any case.
                stream.tell_to_go(Course::Retiring);
                self.told = Some((why, now));
            }
            _ => {}
        }
        let Some((why, since)) = self.told else { return Ok(()) };
        let patience = if why == Why::Certificate { Duration::ZERO } else { ANEW };
        if now < since + patience {
            return Ok(());
        }
        stream.tell_to_go(Course::Draining);
        match now >= since + patience + self.exchange || stream.exchanges() == 0 {
            true => Err(why.status()),
            false => Ok(()),
        }
    }

    fn why(&mut self, broker: &Broker, stream: &Attachment, now: Instant) -> Option<Why> {
        if broker.clock.now_ms() >= self.certificate_ends_at_ms {
            return Some(Why::Certificate);
        }
        let trust = broker.trust.current();
        if !Arc::ptr_eq(&trust, &self.trust) {
            let may = |id: &Arc<str>| trust.directory.may_carry_for_register(&stream.operator, id);
            if !stream.registers.iter().all(may) {
                return Some(Why::MayNotCarry);
            }
            self.trust = trust;
        }
        (now >= self.old_at).then_some(Why::Old)
    }
}
