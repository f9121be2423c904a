// SPDX-License-Identifier: EUPL-1.2
//! What many brokers share and may forget: which requests run or were answered, how much of a quota
//! is used, who has newer documents. In Redis where there is one, and here otherwise.
//!
//! Nothing here makes anything safe. That a request counts once is said by the ledger, that a
//! document counts is said by its signatures. So Redis may be away, slow, empty or lying: then
//! retries are answered by the ledger, quotas are counted here at a share, and news come later.

mod link;
mod names;
mod news;
mod rates;
mod redis_rates;
mod retries;
pub mod section;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod redis_tests;

use std::{sync::Arc, time::Duration};

use einmal_peer::{Clock, Tls};
use einmal_protocol::{Digest, Reason, wire::evidence::v1::RequestEvidenceResponse};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use link::Away;
pub use rates::{LocalRates, Rate, Rates, Taken, Whose};
pub use retries::{Asked, Claim, Marker, Settled};
pub use section::SharedSection;

use self::{
    link::Link,
    names::Names,
    news::{Dialler, News},
    redis_rates::RedisRates,
    retries::Retries,
};
use crate::{
    Broker, Limits, authenticate::Authenticated, exchange::Failure, metrics::SharedMetrics,
};

/// So long another broker is given to end what it runs.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many requests wait for other brokers at once; more ask the ledger.
const WAITING_MAX: usize = 256;
/// News that are not asked for yet.
const NEWS_MAX: usize = 64;

/// What brokers share.
pub struct Shared {
    rates: Quotas,
    local: LocalRates,
    distant: Option<Distant>,
}

/// In Redis.
struct Distant {
    link: Arc<Link>,
    names: Arc<Names>,
    retries: Retries,
    rates: RedisRates,
    news: News,
    /// Brokers that share the quotas.
    brokers: u32,
    waiting: Semaphore,
}

/// What may be asked how often.
#[derive(Clone, Copy, Debug)]
struct Quotas {
    authority: Option<Rate>,
    register: Option<Rate>,
    refusals: Option<Rate>,
}

impl Quotas {
    fn new(limits: &Limits) -> Self {
        Self {
            authority: Rate::per_second(limits.authority_per_second, limits.authority_burst),
            register: Rate::per_second(limits.register_per_second, limits.register_burst),
            refusals: Rate::per_minute(limits.refusals_per_minute),
        }
    }
}

/// What other brokers know of a request.
#[derive(Debug)]
pub enum Elsewhere {
    /// Nothing that keeps it from running; a marker is to be settled.
    Nothing(Option<Marker>),
    /// It was answered.
    Answered(Box<RequestEvidenceResponse>),
    /// Other bytes have its id.
    Other,
}

impl Shared {
    /// What a section names for a ledger, or nothing but this broker, of the id `own`.
    ///
    /// # Errors
    /// Where the section cannot be used. Whether Redis is there does not matter.
    pub fn new(
        section: Option<&SharedSection>,
        (origin, own): (&str, &str),
        limits: &Limits,
        (clock, metrics): (Clock, SharedMetrics),
    ) -> Result<Self, String> {
        let distant = section.map(|section| Distant::new(section, (origin, own), limits, metrics));
        let distant = distant.transpose()?;
        Ok(Self { rates: Quotas::new(limits), local: LocalRates::new(clock), distant })
    }

    /// Takes a request of an authority to a register out of both quotas.
    ///
    /// # Errors
    /// Where one of them is used up, with when to try again.
    pub async fn admit(&self, authority: &str, register: &str) -> Result<(), Failure> {
        let of_authority = self.rates.authority.map(|rate| (Whose::Authority(authority), rate));
        let of_register = self.rates.register.map(|rate| (Whose::Register(register), rate));
        let asked: Vec<_> = of_authority.into_iter().chain(of_register).collect();
        let Taken::None { which, wait } = self.take(&asked).await else { return Ok(()) };
        let (reason, whose) = match asked.get(which) {
            Some((Whose::Register(_), _)) => (Reason::RegisterBusy, "register"),
            _ => (Reason::BrokerBusy, "authority"),
        };
        let detail = format!("the quota of this {whose} is used up at the moment");
        Err(Failure { retry_after: Some(wait), ..Failure::refused(reason).with_detail(detail) })
    }

    /// Whether one more refusal of this authority may be logged, so that nobody can flood the
    /// ledger with them.
    pub async fn may_log_refusal(&self, authority: &str) -> bool {
        let Some(rate) = self.rates.refusals else { return false };
        self.take(&[(Whose::Refusals(authority), rate)]).await == Taken::All
    }

    /// In Redis; while that is away, here, at this broker's share.
    async fn take(&self, asked: &[(Whose<'_>, Rate)]) -> Taken {
        if asked.is_empty() {
            return Taken::All;
        }
        let Some(distant) = &self.distant else { return self.local.take_now(asked) };
        if let Ok(taken) = distant.counted("take", distant.rates.take(asked).await) {
            return taken;
        }
        let share = |(whose, rate): &(_, Rate)| (*whose, rate.share(distant.brokers));
        self.local.take_now(&asked.iter().map(share).collect::<Vec<_>>())
    }

    /// What other brokers know of these bytes. Whoever runs them now is given a moment to end.
    pub async fn elsewhere(&self, authenticated: &Authenticated) -> Elsewhere {
        let Some(distant) = &self.distant else { return Elsewhere::Nothing(None) };
        let Authenticated { request, signed_request, .. } = authenticated;
        let (authority, digest) = (request.authority.as_str(), Digest::of(signed_request));
        distant.elsewhere(Asked { authority, id: request.id, digest }).await
    }

    /// Tells the other brokers what became of a claimed request.
    pub async fn settle(&self, marker: &Marker, settled: Settled<'_>) {
        if let Some(distant) = &self.distant {
            // Nobody can do anything about it; the ledger knows.
            let _away = distant.counted("settle", distant.retries.settle(marker, settled).await);
        }
    }

    /// Tells the other brokers that this one has newer documents.
    pub async fn announce(&self) {
        if let Some(distant) = &self.distant {
            // They ask every few seconds all the same.
            let _away = distant.counted("announce", distant.news.announce().await);
        }
    }
}

impl Distant {
    fn new(
        section: &SharedSection,
        (origin, own): (&str, &str),
        limits: &Limits,
        metrics: SharedMetrics,
    ) -> Result<Self, String> {
        let link = Arc::new(Link::new(section, metrics)?);
        let names = Arc::new(names(section, origin)?);
        let both = || (Arc::clone(&link), Arc::clone(&names));
        let retries = {
            let (link, names) = both();
            let life = Duration::from_millis(limits.window_ms);
            // The exchange itself, and what is done about it afterwards.
            let running = limits.exchange() + Duration::from_secs(5);
            let answer_max = section.answer_max_kib.saturating_mul(1024);
            Retries { link, names, life, running, answer_max }
        };
        let rates = {
            let (link, names) = both();
            RedisRates { link, names }
        };
        let news = {
            let (link, names) = both();
            News { link, names, own: own.to_owned() }
        };
        let waiting = Semaphore::new(WAITING_MAX);
        Ok(Self { link, names, retries, rates, news, brokers: section.brokers, waiting })
    }

    fn counted<T>(&self, operation: &'static str, came: Result<T, Away>) -> Result<T, Away> {
        self.link.metrics.count(operation, if came.is_ok() { "done" } else { "away" });
        came
    }

    async fn elsewhere(&self, asked: Asked<'_>) -> Elsewhere {
        let began = Instant::now();
        let mut pause = Duration::from_millis(10);
        let mut place = None;
        loop {
            let claim = self.counted("claim", self.retries.claim(asked).await);
            match claim.unwrap_or(Claim::Unknown) {
                Claim::First(marker) => return Elsewhere::Nothing(Some(marker)),
                Claim::Answered(answer) => return Elsewhere::Answered(answer),
                Claim::Other => return Elsewhere::Other,
                Claim::Ended | Claim::Unknown => return Elsewhere::Nothing(None),
                Claim::Running => {}
            }
            place = place.or_else(|| self.waiting.try_acquire().ok());
            if place.is_none() || began.elapsed() >= PATIENCE {
                return Elsewhere::Nothing(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }
}

fn names(section: &SharedSection, origin: &str) -> Result<Names, String> {
    let secret = einmal_peer::files::secret(&section.secret_file);
    Names::new(origin, &secret.map_err(|error| error.to_string())?)
}

/// Keeps the way to Redis and follows the other brokers, until told to stop.
pub(crate) fn begin(broker: &Arc<Broker>, tls: &Tls, stop: &CancellationToken) {
    let Some(distant) = &broker.shared.distant else { return };
    let (link, names) = (Arc::clone(&distant.link), Arc::clone(&distant.names));
    tokio::spawn(link.keep(names, stop.clone()));
    let (into, heard) = mpsc::channel(NEWS_MAX);
    tokio::spawn(distant.news.clone().listen(into, stop.clone()));
    let dialler = Dialler {
        own: tls.own.id.clone(),
        trust_domain: broker.trust.current().root.document().trust_domain.clone(),
        tls: Arc::clone(&tls.client),
    };
    tokio::spawn(news::follow(Arc::clone(broker), dialler, heard, stop.clone()));
}

/// Why the Redis that a section names does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// A broker with this section does not start.
    #[error("{0}")]
    Unusable(String),
    /// Brokers go on without.
    #[error("Redis cannot be used: {0}")]
    Away(String),
}

/// Looks whether the Redis that a section names works now.
///
/// # Errors
/// Says why not.
pub async fn examine(section: &SharedSection, origin: &str) -> Result<(), Trouble> {
    let names = names(section, origin).map_err(Trouble::Unusable)?;
    let link = Link::new(section, SharedMetrics::default()).map_err(Trouble::Unusable)?;
    link.connect(&names).await.map_err(Trouble::Away)
}
