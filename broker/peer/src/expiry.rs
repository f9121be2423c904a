// SPDX-License-Identifier: EUPL-1.2
//! What ends soon, and that somebody is told in time: once a day from thirty days before, as an
//! alarm from ten days before.

use std::{sync::Arc, time::Duration};

use einmal_policy::Trust;
use einmal_protocol::time::{DAY_MS, day_of, to_iso};
use tokio_util::sync::CancellationToken;

use crate::{Clock, Tls, TrustStore};

/// Days before the end from which on each is worse than the one before.
pub const STEPS: [u64; 3] = [30, 10, 3];
/// How often it is looked whether a new day has begun.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// Something that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// "root", "rules", "directory" or "certificate".
    pub what: &'static str,
    /// When, UTC milliseconds.
    pub at_ms: u64,
}

/// Something that ends soon, or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What.
    pub end: End,
    /// Within how many days: 30, 10 or 3; 0 where it is over.
    pub within_days: u64,
}

impl Warning {
    /// Whether it is more than a warning.
    pub fn is_alarm(&self) -> bool {
        self.within_days < STEPS[0]
    }
}

/// What ends within thirty days, the nearest first.
pub fn warnings(now_ms: u64, ends: &[End]) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = ends
        .iter()
        .filter_map(|end| {
            let left_ms = end.at_ms.saturating_sub(now_ms);
            if left_ms == 0 {
                return Some(Warning { end: *end, within_days: 0 });
            }
            let within = STEPS.iter().rev().find(|days| left_ms <= **days * DAY_MS)?;
            Some(Warning { end: *end, within_days: *within })
        })
        .collect();
    warnings.sort_by_key(|warning| warning.end.at_ms);
    warnings
}

/// When what a party relies on ends.
pub fn ends(trust: &Trust, certificate_ends_at_ms: u64) -> [End; 4] {
    [
        End { what: "root", at_ms: trust.root.document().expires_at_ms },
        End { what: "rules", at_ms: trust.rules.document().expires_at_ms },
        End { what: "directory", at_ms: trust.directory.document().expires_at_ms },
        End { what: "certificate", at_ms: certificate_ends_at_ms },
    ]
}

/// Logs once a day what ends soon, from now on until it is stopped.
pub async fn daily(trust: Arc<TrustStore>, tls: Tls, clock: Clock, stop: CancellationToken) {
    let mut told_on = None;
    loop {
        let now_ms = clock.now_ms();
        if told_on != Some(day_of(now_ms)) {
            told_on = Some(day_of(now_ms));
            for warning in warnings(now_ms, &ends(&trust.current(), tls.ends_at_ms())) {
                tell(&warning);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn tell(warning: &Warning) {
    let Warning { end: End { what, at_ms }, within_days } = warning;
    let ends = to_iso(*at_ms);
    match within_days {
        0 => tracing::error!(what, ends, "alarm: it is over: publish or install a newer one"),
        days if warning.is_alarm() => {
            tracing::error!(what, ends, "alarm: it ends within {days} days: have a newer one made");
        }
        days => tracing::warn!(what, ends, "it ends within {days} days: have a newer one made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warned_at_thirty_days_alarmed_at_ten_and_three() {
        let now_ms = 20_000 * DAY_MS;
        let at = |what, left_ms: i64| End { what, at_ms: now_ms.saturating_add_signed(left_ms) };
        let day = i64::try_from(DAY_MS).unwrap();
        let ends = [
            at("root", 30 * day + 1),
            at("rules", 30 * day),
            at("directory", 3 * day),
            at("certificate", 3 * day + 1),
        ];
        let told = |ends: &[End]| -> Vec<(&str, u64, bool)> {
            let warnings = warnings(now_ms, ends);
            warnings.iter().map(|one| (one.end.what, one.within_days, one.is_alarm())).collect()
        };
        assert_eq!(
            told(&ends),
            [("directory", 3, true), ("certificate", 10, true), ("rules", 30, false)]
        );
        assert_eq!(told(&[at("rules", 10 * day)]), [("rules", 10, true)]);
        assert_eq!(told(&[at("rules", 10 * day + 1)]), [("rules", 30, false)]);
        for over in [0, -1, -400 * day] {
            assert_eq!(told(&[at("rules", over)]), [("rules", 0, true)]);
        }
    }
}
