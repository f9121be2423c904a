// SPDX-License-Identifier: EUPL-1.2
//! The pages that citizens read: rendered here, complete without JavaScript, with nothing from
//! third parties. They hold no key and ask the keeper over gRPC; the person of a session is in
//! no URL and in no memory that a cookie does not open.

mod answers;
mod api;
mod coverage;
mod downloads;
mod figures;
mod find;
mod kern;
mod letters;
mod login;
mod overview;
mod pdf;
mod phrases;
mod proof;
mod records;
mod routes;
mod rules_of;
mod session;
mod visit;
mod vocabulary;
mod when;
mod words;

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use einmal_protocol::{
    note::LedgerKey, wire::cockpit::v1::keeper_service_client::KeeperServiceClient,
};
use tonic::transport::Channel;

pub(crate) use figures::Figures;
pub use kern::{Kern, KernError};
pub use session::{IDLE_MS, LIFE_MS, PER_PERSON, SESSIONS_MAX};
pub use vocabulary::{Participation, Vocabulary};
pub use words::Lang;

pub(crate) use answers::style;
pub(crate) use when::{Wall, plain_date};

use einmal_peer::Clock;
use figures::Requests;
use proof::Newest;
use records::Teller;
use session::Sessions;

use crate::login::{Provider, RETURN_PATH};

/// Forms are short.
const FORM_MAX: usize = 8 * 1024;
/// No page takes longer.
const PAGE_TIME: Duration = Duration::from_secs(20);
/// Records on one page.
pub(crate) const PAGE_SIZE: u32 = 50;

/// What the pages are made of.
pub struct Pages {
    /// Where the records are. The pages know nothing else of the keeper.
    pub keeper: KeeperServiceClient<Channel>,
    /// Words for citizens.
    pub vocabulary: Arc<dyn Vocabulary>,
    /// Where people log in.
    pub login: Arc<Provider>,
    /// Whether this is a demonstration, which every page then says.
    pub demo: bool,
    /// The ledger's public key: proofs are checked here once more before they are called good.
    pub ledger: LedgerKey,
    /// The KERN design system, where it is installed.
    pub kern: Option<Kern>,
    /// Whether citizens come over HTTPS. False only for trying things out on one machine.
    pub secure_cookies: bool,
    /// The time.
    pub clock: Clock,
}

pub(crate) struct App {
    pub(crate) pages: Pages,
    pub(crate) sessions: Sessions,
    pub(crate) newest: Newest,
    pub(crate) requests: Requests,
}

impl App {
    pub(crate) fn new(pages: Pages) -> Self {
        let (sessions, newest) = (Sessions::default(), Newest::default());
        Self { pages, sessions, newest, requests: Requests::default() }
    }

    /// Tells records in this language.
    pub(crate) fn teller(&self, lang: Lang) -> Teller<'_> {
        Teller { vocabulary: self.pages.vocabulary.as_ref(), lang }
    }
}

/// All routes with their headers and limits.
pub fn router(pages: Pages) -> Router {
    routes_of(Arc::new(App::new(pages)))
}

pub(crate) fn routes_of(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(routes::start))
        .route("/anmelden", get(login::explain))
        .route("/anmelden/los", get(login::leave))
        .route(RETURN_PATH, get(login::arrive))
        .route("/abmelden", post(login::logout))
        .route("/abgemeldet", get(login::logged_out))
        .route("/zugriffe", get(routes::list))
        .route("/zugriffe/{index}", get(routes::detail))
        .route("/zugriffe/{index}/pruefen", get(routes::check))
        .route("/zugriffe/{index}/selbst-pruefen", get(routes::by_hand))
        .route("/zugriffe/{index}/export.json", get(downloads::json))
        .route("/zugriffe/{index}/brief/{kind}", get(letters::letter))
        .route("/zugriffe.csv", get(downloads::csv))
        .route("/zugriffe.pdf", get(downloads::pdf))
        .route("/uebersicht", get(overview::overview))
        .route("/abdeckung", get(coverage::coverage))
        .route("/hilfe", get(coverage::help))
        .route("/status", get(routes::status))
        .route("/api/v1/records", get(api::list))
        .route("/api/v1/records/{index}", get(api::detail))
        .route("/style.css", get(style))
        .route("/kern/{*file}", get(kern::file))
        .fallback(routes::not_found)
        .layer(DefaultBodyLimit::max(FORM_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), visit::enter))
        .layer(middleware::from_fn_with_state(app.clone(), figures::count))
        .with_state(app)
}

/// Serves the pages until `shutdown` is done, then lets open answers finish.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    pages: Pages,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    serve_app(listener, Arc::new(App::new(pages)), shutdown).await
}

/// As [`serve`], where somebody else looks at its figures.
pub(crate) async fn serve_app(
    listener: tokio::net::TcpListener,
    app: Arc<App>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes_of(app)).with_graceful_shutdown(shutdown).await
}
