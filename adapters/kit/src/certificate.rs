// SPDX-License-Identifier: EUPL-1.2
//! The own certificate, read again when its files change. Streams are then attached anew, before
//! the old certificate ends.

use einmal_peer::{Tls, reload};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Follows the files until it is stopped.
pub(crate) async fn follow(current: watch::Sender<Tls>, stop: CancellationToken) {
    let files = current.borrow().files.clone();
    reload::follow(files, |tls, is_first| take(&current, tls, is_first), stop).await;
}

fn take(current: &watch::Sender<Tls>, tls: Tls, is_first: bool) {
    let held = current.borrow().clone();
    if tls.own != held.own {
        tracing::error!(own = %held.own, "alarm: the new certificate is somebody else's");
    } else if !is_first || tls.ends_at_ms() != held.ends_at_ms() {
        tracing::info!(ends_at_ms = tls.ends_at_ms(), "the certificate was read again");
        current.send_replace(tls);
    }
}
