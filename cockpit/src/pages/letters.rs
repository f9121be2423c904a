// SPDX-License-Identifier: EUPL-1.2
//! Letters with all references: to ask, object, complain, correct. Written for this answer only;
//! nothing of them is kept. They are in German, which is what those who read them read
//! (VwVfG § 23).

use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    answers::{Trouble, page, trouble},
    downloads::file,
    proof::ProofView,
    records::RecordView,
    routes::{Shared, look_up},
    visit::{LoggedIn, Visit},
    when::{Wall, plain_date},
    words::Lang,
};
use crate::login::Login;

/// What a letter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Letter {
    Ask,
    Object,
    Complain,
    Correct,
}

impl Letter {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "fragen" => Self::Ask,
            "widersprechen" => Self::Object,
            "beschweren" => Self::Complain,
            "berichtigen" => Self::Correct,
            _ => return None,
        })
    }
}

#[derive(Template)]
#[template(path = "letter.html")]
struct LetterPage<'a> {
    v: &'a Visit,
    index: u64,
    kind: &'a str,
    to: String,
    text: String,
    placeholders: bool,
}

/// The supervisory authority for public bodies of a region (BDSG § 9, laws of the Länder). An
/// empty region is a body of the Federation.
fn supervisor(region: &str) -> &'static str {
    match region.get(..2).unwrap_or_default() {
        "01" => "Unabhängiges Landeszentrum für Datenschutz Schleswig-Holstein",
        "02" => "Der Hamburgische Beauftragte für Datenschutz und Informationsfreiheit",
        "03" => "Der Landesbeauftragte für den Datenschutz Niedersachsen",
        "04" => {
            "Die Landesbeauftragte für Datenschutz und Informationsfreiheit der Freien \
             Hansestadt Bremen"
        }
        "05" => "Landesbeauftragte für Datenschutz und Informationsfreiheit Nordrhein-Westfalen",
        "06" => "Der Hessische Beauftragte für Datenschutz und Informationsfreiheit",
        "07" => {
            "Der Landesbeauftragte für den Datenschutz und die Informationsfreiheit \
             Rheinland-Pfalz"
        }
        "08" => {
            "Der Landesbeauftragte für den Datenschutz und die Informationsfreiheit \
             Baden-Württemberg"
        }
        "09" => "Der Bayerische Landesbeauftragte für den Datenschutz",
        "10" => "Unabhängiges Datenschutzzentrum Saarland",
        "11" => "Berliner Beauftragte für Datenschutz und Informationsfreiheit",
        "12" => {
            "Die Landesbeauftragte für den Datenschutz und für das Recht auf Akteneinsicht \
             Brandenburg"
        }
        "13" => {
            "Der Landesbeauftragte für Datenschutz und Informationsfreiheit \
             Mecklenburg-Vorpommern"
        }
        "14" => "Sächsische Datenschutz- und Transparenzbeauftragte",
        "15" => "Landesbeauftragte für den Datenschutz Sachsen-Anhalt",
        "16" => "Thüringer Landesbeauftragter für den Datenschutz und die Informationsfreiheit",
        _ => "Die Bundesbeauftragte für den Datenschutz und die Informationsfreiheit",
    }
}

pub(crate) async fn letter(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Path((index, kind)): Path<(String, String)>,
) -> Response {
    let (kind, plain) = match kind.strip_suffix(".txt") {
        Some(kind) => (kind, true),
        None => (kind.as_str(), false),
    };
    let Some(letter) = Letter::parse(kind) else { return trouble(&v, Trouble::NotFound) };
    // In the words that the authority has for it.
    let teller = app.teller(Lang::De);
    let (record, proof, _) = match look_up(&app, &person, &index, teller).await {
        Ok(found) => found,
        Err(error) => return trouble(&v, error),
    };
    let region = app.pages.vocabulary.authority_region(&record.authority.id).unwrap_or_default();
    let to = match letter {
        Letter::Complain => supervisor(&region).to_owned(),
        Letter::Correct => record.register.name.clone(),
        Letter::Ask | Letter::Object => record.authority.name.clone(),
    };
    let today = Wall::at(app.pages.clock.now_ms()).date(Lang::De);
    let text = write(letter, &to, &record, &proof, &person, &today);
    if plain {
        let name = format!("einmal-{}-{kind}.txt", record.index);
        return file("text/plain; charset=utf-8", &name, text);
    }
    let placeholders = text.contains("[");
    page(&LetterPage { v: &v, index: record.index, kind, to, text, placeholders })
}

fn write(
    letter: Letter,
    to: &str,
    record: &RecordView,
    proof: &ProofView,
    person: &Login,
    today: &str,
) -> String {
    let RecordView { authority, register, evidence_type, purpose, .. } = record;
    let (subject, wish) = match letter {
        Letter::Ask => (
            "Auskunft über einen Abruf meiner Daten",
            "Bitte teilen Sie mir nach Art. 15 DSGVO mit, wofür Sie diese Angaben genau gebraucht \
             haben, was Sie daraus übernommen haben, wem Sie sie weitergegeben haben und wie \
             lange Sie sie speichern."
                .to_owned(),
        ),
        Letter::Object => (
            "Widerspruch gegen die Verarbeitung meiner Daten",
            "Soweit Sie sich auf eine Aufgabe im öffentlichen Interesse stützen (Art. 6 Abs. 1 \
             Buchst. e DSGVO), widerspreche ich der weiteren Verarbeitung nach Art. 21 DSGVO aus \
             diesem Grund:\n\n[Bitte Ihren Grund eintragen]\n\nBitte verarbeiten Sie die Angaben \
             bis zu Ihrer Entscheidung nicht weiter (Art. 18 Abs. 1 Buchst. d DSGVO)."
                .to_owned(),
        ),
        Letter::Complain => (
            "Beschwerde nach Art. 77 DSGVO",
            format!(
                "Ich halte diesen Abruf durch {} für nicht rechtmäßig, weil:\n\n[Bitte Ihren \
                 Grund eintragen]\n\nBitte prüfen Sie ihn und teilen Sie mir das Ergebnis mit.",
                authority.name
            ),
        ),
        Letter::Correct => (
            "Berichtigung meiner Daten",
            format!(
                "Nach Art. 16 DSGVO bitte ich Sie, diese Angabe in Ihrem Register zu \
                 berichtigen:\n\n[Bitte eintragen: welche Angabe falsch ist, und wie sie richtig \
                 heißt]\n\nBitte teilen Sie die Berichtigung auch {} mit (Art. 19 DSGVO).",
                authority.name
            ),
        ),
    };
    let names = |fields: &[super::records::Named]| {
        fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut facts = vec![
        ("Wer hat gefragt", authority.name.clone()),
        ("Wann", record.when.clone()),
        ("Gefragtes Register", register.name.clone()),
        ("Nachweis", evidence_type.name.clone()),
        ("Gefragt war nach", names(&record.fields_asked)),
        ("Übermittelt wurde", names(&record.fields)),
        ("Angegebener Zweck", purpose.name.clone()),
        ("Rechtsgrundlage", record.legal_basis.join("; ")),
        ("Aktenzeichen", record.case_reference.clone()),
        ("Eintrag", format!("Nr. {} im Protokoll {}", record.index, proof.ledger)),
        ("Fingerabdruck (SHA-256)", proof.body_hash.clone()),
    ];
    facts.retain(|(_, value)| !value.is_empty());
    let facts: Vec<String> =
        facts.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let name = format!("{} {}", person.person.given_names, person.person.birth_name);
    let (name, born) = (name.trim(), plain_date(&person.person.birth_date));
    let name = if name.is_empty() { "[Ihr Name]" } else { name };
    let born = if born.is_empty() { String::new() } else { format!(", geboren am {born}") };
    format!(
        "{name}\n[Ihre Anschrift]\n\n{to}\n[Anschrift]\n\n{today}\n\n{subject}\n\nSehr geehrte \
         Damen und Herren,\n\nim Datenschutzcockpit habe ich diesen Zugriff auf meine Daten \
         gefunden:\n\n{}\n\n{wish}\n\nMit freundlichen Grüßen\n\n{name}{born}\n",
        facts.join("\n")
    )
}
