// SPDX-License-Identifier: EUPL-1.2
//! The demo's world in a temporary folder, for tests.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use einmal::demo::{application, house::House, plan::Plan, registers::questions};
use einmal_adapter_kit::{AdapterSetup, Register, RegisterLimits, RegisterSetup};
use einmal_client::Ask;
use einmal_peer::{Clock, Tls, TlsFiles, files};
use einmal_policy::rules_document::RulesDocument;
use einmal_protocol::envelope::payload_type;
use prost::Message;

use crate::hearing;

/// A folder that is gone at the end of the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        // Commands that log would else be the ones who take the lines.
        hearing::begin();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("einmal-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running house and its folder.
pub(crate) struct World {
    pub(crate) house: House,
    pub(crate) folder: Folder,
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = Folder::new();
        let house = House::create(folder.path()).await.unwrap_or_else(|exit| panic!("{exit}"));
        Self { house, folder }
    }

    /// A house in which an operator runs no adapter: the test does. `limits` goes into the broker's
    /// configuration; evidence of this type may be so long.
    pub(crate) async fn without(
        operator: &str,
        limits: &str,
        (evidence_type, size): (&str, u32),
    ) -> Self {
        let (folder, clock) = (Folder::new(), Clock::system());
        let plan = Plan::create(folder.path(), &clock).await.unwrap_or_else(|e| panic!("{e}"));
        let signed = folder.path().join("trust/rules.signed");
        let payload = files::envelope(&signed).unwrap().payload;
        let mut rules: RulesDocument = serde_json::from_slice(&payload).unwrap();
        let kind = rules.evidence_types.iter_mut().find(|kind| kind.id == evidence_type);
        kind.unwrap().size = size;
        let signers = ["register-authority", "data-protection-officer"];
        let envelope = plan.sign(payload_type::RULES, &rules, &signers);
        let envelope = envelope.unwrap_or_else(|exit| panic!("{exit}"));
        std::fs::write(&signed, envelope.encode_to_vec()).unwrap();
        let config = plan.config("broker");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}\n[limits]\n{limits}\n")).unwrap();
        let is_others = |path: &&PathBuf| !path.to_string_lossy().contains(operator);
        let adapters = plan.adapters.iter().filter(is_others).cloned().collect();
        let registers = plan.registers.iter().filter(|r| r.operator != operator).cloned().collect();
        let plan = Plan { adapters, registers, ..plan };
        let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
        Self { house, folder }
    }

    /// What an adapter of that operator starts with; its state lies in this folder.
    pub(crate) fn adapter_setup(&self, operator: &str, state: &str, credits: u32) -> AdapterSetup {
        let folder = self.folder.path();
        let tls = Tls::load(&TlsFiles {
            certificate: folder.join(format!("pki/{operator}.pem")),
            key: folder.join(format!("pki/{operator}.key")),
            authorities: folder.join("pki/ca.pem"),
            revocations: Vec::new(),
        });
        AdapterSetup {
            broker: format!("https://{}", self.house.broker.address),
            tls: tls.unwrap(),
            root: self.house.plan.root().unwrap_or_else(|exit| panic!("{exit}")),
            state: folder.join(state),
            clock: self.clock(),
            credits,
            replicated: false,
            metrics: None,
        }
    }

    /// A register of the house that is written in code.
    pub(crate) fn register_setup(&self, id: &str, register: Arc<dyn Register>) -> RegisterSetup {
        let key = self.folder.path().join(format!("keys/{id}.key"));
        RegisterSetup {
            id: id.to_owned(),
            identity: files::signing_key(&key).unwrap(),
            register,
            limits: RegisterLimits::default(),
            journal: None,
        }
    }

    /// A question of the application, by evidence type.
    pub(crate) fn ask(&self, evidence_type: &str) -> Ask {
        ask_of(&self.house, evidence_type)
    }

    /// The clock of every party in the house.
    pub(crate) fn clock(&self) -> Clock {
        self.house.clock.clone()
    }
}

pub(crate) fn ask_of(house: &House, evidence_type: &str) -> Ask {
    let questions = questions(&house.plan.town);
    let question = questions.iter().find(|question| question.evidence_type == evidence_type);
    application::ask(question.expect("one of the seventeen"))
}
