// SPDX-License-Identifier: EUPL-1.2
//! `Debug` for messages that hold a person: their name and nothing else, so that no log line,
//! panic or error can carry one.

use std::fmt;

use crate::wire::{cockpit::v1 as cockpit, v1};

macro_rules! redacted {
    ($($message:ty),* $(,)?) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(redacted)"))
            }
        }
    )*};
}

redacted!(
    v1::Person,
    v1::Subject,
    v1::AccessRecord,
    v1::AskedRecord,
    v1::Evidence,
    v1::FieldValue,
    cockpit::ListRecordsRequest,
    cockpit::ListRecordsResponse,
    cockpit::SummarizeRecordsRequest,
    cockpit::LoginProof,
    cockpit::login_proof::Kind,
    cockpit::OidcProof,
    cockpit::Record,
    cockpit::ExportRecordRequest,
    cockpit::ExportRecordResponse,
    cockpit::ExportedRecord,
);
