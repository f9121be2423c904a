// SPDX-License-Identifier: EUPL-1.2
//! The only error table: every failure as gRPC status with `google.rpc.ErrorInfo`.

use std::{collections::HashMap, time::Duration};

use einmal_protocol::{
    Reason,
    reason::{DOMAIN, Kind},
};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::exchange::Failure;

/// When to try again, where nobody knows better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The canonical code of a reason.
pub fn code(reason: Reason) -> Code {
    match reason.kind() {
        Kind::Malformed => Code::InvalidArgument,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Precondition => Code::FailedPrecondition,
        Kind::Exhausted => Code::ResourceExhausted,
        Kind::Exists => Code::AlreadyExists,
        Kind::Aborted => Code::Aborted,
        Kind::Unavailable => Code::Unavailable,
        Kind::Deadline => Code::DeadlineExceeded,
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let reason = failure.reason;
        let mut metadata = HashMap::from([
            ("hop".to_owned(), failure.hop.as_str().to_owned()),
            ("advice".to_owned(), reason.advice().to_owned()),
        ]);
        if !failure.fields.is_empty() {
            let fields: Vec<&str> = failure.fields.iter().map(|f| f.field.as_str()).collect();
            metadata.insert("fields".to_owned(), fields.join(","));
            let mut policies: Vec<&str> =
                failure.fields.iter().flat_map(|f| f.policies.iter().map(String::as_str)).collect();
            policies.sort_unstable();
            policies.dedup();
            metadata.insert("policies".to_owned(), policies.join(","));
        }
        let message = match &failure.detail {
            Some(detail) => format!("{}: {detail}", reason.message()),
            None => reason.message().to_owned(),
        };
        let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
        if reason.kind() == Kind::Exhausted {
            details.set_retry_info(Some(failure.retry_after.unwrap_or(RETRY_AFTER)));
        }
        Self::with_error_details(code(reason), message, details)
    }
}
