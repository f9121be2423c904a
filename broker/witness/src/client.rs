// SPDX-License-Identifier: EUPL-1.2
//! How a ledger asks a witness.

use std::sync::Arc;

use einmal_peer::http::{HttpAnswer, HttpClient, HttpError};
use einmal_protocol::{Digest, note::NOTE_MAX, note::decimal};
use http::StatusCode;

use crate::{request::AddCheckpoint, state::name_of};

/// What a witness says of its refusals is shown up to here, in bytes.
const TEXT_MAX: usize = 300;

/// One witness, as a ledger sees it. Its answers are verified by whoever uses them: cosignatures
/// with `einmal_protocol::cosignature::with_cosignatures`, notes with `Checkpoint::parse`.
#[derive(Clone, Debug)]
pub struct WitnessClient {
    http: Arc<HttpClient>,
    prefix: String,
}

/// What a witness said to a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessAnswer {
    /// Signature lines, not yet verified.
    Cosigned(String),
    /// It knows another size: prove from there.
    Conflict {
        /// This one.
        size: u64,
    },
    /// It does not cosign.
    Refused {
        /// The HTTP status: 403 and 404 speak of keys, 422 of the tree.
        status: u16,
        /// Its words, cut to length.
        text: String,
    },
}

/// A witness that gives no answer one can use.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClientError {
    /// No answer.
    #[error("the witness {prefix} does not answer: {error}")]
    Http {
        /// Which witness.
        prefix: String,
        /// Why not.
        error: HttpError,
    },
    /// An answer that the protocol does not have.
    #[error("the witness {prefix} answers what no witness would, with status {status}")]
    Answer {
        /// Which witness.
        prefix: String,
        /// The status.
        status: u16,
    },
}

impl WitnessClient {
    /// A witness by the URL before `/add-checkpoint`. The deadline is the client's.
    pub fn new(http: Arc<HttpClient>, prefix: &str) -> Self {
        Self { http, prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// The URL.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The newest note of a ledger that this witness cosigned, not yet verified; nothing where it
    /// never did.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn newest(&self, origin: &str) -> Result<Option<String>, ClientError> {
        let url = format!("{}/{}/checkpoint", self.prefix, name_of(origin));
        let answer = self.http.get(&url, NOTE_MAX).await.map_err(|error| self.silent(error))?;
        match answer.status {
            StatusCode::OK => match String::from_utf8(answer.body) {
                Ok(note) => Ok(Some(note)),
                Err(_) => Err(self.odd(answer.status)),
            },
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(self.odd(status)),
        }
    }

    /// Hands a checkpoint to the witness, with the proof that it extends the tree of `old_size`.
    ///
    /// # Errors
    /// Where it does not answer. It may have remembered the checkpoint all the same.
    pub async fn add_checkpoint(
        &self,
        old_size: u64,
        proof: &[Digest],
        note: &str,
    ) -> Result<WitnessAnswer, ClientError> {
        let request =
            AddCheckpoint { old_size, proof: proof.to_vec(), note: note.to_owned() }.to_string();
        let url = format!("{}/add-checkpoint", self.prefix);
        let answer = self
            .http
            .post(&url, "text/plain; charset=utf-8", request.into_bytes(), NOTE_MAX)
            .await
            .map_err(|error| self.silent(error))?;
        self.read(&answer)
    }

    fn read(&self, answer: &HttpAnswer) -> Result<WitnessAnswer, ClientError> {
        let text = String::from_utf8_lossy(&answer.body);
        match answer.status {
            StatusCode::OK => Ok(WitnessAnswer::Cosigned(text.into_owned())),
            StatusCode::CONFLICT => {
                let size = text.strip_suffix('\n').and_then(decimal);
                let size = size.filter(|_| answer.content_type == "text/x.tlog.size");
                let size = size.ok_or_else(|| self.odd(answer.status))?;
                Ok(WitnessAnswer::Conflict { size })
            }
            status if status.is_client_error() => {
                Ok(WitnessAnswer::Refused { status: status.as_u16(), text: shown(&text) })
            }
            status => Err(self.odd(status)),
        }
    }

    fn silent(&self, error: HttpError) -> ClientError {
        ClientError::Http { prefix: self.prefix.clone(), error }
    }

    fn odd(&self, status: StatusCode) -> ClientError {
        ClientError::Answer { prefix: self.prefix.clone(), status: status.as_u16() }
    }
}

/// A stranger's text, fit for a log line.
fn shown(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}
