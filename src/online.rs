// SPDX-License-Identifier: EUPL-1.2
//! `einmal online`

use std::{path::Path, sync::Arc};

use einmal_peer::{Clock, KeyFile, Passphrase, trust::POLL};
use einmal_policy::{
    chain::Accepted,
    documents::Offer,
    freshness::{Freshness, SIGN_EVERY_MS},
};
use einmal_protocol::{envelope::payload_type, key::SigningKey, time::to_iso, wire::v1::Envelope};
use tokio_util::sync::CancellationToken;

use crate::{
    Exit,
    logging::{self, LogForm},
    publisher::{self, Publisher, PublisherArgs, Told},
    told_to_stop,
};

/// Says every ten minutes, signed, which rules, directory and deny list are the newest.
///
/// Where nobody has said so for an hour, brokers and registers refuse everything: a newer deny list
/// might be withheld from them. So keep this running, twice on two machines if you can. The online
/// key can permit nothing and forbid nothing.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    publisher: PublisherArgs,
    /// Sign once, and end: for a timer of your own.
    #[arg(long)]
    once: bool,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogForm,
}

/// The online key, with its passphrase from a file if it has one.
///
/// # Errors
/// Where a file cannot be used, or the passphrase is missing or wrong.
pub fn open_key(key: &Path, passphrase: Option<&Path>) -> Result<SigningKey, Exit> {
    let file = KeyFile::read(key)?;
    let passphrase = match passphrase {
        Some(path) => Some(Passphrase::from_file(path)?),
        None if file.is_encrypted() => {
            return Err(Exit::usage(format!(
                "{} has a passphrase: name its file in publisher.toml: online_passphrase_file = \
                 \"…\"",
                key.display()
            )));
        }
        None => None,
    };
    Ok(file.open(passphrase.as_ref())?.into_key())
}

/// Holds the online key.
pub struct Online {
    publisher: Publisher,
    key: SigningKey,
}

impl Online {
    /// Reads the key, and asks the broker what is newest.
    ///
    /// # Errors
    /// Where the configuration names no key, or the broker does not answer.
    pub async fn open(path: &Path, clock: Clock) -> Result<Self, Exit> {
        let config = publisher::read(path)?;
        let key = config.online_key.as_ref().ok_or_else(|| {
            Exit::usage(format!("{}: name the online key: online_key = \"…\"", path.display()))
        })?;
        let key = open_key(key, config.online_passphrase_file.as_deref())?;
        Ok(Self { publisher: Publisher::open(&config, clock).await?, key })
    }

    /// Signs what is newest, and tells every broker.
    ///
    /// # Errors
    /// Where there is no deny list yet, or the key is not that of the online role.
    pub async fn sign(&self) -> Result<Vec<Told>, Exit> {
        let state = self.publisher.trust.state();
        let missing = |what: &str| Exit::usage(format!("there is no {what} yet: publish one"));
        let of = |accepted: Option<Accepted>, what| accepted.ok_or_else(|| missing(what));
        let freshness = Freshness {
            issued_at_ms: self.publisher.clock.now_ms(),
            rules: of(state.rules, "rules")?,
            directory: of(state.directory, "directory")?,
            deny: of(state.deny, "deny list")?,
        };
        let payload = serde_json::to_vec(&freshness).map_err(Exit::failed)?;
        let signed = Envelope::sign(payload_type::FRESHNESS, payload, &[&self.key]);
        let freshness = Some(signed.map_err(Exit::failed)?);
        self.publisher.publish(Offer { freshness, ..Offer::default() }).await
    }

    /// Whether it is time to sign again.
    fn is_due(&self) -> bool {
        let last = self.publisher.trust.state().fresh_at_ms;
        self.publisher.clock.now_ms() >= last.saturating_add(SIGN_EVERY_MS)
    }

    /// Signs whenever it is time, and whenever something is newer, until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // What a broker did not take is offered again at the next look.
        let mut complete = true;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => return,
            }
            let before = self.publisher.trust.state();
            if let Err(error) = self.publisher.poll().await {
                tracing::warn!(%error, "not asked what is newest");
            }
            let now = self.publisher.trust.state();
            // Another one with the same key may have signed: that is no news to answer.
            let news = (&before.rules, &before.directory, &before.deny)
                != (&now.rules, &now.directory, &now.deny);
            if complete && !news && !self.is_due() {
                continue;
            }
            complete = match self.sign().await {
                Ok(told) => {
                    for Told { broker, problem } in &told {
                        if let Some(problem) = problem {
                            tracing::warn!(broker, problem, "not told what is newest");
                        }
                    }
                    told.iter().all(|told| told.problem.is_none())
                }
                Err(error) => {
                    tracing::error!(%error, "what is newest is not signed");
                    false
                }
            };
        }
    }
}

/// Runs it.
///
/// # Errors
/// Where it cannot begin; or with `--once` where a broker was not told.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(args.log, "info");
    let online = Arc::new(Online::open(&args.publisher.config, Clock::system()).await?);
    let told = online.sign().await?;
    eprintln!("einmal: signed what is newest at {}", to_iso(online.publisher.clock.now_ms()));
    if args.once {
        return publisher::report(&told);
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&online).run(stop.clone()));
    told_to_stop().await?;
    stop.cancel();
    running.await.map_err(Exit::failed)
}
