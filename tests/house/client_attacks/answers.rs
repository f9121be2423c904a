// SPDX-License-Identifier: EUPL-1.2
//! The client returns values only where everything holds; else an error that says what does not.

use std::sync::Arc;

use einmal::demo::plan::{AUTHORITY, KEEPER};
use einmal_adapter_check::forgery::leaf_of;
use einmal_client::{Client, ClientError, ClientSetup, Prepared, Received};
use einmal_peer::{Clock, Tls, TlsFiles, files, random};
use einmal_protocol::{
    Digest,
    commitment::{Commitment, CommitmentError},
    envelope::{EnvelopeError, payload_type},
    evidence::{self, EvidenceError},
    key::SigningKey,
    leaf::Leaf,
    note::NoteError,
    receipt::ReceiptError,
    request::Unverified,
    wire::{
        evidence::v1::{RequestEvidenceRequest, RequestEvidenceResponse},
        v1::{
            Consistency, Envelope, Evidence, ExchangeBody, FieldGrant, FieldValue, Outcome, Permit,
            Receipt, Use,
        },
    },
};
use prost::Message;

use crate::{
    adapter_attacks::{
        double::Double,
        log::{self, Log},
    },
    refusals::dial,
    world::World,
};

const TYPE: &str = "residence-registration";
const REGISTER: &str = "meldebehoerde-bremen";
const OTHER_TYPE: &str = "marriage-certificate";
const OTHER_REGISTER: &str = "standesamt-bremen";

/// A client that has only the double to talk to, and true answers to its questions.
struct Stage {
    world: World,
    double: Double,
    client: Client,
    /// What the answers below are about.
    prepared: Prepared,
    truth: RequestEvidenceResponse,
    /// Another question to the same register, and its true answer.
    other: RequestEvidenceResponse,
    /// A question to another register, and its true answer.
    elsewhere: RequestEvidenceResponse,
}

pub(super) async fn connect(world: &World, double: &Double) -> Client {
    let folder = world.folder.path();
    let setup = ClientSetup {
        broker: format!("https://{}", double.address),
        tls: Tls::load(&TlsFiles {
            certificate: folder.join("pki/it-bremen.pem"),
            key: folder.join("pki/it-bremen.key"),
            authorities: folder.join("pki/ca.pem"),
            revocations: Vec::new(),
        })
        .unwrap(),
        root: files::envelope(&folder.join("trust/root.signed")).unwrap(),
        state: folder.join("client-of-double"),
        clock: Clock::system(),
        authority: AUTHORITY.to_owned(),
        identity: files::signing_key(&folder.join(format!("keys/{AUTHORITY}.key"))).unwrap(),
    };
    Client::connect(setup).await.unwrap()
}

/// What the real broker answers.
async fn record(world: &World, prepared: &Prepared, seen_size: u64) -> RequestEvidenceResponse {
    let request = RequestEvidenceRequest {
        signed_request: prepared.signed_request.clone(),
        sealed_person: prepared.sealed_person.clone(),
        seen_size,
    };
    dial(world, "it-bremen").request_evidence(request).await.unwrap().into_inner()
}

impl Stage {
    async fn start() -> Self {
        let world = World::start().await;
        let participants = [KEEPER, REGISTER, OTHER_REGISTER].map(str::to_owned);
        let cards = world.house.broker.broker.cards.envelopes(&participants);
        assert_eq!(cards.len(), participants.len());
        let listen = "127.0.0.1:0".parse().unwrap();
        let double = Double::start(&world.house.plan, listen, cards).await;
        let client = connect(&world, &double).await;
        let asks = [TYPE, OTHER_TYPE, TYPE].map(|evidence_type| world.ask(evidence_type));
        let prepared = client.prepare(&asks).await.unwrap();
        let mut answers = Vec::new();
        for prepared in &prepared {
            answers.push(record(&world, prepared, 0).await);
        }
        let prepared = prepared.into_iter().next_back().unwrap();
        let [other, elsewhere, truth] = <[_; 3]>::try_from(answers).unwrap();
        Self { world, double, client, prepared, truth, other, elsewhere }
    }

    fn key(&self, name: &str) -> SigningKey {
        let key = self.world.folder.path().join(format!("keys/{name}.key"));
        files::signing_key(&key).unwrap()
    }

    /// The true answer with another commitment, signed by that key.
    fn committed_by(
        &self,
        signer: &str,
        change: impl Fn(&mut Commitment),
    ) -> RequestEvidenceResponse {
        let keys = [self.key(REGISTER).public().clone()];
        let mut commitment = Commitment::verify(&self.truth.commitment, &keys).unwrap();
        change(&mut commitment);
        let signed =
            Envelope::sign(payload_type::COMMITMENT, commitment.to_payload(), &[&self.key(signer)]);
        RequestEvidenceResponse {
            commitment: signed.unwrap().encode_to_vec(),
            ..self.truth.clone()
        }
    }

    /// An answer of register and ledger together: committed to, logged, and yet not true.
    fn conspired(&self, sealed_evidence: Vec<u8>) -> RequestEvidenceResponse {
        let answer = self.committed_by(REGISTER, |commitment| {
            commitment.sealed_evidence_digest = Digest::of(&sealed_evidence);
        });
        let log = log::of_world(self.world.folder.path()).with(self.leaf(&answer));
        RequestEvidenceResponse { sealed_evidence, receipt: Some(log.last(0)), ..answer }
    }

    /// The leaf that an answer to our question must have.
    fn leaf(&self, answer: &RequestEvidenceResponse) -> Leaf {
        let keys = [self.key(REGISTER).public().clone()];
        let day = Commitment::verify(&answer.commitment, &keys).unwrap().day;
        let body = ExchangeBody {
            signed_request: self.prepared.signed_request.clone(),
            permit: answer.permit.clone(),
            commitment: answer.commitment.clone(),
        };
        leaf_of(&body, day)
    }

    /// Evidence that somebody signed, sealed as an answer to our question.
    fn evidence_by(&self, signer: &str, change: impl Fn(&mut Evidence)) -> Vec<u8> {
        let request = Unverified::parse(&self.prepared.signed_request).unwrap().request;
        let mut evidence = Evidence {
            request_digest: request.digest.to_vec(),
            register: REGISTER.to_owned(),
            outcome: Outcome::Found.into(),
            fields: vec![FieldValue {
                field: "family_name".to_owned(),
                json: "\"Weiß\"".to_owned(),
            }],
            answered_at_ms: 1,
        };
        change(&mut evidence);
        let keys = (&self.key(signer), &request.reply_key);
        let entropy = random::entropy().unwrap();
        evidence::seal(&evidence, request.digest, 2048, keys, entropy).unwrap()
    }

    fn with_permit(&self, change: impl Fn(&mut Permit)) -> RequestEvidenceResponse {
        let mut permit = Permit::decode(self.truth.permit.as_slice()).unwrap();
        change(&mut permit);
        RequestEvidenceResponse { permit: permit.encode_to_vec(), ..self.truth.clone() }
    }

    fn with_receipt(&self, receipt: impl Into<Option<Receipt>>) -> RequestEvidenceResponse {
        RequestEvidenceResponse { receipt: receipt.into(), ..self.truth.clone() }
    }

    fn true_receipt(&self) -> Receipt {
        self.truth.receipt.clone().unwrap()
    }

    /// A ledger with some past, in which our exchange stands last; its key is the true one.
    fn log(&self, past: u8) -> Log {
        let leaf = self.leaf(&self.truth);
        let past = (0..past).map(|number| Leaf { body: Digest::of(&[number]), ..leaf });
        log::of_world(self.world.folder.path()).of(past.chain([leaf]))
    }

    /// Each answer is refused for its own reason.
    async fn all_refused(&self, cases: Vec<Case>) {
        for (name, answer, expected) in cases {
            self.double.answer(answer);
            match self.client.send(&self.prepared).await {
                Ok(_) => panic!("{name}: taken"),
                Err(error) => assert!(expected(&error), "{name}: {error:?}"),
            }
        }
    }

    async fn taken(&self, answer: RequestEvidenceResponse) -> Received {
        self.double.answer(answer);
        let received = self.client.send(&self.prepared).await.unwrap();
        assert_eq!(received.outcome, Outcome::Found);
        assert!(!received.values.is_empty());
        received
    }
}

type Case = (&'static str, RequestEvidenceResponse, fn(&ClientError) -> bool);

macro_rules! error {
    ($($expected:tt)*) => {
        (|error| matches!(error, ClientError::$($expected)*)) as fn(&ClientError) -> bool
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_answer_can_be_exchanged() {
    let stage = Stage::start().await;
    let Stage { truth, other, elsewhere, .. } = &stage;
    let mut cases: Vec<Case> = Vec::new();
    let answer = |change: &dyn Fn(&mut RequestEvidenceResponse)| {
        let mut answer = truth.clone();
        change(&mut answer);
        answer
    };
    let widened = stage.with_permit(|permit| {
        let policies = permit.fields[0].policies.clone();
        permit.fields.push(FieldGrant { field: "religion".to_owned(), policies });
    });
    let ruled = stage.with_permit(|permit| permit.rules_digest = Digest::of(b"mine").to_vec());
    let permit = error!(Misbehaved("the permit is not what our own rules decide"));
    cases.push(("a wider permit", widened, permit));
    cases.push(("a permit of other rules", ruled, permit));
    cases.push(("another's permit", answer(&|a| a.permit.clone_from(&other.permit)), permit));
    cases.push(("no permit", answer(&|a| a.permit.clear()), permit));
    cases.push((
        "another request's commitment",
        answer(&|a| a.commitment.clone_from(&other.commitment)),
        error!(Commitment(CommitmentError::Other("request"))),
    ));
    let signature = error!(Commitment(CommitmentError::Envelope(EnvelopeError::Signature)));
    let elsewhere = answer(&|a| a.commitment.clone_from(&elsewhere.commitment));
    cases.push(("another register's commitment", elsewhere, signature));
    let signed = stage.committed_by(OTHER_REGISTER, |_| ());
    cases.push(("the commitment, signed by another register", signed, signature));
    cases.push((
        "a commitment to another permit",
        stage.committed_by(REGISTER, |c| c.permit_digest = Digest::of(b"mine")),
        error!(Commitment(CommitmentError::Other("permit"))),
    ));
    cases.push((
        "a record too few",
        stage.committed_by(REGISTER, |c| drop(c.slots.pop())),
        error!(Commitment(CommitmentError::Other("slots"))),
    ));
    cases.push((
        "another day",
        stage.committed_by(REGISTER, |c| c.day += 1),
        error!(Commitment(CommitmentError::Other("day"))),
    ));
    cases.push((
        "garbage for a commitment",
        answer(&|a| a.commitment = vec![0xff; 99]),
        error!(Commitment(_)),
    ));
    let uncommitted = error!(Misbehaved("the evidence is not the one committed to"));
    let swapped = answer(&|a| a.sealed_evidence.clone_from(&other.sealed_evidence));
    cases.push(("another's evidence", swapped, uncommitted));
    cases.push(("evidence cut short", answer(&|a| a.sealed_evidence.truncate(9)), uncommitted));
    let mine = stage.evidence_by(REGISTER, |_| ());
    let mine = answer(&|a| a.sealed_evidence.clone_from(&mine));
    cases.push(("later evidence of the register", mine, uncommitted));
    stage.all_refused(cases).await;
    stage.taken(truth.clone()).await;
    stage.world.house.stop().await;
}

/// Even where register and ledger conspire with the broker, what is not this register's answer
/// to this question is not taken.
#[tokio::test(flavor = "multi_thread")]
async fn committed_and_logged_evidence_must_still_be_this_register_s_answer() {
    let stage = Stage::start().await;
    let conspired = |signer: &str, change: &dyn Fn(&mut Evidence)| {
        stage.conspired(stage.evidence_by(signer, change))
    };
    let cases: Vec<Case> = vec![
        (
            "sealed for another request",
            stage.conspired(stage.other.sealed_evidence.clone()),
            error!(Evidence(EvidenceError::Seal(_))),
        ),
        (
            "signed by another register",
            conspired(OTHER_REGISTER, &|_| ()),
            error!(Evidence(EvidenceError::Envelope(EnvelopeError::Signature))),
        ),
        (
            "about another request",
            conspired(REGISTER, &|e| e.request_digest = Digest::of(b"other").to_vec()),
            error!(Evidence(EvidenceError::OtherRequest)),
        ),
        (
            "in another's name",
            conspired(REGISTER, &|e| e.register = OTHER_REGISTER.to_owned()),
            error!(Misbehaved("the evidence is another register's")),
        ),
        (
            "with a field more",
            conspired(REGISTER, &|e| e.fields[0].field = "religion".to_owned()),
            error!(Misbehaved("the evidence holds a field not asked for")),
        ),
        (
            "with a value that is none",
            conspired(REGISTER, &|e| e.fields[0].json = "{".to_owned()),
            error!(Misbehaved("a field's value is not JSON")),
        ),
    ];
    stage.all_refused(cases).await;
    stage.taken(conspired(REGISTER, &|_| ())).await;
    stage.world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_true_receipt_counts() {
    let stage = Stage::start().await;
    let other = stage.other.receipt.clone().unwrap();
    let honest = stage.log(4);
    let leaf = stage.true_receipt().leaf;
    let stranger = Arc::new(SigningKey::from_seed(&[7; 32]).unwrap());
    let forged = honest.clone().signed_by(stranger);
    let elsewhere = honest.clone().called("demo.einmal.example/ledger-2");
    let mine = honest.last(0);
    let inclusion = error!(Receipt(ReceiptError::Inclusion));
    let cases: Vec<Case> = vec![
        ("none", stage.with_receipt(None), error!(Misbehaved("no receipt"))),
        ("another's", stage.with_receipt(other.clone()), error!(Receipt(ReceiptError::OtherLeaf))),
        ("another's, said to be ours", stage.with_receipt(Receipt { leaf, ..other }), inclusion),
        (
            "of another index",
            stage.with_receipt(Receipt { index: mine.index - 1, ..mine.clone() }),
            inclusion,
        ),
        (
            "without a path",
            stage.with_receipt(Receipt { inclusion: Vec::new(), ..mine.clone() }),
            inclusion,
        ),
        (
            "with garbage for a path",
            stage.with_receipt(Receipt { inclusion: vec![vec![0; 5]], ..mine.clone() }),
            error!(Receipt(ReceiptError::Form)),
        ),
        (
            "with garbage for a checkpoint",
            stage.with_receipt(Receipt { checkpoint: "x".to_owned(), ..mine }),
            error!(Receipt(ReceiptError::Checkpoint(NoteError::Form))),
        ),
        (
            "signed by another key",
            stage.with_receipt(forged.last(0)),
            error!(Receipt(ReceiptError::Checkpoint(NoteError::Signature))),
        ),
        (
            "of another ledger",
            stage.with_receipt(elsewhere.last(0)),
            error!(Receipt(ReceiptError::Checkpoint(NoteError::OtherLedger { .. }))),
        ),
    ];
    stage.all_refused(cases).await;
    let received = stage.taken(stage.truth.clone()).await;
    // A report of use has a receipt of its own.
    for (receipt, expected) in [
        (None, "no receipt"),
        (stage.truth.receipt.clone(), "a receipt for another report"),
        (Some(stage.log(9).last(3)), "a receipt for another report"),
    ] {
        stage.double.use_receipt(receipt);
        let error = stage.client.report_use(&received, Use::Used).await.unwrap_err();
        assert!(matches!(error, ClientError::Misbehaved(what) if what == expected), "{error:?}");
    }
    stage.world.house.stop().await;
}

/// The ledger's own key signs both histories: who saw one takes no other, after a restart too.
#[tokio::test(flavor = "multi_thread")]
async fn a_forked_ledger_is_noticed() {
    let mut stage = Stage::start().await;
    let seen = stage.taken(stage.truth.clone()).await.proven.checkpoint().size();
    assert_eq!(seen, 3);
    for _ in 0..2 {
        let inconsistent = error!(Receipt(ReceiptError::Inconsistent { .. }));
        let unlinked = error!(Receipt(ReceiptError::NoConsistency { .. }));
        let smaller = Consistency { from_size: seen, path: Vec::new() };
        let smaller = Receipt { consistency: Some(smaller), ..stage.log(1).last(0) };
        let fork = |past, from| stage.with_receipt(stage.log(past).last(from));
        let cases: Vec<Case> = vec![
            ("a longer fork", fork(9, seen), inconsistent),
            ("not linked", fork(9, 0), unlinked),
            ("linked to an older tree", fork(9, seen - 1), unlinked),
            ("a smaller tree", stage.with_receipt(smaller), inconsistent),
            ("a smaller tree, not linked", fork(1, 0), unlinked),
        ];
        stage.all_refused(cases).await;
        stage.taken(stage.truth.clone()).await;
        stage.client.save().unwrap();
        stage.client = connect(&stage.world, &stage.double).await;
    }
    // Two roots of one size are proof enough: nothing of this ledger is believed any more.
    let fork = stage.with_receipt(stage.log(2).last(seen));
    let inconsistent = error!(Receipt(ReceiptError::Inconsistent { .. }));
    stage.all_refused(vec![("of the same size", fork, inconsistent)]).await;
    stage.client = connect(&stage.world, &stage.double).await;
    let truth = stage.truth.clone();
    stage.all_refused(vec![("the truth, after a fork", truth, error!(Forked(_)))]).await;
    stage.world.house.stop().await;
}
