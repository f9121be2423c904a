// SPDX-License-Identifier: EUPL-1.2
//! What can go wrong for an authority: a refusal, a fault, or an answer that does not hold.

use einmal_peer::{
    cards::CardsError, dial::DialError, files::FileError, random::NoRandomness, seen::TwoHistories,
    trust::TrustStoreError,
};
use einmal_policy::root::RootError;
use einmal_protocol::{
    Reason, batch::BatchError, commitment::CommitmentError, evidence::EvidenceError, key::KeyError,
    pad::PadError, reason::DOMAIN, receipt::ReceiptError, record::RecordError,
    request::RequestError, seal::SealError,
};
use tonic::Status;
use tonic_types::StatusExt;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The broker or the register refused, or failed, with a stable reason.
    #[error("{reason}: {message}")]
    Ended {
        /// The reason.
        reason: Reason,
        /// "broker", "register" or "ledger".
        hop: String,
        /// For people.
        message: String,
        /// Refused fields.
        fields: Vec<String>,
        /// The policies that refused them.
        policies: Vec<String>,
    },
    /// The broker could not be reached, or answered something that is no reason of ours.
    #[error("the broker does not answer: {}", .0.message())]
    Broker(Box<Status>),
    /// No broker answered in the time that there was.
    #[error("no broker answered in time")]
    Late,
    /// The answer breaks the protocol: an alarm, not a retry.
    #[error("alarm: {0}")]
    Misbehaved(&'static str),
    /// Not in the directory or the rules.
    #[error("there is no {what} `{id}` in the directory")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// Another key.
    #[error("the authority's identity key is not the one in the directory")]
    OtherKey,
    /// Rules or directory are over.
    #[error("the rules or the directory have expired; the register authority must publish anew")]
    Expired,
    /// All ledgers are closed.
    #[error("the directory names no open ledger")]
    NoOpenLedger,
    /// Not logged as it should be: an alarm.
    #[error("alarm: {0}")]
    Receipt(#[from] ReceiptError),
    /// The ledger forked: an alarm.
    #[error("alarm: {0}")]
    Forked(#[from] TwoHistories),
    /// Not the register's word: an alarm.
    #[error("alarm: {0}")]
    Commitment(#[from] CommitmentError),
    /// Not the register's evidence: an alarm.
    #[error("alarm: {0}")]
    Evidence(#[from] EvidenceError),
    /// A key card.
    #[error(transparent)]
    Cards(#[from] CardsError),
    /// Trust.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// The pinned root.
    #[error("the pinned root: {0}")]
    Root(#[from] RootError),
    /// Not an address.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The question cannot be signed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The question is malformed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The person's names and references are too long.
    #[error(transparent)]
    Pad(#[from] PadError),
    /// Sealing.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A key.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl ClientError {
    /// The stable reason, where the broker or the register gave one.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Ended { reason, .. } => Some(*reason),
            _ => None,
        }
    }
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN);
        let Some((info, reason)) = info.and_then(|info| Some((info, Reason::parse(&info.reason)?)))
        else {
            return Self::Broker(Box::new(status));
        };
        let list = |key: &str| -> Vec<String> {
            let text = info.metadata.get(key).map(String::as_str).unwrap_or_default();
            text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        Self::Ended {
            reason,
            hop: info.metadata.get("hop").cloned().unwrap_or_default(),
            message: status.message().to_owned(),
            fields: list("fields"),
            policies: list("policies"),
        }
    }
}
