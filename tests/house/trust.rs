// SPDX-License-Identifier: EUPL-1.2
//! Rules and directory that are expired, tampered with, under-signed or rolled back are refused
//! by a broker before it opens a port; a policy that errors denies, and the refusal is a leaf.

use einmal::{
    Exit, broker,
    demo::{
        house::House,
        plan::{AUTHORITY, Plan},
    },
};
use einmal_peer::{Clock, files};
use einmal_policy::{directory::DirectoryDocument, rules_document::RulesDocument};
use einmal_protocol::{Reason, envelope::payload_type, leaf::LeafKind, wire::v1::Envelope};
use prost::Message;

use crate::world::{Folder, World, ask_of};

const BOTH: [&str; 2] = ["register-authority", "data-protection-officer"];

struct Fixture {
    folder: Folder,
    plan: Plan,
    clock: Clock,
}

impl Fixture {
    async fn new() -> Self {
        let (folder, clock) = (Folder::new(), Clock::system());
        let plan = Plan::create(folder.path(), &clock).await.unwrap_or_else(|e| panic!("{e}"));
        Self { folder, plan, clock }
    }

    fn read(&self, name: &str) -> Envelope {
        files::envelope(&self.folder.path().join(format!("trust/{name}.signed"))).unwrap()
    }

    fn write(&self, name: &str, envelope: &Envelope) {
        let path = self.folder.path().join(format!("trust/{name}.signed"));
        std::fs::write(path, envelope.encode_to_vec()).unwrap();
    }

    fn rules(&self) -> RulesDocument {
        serde_json::from_slice(&self.read("rules").payload).unwrap()
    }

    fn directory(&self) -> DirectoryDocument {
        serde_json::from_slice(&self.read("directory").payload).unwrap()
    }

    /// Takes away the documents that the broker accepted, and leaves what it remembers of them.
    fn lose_documents(&self) {
        let _absent = std::fs::remove_file(self.folder.path().join("broker/trust.documents"));
    }

    /// What the broker says when it is started.
    async fn start(&self) -> Result<(), String> {
        let config = broker::read(&self.plan.config("broker")).unwrap();
        match einmal_broker::start(&config, self.clock.clone()).await {
            Ok(running) => {
                running.stop().await;
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn sign(fixture: &Fixture, rules: &RulesDocument, signers: &[&str]) -> Envelope {
    let signed: Result<Envelope, Exit> = fixture.plan.sign(payload_type::RULES, rules, signers);
    signed.unwrap_or_else(|exit| panic!("{exit}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_starts_only_on_documents_that_hold() {
    let fixture = Fixture::new().await;
    fixture.start().await.expect("the true documents are good");
    let (rules, directory) = (fixture.read("rules"), fixture.read("directory"));
    let mut tampered = rules.clone();
    let at = tampered.payload.len() / 2;
    tampered.payload[at] ^= 1;
    let mut expired = fixture.rules();
    expired.version = 2;
    expired.change = Some(einmal_policy::Change::TextOnly);
    expired.previous = Some(einmal_protocol::Digest::of(&rules.payload).to_hex());
    expired.expires_at_ms = fixture.clock.now_ms() - 1;
    let mut other = fixture.rules();
    other.issued_at_ms += 1;
    let mut lowest = fixture.directory();
    lowest.version = 2;
    lowest.previous = Some(einmal_protocol::Digest::of(&directory.payload).to_hex());
    lowest.lowest_rules_version = 2;
    let lowest = fixture.plan.sign(payload_type::DIRECTORY, &lowest, &["register-authority"]);
    let by_officer = fixture.plan.sign(payload_type::DIRECTORY, &fixture.directory(), &BOTH[1..]);
    let cases: Vec<(&str, &str, Envelope)> = vec![
        ("rules", "signed by 0", tampered),
        ("rules", "DataProtectionOfficer", sign(&fixture, &fixture.rules(), &BOTH[..1])),
        ("rules", "RegisterAuthority", sign(&fixture, &fixture.rules(), &BOTH[1..])),
        ("rules", "RegisterAuthority", sign(&fixture, &fixture.rules(), &["emergency", "online"])),
        ("rules", "expired", sign(&fixture, &expired, &BOTH)),
        ("rules", "two different rules", sign(&fixture, &other, &BOTH)),
        ("rules", "expected", directory.clone()),
        ("directory", "RegisterAuthority", by_officer.unwrap_or_else(|exit| panic!("{exit}"))),
        ("directory", "older than version 2", lowest.unwrap_or_else(|exit| panic!("{exit}"))),
    ];
    for (name, expected, envelope) in cases {
        fixture.write("rules", &rules);
        fixture.write("directory", &directory);
        fixture.write(name, &envelope);
        fixture.lose_documents();
        let problem = fixture.start().await.expect_err(expected);
        assert!(problem.contains(expected), "`{expected}` not in: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_rolled_back_after_a_restart() {
    let fixture = Fixture::new().await;
    let first = fixture.read("rules");
    let mut second = fixture.rules();
    second.version = 2;
    second.change = Some(einmal_policy::Change::TextOnly);
    second.previous = Some(einmal_protocol::Digest::of(&first.payload).to_hex());
    fixture.write("rules", &sign(&fixture, &second, &BOTH));
    fixture.start().await.expect("a newer version is good");
    // An older file changes nothing: what was accepted since goes on.
    fixture.write("rules", &first);
    fixture.start().await.expect("the newer version that it kept is good");
    fixture.lose_documents();
    let problem = fixture.start().await.expect_err("the older one is not");
    assert!(problem.contains("older"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_errors_denies_and_is_logged() {
    let fixture = Fixture::new().await;
    let mut rules = fixture.rules();
    // Valid by its types; overflows when it is evaluated. Cedar alone would skip this forbid.
    rules.policies.push_str(&format!(
        "\n@id(\"broken\") @legal_basis(\"none\") @text_de(\"x\") @text_en(\"x\")\n\
         forbid (principal, action, resource in EvidenceType::\"residence-title\")\n\
         when {{ principal == Authority::\"{AUTHORITY}\" && 9223372036854775807 + 1 > 0 }};\n",
    ));
    fixture.write("rules", &sign(&fixture, &rules, &BOTH));
    let Fixture { folder, plan, clock } = fixture;
    let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
    let world = World { house, folder };
    let client = world.house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    let ledger = world.house.broker.broker.ledger.clone();
    let before = ledger.checkpoint().size();
    let error = client.ask(ask_of(&world.house, "residence-title")).await.expect_err("denied");
    assert_eq!(error.reason(), Some(Reason::PolicyError), "{error}");
    let entries = ledger.entries(before, 10).await.unwrap();
    assert_eq!(entries.iter().map(|e| e.leaf.kind).collect::<Vec<_>>(), [LeafKind::Refusal]);
    world.house.stop().await;
}
