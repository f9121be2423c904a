// SPDX-License-Identifier: EUPL-1.2
//! Registers of work and tax: tax office, wage tax, pay, unemployment, pension.

use super::{
    files::{File, Row, account, compact, euros, euros_de, german},
    social::mothers,
};
use crate::demo::people::{BREMEN, Person, Town};

/// Twelve months before the maternity leave of the applicant.
const MONTHS: [&str; 12] = [
    "2025-07", "2025-08", "2025-09", "2025-10", "2025-11", "2025-12", "2026-01", "2026-02",
    "2026-03", "2026-04", "2026-05", "2026-06",
];
const EMPLOYERS: [&str; 4] =
    ["Hafenlogistik Weser GmbH", "Bäckerei Döscher KG", "Möwe Software eG", "Klinikum Am Deich"];

fn adults(town: &Town) -> impl Iterator<Item = (usize, &Person)> {
    town.people.iter().enumerate().filter(|(_, person)| !person.is_child())
}

/// Everyone of working age but every fifth, who was unemployed instead, or retired.
fn works(town: &Town, index: usize, person: &Person) -> bool {
    let parent = index == town.applicant || index == town.partner;
    parent || (person.birth_date.as_str() > "1960" && !person.lot.is_multiple_of(5))
}

fn monthly_pay(person: &Person) -> u64 {
    240_000 + person.lot % 300_000
}

fn employer(person: &Person) -> String {
    let index = usize::try_from(person.lot / 7 % 4).unwrap_or_default();
    EMPLOYERS.get(index).copied().unwrap_or_default().to_owned()
}

fn staff_number(person: &Person) -> String {
    format!("P{:06}", person.lot % 1_000_000)
}

/// The number that the pension insurance gives: birth date inside, shaped like a real one.
fn pension_number(person: &Person) -> String {
    let initial = person.birth_name.chars().find(char::is_ascii_uppercase).unwrap_or('X');
    let (year, month, day) = (
        person.birth_date.get(2..4).unwrap_or_default(),
        person.birth_date.get(5..7).unwrap_or_default(),
        person.birth_date.get(8..10).unwrap_or_default(),
    );
    format!("29{day}{month}{year}{initial}{:03}-{}", person.lot % 1000, person.idnr)
}

/// The tax office: assessments of 2025.
pub(super) fn tax_office(town: &Town) -> Vec<File> {
    let rows = adults(town).filter(|(_, person)| person.place == BREMEN).map(|(_, person)| {
        let together = person.married_on.as_ref().is_some_and(|on| on.as_str() < "2026");
        let spouse = person.partner.filter(|_| together).and_then(|other| town.person(other));
        let yearly = monthly_pay(person) * 12;
        vec![
            format!("60/{:03}/{:05}", person.lot % 1000, person.lot % 100_000),
            person.idnr.clone(),
            person.family_name.clone(),
            person.given_names.clone(),
            german(&person.birth_date),
            person.place.postcode.to_owned(),
            person.place.name.to_owned(),
            "2025".to_owned(),
            "18.05.2026".to_owned(),
            if spouse.is_some() { "Z" } else { "E" }.to_owned(),
            euros_de(yearly * 4 / 5),
            euros_de(if person.lot.is_multiple_of(9) { 480_000 } else { 0 }),
            euros_de(person.lot % 40_000),
            euros_de(person.lot % 15_000),
            euros_de(yearly / 7),
            spouse.map(|spouse| spouse.idnr.clone()).unwrap_or_default(),
            spouse.map(|spouse| german(&spouse.birth_date)).unwrap_or_default(),
        ]
    });
    vec![File::Database {
        name: "finanzamt-bremen.db",
        schema: include_str!("finanzamt-bremen.sql"),
        tables: vec![("bescheide", rows.collect())],
    }]
}

/// The Federal Central Tax Office: what employers need for the wage tax.
pub(super) fn wage_tax(town: &Town) -> Vec<File> {
    let rows = adults(town).map(|(index, person)| {
        let children = town.children(index).len() as u64;
        let class = match (&person.married_on, children) {
            (Some(_), _) => "4",
            (None, 1..) if person.partner.is_none() => "2",
            (None, _) => "1",
        };
        vec![
            person.idnr.clone(),
            person.birth_date.clone(),
            class.to_owned(),
            euros(children * 50),
            person.religion.to_owned(),
            euros(0),
            "HAG".to_owned(),
            "2026-10-01".to_owned(),
            if person.blocked { "1" } else { "0" }.to_owned(),
        ]
    });
    vec![File::Database {
        name: "bzst.db",
        schema: include_str!("bzst.sql"),
        tables: vec![("elstam", rows.collect())],
    }]
}

/// What employers report: pay of twelve months, and supplements to maternity benefit.
pub(super) fn employers(town: &Town) -> Vec<File> {
    let (mut jobs, mut months) = (Vec::new(), Vec::new());
    for (index, person) in adults(town).filter(|(index, person)| works(town, *index, person)) {
        jobs.push(job(index, person));
        months.extend(MONTHS.iter().map(|month| pay(index, person, month)));
    }
    let supplements = mothers(town).filter(|(index, person, _)| works(town, *index, person)).map(
        |(_, person, days)| {
            let daily = (monthly_pay(person) * 2 / 3 / 30).saturating_sub(1300);
            vec![
                person.idnr.clone(),
                person.family_name.clone(),
                person.given_names.clone(),
                compact(&person.birth_date),
                employer(person),
                compact(&days.from),
                compact(&days.until),
                euros(daily),
                euros(daily * days.count),
                staff_number(person),
            ]
        },
    );
    let supplements = supplements.collect();
    vec![File::Database {
        name: "arbeitgeber-lohn.db",
        schema: include_str!("arbeitgeber-lohn.sql"),
        tables: vec![
            ("beschaeftigung", jobs),
            ("entgelt", months),
            ("zuschuss_mutterschaft", supplements),
        ],
    }]
}

fn job(index: usize, person: &Person) -> Row {
    vec![
        index.to_string(),
        person.idnr.clone(),
        person.family_name.clone(),
        person.given_names.clone(),
        compact(&person.birth_date),
        employer(person),
        "20250701".to_owned(),
        if person.lot.is_multiple_of(3) { "30" } else { "38.5" }.to_owned(),
        format!("{:09}", person.lot % 1_000_000_000),
        staff_number(person),
        account(person.lot),
    ]
}

fn pay(index: usize, person: &Person, month: &str) -> Row {
    let gross = monthly_pay(person);
    vec![
        index.to_string(),
        month.to_owned(),
        euros(gross),
        euros(if month.ends_with("-11") { gross / 2 } else { 0 }),
        euros(gross / 8),
        "1".to_owned(),
    ]
}

/// The employment agency: benefits of the applicant and of everyone without work.
pub(super) fn employment_agency(town: &Town) -> Vec<File> {
    let unemployed = |(index, person): &(usize, &Person)| {
        let young = person.birth_date.as_str() > "1960";
        *index == town.applicant || (young && !works(town, *index, person))
    };
    let rows = adults(town).filter(unemployed).map(|(_, person)| {
        vec![
            format!("217D{:06}", person.lot % 1_000_000),
            person.idnr.clone(),
            person.family_name.clone(),
            person.given_names.clone(),
            german(&person.birth_date),
            person.place.postcode.to_owned(),
            person.place.name.to_owned(),
            "ALG".to_owned(),
            "01.04.2025".to_owned(),
            "30.06.2025".to_owned(),
            euros_de(3_000 + person.lot % 2_500),
            "28.03.2025".to_owned(),
            "N".to_owned(),
        ]
    });
    vec![File::Database {
        name: "arbeitsagentur-bremen.db",
        schema: include_str!("arbeitsagentur-bremen.sql"),
        tables: vec![("leistungsfall", rows.collect())],
    }]
}

/// The pension insurance: accounts and periods of all adults.
pub(super) fn pension_insurance(town: &Town) -> Vec<File> {
    let (mut accounts, mut periods) = (Vec::new(), Vec::new());
    for (index, person) in adults(town) {
        accounts.push(vec![
            pension_number(person),
            person.idnr.clone(),
            person.family_name.clone(),
            person.birth_name.clone(),
            person.given_names.clone(),
            person.birth_date.clone(),
            u8::from(works(town, index, person)).to_string(),
            euros(100 + person.lot % 4_000),
            euros(60_000 + person.lot % 140_000),
        ]);
        periods.extend(history(town, index, person));
    }
    vec![File::Database {
        name: "rentenversicherung-nord.db",
        schema: include_str!("rentenversicherung-nord.sql"),
        tables: vec![("konto", accounts), ("zeiten", periods)],
    }]
}

fn history(town: &Town, index: usize, person: &Person) -> Vec<Row> {
    let yearly = monthly_pay(person) * 12;
    let mother = index == town.applicant;
    let mut times = vec![("2016-08-01", "2019-07-31", "AUS", yearly / 4)];
    times.push(("2019-08-01", if mother { "2022-12-28" } else { "2025-03-31" }, "BES", yearly));
    if mother {
        times.push(("2023-03-01", "2025-03-31", "KEZ", 0));
    }
    if mother || !works(town, index, person) {
        times.push(("2025-04-01", "2025-06-30", "ALO", 0));
    }
    if works(town, index, person) {
        times.push(("2025-07-01", "2026-07-21", "BES", yearly));
    }
    let row = |(from, until, kind, pay): (&str, &str, &str, u64)| {
        vec![pension_number(person), from.into(), until.into(), kind.into(), euros(pay)]
    };
    times.into_iter().map(row).collect()
}
