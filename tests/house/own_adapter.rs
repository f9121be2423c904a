// SPDX-License-Identifier: EUPL-1.2
//! The kit's example (`adapters/kit/examples/parking.rs`) is a whole adapter: run as a program of
//! its own, it passes the cases of `einmal adapter check`, hostile ones among them.

use std::{
    fs,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use einmal::{
    adapter::check::stand,
    rules::{Edition, read_folder},
};
use einmal_adapter_check::{Finding, Options, Questions, Verdict};
use einmal_policy::rules_document::{EvidenceType, Field, RulesDocument, Texts};

use crate::world::Folder;

const REGISTER: &str = "parking";
const TYPE: &str = "parking-permit";

/// What is sealed, refused, proven and found, of everything that a check tries.
const CASES: &[&str] = &[
    "deny-list-stale",
    "found",
    "nothing",
    "ambiguous",
    "same-size",
    "check-digit",
    "not-permitted",
    "signature",
    "replay",
    "proof-missing",
    "proof-swapped",
];

const PERMITS: &str = "86095742719;1990-02-28;HB-P-1704\n\
                       65929970489;1985-06-01;HB-P-1\n65929970489;1985-06-01;HB-P-2\n";

const QUESTIONS: &str = r#"
[[person]]
expect = "found"
idnr = "86095742719"
birth_date = "1990-02-28"
[person.values.parking-permit]
permit_number = "HB-P-1704"
[[person]]
expect = "ambiguous"
idnr = "65929970489"
birth_date = "1985-06-01"
[[person]]
expect = "nothing"
idnr = "86095742719"
birth_date = "1990-03-01"
"#;

const POLICY: &str = r#"
@id("wogg-parking-permit")
@legal_basis("an example")
@text_de("Ein Beispiel.")
@text_en("An example.")
permit (
  principal in AuthorityKind::"housing-benefit-office",
  action == Action::"retrieve",
  resource in EvidenceType::"parking-permit"
) when {
  context.purpose == Purpose::"housing-benefit" &&
  context.initiation == "application" &&
  resource in [Field::"parking-permit/permit_number"]
};
"#;

/// The example's rules, and one permit for the evidence that only this register holds.
fn rules() -> RulesDocument {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rules");
    let edition = Edition { version: 1, ..Edition::default() };
    let mut rules = read_folder(folder.as_ref(), edition).unwrap_or_else(|e| panic!("{e}"));
    let texts = Texts {
        de: "Bewohnerparkausweis".to_owned(),
        en: "Residents' parking permit".to_owned(),
        de_leicht: "Park-Ausweis".to_owned(),
    };
    rules.evidence_types.push(EvidenceType {
        id: TYPE.to_owned(),
        texts: texts.clone(),
        size: 1024,
        slots: 1,
        earliest_ms: 20,
        fields: vec![Field {
            name: "permit_number".to_owned(),
            texts,
            schema: serde_json::json!({ "type": "string" }),
            special_category: false,
        }],
    });
    rules.policies.push_str(POLICY);
    rules.tests.clear();
    rules
}

/// Ends with the test, whatever becomes of it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_an_adapter_of_ones_own_passes_the_check() {
    let folder = Folder::new();
    let (world, own) = (folder.path().join("world"), folder.path().join("own"));
    let registers = vec![(REGISTER.to_owned(), vec![TYPE.to_owned()])];
    let folders = (world.as_path(), own.as_path());
    let stand =
        tokio::task::block_in_place(|| stand(folders, "127.0.0.1", &registers, rules(), None));
    let stand = stand.unwrap_or_else(|e| panic!("{e}"));
    stand.paths.explain(&stand.addresses, &registers).unwrap_or_else(|e| panic!("{e}"));
    fs::write(world.join("parking.toml"), PERMITS).unwrap();
    let adapter = Command::new(env!("CARGO_BIN_EXE_parking"))
        .arg(world.join("adapter.toml"))
        .spawn()
        .unwrap();
    let adapter = Program(adapter);
    let options = Options {
        only: CASES.iter().map(|id| (*id).to_owned()).collect(),
        slow: false,
        load: Duration::from_secs(1),
        at_once: 2,
        wait: Duration::from_secs(20),
        in_process: false,
        progress: Arc::new(|_: &Finding| ()),
    };
    let questions = Questions::parse(QUESTIONS).unwrap();
    let report = stand.playing.check(&questions, options).await.unwrap();
    drop(adapter);
    let text = report.to_text();
    assert_eq!(report.count(Verdict::Failed), 0, "{text}");
    assert_eq!(report.count(Verdict::NotChecked), 0, "{text}");
    assert_eq!(report.findings.len(), CASES.len(), "{text}");
    assert!(text.contains("DENY_LIST_STALE"), "why it refused at the beginning: {text}");
    assert!(!text.contains("HB-P-1704"), "{text}");
}
