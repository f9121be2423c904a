// SPDX-License-Identifier: EUPL-1.2
//! What stands in a journal: in the clear who asked for what and the receipt, which name no
//! person; sealed to the officer's key of the day whom it was about.
//!
//! These forms are stored for years, so they are pinned by golden bytes. Numbers are never given
//! to another meaning.

use einmal_protocol::{
    Digest,
    entropy::Entropy,
    pad,
    record::ACCESS_SIZE,
    seal::{Aad, SealError, SealKind, SealingPrivateKey, SealingPublicKey},
    wire::v1::{Outcome, Receipt, Subject, SubjectRole},
};
use prost::{Message, Oneof};
use zeroize::{Zeroize, Zeroizing};

/// The first frame of a file.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Head {
    /// The register.
    #[prost(string, tag = "1")]
    pub register: String,
    /// Days since 1970 (UTC).
    #[prost(uint32, tag = "2")]
    pub day: u32,
    /// The last frame's checksum of the file before; empty where there was none.
    #[prost(bytes = "vec", tag = "3")]
    pub previous: Vec<u8>,
}

/// Every other frame: what was made durable together.
#[derive(Clone, PartialEq, Message)]
pub struct Group {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<Item>,
}

/// One thing that is journalled.
#[derive(Clone, PartialEq, Message)]
pub struct Item {
    /// Which.
    #[prost(oneof = "What", tags = "1, 2, 3")]
    pub what: Option<What>,
}

/// What is journalled.
#[derive(Clone, PartialEq, Oneof)]
#[allow(clippy::large_enum_variant, reason = "almost all are exchanges; the others are rare")]
pub enum What {
    /// An exchange whose answer is about to leave.
    #[prost(message, tag = "1")]
    Exchange(Exchange),
    /// It did not leave after all.
    #[prost(message, tag = "2")]
    Withheld(Withheld),
    /// A commitment that no proof was given for.
    #[prost(message, tag = "3")]
    NotLogged(NotLogged),
}

/// An exchange. Written before its answer leaves.
#[derive(Clone, PartialEq, Message)]
pub struct Exchange {
    /// The request's id, 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub request_id: Vec<u8>,
    /// When this was written; UTC milliseconds.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
    /// Who asked.
    #[prost(string, tag = "3")]
    pub authority: String,
    /// Its name in the directory of that time.
    #[prost(string, tag = "4")]
    pub authority_name: String,
    /// For what.
    #[prost(string, tag = "5")]
    pub evidence_type: String,
    /// Why.
    #[prost(string, tag = "6")]
    pub purpose: String,
    /// The laws that the rules of that time name for the purpose.
    #[prost(string, repeated, tag = "7")]
    pub legal_basis: Vec<String>,
    /// Digest of the signed request: what the seal is bound to.
    #[prost(bytes = "vec", tag = "8")]
    pub request_digest: Vec<u8>,
    /// Through which broker.
    #[prost(string, tag = "9")]
    pub broker: String,
    /// Origin of the ledger.
    #[prost(string, tag = "10")]
    pub ledger: String,
    /// Its public key, name+hash+key, as the directory of that time had it.
    #[prost(string, tag = "11")]
    pub ledger_key: String,
    /// The proof that it is in that ledger; without a consistency proof.
    #[prost(message, optional, tag = "12")]
    pub receipt: Option<Receipt>,
    /// Bytes of a `Sealed` message: a padded [`Records`].
    #[prost(bytes = "vec", tag = "13")]
    pub sealed: Vec<u8>,
    /// The day whose key it is sealed to; days since 1970 (UTC).
    #[prost(uint32, tag = "14")]
    pub key_day: u32,
}

/// An exchange of this journal did not leave after all: it was denied meanwhile, or cancelled.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Withheld {
    /// The request's id.
    #[prost(bytes = "vec", tag = "1")]
    pub request_id: Vec<u8>,
    /// UTC milliseconds.
    #[prost(uint64, tag = "2")]
    pub at_ms: u64,
}

/// A commitment that was never proven to be logged. Nothing left.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NotLogged {
    /// Which broker did not.
    #[prost(string, tag = "1")]
    pub broker: String,
    /// Who asked.
    #[prost(string, tag = "2")]
    pub authority: String,
    /// UTC milliseconds.
    #[prost(uint64, tag = "3")]
    pub at_ms: u64,
}

/// Whom an exchange was about, and what left. Only ever sealed.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Records {
    /// The people who got an access record.
    #[prost(message, repeated, tag = "1")]
    pub people: Vec<Involved>,
    /// What was found.
    #[prost(enumeration = "Outcome", tag = "2")]
    pub outcome: i32,
    /// The fields that left.
    #[prost(string, repeated, tag = "3")]
    pub fields: Vec<String>,
    /// The authority's file number.
    #[prost(string, tag = "4")]
    pub case_reference: String,
}

/// Somebody.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub struct Involved {
    /// Who.
    #[prost(message, optional, tag = "1")]
    pub subject: Option<Subject>,
    /// Asked about, or named beside.
    #[prost(enumeration = "SubjectRole", tag = "2")]
    pub role: i32,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records(redacted)")
    }
}

impl std::fmt::Debug for Involved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Involved(redacted)")
    }
}

impl Records {
    /// Overwrites who is named.
    pub fn wipe(&mut self) {
        for subject in self.people.iter_mut().filter_map(|one| one.subject.as_mut()) {
            subject.idnr.zeroize();
            subject.birth_name.zeroize();
            subject.given_names.zeroize();
            subject.birth_date.zeroize();
            subject.birth_place.zeroize();
        }
        self.case_reference.zeroize();
    }
}

impl From<What> for Item {
    fn from(what: What) -> Self {
        Self { what: Some(what) }
    }
}

/// The plain size of records of an evidence type: one for all answers, so that the sealed length
/// does not say whether anybody was found, nor how many people the answer names.
fn size(slots: u32, length: usize) -> usize {
    let slots = slots as usize;
    let usual = 1024 + 512 * slots;
    // Each of them fitted an access record of its own, so all of them fit here.
    if length + pad::HEAD <= usual { usual } else { (slots + 1) * ACCESS_SIZE }
}

/// Seals records to the officer's key of the day.
///
/// # Errors
/// Where they do not fit, or the key is bad.
pub(crate) fn seal(
    records: &Records,
    (request, slots): (Digest, u32),
    key: &SealingPublicKey,
    entropy: Entropy,
) -> Result<Vec<u8>, SealError> {
    let (salt, seal) = entropy.fork();
    let encoded = Zeroizing::new(records.encode_to_vec());
    let plain = pad::pad(salt.into_stream().array(), &encoded, size(slots, encoded.len()))
        .map_err(|_| SealError::Form)?;
    key.seal(SealKind::JournalRecord, &Aad::of_request(request, 0), &plain, seal)
}

impl Exchange {
    /// Opens whom it was about, with the officer's key of its day. Nothing where it is another
    /// key, or the bytes were changed.
    pub fn open(&self, key: &SealingPrivateKey) -> Option<Records> {
        let request = Digest::try_from(self.request_digest.as_slice()).ok()?;
        let aad = Aad::of_request(request, 0);
        let plain = key.open(SealKind::JournalRecord, &aad, &self.sealed).ok()?;
        Records::decode(pad::unpad(&plain).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use einmal_protocol::wire::v1::Kem;

    use super::*;

    fn records(count: usize) -> Records {
        let subject = Subject { idnr: "12345678911".to_owned(), ..Subject::default() };
        let one = Involved { subject: Some(subject), role: SubjectRole::Asked.into() };
        Records {
            people: vec![one; count],
            outcome: Outcome::Found.into(),
            fields: vec!["address".to_owned()],
            case_reference: "E-1".to_owned(),
        }
    }

    /// Made once; what is stored today must be read in two years.
    #[test]
    fn golden_bytes() {
        let key = SealingPrivateKey::generate(Kem::XWing, Entropy::new([1; 32])).unwrap();
        let request = Digest::of(b"request");
        let sealed = seal(&records(1), (request, 3), key.public(), Entropy::new([2; 32])).unwrap();
        let exchange = Exchange {
            request_id: vec![7; 16],
            at_ms: 1_800_000_000_000,
            authority: "family-office".to_owned(),
            authority_name: "Elterngeldstelle".to_owned(),
            evidence_type: "birth".to_owned(),
            purpose: "parental-allowance".to_owned(),
            legal_basis: vec!["BEEG § 7".to_owned()],
            request_digest: request.to_vec(),
            broker: "b".to_owned(),
            ledger: "einmal.example/l".to_owned(),
            ledger_key: "k".to_owned(),
            receipt: Some(Receipt { index: 5, ..Receipt::default() }),
            sealed: sealed.clone(),
            key_day: 20_833,
        };
        assert!(exchange.open(&key) == Some(records(1)));
        let items = vec![
            What::Exchange(exchange).into(),
            What::Withheld(Withheld { request_id: vec![7; 16], at_ms: 1 }).into(),
            What::NotLogged(NotLogged {
                broker: "b".to_owned(),
                authority: "a".to_owned(),
                at_ms: 2,
            })
            .into(),
        ];
        let head = Head { register: "r".to_owned(), day: 20_833, previous: vec![9; 32] };
        let group = Group { items };
        let digests = [sealed, head.encode_to_vec(), group.encode_to_vec()]
            .map(|bytes| Digest::of(&bytes).to_hex());
        assert_eq!(digests.join("\n"), include_str!("../../tests/golden/journal.sha256").trim());
    }

    #[test]
    fn the_sealed_length_says_nothing_about_the_answer() {
        let key = SealingPrivateKey::generate(Kem::X25519, Entropy::new([1; 32])).unwrap();
        let length = |records: &Records| {
            let request = (Digest::of(b"r"), 3);
            seal(records, request, key.public(), Entropy::new([2; 32])).unwrap().len()
        };
        let nothing = Records { fields: Vec::new(), ..records(1) };
        assert_eq!(length(&records(3)), length(&nothing));
        let mut long = records(3);
        long.fields = vec!["f".repeat(100); 35];
        assert!(length(&long) > length(&nothing), "what is far too long has one size more");
    }
}
