// SPDX-License-Identifier: EUPL-1.2
//! The own certificate, its key, the authorities and revocation lists, read again when their files
//! change.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use crate::{Tls, TlsFiles, files::FileError};

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

/// Reads the files again whenever they change, until it is stopped, and gives what was read to
/// `take`; the first time at once, since they may have changed since they were read. Files that
/// cannot be used are told, and those read before go on.
pub async fn follow(files: TlsFiles, take: impl Fn(Tls, bool), stop: CancellationToken) {
    let (mut read, mut told) = (None, None);
    while !stop.is_cancelled() {
        let found = stamps(&files);
        if read.as_ref() != Some(&found) {
            let again = files.clone();
            let loaded = tokio::task::spawn_blocking(move || Tls::load(&again)).await;
            match loaded.map_err(|error| FileError::new(&files.certificate, error)) {
                Ok(Ok(tls)) => {
                    take(tls, read.is_none());
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

/// Keeps a party's certificate, authorities and revocation lists those of its files, for all that
/// listens and dials with it.
pub async fn keep(tls: Tls, stop: CancellationToken) {
    let files = tls.files.clone();
    let take = |read: Tls, is_first: bool| {
        if read.own != tls.own {
            tracing::error!(own = %tls.own, "alarm: the new certificate is somebody else's");
        } else if tls.take(&read) || !is_first {
            let ends_at_ms = tls.ends_at_ms();
            tracing::info!(
                ends_at_ms,
                "certificate, authorities and revocation lists were read again"
            );
        }
    };
    follow(files, take, stop).await;
}
