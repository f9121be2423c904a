// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules diff`

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use einmal_policy::{
    Change, Rules,
    diff::{Circumstance, Difference, Group, QUESTIONS_MAX, Who, diff},
};

use crate::{Exit, rules::load};

/// Names in one line of text; all of them are in the JSON.
const NAMES_MAX: usize = 12;

/// Says in plain words who may get what for what under the new rules and could not before, and
/// the reverse.
///
/// Both versions are asked every question that could come out differently: for each kind of
/// authority, each combination of kinds that stands in the directory, each authority that a policy
/// names, and any other. Signatures are not looked at; `verify` does that.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    einmal rules diff rules.signed deploy/rules --directory directory.signed\n\n\
    Exit code 77 with --fail-on-widening where the change widens.")]
pub(super) struct Args {
    /// The rules before: an envelope or a folder.
    old: PathBuf,
    /// The rules after: an envelope or a folder.
    new: PathBuf,
    /// The directory, for the combinations of kinds that really occur.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// End with 77 where somebody may get more, or it cannot be proven that nobody may.
    #[arg(long)]
    fail_on_widening: bool,
    /// Ask at most so many questions.
    #[arg(long, default_value_t = QUESTIONS_MAX)]
    limit: u64,
}

/// Runs it.
///
/// # Errors
/// Where rules or directory are not sound, or the change widens and may not.
pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let (old, new) = (load::open(&args.old)?, load::open(&args.new)?);
    let directory = args.directory.as_deref().map(load::open_directory).transpose()?;
    let mut progress = Progress::default();
    let difference =
        diff(&old, &new, directory.as_ref(), args.limit, &mut |done, all| progress.show(done, all))
            .map_err(Exit::usage)?;
    progress.end();
    if args.json {
        println!("{}", serde_json::to_string(&difference).map_err(Exit::failed)?);
    } else {
        print!("{}", in_words(&difference, &new));
    }
    if args.fail_on_widening && difference.change == Change::Widens {
        return Err(Exit::refused("the change widens: it takes both signers"));
    }
    Ok(())
}

/// A line that is written again every second, for people only.
struct Progress {
    last: Instant,
    shown: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { last: Instant::now(), shown: false }
    }
}

impl Progress {
    fn show(&mut self, done: u64, all: u64) {
        if self.last.elapsed() >= Duration::from_secs(1) && std::io::stderr().is_terminal() {
            // A line that cannot be written is no reason to stop.
            let _ = write!(std::io::stderr(), "\rasked {done} of {all} questions ");
            (self.last, self.shown) = (Instant::now(), true);
        }
    }

    fn end(&self) {
        if self.shown {
            eprintln!();
        }
    }
}

fn in_words(difference: &Difference, new: &Rules) -> String {
    let change = difference.change;
    let mut text = format!("Change: {change}. {}\n", meaning(change));
    for (title, groups) in [
        ("May now get, and could not before", &difference.granted),
        ("May no longer get, and could before", &difference.withdrawn),
    ] {
        match groups.is_empty() {
            true => _ = writeln!(text, "\n{title}: nothing."),
            false => _ = writeln!(text, "\n{title}:"),
        }
        for group in groups {
            say(&mut text, group, new);
        }
    }
    if !difference.vocabulary.is_empty() {
        text.push_str("\nWhat else differs:\n");
        for line in &difference.vocabulary {
            _ = writeln!(text, "  {line}");
        }
    }
    if change == Change::Widens && difference.granted.is_empty() {
        text.push_str(
            "\nNobody who was asked about gets more, but it is not proven for all who could be \
             entered: it takes both signers.\n",
        );
    }
    _ = writeln!(text, "\n{} questions were put to both versions.", difference.questions);
    text
}

fn meaning(change: Change) -> &'static str {
    match change {
        Change::Widens => "It takes both signers.",
        Change::Narrows => "Nobody may get more than before: one signer is enough.",
        Change::TextOnly => "No decision differs.",
    }
}

fn say(text: &mut String, group: &Group, new: &Rules) {
    let who: Vec<String> = group.who.iter().map(name).collect();
    let purposes = named(&group.purposes, |id| {
        new.purpose(id).and_then(|purpose| purpose.legal_basis.first().cloned())
    });
    _ = writeln!(text, "\n  {}", capital(&who.join(" and ")));
    if !group.except.is_empty() {
        let except: Vec<String> = group.except.iter().map(name).collect();
        _ = writeln!(text, "    but not:   {}", except.join(", "));
    }
    let kind = new.evidence_type(&group.evidence_type);
    let kind = kind.map_or(String::new(), |kind| format!(" ({})", kind.texts.de));
    _ = writeln!(text, "    from:      {}{kind}", group.evidence_type);
    _ = writeln!(text, "    fields:    {}", named(&group.fields, |_| None));
    _ = writeln!(text, "    for:       {purposes}");
    for (number, circumstance) in circumstances(&group.circumstances).iter().enumerate() {
        let begin = if number == 0 { "    if:       " } else { "    or if:    " };
        _ = writeln!(text, "{begin} {circumstance}");
    }
}

fn name(who: &Who) -> String {
    let area = who.area.as_ref().map_or(String::new(), |area| format!(" in the area {area}"));
    let name = match (&who.authority, who.kinds.as_slice()) {
        (Some(id), _) => format!("the authority {id}"),
        (None, []) => "any authority".to_owned(),
        (None, [kind]) => format!("offices of the kind {kind}"),
        (None, kinds) => format!("offices that are at once {}", kinds.join(" and ")),
    };
    format!("{name}{area}")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn named(names: &[String], note: impl Fn(&str) -> Option<String>) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_MAX)
        .map(|name| note(name).map_or(name.clone(), |note| format!("{name} ({note})")))
        .collect();
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// As few lines as it takes: each says one value or either for initiation, areas and number.
fn circumstances(all: &[Circumstance]) -> Vec<String> {
    let has = |statutory: bool, crosses_areas: bool, idnr_used: bool| {
        all.contains(&Circumstance { statutory, crosses_areas, idnr_used })
    };
    let either: [&[bool]; 3] = [&[false, true], &[false], &[true]];
    let mut blocks = Vec::new();
    for statutory in either {
        for crosses in either {
            for number in either {
                let cells = (0..8_u8).filter(|bit| {
                    statutory.contains(&(bit & 4 != 0))
                        && crosses.contains(&(bit & 2 != 0))
                        && number.contains(&(bit & 1 != 0))
                });
                let cells: Vec<u8> = cells.collect();
                if cells.iter().all(|bit| has(bit & 4 != 0, bit & 2 != 0, bit & 1 != 0)) {
                    blocks.push((cells, block_in_words(statutory, crosses, number)));
                }
            }
        }
    }
    blocks.sort_by_key(|(cells, _)| Reverse(cells.len()));
    let mut said: BTreeSet<u8> = BTreeSet::new();
    let mut lines = Vec::new();
    for (cells, words) in blocks {
        if !cells.iter().all(|cell| said.contains(cell)) {
            said.extend(cells);
            lines.push(words);
        }
    }
    lines
}

fn block_in_words(statutory: &[bool], crosses: &[bool], number: &[bool]) -> String {
    let one = |values: &[bool], either, no, yes| match values {
        [true] => yes,
        [false] => no,
        _ => either,
    };
    let words = [
        one(statutory, "applied for or not", "the citizen applied", "the office acts by law"),
        one(crosses, "within an area or across", "within one area", "across areas"),
        one(
            number,
            "with or without the identification number",
            "without the identification number",
            "with the identification number",
        ),
    ];
    words.join(", ")
}
