// SPDX-License-Identifier: EUPL-1.2
//! One record, put into plain words: what the list, the detail page and the JSON API show.

use einmal_policy::rules_document::Texts;
use einmal_protocol::{
    Reason,
    permit::Permit,
    wire::{
        cockpit::v1::Record,
        v1::{self, Initiation, Outcome, SubjectRole, Use},
    },
};
use prost::Message;
use serde::Serialize;

use super::{
    vocabulary::Vocabulary,
    when::Wall,
    words::{self, Lang},
};
use crate::finding::Finding;

/// An id with the word for it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// Something the keeper found, in words.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Note {
    pub(crate) code: String,
    pub(crate) text: String,
}

/// A rule that permitted it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) legal_basis: String,
    pub(crate) text: String,
}

/// How an access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum Ending {
    Found,
    NothingFound,
    Ambiguous,
    /// The register held something that it could not send.
    NotTransmitted,
    Refused,
    /// The register's word is missing or not valid.
    Unknown,
}

/// One record in plain words. Personal, so never printed or logged.
#[derive(Serialize)]
pub(crate) struct RecordView {
    pub(crate) index: u64,
    pub(crate) sentence: String,
    pub(crate) at: String,
    pub(crate) when: String,
    #[serde(skip)]
    pub(crate) month: String,
    /// YYYY-MM-DD in Germany.
    #[serde(skip)]
    pub(crate) day: String,
    pub(crate) authority: Named,
    pub(crate) register: Named,
    pub(crate) evidence_type: Named,
    pub(crate) fields_asked: Vec<Named>,
    pub(crate) fields: Vec<Named>,
    pub(crate) purpose: Named,
    pub(crate) legal_basis: Vec<String>,
    pub(crate) initiation: String,
    pub(crate) result: Ending,
    #[serde(skip)]
    pub(crate) result_short: &'static str,
    pub(crate) result_text: String,
    #[serde(rename = "use")]
    pub(crate) use_text: String,
    #[serde(skip)]
    pub(crate) affected: bool,
    pub(crate) role: String,
    pub(crate) case_reference: String,
    pub(crate) idnr_used: bool,
    pub(crate) crosses_areas: Option<bool>,
    pub(crate) retry: bool,
    pub(crate) policies: Vec<Policy>,
    pub(crate) findings: Vec<Note>,
}

/// Puts records into words.
#[derive(Clone, Copy)]
pub(crate) struct Teller<'a> {
    pub(crate) vocabulary: &'a dyn Vocabulary,
    pub(crate) lang: Lang,
}

impl Teller<'_> {
    /// One record in words. Nothing where its request cannot be read.
    pub(crate) fn tell(&self, record: &Record) -> Option<RecordView> {
        let request = v1::Request::decode(record.request.as_slice()).ok()?;
        let permit = Permit::parse(&record.permit).ok();
        let access = record.access.clone().unwrap_or_default();
        let result = result_of(record);
        let wall = Wall::at(record.logged_at_ms);
        let field =
            |name: &String| self.named(name, self.vocabulary.field(&request.evidence_type, name));
        let mut view = RecordView {
            index: record.index,
            sentence: String::new(),
            at: einmal_protocol::time::to_iso(record.logged_at_ms),
            when: wall.both(self.lang),
            month: wall.month(self.lang),
            day: wall.iso_date(),
            authority: plain_name(
                &request.authority,
                self.vocabulary.authority_name(&request.authority),
            ),
            register: plain_name(
                &request.register,
                self.vocabulary.register_name(&request.register),
            ),
            evidence_type: self.named(
                &request.evidence_type,
                self.vocabulary.evidence_type(&request.evidence_type),
            ),
            fields_asked: request.fields.iter().map(field).collect(),
            fields: access.fields.iter().map(field).collect(),
            purpose: self.named(&request.purpose, self.vocabulary.purpose(&request.purpose)),
            legal_basis: self.vocabulary.legal_basis(&request.purpose),
            initiation: self.initiation(request.initiation()).to_owned(),
            result,
            result_short: self.result_short(result),
            result_text: self.result_text(result, &record.refusal_reason),
            use_text: self.use_text(result, record.r#use()).to_owned(),
            affected: access.role() == SubjectRole::Affected,
            role: self.role(access.role()).to_owned(),
            case_reference: access.case_reference.clone(),
            idnr_used: request.idnr_used,
            crosses_areas: permit.as_ref().map(Permit::crosses_areas),
            retry: !request.retry_of.is_empty(),
            policies: permit.as_ref().map(|permit| self.policies(permit)).unwrap_or_default(),
            findings: record.findings.iter().map(|code| self.note(code)).collect(),
        };
        view.sentence = self.sentence(&view, wall);
        Some(view)
    }

    pub(crate) fn named(&self, id: &str, texts: Option<Texts>) -> Named {
        let name = texts.map(|texts| self.lang.pick(texts.de, texts.en, texts.de_leicht));
        plain_name(id, name)
    }

    fn policies(&self, permit: &Permit) -> Vec<Policy> {
        let mut ids: Vec<&String> =
            permit.fields().iter().flat_map(|grant| &grant.policies).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter()
            .map(|id| {
                let known = self.vocabulary.policy(id);
                let (legal_basis, text) = known
                    .map(|(basis, t)| (basis, self.lang.pick(t.de, t.en, t.de_leicht)))
                    .unwrap_or_default();
                Policy { id: id.clone(), legal_basis, text }
            })
            .collect()
    }

    fn note(&self, code: &str) -> Note {
        let finding = Finding::parse(code).unwrap_or(Finding::Unreadable);
        Note { code: code.to_owned(), text: words::finding(self.lang, finding).to_owned() }
    }

    /// The first thing that is read: who, when, what, where, why, in one breath.
    fn sentence(&self, view: &RecordView, wall: Wall) -> String {
        let (date, time) = (wall.date(self.lang), wall.time(self.lang));
        let RecordView { authority, register, evidence_type, purpose, .. } = view;
        let (who, whom, what) = (&authority.name, &register.name, &evidence_type.name);
        let why = &purpose.name;
        let (refused, affected) = (view.result == Ending::Refused, view.affected);
        let asked = match (refused, affected) {
            (true, _) => self.lang.pick(
                format!(
                    "Am {date} um {time} wollte {who} bei {whom} Daten über Sie abfragen: \
                     {what}. Angegebener Grund: {why}. Die Anfrage wurde abgelehnt."
                ),
                format!(
                    "On {date} at {time}, {who} wanted to ask {whom} for data about you: \
                     {what}. Reason given: {why}. The request was refused."
                ),
                format!(
                    "{who} wollte Daten von Ihnen haben: {what}. Das war am {date} um {time}. \
                     Der Grund war: {why}. Das Amt hat keine Daten bekommen."
                ),
            ),
            (false, true) => self.lang.pick(
                format!(
                    "Am {date} um {time} hat {who} bei {whom} Daten abgefragt, in denen auch \
                     Sie vorkommen: {what}. Grund: {why}."
                ),
                format!(
                    "On {date} at {time}, {who} asked {whom} for data in which you are named \
                     as well: {what}. Reason: {why}."
                ),
                format!(
                    "{who} hat nach den Daten von einer anderen Person gefragt: {what}. Sie \
                     kommen auch darin vor. Das war am {date} um {time}. Gefragt wurde: \
                     {whom}. Der Grund ist: {why}."
                ),
            ),
            (false, false) => self.lang.pick(
                format!(
                    "Am {date} um {time} hat {who} bei {whom} Daten über Sie abgefragt: \
                     {what}. Grund: {why}."
                ),
                format!(
                    "On {date} at {time}, {who} asked {whom} for data about you: {what}. \
                     Reason: {why}."
                ),
                format!(
                    "{who} hat nach Ihren Daten gefragt: {what}. Das war am {date} um {time}. \
                     Gefragt wurde: {whom}. Der Grund ist: {why}."
                ),
            ),
        };
        // A purpose may end in a full stop of its own.
        asked.replace("..", ".")
    }

    /// The result in a word or two, for the list.
    pub(crate) fn result_short(&self, result: Ending) -> &'static str {
        match result {
            Ending::Found => self.lang.pick("Übermittelt", "Passed on", "Daten bekommen"),
            Ending::NothingFound => {
                self.lang.pick("Nichts gefunden", "Nothing found", "Keine Daten")
            }
            Ending::Ambiguous => self.lang.pick("Nicht eindeutig", "Ambiguous", "Nicht klar"),
            Ending::NotTransmitted => {
                self.lang.pick("Nicht übermittelt", "Not passed on", "Keine Daten bekommen")
            }
            Ending::Refused => self.lang.pick("Abgelehnt", "Refused", "Abgelehnt"),
            Ending::Unknown => self.lang.pick("Unklar", "Unclear", "Nicht klar"),
        }
    }

    fn initiation(&self, initiation: Initiation) -> &'static str {
        match initiation {
            Initiation::Application => self.lang.pick(
                "Auf einen Antrag hin; der Abruf wurde dabei gewählt",
                "On an application, in which the retrieval was chosen",
                "Sie oder jemand für Sie hat einen Antrag gestellt.",
            ),
            Initiation::Statutory => self.lang.pick(
                "Von Amts wegen; die Behörde beruft sich auf ein Gesetz",
                "By the authority itself, which refers to a law",
                "Das Amt wollte das. Das Amt sagt: Ein Gesetz erlaubt das.",
            ),
            Initiation::Unspecified => "–",
        }
    }

    fn result_text(&self, result: Ending, reason: &str) -> String {
        let text = match result {
            Ending::Found => self.lang.pick(
                "Gefunden und übermittelt",
                "Found and passed on",
                "Das Amt hat die Daten bekommen.",
            ),
            Ending::NothingFound => self.lang.pick(
                "Nichts gefunden, nichts übermittelt",
                "Nothing found, nothing passed on",
                "Es gab keine Daten. Das Amt hat nichts bekommen.",
            ),
            Ending::Ambiguous => self.lang.pick(
                "Nicht eindeutig: Mehrere Personen passten, deshalb wurde nichts übermittelt",
                "Ambiguous: more than one person fitted, so nothing was passed on",
                "Es war nicht klar, welche Person gemeint ist. Das Amt hat nichts bekommen.",
            ),
            Ending::NotTransmitted => self.lang.pick(
                "Nicht übermittelt: Das Register konnte seine Angaben nicht richtig senden",
                "Not passed on: the register could not send its details properly",
                "Es gab einen Fehler bei den Daten. Das Amt hat nichts bekommen.",
            ),
            Ending::Refused => return self.refusal(reason),
            Ending::Unknown => self.lang.pick(
                "Unklar: Die Auskunft des Registers fehlt oder ist nicht gültig",
                "Unclear: the register's word is missing or not valid",
                "Das wissen wir nicht. Das Cockpit hat das bemerkt.",
            ),
        };
        text.to_owned()
    }

    fn refusal(&self, reason: &str) -> String {
        let known = Reason::parse(reason);
        let why = match known {
            Some(Reason::NotPermitted | Reason::PolicyError | Reason::PermitDiffers) => {
                self.lang.pick(
                    "Die Behörde darf das zu diesem Zweck nicht abfragen.",
                    "The authority may not ask for this for that purpose.",
                    "Das Amt darf das nicht fragen.",
                )
            }
            Some(Reason::Denied) => self.lang.pick(
                "Solche Abfragen sind zurzeit gesperrt.",
                "Such requests are blocked at the moment.",
                "Solche Fragen sind gerade verboten.",
            ),
            Some(Reason::BadCheckDigit | Reason::QueryNotLawful | Reason::PersonNotOpened) => {
                self.lang.pick(
                    "Die Angaben zur Person waren falsch oder unvollständig.",
                    "The details of the person were wrong or incomplete.",
                    "Die Angaben waren falsch.",
                )
            }
            Some(Reason::DeclaredNotReal) => self.lang.pick(
                "Die Behörde hat ihre Anfrage falsch bezeichnet.",
                "The authority declared its request wrongly.",
                "Das Amt hat falsch gefragt.",
            ),
            _ => self.lang.pick(
                "Die Anfrage erfüllte eine Voraussetzung nicht.",
                "The request did not meet a condition.",
                "Etwas hat nicht gestimmt.",
            ),
        };
        self.lang.pick(
            format!("Abgelehnt, nichts übermittelt. {why}"),
            format!("Refused, nothing passed on. {why}"),
            format!("Die Frage wurde abgelehnt. {why}"),
        )
    }

    fn use_text(&self, result: Ending, use_: Use) -> &'static str {
        match (result, use_) {
            (Ending::Refused, _) => "–",
            (_, Use::Used) => self.lang.pick(
                "Die Behörde hat die Angaben verwendet.",
                "The authority used the details.",
                "Das Amt hat die Daten benutzt.",
            ),
            (_, Use::Discarded) => self.lang.pick(
                "Die Behörde hat die Angaben verworfen und nicht verwendet.",
                "The authority discarded the details and did not use them.",
                "Das Amt hat die Daten nicht benutzt.",
            ),
            (_, Use::NothingFound) => self.lang.pick(
                "Es gab nichts zu verwenden.",
                "There was nothing to use.",
                "Das Amt hatte keine Daten.",
            ),
            (_, Use::Unspecified) => self.lang.pick(
                "Die Behörde hat das noch nicht gemeldet.",
                "The authority has not reported this yet.",
                "Das hat das Amt noch nicht gesagt.",
            ),
        }
    }

    fn role(&self, role: SubjectRole) -> &'static str {
        match role {
            SubjectRole::Affected => self.lang.pick(
                "Sie kommen in diesem Nachweis vor, zum Beispiel als Elternteil. Gefragt wurde \
                 nach jemand anderem.",
                "You are named in this evidence, for example as a parent. The question was \
                 about somebody else.",
                "Das Amt hat nach einer anderen Person gefragt. Sie kommen auch darin vor.",
            ),
            _ => self.lang.pick(
                "Die Anfrage betraf Sie.",
                "The request was about you.",
                "Das Amt hat nach Ihnen gefragt.",
            ),
        }
    }
}

/// A name, or the id where there is none.
pub(crate) fn plain_name(id: &str, name: Option<String>) -> Named {
    Named { id: id.to_owned(), name: name.unwrap_or_else(|| id.to_owned()) }
}

fn result_of(record: &Record) -> Ending {
    if !record.refusal_reason.is_empty() {
        return Ending::Refused;
    }
    match record.access.as_ref().map(v1::AccessRecord::outcome) {
        Some(Outcome::Found) => Ending::Found,
        Some(Outcome::NothingFound) => Ending::NothingFound,
        Some(Outcome::Ambiguous) => Ending::Ambiguous,
        Some(Outcome::NotTransmitted) => Ending::NotTransmitted,
        Some(Outcome::Unspecified) | None => Ending::Unknown,
    }
}
