// SPDX-License-Identifier: EUPL-1.2
//! How a command ends: what to say, and an exit code of sysexits.h.

use std::{fmt, process::ExitCode};

use einmal_adapter_kit::settings::SettingsError;
use einmal_client::ClientError;
use einmal_peer::files::FileError;

/// A command that did not do what it was asked.
#[derive(Debug)]
pub struct Exit {
    code: u8,
    message: String,
}

impl Exit {
    /// Something went wrong (1).
    pub fn failed(error: impl fmt::Display) -> Self {
        Self { code: 1, message: error.to_string() }
    }

    /// Used or configured wrongly (64, EX_USAGE).
    pub fn usage(error: impl fmt::Display) -> Self {
        Self { code: 64, message: error.to_string() }
    }

    /// Somebody does not answer (69, EX_UNAVAILABLE).
    pub fn unavailable(error: impl fmt::Display) -> Self {
        Self { code: 69, message: error.to_string() }
    }

    /// Somebody refused (77, EX_NOPERM).
    pub fn refused(error: impl fmt::Display) -> Self {
        Self { code: 77, message: error.to_string() }
    }

    /// Says whom it is about.
    #[must_use]
    pub fn about(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<FileError> for Exit {
    fn from(error: FileError) -> Self {
        Self::usage(error)
    }
}

impl From<SettingsError> for Exit {
    fn from(error: SettingsError) -> Self {
        Self::usage(error)
    }
}

impl From<ClientError> for Exit {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::Ended { reason, fields, policies, .. } => {
                let mut text = error.to_string();
                for (what, names) in [("fields", fields), ("refused by", policies)] {
                    if !names.is_empty() {
                        text = format!("{text}\n  {what}: {}", names.join(", "));
                    }
                }
                let text = format!("{text}\n  what to do: {}", reason.advice());
                if reason.is_refusal() { Self::refused(text) } else { Self::unavailable(text) }
            }
            ClientError::Broker(_) | ClientError::Late | ClientError::Cards(_) => {
                Self::unavailable(error)
            }
            ClientError::File(_)
            | ClientError::Dial(_)
            | ClientError::OtherKey
            | ClientError::Unknown { .. } => Self::usage(error),
            _ => Self::failed(error),
        }
    }
}
