// SPDX-License-Identifier: EUPL-1.2
//! Every parser takes any bytes, never panics, and what it accepts of changed bytes is what was
//! signed. Bytes come from three sources: noise, valid bytes that were changed, and changed bytes
//! whose hashes and signatures were made right again (so that they reach the inner parser).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail; clippy knows only functions marked as tests"
)]

use std::sync::{Arc, LazyLock};

use einmal_protocol::{
    Digest, RequestId, batch,
    commitment::{Commitment, Slot},
    entropy::Entropy,
    envelope::payload_type,
    evidence,
    key::{PublicKey, SigningKey},
    leaf::{Leaf, LeafKind},
    merkle,
    note::{Checkpoint, LedgerKey},
    pad,
    permit::{Grants, Permit},
    person::{Person, idnr_is_valid, is_date},
    receipt::{self, Proven},
    record,
    request::Unverified,
    seal::{Aad, SealKind, SealingPrivateKey},
    time::DAY_MS,
    wire::v1::{
        self, AccessRecord, AskedRecord, Consistency, Envelope, FieldGrant, Initiation, Kem,
        Receipt, SignedRequest, UseRecord,
    },
};
use proptest::{collection::vec, prelude::*, sample::Index};
use prost::Message;

const ORIGIN: &str = "einmal.example/l";
const LEAVES: u64 = 11;
const SEEN: u64 = 5;

/// One valid specimen of everything that is parsed.
struct Specimens {
    key: SigningKey,
    keys: Vec<PublicKey>,
    sealing: [SealingPrivateKey; 2],
    aad: Aad,
    request: Vec<u8>,
    signed: Vec<u8>,
    commitment: Vec<u8>,
    permit: Vec<u8>,
    leaf: Leaf,
    seen: Checkpoint,
    ledger: LedgerKey,
    receipt: Receipt,
    person: Vec<u8>,
    sealed: [Vec<u8>; 2],
    evidence: Vec<u8>,
}

static VALID: LazyLock<Specimens> = LazyLock::new(Specimens::new);

impl Specimens {
    fn new() -> Self {
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let sealing = [Kem::X25519, Kem::XWing]
            .map(|kem| SealingPrivateKey::generate(kem, Entropy::new([2; 32])).unwrap());
        let aad = Aad::of_request(Digest::of(b"request"), 0);
        let person = person();
        let sealed = [0, 1].map(|n: usize| {
            let public = sealing[n].public();
            public.seal(SealKind::Person, &aad, &person, Entropy::new([3; 32])).unwrap()
        });
        let request = request(&sealing[0]);
        let others = [b"before".to_vec(), request.clone(), b"after".to_vec()];
        let signed = batch::sign("amt", &others, &key).unwrap()[1].encode_to_vec();
        let (seen, receipt, leaf) = logged(&key);
        let answer = v1::Evidence {
            request_digest: Digest::of(b"request").to_vec(),
            register: "standesamt".into(),
            ..v1::Evidence::default()
        };
        let reply = (&key, sealing[0].public());
        let digest = Digest::of(b"request");
        Self {
            evidence: evidence::seal(&answer, digest, 1024, reply, Entropy::new([4; 32])).unwrap(),
            commitment: commit(&key, commitment().to_payload()),
            permit: permit().bytes().to_vec(),
            ledger: LedgerKey::new(ORIGIN, key.public().clone()).unwrap(),
            keys: vec![key.public().clone()],
            key,
            sealing,
            aad,
            request,
            signed,
            leaf,
            seen,
            receipt,
            person,
            sealed,
        }
    }
}

fn person() -> Vec<u8> {
    let wire = v1::Person {
        idnr: "86095742719".into(),
        birth_date: "1990-02-28".into(),
        case_reference: "EG-1".into(),
        ..v1::Person::default()
    };
    Person::from_wire(wire).unwrap().to_plain([5; 32]).unwrap().to_vec()
}

fn request(reply: &SealingPrivateKey) -> Vec<u8> {
    v1::Request {
        id: RequestId::new(1_000_000, [1; 10]).as_bytes().to_vec(),
        authority: "amt".into(),
        ledger: ORIGIN.into(),
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
        retry_of: RequestId::new(999_000, [2; 10]).as_bytes().to_vec(),
    }
    .encode_to_vec()
}

fn commitment() -> Commitment {
    let slot = Slot { sealed_record: b"record".to_vec(), plain_digest: Digest::of(b"plain") };
    Commitment {
        request_digest: Digest::of(b"request"),
        permit_digest: Digest::of(b"permit"),
        day: 1,
        committed_at_ms: DAY_MS + 5,
        sealed_evidence_digest: Digest::of(b"evidence"),
        slots: vec![slot.clone(), slot],
    }
}

fn commit(key: &SigningKey, payload: Vec<u8>) -> Vec<u8> {
    Envelope::sign(payload_type::COMMITMENT, payload, &[key]).unwrap().encode_to_vec()
}

fn permit() -> Permit {
    let grant = FieldGrant { field: "birth_date".into(), policies: vec!["beeg-1".into()] };
    let [request, rules, directory] = [b"request".as_slice(), b"rules", b"dir"].map(Digest::of);
    Permit::new(request, rules, directory, Arc::new(Grants::new(vec![grant], true)))
}

/// The checkpoint seen before, a receipt for the eighth leaf, and that leaf.
fn logged(key: &SigningKey) -> (Checkpoint, Receipt, Leaf) {
    let leaf = |n: u64| Leaf::new(LeafKind::Exchange, 1, &n.to_be_bytes());
    let leaves: Vec<_> = (0..LEAVES).map(|n| leaf(n).to_bytes()).collect();
    let root = |range: merkle::Range| {
        let range = usize::try_from(range.begin).unwrap()..usize::try_from(range.end).unwrap();
        merkle::root(leaves[range].iter().map(<[u8; 38]>::as_slice))
    };
    let sign = |end| Checkpoint::sign(ORIGIN, end, root(merkle::Range { begin: 0, end }), key);
    let hashes = |plan: Option<Vec<merkle::Range>>| {
        plan.unwrap().into_iter().map(|range| root(range).to_vec()).collect()
    };
    let receipt = Receipt {
        index: 7,
        leaf: leaf(7).to_bytes().to_vec(),
        inclusion: hashes(merkle::plan_inclusion(7, LEAVES)),
        checkpoint: sign(LEAVES).unwrap().note().to_owned(),
        consistency: Some(Consistency {
            from_size: SEEN,
            path: hashes(merkle::plan_consistency(SEEN, LEAVES)),
        }),
    };
    (sign(SEEN).unwrap(), receipt, leaf(7))
}

/// One change to some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(Index, u8),
    Cut(Index, u8),
    Insert(Index, Vec<u8>),
    End(Index),
    Repeat(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<Index>;
    let change = prop_oneof![
        4 => (at(), 1..=255_u8).prop_map(|(at, mask)| Change::Flip(at, mask)),
        1 => (at(), 1..=40_u8).prop_map(|(at, count)| Change::Cut(at, count)),
        2 => (at(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => at().prop_map(Change::End),
        1 => (at(), 1..=80_u8).prop_map(|(at, count)| Change::Repeat(at, count)),
    ];
    vec(change, 1..4)
}

fn changed(valid: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for change in changes {
        let place = |index: &Index| index.index(bytes.len() + 1);
        match change {
            Change::Flip(index, mask) => {
                let at = place(index);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= mask;
                }
            }
            Change::Cut(index, count) => {
                let begin = place(index);
                let end = bytes.len().min(begin + usize::from(*count));
                bytes.drain(begin..end);
            }
            Change::Insert(index, more) => {
                let at = place(index);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::End(index) => bytes.truncate(place(index)),
            Change::Repeat(index, count) => {
                let begin = place(index);
                let end = bytes.len().min(begin + usize::from(*count));
                let again = bytes[begin..end].to_vec();
                bytes.splice(end..end, again);
            }
        }
    }
    bytes
}

/// Hands some bytes to every parser. What is accepted has one form and keeps its promises.
fn feed(bytes: &[u8]) {
    let valid = &*VALID;
    if let Ok(read) = Unverified::parse(bytes) {
        assert!(read.request.fields.is_sorted() && !read.request.fields.is_empty());
        let _ = read.request.check_time(0);
        let _ = read.request.check_time(u64::MAX);
        let _ = read.membership.verify(&valid.keys);
    }
    let _ = Envelope::parse(bytes).map(|envelope| envelope.verified("t", &valid.keys).is_ok());
    let _ = Commitment::verify(bytes, &valid.keys);
    if let Ok(permit) = Permit::parse(bytes) {
        assert_eq!(permit.bytes(), bytes);
        let zero = Digest::from([0; 32]);
        assert!(permit.request_digest() != zero || bytes.windows(32).any(|part| part == [0; 32]));
    }
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(leaf.to_bytes(), bytes);
    }
    if let Ok(id) = RequestId::parse(bytes) {
        assert_eq!(id.as_bytes(), bytes);
    }
    if let Ok(message) = pad::unpad(bytes) {
        let salt = bytes[..32].try_into().unwrap();
        assert_eq!(pad::pad(salt, message, bytes.len()).unwrap().as_slice(), bytes);
    }
    if let Ok(person) = Person::from_plain(bytes) {
        let subject = person.query.to_subject();
        assert!(is_date(&subject.birth_date));
        assert!(!person.query.uses_idnr() || idnr_is_valid(&subject.idnr));
    }
    let _ = record::parse::<AccessRecord>(bytes);
    let _ = record::parse::<AskedRecord>(bytes);
    let _ = record::parse::<UseRecord>(bytes);
    for key in &valid.sealing {
        let _ = key.open(SealKind::Person, &valid.aad, bytes);
    }
    let _ = evidence::open(bytes, Digest::of(b"request"), &valid.sealing[0], &valid.keys);
    if let Ok(receipt) = Receipt::decode(bytes) {
        let _ = prove(&receipt);
    }
    read_text(&String::from_utf8_lossy(bytes));
}

fn read_text(text: &str) {
    if let Ok(checkpoint) = Checkpoint::parse(text, &VALID.ledger) {
        assert_eq!((checkpoint.note(), checkpoint.origin()), (text, ORIGIN));
    }
    if let Ok(key) = LedgerKey::parse(text) {
        assert_eq!(LedgerKey::parse(&key.to_string()), Ok(key));
    }
    let _ = idnr_is_valid(text);
    let _ = is_date(text);
    let _ = Digest::from_hex(text);
}

fn prove(receipt: &Receipt) -> Option<Proven> {
    receipt::verify(receipt, VALID.leaf, &VALID.ledger, Some(&VALID.seen)).ok()
}

fn settings() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) }
}

#[test]
fn the_specimens_are_valid() {
    let valid = &*VALID;
    let read = Unverified::parse(&valid.signed).unwrap();
    assert_eq!(read.membership.verify(&valid.keys), Ok(()));
    assert_eq!(Commitment::verify(&valid.commitment, &valid.keys), Ok(commitment()));
    assert!(Permit::parse(&valid.permit).is_ok() && prove(&valid.receipt).is_some());
    assert!(Person::from_plain(&valid.person).is_ok());
    for (key, sealed) in valid.sealing.iter().zip(&valid.sealed) {
        let opened = key.open(SealKind::Person, &valid.aad, sealed).unwrap();
        assert_eq!(*opened, valid.person);
    }
    let digest = Digest::of(b"request");
    assert!(evidence::open(&valid.evidence, digest, &valid.sealing[0], &valid.keys).is_ok());
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn noise_is_read_by_nobody_and_harms_nobody(bytes in vec(any::<u8>(), 0..600)) {
        feed(&bytes);
        prop_assert!(Unverified::parse(&bytes).is_err());
        prop_assert!(Commitment::verify(&bytes, &VALID.keys).is_err());
    }

    #[test]
    fn any_text_harms_nobody(
        text in "(\\PC|\\n){0,200}",
        lines in "([a-z+/=0-9. —]|\\n){0,200}",
    ) {
        read_text(&text);
        read_text(&lines);
        read_text(&format!("{ORIGIN}\n{lines}\n\n— {ORIGIN} {text}\n"));
    }

    #[test]
    fn changed_bytes_harm_nobody(which in 0_usize..8, changes in changes()) {
        let valid = &*VALID;
        let receipt = valid.receipt.encode_to_vec();
        let leaf = valid.leaf.to_bytes();
        let specimens = [
            valid.signed.as_slice(),
            valid.commitment.as_slice(),
            valid.permit.as_slice(),
            leaf.as_slice(),
            receipt.as_slice(),
            valid.person.as_slice(),
            valid.receipt.checkpoint.as_bytes(),
            valid.evidence.as_slice(),
        ];
        feed(&changed(specimens[which], &changes));
        let ledger = changed(valid.ledger.to_string().as_bytes(), &changes);
        read_text(&String::from_utf8_lossy(&ledger));
    }

    /// Changed first, then signed: the parsers behind the signature meet the change.
    #[test]
    fn a_signer_who_is_hostile_harms_nobody(changes in changes()) {
        let valid = &*VALID;
        let request = changed(&valid.request, &changes);
        feed(&batch::sign("amt", &[request], &valid.key).unwrap()[0].encode_to_vec());
        feed(&commit(&valid.key, changed(&commitment().to_payload(), &changes)));
        let batch = SignedRequest::decode(valid.signed.as_slice()).unwrap().batch.unwrap();
        let root = changed(&batch.payload, &changes);
        let batch = Envelope::sign(payload_type::BATCH, root, &[&valid.key]).unwrap();
        let signed = SignedRequest::decode(valid.signed.as_slice()).unwrap();
        feed(&SignedRequest { batch: Some(batch), ..signed }.encode_to_vec());
        let message = changed(pad::unpad(&valid.person).unwrap(), &changes);
        feed(&pad::pad([0; 32], &message, 2048).unwrap());
    }

    #[test]
    fn a_request_that_verifies_is_the_one_that_was_signed(changes in changes()) {
        let bytes = changed(&VALID.signed, &changes);
        if let Ok(read) = Unverified::parse(&bytes)
            && read.membership.verify(&VALID.keys).is_ok()
        {
            let signed = SignedRequest::decode(bytes.as_slice()).unwrap();
            prop_assert_eq!(&signed.request, &VALID.request);
            let digest = merkle::leaf_hash(&VALID.request);
            prop_assert_eq!(read.request.digest, digest);
            prop_assert_eq!(read.membership.request_digest, digest);
        }
    }

    #[test]
    fn what_verifies_is_what_was_signed(changes in changes()) {
        let valid = &*VALID;
        if let Ok(read) = Commitment::verify(&changed(&valid.commitment, &changes), &valid.keys) {
            prop_assert_eq!(read, commitment());
        }
        let note = changed(valid.receipt.checkpoint.as_bytes(), &changes);
        if let Ok(read) = Checkpoint::parse(&String::from_utf8_lossy(&note), &valid.ledger) {
            let good = Checkpoint::parse(&valid.receipt.checkpoint, &valid.ledger).unwrap();
            prop_assert_eq!((read.size(), read.root()), (good.size(), good.root()));
        }
        let bytes = changed(&valid.receipt.encode_to_vec(), &changes);
        if let Ok(receipt) = Receipt::decode(bytes.as_slice())
            && let Some(proven) = prove(&receipt)
        {
            prop_assert_eq!((proven.index(), proven.leaf()), (7, valid.leaf));
            prop_assert_eq!(proven.checkpoint().size(), LEAVES);
        }
        for (key, sealed) in valid.sealing.iter().zip(&valid.sealed) {
            if let Ok(plain) = key.open(SealKind::Person, &valid.aad, &changed(sealed, &changes)) {
                prop_assert_eq!(plain.as_slice(), valid.person.as_slice());
            }
        }
    }

    #[test]
    fn no_path_at_random_proves_anything(
        sizes in (any::<u64>(), any::<u64>(), 0..=64_u32),
        small in (0_u64..40, 0_u64..40),
        path in vec(any::<[u8; 32]>(), 0..70),
        roots in any::<[[u8; 32]; 2]>(),
    ) {
        let path: Vec<Digest> = path.into_iter().map(Digest::from).collect();
        let [old_root, new_root] = roots.map(Digest::from);
        let (old, new, shift) = sizes;
        let shifted = (old.checked_shr(shift).unwrap_or(0), new.checked_shr(shift).unwrap_or(0));
        for (old, new) in [(old, new), shifted, small, (old, u64::MAX), (0, new), (old, old)] {
            for path in [&path[..], &[]] {
                let consistent = merkle::verify_consistency((old, old_root), (new, new_root), path);
                prop_assert!(!consistent, "{} {}", old, new);
                if let Some(root) = merkle::root_from_inclusion(old_root, old, new, path) {
                    prop_assert!(old < new && (new == 1 || root != old_root));
                    let plan = merkle::plan_inclusion(old, new).unwrap();
                    prop_assert_eq!(plan.len(), path.len());
                }
            }
        }
    }
}
