// SPDX-License-Identifier: EUPL-1.2
//! A request, parsed once at the door and valid from then on.

use prost::Message;

use crate::{
    batch::{self, Membership},
    digest::Digest,
    note::is_origin,
    request_id::RequestId,
    seal::{Aad, SealingPublicKey},
    time::{REQUEST_LIFE_MS, SKEW_MS},
    wire::v1::{self, Initiation, SignedRequest},
};

/// A signed request is at most this long.
pub const SIGNED_REQUEST_MAX: usize = 64 * 1024;
/// A sealed person is at most this long.
pub const SEALED_PERSON_MAX: usize = 4 * 1024;
/// A sealed asked record is at most this long: its one size, and the seal around it.
pub const ASKED_RECORD_MAX: usize = crate::record::ASKED_SIZE + 2 * 1024;
/// At most this many fields.
pub const FIELDS_MAX: usize = 64;

/// Whether a text may be an id of a participant, evidence type or purpose: lower-case letters,
/// digits, dot, underscore and hyphen, at most 128 of them, a letter or digit first.
pub fn is_id(text: &str) -> bool {
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 128
        && text.chars().next().is_some_and(lower)
        && text.chars().all(|c| lower(c) || matches!(c, '.' | '_' | '-'))
}

/// What an authority asks, well formed but not yet believed: the signature is checked by whoever
/// knows the authority's keys.
#[derive(Clone)]
pub struct Request {
    /// Its id, and with it the time.
    pub id: RequestId,
    /// Who asks.
    pub authority: String,
    /// Origin of the ledger that must log it.
    pub ledger: String,
    /// Who is asked.
    pub register: String,
    /// For what kind of evidence.
    pub evidence_type: String,
    /// Which fields; sorted, distinct, at least one.
    pub fields: Vec<String>,
    /// What for.
    pub purpose: String,
    /// On whose initiative; never unspecified.
    pub initiation: Initiation,
    /// Declared: the person is named by identification number.
    pub idnr_used: bool,
    /// Digest of the sealed person.
    pub sealed_person_digest: Digest,
    /// Where the evidence is sealed to.
    pub reply_key: SealingPublicKey,
    /// The authority's own record, sealed to the keeper.
    pub asked_record: Vec<u8>,
    /// The earlier request whose answer was lost.
    pub retry_of: Option<RequestId>,
    /// RFC 6962 leaf hash of the signed bytes.
    pub digest: Digest,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Request({} {})", self.authority, self.id)
    }
}

/// A request with its batch: what is left is to check the signature with the authority's keys.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// The request.
    pub request: Request,
    /// Its batch.
    pub membership: Membership,
}

impl Unverified {
    /// Reads the bytes of a `SignedRequest`.
    ///
    /// # Errors
    /// Where anything about it is malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > SIGNED_REQUEST_MAX {
            return Err(RequestError::TooLarge);
        }
        let signed = SignedRequest::decode(bytes).map_err(|_| RequestError::Form("bytes"))?;
        let membership = batch::membership(&signed)?;
        let request = Request::parse(&signed.request, membership.request_digest)?;
        if request.authority != membership.authority {
            return Err(RequestError::Form("authority"));
        }
        Ok(Self { request, membership })
    }
}

impl Request {
    fn parse(bytes: &[u8], digest: Digest) -> Result<Self, RequestError> {
        let wire = v1::Request::decode(bytes).map_err(|_| RequestError::Form("request"))?;
        let initiation = wire.initiation();
        let reply_kem = wire.reply_kem();
        for (name, value) in [
            ("authority", &wire.authority),
            ("register", &wire.register),
            ("evidence_type", &wire.evidence_type),
            ("purpose", &wire.purpose),
        ] {
            if !is_id(value) {
                return Err(RequestError::Form(name));
            }
        }
        if !is_origin(&wire.ledger) {
            return Err(RequestError::Form("ledger"));
        }
        let sorted = wire.fields.is_sorted_by(|a, b| a < b);
        if wire.fields.is_empty()
            || wire.fields.len() > FIELDS_MAX
            || !sorted
            || !wire.fields.iter().all(|field| is_id(field))
        {
            return Err(RequestError::Form("fields"));
        }
        if initiation == Initiation::Unspecified {
            return Err(RequestError::Form("initiation"));
        }
        if wire.asked_record.is_empty() || wire.asked_record.len() > ASKED_RECORD_MAX {
            return Err(RequestError::Form("asked_record"));
        }
        let retry_of = match wire.retry_of.as_slice() {
            [] => None,
            id => Some(RequestId::parse(id).map_err(|_| RequestError::Form("retry_of"))?),
        };
        Ok(Self {
            id: RequestId::parse(&wire.id).map_err(|_| RequestError::Form("id"))?,
            authority: wire.authority,
            ledger: wire.ledger,
            register: wire.register,
            evidence_type: wire.evidence_type,
            fields: wire.fields,
            purpose: wire.purpose,
            initiation,
            idnr_used: wire.idnr_used,
            sealed_person_digest: Digest::try_from(wire.sealed_person_digest.as_slice())
                .map_err(|_| RequestError::Form("sealed_person_digest"))?,
            reply_key: SealingPublicKey::new(reply_kem, &wire.reply_key)
                .map_err(|_| RequestError::Form("reply_key"))?,
            asked_record: wire.asked_record,
            retry_of,
            digest,
        })
    }

    /// What the sealed person and the asked record are bound to.
    pub fn aad(&self) -> Aad {
        Aad::before_request(self.id, &self.authority, &self.register, &self.ledger)
    }

    /// Whether the request is young enough, by this clock.
    ///
    /// # Errors
    /// Names both times where it is not.
    pub fn check_time(&self, now_ms: u64) -> Result<(), TimeError> {
        let issued_at_ms = self.id.issued_at_ms();
        if issued_at_ms > now_ms.saturating_add(SKEW_MS) {
            return Err(TimeError::Ahead { issued_at_ms, now_ms });
        }
        if now_ms > issued_at_ms.saturating_add(REQUEST_LIFE_MS) {
            return Err(TimeError::Expired { issued_at_ms, now_ms });
        }
        Ok(())
    }
}

/// Why bytes are not a request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RequestError {
    /// Over `SIGNED_REQUEST_MAX`.
    #[error("the signed request is larger than {SIGNED_REQUEST_MAX} bytes")]
    TooLarge,
    /// A part is malformed.
    #[error("`{0}` is missing or malformed")]
    Form(&'static str),
    /// The batch is.
    #[error(transparent)]
    Batch(#[from] batch::BatchError),
}

/// A request whose time does not fit.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TimeError {
    /// From the future by more than the skew.
    #[error("the request says {}, the clock here {}", crate::time::to_iso(*issued_at_ms), crate::time::to_iso(*now_ms))]
    Ahead {
        /// The request's time.
        issued_at_ms: u64,
        /// The time here.
        now_ms: u64,
    },
    /// Over five minutes old.
    #[error("the request says {}, the clock here {}", crate::time::to_iso(*issued_at_ms), crate::time::to_iso(*now_ms))]
    Expired {
        /// The request's time.
        issued_at_ms: u64,
        /// The time here.
        now_ms: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{entropy::Entropy, key::SigningKey, seal::SealingPrivateKey, wire::v1::Kem};

    fn wire() -> v1::Request {
        let reply = SealingPrivateKey::generate(Kem::X25519, Entropy::new([3; 32])).unwrap();
        v1::Request {
            id: RequestId::new(1_000_000, [1; 10]).as_bytes().to_vec(),
            authority: "amt".into(),
            ledger: "einmal.example/l".into(),
            register: "standesamt".into(),
            evidence_type: "birth-certificate".into(),
            fields: vec!["birth_date".into(), "given_names".into()],
            purpose: "parental-allowance".into(),
            initiation: Initiation::Application.into(),
            idnr_used: true,
            sealed_person_digest: Digest::of(b"sealed").to_vec(),
            reply_kem: Kem::X25519.into(),
            reply_key: reply.public().bytes().to_vec(),
            asked_record: b"sealed".to_vec(),
            retry_of: Vec::new(),
        }
    }

    fn parse(change: impl Fn(&mut v1::Request)) -> Result<Unverified, RequestError> {
        let mut request = wire();
        change(&mut request);
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let signed = batch::sign("amt", &[request.encode_to_vec()], &key).unwrap();
        Unverified::parse(&signed[0].encode_to_vec())
    }

    #[test]
    fn a_good_one_is_read() {
        assert!(parse(|_| ()).is_ok());
    }

    #[test]
    fn each_malformed_part_is_named() {
        type Change = fn(&mut v1::Request);
        let cases: [(&str, Change); 11] = [
            ("id", |r| r.id = vec![0; 16]),
            ("authority", |r| r.authority = "Amt".into()),
            ("authority", |r| r.authority = "other".into()),
            ("ledger", |r| r.ledger = "a b".into()),
            ("fields", |r| r.fields.clear()),
            ("fields", |r| r.fields.reverse()),
            ("fields", |r| r.fields = vec!["a".into(), "a".into()]),
            ("initiation", |r| r.initiation = 0),
            ("reply_key", |r| r.reply_kem = 9),
            ("asked_record", |r| r.asked_record.clear()),
            ("retry_of", |r| r.retry_of = vec![1]),
        ];
        for (part, change) in cases {
            assert_eq!(parse(change).err(), Some(RequestError::Form(part)), "{part}");
        }
        assert!(matches!(
            Unverified::parse(&vec![0; SIGNED_REQUEST_MAX + 1]),
            Err(RequestError::TooLarge)
        ));
    }

    #[test]
    fn five_minutes_old_and_two_ahead() {
        let request = parse(|_| ()).unwrap().request;
        assert_eq!(request.check_time(1_000_000 - SKEW_MS), Ok(()));
        assert!(matches!(
            request.check_time(1_000_000 - SKEW_MS - 1),
            Err(TimeError::Ahead { .. })
        ));
        assert_eq!(request.check_time(1_000_000 + REQUEST_LIFE_MS), Ok(()));
        assert!(matches!(
            request.check_time(1_000_001 + REQUEST_LIFE_MS),
            Err(TimeError::Expired { .. })
        ));
    }
}
