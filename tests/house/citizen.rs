// SPDX-License-Identifier: EUPL-1.2
//! READ-ONLY-BY-ITS-OWNER and SIGNED-ALL-THE-WAY, as a citizen meets them: over the pages, after
//! the whole application; with the exported record checked offline, and a forged one refused.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use einmal::{
    demo::{application, people::Person},
    verify,
};
use einmal_cockpit::export::ExportFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::world::World;

/// The code that the demo's provider gives for its first person, at the URL where a login begins.
pub(crate) async fn code_of_first_person(url: &str) -> String {
    let (at, query) = url.strip_prefix("http://").unwrap().split_once("/authorize?").unwrap();
    let mut provider = Browser { address: at.parse().unwrap(), cookie: String::new() };
    let form = format!("{query}&person=0");
    let back = provider.send("POST", "/authorize", &form).await.location();
    back.split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned()
}

/// A browser without a face: one cookie, GET and POST.
pub(crate) struct Browser {
    address: SocketAddr,
    cookie: String,
}

pub(crate) struct Page {
    pub(crate) status: u16,
    head: String,
    pub(crate) text: String,
}

impl Page {
    fn location(&self) -> String {
        let location = self.head.lines().find_map(|line| line.strip_prefix("location: "));
        location.unwrap().to_owned()
    }
}

impl Browser {
    async fn send(&mut self, method: &str, path: &str, form: &str) -> Page {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nCookie: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            self.cookie,
            form.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        for line in head.lines() {
            if let Some(cookie) = line.to_lowercase().strip_prefix("set-cookie: ") {
                let value = &line[line.len() - cookie.len()..];
                // What is taken away must not overwrite what was set beside it.
                if !value.contains("Max-Age=0") {
                    self.cookie = value.split(';').next().unwrap().to_owned();
                }
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Page { status, head: head.to_owned(), text: text.to_owned() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send("GET", path, "").await
    }

    /// At the demo's provider, as this person.
    pub(crate) async fn log_in(address: SocketAddr, person: &Person) -> Self {
        let mut browser = Self { address, cookie: String::new() };
        let there = browser.get("/anmelden/los").await.location();
        let (at, query) = there.strip_prefix("http://").unwrap().split_once("/authorize?").unwrap();
        let mut provider = Self { address: at.parse().unwrap(), cookie: String::new() };
        let page = provider.get(&format!("/authorize?{query}")).await;
        let name = format!("{} {}<", person.given_names, person.birth_name);
        let number = page.text.split("<strong>").skip(1).position(|rest| rest.starts_with(&name));
        let form = format!("{query}&person={}", number.unwrap());
        let back = provider.send("POST", "/authorize", &form).await.location();
        let path = back.strip_prefix(&format!("http://{address}")).unwrap();
        let page = browser.get(path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(!page.head.contains(&person.idnr), "a number in a header");
        browser
    }

    /// Indices of the person's records, by the JSON interface.
    pub(crate) async fn records(&mut self) -> Vec<u64> {
        let page = self.get("/api/v1/records").await;
        assert_eq!(page.status, 200, "{}", page.text);
        let object: serde_json::Value = serde_json::from_str(&json(&page.text)).unwrap();
        let records = object["records"].as_array().unwrap();
        records.iter().map(|record| record["index"].as_u64().unwrap()).collect()
    }
}

/// The body without the lengths of a chunked answer.
fn json(text: &str) -> String {
    let begin = text.find('{').unwrap();
    let end = text.rfind('}').unwrap();
    text[begin..=end].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reads_their_own_records_with_proofs_and_nobody_else_does() {
    let world = World::start().await;
    let house = &world.house;
    let client = Arc::new(house.client().await.unwrap());
    let lines = application::apply(&client, &house.plan.town, |_, _| ()).await.unwrap();
    assert!(lines.iter().all(|line| line.answer.is_ok()));
    let size = house.broker.broker.ledger.checkpoint().size();
    let pinned = house.plan.root().unwrap();
    let keeper = &house.cockpit.keeper;
    let counted = application::check(&lines, keeper, size, &pinned).await.unwrap();
    assert_eq!(counted, (17, 17), "recorded and proven");

    let town = &house.plan.town;
    let address = house.cockpit.address;
    let mut mother = Browser::log_in(address, town.person(town.applicant).unwrap()).await;
    let mut child = Browser::log_in(address, town.person(town.sibling).unwrap()).await;
    let (hers, childs) = (mother.records().await, child.records().await);
    assert!(hers.len() >= 12 && !childs.is_empty(), "{hers:?} {childs:?}");
    let foreign = childs.iter().find(|index| !hers.contains(index)).unwrap();

    let page = mother.get(&format!("/zugriffe/{}", hers[0])).await;
    assert_eq!(page.status, 200);
    for part in ["Elterngeldstelle Bremen", "BEEG", "Geprüft", "demo.einmal.example/ledger-1"] {
        assert!(page.text.contains(part), "`{part}` is missing: {}", page.text);
    }
    assert!(!page.text.contains("sachbearbeitung-17"), "the clerk is nobody's to see");
    for path in ["/zugriffe/{}", "/zugriffe/{}/export.json", "/api/v1/records/{}"] {
        let path = path.replace("{}", &foreign.to_string());
        assert_eq!(mother.get(&path).await.status, 404, "{path}");
    }
    let mut nobody = Browser { address, cookie: String::new() };
    let page = nobody.get("/api/v1/records").await;
    assert!(matches!(page.status, 401 | 303), "{}", page.status);

    let page = mother.get(&format!("/zugriffe/{}/export.json", hers[0])).await;
    let good = ExportFile::parse(&json(&page.text)).unwrap();
    verify::verify(&good, &pinned).unwrap();
    forged_exports_are_refused(&good, &pinned);
    world.house.stop().await;
}

fn forged_exports_are_refused(good: &ExportFile, pinned: &einmal_protocol::wire::v1::Envelope) {
    let forged: Vec<(&str, ExportFile)> = vec![
        ("record", {
            let mut file = good.clone();
            file.plain_record.as_mut().unwrap().0[50] ^= 1;
            file
        }),
        ("position", {
            let mut file = good.clone();
            file.receipt.index += 1;
            file
        }),
        ("checkpoint", {
            let mut file = good.clone();
            file.receipt.checkpoint = file.receipt.checkpoint.replacen("\n3", "\n4", 1) + " ";
            file
        }),
        ("body", {
            let mut file = good.clone();
            let last = file.body.0.len() - 10;
            file.body.0[last] ^= 1;
            file
        }),
        ("rules", {
            let mut file = good.clone();
            let rules = file.rules.last_mut().unwrap();
            let at = rules.payload.0.len() / 2;
            rules.payload.0[at] ^= 1;
            file
        }),
        ("directory", ExportFile { directory: None, ..good.clone() }),
    ];
    for (part, file) in forged {
        assert!(verify::verify(&file, pinned).is_err(), "a forged {part} passes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cockpit_that_was_away_catches_up() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let einmal::demo::house::House { plan, broker, adapters, cockpit, clock, online, stop } =
        world.house;
    cockpit.stop().await;
    let questions = einmal::demo::registers::questions(&plan.town);
    let ask = application::ask(&questions[7]);
    let received = client.ask(ask.clone()).await.unwrap();
    // More entries than one run of the stream holds: it must catch up run by run.
    let curious = einmal_client::Ask { purpose: "child-benefit".into(), ..ask };
    for _ in 0..9 {
        let prepared = client.prepare(&vec![curious.clone(); 20]).await.unwrap();
        for refused in &prepared {
            assert!(client.send(refused).await.is_err());
        }
    }
    let size = broker.broker.ledger.checkpoint().size();
    let again = einmal::cockpit::start(&plan.config("cockpit"), clock.clone()).await.unwrap();
    let follow = async {
        while again.keeper.size().await.unwrap() < size {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), follow).await.expect("it catches up");
    assert!(received.proven.index() < size);
    let cockpit = again;
    let house = einmal::demo::house::House { plan, broker, adapters, cockpit, clock, online, stop };
    house.stop().await;
}
