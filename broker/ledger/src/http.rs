// SPDX-License-Identifier: EUPL-1.2
//! The public half of the ledger over HTTP: checkpoint, tiles and bundles of leaves, as C2SP
//! tlog-tiles has them. No body is ever served here.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use einmal_protocol::{leaf::LEAF_LENGTH, note::Checkpoint};
use tokio::time::Instant;

use crate::{
    ledger::Ledger,
    path::TilePath,
    store::{Detail, StoreError},
};

const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
const SHORT: &str = "public, max-age=5";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

struct Public {
    ledger: Ledger,
    interval: Duration,
    shown: Mutex<Shown>,
}

/// The checkpoint that the public sees, and since when.
struct Shown {
    checkpoint: Arc<Checkpoint>,
    since: Instant,
}

impl Public {
    /// The public checkpoint; a newer one takes its place when the interval has passed.
    fn checkpoint(&self) -> Arc<Checkpoint> {
        let newest = self.ledger.public_checkpoint();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if newest != shown.checkpoint && shown.since.elapsed() >= self.interval {
            *shown = Shown { checkpoint: newest, since: Instant::now() };
        }
        Arc::clone(&shown.checkpoint)
    }

    async fn tile(&self, wanted: TilePath) -> Result<Option<Vec<u8>>, StoreError> {
        let (shelf, tree) = self.ledger.shelf();
        Ok(shelf.tile(&tree, wanted.tile()).await?.prefix(wanted.width))
    }

    /// A bundle: each leaf after its length, in two bytes.
    async fn bundle(&self, wanted: TilePath) -> Result<Option<Vec<u8>>, StoreError> {
        let (shelf, tree) = self.ledger.shelf();
        let tile = shelf.tile(&tree, wanted.tile()).await?;
        let hashes = tile.hashes().iter().take(wanted.width);
        let first = wanted.index << 8;
        let entries = shelf.archive().entries(first, wanted.width, Detail::Leaves).await?;
        if entries.len() != wanted.width || hashes.len() != wanted.width {
            return Ok(None);
        }
        let mut bundle = Vec::with_capacity(wanted.width * (2 + LEAF_LENGTH));
        for (entry, hash) in entries.iter().zip(hashes) {
            if entry.leaf.hash() != *hash {
                return Err(StoreError::Broken(format!("leaf {} is not in its tile", entry.index)));
            }
            bundle.extend((LEAF_LENGTH as u16).to_be_bytes());
            bundle.extend(entry.leaf.to_bytes());
        }
        Ok(Some(bundle))
    }
}

/// The public routes, to be nested under the ledger's origin. The checkpoint shown changes at most
/// once per interval, and only what it covers is served.
pub fn router(ledger: Ledger, publish_interval: Duration) -> Router {
    let shown = Shown { checkpoint: ledger.public_checkpoint(), since: Instant::now() };
    let public = Public { ledger, interval: publish_interval, shown: Mutex::new(shown) };
    Router::new()
        .route("/checkpoint", get(checkpoint))
        .route("/tile/{*path}", get(tile))
        .with_state(Arc::new(public))
}

async fn checkpoint(State(public): State<Arc<Public>>) -> Response {
    let note = public.checkpoint().note().to_owned();
    ([(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, SHORT)], note).into_response()
}

async fn tile(State(public): State<Arc<Public>>, Path(path): Path<String>) -> Response {
    let size = public.checkpoint().size();
    let Some(wanted) = TilePath::parse(&path).filter(|wanted| wanted.is_covered(size)) else {
        return refuse(StatusCode::NOT_FOUND);
    };
    let bytes = match wanted.level {
        Some(_) => public.tile(wanted).await,
        None => public.bundle(wanted).await,
    };
    match bytes {
        Ok(Some(bytes)) => {
            ([(header::CONTENT_TYPE, BYTES), (header::CACHE_CONTROL, FOR_EVER)], bytes)
                .into_response()
        }
        Ok(None) => refuse(StatusCode::INTERNAL_SERVER_ERROR),
        Err(error) => {
            tracing::error!(%error, "serving a tile");
            refuse(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// A refusal that no cache keeps: what is not covered today is tomorrow.
fn refuse(status: StatusCode) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")]).into_response()
}
