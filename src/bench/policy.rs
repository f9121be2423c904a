// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench policy`: decisions in a whole country, from memory and not, and how long its
//! documents take to load.

use std::{fs, hint::black_box, path::Path, time::Instant};

use einmal_policy::{Directory, Question, Rules, decide};
use einmal_protocol::Digest;

use super::{
    PolicyArgs,
    ledger::thousandths,
    load::Waits,
    world::{Size, World},
};
use crate::Exit;

/// Where the list of municipalities lies if it is at hand.
const MUNICIPALITIES: &str = "../shared/data/municipalities.tsv";

/// Microseconds in one row.
struct Row {
    case: &'static str,
    waits: Waits,
    about: &'static str,
}

impl Row {
    fn new(case: &'static str, about: &'static str) -> Self {
        Self { case, waits: Waits::default(), about }
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = Instant::now();
        let result = black_box(work());
        self.waits.each_ms.push(before.elapsed().as_secs_f64() * 1e3);
        result
    }
}

/// Runs it.
pub(super) fn run(args: &PolicyArgs) -> Result<(), Exit> {
    let listed = args.municipalities.as_deref().unwrap_or(Path::new(MUNICIPALITIES));
    let names = match fs::read_to_string(listed) {
        Err(error) if args.municipalities.is_some() => return Err(Exit::usage(error)),
        read => read.unwrap_or_default(),
    };
    let size = Size {
        authorities: args.authorities.clamp(1, 1_000_000),
        registers: args.registers.clamp(1, 1_000_000),
        evidence_types: args.evidence_types.clamp(1, 10_000),
        policies: args.policies.clamp(10, 10_000),
    };
    let world = World::new(size, &names);
    let directory = world.directory().map_err(Exit::failed)?;
    let rules = world.rules();
    let questions = world.questions();
    if !args.json {
        say(size, &world, [directory.len(), rules.len(), questions.len()]);
    }
    let mut load = Row::new("load", "both documents, parsed, validated and indexed");
    let mut loaded = None;
    let before = memory();
    for _ in 0..args.loads.clamp(1, 1000) {
        drop(loaded.take());
        let both = load.time(|| {
            let directory = Directory::parse(&directory).map_err(Exit::failed)?;
            Ok::<_, Exit>((Rules::parse(&rules).map_err(Exit::failed)?, directory))
        });
        loaded = Some(both?);
    }
    let Some((rules, directory)) = loaded else { return Ok(()) };
    let after = memory();
    let rows = ask(&rules, &directory, &questions, args.rounds.clamp(1, World::FIELDS));
    let decided = memory();
    if args.json {
        for row in rows.into_iter().take(2).chain([load]) {
            print_json(row);
        }
    } else {
        println!("case       measured      p50 µs      p99 µs");
        for row in rows.into_iter().chain([load]) {
            print_row(row);
        }
        println!("memory, KiB: before {before}; loaded {after}; decided {decided}");
    }
    Ok(())
}

/// One field a question. What is asked first in a slice differs from what is measured in it.
fn ask(rules: &Rules, directory: &Directory, questions: &[Question], rounds: usize) -> [Row; 4] {
    let mut cached = Row::new("cached", "the same question again, four times");
    let mut uncached = Row::new("uncached", "decided anew by Cedar, its slice at hand");
    let mut turns = Row::new("in turns", "cached, but thousands of others were asked in between");
    let mut first = Row::new("first", "its slice made too");
    let digest = Digest::of(b"bench");
    let decision = |question: &Question| decide(rules, directory, question, digest);
    for question in questions {
        let other = Question { idnr_used: !question.idnr_used, ..question.clone() };
        let _ = first.time(|| decision(&other));
    }
    for round in 0..rounds {
        for question in questions {
            let question = about_field(question, round);
            let _ = uncached.time(|| decision(&question));
            for _ in 0..4 {
                let _ = cached.time(|| decision(&question));
            }
        }
    }
    for question in questions {
        let question = about_field(question, 0);
        let _ = turns.time(|| decision(&question));
    }
    [cached, uncached, turns, first]
}

fn about_field(question: &Question, number: usize) -> Question {
    Question { fields: vec![World::field(number)], ..question.clone() }
}

fn say(size: Size, world: &World, [directory, rules, questions]: [usize; 3]) {
    println!(
        "{} authorities ({} with the name of a real municipality, the others made up), {} registers,",
        size.authorities,
        world.real_names(),
        size.registers,
    );
    println!(
        "{} evidence types, {} purposes, {} policies; directory {} KiB, rules {} KiB, {questions} questions",
        size.evidence_types,
        World::purposes(),
        size.policies,
        directory / 1024,
        rules / 1024,
    );
}

fn print_json(mut row: Row) {
    let mut us = |share| thousandths(row.waits.quantile(share) * 1e3);
    let row = serde_json::json!({ "case": row.case, "p50_us": us(0.5), "p99_us": us(0.99) });
    println!("{row}");
}

fn print_row(Row { case, mut waits, about }: Row) {
    let (p50, p99) = (waits.quantile(0.5) * 1e3, waits.quantile(0.99) * 1e3);
    println!("{case:9}  {:8}  {p50:10.2}  {p99:10.2}  {about}", waits.each_ms.len());
}

/// Resident now and at most, as the kernel says it.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
        line.trim().trim_end_matches(" kB").to_owned()
    };
    format!("{} (at most {})", figure("VmRSS:"), figure("VmHWM:"))
}
