// SPDX-License-Identifier: EUPL-1.2
//! The registers of the demonstration: real SQLite databases and CSV files with grown tables,
//! each with the configuration that makes a register of them; and the seventeen questions of one
//! application for parental allowance. The people in them are invented (see `people`).

mod civil;
mod files;
mod social;
mod work;

use std::path::{Path, PathBuf};

use einmal_protocol::person::PersonQuery;

use self::files::File;
pub use self::files::RegisterError;
use super::people::Town;

/// A register that was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoRegister {
    /// Its id in the directory.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Its administrative area.
    pub area: String,
    /// Official municipality key (AGS) of what it serves; empty where that is everywhere.
    pub region: String,
    /// Who runs its adapter.
    pub operator: String,
    /// What it can answer.
    pub evidence_types: Vec<String>,
    /// Its source configuration.
    pub config: PathBuf,
}

/// One of the questions of the application.
#[derive(Clone, Debug)]
pub struct Question {
    /// Id of the register to ask.
    pub register: &'static str,
    /// What for.
    pub evidence_type: &'static str,
    /// All fields that the example rules permit for parental allowance, sorted.
    pub fields: &'static [&'static str],
    /// About whom.
    pub person: PersonQuery,
}

/// How a register of the demonstration is made.
struct Blueprint {
    id: &'static str,
    name: &'static str,
    area: &'static str,
    region: &'static str,
    operator: &'static str,
    evidence_types: &'static [&'static str],
    config: &'static str,
    files: fn(&Town) -> Vec<File>,
}

const MUNICIPAL: &str = "rechenzentrum-weser";
const FEDERAL: &str = "rechenzentrum-bund";
const SOCIAL: &str = "sozialdaten-verbund";

const REGISTERS: [Blueprint; 13] = [
    Blueprint {
        id: "standesamt-bremen",
        name: "Standesamt Bremen",
        area: "interior",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["birth-certificate", "marriage-certificate", "paternity-acknowledgement"],
        config: include_str!("registers/standesamt-bremen.toml"),
        files: civil::registry_office,
    },
    Blueprint {
        id: "jugendamt-bremen",
        name: "Jugendamt Bremen, Sorgeregister",
        area: "labour-social",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["custody-declaration"],
        config: include_str!("registers/jugendamt-bremen.toml"),
        files: civil::youth_office,
    },
    Blueprint {
        id: "meldebehoerde-bremen",
        name: "Meldebehörde Bremen",
        area: "interior",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["residence-registration"],
        config: include_str!("registers/meldebehoerde-bremen.toml"),
        files: civil::residents,
    },
    Blueprint {
        id: "auslaenderbehoerde-bremen",
        name: "Ausländerbehörde Bremen",
        area: "interior",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["residence-title"],
        config: include_str!("registers/auslaenderbehoerde-bremen.toml"),
        files: civil::foreigners_office,
    },
    Blueprint {
        id: "finanzamt-bremen",
        name: "Finanzamt Bremen",
        area: "economy-finance",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["income-tax-assessment"],
        config: include_str!("registers/finanzamt-bremen.toml"),
        files: work::tax_office,
    },
    Blueprint {
        id: "bzst",
        name: "Bundeszentralamt für Steuern",
        area: "economy-finance",
        region: "",
        operator: FEDERAL,
        evidence_types: &["wage-tax-data"],
        config: include_str!("registers/bzst.toml"),
        files: work::wage_tax,
    },
    Blueprint {
        id: "arbeitgeber-lohn",
        name: "Entgeltdaten der Arbeitgeber (rvBEA)",
        area: "labour-social",
        region: "",
        operator: SOCIAL,
        evidence_types: &["pay-data", "employer-maternity-supplement"],
        config: include_str!("registers/arbeitgeber-lohn.toml"),
        files: work::employers,
    },
    Blueprint {
        id: "krankenkasse-nord",
        name: "Krankenkasse Nord",
        area: "health",
        region: "04011000",
        operator: SOCIAL,
        evidence_types: &["maternity-benefit", "health-insurance-status"],
        config: include_str!("registers/krankenkasse-nord.toml"),
        files: social::health_insurer,
    },
    Blueprint {
        id: "familienkasse-bremen",
        name: "Familienkasse Niedersachsen-Bremen",
        area: "labour-social",
        region: "04011000",
        operator: FEDERAL,
        evidence_types: &["child-benefit-notice"],
        config: include_str!("registers/familienkasse-bremen.toml"),
        files: social::family_benefits,
    },
    Blueprint {
        id: "arbeitsagentur-bremen",
        name: "Agentur für Arbeit Bremen-Bremerhaven",
        area: "labour-social",
        region: "04011000",
        operator: FEDERAL,
        evidence_types: &["unemployment-benefit-notice"],
        config: include_str!("registers/arbeitsagentur-bremen.toml"),
        files: work::employment_agency,
    },
    Blueprint {
        id: "rentenversicherung-nord",
        name: "Rentenversicherung Nord",
        area: "labour-social",
        region: "",
        operator: SOCIAL,
        evidence_types: &["pension-insurance-history"],
        config: include_str!("registers/rentenversicherung-nord.toml"),
        files: work::pension_insurance,
    },
    Blueprint {
        id: "versorgungsamt-bremen",
        name: "Versorgungsamt Bremen",
        area: "health",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["disability-status"],
        config: include_str!("registers/versorgungsamt-bremen.toml"),
        files: social::disability_office,
    },
    Blueprint {
        id: "elterngeldstelle-archiv-bremen",
        name: "Elterngeldstelle Bremen, Archiv",
        area: "labour-social",
        region: "04011000",
        operator: MUNICIPAL,
        evidence_types: &["earlier-parental-allowance"],
        config: include_str!("registers/elterngeldstelle-archiv-bremen.toml"),
        files: social::earlier_allowances,
    },
];

/// Writes all registers into a folder: `<id>.toml` and the files it names. Older ones there are
/// replaced, so do not call it while adapters read them.
///
/// # Errors
/// Where a file cannot be written.
pub async fn create(folder: &Path, town: &Town) -> Result<Vec<DemoRegister>, RegisterError> {
    std::fs::create_dir_all(folder)
        .map_err(|source| RegisterError::File { path: folder.to_owned(), source })?;
    let mut created = Vec::new();
    for register in &REGISTERS {
        for file in (register.files)(town) {
            file.write(folder).await?;
        }
        let config = folder.join(format!("{}.toml", register.id));
        files::write(config.clone(), register.config.as_bytes())?;
        created.push(DemoRegister {
            id: register.id.to_owned(),
            name: register.name.to_owned(),
            area: register.area.to_owned(),
            region: register.region.to_owned(),
            operator: register.operator.to_owned(),
            evidence_types: register.evidence_types.iter().map(|&id| id.to_owned()).collect(),
            config,
        });
    }
    Ok(created)
}

/// About whom, and how named.
enum About {
    Applicant,
    ApplicantByNames,
    ApplicantByResidence,
    Newborn,
    SiblingByResidence,
}

use About::{Applicant, ApplicantByNames, ApplicantByResidence, Newborn, SiblingByResidence};

type Asked = (&'static str, &'static str, &'static [&'static str], About);

const QUESTIONS: [Asked; 17] = [
    (
        "standesamt-bremen",
        "birth-certificate",
        &[
            "birth_date",
            "birth_place",
            "family_name",
            "father_name",
            "given_names",
            "mother_name",
            "multiple_birth",
            "registration_number",
        ],
        Newborn,
    ),
    (
        "standesamt-bremen",
        "marriage-certificate",
        &["family_name", "marriage_status", "married_on", "registration_number", "spouse_name"],
        Applicant,
    ),
    (
        "standesamt-bremen",
        "paternity-acknowledgement",
        &["acknowledged_on", "child_name", "father_name", "mother_consented_on"],
        Newborn,
    ),
    ("jugendamt-bremen", "custody-declaration", &["child_name", "custody", "declared_on"], Newborn),
    (
        "meldebehoerde-bremen",
        "residence-registration",
        &[
            "adults_in_household",
            "dwelling",
            "family_name",
            "given_names",
            "moved_in",
            "place",
            "postcode",
            "street",
        ],
        ApplicantByResidence,
    ),
    (
        "auslaenderbehoerde-bremen",
        "residence-title",
        &[
            "card_valid_until",
            "granted_under",
            "nationality",
            "title",
            "valid_from",
            "work_permitted",
        ],
        ApplicantByNames,
    ),
    (
        "finanzamt-bremen",
        "income-tax-assessment",
        &["assessed_on", "assessment_kind", "income_self_employed", "tax_year", "taxable_income"],
        Applicant,
    ),
    (
        "bzst",
        "wage-tax-data",
        &["child_allowances", "church_tax_liable", "tax_class", "valid_from"],
        Applicant,
    ),
    (
        "arbeitgeber-lohn",
        "pay-data",
        &["employed_since", "employer", "months", "weekly_hours"],
        Applicant,
    ),
    (
        "krankenkasse-nord",
        "maternity-benefit",
        &["benefit_from", "benefit_until", "daily_amount", "total_amount"],
        Applicant,
    ),
    (
        "arbeitgeber-lohn",
        "employer-maternity-supplement",
        &["daily_amount", "employer", "supplement_from", "supplement_until", "total_amount"],
        Applicant,
    ),
    (
        "krankenkasse-nord",
        "health-insurance-status",
        &["insurance_kind", "insured_since", "insurer"],
        Applicant,
    ),
    (
        "familienkasse-bremen",
        "child-benefit-notice",
        &["eldest_child_birth_date", "eldest_child_name", "notice_date", "paid_since"],
        Applicant,
    ),
    (
        "arbeitsagentur-bremen",
        "unemployment-benefit-notice",
        &["benefit_from", "benefit_kind", "benefit_until", "daily_amount", "notice_date"],
        Applicant,
    ),
    (
        "rentenversicherung-nord",
        "pension-insurance-history",
        &["compulsory_insured", "insurer", "periods"],
        Applicant,
    ),
    (
        "versorgungsamt-bremen",
        "disability-status",
        &["disability_recognised", "valid_from", "valid_until"],
        SiblingByResidence,
    ),
    (
        "elterngeldstelle-archiv-bremen",
        "earlier-parental-allowance",
        &[
            "benefit_from",
            "benefit_until",
            "child_birth_date",
            "child_name",
            "months_received",
            "variant",
        ],
        Applicant,
    ),
];

/// The seventeen questions of the applicant's case, in the order of the evidence types.
pub fn questions(town: &Town) -> Vec<Question> {
    let ask = |(register, evidence_type, fields, about): &Asked| {
        let index = match about {
            Applicant | ApplicantByNames | ApplicantByResidence => town.applicant,
            Newborn => town.newborn,
            SiblingByResidence => town.sibling,
        };
        let person = town.person(index)?;
        let person = match about {
            Applicant | Newborn => person.by_idnr(),
            ApplicantByNames => person.by_names(),
            ApplicantByResidence | SiblingByResidence => person.by_residence(),
        };
        Some(Question { register, evidence_type, fields, person })
    };
    QUESTIONS.iter().filter_map(ask).collect()
}

#[cfg(test)]
mod tests;
