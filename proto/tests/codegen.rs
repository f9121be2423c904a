// SPDX-License-Identifier: EUPL-1.2
//! The generated code and the descriptor set in `src/gen` are checked in, so that a build needs
//! neither protoc nor protox. This test fails where they differ from the `.proto` files;
//! `EINMAL_WRITE_GENERATED=1 cargo test -p einmal-protocol --test codegen` writes them anew.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test of files: it reads and writes them, and fails where it cannot"
)]

use std::path::{Path, PathBuf};

const PROTOS: [&str; 9] = [
    "einmal/protocol/v1/envelope.proto",
    "einmal/protocol/v1/exchange.proto",
    "einmal/protocol/v1/ledger.proto",
    "einmal/protocol/v1/key_card.proto",
    "einmal/evidence/v1/evidence.proto",
    "einmal/register/v1/register.proto",
    "einmal/ledger/v1/ledger.proto",
    "einmal/directory/v1/directory.proto",
    "einmal/cockpit/v1/keeper.proto",
];

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = protox::Compiler::new([root]).expect("the proto folder is readable");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(PROTOS).unwrap_or_else(|error| panic!("{error}"));
    let descriptors = compiler.file_descriptor_set();
    let mut bare = protox::Compiler::new([root]).expect("the proto folder is readable");
    bare.include_source_info(false).include_imports(true);
    bare.open_files(PROTOS).unwrap_or_else(|error| panic!("{error}"));
    std::fs::write(into.join("einmal.descriptors.bin"), bare.encode_file_descriptor_set())
        .expect("the descriptor set is writable");
    tonic_prost_build::configure()
        .out_dir(into)
        .skip_debug([
            // These carry a person in the clear; their `Debug` is written by hand.
            "einmal.protocol.v1.Person",
            "einmal.protocol.v1.Subject",
            "einmal.protocol.v1.AccessRecord",
            "einmal.protocol.v1.AskedRecord",
            "einmal.protocol.v1.Evidence",
            "einmal.protocol.v1.FieldValue",
            "einmal.cockpit.v1.ListRecordsRequest",
            "einmal.cockpit.v1.ListRecordsResponse",
            "einmal.cockpit.v1.SummarizeRecordsRequest",
            "einmal.cockpit.v1.LoginProof",
            "einmal.cockpit.v1.LoginProof.kind",
            "einmal.cockpit.v1.OidcProof",
            "einmal.cockpit.v1.Record",
            "einmal.cockpit.v1.ExportRecordRequest",
            "einmal.cockpit.v1.ExportRecordResponse",
            "einmal.cockpit.v1.ExportedRecord",
        ])
        .compile_fds(descriptors)
        .unwrap_or_else(|error| panic!("{error}"));
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is readable")
        .map(|entry| entry.expect("the entry is readable").path())
        .collect();
    names.sort();
    names
}

#[test]
fn generated_code_is_what_the_protos_give() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if std::env::var_os("EINMAL_WRITE_GENERATED").is_some() {
        generate(&checked_in);
        return;
    }
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gen");
    let _ = std::fs::remove_dir_all(&fresh);
    std::fs::create_dir_all(&fresh).expect("the temporary folder is writable");
    generate(&fresh);
    let names = |paths: &[PathBuf]| -> Vec<_> {
        paths.iter().map(|path| path.file_name().expect("has a name").to_owned()).collect()
    };
    let (ours, theirs) = (files(&checked_in), files(&fresh));
    assert_eq!(names(&ours), names(&theirs), "other files are generated than are checked in");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(
            std::fs::read(ours).expect("readable") == std::fs::read(theirs).expect("readable"),
            "{} differs: run with EINMAL_WRITE_GENERATED=1",
            ours.display()
        );
    }
}
