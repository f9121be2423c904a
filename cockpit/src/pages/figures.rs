// SPDX-License-Identifier: EUPL-1.2
//! The pages' figures: no path, no query and no person, for who looks at what is nobody's business.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use einmal_peer::{
    Tls, TrustStore,
    figures::{Common, Later, Shown},
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{App, routes::ask_status};

/// How a request ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    /// "2xx", "3xx", "4xx" or "5xx".
    class: &'static str,
}

/// Counted as it happens.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    answers: Family<Answered, Counter>,
    seconds: Histogram,
}

impl Default for Requests {
    fn default() -> Self {
        let seconds = Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self { answers: Family::default(), seconds }
    }
}

/// Counts a request.
pub(crate) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let answer = next.run(request).await;
    let class = match answer.status().as_u16() {
        500.. => "5xx",
        400.. => "4xx",
        300.. => "3xx",
        _ => "2xx",
    };
    app.requests.answers.get_or_create(&Answered { class }).inc();
    app.requests.seconds.observe(began.elapsed().as_secs_f64());
    answer
}

/// What is looked at when somebody asks.
pub(crate) struct Figures {
    app: Arc<App>,
    /// Trust, the certificate, and their figures; nothing where the keeper in the same
    /// process shows them.
    own: Option<(Arc<TrustStore>, Tls, Common)>,
    registry: Registry,
    sessions: Gauge,
    keeper_up: Gauge,
}

impl Figures {
    /// Of pages in a process of their own, or beside their keeper.
    pub(crate) fn new(app: Arc<App>, own: Option<(Arc<TrustStore>, Tls)>) -> Self {
        let (mut registry, own) = match own {
            Some((trust, tls)) => {
                let (registry, common) = Common::begin();
                (registry, Some((trust, tls, common)))
            }
            None => (Registry::with_prefix("einmal"), None),
        };
        let room = registry.sub_registry_with_prefix("pages");
        let (sessions, keeper_up) = (Gauge::default(), Gauge::default());
        room.register("requests", "Requests by the class of their answer", {
            app.requests.answers.clone()
        });
        room.register("request_seconds", "Duration of requests", app.requests.seconds.clone());
        room.register("sessions", "Sessions, those that are over but not swept too", {
            sessions.clone()
        });
        room.register("keeper_up", "Whether the keeper answers", keeper_up.clone());
        Self { app, own, registry, sessions, keeper_up }
    }

    async fn set(&self) -> Result<(), &'static str> {
        self.sessions.set(i64::try_from(self.app.sessions.count()).unwrap_or(i64::MAX));
        let now_ms = self.app.pages.clock.now_ms();
        let told = self.own.as_ref().map_or(Ok(()), |(trust, tls, common)| {
            common.tell(now_ms, (&trust.current(), tls.ends_at_ms()))
        });
        // What is not answered in time is no answer either.
        self.keeper_up.set(0);
        ask_status(&self.app).await.map_err(|_| "the keeper does not answer")?;
        self.keeper_up.set(1);
        told
    }
}

impl Shown for Figures {
    fn look(&self) -> Later<'_, Result<(), &'static str>> {
        Box::pin(self.set())
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }
}
