// SPDX-License-Identifier: EUPL-1.2
//! The template is good, and what is wrong in a folder is named with its file, line and column.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::load::{Edition, read};

/// A folder with the template, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("einmal-rules-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        super::init::write(&path).unwrap();
        Self(path)
    }

    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.0.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// What `build` says, and `test` too.
    fn problem(&self) -> String {
        compile(&self.0).err().unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn compile(folder: &Path) -> Result<(), String> {
    let folder = read(folder, Edition { version: 1, ..Edition::default() });
    folder.and_then(|folder| folder.compile()).map(|_| ()).map_err(|exit| exit.to_string())
}

#[test]
fn the_template_builds_and_passes_and_is_written_once() {
    let scratch = Scratch::new("template");
    assert_eq!(compile(&scratch.0), Ok(()));
    let again = super::init::write(&scratch.0).unwrap_err().to_string();
    assert!(again.contains("it is not empty"), "{again}");
}

#[test]
fn errors_name_file_line_and_column_and_what_to_write() {
    // File, what stands there, what somebody writes instead, place and words of the error.
    let cases = [
        (
            "policies/wogg.cedar",
            "/place\"",
            "/plase\"",
            "policies/wogg.cedar:18:5: ",
            "did you mean",
        ),
        ("policies/wogg.cedar", "initiation ==", "initiation =", "policies/wogg.cedar:15:", "=="),
        (
            "policies/wogg.cedar",
            "Kind::\"housing",
            "Kind::\"hosing",
            "wogg.cedar:10:16: ",
            "did you",
        ),
        (
            "policies/guards.cedar",
            "special_category",
            "special",
            "policies/guards.cedar:13:3: ",
            "",
        ),
        (
            "policies/guards.cedar",
            "@text_de",
            "@text_fr",
            "guards.cedar:4:1: ",
            "@text_de is missing",
        ),
        ("purposes.toml", "initiations =", "initiation =", "purposes.toml: ", "line 20"),
        (
            "purposes.toml",
            "\"social-benefits\"\nlegal",
            "\"social\"\nlegal",
            "purposes.toml:17: ",
            "must stand before",
        ),
        (
            "evidence-types.toml",
            "\"date\" }",
            "\"dat\" }",
            "evidence-types.toml:7: ",
            "only be `date`",
        ),
        ("kinds.toml", "\"other-office\"", "\"housing-benefit-office\"", "kinds.toml:9: ", "twice"),
        (
            "tests.toml",
            "true\npermitted = true",
            "true\npermitted = false",
            "tests.toml:6: ",
            "are permitted",
        ),
    ];
    for (file, from, to, place, words) in cases {
        let scratch = Scratch::new("errors");
        scratch.change(file, from, to);
        let problem = scratch.problem();
        assert!(problem.contains(place) && problem.contains(words), "{file}: {problem}");
    }
}

#[test]
fn a_thousand_levels_and_a_file_a_hundred_times_too_large_are_refused() {
    let scratch = Scratch::new("limits");
    let areas = scratch.0.join("areas.toml");
    fs::write(&areas, format!("areas = {}{}", "[".repeat(1_000), "]".repeat(1_000))).unwrap();
    assert!(scratch.problem().contains("recurs"), "{}", scratch.problem());
    // Sparse: it takes no room.
    let large = fs::File::create(&areas).unwrap();
    large.set_len(100 * einmal_policy::vocabulary::RULES_MAX as u64).unwrap();
    assert!(scratch.problem().contains("rules are at most"), "{}", scratch.problem());
}
