// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter try`

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
};

use einmal_adapter_kit::{
    Answer, Found, Query, Register,
    settings::{AdapterConfig, RegisterSection},
};
use einmal_peer::Clock;
use einmal_policy::{
    Question, Rules,
    asking::{Asking, explain_as},
    names::hint,
    rules_document::EvidenceType,
};
use einmal_protocol::{person::PersonQuery, wire::v1::Initiation};
use serde::Serialize;
use serde_json::Value;

use super::{check::rules_of, run as running};
use crate::{
    Exit,
    logging::{self, LogForm},
    request,
};

/// Looks one person up in a register, on this machine, and shows what would leave it: to whom, for
/// which purpose. It contacts nobody but the register's own sources, and writes nothing.
///
///   einmal adapter try --type residence-registration --person person.toml
///   einmal adapter try --type residence-registration --person person.toml \
///       --purpose parental-allowance --rules deploy/rules
///
/// The person stands in a TOML file, or comes on standard input with `--person -`, in one of the
/// three lawful ways, as for `einmal request`:
///
///   idnr = "…"            birth_date = "YYYY-MM-DD"
///   family_name = "…"     given_names = "…"     birth_date = "…"
///   family_name = "…"     postcode = "…"        place = "…"     birth_date = "…"
///
/// What is printed is the register's own data: --hide-values shows the names of fields only.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The adapter's configuration file.
    #[arg(long, default_value = "adapter.toml")]
    config: PathBuf,
    /// Which register of it; may be left out where there is only one that maps the type.
    #[arg(long)]
    register: Option<String>,
    /// The evidence type.
    #[arg(long = "type", value_name = "TYPE")]
    evidence_type: String,
    /// Who is asked about: a TOML file, or - for standard input.
    #[arg(long, value_name = "FILE")]
    person: PathBuf,
    /// Only this purpose.
    #[arg(long)]
    purpose: Option<String>,
    /// Rules: a folder that people write, or a signed file. Without it, those that the adapter
    /// last trusted, in its state folder.
    #[arg(long, value_name = "PATH")]
    rules: Option<PathBuf>,
    /// Show which fields have a value, and not the value.
    #[arg(long)]
    hide_values: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Shown {
    register: String,
    evidence_type: String,
    /// As it is said inside the seal.
    outcome: &'static str,
    /// What the operator should know of it.
    note: &'static str,
    /// Persons who get an access record.
    access_records: usize,
    /// Values by field; null where there is none.
    fields: BTreeMap<String, Option<Value>>,
    /// Fields that would leave, by purpose and kind of office.
    would_leave: Vec<Leaves>,
}

/// Who would get what.
#[derive(Serialize)]
struct Leaves {
    purpose: String,
    kind: String,
    fields: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// Where the configuration, the rules or the person cannot be used, or the register fails.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(LogForm::Text, "warn");
    let adapter = running::read(&args.config)?;
    let (rules, directory) = rules_of(args.rules.as_deref(), Some(&adapter), &Clock::system())?;
    let kind = rules.evidence_type(&args.evidence_type).ok_or_else(|| {
        let known = rules.document().evidence_types.iter().map(|kind| kind.id.as_str());
        let near = hint(&args.evidence_type, known);
        Exit::usage(format!("the rules have no evidence type `{}`{near}", args.evidence_type))
    })?;
    if let Some(purpose) = &args.purpose
        && rules.leaf_purpose(purpose).is_none()
    {
        let known = rules.document().purposes.iter().map(|one| one.id.as_str());
        let near = hint(purpose, known);
        return Err(Exit::usage(format!("the rules have no purpose `{purpose}` to ask for{near}")));
    }
    let section = section(&adapter, &args)?;
    let register = running::open(section, &rules.document().evidence_types).await?;
    let person = request::person(&args.person)?;
    let names = kind.fields.iter().map(|field| field.name.clone());
    let query = Query {
        person: person.query.clone(),
        evidence_type: kind.id.clone(),
        fields: names.collect(),
    };
    let answer = register.retrieve(&query).await.map_err(Exit::failed)?;
    let area = directory.and_then(|all| Some(all.register(&section.id)?.entry.area.clone()));
    let mut shown = shown(&section.id, kind, &answer, args.hide_values);
    if let Answer::Found(Found { blocked: false, .. }) = &answer {
        let asked = Asked { rules: &rules, kind, area, query: &query.person };
        shown.would_leave = asked.would_leave(&shown.fields, args.purpose.as_deref());
    }
    let text = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&shown).map_err(Exit::failed)?),
        false => in_words(&shown, args.hide_values),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(Exit::failed)
}

/// The register that is meant.
fn section<'a>(adapter: &'a AdapterConfig, args: &Args) -> Result<&'a RegisterSection, Exit> {
    let mut fitting = Vec::new();
    for section in &adapter.registers {
        let is_named = args.register.as_ref().is_none_or(|id| *id == section.id);
        if is_named && running::types(section)?.contains(&args.evidence_type) {
            fitting.push(section);
        }
    }
    let ids = || {
        let ids: Vec<&str> = adapter.registers.iter().map(|one| one.id.as_str()).collect();
        ids.join(", ")
    };
    match *fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(Exit::usage(format!(
            "no such register of the configuration ({}) maps `{}`",
            ids(),
            args.evidence_type
        ))),
        _ => Err(Exit::usage(format!("say which with --register: {}", ids()))),
    }
}

fn shown(register: &str, kind: &EvidenceType, answer: &Answer, hide: bool) -> Shown {
    let (outcome, note) = match answer {
        Answer::Nothing => ("nothing found", "Nobody fits, or there is nothing about them."),
        Answer::Ambiguous => ("ambiguous", "More than one fits; nothing else would be said."),
        Answer::Found(found) if found.blocked => {
            ("nothing found", "Under a block: outside this looks like nobody. They get the record.")
        }
        Answer::Found(_) => ("found", "Exactly one fits."),
    };
    let mut fields = BTreeMap::new();
    let mut access_records = 1;
    if let Answer::Found(found) = answer {
        access_records += if found.blocked { 0 } else { found.affected.len() };
        for field in &kind.fields {
            let value = found.values.get(&field.name).filter(|value| !value.is_null());
            let value = value.map(|value| if hide { Value::from("…") } else { value.clone() });
            fields.insert(field.name.clone(), value);
        }
    }
    Shown {
        register: register.to_owned(),
        evidence_type: kind.id.clone(),
        outcome,
        note,
        access_records,
        fields,
        would_leave: Vec::new(),
    }
}

/// What the rules are asked.
struct Asked<'a> {
    rules: &'a Rules,
    kind: &'a EvidenceType,
    /// The register's, where it is known.
    area: Option<String>,
    query: &'a PersonQuery,
}

impl Asked<'_> {
    /// The fields with a value that any office of a kind could get, wherever it lies and whoever
    /// set it going.
    fn would_leave(
        &self,
        fields: &BTreeMap<String, Option<Value>>,
        only: Option<&str>,
    ) -> Vec<Leaves> {
        let document = self.rules.document();
        let there: Vec<&String> =
            fields.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name).collect();
        let purposes = document.purposes.iter().filter(|one| only.is_none_or(|id| id == one.id));
        let mut all = Vec::new();
        for purpose in purposes.filter(|one| self.rules.leaf_purpose(&one.id).is_some()) {
            for office in &document.kinds {
                let mut leave = BTreeSet::new();
                for area in &document.areas {
                    for initiation in [Initiation::Application, Initiation::Statutory] {
                        let asking = Asking {
                            authority: "any-authority".to_owned(),
                            area: area.id.clone(),
                            kinds: vec![office.id.clone()],
                        };
                        leave.extend(self.permitted(&asking, &purpose.id, initiation, &there));
                    }
                }
                if !leave.is_empty() {
                    all.push(Leaves {
                        purpose: purpose.id.clone(),
                        kind: office.id.clone(),
                        fields: leave.into_iter().collect(),
                    });
                }
            }
        }
        all
    }

    fn permitted(
        &self,
        asking: &Asking,
        purpose: &str,
        initiation: Initiation,
        fields: &[&String],
    ) -> Vec<String> {
        let question = Question {
            authority: asking.authority.clone(),
            register: String::new(),
            evidence_type: self.kind.id.clone(),
            fields: fields.iter().map(|name| (*name).clone()).collect(),
            purpose: purpose.to_owned(),
            initiation,
            idnr_used: self.query.uses_idnr(),
        };
        let area = self.area.as_ref().unwrap_or(&asking.area);
        // A question that the rules refuse as a whole gives nothing.
        let fields = explain_as(self.rules, asking, area, &question).map(|found| found.fields);
        let fields = fields.unwrap_or_default().into_iter();
        fields.filter(|field| field.permitted).map(|field| field.field).collect()
    }
}

fn in_words(shown: &Shown, hide: bool) -> String {
    let Shown { register, evidence_type, outcome, note, access_records, .. } = shown;
    // Writing to a string cannot fail.
    let mut text = format!("{evidence_type} of {register}: {outcome}. {note}\n");
    _ = writeln!(text, "Persons who would get an access record: {access_records}");
    if shown.fields.is_empty() {
        return text;
    }
    text.push_str("\nWhat the register has:\n");
    for (field, value) in &shown.fields {
        match value {
            None => _ = writeln!(text, "  {field:<28} (no value)"),
            Some(_) if hide => _ = writeln!(text, "  {field:<28} (a value)"),
            Some(value) => _ = writeln!(text, "  {field:<28} {value}"),
        }
    }
    text.push_str("\nWhat would leave, by purpose and kind of office:\n");
    if shown.would_leave.is_empty() {
        text.push_str("  nothing\n");
    }
    for Leaves { purpose, kind, fields } in &shown.would_leave {
        _ = writeln!(text, "  {purpose}, {kind}:\n    {}", fields.join(", "));
    }
    text
}
