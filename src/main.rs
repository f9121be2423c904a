// SPDX-License-Identifier: EUPL-1.2
//! The `einmal` command: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

fn main() -> ExitCode {
    let matches = match einmal::Command::command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(64) } else { ExitCode::SUCCESS };
        }
    };
    let command = match einmal::Command::from_arg_matches(&matches) {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    match einmal::run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("einmal: {exit}");
            exit.code()
        }
    }
}
