// SPDX-License-Identifier: EUPL-1.2
//! What the pages say about a proof. They check it themselves, with the ledger's key that they
//! were given and the newest checkpoint that they ever saw: not the keeper's word.

use std::sync::{Mutex, PoisonError};

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_protocol::{
    Digest,
    digest::hex,
    leaf::Leaf,
    merkle,
    note::{Checkpoint, LedgerKey},
    receipt,
    wire::cockpit::v1::ExportedRecord,
};
use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ProofState {
    /// It stands in the ledger, unchanged.
    Good,
    /// There is no proof, or it cannot be read.
    Missing,
    /// The ledger did not sign this checkpoint.
    NotSigned,
    /// The checkpoint is older than one that these pages saw before.
    RolledBack,
    /// Two checkpoints of one size that differ.
    Forked,
    /// The entry is another one, or stands elsewhere.
    Wrong,
}

/// What the pages show of a proof.
#[derive(Serialize)]
pub(crate) struct ProofView {
    pub(crate) verified: bool,
    pub(crate) state: ProofState,
    pub(crate) ledger: String,
    pub(crate) index: u64,
    pub(crate) checkpoint_size: u64,
    pub(crate) checkpoint_root: String,
    #[serde(skip)]
    pub(crate) root_base64: String,
    #[serde(skip)]
    pub(crate) leaf_hash: String,
    #[serde(skip)]
    pub(crate) body_hash: String,
    #[serde(skip)]
    pub(crate) steps: Vec<Step>,
}

/// One step from the leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The sibling, as Base64.
    pub(crate) sibling: String,
    /// Whether it stands on the left.
    pub(crate) is_left: bool,
}

/// The newest checkpoint that these pages saw. A ledger that goes back is found out, whoever
/// looks.
#[derive(Default)]
pub(crate) struct Newest(Mutex<Option<(u64, Digest)>>);

impl Newest {
    /// The newest of now: what is asked for after this must be no older.
    pub(crate) fn floor(&self) -> Option<(u64, Digest)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, size: u64, root: Digest) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.is_none_or(|(known, _)| size > known) {
            *newest = Some((size, root));
        }
    }
}

/// Checks a proof here and now.
pub(crate) fn prove(
    export: &ExportedRecord,
    ledger: &LedgerKey,
    newest: &Newest,
    floor: Option<(u64, Digest)>,
) -> ProofView {
    let mut view = ProofView {
        verified: false,
        state: ProofState::Missing,
        ledger: ledger.name().to_owned(),
        index: export.record.as_ref().map(|record| record.index).unwrap_or_default(),
        checkpoint_size: 0,
        checkpoint_root: String::new(),
        root_base64: String::new(),
        leaf_hash: String::new(),
        body_hash: hex(Digest::of(&export.body).as_bytes()),
        steps: Vec::new(),
    };
    view.state = check(export, ledger, newest, floor, &mut view).unwrap_or_else(|state| state);
    view.verified = view.state == ProofState::Good;
    view
}

fn check(
    export: &ExportedRecord,
    ledger: &LedgerKey,
    newest: &Newest,
    floor: Option<(u64, Digest)>,
    view: &mut ProofView,
) -> Result<ProofState, ProofState> {
    let receipt = export.receipt.as_ref().ok_or(ProofState::Missing)?;
    let checkpoint =
        Checkpoint::parse(&receipt.checkpoint, ledger).map_err(|_| ProofState::NotSigned)?;
    let (size, root) = (checkpoint.size(), checkpoint.root());
    view.checkpoint_size = size;
    view.checkpoint_root = hex(root.as_bytes());
    view.root_base64 = BASE64_STANDARD.encode(root.as_bytes());
    if floor.is_some_and(|(seen, _)| size < seen) {
        return Err(ProofState::RolledBack);
    }
    let known = newest.floor().into_iter().chain(floor);
    if known.into_iter().any(|(seen, other)| seen == size && other != root) {
        return Err(ProofState::Forked);
    }
    let leaf = Leaf::parse(&receipt.leaf).map_err(|_| ProofState::Wrong)?;
    let leaf = Leaf::new(leaf.kind, leaf.day, &export.body);
    view.leaf_hash = hex(leaf.hash().as_bytes());
    let proven = receipt::verify(receipt, leaf, ledger, None).map_err(|_| ProofState::Wrong)?;
    if proven.index() != view.index {
        return Err(ProofState::Wrong);
    }
    let ranges = merkle::plan_inclusion(receipt.index, size).ok_or(ProofState::Wrong)?;
    view.steps = receipt
        .inclusion
        .iter()
        .zip(ranges)
        .map(|(hash, range)| Step {
            sibling: BASE64_STANDARD.encode(hash),
            is_left: range.begin < receipt.index,
        })
        .collect();
    newest.note(size, root);
    Ok(ProofState::Good)
}

/// A ledger's key (Ed25519, always) as `openssl` reads it: the line within a PEM file.
pub(crate) fn openssl_key(ledger: &LedgerKey) -> String {
    /// SubjectPublicKeyInfo of an Ed25519 key, up to the key (RFC 8410).
    const HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0];
    let text = ledger.to_string();
    let key = text.rsplit_once('+').and_then(|(_, key)| BASE64_STANDARD.decode(key).ok());
    // The first byte says which kind of key.
    let key = key.as_deref().and_then(|key| key.split_first()).map(|(_, key)| key);
    BASE64_STANDARD.encode([HEAD.as_slice(), key.unwrap_or_default()].concat())
}

/// What anybody can type to check an export without a program of ours.
pub(crate) fn by_hand(proof: &ProofView, ledger: &LedgerKey) -> [String; 3] {
    let ProofView { index, .. } = proof;
    let first = format!(
        "f=einmal-{index}.json\n\
         field() {{ grep -m1 \"\\\"$1\\\":\" \"$f\" | cut -d'\"' -f4; }}\n\
         field body | openssl base64 -d -A | sha256sum | cut -c1-64\n\
         field leaf | openssl base64 -d -A | tail -c 32 | od -An -v -tx1 | tr -d ' \\n'; echo"
    );
    let mut second = "{ printf '\\000'; field leaf | openssl base64 -d -A; } \\\n  \
                      | openssl dgst -sha256 -binary > node\n\
                      sibling() { printf %s \"$1\" | openssl base64 -d -A; }\n\
                      up() { openssl dgst -sha256 -binary > next; mv next node; }"
        .to_owned();
    for Step { sibling, is_left } in &proof.steps {
        second.push_str(&if *is_left {
            format!("\n{{ printf '\\001'; sibling '{sibling}'; cat node; }} | up")
        } else {
            format!("\n{{ printf '\\001'; cat node; sibling '{sibling}'; }} | up")
        });
    }
    second.push_str(
        "\nprintf '%b' \"$(field checkpoint)\" > note\nopenssl base64 -in node\nsed -n 3p note",
    );
    let third = format!(
        "printf '%s\\n' '-----BEGIN PUBLIC KEY-----' \\\n  '{}' \\\n  \
         '-----END PUBLIC KEY-----' > ledger.pem\n\
         sed '/^$/,$d' note > text\n\
         grep -m1 '^— {} ' note | cut -d' ' -f3 | openssl base64 -d -A | tail -c 64 > signature\n\
         openssl pkeyutl -verify -pubin -inkey ledger.pem -rawin -in text -sigfile signature",
        openssl_key(ledger),
        ledger.name(),
    );
    [first, second, third]
}
