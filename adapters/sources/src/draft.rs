// SPDX-License-Identifier: EUPL-1.2
//! A first configuration of a register whose tables nobody has mapped yet: what can be told from
//! the names of columns is written down, what cannot is a comment that says what to decide.

use std::{fmt::Write as _, path::Path, time::Duration};

use einmal_policy::rules_document::{EvidenceType, Field};

use crate::{
    config::{ConfigError, SourceConfig, SourcesConfig},
    kinds::{Listing, Spot},
    mistake::{Mistake, Mistakes, choices},
    names::folded,
    schema::{Kind, Schema},
};

/// Looking into a database may take longer than a lookup.
const LOOK: Duration = Duration::from_secs(10);
/// Of more tables only so many are looked into.
const TABLES_MAX: usize = 500;
/// A shorter name says too little to be part of another.
const PART_MIN: usize = 4;
/// Stands where somebody has to decide.
pub(crate) const UNDECIDED: &str = "?";

/// What columns are called, German and English, beside the field's own names.
const CALLED: &[(&str, &[&str])] = &[
    ("idnr", &["steuer_id", "steueridnr", "identifikationsnummer", "idnummer", "id_nr", "tax_id"]),
    (
        "birth_date",
        &[
            "geburtsdatum",
            "geburtstag",
            "geb_datum",
            "geb_dat",
            "geb_tag",
            "geb_am",
            "born",
            "date_of_birth",
            "dob",
        ],
    ),
    ("family_name", &["familienname", "nachname", "fam_name", "zuname", "surname", "last_name"]),
    ("given_names", &["vornamen", "vorname", "given_name", "first_name", "forenames"]),
    ("birth_name", &["geburtsname", "geb_name", "maiden_name"]),
    ("birth_place", &["geburtsort", "geb_ort", "place_of_birth"]),
    ("postcode", &["plz", "postleitzahl", "zip"]),
    ("place", &["ort", "wohnort", "town", "city"]),
    ("street", &["strasse", "str"]),
    ("blocked", &["auskunftssperre", "sperrvermerk", "sperre", "sperr_kz", "gesperrt", "block"]),
];

/// A first configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The register's file.
    pub text: String,
    /// Keys that nobody can tell from the names, each with what to decide.
    pub open: Vec<String>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum DraftError {
    /// The source's own section.
    #[error(transparent)]
    Source(#[from] ConfigError),
    /// Not exactly one source.
    #[error("describe one source, not {0}; put further ones in by hand")]
    NotOne(usize),
    /// The source cannot be used.
    #[error("{}", .0.iter().map(|m| format!("{}: {}; {}", m.at, m.problem, m.instead)).collect::<Vec<_>>().join("\n"))]
    Mistakes(Vec<Mistake>),
    /// A database whose tables cannot be seen.
    #[error("the account sees no table; grant it SELECT on those of this register")]
    NoTable,
    /// Another name.
    #[error("there is no table `{0}`; write one of {1}")]
    NotThisTable(String, String),
}

/// Looks into the source that `section` describes (one `[[sources]]` of a register's file; paths
/// are seen from `folder`), and drafts the mapping of these evidence types. Only names of tables
/// and columns are read, no row.
///
/// # Errors
/// Where the source cannot be opened, or has no such table.
pub async fn draft(
    section: &str,
    folder: &Path,
    types: &[&EvidenceType],
    table: Option<&str>,
) -> Result<Draft, DraftError> {
    let config = SourcesConfig::parse(&format!("evidence = []\n{section}"))?;
    let [source] = config.sources.as_slice() else {
        return Err(DraftError::NotOne(config.sources.len()));
    };
    let tables = tables_of(source, folder, &config).await?;
    let mut draft = Draft { text: format!("{}\n", section.trim_end()), open: Vec::new() };
    for kind in types {
        let (table, columns) = choose(&tables, kind, table)?;
        let mapped = Mapping::of(kind, columns);
        mapped.write(&mut draft, (kind, source, table), &tables);
    }
    Ok(draft)
}

/// Tables with their columns; of kinds without tables one, without a name.
type Tables = Vec<(String, Vec<String>)>;

async fn tables_of(
    config: &SourceConfig,
    folder: &Path,
    all: &SourcesConfig,
) -> Result<Tables, DraftError> {
    let mut mistakes = Mistakes::default();
    let mut listing = look(config, folder, &[], &mut mistakes).await;
    if config.kind.naming.tables && !listing.names.is_empty() {
        // Opened once more: a source looks at the tables that it is first asked for.
        let names: Vec<&str> = listing.names.iter().take(TABLES_MAX).map(String::as_str).collect();
        listing = look(config, folder, &names, &mut mistakes).await;
    }
    mistakes.result(&all.lines).map_err(DraftError::Mistakes)?;
    let tables: Tables = listing.tables.unwrap_or_default().into_iter().collect();
    if tables.is_empty() { Err(DraftError::NoTable) } else { Ok(tables) }
}

async fn look(
    config: &SourceConfig,
    folder: &Path,
    tables: &[&str],
    mistakes: &mut Mistakes,
) -> Listing {
    let mut spot = Spot { name: &config.name, folder, timeout: LOOK, mistakes };
    match config.setup.open(&mut spot).await {
        Some(source) => source.listing(tables, &mut spot).await.unwrap_or_default(),
        None => Listing::default(),
    }
}

/// The named table, or the one of which most columns are recognised.
fn choose<'a>(
    tables: &'a Tables,
    kind: &EvidenceType,
    named: Option<&str>,
) -> Result<(&'a str, &'a [String]), DraftError> {
    let of = |(name, columns): &'a (String, Vec<String>)| (name.as_str(), columns.as_slice());
    let Some(named) = named else {
        let best = tables.iter().rev().max_by_key(|(_, columns)| Mapping::of(kind, columns).sure());
        return best.map(of).ok_or(DraftError::NoTable);
    };
    let found = tables.iter().find(|(name, _)| name.eq_ignore_ascii_case(named));
    found.map(of).ok_or_else(|| {
        let names = choices(tables.iter().map(|(name, _)| name.as_str()));
        DraftError::NotThisTable(named.to_owned(), names)
    })
}

/// What a column's name tells about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Guess<'a> {
    /// It is called so.
    Sure(&'a str),
    /// It might be.
    Perhaps(&'a str),
    Nothing,
}

/// Letters and digits only, folded as names are: `Geb_Datum` is `gebdatum`.
fn bare(name: &str) -> String {
    folded(name).chars().filter(|char| char.is_alphanumeric()).collect()
}

fn guess<'a>(key: &str, also: &[&str], columns: &'a [String]) -> Guess<'a> {
    let called = CALLED.iter().find(|(known, _)| *known == key).map_or(&[][..], |(_, names)| names);
    let names: Vec<String> =
        [key].iter().chain(also).chain(called).map(|name| bare(name)).collect();
    if let Some(column) = columns.iter().find(|column| names.contains(&bare(column))) {
        return Guess::Sure(column);
    }
    let part = |column: &&String| {
        let column = bare(column);
        names
            .iter()
            .filter(|name| name.len() >= PART_MIN && column.len() >= PART_MIN)
            .any(|name| column.contains(name.as_str()) || name.contains(column.as_str()))
    };
    columns.iter().find(part).map_or(Guess::Nothing, |column| Guess::Perhaps(column))
}

/// What was recognised in one table for one evidence type.
struct Mapping<'a> {
    /// In the order of `[evidence.match]`, then those of the subject.
    person: Vec<(&'static str, Guess<'a>)>,
    blocked: Guess<'a>,
    fields: Vec<(&'a Field, Guess<'a>)>,
}

const MATCH: [&str; 6] = ["idnr", "family_name", "given_names", "birth_date", "postcode", "place"];
const SUBJECT: [&str; 4] = ["idnr", "birth_name", "given_names", "birth_place"];

impl<'a> Mapping<'a> {
    fn of(kind: &'a EvidenceType, columns: &'a [String]) -> Self {
        let person = MATCH.into_iter().chain(["birth_name", "birth_place"]);
        let field = |field: &'a Field| {
            let also = [field.texts.de.as_str(), field.texts.en.as_str()];
            let single = Schema::parse(&field.schema)
                .is_ok_and(|schema| !matches!(schema.kind, Kind::Array | Kind::Object));
            let found = if single { guess(&field.name, &also, columns) } else { Guess::Nothing };
            (field, found)
        };
        Self {
            person: person.map(|key| (key, guess(key, &[], columns))).collect(),
            blocked: guess("blocked", &[], columns),
            fields: kind.fields.iter().map(field).collect(),
        }
    }

    fn sure(&self) -> usize {
        let person = self.person.iter().map(|(_, guess)| guess);
        let all = person.chain(self.fields.iter().map(|(_, guess)| guess));
        all.filter(|guess| matches!(guess, Guess::Sure(_))).count()
    }

    fn person(&self, key: &str) -> &Guess<'a> {
        let found = self.person.iter().find(|(known, _)| *known == key);
        found.map_or(&Guess::Nothing, |(_, guess)| guess)
    }

    fn write(
        &self,
        draft: &mut Draft,
        (kind, source, table): (&EvidenceType, &SourceConfig, &str),
        tables: &Tables,
    ) {
        let out = &mut draft.text;
        let at = format!("evidence.{}", kind.id);
        line(out, &format!("\n[[evidence]]\ntype = {}", quoted(&kind.id)));
        line(out, &format!("source = {}", quoted(&source.name)));
        if source.kind.naming.tables {
            let others = tables.iter().filter(|(name, _)| name != table);
            let others = choices(others.map(|(name, _)| name.as_str()));
            line(out, &format!("# Most columns were recognised here. Others: {others}."));
            line(out, &format!("table = {}", quoted(table)));
        }
        match &self.blocked {
            Guess::Sure(column) => line(out, &format!("blocked = {}", quoted(column))),
            unsure => {
                line(out, "# Which column says that a person is under a block (Auskunftssperre)?");
                line(out, &format!("# blocked = {}", perhaps(unsure)));
                draft.open.push(format!("{at}.blocked: no column of a block was recognised"));
            }
        }
        self.write_absent(draft, &at);
        self.write_person(draft, &at);
        self.write_fields(draft);
    }

    fn write_absent(&self, draft: &mut Draft, at: &str) {
        let absent = |(_, guess): &&(&Field, Guess<'_>)| !matches!(guess, Guess::Sure(_));
        let names: Vec<&str> =
            self.fields.iter().filter(absent).map(|(field, _)| field.name.as_str()).collect();
        if !names.is_empty() {
            let list: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            let out = &mut draft.text;
            line(
                out,
                "# No column was recognised for these. Map them below and take them out here,",
            );
            line(out, "# or leave those that this register does not hold.");
            line(out, &format!("absent = [{}]", list.join(", ")));
            draft
                .open
                .push(format!("{at}.absent: not held, or not recognised? {}", names.join(", ")));
        }
    }

    fn write_person(&self, draft: &mut Draft, at: &str) {
        let out = &mut draft.text;
        line(
            out,
            "\n# Whom a question means. IDNrG § 6 (3): idnr; family_name and given_names; or",
        );
        line(out, "# family_name, postcode and place; the birth date always.");
        line(out, "[evidence.match]");
        for key in MATCH {
            match (key, self.person(key)) {
                (_, Guess::Sure(column)) => line(out, &format!("{key} = {}", quoted(column))),
                ("birth_date", unsure) => {
                    line(out, "# The check lists the columns there are.");
                    line(out, &format!("birth_date = {}", perhaps(unsure)));
                    draft.open.push(format!("{at}.match.birth_date: no column was recognised"));
                }
                (_, unsure) => line(out, &format!("# {key} = {}", perhaps(unsure))),
            }
        }
        line(out, "# Only of texts that are not written like 2026-11-23:");
        line(out, "# birth_date_format = \"%d.%m.%Y\"");
        line(out, "\n# Whose access record it is: idnr, or birth_name and given_names.");
        line(out, "[evidence.subject]");
        let by_number = matches!(self.person("idnr"), Guess::Sure(_));
        for key in SUBJECT {
            let needed = !by_number && matches!(key, "birth_name" | "given_names");
            match self.person(key) {
                Guess::Sure(column) => line(out, &format!("{key} = {}", quoted(column))),
                unsure if needed => {
                    line(out, &format!("{key} = {}", perhaps(unsure)));
                    draft.open.push(format!("{at}.subject.{key}: no column was recognised"));
                }
                unsure => line(out, &format!("# {key} = {}", perhaps(unsure))),
            }
        }
    }

    fn write_fields(&self, draft: &mut Draft) {
        let out = &mut draft.text;
        line(
            out,
            "\n# What it says. Codes: codes = { A = \"…\" }; dates and numbers that are texts:",
        );
        line(out, "# date_format, number_format; the same for all: { constant = … }.");
        line(out, "[evidence.fields]");
        for (field, guess) in &self.fields {
            let name = &field.name;
            match guess {
                Guess::Sure(column) => {
                    line(out, &format!("{name} = {{ column = {} }}", quoted(column)));
                }
                unsure => {
                    let text = field.texts.en.replace(char::is_control, " ");
                    line(out, &format!("# {text}:"));
                    line(out, &format!("# {name} = {{ column = {} }}", perhaps(unsure)));
                }
            }
        }
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{text}");
}

fn perhaps(guess: &Guess<'_>) -> String {
    match guess {
        Guess::Sure(column) | Guess::Perhaps(column) => quoted(column),
        Guess::Nothing => quoted("?"),
    }
}

/// As a TOML string, whatever the database calls its columns.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}
