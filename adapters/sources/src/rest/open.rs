// SPDX-License-Identifier: EUPL-1.2
//! From the keys of a REST source to an open one; all mistakes are noted together.

use std::{collections::BTreeMap, sync::Mutex, time::Duration};

use einmal_adapter_kit::register::async_trait;
use einmal_peer::{
    files,
    http::{HttpClient, HttpOptions},
    tls,
};
use einmal_protocol::person::{PersonQuery, idnr_is_valid, is_date};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    HeaderKeys, Method, ProbeKeys, RestKeys,
    auth::{Auth, AuthKeys},
    read::Form,
    source::{Probe, RestSource, Template},
    template::{BodyTemplate, UrlTemplate, Way, check_url},
    tree::check_pointer,
};
use crate::kinds::{BadName, Setup, Source, Spot};

const ANSWER_DEFAULT: usize = 1024 * 1024;
const ANSWER_MAX: usize = 8 * 1024 * 1024;
const CONCURRENT_DEFAULT: usize = 8;
const CONCURRENT_MAX: usize = 256;
const CONNECT_DEFAULT_MS: u64 = 2_000;
/// Fetching a token is nobody's question, and has time of its own.
const TOKEN_WITHIN: Duration = Duration::from_secs(5);
const NOTHING_DEFAULT: [u16; 2] = [404, 204];

#[async_trait]
impl Setup for RestKeys {
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>> {
        // All mistakes are wanted, so nothing ends at the first one.
        let shared = self.url.as_ref().map(|url| {
            let body = self.body.as_ref();
            self.template(url, ("url", body, "body"), spot)
        });
        let ways = self.ways(spot);
        let headers = self.headers(spot);
        let http = self.client(spot.timeout, spot);
        let token_http = self.client(TOKEN_WITHIN, spot);
        if let Some(AuthKeys::OAuth2 { token_url, .. }) = &self.auth
            && let Err((problem, instead)) = check_url(token_url)
        {
            spot.mistake("auth.token_url", problem, instead);
        }
        let auth = Auth::new(self.auth.as_ref(), spot.folder, || token_http.unwrap_or_default());
        let auth = auth.map_err(|error| spot.mistake("auth", error.to_string(), MEND)).ok();
        let form = self.form(spot);
        let limits = self.limits(spot);
        let probe = self.probe.as_ref().map(|probe| probe_of(probe, spot));
        if self.url.is_none() && ways.is_none() {
            return None;
        }
        let (answer_max, concurrent) = limits?;
        Some(Box::new(RestSource {
            name: spot.name.to_owned(),
            http: http?,
            method: match self.method {
                Method::Get => http::Method::GET,
                Method::Post => http::Method::POST,
            },
            shared: match shared {
                Some(template) => Some(template?),
                None => None,
            },
            ways: ways?,
            headers: headers?,
            auth: auth?,
            idempotent: self.idempotent,
            answer_max,
            gate: Semaphore::new(concurrent),
            nothing: self.nothing.clone().unwrap_or_else(|| NOTHING_DEFAULT.to_vec()),
            form: form?,
            probe: match probe {
                Some(probe) => Some(probe?),
                None => None,
            },
            unchecked: Mutex::default(),
        }))
    }
}

const MEND: &str = "write the file's path as seen from the register's file, and mend the file";

impl RestKeys {
    fn template(
        &self,
        url: &str,
        (url_at, body, body_at): (&str, Option<&Value>, &str),
        spot: &mut Spot<'_>,
    ) -> Option<Template> {
        let parsed = UrlTemplate::parse(url);
        let url = parsed.map_err(|(problem, instead)| spot.mistake(url_at, problem, instead)).ok();
        let in_url = url.iter().flat_map(UrlTemplate::variables).any(|v| v.is_personal());
        if in_url && !self.person_in_url {
            let problem = "it has a place for a person, and proxies and servers log URLs";
            let instead = "use POST with `body`; or write `person_in_url = true`, and see to \
                           those logs";
            spot.mistake(url_at, problem, instead);
        }
        let body = match (self.method, body) {
            (Method::Get, None) => None,
            (Method::Get, Some(_)) => {
                spot.mistake(body_at, "GET has no body", "leave it out, or use POST");
                return None;
            }
            (Method::Post, None) => {
                spot.mistake(body_at, "it is missing", "write the body that POST sends");
                return None;
            }
            (Method::Post, Some(body)) => {
                let parsed = BodyTemplate::parse(body);
                let noted = parsed.map_err(|(problem, instead)| {
                    spot.mistake(body_at, problem, instead);
                });
                Some(noted.ok()?)
            }
        };
        Some(Template { url: url?, body })
    }

    fn ways(&self, spot: &mut Spot<'_>) -> Option<BTreeMap<&'static str, Template>> {
        let mut ways = BTreeMap::new();
        let mut whole = true;
        let keys = [
            (Way::Idnr.key(), &self.by_idnr),
            (Way::Names.key(), &self.by_names),
            (Way::Residence.key(), &self.by_residence),
        ];
        for (key, own) in keys {
            let Some(own) = own else { continue };
            let Some(url) = own.url.as_ref().or(self.url.as_ref()) else {
                spot.mistake(&format!("{key}.url"), "it is missing", "write it, or `url`");
                whole = false;
                continue;
            };
            let body = own.body.as_ref().or(self.body.as_ref());
            let (url_at, body_at) = (format!("{key}.url"), format!("{key}.body"));
            match self.template(url, (&url_at, body, &body_at), spot) {
                Some(template) => drop(ways.insert(key, template)),
                None => whole = false,
            }
        }
        if whole && ways.is_empty() && self.url.is_none() {
            spot.mistake("url", "it is missing", "write the URL that is asked");
            whole = false;
        }
        whole.then_some(ways)
    }

    fn headers(&self, spot: &mut Spot<'_>) -> Option<HeaderMap> {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(header::ACCEPT, json.clone())]);
        if self.method == Method::Post {
            headers.insert(header::CONTENT_TYPE, json);
        }
        let mut whole = true;
        for (name, value) in &self.headers {
            let at = format!("headers.{name}");
            let parsed = name.parse::<HeaderName>().ok();
            let Some(parsed) = parsed.filter(|name| !OWN_HEADERS.contains(name)) else {
                let instead = "leave it out; `auth` is for who asks";
                spot.mistake(&at, "it is no header that may be written here", instead);
                whole = false;
                continue;
            };
            let text = match value {
                HeaderKeys::Text(text) => Ok(zeroize::Zeroizing::new(text.clone())),
                HeaderKeys::File(own) => files::secret(&spot.folder.join(&own.file)),
            };
            let value = text.map_err(|error| error.to_string()).and_then(|text| {
                let no_value = |_| "it has characters that cannot stand in a header".to_owned();
                HeaderValue::from_str(&text).map_err(no_value)
            });
            match value {
                Ok(mut value) => {
                    value.set_sensitive(true);
                    headers.insert(parsed, value);
                }
                Err(problem) => {
                    spot.mistake(&at, problem, "write a text, or `{ file = \"…\" }`");
                    whole = false;
                }
            }
        }
        whole.then_some(headers)
    }

    fn client(&self, deadline: Duration, spot: &mut Spot<'_>) -> Option<HttpClient> {
        let authorities = match &self.authorities {
            Some(path) => {
                let read = tls::authorities(&spot.folder.join(path));
                let noted = read.map_err(|e| spot.mistake("authorities", e.to_string(), MEND));
                Some(noted.ok()?)
            }
            None => None,
        };
        let identity = match &self.identity {
            Some(own) => {
                let (certificate, key) =
                    (spot.folder.join(&own.certificate), spot.folder.join(&own.key));
                let read = tls::identity(&certificate, &key);
                let noted = read.map_err(|error| spot.mistake("identity", error.to_string(), MEND));
                Some(noted.ok()?)
            }
            None => None,
        };
        let connect_ms = self.connect_timeout_ms.unwrap_or(CONNECT_DEFAULT_MS);
        let connect_within = Duration::from_millis(connect_ms).min(deadline);
        Some(HttpClient::new(HttpOptions { deadline, connect_within, authorities, identity }))
    }

    fn form(&self, spot: &mut Spot<'_>) -> Option<Form> {
        let mut whole = true;
        for (key, pointer) in [("rows", &self.rows), ("more", &self.more), ("total", &self.total)] {
            let Some(pointer) = pointer else { continue };
            let is_all = key == "rows" && pointer.is_empty();
            if let Err(BadName { problem, instead }) = check_pointer(pointer)
                && !is_all
            {
                spot.mistake(key, problem, instead);
                whole = false;
            }
        }
        whole.then(|| Form {
            rows: self.rows.clone(),
            more: self.more.clone(),
            total: self.total.clone(),
            absent_is_null: self.absent_is_null,
        })
    }

    fn limits(&self, spot: &mut Spot<'_>) -> Option<(usize, usize)> {
        let answer_max = self.answer_max.unwrap_or(ANSWER_DEFAULT);
        let concurrent = self.concurrent.unwrap_or(CONCURRENT_DEFAULT);
        let timeout_ms = u64::try_from(spot.timeout.as_millis()).unwrap_or(u64::MAX);
        let mut whole = true;
        let mut check = |key: &str, good: bool, instead: String| {
            if !good {
                spot.mistake(key, "it is out of range", instead);
                whole = false;
            }
        };
        check("answer_max", (1..=ANSWER_MAX).contains(&answer_max), "write 1 to 8388608".into());
        check("concurrent", (1..=CONCURRENT_MAX).contains(&concurrent), "write 1 to 256".into());
        let connect = self.connect_timeout_ms.is_none_or(|ms| (1..=timeout_ms).contains(&ms));
        check("connect_timeout_ms", connect, format!("write 1 to `timeout_ms`, {timeout_ms}"));
        let statuses = self.nothing.iter().flatten().all(|s| (201..=499).contains(s));
        let instead = "list statuses from 201 to 499 that mean \"nobody\"";
        check("nothing", statuses, instead.into());
        whole.then_some((answer_max, concurrent))
    }
}

/// What the client writes itself.
const OWN_HEADERS: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::AUTHORIZATION,
    header::ACCEPT_ENCODING,
    header::CONTENT_TYPE,
    header::ACCEPT,
];

fn probe_of(keys: &ProbeKeys, spot: &mut Spot<'_>) -> Option<Probe> {
    let found = keys.found.unwrap_or(true);
    let ProbeKeys { url, idnr, family_name, given_names, postcode, place, birth_date, .. } =
        keys.clone();
    let probe = match (url, birth_date, idnr, family_name, given_names, postcode, place) {
        (Some(url), None, None, None, None, None, None) => {
            let checked = check_url(&url);
            let noted = checked.map_err(|(problem, instead)| {
                spot.mistake("probe.url", problem, instead);
            });
            return noted.ok().map(|()| Probe::Url(url));
        }
        (None, Some(birth_date), Some(idnr), None, None, None, None) => {
            idnr_is_valid(&idnr).then_some(PersonQuery::Idnr { idnr, birth_date })
        }
        (None, Some(birth_date), None, Some(family_name), Some(given_names), None, None) => {
            Some(PersonQuery::Names { family_name, given_names, birth_date })
        }
        (None, Some(birth_date), None, Some(family_name), None, Some(postcode), Some(place)) => {
            Some(PersonQuery::Residence { family_name, postcode, place, birth_date })
        }
        _ => None,
    };
    let probe = probe.filter(|person| is_date(crate::lookup::birth_date(person)));
    if probe.is_none() {
        let problem = "it is neither a URL nor a person asked for in a lawful way";
        let instead = "write `url`, or `birth_date` (YYYY-MM-DD) with `idnr`, or with \
                       `family_name` and `given_names`, or with `family_name`, `postcode`, `place`";
        spot.mistake("probe", problem, instead);
    }
    probe.map(|person| Probe::Person(person, found))
}
