// SPDX-License-Identifier: EUPL-1.2
//! The witness over HTTP, with limits on everything: connections, headers, bodies, time.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use einmal_peer::Clock;
use einmal_protocol::cosignature::WitnessKey;
use hyper::{body::Body as _, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::WitnessConfig,
    request::BODY_MAX,
    witness::{StartError, Verdict, Witness},
};

const CONNECTIONS_MAX: usize = 512;
/// Requests that are checked or written at once.
const AT_ONCE: usize = 16;
/// Time to send a request's head, and again its body; an idle connection is closed as well.
const PATIENCE: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; charset=utf-8";

/// A running witness.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The public half of its key.
    pub key: WitnessKey,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Running {
    /// Stops it, when what it is answering is answered.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Starts a witness.
///
/// # Errors
/// Where configuration, key, memory or port cannot be used.
pub async fn start(config: &WitnessConfig, clock: Clock) -> Result<Running, StartError> {
    let witness = Arc::new(Witness::open(config, clock)?);
    let failed = |error| StartError::Port { address: config.listen, error };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let key = witness.key().clone();
    tracing::info!(%address, %key, logs = config.logs.len(), "the witness listens");
    tasks.spawn(accept(listener, router(witness), stop.clone(), tasks.clone()));
    tasks.close();
    Ok(Running { address, key, stop, tasks })
}

async fn accept(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let tcp = match accepted {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                // Out of file descriptors, most often: the next accept would fail at once too.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(CONNECTIONS_MAX, "a connection was refused: too many");
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(async move {
            connection(tcp, router, stop).await;
            drop(place);
        });
    }
}

async fn connection(tcp: TcpStream, router: Router, stop: CancellationToken) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(tcp), TowerToHyperService::new(router));
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            timeout(PATIENCE, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

#[derive(Clone)]
struct Desk {
    witness: Arc<Witness>,
    places: Arc<Semaphore>,
}

/// The routes; submission and monitoring have the same prefix.
pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .route("/{hash}/checkpoint", get(newest))
        .with_state(Desk { witness, places: Arc::new(Semaphore::new(AT_ONCE)) })
}

async fn add_checkpoint(State(desk): State<Desk>, body: Body) -> Response {
    // Said before it is sent: no need to wait for what is too long anyway.
    if body.size_hint().lower() > BODY_MAX as u64 {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long\n");
    }
    let body = match timeout(PATIENCE, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return plain(StatusCode::PAYLOAD_TOO_LARGE, "the request is too long\n"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "the request came too slowly\n"),
    };
    let place = timeout(PATIENCE, Arc::clone(&desk.places).acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests at once\n");
    };
    let verdict = tokio::task::spawn_blocking(move || {
        let verdict = desk.witness.add_checkpoint(&body);
        drop(place);
        verdict
    });
    answer(verdict.await.unwrap_or(Verdict::Fenced))
}

fn answer(verdict: Verdict) -> Response {
    match verdict {
        Verdict::Cosigned(lines) => plain(StatusCode::OK, &lines),
        Verdict::Malformed(why) => plain(StatusCode::BAD_REQUEST, &format!("{why}\n")),
        Verdict::NotSigned => {
            plain(StatusCode::FORBIDDEN, "the checkpoint is not signed by the ledger's key\n")
        }
        Verdict::UnknownLog => plain(StatusCode::NOT_FOUND, "this ledger is not watched here\n"),
        Verdict::Conflict { size } => {
            let kind = [(header::CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Verdict::Inconsistent => plain(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the proof does not show that the ledger only grew\n",
        ),
        Verdict::Fenced => plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the witness cannot write what it remembers; its operator must look\n",
        ),
    }
}

async fn newest(State(desk): State<Desk>, Path(hash): Path<String>) -> Response {
    match desk.witness.newest(&hash) {
        Some(checkpoint) => plain(StatusCode::OK, checkpoint.note()),
        None => plain(StatusCode::NOT_FOUND, "no checkpoint of this ledger was cosigned here\n"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response {
    let head = [(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, "no-store")];
    (status, head, text.to_owned()).into_response()
}
