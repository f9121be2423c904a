// SPDX-License-Identifier: EUPL-1.2
//! Answers that are no records: rendered templates, the style sheet, and troubles in plain words.

use askama::Template;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};

use super::{visit::Visit, words::Lang};

const STYLE: &str = include_str!("style.css");

/// The languages, as the switch shows them.
pub(crate) const LANGS: [(Lang, &str); 3] =
    [(Lang::De, "Deutsch"), (Lang::En, "English"), (Lang::Leicht, "Leichte Sprache")];

/// What can go wrong for a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No such page, or not theirs: which of the two is nobody's business.
    NotFound,
    /// The form is not ours, or is too old.
    Form,
    /// Too many sessions, or logins.
    Busy,
    /// The login was broken off, is too old, or its token is not good.
    Login,
    /// The keeper does not accept the session's login any more.
    LoginOver,
    /// The login is not sure enough.
    LoginLevel,
    /// The login does not say enough about the person.
    LoginPerson,
    /// The login provider does not answer.
    LoginAway,
    /// The keeper does not answer.
    Keeper,
    /// We failed.
    Broken,
}

impl Trouble {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Form | Self::Login | Self::LoginOver | Self::LoginLevel | Self::LoginPerson => {
                StatusCode::FORBIDDEN
            }
            Self::Busy | Self::Keeper | Self::LoginAway => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::NotFound | tonic::Code::InvalidArgument => Self::NotFound,
            tonic::Code::Unauthenticated => Self::LoginOver,
            code => {
                tracing::error!(?code, "the keeper did not answer");
                Self::Keeper
            }
        }
    }
}

/// Marks an answer after which the visitor's session is over.
#[derive(Clone, Copy)]
pub(crate) struct EndSession;

#[derive(Template)]
#[template(path = "trouble.html")]
struct TroublePage<'a> {
    v: &'a Visit,
    text: &'static str,
}

/// A trouble as a page.
pub(crate) fn trouble(v: &Visit, trouble: Trouble) -> Response {
    let text = match trouble {
        Trouble::NotFound => v.w.error_not_found,
        Trouble::Form => v.w.error_form,
        Trouble::Busy => v.w.error_busy,
        Trouble::Login | Trouble::LoginOver => v.w.error_login,
        Trouble::LoginLevel => v.w.error_level,
        Trouble::LoginPerson => v.w.error_person,
        Trouble::LoginAway => v.w.error_away,
        Trouble::Keeper => v.w.error_keeper,
        Trouble::Broken => v.w.error_broken,
    };
    let mut response = page(&TroublePage { v, text });
    *response.status_mut() = trouble.status();
    if trouble == Trouble::LoginOver {
        response.extensions_mut().insert(EndSession);
    }
    response
}

/// A rendered template.
pub(crate) fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(_) => {
            tracing::error!("a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// To another page, by GET.
pub(crate) fn go(to: &'static str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, HeaderValue::from_static(to))]).into_response()
}

/// The style sheet. The only thing that may be cached.
pub(crate) async fn style() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/css; charset=utf-8"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, STYLE).into_response()
}
