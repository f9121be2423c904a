// SPDX-License-Identifier: EUPL-1.2
//! Real servers for tests: started on free loopback ports in temporary folders, and stopped.
//!
//! Where a server is not installed, its test says so and is skipped. What goes wrong with one that
//! is installed panics with the server's own words, for then the test cannot say anything.

#![allow(clippy::expect_used, reason = "only tests use it, and they end where it cannot go on")]

mod mariadb;
mod pgbouncer;
mod place;
mod postgres;
mod process;
mod redis;
mod web;

pub use mariadb::MariaDb;
pub use pgbouncer::PgBouncer;
pub use place::free_port;
pub use postgres::Postgres;
pub use redis::{Redis, RedisCluster, RedisSentinel};
pub use web::{WebCertificates, WebReply, WebRequest, WebServer};
