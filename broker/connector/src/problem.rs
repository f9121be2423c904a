// SPDX-License-Identifier: EUPL-1.2
//! Errors as applications get them (RFC 9457): a stable reason, the hop it happened at, and what to
//! do. Never anything of the person.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use einmal_client::ClientError;
use einmal_protocol::reason::{Kind, Reason};
use serde::Serialize;

/// Why a call did not give what it should.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Problem(Box<Told>);

/// What an application is told.
#[derive(Debug, Serialize)]
struct Told {
    /// "urn:einmal:reason:" and the reason.
    #[serde(rename = "type")]
    kind: String,
    /// HTTP status.
    status: u16,
    /// The stable reason.
    reason: String,
    /// "application", "connector", "broker", "register" or "ledger".
    hop: String,
    /// What went wrong.
    title: String,
    /// What to do.
    advice: String,
    /// Refused fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    /// The policies that refused them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policies: Vec<String>,
}

impl Problem {
    fn new(status: StatusCode, (reason, hop): (&str, &str), title: &str, advice: &str) -> Self {
        Self(Box::new(Told {
            kind: format!("urn:einmal:reason:{reason}"),
            status: status.as_u16(),
            reason: reason.to_owned(),
            hop: hop.to_owned(),
            title: title.to_owned(),
            advice: advice.to_owned(),
            fields: Vec::new(),
            policies: Vec::new(),
        }))
    }

    /// The call itself is wrong.
    pub(crate) fn malformed(title: &str) -> Self {
        let advice = "compare the call with /v1/openapi.json";
        Self::new(StatusCode::BAD_REQUEST, ("MALFORMED_CALL", "application"), title, advice)
    }

    /// No token, or one that nobody has.
    pub(crate) fn no_token() -> Self {
        let title = "the call carries no token that this connector knows";
        let advice = "send the header `Authorization: Bearer <token>`; `einmal connector token` \
                      makes one";
        Self::new(StatusCode::UNAUTHORIZED, ("UNKNOWN_TOKEN", "connector"), title, advice)
    }

    /// Not this application's to ask.
    pub(crate) fn not_yours(what: &str) -> Self {
        let title = format!("this application may not use that {what}");
        let advice = "have the connector's operator enter it for this application";
        let at = ("APPLICATION_MAY_NOT", "connector");
        Self::new(StatusCode::FORBIDDEN, at, &title, advice)
    }

    /// Nothing of that id is left to be reported.
    pub(crate) fn unknown_answer() -> Self {
        let title = "no answer under this id waits for a report of its use";
        let advice = "report each answer once, with the application that asked";
        Self::new(StatusCode::NOT_FOUND, ("UNKNOWN_ANSWER", "connector"), title, advice)
    }

    /// No such path or method.
    pub(crate) fn no_such_call() -> Self {
        let advice = "see /v1/openapi.json";
        let title = "there is no such call";
        Self::new(StatusCode::NOT_FOUND, ("NO_SUCH_CALL", "application"), title, advice)
    }

    /// Longer than it may be.
    pub(crate) fn too_large() -> Self {
        let title = "the call is longer than 64 KiB";
        let advice = "ask for fewer evidences in one call";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ("CALL_TOO_LARGE", "application"), title, advice)
    }

    /// Its body does not come.
    pub(crate) fn too_slow() -> Self {
        let title = "the call did not arrive in time";
        let advice = "send the whole call at once";
        Self::new(StatusCode::REQUEST_TIMEOUT, ("CALL_TOO_SLOW", "application"), title, advice)
    }

    /// Too many at once.
    pub(crate) fn busy() -> Self {
        let title = "too many calls of this application are being worked on";
        let advice = "try again after a second, or ask for several evidences in one call";
        Self::new(StatusCode::TOO_MANY_REQUESTS, ("CONNECTOR_BUSY", "connector"), title, advice)
    }
}

fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        // The connector's own certificate or signature: nothing an application can mend.
        Kind::Unauthenticated => StatusCode::BAD_GATEWAY,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Precondition | Kind::Exists => StatusCode::CONFLICT,
        Kind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
        Kind::Aborted | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Deadline => StatusCode::GATEWAY_TIMEOUT,
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        let alarm = "do not use it, and tell the operator of this hop and of the ledger's keeper";
        let (status, at, advice) = match &error {
            ClientError::Ended { reason, hop, fields, policies, .. } => {
                let hop = if hop.is_empty() { "broker" } else { hop };
                let status = status_of(reason.kind());
                let text = reason.message();
                let mut problem = Self::new(status, (reason.as_str(), hop), text, reason.advice());
                problem.0.fields.clone_from(fields);
                problem.0.policies.clone_from(policies);
                return problem;
            }
            ClientError::Broker(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                ("BROKER_AWAY", "broker"),
                "try again; `einmal connector check` says which broker does not answer",
            ),
            ClientError::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                ("TOO_LATE", "broker"),
                "try again, with a longer deadline",
            ),
            ClientError::Misbehaved(_) | ClientError::Commitment(_) => {
                (StatusCode::BAD_GATEWAY, ("ANSWER_NOT_TRUE", "broker"), alarm)
            }
            ClientError::Evidence(_) => {
                (StatusCode::BAD_GATEWAY, ("EVIDENCE_NOT_TRUE", "register"), alarm)
            }
            ClientError::Receipt(_) | ClientError::Forked(_) => {
                (StatusCode::BAD_GATEWAY, ("NOT_PROVEN", "ledger"), alarm)
            }
            ClientError::Unknown { .. } => (
                StatusCode::CONFLICT,
                ("NOT_IN_DIRECTORY", "connector"),
                "ask GET /v1/catalogue what there is",
            ),
            ClientError::Pad(_) => (
                StatusCode::BAD_REQUEST,
                ("MALFORMED_CALL", "application"),
                "shorten names and references",
            ),
            _ => (
                StatusCode::SERVICE_UNAVAILABLE,
                ("CONNECTOR_FAULT", "connector"),
                "the connector's operator sees the reason in its log",
            ),
        };
        tracing::warn!(reason = at.0, hop = at.1, %error, "a call failed");
        let title = match at.0 {
            "BROKER_AWAY" => "no broker answers".to_owned(),
            "CONNECTOR_FAULT" => "the connector could not ask".to_owned(),
            _ => error.to_string(),
        };
        Self::new(status, at, &title, advice)
    }
}

impl From<Reason> for Problem {
    fn from(reason: Reason) -> Self {
        let (status, at) = (status_of(reason.kind()), (reason.as_str(), "connector"));
        Self::new(status, at, reason.message(), reason.advice())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
