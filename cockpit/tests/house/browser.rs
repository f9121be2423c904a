// SPDX-License-Identifier: EUPL-1.2
//! A browser without JavaScript: it keeps cookies, sends forms, and logs in where the pages send
//! it.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use einmal_protocol::wire::v1::Subject;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::ServiceExt;

use crate::house::logins::COCKPIT;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn location(&self) -> &str {
        self.headers[header::LOCATION].to_str().unwrap()
    }
}

pub(crate) struct Browser {
    router: Router,
    pub(crate) cookies: Vec<(String, String)>,
    /// Every URL that it saw in a page or was sent to.
    pub(crate) urls: Vec<String>,
}

impl Browser {
    pub(crate) fn new(router: &Router) -> Self {
        Self { router: router.clone(), cookies: Vec::new(), urls: Vec::new() }
    }

    pub(crate) async fn send(&mut self, method: Method, path: &str, form: &str) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::COOKIE, cookies.join("; "))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header("sec-fetch-site", "same-origin")
            .body(Body::from(form.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        for set in parts.headers.get_all(header::SET_COOKIE) {
            let set = set.to_str().unwrap();
            assert!(set.contains("; HttpOnly") && set.contains("; SameSite="), "{set}");
            let (name, value) = set.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !set.contains("Max-Age=0") {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        if let Some(location) = parts.headers.get(header::LOCATION) {
            self.urls.push(location.to_str().unwrap().to_owned());
        }
        let text = to_bytes(body, 1 << 26).await.unwrap().to_vec();
        let text = String::from_utf8_lossy(&text).into_owned();
        for attribute in ["href=\"", "action=\"", "src=\"", "url="] {
            let links = text.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
            self.urls.extend(links.map(ToOwned::to_owned));
        }
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    #[allow(dead_code, reason = "not every test posts forms")]
    pub(crate) async fn token(&mut self, path: &str) -> String {
        let page = self.get(path).await.text;
        let rest = page.split("name=\"token\" value=\"").nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }

    /// To the provider; gives the path that leads back, with its code.
    pub(crate) async fn choose_at_provider(&mut self, person: usize) -> String {
        let there = self.get("/anmelden/los").await;
        assert_eq!(there.status, StatusCode::SEE_OTHER, "{}", there.text);
        let url = there.location().to_owned();
        let (_, _, page) = fetch("GET", &url, "").await;
        assert!(page.contains("Nur zur Vorführung"), "{page}");
        let (at, query) = url.split_once('?').unwrap();
        let (status, back, _) = fetch("POST", at, &format!("{query}&person={person}")).await;
        assert_eq!(status, 303);
        back.strip_prefix(COCKPIT).unwrap().to_owned()
    }

    /// Logs in as the first or second of the demo's persons.
    pub(crate) async fn log_in(&mut self, person: &Subject) -> Answer {
        let number = usize::from(*person != crate::house::canary());
        let back = self.choose_at_provider(number).await;
        self.get(&back).await
    }
}

/// Plain HTTP, redirects not followed: status, where to, body.
pub(crate) async fn fetch(method: &str, url: &str, form: &str) -> (u16, String, String) {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).await.unwrap();
    let request = format!(
        "{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: \
         application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let location = head.lines().find_map(|line| line.strip_prefix("location: "));
    (status, location.unwrap_or_default().to_owned(), body.to_owned())
}
