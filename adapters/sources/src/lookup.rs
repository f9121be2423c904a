// SPDX-License-Identifier: EUPL-1.2
//! Who matches a query, and the answer that becomes of it.

use std::collections::BTreeMap;

use einmal_adapter_kit::register::{Answer, Found, Query, RegisterFault};
use einmal_protocol::person::PersonQuery;
use zeroize::Zeroizing;

use crate::{
    names::folded,
    plan::{Col, Plan, Row, without_spaces},
    values::Cell,
};

/// More people of one birth date than this are a fault, not an answer.
pub(crate) const CANDIDATES_MAX: usize = 5_000;
/// More rows of one one-to-many field than this are a fault.
pub(crate) const MANY_MAX: usize = 1_000;

/// A query in the form in which rows are compared with it. Wiped on drop.
pub(crate) struct Wanted {
    parts: Vec<(Compare, Zeroizing<String>)>,
}

#[derive(Clone, Copy)]
enum Compare {
    Idnr(Col),
    Name(Col),
    Postcode(Col),
}

impl Wanted {
    /// Nothing where the table lacks a column for such a query.
    pub(crate) fn new(plan: &Plan, query: &PersonQuery) -> Option<Self> {
        let m = &plan.matching;
        let name = |col: Option<Col>, text: &str| Some((Compare::Name(col?), folded(text)));
        let parts = match query {
            PersonQuery::Idnr { idnr, .. } => {
                vec![(Compare::Idnr(m.idnr?), without_spaces(idnr))]
            }
            PersonQuery::Names { family_name, given_names, .. } => {
                vec![name(m.family_name, family_name)?, name(m.given_names, given_names)?]
            }
            PersonQuery::Residence { family_name, postcode, place, .. } => vec![
                name(m.family_name, family_name)?,
                (Compare::Postcode(m.postcode?), folded(postcode)),
                name(m.place, place)?,
            ],
        };
        Some(Self { parts })
    }

    /// The columns that are compared.
    pub(crate) fn columns(&self) -> impl Iterator<Item = Col> {
        self.parts.iter().map(|(compare, _)| match compare {
            Compare::Idnr(col) | Compare::Name(col) | Compare::Postcode(col) => *col,
        })
    }

    /// Whether a row of the right birth date fits all other parts. An empty part fits nothing:
    /// folding may empty a text, and NULL is equal to nothing.
    pub(crate) fn fits(&self, row: &Row) -> bool {
        self.parts.iter().all(|(compare, wanted)| {
            let cell = match compare {
                Compare::Idnr(col) | Compare::Name(col) | Compare::Postcode(col) => row.get(*col),
            };
            let Some(text) = cell.text() else { return false };
            let real = match (compare, cell) {
                (Compare::Idnr(_), _) => without_spaces(&text),
                // A column of numbers has lost the leading zero of the east.
                (Compare::Postcode(_), Cell::Integer(number)) => {
                    Zeroizing::new(format!("{number:05}"))
                }
                (Compare::Name(_) | Compare::Postcode(_), _) => folded(&text),
            };
            !real.is_empty() && real == *wanted
        })
    }
}

/// The birth date of a query, YYYY-MM-DD.
pub(crate) fn birth_date(query: &PersonQuery) -> &str {
    match query {
        PersonQuery::Idnr { birth_date, .. }
        | PersonQuery::Names { birth_date, .. }
        | PersonQuery::Residence { birth_date, .. } => birth_date,
    }
}

/// What a source found.
pub(crate) enum Lookup {
    Nothing,
    Ambiguous,
    One(Hit),
}

/// The one person who fits.
pub(crate) struct Hit {
    pub(crate) row: Row,
    pub(crate) blocked: bool,
    /// Rows of one-to-many fields, by field.
    pub(crate) many: BTreeMap<String, Vec<Row>>,
}

/// Rows that fit, as they come in.
///
/// Two rows are one person only if both have the same identification number. They are then one
/// match if they agree in all that is read of them, or if one of them is blocked: a block holds
/// for the person. Without the number even two equal rows may be two people.
#[derive(Default)]
pub(crate) struct Matches {
    first: Option<Row>,
    blocked: bool,
    other_person: bool,
    other_content: bool,
}

impl Matches {
    pub(crate) fn add(&mut self, plan: &Plan, mut row: Row) {
        self.blocked |= plan.is_blocked(&row);
        if let Some(col) = plan.blocked {
            row.set(col, Cell::Null);
        }
        let Some(first) = &self.first else {
            self.first = Some(row);
            return;
        };
        let idnr = |row: &Row| {
            let col = plan.subject.idnr.or(plan.matching.idnr)?;
            row.get(col).text().map(|text| without_spaces(&text))
        };
        let same_person = idnr(first).is_some_and(|number| idnr(&row).as_ref() == Some(&number));
        self.other_person |= !same_person;
        self.other_content |= *first != row;
    }

    pub(crate) fn result(self) -> Lookup {
        match self.first {
            None => Lookup::Nothing,
            Some(_) if self.other_person => Lookup::Ambiguous,
            Some(_) if self.other_content && !self.blocked => Lookup::Ambiguous,
            Some(row) => Lookup::One(Hit { row, blocked: self.blocked, many: BTreeMap::new() }),
        }
    }
}

/// The answer to a query. Of a blocked person only the subject is read: a fault in their values
/// would otherwise tell them from nobody.
pub(crate) fn answer(plan: &Plan, query: &Query, lookup: Lookup) -> Result<Answer, RegisterFault> {
    let hit = match lookup {
        Lookup::Nothing => return Ok(Answer::Nothing),
        Lookup::Ambiguous => return Ok(Answer::Ambiguous),
        Lookup::One(hit) => hit,
    };
    let format = &plan.matching.birth_format;
    let subject = plan.subject.subject(&hit.row, format);
    if hit.blocked {
        let subject = subject.ok().flatten().unwrap_or_else(|| query.person.to_subject());
        return Ok(Answer::Found(Found {
            subject,
            affected: Vec::new(),
            values: BTreeMap::new(),
            blocked: true,
        }));
    }
    let fault = |field: &str, problem: &str| RegisterFault::Value {
        source_name: plan.source.clone(),
        field: field.to_owned(),
        problem: problem.to_owned(),
    };
    let subject = subject
        .map_err(|problem| fault("subject", problem))?
        .ok_or_else(|| fault("subject", "it names nobody"))?;
    let mut found =
        Found { subject, affected: Vec::new(), values: BTreeMap::new(), blocked: false };
    for columns in &plan.affected {
        let person = columns.subject(&hit.row, format);
        found.affected.extend(person.map_err(|problem| fault("affected", problem))?);
    }
    for name in &query.fields {
        let Some(field) = plan.fields.get(name) else { continue };
        let value = field.value(&hit.row, hit.many.get(name));
        if let Some(value) = value.map_err(|problem| fault(name, problem))? {
            found.values.insert(name.clone(), value);
        }
    }
    Ok(Answer::Found(found))
}
