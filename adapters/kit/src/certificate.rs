// SPDX-License-Identifier: EUPL-1.2
//! The own certificate, its key, the authorities and revocation lists, read again when their files
//! change. Streams are then attached anew, before the old certificate ends.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use einmal_peer::{Tls, TlsFiles, files::FileError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// When each file was changed, and how long it is.
type Stamps = Vec<Option<(SystemTime, u64)>>;

fn stamps(files: &TlsFiles) -> Stamps {
    let TlsFiles { certificate, key, authorities, revocations } = files;
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    [certificate, key, authorities].into_iter().chain(revocations).map(stamp).collect()
}

/// Reads the files again whenever they change, until it is stopped. Files that cannot be used are
/// told, and those read before go on.
pub(crate) async fn follow(current: watch::Sender<Tls>, stop: CancellationToken) {
    let files = current.borrow().files.clone();
    // They may have changed since they were read.
    let (mut read, mut told) = (None, None);
    while !stop.is_cancelled() {
        let found = stamps(&files);
        if read.as_ref() != Some(&found) {
            let again = files.clone();
            let loaded = tokio::task::spawn_blocking(move || Tls::load(&again)).await;
            match loaded.map_err(|error| FileError::new(&files.certificate, error)) {
                Ok(Ok(tls)) => {
                    take(&current, tls, read.is_none());
                    read = Some(found);
                }
                // Perhaps one of them is still to come: it is tried again, and told once.
                Ok(Err(error)) | Err(error) => {
                    if told.as_ref() != Some(&found) {
                        tracing::error!(%error, "alarm: the new certificate cannot be used");
                    }
                    told = Some(found);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
}

fn take(current: &watch::Sender<Tls>, tls: Tls, is_first: bool) {
    let held = current.borrow().clone();
    if tls.own != held.own {
        tracing::error!(own = %held.own, "alarm: the new certificate is somebody else's");
    } else if !is_first || tls.ends_at_ms != held.ends_at_ms {
        tracing::info!(ends_at_ms = tls.ends_at_ms, "the certificate was read again");
        current.send_replace(tls);
    }
}
