// SPDX-License-Identifier: EUPL-1.2
//! To the login provider, back with a session, and out again.

use askama::Template;
use axum::{
    Extension, Form,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{
    answers::{Trouble, go, page, trouble},
    routes::{Shared, Visitor},
    session::Cookie,
    visit::{Jar, Visit},
};
use crate::login::{LoginError, oidc::TokenError};

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    v: &'a Visit,
}

#[derive(Template)]
#[template(path = "welcome.html")]
struct WelcomePage<'a> {
    v: &'a Visit,
}

#[derive(Template)]
#[template(path = "logged_out.html")]
struct LoggedOutPage<'a> {
    v: &'a Visit,
    provider: Option<String>,
}

/// What the provider sends back.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Return {
    code: String,
    state: String,
    error: String,
}

/// A form that carries nothing but its token.
#[derive(Deserialize)]
pub(crate) struct TokenForm {
    #[serde(default)]
    pub(crate) token: String,
}

pub(crate) async fn explain(Extension(v): Visitor) -> Response {
    if v.person.is_some() { go("/uebersicht") } else { page(&LoginPage { v: &v }) }
}

/// To the provider, with a cookie that alone can come back.
pub(crate) async fn leave(
    State(app): Shared,
    Extension(v): Visitor,
    headers: HeaderMap,
) -> Response {
    // Another site must not send people through a login that they did not ask for.
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site") {
        return go("/anmelden");
    }
    let begun = Cookie::new().and_then(|cookie| Some((cookie.attempt()?, cookie)));
    let Some((attempt, cookie)) = begun else { return trouble(&v, Trouble::Broken) };
    let url = match app.pages.login.begin(&attempt, v.lang.pick("de", "en", "de")).await {
        Ok(url) => url,
        Err(error) => return failed(&v, &error),
    };
    let Ok(url) = HeaderValue::from_str(&url) else { return trouble(&v, Trouble::LoginAway) };
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, url)]).into_response();
    Jar::Attempt.set(&mut response, app.pages.secure_cookies, Some(&cookie));
    response
}

/// Back from the provider. The session's cookie is a new one, whatever came along.
pub(crate) async fn arrive(
    State(app): Shared,
    Extension(v): Visitor,
    headers: HeaderMap,
    Query(back): Query<Return>,
) -> Response {
    let secure = app.pages.secure_cookies;
    let attempt = Jar::Attempt.read(&headers, secure).and_then(|cookie| cookie.attempt());
    let attempt = attempt.filter(|attempt| super::session::same(&attempt.state, &back.state));
    let mut response = match attempt {
        None => trouble(&v, Trouble::Login),
        Some(_) if !back.error.is_empty() || back.code.is_empty() => trouble(&v, Trouble::Login),
        Some(attempt) => {
            let code = Zeroizing::new(back.code);
            match app.pages.login.finish(&attempt, &code).await {
                Ok(login) => {
                    if let Some(old) = &v.cookie {
                        app.sessions.end(old);
                    }
                    match app.sessions.begin(&login, app.pages.clock.now_ms()) {
                        Some(cookie) => {
                            // Not a redirect: a browser that comes from another site would not
                            // send the strict cookie along with it.
                            let mut response = page(&WelcomePage { v: &v });
                            Jar::Session.set(&mut response, secure, Some(&cookie));
                            response
                        }
                        None => trouble(&v, Trouble::Busy),
                    }
                }
                Err(error) => failed(&v, &error),
            }
        }
    };
    Jar::Attempt.set(&mut response, secure, None);
    response
}

fn failed(v: &Visit, error: &LoginError) -> Response {
    let what = match error {
        LoginError::Busy => Trouble::Busy,
        LoginError::Token(TokenError::Level) => Trouble::LoginLevel,
        LoginError::Token(TokenError::Person) => Trouble::LoginPerson,
        LoginError::Token(_) | LoginError::Refused => Trouble::Login,
        LoginError::Away | LoginError::Http(_) | LoginError::Answer => Trouble::LoginAway,
    };
    // A flood of logins must not become a flood of lines.
    if *error != LoginError::Busy {
        tracing::warn!(%error, "a login failed");
    }
    trouble(v, what)
}

pub(crate) async fn logout(
    State(app): Shared,
    Extension(v): Visitor,
    Form(form): Form<TokenForm>,
) -> Response {
    let Some(cookie) = v.cookie.as_ref().filter(|cookie| cookie.fits(&form.token)) else {
        return trouble(&v, Trouble::Form);
    };
    app.sessions.end(cookie);
    let mut response = go("/abgemeldet");
    Jar::Session.set(&mut response, app.pages.secure_cookies, None);
    response
        .headers_mut()
        .insert("clear-site-data", HeaderValue::from_static("\"cache\", \"storage\""));
    response
}

pub(crate) async fn logged_out(State(app): Shared, Extension(v): Visitor) -> Response {
    if v.person.is_some() {
        return go("/uebersicht");
    }
    let provider = app.pages.login.end().await;
    page(&LoggedOutPage { v: &v, provider })
}
