// SPDX-License-Identifier: EUPL-1.2
//! The demo's world in a temporary folder, for tests.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use einmal::demo::{application, house::House, registers::questions};
use einmal_client::Ask;
use einmal_peer::Clock;

/// A folder that is gone at the end of the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
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
