// SPDX-License-Identifier: EUPL-1.2
//! Registers of health and family benefits.

use super::files::{File, account, euros_de, german, shifted};
use crate::demo::people::{BREMEN, Person, Town};

/// The protection period around a birth.
pub(super) struct Maternity {
    /// When the child was expected.
    pub(super) expected: String,
    /// Six weeks before that.
    pub(super) from: String,
    /// Eight weeks after that.
    pub(super) until: String,
    /// Both days counted.
    pub(super) count: u64,
}

/// Mothers whose youngest child was born in or after 2022, with the days of protection.
pub(super) fn mothers(town: &Town) -> impl Iterator<Item = (usize, &Person, Maternity)> {
    town.people.iter().enumerate().filter(|(_, person)| person.female).filter_map(
        |(index, person)| {
            let children = town.children(index);
            let (_, youngest) = children.last()?;
            if youngest.birth_date.as_str() < "2022" {
                return None;
            }
            let expected = shifted(&youngest.birth_date, 3);
            let (from, until) = (shifted(&expected, -42), shifted(&expected, 56));
            Some((index, person, Maternity { expected, from, until, count: 99 }))
        },
    )
}

fn insurance_number(person: &Person) -> String {
    let initial = char::from(b'A' + u8::try_from(person.lot % 26).unwrap_or_default());
    format!("{initial}{:09}", person.lot % 1_000_000_000)
}

/// A health insurer: its insured and, in a file of another system, maternity benefit.
pub(super) fn health_insurer(town: &Town) -> Vec<File> {
    let insured = town.people.iter().map(|person| {
        let kind = match person.lot % 8 {
            _ if person.is_child() => "FV",
            0 => "F",
            _ => "P",
        };
        vec![
            insurance_number(person),
            person.idnr.clone(),
            person.family_name.clone(),
            person.given_names.clone(),
            person.birth_date.clone(),
            person.place.postcode.to_owned(),
            person.place.name.to_owned(),
            kind.to_owned(),
            person.birth_date.as_str().max("2017-01-01").to_owned(),
            (person.lot % 21).to_string(),
            if person.blocked { "S" } else { "" }.to_owned(),
        ]
    });
    let benefits = mothers(town).map(|(_, person, days)| {
        vec![
            insurance_number(person),
            person.idnr.clone(),
            person.family_name.clone(),
            person.given_names.clone(),
            german(&person.birth_date),
            german(&days.expected),
            german(&days.from),
            german(&days.until),
            euros_de(1_300),
            euros_de(1_300 * days.count),
            account(person.lot),
        ]
    });
    vec![
        File::Database {
            name: "krankenkasse-nord.db",
            schema: include_str!("krankenkasse-nord.sql"),
            tables: vec![("versicherte", insured.collect())],
        },
        File::Csv {
            name: "krankenkasse-nord-leistungen.csv",
            header: "KVNR;STEUER-ID;NAME;VORNAME;GEB.DATUM;MUTMASSL. TAG;VON;BIS;TÄGLICH EUR;\
                     SUMME EUR;IBAN",
            latin1: true,
            rows: benefits.collect(),
        },
    ]
}

/// The family benefits office: one notice a family, paid to the mother if she lives in town.
pub(super) fn family_benefits(town: &Town) -> Vec<File> {
    let rows = town.people.iter().enumerate().filter_map(|(index, person)| {
        let children = town.children(index);
        let (_, eldest) = children.first().filter(|(_, child)| child.mother == Some(index))?;
        Some(vec![
            format!("KG{:09}FK", person.lot % 1_000_000_000),
            person.idnr.clone(),
            person.family_name.clone(),
            person.given_names.clone(),
            person.birth_date.clone(),
            person.place.postcode.to_owned(),
            person.place.name.to_owned(),
            eldest.idnr.clone(),
            eldest.given_names.clone(),
            eldest.birth_date.clone(),
            eldest.birth_date.clone(),
            shifted(&eldest.birth_date, 24),
            euros_de(25_900),
            account(person.lot),
            if person.blocked { "ja" } else { "nein" }.to_owned(),
        ])
    });
    vec![File::Csv {
        name: "familienkasse-bremen.csv",
        header: "KG-Nr;IdNr;Familienname;Vornamen;Geboren;PLZ;Wohnort;Kind1 IdNr;Kind1 Vornamen;\
                 Kind1 geboren;Zahlung ab;Bescheid vom;Betrag;IBAN;Sperre",
        latin1: false,
        rows: rows.collect(),
    }]
}

/// The office that recognises disabilities: the earlier child of the applicant, and some others.
pub(super) fn disability_office(town: &Town) -> Vec<File> {
    let known = |(index, person): &(usize, &Person)| {
        *index == town.sibling || (person.lot.is_multiple_of(17) && person.place == BREMEN)
    };
    let rows = town.people.iter().enumerate().filter(known).map(|(_, person)| {
        let from = shifted(&person.birth_date, 240);
        vec![
            format!("SB-{:06}", person.lot % 1_000_000),
            person.family_name.clone(),
            person.birth_name.clone(),
            person.given_names.clone(),
            german(&person.birth_date),
            person.birth_place.to_owned(),
            person.place.postcode.to_owned(),
            person.place.name.to_owned(),
            "ja".to_owned(),
            german(&from),
            "31.12.2030".to_owned(),
            (30 + person.lot % 8 * 10).to_string(),
            "G".to_owned(),
            "Hörminderung beidseits".to_owned(),
            "A".to_owned(),
            if person.blocked { "J" } else { "N" }.to_owned(),
        ]
    });
    vec![File::Database {
        name: "versorgungsamt-bremen.db",
        schema: include_str!("versorgungsamt-bremen.sql"),
        tables: vec![("feststellung", rows.collect())],
    }]
}

/// The archive of the parental-allowance office: allowances that were paid in full, for the
/// eldest child of a mother.
pub(super) fn earlier_allowances(town: &Town) -> Vec<File> {
    let rows = town.people.iter().enumerate().filter_map(|(index, person)| {
        let children = town.children(index);
        let (_, child) = children.first().filter(|(_, child)| {
            child.mother == Some(index) && ("2015".."2025").contains(&child.birth_date.as_str())
        })?;
        Some(vec![
            person.idnr.clone(),
            person.family_name.clone(),
            person.given_names.clone(),
            german(&person.birth_date),
            child.idnr.clone(),
            child.given_names.clone(),
            german(&child.birth_date),
            "B".to_owned(),
            german(&child.birth_date),
            german(&shifted(&child.birth_date, 364)),
            "12".to_owned(),
            euros_de(150_000 + person.lot % 100_000),
            euros_de(100_000 + person.lot % 60_000),
            account(person.lot),
        ])
    });
    vec![File::Csv {
        name: "elterngeldstelle-archiv-bremen.csv",
        header: "IdNr;Name;Vornamen;Geb;Kind IdNr;Kind;Kind Geb;Art;Von;Bis;Monate;Einkünfte;\
                 Betrag;IBAN",
        latin1: true,
        rows: rows.collect(),
    }]
}
