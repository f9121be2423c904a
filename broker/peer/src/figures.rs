// SPDX-License-Identifier: EUPL-1.2
//! What a program shows its operator, in plain HTTP: figures in Prometheus' text form at
//! `/metrics`, whether it runs at `/livez`, whether it does its work at `/readyz`. No figure and no
//! label holds a person, a request, or the name of an authority or register.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use einmal_policy::Trust;
use prometheus_client::{
    encoding::{
        EncodeLabelSet,
        text::{encode_eof, encode_registry},
    },
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::expiry;

/// A program that cannot look at itself in this time is not ready.
const LOOK: Duration = Duration::from_secs(5);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is known a moment later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A program, or a half of one, with figures.
pub trait Shown: Send + Sync + 'static {
    /// Brings figures up to date that are not counted as they happen, and says whether the work
    /// is done.
    ///
    /// # Errors
    /// Why it is not, in words that name nobody.
    fn look(&self) -> Later<'_, Result<(), &'static str>>;

    /// The figures.
    fn registry(&self) -> &Registry;
}

/// What ends some day.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Expires {
    /// "root", "rules", "directory" or "certificate".
    what: &'static str,
}

/// What was built.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// The figures of every program.
#[derive(Clone, Debug)]
pub struct Common {
    expires: Family<Expires, Gauge>,
    fresh: Gauge,
}

impl Common {
    /// A registry whose names begin with `einmal`, and these figures in it.
    pub fn begin() -> (Registry, Self) {
        let mut all = Registry::with_prefix("einmal");
        let common = Self { expires: Family::default(), fresh: Gauge::default() };
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        all.register("build_info", "Which version runs", build);
        all.register("expires_seconds", "How long it is good still", common.expires.clone());
        all.register(
            "deny_list_fresh_seconds",
            "How long the deny list counts as fresh still; below zero everything is refused",
            common.fresh.clone(),
        );
        (all, common)
    }

    /// How long all is good still; below zero: it is over. The error says that the work stops
    /// for it.
    ///
    /// # Errors
    /// Where a document has expired, or the deny list is not fresh.
    pub fn tell(
        &self,
        now_ms: u64,
        (trust, certificate_ends_at_ms): (&Trust, u64),
    ) -> Result<(), &'static str> {
        let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
        let left = |ms: u64| seconds(ms).saturating_sub(seconds(now_ms));
        for end in expiry::ends(trust, certificate_ends_at_ms) {
            self.expires.get_or_create(&Expires { what: end.what }).set(left(end.at_ms));
        }
        self.fresh.set(left(trust.fresh_until_ms));
        trust.check_time(now_ms).map_err(|reason| reason.as_str())
    }
}

/// The text that Prometheus reads: the figures of all halves, as one.
pub fn text<'r>(registries: impl IntoIterator<Item = &'r Registry>) -> String {
    let mut text = String::new();
    for registry in registries {
        if encode_registry(&mut text, registry).is_err() {
            return String::new();
        }
    }
    // Writing to a string does not fail; what has no end is refused by Prometheus.
    let _ = encode_eof(&mut text);
    text
}

async fn look(shown: &[Arc<dyn Shown>]) -> Result<(), &'static str> {
    let mut all = Ok(());
    for one in shown {
        let looked = tokio::time::timeout(LOOK, one.look()).await;
        all = all.and(looked.unwrap_or(Err("it does not answer in time")));
    }
    all
}

/// The three addresses.
pub fn router(shown: Vec<Arc<dyn Shown>>) -> Router {
    let shown: Arc<[Arc<dyn Shown>]> = shown.into();
    let asked = Arc::clone(&shown);
    let (mut own, ready) = (Registry::with_prefix("einmal"), Gauge::<i64>::default());
    own.register("ready", "Whether it does its work", ready.clone());
    let own = Arc::new(own);
    let metrics = async move || {
        // What could not be looked at keeps the figures of before.
        ready.set(i64::from(look(&shown).await.is_ok()));
        let text = text(shown.iter().map(|one| one.registry()).chain([&*own]));
        ([(CONTENT_TYPE, OPEN_METRICS)], text)
    };
    let readyz = async move || match look(&asked).await {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()).into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
}

/// Serves plain HTTP until it is stopped. Says where: the port may have been 0.
///
/// # Errors
/// Where it cannot listen there.
pub async fn serve(
    at: SocketAddr,
    router: Router,
    stop: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(at).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, "plain HTTP ended");
        }
    });
    Ok(address)
}
