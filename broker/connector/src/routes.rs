// SPDX-License-Identifier: EUPL-1.2
//! The calls over HTTP. Each needs a token, has a place, is short and comes at once.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    desk::{Application, Desk},
    forms::{self, Many, One, Report},
    problem::Problem,
};

/// A call's body.
pub(crate) const BODY_MAX: usize = 64 * 1024;
/// The calls as they are published.
const OPENAPI: &str = include_str!("../openapi.json");

/// All calls.
pub(crate) const ROUTES: [(&str, &str); 7] = [
    ("post", "/v1/evidence"),
    ("post", "/v1/evidences"),
    ("post", "/v1/evidence/{id}/use"),
    ("post", "/v1/explain"),
    ("get", "/v1/catalogue"),
    ("get", "/v1/openapi.json"),
    ("get", "/healthz"),
];

pub(crate) fn router(desk: Arc<Desk>) -> Router {
    let [evidence, evidences, used, explained, catalogued, openapi, health] =
        ROUTES.map(|(_, path)| path);
    Router::new()
        .route(evidence, post(one))
        .route(evidences, post(many))
        .route(used, post(report))
        .route(explained, post(explain))
        .route(catalogued, get(catalogue))
        .route(openapi, get(async || json_text(OPENAPI)))
        .route(health, get(async || StatusCode::NO_CONTENT))
        .fallback(async || Problem::no_such_call())
        .method_not_allowed_fallback(async || Problem::no_such_call())
        .with_state(desk)
}

fn json_text(text: &'static str) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Who calls, and its place.
fn enter(
    desk: &Desk,
    headers: &HeaderMap,
) -> Result<(Arc<Application>, OwnedSemaphorePermit), Problem> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let application =
        token.and_then(|token| desk.application(token)).ok_or_else(Problem::no_token)?;
    let place = Arc::clone(&application.places).try_acquire_owned();
    let place = place.map_err(|_| Problem::busy())?;
    Ok((application, place))
}

/// A call's body, not longer and not slower than it may be.
async fn body_of(desk: &Desk, body: Body) -> Result<Vec<u8>, Problem> {
    let limit = Duration::from_millis(desk.limits.read_ms);
    match tokio::time::timeout(limit, to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes.to_vec()),
        Ok(Err(_)) => Err(Problem::too_large()),
        Err(_) => Err(Problem::too_slow()),
    }
}

/// Evidence is in no cache.
fn private(answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn one(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let (application, _place) = enter(&desk, &headers)?;
        let (wanted, circumstances) = forms::read::<One>(&body_of(&desk, body).await?)?.parts();
        let mut answers = desk.evidences(&application, circumstances, vec![wanted]).await?;
        answers.pop().unwrap_or_else(|| Err(Problem::no_such_call()))
    };
    private(answer.await.map(Json))
}

async fn many(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let answers = async {
        let (application, _place) = enter(&desk, &headers)?;
        let Many { evidences, circumstances } = forms::read(&body_of(&desk, body).await?)?;
        let types: Vec<String> = evidences.iter().map(|one| one.evidence_type.clone()).collect();
        let answers = desk.evidences(&application, circumstances, evidences).await?;
        let answers: Vec<Value> = types
            .iter()
            .zip(answers)
            .map(|(evidence_type, answer)| match answer {
                Ok(answer) => json!({ "evidence_type": evidence_type, "answer": answer }),
                Err(problem) => json!({ "evidence_type": evidence_type, "problem": problem }),
            })
            .collect();
        Ok::<_, Problem>(Json(json!({ "evidences": answers })))
    };
    private(answers.await)
}

async fn report(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = async {
        let (application, _place) = enter(&desk, &headers)?;
        let Report { used } = forms::read(&body_of(&desk, body).await?)?;
        desk.report(&application, &id, used).await.map(Json)
    };
    private(answer.await)
}

async fn explain(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let (application, _place) = enter(&desk, &headers)?;
        let (wanted, circumstances) = forms::read::<One>(&body_of(&desk, body).await?)?.parts();
        desk.explain(&application, circumstances, wanted).await.map(Json)
    };
    private(answer.await)
}

/// Narrows the catalogue.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Narrowed {
    authority: Option<String>,
    region: Option<String>,
}

async fn catalogue(
    State(desk): State<Arc<Desk>>,
    narrowed: Result<Query<Narrowed>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let answer = || {
        let (application, _place) = enter(&desk, &headers)?;
        let wrong = |_| Problem::malformed("the catalogue takes `authority` and `region` only");
        let Query(Narrowed { authority, region }) = narrowed.map_err(wrong)?;
        desk.catalogue(&application, authority.as_deref(), region.as_deref()).map(Json)
    };
    private(answer())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test that meets the unexpected must fail")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_published_description_has_each_call_and_no_other() {
        let described: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut published = BTreeSet::new();
        for (path, methods) in described["paths"].as_object().unwrap() {
            published
                .extend(methods.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())));
        }
        let routes = ROUTES.map(|(method, path)| (method.to_owned(), path.to_owned()));
        assert_eq!(published, BTreeSet::from(routes));
    }
}
