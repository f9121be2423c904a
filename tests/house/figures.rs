// SPDX-License-Identifier: EUPL-1.2
//! What operators watch: every figure that dashboard and alert rules name is shown by a running
//! house, none names anybody, and each program says when it does not do its work.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command};

use einmal_peer::http::{HttpClient, HttpOptions};

use crate::world::{World, ask_of};

/// Status and text that a program gives at its address for figures.
pub(crate) async fn get(at: Option<SocketAddr>, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", at.unwrap());
    let answer = HttpClient::new(HttpOptions::default()).get(&url, 1024 * 1024).await.unwrap();
    (answer.status.as_u16(), String::from_utf8(answer.body).unwrap())
}

fn deploy(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of our figures in a text: in rules and dashboards as they are asked for.
fn named(text: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_name(c));
    words.filter(|word| word.starts_with("einmal_")).collect()
}

/// Names of the samples in what Prometheus reads.
fn samples(text: &str) -> BTreeSet<&str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// What Prometheus' own tool says of figures; nothing where it is not installed.
fn promtool_refuses(text: &str) -> Option<String> {
    use std::io::Write;
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(std::process::Stdio::piped());
    let Ok(mut tool) = tool.stderr(std::process::Stdio::piped()).spawn() else {
        println!("skipped: promtool is not installed");
        return None;
    };
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    // 3 is a matter of taste: it reads OpenMetrics as the older form, where a counter's help has
    // another name.
    (!matches!(said.status.code(), Some(0 | 3)))
        .then(|| String::from_utf8_lossy(&said.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_shown_and_names_nobody() {
    let world = World::start().await;
    let house = &world.house;
    let client = house.client().await.unwrap();
    client.ask(ask_of(house, "pay-data")).await.unwrap_or_else(|error| panic!("{error}"));

    assert_eq!(get(Some(house.cockpit.address), "/").await.0, 200);

    let mut all = String::new();
    let programs: Vec<_> = [house.broker.metrics, house.cockpit.metrics]
        .into_iter()
        .chain(house.adapters.iter().map(|adapter| adapter.metrics))
        .collect();
    for &at in &programs {
        let (status, text) = get(at, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.ends_with("# EOF\n") && text.contains("einmal_ready 1\n"), "{text}");
        assert_eq!(promtool_refuses(&text), None);
        assert_eq!(get(at, "/livez").await, (200, "alive\n".to_owned()));
        assert_eq!(get(at, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(get(at, "/").await.0, 404);
        // A family that two halves of a process show would be refused as a whole.
        let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        assert_eq!(types.len(), types.iter().collect::<BTreeSet<_>>().len(), "{types:?}");
        all.push_str(&text);
    }
    assert!(all.contains("einmal_broker_exchanges_total{result=\"answered\",reason=\"\"} 1\n"));
    assert!(all.contains("einmal_adapter_exchanges_total{result=\"revealed\",reason=\"\"} 1\n"));
    assert!(all.contains("einmal_pages_keeper_up 1\n") && all.contains("einmal_keeper_alarms 0\n"));

    let shown = samples(&all);
    for file in ["alerts.yml", "alerts-test.yml", "dashboard.json"] {
        let text = deploy(file);
        let missing: Vec<&str> = named(&text).difference(&shown).copied().collect();
        // Shown from the first operation on; tests/house/shared.rs has a Redis.
        let missing: Vec<_> = missing
            .iter()
            .filter(|name| **name != "einmal_broker_shared_operations_total")
            .collect();
        assert!(missing.is_empty(), "{file} names what nobody shows: {missing:?}");
    }
    // No participant, and nothing that grows with what people do.
    for register in &house.plan.registers {
        assert!(!all.contains(&register.id), "{} is named", register.id);
    }
    for line in all.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let known = ["result=", "reason=", "what=", "class=", "le=", "version=", "operation="];
        for label in labels.map_or("", |(labels, _)| labels).split(',').filter(|l| !l.is_empty()) {
            assert!(known.iter().any(|known| label.starts_with(known)), "{line}");
        }
    }

    // An hour without the online key's word: everything is refused, and everybody says why.
    house.stop.cancel();
    house.clock.shift_ms(2 * 60 * 60 * 1000);
    for at in programs {
        let (status, why) = get(at, "/readyz").await;
        assert_eq!((status, why.as_str()), (503, "DENY_LIST_STALE\n"));
        let (status, text) = get(at, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("einmal_ready 0\n"), "{text}");
        assert!(text.contains("einmal_deny_list_fresh_seconds -"), "{text}");
    }
    world.house.broker.stop().await;
}

#[test]
fn every_alert_is_in_the_handbook() {
    let handbook = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md");
    let handbook = std::fs::read_to_string(handbook).unwrap();
    let rules = deploy("alerts.yml");
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<&str> = alerts.collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    for alert in alerts {
        assert!(handbook.contains(&format!("`{alert}`")), "{alert} is not explained");
    }
    let board: serde_json::Value = serde_json::from_str(&deploy("dashboard.json")).unwrap();
    assert!(board["panels"].as_array().unwrap().len() > 8);
}

#[test]
fn prometheus_takes_the_rules_and_their_tests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring");
    for (what, file) in [("check", "alerts.yml"), ("test", "alerts-test.yml")] {
        let tool =
            Command::new("promtool").args([what, "rules", file]).current_dir(&folder).output();
        let Ok(said) = tool else {
            println!("skipped: promtool is not installed");
            return;
        };
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
    }
}
