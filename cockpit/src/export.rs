// SPDX-License-Identifier: EUPL-1.2
//! The file that a citizen takes home: one access with all that proves it, as JSON. `einmal
//! verify` reads the same form and checks it offline from a pinned root.
//!
//! What follows from other parts is not written twice, so that no file can contradict itself:
//! request, permit and refusal are read out of `body`, the access record out of `plain_record`.

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_protocol::{
    record,
    wire::{
        cockpit::v1::{ExportedRecord, Record},
        v1::{self, AccessRecord, Body, Envelope, Receipt, SignedRequest, Use, body},
    },
};
use prost::Message;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The only form there is so far.
pub const FORMAT: &str = "einmal-export-v1";
/// A file is at most this long.
pub const EXPORT_MAX: usize = 96 * 1024 * 1024;

/// Bytes, as Base64 with padding (RFC 4648 § 4) in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base64(pub Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The error must not repeat the text, which may be personal.
        BASE64_STANDARD.decode(text).map(Self).map_err(|_| D::Error::custom("not Base64"))
    }
}

/// One access with its proofs. How to check it: SHA-256 of `body` must stand in the last 32 bytes
/// of `receipt.leaf`; the leaf must lead to the root in `receipt.checkpoint` by
/// `receipt.inclusion` (RFC 6962); SHA-256 of `plain_record` must stand in slot `slot` of the
/// commitment in `body`; and all signatures must be by keys that `directory` names, which `roots`
/// vouch for.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportFile {
    /// Always "einmal-export-v1".
    pub format: String,
    /// The access in one sentence, for reading. Proves nothing.
    pub summary: String,
    /// "UNSPECIFIED" (not reported yet), "USED", "DISCARDED" or "NOTHING_FOUND".
    pub r#use: String,
    /// What the keeper found wrong: stable codes. Empty: nothing.
    pub findings: Vec<String>,
    /// UTC milliseconds since 1970.
    pub logged_at_ms: u64,
    /// Bytes of `einmal.protocol.v1.Body`, as logged.
    pub body: Base64,
    /// Padded bytes of `einmal.protocol.v1.AccessRecord`, whose digest the commitment names.
    /// Absent for a refusal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain_record: Option<Base64>,
    /// Which slot of the commitment `plain_record` belongs to.
    pub slot: u32,
    /// Proof that `body` is in the ledger.
    pub receipt: ExportReceipt,
    /// The roots, oldest first, as DSSE envelopes.
    pub roots: Vec<DsseEnvelope>,
    /// The rules under which it was decided: those that both roles signed, then those that only
    /// narrow; the last counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<DsseEnvelope>,
    /// The directory under which it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<DsseEnvelope>,
}

impl std::fmt::Debug for ExportFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ExportFile(redacted)")
    }
}

/// Proof that a body is in a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportReceipt {
    /// Position in the ledger.
    pub index: u64,
    /// The 38 bytes: version, kind, day, SHA-256 of the body.
    pub leaf: Base64,
    /// RFC 6962 inclusion path, leaf sibling first.
    pub inclusion: Vec<Base64>,
    /// A C2SP signed note.
    pub checkpoint: String,
}

/// An envelope in DSSE's own JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DsseEnvelope {
    /// What the payload is.
    pub payload_type: String,
    /// The signed bytes.
    pub payload: Base64,
    /// The signatures.
    pub signatures: Vec<DsseSignature>,
}

/// A signature in DSSE's own JSON form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DsseSignature {
    /// A hint: which key.
    pub keyid: String,
    /// The signature.
    pub sig: Base64,
}

impl From<Envelope> for DsseEnvelope {
    fn from(envelope: Envelope) -> Self {
        let signatures = envelope.signatures.into_iter();
        Self {
            payload_type: envelope.payload_type,
            payload: Base64(envelope.payload),
            signatures: signatures
                .map(|each| DsseSignature { keyid: each.key_id, sig: Base64(each.signature) })
                .collect(),
        }
    }
}

impl From<DsseEnvelope> for Envelope {
    fn from(envelope: DsseEnvelope) -> Self {
        let signatures = envelope.signatures.into_iter();
        Self {
            payload_type: envelope.payload_type,
            payload: envelope.payload.0,
            signatures: signatures
                .map(|each| v1::Signature { key_id: each.keyid, signature: each.sig.0 })
                .collect(),
        }
    }
}

impl ExportFile {
    /// From what the keeper says.
    ///
    /// # Errors
    /// Where record or receipt are missing.
    pub fn from_wire(export: ExportedRecord, summary: String) -> Result<Self, ExportError> {
        let record = export.record.ok_or(ExportError::Missing("record"))?;
        let receipt = export.receipt.ok_or(ExportError::Missing("receipt"))?;
        let use_name = record.r#use().as_str_name();
        Ok(Self {
            format: FORMAT.to_owned(),
            summary,
            r#use: use_name.strip_prefix("USE_").unwrap_or(use_name).to_owned(),
            findings: record.findings,
            logged_at_ms: record.logged_at_ms,
            body: Base64(export.body),
            plain_record: Some(Base64(export.plain_record)).filter(|plain| !plain.0.is_empty()),
            slot: export.slot,
            receipt: ExportReceipt {
                index: receipt.index,
                leaf: Base64(receipt.leaf),
                inclusion: receipt.inclusion.into_iter().map(Base64).collect(),
                checkpoint: receipt.checkpoint,
            },
            roots: export.roots.into_iter().map(Into::into).collect(),
            rules: export.rules.into_iter().map(Into::into).collect(),
            directory: export.directory.map(Into::into),
        })
    }

    /// As the keeper says it. Nothing is verified yet.
    ///
    /// # Errors
    /// Where the body or the plain record cannot be read.
    pub fn to_wire(&self) -> Result<ExportedRecord, ExportError> {
        let plain = self.plain_record.clone().unwrap_or_default().0;
        let access = match plain.as_slice() {
            [] => None,
            bytes => Some(
                record::parse::<AccessRecord>(bytes)
                    .map_err(|_| ExportError::Form("plain_record"))?,
            ),
        };
        let body = Body::decode(self.body.0.as_slice()).map_err(|_| ExportError::Form("body"))?;
        let (signed, permit, reason) = match body.kind.ok_or(ExportError::Form("body"))? {
            body::Kind::Exchange(body) => (body.signed_request, body.permit, String::new()),
            body::Kind::Refusal(body) => (body.signed_request, Vec::new(), body.reason),
            body::Kind::Use(_) | body::Kind::Notice(_) => return Err(ExportError::Form("body")),
        };
        let request = SignedRequest::decode(signed.as_slice())
            .map_err(|_| ExportError::Form("body"))?
            .request;
        let use_ =
            Use::from_str_name(&format!("USE_{}", self.r#use)).ok_or(ExportError::Form("use"))?;
        Ok(ExportedRecord {
            record: Some(Record {
                index: self.receipt.index,
                request,
                access,
                refusal_reason: reason,
                permit,
                r#use: use_.into(),
                logged_at_ms: self.logged_at_ms,
                findings: self.findings.clone(),
            }),
            body: self.body.0.clone(),
            plain_record: plain,
            slot: self.slot,
            receipt: Some(Receipt {
                index: self.receipt.index,
                leaf: self.receipt.leaf.0.clone(),
                inclusion: self.receipt.inclusion.iter().map(|hash| hash.0.clone()).collect(),
                checkpoint: self.receipt.checkpoint.clone(),
                consistency: None,
            }),
            roots: self.roots.iter().cloned().map(Into::into).collect(),
            rules: self.rules.iter().cloned().map(Into::into).collect(),
            directory: self.directory.clone().map(Into::into),
        })
    }

    /// The file, as JSON that people can look at.
    ///
    /// # Errors
    /// None that can happen; JSON is written to memory.
    pub fn to_json(&self) -> Result<String, ExportError> {
        serde_json::to_string_pretty(self).map_err(|_| ExportError::Form("json"))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Where it is too long or not an export. Says where, never what.
    pub fn parse(json: &str) -> Result<Self, ExportError> {
        if json.len() > EXPORT_MAX {
            return Err(ExportError::TooLong);
        }
        let file: Self = serde_json::from_str(json)
            .map_err(|error| ExportError::Json { line: error.line(), column: error.column() })?;
        if file.format != FORMAT {
            return Err(ExportError::Format);
        }
        Ok(file)
    }
}

/// Why something is not an export.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ExportError {
    /// Over `EXPORT_MAX`.
    #[error("the file is longer than {EXPORT_MAX} bytes")]
    TooLong,
    /// Not JSON of this form.
    #[error("the file is not an export: look at line {line}, column {column}")]
    Json {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// Of another version.
    #[error("the file's `format` is not `{FORMAT}`: use a program of its version")]
    Format,
    /// A part is malformed.
    #[error("`{0}` cannot be read")]
    Form(&'static str),
    /// A part is missing.
    #[error("the keeper left out `{0}`")]
    Missing(&'static str),
}
