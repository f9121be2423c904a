// SPDX-License-Identifier: EUPL-1.2
//! What the brokers of one ledger know of a request id: that it runs somewhere, that it ended, and
//! with which answer. A fast path only: that an id counts once is the ledger's to say (ONCE).

use std::{sync::Arc, time::Duration};

use einmal_protocol::{Digest, RequestId, wire::evidence::v1::RequestEvidenceResponse};
use prost::Message;

use super::{
    link::{Away, Link},
    names::{Kind, Names},
};

/// Removes a value, if it is still the one that was put there.
const REMOVE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

const RUNNING: u8 = 1;
const ENDED: u8 = 2;
const ANSWERED: u8 = 3;
const DIGEST_LEN: usize = 32;

/// Which request, byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
    pub authority: &'a str,
    /// Under which id.
    pub id: RequestId,
    /// What was signed.
    pub digest: Digest,
}

/// What is known of a request.
#[derive(Debug)]
pub enum Claim {
    /// Nobody else has it: it may run, and must be settled.
    First(Marker),
    /// The same bytes run at another broker.
    Running,
    /// The same bytes ended without an answer that could be given again.
    Ended,
    /// The same bytes were answered.
    Answered(Box<RequestEvidenceResponse>),
    /// Other bytes have this id.
    Other,
    /// Nothing that can be believed.
    Unknown,
}

/// The claim on a request, as it stands in Redis.
#[derive(Debug)]
pub struct Marker {
    name: String,
    sealed: Vec<u8>,
    digest: Digest,
}

/// How a claimed request ended.
#[derive(Clone, Copy, Debug)]
pub enum Settled<'a> {
    /// With this answer.
    Answered(&'a RequestEvidenceResponse),
    /// It is in the ledger, or may be, and there is no answer.
    Ended,
    /// Nothing was logged: it may be sent again.
    Dropped,
}

/// The requests of all brokers.
pub(super) struct Retries {
    pub(super) link: Arc<Link>,
    pub(super) names: Arc<Names>,
    /// How long an end is remembered.
    pub(super) life: Duration,
    /// How long a claim holds, should its broker vanish.
    pub(super) running: Duration,
    /// Longer answers are not kept.
    pub(super) answer_max: usize,
}

impl Retries {
    /// Claims a request, or learns what is known of it.
    pub(super) async fn claim(&self, asked: Asked<'_>) -> Result<Claim, Away> {
        let parts = [asked.authority.as_bytes(), asked.id.as_bytes().as_slice()];
        let name = self.names.name(Kind::Request, &parts);
        let sealed = self.names.seal(&name, &record(RUNNING, asked.digest, &[])).ok_or(Away)?;
        let mut set = redis::cmd("SET");
        set.arg(&name)
            .arg(sealed.as_slice())
            .arg("NX")
            .arg("GET")
            .arg("PX")
            .arg(millis(self.running));
        let there: Option<Vec<u8>> = self.link.ask(&set).await?;
        let Some(there) = there else {
            return Ok(Claim::First(Marker { name, sealed, digest: asked.digest }));
        };
        let known = self.names.open(&name, there).and_then(|record| read(&record, asked.digest));
        Ok(known.unwrap_or_else(|| {
            self.link.metrics.count("claim", "unbelievable");
            tracing::warn!("Redis holds what no broker of this ledger wrote: it is not believed");
            Claim::Unknown
        }))
    }

    /// Says how it ended.
    pub(super) async fn settle(&self, marker: &Marker, settled: Settled<'_>) -> Result<(), Away> {
        let Marker { name, sealed, digest } = marker;
        let record = match settled {
            Settled::Dropped => {
                let mut remove = redis::cmd("EVAL");
                remove.arg(REMOVE).arg(1).arg(name).arg(sealed.as_slice());
                return self.link.ask::<u64>(&remove).await.map(|_| ());
            }
            Settled::Answered(answer) if answer.encoded_len() <= self.answer_max => {
                record(ANSWERED, *digest, &answer.encode_to_vec())
            }
            Settled::Answered(_) | Settled::Ended => record(ENDED, *digest, &[]),
        };
        let sealed = self.names.seal(name, &record).ok_or(Away)?;
        let mut set = redis::cmd("SET");
        set.arg(name).arg(sealed.as_slice()).arg("PX").arg(millis(self.life));
        self.link.ask(&set).await
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

fn record(state: u8, digest: Digest, answer: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(1 + DIGEST_LEN + answer.len());
    record.push(state);
    record.extend_from_slice(digest.as_bytes());
    record.extend_from_slice(answer);
    record
}

/// What a record says of these bytes; nothing where it is none.
fn read(record: &[u8], digest: Digest) -> Option<Claim> {
    let (state, rest) = record.split_first()?;
    let (of, answer) = rest.split_at_checked(DIGEST_LEN)?;
    if of != digest.as_bytes() {
        return Some(Claim::Other);
    }
    match *state {
        RUNNING => Some(Claim::Running),
        ENDED => Some(Claim::Ended),
        ANSWERED => Some(Claim::Answered(Box::new(RequestEvidenceResponse::decode(answer).ok()?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_say_what_they_are_and_nothing_else_is_one() {
        let (own, other) = (Digest::of(b"own"), Digest::of(b"other"));
        let answer = RequestEvidenceResponse { permit: vec![1], ..Default::default() };
        let written = record(ANSWERED, own, &answer.encode_to_vec());
        let Some(Claim::Answered(read_again)) = read(&written, own) else { panic!("an answer") };
        assert_eq!(*read_again, answer);
        assert!(matches!(read(&written, other), Some(Claim::Other)));
        assert!(matches!(read(&record(RUNNING, own, &[]), own), Some(Claim::Running)));
        assert!(matches!(read(&record(ENDED, own, &[]), own), Some(Claim::Ended)));
        for bad in [record(9, own, &[]), record(ANSWERED, own, &[255]), vec![], vec![1; 20]] {
            assert!(read(&bad, own).is_none(), "{bad:?}");
        }
    }
}
