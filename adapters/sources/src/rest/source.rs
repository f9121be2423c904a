// SPDX-License-Identifier: EUPL-1.2
//! An open REST source: one question, at most one more try, one answer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use einmal_adapter_kit::register::{Query, RegisterFault, async_trait};
use einmal_peer::http::{HttpAnswer, HttpClient, HttpError, HttpRequest};
use einmal_protocol::person::PersonQuery;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{
    Problem,
    auth::Auth,
    read::{self, Form, MORE},
    template::{BodyTemplate, Filling, UrlTemplate, Way},
    tree::Node,
};
use crate::{
    kinds::{Listing, Source, Spot},
    lookup::{self, Lookup, Wanted, birth_date},
    plan::Plan,
};

/// A request before it is about anybody.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    pub(crate) url: UrlTemplate,
    pub(crate) body: Option<BodyTemplate>,
}

/// What is asked at start.
pub(crate) enum Probe {
    Url(String),
    /// Whether they must be found.
    Person(PersonQuery, bool),
}

pub(crate) struct RestSource {
    pub(crate) name: String,
    pub(crate) http: HttpClient,
    pub(crate) method: Method,
    pub(crate) shared: Option<Template>,
    /// By [`Way::key`].
    pub(crate) ways: BTreeMap<&'static str, Template>,
    pub(crate) headers: HeaderMap,
    pub(crate) auth: Auth,
    pub(crate) idempotent: bool,
    pub(crate) answer_max: usize,
    pub(crate) gate: Semaphore,
    pub(crate) nothing: Vec<u16>,
    pub(crate) form: Form,
    pub(crate) probe: Option<Probe>,
    pub(crate) unchecked: Mutex<Vec<String>>,
}

/// A request to be sent, perhaps twice.
struct Ready {
    url: Zeroizing<String>,
    body: Zeroizing<Vec<u8>>,
}

impl RestSource {
    pub(crate) fn template(&self, way: Way) -> Option<&Template> {
        self.ways.get(way.key()).or(self.shared.as_ref())
    }

    async fn look_up(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, Problem> {
        let birth = plan.matching.birth_format.write(birth_date(&query.person));
        let Some(birth) = birth.map(Zeroizing::new) else { return Ok(Lookup::Nothing) };
        let filling = Filling { person: &query.person, birth_date: &birth, fields: &query.fields };
        let unfit = || Problem::Refused("no request is configured for this way of asking".into());
        let template = self.template(Way::of(&query.person)).ok_or_else(unfit)?;
        let body = template.body.as_ref().map(|body| body.fill(&filling).ok_or_else(unfit));
        let body = Zeroizing::new(body.transpose()?.unwrap_or_default());
        let url = template.url.fill(&filling).ok_or_else(unfit)?;
        // Waiting for a place counts into the time limit, as all of this does.
        let _place = self.gate.acquire().await.map_err(|_| unfit())?;
        match self.ask(&Ready { url, body }).await? {
            None => Ok(Lookup::Nothing),
            Some(answer) => read::select(&self.form, plan, query, wanted, &answer),
        }
    }

    /// The answer; nothing where the server says that there is none.
    async fn ask(&self, ready: &Ready) -> Result<Option<Node>, Problem> {
        let again = self.idempotent || self.method == Method::GET;
        let (first, may_pass) = self.once(ready).await;
        let answer = match first {
            Err(_) if again && may_pass => self.once(ready).await.0?,
            first => first?,
        };
        self.read(answer)
    }

    /// Sends it. The second part says whether another try may go better.
    async fn once(&self, ready: &Ready) -> (Result<HttpAnswer, Problem>, bool) {
        let token = match self.auth.header().await {
            Ok(token) => token,
            Err(problem) => return (Err(problem), false),
        };
        let mut headers = self.headers.clone();
        headers.extend(token.clone().map(|token| (header::AUTHORIZATION, token)));
        let request = HttpRequest {
            method: self.method.clone(),
            url: &ready.url,
            headers,
            body: ready.body.to_vec(),
        };
        let answer = match self.http.send(request, self.answer_max).await {
            Ok(answer) => answer,
            Err(error) => {
                let may_pass = matches!(error, HttpError::Broken(_) | HttpError::Unreachable(_));
                return (Err(not_answered(&error)), may_pass);
            }
        };
        let status = answer.status.as_u16();
        if self.nothing.contains(&status) {
            return (Ok(answer), false);
        }
        let says = |hint: &str| format!("status {status}, content type {}{hint}", kind(&answer));
        match status {
            401 => {
                let renewed = self.auth.forget(token.as_ref());
                (Err(Problem::Refused(says("; check `auth`"))), renewed)
            }
            403 | 407 => (Err(Problem::Refused(says("; check `auth`"))), false),
            429 => (Err(Problem::Away(says("; lower `concurrent`"))), false),
            502..=504 => (Err(Problem::Away(says(""))), true),
            300..=399 => {
                let hint = "; redirects are not followed, write the last URL";
                (Err(Problem::Refused(says(hint))), false)
            }
            _ => (Ok(answer), false),
        }
    }

    fn read(&self, answer: HttpAnswer) -> Result<Option<Node>, Problem> {
        let status = answer.status.as_u16();
        let kind = kind(&answer);
        let HttpAnswer { body, headers, .. } = answer;
        let body = Zeroizing::new(body);
        if self.nothing.contains(&status) {
            return Ok(None);
        }
        let shape = |problem: &str| {
            Problem::Shape(format!("status {status}, content type {kind}: {problem}"))
        };
        if status != StatusCode::OK.as_u16() {
            return Err(shape("this is not expected; `nothing` lists what means \"nobody\""));
        }
        if kind != "application/json" && !kind.ends_with("+json") {
            return Err(shape("this is no JSON"));
        }
        if headers.get_all(header::LINK).iter().any(is_next) {
            return Err(shape(MORE));
        }
        Node::parse(&body).map(Some).map_err(|problem| shape(&problem))
    }

    /// Asks for a URL that only has to answer.
    async fn ask_health(&self, url: &str) -> Result<(), Problem> {
        let mut headers = self.headers.clone();
        let token = self.auth.header().await?;
        headers.extend(token.map(|token| (header::AUTHORIZATION, token)));
        let request = HttpRequest { method: Method::GET, url, headers, body: Vec::new() };
        let answer = self.http.send(request, self.answer_max).await;
        let answer = answer.map_err(|error| not_answered(&error))?;
        let says = format!("status {}", answer.status.as_u16());
        match answer.status {
            status if status.is_success() => Ok(()),
            status if status.is_server_error() => Err(Problem::Away(says)),
            _ => Err(Problem::Refused(says)),
        }
    }

    /// Asks for the invented person.
    async fn ask_probe(
        &self,
        plan: &Plan,
        person: &PersonQuery,
        must_be_found: bool,
    ) -> Result<(), Problem> {
        let Some(wanted) = Wanted::new(plan, person) else {
            let key = Way::of(person).key();
            self.note(format!("`probe` was not asked: no column to match by, as {key} needs"));
            return Ok(());
        };
        let fields = plan.fields.keys().cloned().collect();
        let query = Query { person: person.clone(), evidence_type: String::new(), fields };
        let found = self.look_up(plan, &query, &wanted).await?;
        let shape = |problem: &str| Err(Problem::Shape(problem.to_owned()));
        match found {
            Lookup::Nothing if must_be_found => shape("the person of `probe` was not found"),
            Lookup::Ambiguous if must_be_found => shape("more than one person fits `probe`"),
            Lookup::One(hit) if must_be_found && hit.blocked => {
                shape("the person of `probe` is blocked")
            }
            lookup => {
                let answer = lookup::answer(plan, &query, lookup);
                answer.map(|_| ()).map_err(|fault| Problem::Shape(fault.to_string()))
            }
        }
    }

    async fn check_answers(&self, plans: &[&Plan], spot: &mut Spot<'_>) {
        let mut results = Vec::new();
        match &self.probe {
            None => {
                self.note("no pointer was checked: JSON has no schema here, and no `probe`".into());
                results.push(self.auth.header().await.map(|_| ()));
            }
            Some(Probe::Url(url)) => {
                self.note("no pointer was checked: `probe` asks for no person".into());
                results.push(self.ask_health(url).await);
            }
            Some(Probe::Person(person, found)) => {
                for plan in plans {
                    results.push(self.ask_probe(plan, person, *found).await);
                }
            }
        }
        for result in results {
            match result {
                Ok(()) => {}
                // A service may start after the adapter; until then it is a fault to ask it.
                Err(Problem::Away(problem)) => {
                    self.note(format!("the service did not answer: {problem}"));
                }
                Err(problem) => {
                    let at = if self.probe.is_some() { "probe" } else { "auth" };
                    spot.mistake(at, problem.to_string(), "correct it, or the service");
                }
            }
        }
    }

    fn check_ways(&self, plan: &Plan, spot: &mut Spot<'_>) {
        let m = &plan.matching;
        let named = m.family_name.is_some();
        let ways = [
            (Way::Idnr, m.idnr.is_some()),
            (Way::Names, named && m.given_names.is_some()),
            (Way::Residence, named && m.postcode.is_some() && m.place.is_some()),
        ];
        for (way, _) in ways.into_iter().filter(|(_, possible)| *possible) {
            let Some(template) = self.template(way) else {
                spot.mistake(way.key(), "there is no request for it", "write its `url`");
                continue;
            };
            if template.url.variables().any(|variable| !variable.is_in(way)) {
                let problem = "its URL has a place that such questions have no value for";
                spot.mistake(way.key(), problem, "write a `url` of its own");
            }
            let mut places: Vec<_> = template.url.variables().collect();
            if let Some(body) = &template.body {
                body.variables(&mut places);
            }
            if !places.iter().any(|place| place.is_personal() && place.is_in(way)) {
                let problem = "its request does not say who is meant";
                spot.mistake(way.key(), problem, "write `{birth_date}` or more into `body`");
            }
        }
    }

    fn note(&self, what: String) {
        tracing::warn!(source.name = self.name, what, "not all could be checked");
        self.unchecked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

#[async_trait]
impl Source for RestSource {
    async fn listing(&self, _tables: &[&str], _spot: &mut Spot<'_>) -> Option<Listing> {
        // What an answer has is known only when there is one.
        Some(Listing::default())
    }

    async fn ready(&mut self, plans: &[&Plan], spot: &mut Spot<'_>) {
        for plan in plans {
            self.check_ways(plan, spot);
        }
        self.check_answers(plans, spot).await;
    }

    async fn find(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault> {
        let found = self.look_up(plan, query, wanted).await;
        found.map_err(|problem| problem.fault(&self.name))
    }

    fn unchecked(&self) -> Vec<String> {
        self.unchecked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An answer that is too long or compressed is one: it may have to do with the person.
fn not_answered(error: &HttpError) -> Problem {
    match error {
        HttpError::TooLarge { .. } | HttpError::Compressed => Problem::Shape(error.to_string()),
        _ => Problem::Away(error.to_string()),
    }
}

/// The content type without its parameters, where it looks like one: a server may write anything.
fn kind(answer: &HttpAnswer) -> String {
    let essence = answer.content_type.split(';').next().unwrap_or_default().trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte);
    match essence.len() {
        0 => "none".into(),
        1..=64 if essence.bytes().all(plain) => essence.to_ascii_lowercase(),
        _ => "unreadable".into(),
    }
}

/// Whether a `Link` header (RFC 8288) names a next page.
fn is_next(link: &HeaderValue) -> bool {
    let text = link.to_str().unwrap_or_default().to_ascii_lowercase();
    text.split(';').any(|part| {
        let value = part.trim().strip_prefix("rel").map(str::trim_start);
        let value = value.and_then(|rest| rest.strip_prefix('='));
        value.is_some_and(|value| value.split(['"', ' ', ',']).any(|word| word == "next"))
    })
}
