// SPDX-License-Identifier: EUPL-1.2
//! What holds for every visit: language, session, headers, time limit, and that no other site
//! posts in the visitor's name.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::Response,
};

use super::{
    App, PAGE_TIME,
    answers::{self, Trouble},
    phrases::Phrases,
    session::Cookie,
    words::{Lang, Words},
};
use crate::login::Login;
use crate::login::RETURN_PATH;

const LANG_COOKIE: &str = "sprache";
const YEAR_SECONDS: u32 = 31_536_000;

/// One visit, as the pages see it.
#[derive(Clone)]
pub(crate) struct Visit {
    pub(crate) lang: Lang,
    pub(crate) w: &'static Words,
    pub(crate) p: &'static Phrases,
    /// Whether there is KERN's style.
    pub(crate) kern: bool,
    pub(crate) demo: bool,
    /// The cookie of the session, or the one that a form was shown with.
    pub(crate) cookie: Option<Cookie>,
    /// Whose session it is.
    pub(crate) person: Option<Login>,
    /// Path and page of this visit, for the links to other languages.
    pub(crate) here: String,
    /// Which entry of the menu this is.
    pub(crate) path: String,
}

impl Visit {
    /// This page in another language.
    pub(crate) fn in_lang(&self, lang: &Lang) -> String {
        let joint = if self.here.contains('?') { '&' } else { '?' };
        format!("{}{joint}lang={}", self.here, lang.as_str())
    }

    /// The token for forms.
    pub(crate) fn form_token(&self) -> String {
        self.cookie.as_ref().and_then(Cookie::form_token).unwrap_or_default()
    }

    /// Whether this page is that one or lies below it, for the menu.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        let below = self.path.strip_prefix(path);
        below.is_some_and(|rest| rest.is_empty() || (path != "/" && rest.starts_with('/')))
    }
}

/// A visit of somebody who is logged in. Everybody else is led to the login.
pub(crate) struct LoggedIn {
    pub(crate) v: Visit,
    pub(crate) person: Login,
}

impl FromRequestParts<Arc<App>> for LoggedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Response> {
        let visit = parts.extensions.get::<Visit>();
        let known = visit.and_then(|v| Some(Self { person: v.person.clone()?, v: v.clone() }));
        known.ok_or_else(|| answers::go("/anmelden"))
    }
}

/// The cookies that carry secrets. The prefix makes browsers insist on HTTPS and this very host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Jar {
    /// A session: never sent along when another site leads here.
    Session,
    /// An attempt to log in: must come along when the provider leads back, and soon.
    Attempt,
}

impl Jar {
    fn name(self, secure: bool) -> &'static str {
        match (self, secure) {
            (Self::Session, true) => "__Host-einmal",
            (Self::Session, false) => "einmal",
            (Self::Attempt, true) => "__Host-anmeldung",
            (Self::Attempt, false) => "anmeldung",
        }
    }

    /// The cookie that came along.
    pub(crate) fn read(self, headers: &HeaderMap, secure: bool) -> Option<Cookie> {
        cookie(headers, self.name(secure)).and_then(Cookie::parse)
    }

    /// Sets the cookie; without one it takes the old one away.
    pub(crate) fn set(self, response: &mut Response, secure: bool, cookie: Option<&Cookie>) {
        let name = self.name(secure);
        let (site, age) = match self {
            Self::Session => ("Strict", ""),
            Self::Attempt => ("Lax", "; Max-Age=900"),
        };
        let (value, age) = match cookie {
            Some(cookie) => (cookie.value(), age),
            None => (String::new(), "; Max-Age=0"),
        };
        let secure = if secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite={site}{secure}{age}");
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

fn query<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// Around every request.
pub(crate) async fn enter(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let chosen = query(&request, "lang").and_then(Lang::parse);
    let visit = visit(&app, &request, chosen);
    let foreign = request.method() == Method::POST && is_foreign(request.headers());
    let mut response = if foreign {
        answers::trouble(&visit, Trouble::Form)
    } else {
        request.extensions_mut().insert(visit.clone());
        match tokio::time::timeout(PAGE_TIME, next.run(request)).await {
            Ok(response) => response,
            Err(_) => answers::trouble(&visit, Trouble::Keeper),
        }
    };
    if let Some(trouble) = bare_refusal(&response) {
        response = answers::trouble(&visit, trouble);
    }
    if response.extensions().get::<answers::EndSession>().is_some()
        && let Some(cookie) = &visit.cookie
    {
        app.sessions.end(cookie);
        Jar::Session.set(&mut response, app.pages.secure_cookies, None);
    }
    if let Some(lang) = chosen {
        let secure = if app.pages.secure_cookies { "; Secure" } else { "" };
        let text = format!(
            "{LANG_COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={YEAR_SECONDS}{secure}",
            lang.as_str()
        );
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    guard(response.headers_mut());
    response
}

fn visit(app: &App, request: &Request, chosen: Option<Lang>) -> Visit {
    let headers = request.headers();
    let lang =
        chosen.or_else(|| cookie(headers, LANG_COOKIE).and_then(Lang::parse)).unwrap_or_default();
    let cookie = Jar::Session.read(headers, app.pages.secure_cookies);
    let now_ms = app.pages.clock.now_ms();
    let person = cookie.as_ref().and_then(|cookie| app.sessions.person(cookie, now_ms));
    let path = request.uri().path().to_owned();
    let here = here(&path, request.uri().query().unwrap_or_default());
    Visit {
        lang,
        w: lang.words(),
        p: lang.phrases(),
        kern: app.pages.kern.is_some(),
        demo: app.pages.demo,
        cookie,
        person,
        here,
        path,
    }
}

/// This page with its query, but for the language; not at all where it brings a login's code.
fn here(path: &str, query: &str) -> String {
    let kept: Vec<&str> =
        query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("lang=")).collect();
    match kept.as_slice() {
        _ if path == RETURN_PATH => "/".to_owned(),
        [] => path.to_owned(),
        kept if query.len() <= 1000 => format!("{path}?{}", kept.join("&")),
        _ => path.to_owned(),
    }
}

/// What the framework refused in words of its own, which are for programmers.
fn bare_refusal(response: &Response) -> Option<Trouble> {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_page = kind.is_some_and(|kind| !kind.as_bytes().starts_with(b"text/plain"));
    match response.status() {
        status if !status.is_client_error() || is_page => None,
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => Some(Trouble::NotFound),
        _ => Some(Trouble::Form),
    }
}

/// Whether a browser says that another site made it send this.
fn is_foreign(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none")
}

/// Headers of every answer.
fn guard(headers: &mut HeaderMap) {
    const HEADERS: [(HeaderName, &str); 8] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self' data:; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
