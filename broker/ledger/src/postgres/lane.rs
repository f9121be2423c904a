// SPDX-License-Identifier: EUPL-1.2
//! Connections, lent for one transaction each. One goes back only after its transaction has ended
//! well; one that is dropped with a transaction open is closed, and the transaction with it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection,
    postgres::{PgArguments, PgConnectOptions, PgRow},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    options::PostgresOptions,
    rows::{fault, is_lost},
};
use crate::store::StoreError;

/// A statement with its values.
pub(super) type Question<'q> = sqlx::query::Query<'q, sqlx::Postgres, PgArguments>;

/// After this long without an answer there is none.
const ANSWER: Duration = Duration::from_secs(10);
/// What the server itself keeps to, in milliseconds, so that what a client has given up does not
/// go on for ever: shorter than `ANSWER`, and no lock is waited for that a dead client holds.
const STATEMENT_MS: u32 = 8000;
const LOCK_MS: u32 = 7000;
const IDLE_MS: u32 = 5000;

/// What every transaction begins with: settings of the transaction alone, which poolers allow.
pub(super) fn opening(mode: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED {mode}; \
         SET LOCAL statement_timeout = {STATEMENT_MS}; SET LOCAL lock_timeout = {LOCK_MS}; \
         SET LOCAL idle_in_transaction_session_timeout = {IDLE_MS}; "
    )
}

/// Some connections to one server.
pub(super) struct Lane {
    connect: PgConnectOptions,
    pooler: bool,
    idle: Mutex<Vec<PgConnection>>,
    connections: usize,
    permits: Semaphore,
}

impl Lane {
    /// At most this many at a time.
    pub(super) fn new(options: &PostgresOptions, connections: usize) -> Self {
        Self {
            connect: options.connect.clone(),
            pooler: options.pooler,
            idle: Mutex::default(),
            connections,
            permits: Semaphore::new(connections),
        }
    }

    /// Begins a transaction by these statements; with the rows that they answered.
    pub(super) async fn begin(
        &self,
        statements: &str,
    ) -> Result<(Transaction<'_>, Vec<PgRow>), StoreError> {
        let deadline = Instant::now() + ANSWER;
        let permit = within(deadline, self.permits.acquire()).await?;
        let permit = permit.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        if let Some(mut connection) = self.take() {
            match within(deadline, run(&mut connection, statements)).await? {
                Ok(rows) => {
                    let lane = self;
                    return Ok((Transaction { lane, connection, deadline, _permit: permit }, rows));
                }
                // The server was restarted since; the other connections will be no better.
                Err(error) if is_lost(&error) => self.forget_all(),
                Err(error) => return Err(fault(error)),
            }
        }
        let connection = within(deadline, PgConnection::connect_with(&self.connect)).await?;
        let mut connection = connection.map_err(fault)?;
        let rows = within(deadline, run(&mut connection, statements)).await?.map_err(fault)?;
        Ok((Transaction { lane: self, connection, deadline, _permit: permit }, rows))
    }

    /// Lends no more, waits for what is lent, and says good-bye to the server.
    pub(super) async fn close(&self) {
        let all = u32::try_from(self.connections).unwrap_or(u32::MAX);
        // Whoever holds one longer has been given up, and drops it by itself.
        let lent = timeout_at(Instant::now() + ANSWER, self.permits.acquire_many(all)).await;
        self.permits.close();
        while let Some(connection) = self.take() {
            let _gone = timeout_at(Instant::now() + ANSWER, connection.close()).await;
        }
        drop(lent);
    }

    fn take(&self) -> Option<PgConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn give(&self, connection: PgConnection) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn forget_all(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A transaction, and the connection that it has to itself. Dropped, it is rolled back.
pub(super) struct Transaction<'a> {
    lane: &'a Lane,
    connection: PgConnection,
    deadline: Instant,
    _permit: SemaphorePermit<'a>,
}

impl Transaction<'_> {
    /// Runs some statements without values.
    pub(super) async fn run(&mut self, statements: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        let run = run(&mut self.connection, statements);
        within(self.deadline, run).await.unwrap_or_else(|_| Err(late()))
    }

    /// Runs one statement with values.
    pub(super) async fn ask(&mut self, question: Question<'_>) -> Result<Vec<PgRow>, sqlx::Error> {
        // A statement with a name is one server's, and a pooler may give us another next time.
        let question = question.persistent(!self.lane.pooler);
        let answer = question.fetch_all(&mut self.connection);
        within(self.deadline, answer).await.unwrap_or_else(|_| Err(late()))
    }

    /// Commits. After any error the outcome is not known.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        // The server's own timeouts end with the last statement, and so do not cut this short: a
        // wait for a synchronous standby that is cut short succeeds.
        let commit = run(&mut self.connection, "COMMIT");
        within(Instant::now() + ANSWER, commit).await?.map_err(fault)?;
        self.lane.give(self.connection);
        Ok(())
    }

    /// Ends it without effect.
    pub(super) async fn roll_back(mut self) {
        if self.run("ROLLBACK").await.is_ok() {
            self.lane.give(self.connection);
        }
    }
}

async fn run(connection: &mut PgConnection, statements: &str) -> Result<Vec<PgRow>, sqlx::Error> {
    // Made of constants, of numbers, and of a schema's name that was checked.
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).fetch_all(connection).await
}

async fn within<T>(deadline: Instant, answer: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout_at(deadline, answer).await.map_err(|_| fault(late()))
}

fn late() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::other(format!("no answer in {} seconds", ANSWER.as_secs())))
}
