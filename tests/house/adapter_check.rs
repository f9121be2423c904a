// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter check` checked: the real kit passes, so does an adapter that links none of it,
//! and each thing that such an adapter can do wrong is found by the case that is about it.

mod answer;
pub(crate) mod broken;
mod serve;

use std::{sync::Arc, time::Duration};

use clap::Parser;
use einmal::{
    adapter::check::{Stand, stand},
    rules::{Edition, read_folder},
};
use einmal_adapter_check::{Finding, Options, Questions, Report, Verdict, cases};
use tokio::sync::{Mutex, Semaphore};

use self::broken::Flaw;
use crate::world::Folder;

const REGISTER: &str = "residents-office";
const TYPE: &str = "residence-registration";
/// So many broken adapters at once: mostly it is waited for what they do not do.
const AT_ONCE: usize = 12;

fn questions() -> Questions {
    let (idnr, born) = answer::KNOWN;
    let (family_name, given_names, twins_born) = answer::TWINS;
    let text = format!(
        "[[person]]\nexpect = \"found\"\nidnr = \"{idnr}\"\nbirth_date = \"{born}\"\n\
         [person.values.residence-registration]\npostcode = \"28195\"\n\
         [[person]]\nexpect = \"ambiguous\"\nfamily_name = \"{family_name}\"\n\
         given_names = \"{given_names}\"\nbirth_date = \"{twins_born}\"\n\
         [[person]]\nexpect = \"nothing\"\nidnr = \"{idnr}\"\nbirth_date = \"1990-03-01\"\n"
    );
    Questions::parse(&text).unwrap()
}

fn new_stand(folder: &Folder) -> Stand {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rules");
    let edition = Edition { version: 1, ..Edition::default() };
    let mut rules = read_folder(rules.as_ref(), edition).unwrap_or_else(|e| panic!("{e}"));
    // The others need not be run again for each broken adapter.
    rules.tests.retain(|test| test.evidence_type == TYPE);
    let registers = vec![(REGISTER.to_owned(), vec![TYPE.to_owned()])];
    let folders = (&*folder.path().join("adapter"), &*folder.path().join("own"));
    stand(folders, "127.0.0.1", &registers, rules, None).unwrap_or_else(|e| panic!("{e}"))
}

async fn report_on(flaw: Flaw, only: &[&str]) -> Report {
    // One after the other: to compile rules takes all of a thread.
    static STARTING: Mutex<()> = Mutex::const_new(());
    let folder = Folder::new();
    let starting = STARTING.lock().await;
    let stand = tokio::task::block_in_place(|| new_stand(&folder));
    let adapter = broken::start(&stand, REGISTER, flaw).await;
    drop(starting);
    let options = Options {
        only: only.iter().map(|id| (*id).to_owned()).collect(),
        slow: false,
        load: Duration::from_secs(1),
        at_once: 2,
        wait: Duration::from_secs(20),
        in_process: true,
        progress: Arc::new(|_: &Finding| ()),
    };
    let report = stand.playing.check(&questions(), options).await.unwrap();
    drop(adapter);
    report
}

/// Whatever else it is, this adapter is right where it has no flaw: so a case that fails for a
/// flaw fails for that.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_links_none_of_the_kit_passes() {
    let report = report_on(Flaw::Nothing, &[]).await;
    let text = report.to_text();
    assert_eq!(report.count(Verdict::Failed), 0, "{text}");
    let open: Vec<&str> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::NotChecked)
        .map(|finding| finding.case.id)
        .collect();
    assert_eq!(open, ["blocked", "silent-broker"], "{text}");
    // What the question file says of persons is in no report.
    let all = format!("{text}{}{}", report.to_json(), report.to_junit());
    for secret in [answer::KNOWN.0, answer::KNOWN.1, "28195", "Doppelt", "Am Wall"] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
}

const FLAWS: &[(Flaw, &str)] = &[
    (Flaw::RevealsWithoutProof, "proof-missing"),
    (Flaw::BelievesAnyProof, "proof-other"),
    (Flaw::BelievesAnyProof, "proof-checkpoint"),
    (Flaw::BelievesAnyProof, "proof-swapped"),
    (Flaw::BelievesAnyProof, "proof-history"),
    (Flaw::BelievesAnyProof, "fork-same-size"),
    (Flaw::ForgetsHistory, "proof-history"),
    (Flaw::CountsNoWitness, "proof-witness"),
    (Flaw::IgnoresCancel, "cancelled"),
    (Flaw::IgnoresDeadline, "deadline"),
    (Flaw::IgnoresSignature, "signature"),
    (Flaw::IgnoresTime, "time"),
    (Flaw::BelievesThePermit, "permit"),
    (Flaw::BelievesThePermit, "not-permitted"),
    (Flaw::IgnoresCheckDigit, "check-digit"),
    (Flaw::TakesAnyQuery, "query"),
    (Flaw::BelievesTheDeclaration, "declared"),
    (Flaw::AnswersTwice, "replay"),
    (Flaw::IgnoresTheDenyList, "denied"),
    (Flaw::IgnoresTheDenyList, "deny-list-stale"),
    (Flaw::FoundIsLonger, "same-size"),
    (Flaw::FoundIsSlower, "earliest-time"),
    (Flaw::IsEarly, "earliest-time"),
    (Flaw::SendsMore, "found"),
    (Flaw::SendsMore, "fields"),
    (Flaw::TakesTheFirst, "ambiguous"),
    (Flaw::RecordsNobody, "found"),
    (Flaw::RecordsNobody, "nothing"),
    (Flaw::TakesTooMany, "credit"),
    (Flaw::GivesNoCreditBack, "credit"),
    (Flaw::IsDeaf, "heartbeat"),
    (Flaw::LeavesForGood, "reset"),
    (Flaw::ChunksAreLarge, "chunks"),
    (Flaw::HasNoCard, "key-card"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_flaw_is_found_by_the_case_that_is_about_it() {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = tokio::task::JoinSet::new();
    for (flaw, case) in FLAWS.iter().copied() {
        let places = Arc::clone(&places);
        running.spawn(async move {
            let _place = places.acquire().await.unwrap();
            let mut report = report_on(flaw, &[case]).await;
            // A busy machine can leave a case that measures times unchecked: asked again.
            if report.count(Verdict::NotChecked) > 0 {
                report = report_on(flaw, &[case]).await;
            }
            (flaw, case, report)
        });
    }
    while let Some(done) = running.join_next().await {
        let (flaw, case, report) = done.unwrap();
        let text = report.to_text();
        let found = report.findings.iter().find(|finding| finding.case.id == case).unwrap();
        assert_eq!(found.verdict, Verdict::Failed, "{flaw:?}: {text}");
        assert!(!report.is_good() && text.contains("what to do"), "{flaw:?}: {text}");
    }
}

#[test]
fn each_flaw_names_a_case_that_there_is() {
    for (flaw, case) in FLAWS {
        assert!(cases::all().any(|known| known.id == *case), "{flaw:?}: {case}");
    }
}

/// The command, with the samples of `deploy/config` as docs/registers.md has them.
#[test]
fn the_sample_register_passes_by_the_command() {
    let folder = Folder::new();
    let at = |name: &str| folder.path().join(name);
    let deploy = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"));
    std::fs::create_dir_all(at("registers")).unwrap();
    for (from, to) in [
        ("adapter.toml", "adapter.toml"),
        ("check-question.toml", "check-question.toml"),
        ("register-example.toml", "registers/residents-office.toml"),
        ("register-example.csv", "registers/maternity.csv"),
    ] {
        std::fs::copy(deploy.join("config").join(from), at(to)).unwrap();
    }
    let sql = std::fs::read_to_string(deploy.join("config/register-example.sql")).unwrap();
    fill(&at("registers/residents.db"), sql);
    let check = |more: &[&str]| {
        let (config, report) = (at("adapter.toml"), at("report.xml"));
        let rules = deploy.join("rules");
        let mut line =
            vec!["einmal", "adapter", "check", "--json", "--load", "1", "--at-once", "2"];
        for (flag, file) in [("--config", &config), ("--junit", &report), ("--rules", &rules)] {
            line.extend([flag, file.to_str().unwrap()]);
        }
        let command = einmal::Command::try_parse_from(line.iter().chain(more)).unwrap();
        let done = einmal::run(command);
        let report = std::fs::read_to_string(report).unwrap_or_default();
        (done.map_err(|exit| exit.to_string()), report)
    };
    let question = at("check-question.toml");
    let (done, report) = check(&["--question", question.to_str().unwrap()]);
    assert_eq!(done, Ok(()), "{report}");
    assert!(report.contains("failures=\"0\" skipped=\"1\""), "{report}");
    // Nobody is known to be there: that is said, and nothing of it is green.
    let (done, report) = check(&["--only", "found,blocked,signature"]);
    assert_eq!(done, Ok(()), "{report}");
    assert!(report.contains("failures=\"0\" skipped=\"2\""), "{report}");
    // A value that is not so is found, and not printed.
    let text = std::fs::read_to_string(&question).unwrap();
    std::fs::write(&question, text.replace("place = \"Bremen\"\n\n[", "place = \"Emden\"\n\n["))
        .unwrap();
    let (done, report) = check(&["--only", "found", "--question", question.to_str().unwrap()]);
    assert!(done.is_err(), "{report}");
    assert!(report.contains("`place` has another value") && !report.contains("Emden"), "{report}");
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 4, "it leaves nothing but the report");
}

fn fill(file: &std::path::Path, sql: String) {
    use sqlx::{ConnectOptions, Executor, sqlite::SqliteConnectOptions};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        options.connect().await.unwrap().execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    });
}
