// SPDX-License-Identifier: EUPL-1.2
//! Where log lines go: to standard error, as text for people or as JSON for machines.

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
pub enum LogForm {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

/// Begins logging. `EINMAL_LOG` says what, as in `info,einmal_broker=debug`.
pub fn begin(form: LogForm, default: &str) {
    let filter = EnvFilter::try_from_env("EINMAL_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, in tests, changes nothing.
    let _ = match form {
        LogForm::Text => lines.with_ansi(false).with_target(false).try_init(),
        LogForm::Json => lines.json().flatten_event(true).try_init(),
    };
}
