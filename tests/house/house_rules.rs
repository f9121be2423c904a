// SPDX-License-Identifier: EUPL-1.2
//! The house's own rules: imports run one way, files stay small, each source has its licence
//! line, sample configurations decode, no path of any machine stands in the project.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 500;
const MAIN_MAX: usize = 60;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | ".git" | "gen" | "node_modules" | "corpus") {
                walk(&path, found);
            }
        } else {
            found.push(path);
        }
    }
}

fn sources(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| endings.contains(&e.to_str().unwrap())))
        .filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?)))
        .collect()
}

#[test]
fn imports_run_one_way() {
    let base: &[&str] = &["einmal-protocol"];
    let allowed: BTreeMap<&str, Vec<&str>> = BTreeMap::from([
        ("proto", vec![]),
        ("broker/policy", base.to_vec()),
        ("broker/peer", vec!["einmal-protocol", "einmal-policy"]),
        ("broker/ledger", base.to_vec()),
        ("broker/witness", vec!["einmal-protocol", "einmal-peer"]),
        ("broker/client", vec!["einmal-protocol", "einmal-policy", "einmal-peer"]),
        ("broker/connector", vec!["einmal-protocol", "einmal-peer", "einmal-client"]),
        ("adapters/kit", vec!["einmal-protocol", "einmal-policy", "einmal-peer"]),
        (
            "broker/server",
            vec![
                "einmal-protocol",
                "einmal-policy",
                "einmal-peer",
                "einmal-ledger",
                "einmal-witness",
            ],
        ),
        ("adapters/check", vec!["einmal-protocol", "einmal-policy", "einmal-peer"]),
        (
            "adapters/sources",
            vec!["einmal-protocol", "einmal-policy", "einmal-adapter-kit", "einmal-peer"],
        ),
        ("cockpit", vec!["einmal-protocol", "einmal-policy", "einmal-peer"]),
    ]);
    for (room, may) in allowed {
        let text = std::fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        let dependencies = manifest["dependencies"].as_table().unwrap();
        for name in dependencies.keys().filter(|name| name.starts_with("einmal")) {
            assert!(may.contains(&name.as_str()), "`{room}` may not import `{name}`");
        }
    }
}

#[test]
fn files_are_rooms_not_halls() {
    for (path, text) in sources(&["rs"]) {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
    let main = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() < MAIN_MAX);
}

#[test]
fn each_source_names_its_licence() {
    let spdx = concat!("SPDX-License-Identifier", ": EUPL-1.2");
    for (path, text) in sources(&["rs", "proto", "cedar", "py"]) {
        let head: String = text.lines().take(3).collect();
        assert!(head.contains(spdx), "{}", path.display());
    }
}

#[test]
fn no_marks_of_unfinished_work_and_no_path_of_a_machine() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("/wo", "rk/main"),
    ];
    for (path, text) in sources(&["rs", "proto", "md", "toml", "sh", "py", "yml", "cedar"]) {
        for mark in marks {
            assert!(!text.contains(mark), "{} holds `{mark}`", path.display());
        }
    }
}

#[test]
fn sample_configurations_decode() {
    let sample = |name: &str| {
        let path = root().join("deploy/config").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|_| panic!("{} is missing", path.display()))
    };
    toml::from_str::<einmal_broker::BrokerConfig>(&sample("broker.toml")).unwrap();
    toml::from_str::<einmal_adapter_kit::settings::AdapterConfig>(&sample("adapter.toml")).unwrap();
    toml::from_str::<einmal_cockpit::serve::CockpitConfig>(&sample("cockpit.toml")).unwrap();
    let keeper = sample("cockpit-keeper.toml");
    toml::from_str::<einmal_cockpit::serve::KeeperConfig>(&keeper).unwrap();
    let pages = sample("cockpit-pages.toml");
    toml::from_str::<einmal_cockpit::serve::PagesConfig>(&pages).unwrap();
    // The pages' half names no key of the keeper.
    for key in ["identity", "site_key", "day_keys"] {
        let more = format!("{key} = \"x\"\n{pages}");
        toml::from_str::<einmal_cockpit::serve::PagesConfig>(&more).unwrap_err();
    }
    toml::from_str::<einmal::request::ClientConfig>(&sample("client.toml")).unwrap();
    toml::from_str::<einmal_connector::ConnectorConfig>(&sample("connector.toml")).unwrap();
    let witness = toml::from_str::<einmal_witness::WitnessConfig>(&sample("witness.toml")).unwrap();
    einmal_protocol::note::LedgerKey::parse(&witness.logs[0].vkey).unwrap();
    einmal_adapters::SourcesConfig::parse(&sample("register-example.toml")).unwrap();
    einmal_adapter_check::Questions::parse(&sample("check-question.toml")).unwrap();
    einmal_adapters::SourcesConfig::parse(&sample("register-server.toml")).unwrap();
    einmal_adapters::SourcesConfig::parse(&sample("register-rest-example.toml")).unwrap();
}

#[test]
fn configurations_for_containers_decode_and_are_served() {
    let folder = root().join("deploy/container");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let config = |name: &str| read(&format!("config/{name}"));
    let brokers = ["broker-1.toml", "broker-2.toml"].map(|name| {
        let broker: einmal_broker::BrokerConfig = toml::from_str(&config(name)).unwrap();
        assert!(broker.shared.is_some() && broker.ledger.postgres.is_some(), "{name}");
        broker.metrics.unwrap().port()
    });
    // Two brokers of one ledger differ in their files only.
    assert_eq!(config("broker-1.toml"), config("broker-2.toml"));
    let adapter: einmal_adapter_kit::settings::AdapterConfig =
        toml::from_str(&config("adapter.toml")).unwrap();
    let keeper: einmal_cockpit::serve::KeeperConfig =
        toml::from_str(&config("cockpit-keeper.toml")).unwrap();
    let pages: einmal_cockpit::serve::PagesConfig =
        toml::from_str(&config("cockpit-pages.toml")).unwrap();
    let (compose, values) = (read("compose.yml"), read("../helm/einmal/values.yaml"));
    let others = [adapter.metrics, keeper.metrics, pages.metrics].map(|at| at.unwrap().port());
    for port in brokers.into_iter().chain(others) {
        assert!(compose.contains(&format!("http://127.0.0.1:{port}/readyz")), "{port}");
        assert!(values.contains(&format!("metrics: {port}\n")), "{port}");
    }
    // What is started exists under that name, here and as a service of systemd.
    for name in ["adapter", "cockpit keeper", "cockpit pages", "broker", "online"] {
        let words: Vec<String> = name.split(' ').map(|word| format!("\"{word}\"")).collect();
        assert!(compose.contains(&format!("command: [{}", words.join(", "))), "{name}");
        let unit = name.split(' ').next_back().unwrap();
        let unit = root().join(format!("deploy/systemd/einmal-{unit}.service"));
        let unit = std::fs::read_to_string(unit).unwrap();
        assert!(unit.contains(&format!("ExecStart=/usr/bin/einmal {name} ")), "{name}");
        for hardened in ["ProtectSystem=strict", "NoNewPrivileges=yes", "CapabilityBoundingSet=\n"]
        {
            assert!(unit.contains(hardened), "{name}: {hardened}");
        }
    }
}

#[test]
fn unknown_keys_are_refused() {
    let path = root().join("deploy/config/broker.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mistyped = format!("listen = \"127.0.0.1:1\"\n{text}");
    let error = toml::from_str::<einmal_broker::BrokerConfig>(&mistyped).unwrap_err();
    assert!(error.to_string().contains("listen"), "{error}");
}
