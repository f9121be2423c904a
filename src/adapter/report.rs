// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter report`: what a register's journal says about one person (GDPR article 15), for
//! its data-protection officer; or counts that name nobody.

use std::{
    collections::HashMap,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use einmal_adapter_kit::journal::{
    BrokenJournal,
    audit::{self, Missing, Published, Source},
    officer::Officer,
    reading::{self, Counts, Entry, Folder, Offline},
};
use einmal_peer::{Clock, files::FileError};
use einmal_protocol::{
    leaf::Leaf,
    note::LedgerKey,
    person::idnr_is_valid,
    time::{day_to_iso, to_iso},
    wire::v1::Subject,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::officer;
use crate::Exit;

/// Counts below this are not said: they could tell who it was.
const SMALL: u64 = 5;
const PERSON_MAX: u64 = 16 * 1024;
const NOTES: &str = "reports.log";

/// Answers a person's request under GDPR article 15 from a register's journal, as its
/// data-protection officer; without --person, counts by authority and purpose.
///
///   einmal adapter report --journal journal/residents --keys officer --person person.toml
///   einmal adapter report --journal journal/residents
///
/// The person stands in a file or comes on standard input, never on the command line: that is seen
/// by everybody on the machine and kept in the shell's history. It has some of these lines:
///
///   idnr = "…"           birth_name = "…"     given_names = "…"
///   birth_date = "YYYY-MM-DD"                 birth_place = "…"
///
/// Each use is noted in the journal's folder, with its time and what it counted, and no name.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A journal's folder, or a copy of one; several times where replicas have one each.
    #[arg(long, required = true, value_name = "FOLDER")]
    journal: Vec<PathBuf>,
    /// The officer's folder, from `einmal adapter officer init`.
    #[arg(long, value_name = "FOLDER", requires = "person")]
    keys: Option<PathBuf>,
    /// The passphrase of the officer's key is the first line of this file. Without it, you are
    /// asked.
    #[arg(long, value_name = "FILE", requires = "keys")]
    passphrase_file: Option<PathBuf>,
    /// Who it is about: a TOML file, or - for standard input.
    #[arg(long, value_name = "FILE", requires = "keys")]
    person: Option<PathBuf>,
    /// The ledger's public key, name+hash+key; several times for several ledgers. Without it, the
    /// one that the adapter knew when it wrote the entry.
    #[arg(long, value_name = "KEY")]
    ledger_key: Vec<String>,
    /// Also look for each receipt in the ledger as it is published at this URL now.
    #[arg(long, value_name = "URL", requires = "person")]
    online: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Who is looked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Person {
    idnr: String,
    birth_name: String,
    given_names: String,
    birth_date: String,
    birth_place: String,
}

/// One entry, as it is printed.
#[derive(Serialize)]
struct Line {
    at: String,
    request: String,
    authority: String,
    authority_name: String,
    purpose: String,
    legal_basis: Vec<String>,
    evidence_type: String,
    result: String,
    fields: Vec<String>,
    case_reference: String,
    role: &'static str,
    certain: bool,
    transmitted: bool,
    ledger: String,
    ledger_index: u64,
    receipt: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<String>,
}

/// Runs it.
///
/// # Errors
/// Where the journal was changed, a file cannot be used, or the use cannot be noted.
pub async fn run(args: Args) -> Result<(), Exit> {
    let keys = ledger_keys(&args.ledger_key)?;
    let missing = missing(&args.journal)?;
    match (&args.person, &args.keys) {
        (Some(person), Some(folder)) => {
            let person = read_person(person)?;
            let officer = officer::open(folder, args.passphrase_file.as_deref())?;
            about(&args, &person, &officer, (&keys, &missing)).await
        }
        _ => counts(&args, &missing),
    }
}

fn ledger_keys(texts: &[String]) -> Result<HashMap<String, String>, Exit> {
    let named = |text: &String| {
        let key = LedgerKey::parse(text).map_err(|e| Exit::usage(format!("--ledger-key: {e}")))?;
        Ok((key.name().to_owned(), text.clone()))
    };
    texts.iter().map(named).collect()
}

fn missing(folders: &[PathBuf]) -> Result<Vec<Missing>, Exit> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(audit::last(folder)?.into_iter().flat_map(|(_, _, missing)| missing));
    }
    Ok(all)
}

fn read_person(path: &Path) -> Result<Subject, Exit> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().take(PERSON_MAX).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(PERSON_MAX).read_to_string(&mut text))
    };
    read.map_err(|error| FileError::new(path, error))?;
    // The parser's own message would show the line.
    let person: Person = toml::from_str(&text).map_err(|_| {
        Exit::usage(
            "the person's file has lines of the form key = \"value\" with the keys idnr, \
             birth_name, given_names, birth_date and birth_place, and no other",
        )
    })?;
    if !person.idnr.is_empty() && !idnr_is_valid(&person.idnr) {
        return Err(Exit::usage("idnr: eleven digits, and the last is a check digit"));
    }
    if person.idnr.is_empty() && (person.birth_name.is_empty() || person.birth_date.is_empty()) {
        return Err(Exit::usage("write idnr, or birth_name and birth_date"));
    }
    let Person { idnr, birth_name, given_names, birth_date, birth_place } = person;
    Ok(Subject { idnr, birth_name, given_names, birth_date, birth_place })
}

/// Why reading failed.
#[derive(Debug, thiserror::Error)]
enum ReadFailed {
    #[error(transparent)]
    Journal(#[from] BrokenJournal),
    #[error(transparent)]
    Key(#[from] FileError),
}

async fn about(
    args: &Args,
    person: &Subject,
    officer: &Officer,
    (keys, missing): (&HashMap<String, String>, &[Missing]),
) -> Result<(), Exit> {
    let (mut lines, mut read, mut unopened) = (Vec::new(), 0, 0);
    let mut online = Online { url: args.online.clone(), fetched: HashMap::new() };
    for path in &args.journal {
        let key_of = |day| officer.day_key(day).map_err(ReadFailed::Key);
        let found = reading::find(&mut Folder::new(path), person, key_of).map_err(Exit::failed)?;
        read += found.read;
        unopened += found.unopened.values().sum::<u64>();
        // Nothing is shown of which there is no trace.
        note(path, &format!("about a person: {} of {} entries", found.entries.len(), found.read))?;
        for entry in found.entries {
            let key = keys.get(&entry.exchange.ledger).map(String::as_str);
            let published = online.state(&entry, key).await;
            lines.push(line(entry, key, published, missing));
        }
    }
    lines.sort_by(|one, other| one.at.cmp(&other.at));
    let bad = lines.iter().filter(|line| !line.receipt.starts_with("holds")).count();
    if args.json {
        let report = json!({
            "entries": lines, "read": read, "not_opened": unopened, "receipts_that_fail": bad,
        });
        println!("{report:#}");
        return Ok(());
    }
    println!("{} of {read} entries of the journal are about this person", lines.len());
    for line in &lines {
        print!("{}", in_words(line));
    }
    if unopened > 0 {
        println!(
            "\n{unopened} entries could not be opened with these keys: their day keys are destroyed, \
             or they are sealed to another officer"
        );
    }
    Ok(())
}

fn line(entry: Entry, key: Option<&str>, published: Option<String>, missing: &[Missing]) -> Line {
    let request = reading::id_text(&entry.exchange.request_id);
    let receipt = match reading::check(&entry.exchange, key) {
        Offline::Holds if missing.iter().any(|one| one.request_id == request) => {
            "ALARM: holds by itself, but the published ledger did not bear it out when the adapter \
             last looked"
                .to_owned()
        }
        Offline::Holds => "holds: signed by the ledger".to_owned(),
        Offline::Fails(problem) => format!("ALARM: does not hold: {problem}"),
    };
    let ledger_index = entry.exchange.receipt.as_ref().map_or(0, |receipt| receipt.index);
    let Entry { exchange, result, fields, case_reference, asked, certain, withheld } = entry;
    Line {
        at: to_iso(exchange.at_ms),
        request,
        authority: exchange.authority,
        authority_name: exchange.authority_name,
        purpose: exchange.purpose,
        legal_basis: exchange.legal_basis,
        evidence_type: exchange.evidence_type,
        result,
        fields,
        case_reference,
        role: if asked { "asked about" } else { "named in the answer" },
        certain,
        transmitted: !withheld,
        ledger: exchange.ledger,
        ledger_index,
        receipt,
        published,
    }
}

/// One entry, for people.
fn in_words(line: &Line) -> String {
    let Line { at, authority, authority_name, purpose, evidence_type, result, role, .. } = line;
    let mut text = format!("\n{at}  {authority_name} ({authority})\n");
    text += &format!("  purpose   {purpose}: {}\n", line.legal_basis.join(", "));
    text += &format!("  evidence  {evidence_type}, {role}; result: {result}\n");
    if !line.fields.is_empty() {
        text += &format!("  fields    {}\n", line.fields.join(", "));
    }
    if !line.case_reference.is_empty() {
        text += &format!("  file      {}\n", line.case_reference);
    }
    if !line.transmitted {
        text += "  note      the answer did not leave after all\n";
    }
    if !line.certain {
        text += "  note      names and birth date fit: look whether it is the same person\n";
    }
    text += &format!("  request   {}\n", line.request);
    text +=
        &format!("  receipt   {} position {}: {}\n", line.ledger, line.ledger_index, line.receipt);
    if let Some(published) = &line.published {
        text += &format!("  published {published}\n");
    }
    text
}

/// The ledgers as they are published now.
struct Online {
    url: Option<String>,
    fetched: HashMap<String, Result<Published, String>>,
}

impl Online {
    async fn state(&mut self, entry: &Entry, key: Option<&str>) -> Option<String> {
        let url = self.url.clone()?;
        let exchange = &entry.exchange;
        let text = key.unwrap_or(&exchange.ledger_key);
        if !self.fetched.contains_key(&exchange.ledger) {
            let fetched = match LedgerKey::parse(text) {
                Ok(key) => Published::fetch(&Source { url, key }).await.map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            self.fetched.insert(exchange.ledger.clone(), fetched);
        }
        let receipt = exchange.receipt.as_ref()?;
        let leaf = Leaf::parse(&receipt.leaf).ok()?;
        Some(match self.fetched.get_mut(&exchange.ledger)? {
            Err(problem) => format!("not looked for: {problem}"),
            Ok(published) => match published.holds(&leaf, receipt.index).await {
                Ok(Some(true)) => "the leaf stands in its place".to_owned(),
                Ok(Some(false)) => "ALARM: another leaf stands in its place".to_owned(),
                Ok(None) => "the published ledger has not come so far".to_owned(),
                Err(error) => format!("not looked for: {error}"),
            },
        })
    }
}

fn counts(args: &Args, missing: &[Missing]) -> Result<(), Exit> {
    let mut all = Vec::new();
    for path in &args.journal {
        let mut folder = Folder::new(path);
        let counts = reading::count(&mut folder).map_err(Exit::failed)?;
        note(path, &format!("counts: {} entries", counts.exchanges.values().sum::<u64>()))?;
        all.push((folder.register().unwrap_or_default().to_owned(), counts));
    }
    if args.json {
        let registers: Vec<_> = all.iter().map(|(id, counts)| counts_json(id, counts)).collect();
        println!("{:#}", json!({ "registers": registers, "missing": missing }));
        return Ok(());
    }
    for (register, counts) in &all {
        let days = counts.days.map(|(from, to)| [day_to_iso(from), day_to_iso(to)].join(" to "));
        println!("{register}  {}", days.unwrap_or_else(|| "empty".to_owned()));
        for ((authority, purpose), count) in sorted(&counts.exchanges) {
            println!("{:>12}  {authority}  {purpose}", said(count));
        }
        println!("{:>12}  answers that did not leave after all", said(counts.withheld));
        for ((broker, authority), count) in sorted(&counts.not_logged) {
            println!("{count:>12}  commitments that {broker} did not log, for {authority}");
        }
    }
    for one in missing {
        println!(
            "ALARM: request {} of {}, position {}: {}",
            one.request_id,
            to_iso(one.at_ms),
            one.index,
            one.problem
        );
    }
    Ok(())
}

fn counts_json(register: &str, counts: &Counts) -> serde_json::Value {
    let exchanges: Vec<_> = sorted(&counts.exchanges)
        .into_iter()
        .map(|((authority, purpose), count)| {
            json!({ "authority": authority, "purpose": purpose, "count": said(count) })
        })
        .collect();
    let not_logged: Vec<_> = sorted(&counts.not_logged)
        .into_iter()
        .map(|((broker, authority), count)| {
            json!({ "broker": broker, "authority": authority, "count": count })
        })
        .collect();
    json!({
        "register": register,
        "from": counts.days.map(|(from, _)| day_to_iso(from)),
        "to": counts.days.map(|(_, to)| day_to_iso(to)),
        "exchanges": exchanges,
        "withheld": said(counts.withheld),
        "not_logged": not_logged,
    })
}

fn sorted(counts: &HashMap<(String, String), u64>) -> Vec<(&(String, String), u64)> {
    let mut all: Vec<_> = counts.iter().map(|(key, count)| (key, *count)).collect();
    all.sort();
    all
}

/// A count, or that it is small.
fn said(count: u64) -> String {
    if (1..SMALL).contains(&count) { format!("fewer than {SMALL}") } else { count.to_string() }
}

/// Notes that a journal was read: when, and how much was found. Who it was about stands nowhere.
fn note(folder: &Path, what: &str) -> Result<(), Exit> {
    let path = folder.join(NOTES);
    let failed = |error: std::io::Error| {
        Exit::usage(format!(
            "{}: {error}; a report is noted beside the journal, so this folder must be writable, \
             or take a copy of it",
            path.display()
        ))
    };
    let mut file =
        std::fs::OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
    let line = format!("{}  {what}\n", to_iso(Clock::system().now_ms()));
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Line {
        Line {
            at: "2026-03-01T10:00:00Z".to_owned(),
            request: "00".repeat(16),
            authority: "family-office".to_owned(),
            authority_name: "Familienkasse Nord".to_owned(),
            purpose: "child-benefit".to_owned(),
            legal_basis: vec!["BKGG § 1".to_owned(), "IDNrG § 6".to_owned()],
            evidence_type: "birth-certificate".to_owned(),
            result: "found".to_owned(),
            fields: vec!["birth_date".to_owned(), "family_name".to_owned()],
            case_reference: "FK 12/26".to_owned(),
            role: "asked about",
            certain: true,
            transmitted: true,
            ledger: "ledger.example".to_owned(),
            ledger_index: 7,
            receipt: "holds: signed by the ledger".to_owned(),
            published: None,
        }
    }

    #[test]
    fn an_entry_says_who_why_by_which_law_and_what() {
        let expected = "
2026-03-01T10:00:00Z  Familienkasse Nord (family-office)
  purpose   child-benefit: BKGG § 1, IDNrG § 6
  evidence  birth-certificate, asked about; result: found
  fields    birth_date, family_name
  file      FK 12/26
  request   00000000000000000000000000000000
  receipt   ledger.example position 7: holds: signed by the ledger
";
        assert_eq!(in_words(&entry()), expected);
    }

    #[test]
    fn what_is_unsure_or_did_not_leave_is_said_and_what_is_empty_is_not() {
        let text = in_words(&Line {
            fields: Vec::new(),
            case_reference: String::new(),
            certain: false,
            transmitted: false,
            published: Some("ALARM: another leaf stands in its place".to_owned()),
            ..entry()
        });
        assert!(!text.contains("  fields") && !text.contains("  file"), "{text}");
        for line in [
            "  note      the answer did not leave after all\n",
            "  note      names and birth date fit: look whether it is the same person\n",
            "  published ALARM: another leaf stands in its place\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn small_counts_are_not_said() {
        let all: Vec<String> = [0, 1, 4, 5].into_iter().map(said).collect();
        assert_eq!(all, ["0", "fewer than 5", "fewer than 5", "5"]);
    }
}
