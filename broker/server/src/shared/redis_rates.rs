// SPDX-License-Identifier: EUPL-1.2
//! Quotas that all brokers count together, in one script and by the clock of Redis.

use std::{sync::Arc, time::Duration};

use super::{
    link::{Away, Link},
    names::{Kind, Names},
    rates::{Rate, Rates, Taken, Whose},
};

/// A lying server makes nobody wait longer.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Takes one of each, or none. Of each name: the interval, and how far ahead the next may lie, both
/// in microseconds. Answers 0, or which one is used up, and for how long.
const TAKE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local due = {}
for i = 1, #KEYS do
  local interval, tolerance = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local at = tonumber(redis.call('GET', KEYS[i]) or '')
  if not (at and at > now) then at = now end
  at = math.min(at, now + tolerance + interval)
  if at > now + tolerance then
    return {i, math.ceil(at - now - tolerance)}
  end
  due[i] = at + interval
end
for i = 1, #KEYS do
  redis.call('SET', KEYS[i], string.format('%.0f', due[i]), 'PX', math.ceil((due[i] - now) / 1000))
end
return {0, 0}";

/// Counts in Redis.
pub(super) struct RedisRates {
    pub(super) link: Arc<Link>,
    pub(super) names: Arc<Names>,
}

impl Rates for RedisRates {
    async fn take(&self, asked: &[(Whose<'_>, Rate)]) -> Result<Taken, Away> {
        if asked.is_empty() {
            return Ok(Taken::All);
        }
        let mut script = redis::cmd("EVAL");
        script.arg(TAKE).arg(asked.len());
        for (whose, _) in asked {
            let (kind, id) = whose.parts();
            script.arg(self.names.name(Kind::Rate, &[kind.as_bytes(), id.as_bytes()]));
        }
        for (_, rate) in asked {
            script.arg(rate.interval_us()).arg(rate.tolerance_us());
        }
        let (which, wait_us): (usize, u64) = self.link.ask(&script).await?;
        match which.checked_sub(1) {
            None => Ok(Taken::All),
            Some(which) if which < asked.len() => {
                Ok(Taken::None { which, wait: Duration::from_micros(wait_us).min(WAIT_MAX) })
            }
            Some(_) => Err(Away),
        }
    }
}
