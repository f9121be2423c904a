// SPDX-License-Identifier: EUPL-1.2
//! Where people log in, and what the small world's keeper takes of it.

use std::sync::Arc;

use einmal_cockpit::login::{DemoPerson, DemoProvider, LoginConfig, Logins, Provider};
use einmal_peer::Clock;
use einmal_protocol::wire::v1::Subject;
use tokio_util::sync::CancellationToken;

use super::{canary, other};

/// Where the pages are, as the provider knows them.
pub(crate) const COCKPIT: &str = "https://cockpit.example";

pub(crate) fn demo_person(subject: Subject) -> DemoPerson {
    DemoPerson {
        idnr: subject.idnr,
        birth_name: subject.birth_name,
        given_names: subject.given_names,
        birth_date: subject.birth_date,
        birth_place: subject.birth_place,
    }
}

/// A demo's provider with two persons.
pub(crate) async fn provider(clock: &Clock) -> LoginConfig {
    let persons = vec![demo_person(canary()), demo_person(other())];
    let stop = CancellationToken::new();
    DemoProvider::start(persons, COCKPIT, clock.clone(), stop).await.unwrap()
}

/// What the keeper of a demonstration takes: tokens of its provider, and within one process none.
pub(super) fn demo_logins(login: &LoginConfig, clock: &Clock) -> Logins {
    let provider = Provider::new(login, clock.clone()).unwrap();
    Logins { demo: true, oidc: Some(Arc::new(provider)) }
}
