// SPDX-License-Identifier: EUPL-1.2
//! How many lookups of one register run at once: so many places, so many that may wait for one,
//! and everybody else is turned away at once.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The places of one register.
#[derive(Debug)]
pub(crate) struct Limiter {
    places: Arc<Semaphore>,
    all: usize,
    seats: Semaphore,
    patience: Duration,
}

/// A place, free again when the last clone of it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "held, never read")] Arc<OwnedSemaphorePermit>,
);

impl Limiter {
    /// `places` at once, `waiting` more may wait so long.
    pub(crate) fn new(places: usize, waiting: usize, patience: Duration) -> Self {
        let all = places.clamp(1, Semaphore::MAX_PERMITS);
        let seats = Semaphore::new(waiting.min(Semaphore::MAX_PERMITS));
        Self { places: Arc::new(Semaphore::new(all)), all, seats, patience }
    }

    /// A place, now or soon; nothing where too many wait already, or none came free in time.
    pub(crate) async fn enter(&self) -> Option<Place> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let _seat = self.seats.try_acquire().ok()?;
                let place = Arc::clone(&self.places).acquire_owned();
                timeout(self.patience, place).await.ok()?.ok()?
            }
        };
        Some(Place(Arc::new(place)))
    }

    /// How many places are taken.
    pub(crate) fn taken(&self) -> usize {
        self.all.saturating_sub(self.places.available_permits())
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> usize {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn so_many_at_once_so_many_wait_and_the_rest_is_turned_away() {
        let limiter = Arc::new(Limiter::new(2, 1, Duration::from_secs(20)));
        let (one, two) = (limiter.enter().await.unwrap(), limiter.enter().await.unwrap());
        let third = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { limiter.enter().await }
        });
        while limiter.seats.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(limiter.enter().await.is_none(), "one waits already");
        let clone = one.clone();
        drop(one);
        assert_eq!(limiter.taken(), 2, "a clone holds the place");
        drop(clone);
        assert!(third.await.unwrap().is_some());
        drop(two);
        assert_eq!(limiter.taken(), 0);
        let impatient = Limiter::new(1, 1, Duration::from_millis(10));
        let _held = impatient.enter().await.unwrap();
        assert!(impatient.enter().await.is_none(), "none came free in time");
        assert_eq!(impatient.seats.available_permits(), 1);
    }
}
