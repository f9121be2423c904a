// SPDX-License-Identifier: EUPL-1.2
//! Publishing signed documents: verified here first, then given to every broker of the directory.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use einmal_peer::{
    Clock, PeerRole, Tls, TlsFiles, TrustStore,
    dial::{self, Target},
    files, trust,
};
use einmal_policy::{Role, Root, documents::Offer};
use einmal_protocol::{envelope::payload_type, wire::v1::Envelope};
use serde::Deserialize;
use tonic::transport::Channel;

use crate::{Exit, config};

/// `publisher.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublisherConfig {
    /// A broker to ask what is newest: "https://host:port".
    pub(crate) broker: String,
    /// Own certificate and whom to believe.
    pub(crate) tls: TlsFiles,
    /// The pinned root.
    pub(crate) root: PathBuf,
    /// Folder for trusted state.
    pub(crate) state: PathBuf,
    /// The online key, PKCS#8; for `einmal online` only.
    #[serde(default)]
    pub(crate) online_key: Option<PathBuf>,
    /// A file whose first line is the online key's passphrase; a systemd credential, best.
    #[serde(default)]
    pub(crate) online_passphrase_file: Option<PathBuf>,
}

/// Where `publisher.toml` lies.
#[derive(clap::Args)]
pub struct PublisherArgs {
    /// Configuration file; deploy/config/publisher.toml is a commented sample.
    #[arg(long, default_value = "publisher.toml")]
    pub config: PathBuf,
}

/// Whoever gives brokers newer documents.
pub struct Publisher {
    /// What is newest, verified from the pinned root.
    pub trust: Arc<TrustStore>,
    /// The time.
    pub clock: Clock,
    tls: Tls,
    trust_domain: String,
    first: Channel,
    /// The first broker's address, for a directory that names none.
    address: String,
}

/// What one broker said.
pub struct Told {
    /// Its id, or its address where it has none.
    pub broker: String,
    /// The problem, unless it took the documents.
    pub problem: Option<String>,
}

/// Reads `publisher.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<PublisherConfig, Exit> {
    let mut config: PublisherConfig = config::read(path)?;
    let folder = config::folder_of(path);
    config.tls = config.tls.within(&folder);
    let files = [&mut config.root, &mut config.state];
    let files = files.into_iter().chain(&mut config.online_key);
    for file in files.chain(&mut config.online_passphrase_file) {
        *file = folder.join(&*file);
    }
    Ok(config)
}

impl Publisher {
    /// Asks the broker what is newest and verifies it from the pinned root.
    ///
    /// # Errors
    /// Where the broker does not answer or its documents are not accepted.
    pub async fn open(config: &PublisherConfig, clock: Clock) -> Result<Self, Exit> {
        let root = files::envelope(&config.root)?;
        let trust_domain =
            Root::pinned(&root).map_err(Exit::usage)?.document().trust_domain.clone();
        let tls = Tls::load(&config.tls)?;
        let target = Target::broker(&config.broker, &trust_domain);
        let first = dial::channel(&target, Arc::clone(&tls.client)).map_err(Exit::usage)?;
        let offer = trust::fetch(first.clone()).await.map_err(|status| {
            Exit::unavailable(format!("the broker does not answer: {}", status.message()))
        })?;
        let state = config.state.join("trust.json");
        let trust = TrustStore::open(root, offer, &state, clock.now_ms()).map_err(Exit::failed)?;
        let address = config.broker.clone();
        Ok(Self { trust: Arc::new(trust), clock, tls, trust_domain, first, address })
    }

    /// Asks every broker of the directory for what is newer, so that none can withhold it alone.
    ///
    /// # Errors
    /// Where none answers.
    pub async fn poll(&self) -> Result<bool, Exit> {
        let (mut changed, mut answered) = (false, false);
        let mut problem = String::new();
        for (broker, channel) in self.brokers()? {
            match self.trust.poll(channel, self.clock.now_ms()).await {
                Ok(newer) => (changed, answered) = (changed | newer, true),
                Err(status) => problem = format!("{broker}: {}", status.message()),
            }
        }
        match answered {
            true => Ok(changed),
            false => Err(Exit::unavailable(format!("no broker answers; {problem}"))),
        }
    }

    /// Verifies newer documents here, then gives them to every broker of the directory.
    ///
    /// # Errors
    /// Where they are not accepted here: then nobody was given anything.
    pub async fn publish(&self, offer: Offer) -> Result<Vec<Told>, Exit> {
        self.trust.renew(offer.clone(), self.clock.now_ms()).await.map_err(Exit::refused)?;
        let mut told = Vec::new();
        for (broker, channel) in self.brokers()? {
            let published = trust::publish(channel, offer.clone()).await;
            let problem = published.err().map(|status| status.message().to_owned());
            told.push(Told { broker, problem });
        }
        Ok(told)
    }

    /// Rules with those that they follow: none, if both roles signed them; otherwise those that
    /// are held, which they can only narrow.
    pub fn rules_up_to(&self, rules: Envelope) -> Vec<Envelope> {
        let both = [Role::RegisterAuthority, Role::DataProtectionOfficer];
        let root = &self.trust.current().root;
        let one_signed = |role| root.check_signed(&rules, payload_type::RULES, &[role]).is_ok();
        // With keys of a root that is published with them, they are no narrowing either.
        match both.map(one_signed) {
            [true, false] | [false, true] => {
                let mut chain = self.trust.documents().rules.clone();
                chain.push(rules);
                chain
            }
            _ => vec![rules],
        }
    }

    fn brokers(&self) -> Result<Vec<(String, Channel)>, Exit> {
        let directory = Arc::clone(&self.trust.current().directory);
        let brokers = &directory.document().brokers;
        if brokers.is_empty() {
            return Ok(vec![(self.address.clone(), self.first.clone())]);
        }
        let dial = |broker: &einmal_policy::directory::Broker| {
            let target = Target {
                address: broker.address.clone(),
                trust_domain: self.trust_domain.clone(),
                role: PeerRole::Broker,
                id: Some(broker.id.clone()),
            };
            let channel = dial::channel(&target, Arc::clone(&self.tls.client));
            Ok((broker.id.clone(), channel.map_err(Exit::usage)?))
        };
        brokers.iter().map(dial).collect()
    }
}

/// Says which brokers took the documents.
///
/// # Errors
/// Where one did not.
pub fn report(told: &[Told]) -> Result<(), Exit> {
    for Told { broker, problem } in told {
        match problem {
            None => println!("{broker}: taken"),
            Some(problem) => println!("{broker}: NOT TAKEN: {problem}"),
        }
    }
    let missing = told.iter().filter(|told| told.problem.is_some()).count();
    if missing > 0 {
        return Err(Exit::unavailable(format!(
            "{missing} of {} brokers did not take it: publish it there again",
            told.len()
        )));
    }
    Ok(())
}
