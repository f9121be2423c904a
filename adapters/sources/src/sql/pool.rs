// SPDX-License-Identifier: EUPL-1.2
//! Connections to one database.
//!
//! A connection that is not given back is closed at once, without a word to the server: a server
//! that hangs could not be told, and would hold its place here. A connection is made in a task of
//! its own, so that a lookup that ends meanwhile leaves it to the next.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::database::Failure;

type Connecting<C> = Pin<Box<dyn Future<Output = Result<C, Failure>> + Send>>;

/// At most so many connections, made when they are needed.
pub(super) struct Pool<C> {
    shared: Arc<Shared<C>>,
    connect: Box<dyn Fn() -> Connecting<C> + Send + Sync>,
    within: Duration,
    lives: Duration,
}

struct Shared<C> {
    idle: Mutex<Vec<(C, Instant)>>,
    slots: Arc<Semaphore>,
}

/// A connection that is used. Dropped, it is closed.
pub(super) struct Held<C> {
    connection: C,
    made: Instant,
    /// Whether it was made for this use.
    pub(super) fresh: bool,
    shared: Arc<Shared<C>>,
    _slot: OwnedSemaphorePermit,
}

impl<C: Send + 'static> Pool<C> {
    /// At most `most` connections, each made within a time and given up at an age.
    pub(super) fn new(
        most: usize,
        within: Duration,
        lives: Duration,
        connect: impl Fn() -> Connecting<C> + Send + Sync + 'static,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(most));
        let shared = Arc::new(Shared { idle: Mutex::default(), slots });
        Self { shared, connect: Box::new(connect), within, lives }
    }

    /// A connection that is free, or a new one.
    pub(super) async fn take(&self) -> Result<Held<C>, Failure> {
        let slots = Arc::clone(&self.shared.slots);
        let slot = tokio::time::timeout(self.within, slots.acquire_owned()).await;
        let Ok(Ok(slot)) = slot else {
            return Err(Failure::new("no connection became free in time; raise `connections`"));
        };
        let shared = Arc::clone(&self.shared);
        if let Some((connection, made)) = self.idle() {
            return Ok(Held { connection, made, fresh: false, shared, _slot: slot });
        }
        let (connecting, within) = ((self.connect)(), self.within);
        let (sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let connected = tokio::time::timeout(within, connecting).await;
            let late = |_| Err(Failure::away("no connection within `connect_timeout_ms`"));
            let held = connected.unwrap_or_else(late).map(|connection| {
                let made = Instant::now();
                Held { connection, made, fresh: true, shared, _slot: slot }
            });
            if let Err(Ok(held)) = sender.send(held) {
                held.give_back();
            }
        });
        receiver.await.unwrap_or_else(|_| Err(Failure::new("the connection failed")))
    }

    /// The connection that was used last and is not too old.
    fn idle(&self) -> Option<(C, Instant)> {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, made)| made.elapsed() < self.lives);
        idle.pop()
    }
}

impl<C> Held<C> {
    pub(super) fn connection(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Leaves it to the next.
    pub(super) fn give_back(self) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((self.connection, self.made));
    }
}
