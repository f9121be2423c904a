// SPDX-License-Identifier: EUPL-1.2
//! What the connector does for an application: whether it may, then ask, then report.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use einmal_client::{Ask, Client, ClientError, Prepared, Received};
use einmal_protocol::Reason;
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    forms::{Answer, Circumstances, UseForm, WANTED_MAX, Wanted},
    problem::Problem,
    settings::{ApplicationConfig, Limits},
    token::TokenHash,
};

/// An application and what of it is under way.
pub(crate) struct Application {
    pub(crate) config: ApplicationConfig,
    pub(crate) places: Arc<Semaphore>,
    unreported: Mutex<VecDeque<(String, Received)>>,
}

/// All that answers calls.
pub(crate) struct Desk {
    clients: HashMap<String, Arc<Client>>,
    applications: Vec<Arc<Application>>,
    pub(crate) limits: Limits,
}

impl Desk {
    pub(crate) fn new(
        clients: HashMap<String, Arc<Client>>,
        applications: Vec<ApplicationConfig>,
        limits: Limits,
    ) -> Self {
        let application = |config| {
            let places = Arc::new(Semaphore::new(limits.in_flight));
            Arc::new(Application { config, places, unreported: Mutex::default() })
        };
        let applications = applications.into_iter().map(application).collect();
        Self { clients, applications, limits }
    }

    /// Whose token it is. All are compared, whichever fits.
    pub(crate) fn application(&self, token: &str) -> Option<Arc<Application>> {
        let hash = TokenHash::of(token);
        let mut found = None;
        for application in &self.applications {
            if application.config.token_sha256.is(&hash) {
                found = Some(Arc::clone(application));
            }
        }
        found
    }

    /// The authority in whose name the call is, where the application may use it.
    fn client(&self, of: &Application, named: Option<&str>) -> Result<Arc<Client>, Problem> {
        let mut may = of.config.authorities.iter();
        let id = match (named, may.next(), may.next()) {
            (Some(id), _, _) if of.config.authorities.contains(id) => id,
            (Some(_), _, _) => return Err(Problem::not_yours("authority")),
            (None, Some(only), None) => only,
            (None, _, _) => return Err(Problem::malformed("the call must name an authority")),
        };
        self.clients.get(id).cloned().ok_or_else(|| Problem::not_yours("authority"))
    }

    fn may(
        &self,
        of: &Application,
        circumstances: &Circumstances,
        wanted: &[Wanted],
    ) -> Result<Arc<Client>, Problem> {
        let client = self.client(of, circumstances.authority.as_deref())?;
        if !of.config.purposes.contains(&circumstances.purpose) {
            return Err(Problem::not_yours("purpose"));
        }
        if wanted.iter().any(|wanted| !of.config.evidence_types.contains(&wanted.evidence_type)) {
            return Err(Problem::not_yours("evidence type"));
        }
        Ok(client)
    }

    /// Many evidences about one person, side by side under one signature and one deadline. Each
    /// has its answer or its problem.
    pub(crate) async fn evidences(
        &self,
        of: &Arc<Application>,
        mut circumstances: Circumstances,
        wanted: Vec<Wanted>,
    ) -> Result<Vec<Result<Answer, Problem>>, Problem> {
        if wanted.is_empty() || wanted.len() > WANTED_MAX {
            return Err(Problem::malformed("a call asks for 1 to 32 evidences"));
        }
        let client = self.may(of, &circumstances, &wanted)?;
        let most = self.limits.deadline_ms;
        let time = Duration::from_millis(circumstances.deadline_ms.unwrap_or(most).min(most));
        let ends = Instant::now() + time;
        let person = circumstances.person()?;
        let asks: Vec<Ask> = wanted.iter().map(|one| circumstances.ask(&person, one)).collect();
        let prepared = tokio::time::timeout_at(ends, prepare(&client, &asks)).await;
        let prepared = prepared.map_err(|_| Problem::from(ClientError::Late))?;
        let mut running = JoinSet::new();
        for (number, (prepared, ask)) in prepared.into_iter().zip(asks).enumerate() {
            let (client, used) = (Arc::clone(&client), circumstances.used);
            running.spawn(async move {
                let asked = tokio::time::timeout_at(ends, send(&client, prepared, ask, ends)).await;
                let received = asked.unwrap_or(Err(ClientError::Late));
                (number, reported(&client, received, used, ends).await)
            });
        }
        let mut answers: Vec<_> = wanted.iter().map(|_| None).collect();
        while let Some(joined) = running.join_next().await {
            let Ok((number, answer)) = joined else { continue };
            let (Some(place), Some(wanted)) = (answers.get_mut(number), wanted.get(number)) else {
                continue;
            };
            *place = Some(answer.map_err(Problem::from).map(|(mut received, reported)| {
                let answer = Answer::of(&wanted.evidence_type, &mut received, reported);
                if !reported {
                    self.remember(of, circumstances.authority.as_deref(), received);
                }
                answer
            }));
        }
        let missing = || Err(Problem::from(ClientError::Late));
        Ok(answers.into_iter().map(|answer| answer.unwrap_or_else(missing)).collect())
    }

    /// Keeps what a later report needs. Values were taken out before.
    fn remember(&self, of: &Application, authority: Option<&str>, received: Received) {
        let only = of.config.authorities.first().map(String::as_str);
        let authority = authority.or(only).unwrap_or_default().to_owned();
        let mut unreported = of.unreported.lock().unwrap_or_else(PoisonError::into_inner);
        if unreported.len() >= self.limits.unreported
            && let Some((_, oldest)) = unreported.pop_front()
        {
            tracing::warn!(request = %oldest.id, "its use was never reported");
        }
        unreported.push_back((authority, received));
    }

    /// Says what became of an earlier answer.
    pub(crate) async fn report(
        &self,
        of: &Application,
        id: &str,
        used: UseForm,
    ) -> Result<Value, Problem> {
        let (authority, received) = {
            let mut unreported = of.unreported.lock().unwrap_or_else(PoisonError::into_inner);
            let place = unreported.iter().position(|(_, one)| one.id.to_string() == id);
            let found = place.and_then(|place| unreported.remove(place));
            found.ok_or_else(Problem::unknown_answer)?
        };
        let client = self.client(of, Some(&authority))?;
        let limit = Duration::from_millis(self.limits.deadline_ms);
        let reporting = client.report_use(&received, used.of(received.outcome));
        let reported = tokio::time::timeout(limit, reporting).await;
        match reported.unwrap_or(Err(ClientError::Late)) {
            Ok(proven) => {
                let ledger = proven.checkpoint().origin();
                let size = proven.checkpoint().size();
                Ok(json!({
                    "id": id,
                    "receipt": { "ledger": ledger, "index": proven.index(), "size": size },
                }))
            }
            Err(error) => {
                // It can be reported once more.
                self.remember(of, Some(&authority), received);
                Err(error.into())
            }
        }
    }

    /// Whether it would be given, and by which rules or why not. Fetches and logs nothing.
    pub(crate) async fn explain(
        &self,
        of: &Application,
        mut circumstances: Circumstances,
        wanted: Wanted,
    ) -> Result<Value, Problem> {
        let client = self.may(of, &circumstances, std::slice::from_ref(&wanted))?;
        let person = circumstances.person()?;
        let ask = circumstances.ask(&person, &wanted);
        let limit = Duration::from_millis(self.limits.deadline_ms);
        let asked = tokio::time::timeout(limit, client.explain(&ask)).await;
        let answer = asked.unwrap_or(Err(ClientError::Late))?;
        let fields: Vec<Value> = answer
            .fields
            .iter()
            .map(|field| {
                let policies: Vec<Value> = field
                    .policies
                    .iter()
                    .map(|p| json!({ "policy": p.policy, "legal_basis": p.legal_basis }))
                    .collect();
                json!({ "field": field.field, "permitted": field.permitted, "policies": policies })
            })
            .collect();
        let advice = Reason::parse(&answer.reason).map(Reason::advice);
        Ok(json!({
            "permitted": answer.permitted,
            "fields": fields,
            "reason": answer.reason,
            "advice": advice,
        }))
    }

    /// What this application may ask for: evidence types, their fields, and who holds them here.
    pub(crate) fn catalogue(
        &self,
        of: &Application,
        named: Option<&str>,
        region: Option<&str>,
    ) -> Result<Value, Problem> {
        let client = self.client(of, named)?;
        let trust = client.trust();
        let authority = trust.directory.authority(client.authority());
        let region = region.or_else(|| authority.map(|found| found.entry.region.as_str()));
        let region = region.unwrap_or_default();
        let types = trust.rules.document().evidence_types.iter();
        let types: Vec<Value> = types
            .filter(|kind| of.config.evidence_types.contains(&kind.id))
            .map(|kind| {
                let fields: Vec<&str> = kind.fields.iter().map(|f| f.name.as_str()).collect();
                let registers = trust.directory.registers_of(&kind.id, region);
                let registers: Vec<&str> = registers.map(|r| r.id.as_str()).collect();
                json!({ "evidence_type": kind.id, "fields": fields, "registers": registers })
            })
            .collect();
        Ok(json!({
            "authority": client.authority(),
            "region": region,
            "purposes": of.config.purposes,
            "evidence_types": types,
        }))
    }

    /// Keeps the last checkpoints of all ledgers.
    pub(crate) fn save(&self) {
        for (authority, client) in &self.clients {
            if let Err(error) = client.save() {
                tracing::error!(authority, %error, "the last checkpoints cannot be kept");
            }
        }
    }
}

/// All under one signature; where one of them cannot be prepared, each under its own, so that the
/// others are asked all the same.
async fn prepare(client: &Client, asks: &[Ask]) -> Vec<Result<Prepared, ClientError>> {
    if let Ok(prepared) = client.prepare(asks).await {
        return prepared.into_iter().map(Ok).collect();
    }
    let mut alone = Vec::with_capacity(asks.len());
    for ask in asks {
        let prepared = client.prepare(std::slice::from_ref(ask)).await;
        let first = prepared.map(|prepared| prepared.into_iter().next());
        let empty = ClientError::Misbehaved("an empty batch");
        alone.push(first.and_then(|first| first.ok_or(empty)));
    }
    alone
}

/// Sends one; where its answer was lost, once more under a new id that says so.
async fn send(
    client: &Client,
    prepared: Result<Prepared, ClientError>,
    ask: Ask,
    ends: Instant,
) -> Result<Received, ClientError> {
    let prepared = prepared?;
    let left = || ends.saturating_duration_since(Instant::now());
    match client.send_within(&prepared, left()).await {
        Err(error) if error.reason() == Some(Reason::AnswerLost) => {
            let again = Ask { retry_of: Some(prepared.id), ..ask };
            let again = client.prepare(&[again]).await?.into_iter().next();
            let again = again.ok_or(ClientError::Misbehaved("an empty batch"))?;
            client.send_within(&again, left()).await
        }
        answer => answer,
    }
}

/// Reports the use at once, where the application said so. A report that fails can be made later.
async fn reported(
    client: &Client,
    received: Result<Received, ClientError>,
    used: Option<UseForm>,
    ends: Instant,
) -> Result<(Received, bool), ClientError> {
    let received = received?;
    let Some(used) = used else { return Ok((received, false)) };
    let reporting = client.report_use(&received, used.of(received.outcome));
    let reported = tokio::time::timeout_at(ends, reporting).await;
    let reported = reported.unwrap_or(Err(ClientError::Late)).inspect_err(|error| {
        tracing::warn!(request = %received.id, %error, "its use could not be reported");
    });
    Ok((received, reported.is_ok()))
}
