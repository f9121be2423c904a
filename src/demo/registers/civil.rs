// SPDX-License-Identifier: EUPL-1.2
//! Registers of the interior: civil status, custody, residence, foreigners.

use super::files::{File, Row, compact, german, shifted};
use crate::demo::people::{BREMEN, Person, Town};

/// The registry office: everyone born or married in Bremen, and acknowledged fathers.
pub(super) fn registry_office(town: &Town) -> Vec<File> {
    let born_here = |person: &&Person| person.birth_place == BREMEN.name;
    let births = town.people.iter().filter(born_here).map(|person| birth(town, person));
    let name = "standesamt-bremen.db";
    let schema = include_str!("standesamt-bremen.sql");
    let tables = vec![
        ("geburten", births.collect()),
        ("ehen", marriages(town)),
        ("vaterschaften", paternities(town)),
    ];
    vec![File::Database { name, schema, tables }]
}

fn parent(town: &Town, index: Option<usize>) -> [String; 3] {
    let parent = index.and_then(|index| town.person(index));
    parent.map_or_else(Default::default, |parent| {
        [parent.idnr.clone(), parent.full_name(), parent.birth_date.clone()]
    })
}

fn birth(town: &Town, person: &Person) -> Row {
    let [mother_idnr, mother, mother_born] = parent(town, person.mother);
    let [father_idnr, father, father_born] = parent(town, person.father);
    let lot = person.lot;
    vec![
        format!("G {}/{}", lot % 9000, person.birth_date.get(..4).unwrap_or_default()),
        person.idnr.clone(),
        person.birth_name.clone(),
        person.given_names.clone(),
        german(&person.birth_date),
        format!("{:02}:{:02}", lot % 24, lot / 24 % 60),
        person.birth_place.to_owned(),
        if person.female { "w" } else { "m" }.to_owned(),
        "N".to_owned(),
        mother_idnr,
        mother,
        german(&mother_born),
        father_idnr,
        father,
        german(&father_born),
        if person.blocked { "J" } else { "" }.to_owned(),
    ]
}

fn marriages(town: &Town) -> Vec<Row> {
    let rows = town.people.iter().enumerate().filter_map(|(index, one)| {
        let (married_on, other) = (one.married_on.as_ref()?, one.partner?);
        // Each marriage once.
        let other = Some(other).filter(|other| index < *other).and_then(|o| town.person(o))?;
        if one.place != BREMEN {
            return None;
        }
        let year = married_on.get(..4).unwrap_or_default();
        let mut row = vec![
            format!("E {}/{year}", one.lot % 3000),
            compact(married_on),
            BREMEN.name.to_owned(),
            "1".to_owned(),
        ];
        for spouse in [one, other] {
            row.extend([
                spouse.idnr.clone(),
                spouse.family_name.clone(),
                spouse.birth_name.clone(),
                spouse.given_names.clone(),
                compact(&spouse.birth_date),
            ]);
        }
        row.push(if one.blocked || other.blocked { "J" } else { "N" }.to_owned());
        Some(row)
    });
    rows.collect()
}

/// The children in Bremen whose parents were not married when they were born, with both parents.
fn children_of_unmarried(town: &Town) -> impl Iterator<Item = (&Person, &Person, &Person)> {
    town.people.iter().filter(|child| child.place == BREMEN).filter_map(|child| {
        let (mother, father) = (town.person(child.mother?)?, town.person(child.father?)?);
        let later = mother.married_on.as_ref().is_none_or(|on| *on > child.birth_date);
        later.then_some((child, mother, father))
    })
}

fn paternities(town: &Town) -> Vec<Row> {
    let row = |(child, mother, father): (&Person, &Person, &Person)| {
        let before_birth = shifted(&child.birth_date, -76);
        vec![
            format!("V {}", child.lot % 5000),
            child.idnr.clone(),
            child.family_name.clone(),
            child.given_names.clone(),
            child.birth_date.clone(),
            father.idnr.clone(),
            father.full_name(),
            father.birth_date.clone(),
            mother.idnr.clone(),
            mother.birth_date.clone(),
            before_birth.clone(),
            before_birth,
            "Jugendamt Bremen".to_owned(),
        ]
    };
    children_of_unmarried(town).map(row).collect()
}

/// The youth welfare office: its register of custody.
pub(super) fn youth_office(town: &Town) -> Vec<File> {
    let row = |(child, mother, father): (&Person, &Person, &Person)| {
        vec![
            child.idnr.clone(),
            child.family_name.clone(),
            child.given_names.clone(),
            german(&child.birth_date),
            mother.idnr.clone(),
            father.idnr.clone(),
            "GEM".to_owned(),
            german(&shifted(&child.birth_date, -76)),
            "nein".to_owned(),
            "Jugendamt Bremen".to_owned(),
            format!("S-{}", child.lot % 7000),
            if child.blocked { "ja" } else { "" }.to_owned(),
        ]
    };
    vec![File::Csv {
        name: "jugendamt-bremen.csv",
        header: "IdNr Kind;Name Kind;Vornamen Kind;Geburtstag;IdNr Mutter;IdNr Vater;Sorge;\
                 Erklärt am;Gericht;Stelle;Urkunde;Sperrvermerk",
        latin1: false,
        rows: children_of_unmarried(town).map(row).collect(),
    }]
}

/// The residence registration: everyone who lives in Bremen, with the adults of the household.
pub(super) fn residents(town: &Town) -> Vec<File> {
    let (mut residents, mut adults) = (Vec::new(), Vec::new());
    for (index, person) in town.people.iter().enumerate().filter(|(_, p)| p.place == BREMEN) {
        let head = household(index, person);
        let own = if person.is_child() { None } else { Some(index) };
        let others: Vec<&Person> = match own {
            Some(_) => vec![person.partner],
            None => vec![person.mother, person.father],
        }
        .into_iter()
        .filter_map(|other| town.person(other?))
        .collect();
        residents.push(resident(index, head, person, &others));
        if own.is_some() {
            adults.push(vec![
                head.to_string(),
                person.given_names.clone(),
                person.family_name.clone(),
                german(&person.moved_in),
            ]);
        }
    }
    vec![File::Database {
        name: "meldebehoerde-bremen.db",
        schema: include_str!("meldebehoerde-bremen.sql"),
        tables: vec![("einwohner", residents), ("haushalt_erwachsene", adults)],
    }]
}

/// A household has the number of its first adult.
fn household(index: usize, person: &Person) -> usize {
    match (person.mother, person.partner) {
        (Some(mother), _) => mother,
        (None, Some(partner)) => index.min(partner),
        (None, None) => index,
    }
}

fn resident(index: usize, household: usize, person: &Person, others: &[&Person]) -> Row {
    let mut row = vec![
        (1000 + index).to_string(),
        person.idnr.clone(),
        person.family_name.clone(),
        person.birth_name.clone(),
        person.given_names.clone(),
        german(&person.birth_date),
        person.birth_place.to_owned(),
        person.nationality.to_owned(),
        person.street.clone(),
        person.place.postcode.to_owned(),
        person.place.name.to_owned(),
        person.place.ags.to_owned(),
        german(&person.moved_in),
        "A".to_owned(),
        person.religion.to_owned(),
        household.to_string(),
        if person.blocked { "§ 51" } else { "" }.to_owned(),
    ];
    for place in 0..2 {
        let other = others.get(place);
        row.push(other.map(|other| other.idnr.clone()).unwrap_or_default());
        row.push(other.map(|other| german(&other.birth_date)).unwrap_or_default());
    }
    row
}

/// The foreigners' office: adults from outside the EU who live in Bremen.
pub(super) fn foreigners_office(town: &Town) -> Vec<File> {
    let third_country = |person: &&Person| {
        matches!(person.nationality, "TR" | "SY") && !person.is_child() && person.place == BREMEN
    };
    let row = |person: &Person| {
        let (title, under) = if person.lot.is_multiple_of(2) || person.nationality == "TR" {
            ("NE", "§ 9 AufenthG")
        } else {
            ("AE", "§ 18a AufenthG")
        };
        vec![
            format!("AZR{:09}", person.lot % 1_000_000_000),
            person.family_name.clone(),
            person.birth_name.clone(),
            person.given_names.clone(),
            person.birth_date.clone(),
            person.birth_place.to_owned(),
            if person.nationality == "TR" { "Türkei" } else { "Syrien" }.to_owned(),
            person.place.postcode.to_owned(),
            person.place.name.to_owned(),
            title.to_owned(),
            under.to_owned(),
            "2022-06-01".to_owned(),
            "2032-05-31".to_owned(),
            "J".to_owned(),
            "2015-09-14".to_owned(),
            format!("U{:08}", person.lot % 100_000_000),
            u8::from(person.blocked).to_string(),
        ]
    };
    vec![File::Database {
        name: "auslaenderbehoerde-bremen.db",
        schema: include_str!("auslaenderbehoerde-bremen.sql"),
        tables: vec![("akte", town.people.iter().filter(third_country).map(row).collect())],
    }]
}
