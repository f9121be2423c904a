// SPDX-License-Identifier: EUPL-1.2
//! `einmal health`: for containers, which have no other program to ask with.

use std::time::Duration;

use einmal_peer::http::{HttpClient, HttpOptions};

use crate::Exit;

/// Longer than the largest set of figures.
const ANSWER_MAX: usize = 1024 * 1024;

/// Asks a program of this machine how it stands: exit code 0 if it does its work, 1 if not, 69 if it
/// does not answer.
#[derive(clap::Args)]
pub struct Args {
    /// Where its figures are (`metrics` in its configuration), with /readyz or /livez.
    #[arg(default_value = "http://127.0.0.1:9443/readyz")]
    url: String,
}

/// Runs it.
///
/// # Errors
/// Where the program does not answer, or does not do its work.
pub async fn run(args: Args) -> Result<(), Exit> {
    let deadline = Duration::from_secs(6);
    let options = HttpOptions { deadline, connect_within: deadline, ..HttpOptions::default() };
    let answer = HttpClient::new(options).get(&args.url, ANSWER_MAX).await;
    let answer = answer.map_err(Exit::unavailable)?;
    let why = String::from_utf8_lossy(&answer.body).trim().to_owned();
    if !answer.status.is_success() {
        return Err(Exit::failed(why));
    }
    println!("{why}");
    Ok(())
}
