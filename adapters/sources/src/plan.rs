// SPDX-License-Identifier: EUPL-1.2
//! A checked configuration: which columns of which table are read, and what becomes of them.

use std::collections::{BTreeMap, BTreeSet};

use einmal_protocol::{person::idnr_is_valid, wire::v1::Subject};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    dates::DateFormat,
    values::{Cell, Shape},
};

/// Position of a column in the list of its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Col(pub(crate) usize);

/// Cells by [`Col`]; what was not read is NULL.
#[derive(Clone, PartialEq)]
pub(crate) struct Row(Vec<Cell>);

impl Row {
    pub(crate) fn empty(columns: usize) -> Self {
        Self(vec![Cell::Null; columns])
    }

    /// Cells of these columns.
    pub(crate) fn of(width: usize, columns: &[Col], cells: Vec<Cell>) -> Self {
        let mut row = Self::empty(width);
        for (col, cell) in columns.iter().zip(cells) {
            row.set(*col, cell);
        }
        row
    }

    pub(crate) fn get(&self, col: Col) -> &Cell {
        self.0.get(col.0).unwrap_or(&Cell::Null)
    }

    pub(crate) fn set(&mut self, col: Col, cell: Cell) {
        if let Some(place) = self.0.get_mut(col.0) {
            *place = cell;
        }
    }

    fn text(&self, col: Option<Col>) -> Option<Zeroizing<String>> {
        col.and_then(|col| self.get(col).text())
    }
}

/// How evidence of one type is read.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) source: String,
    /// Empty where the source has only one.
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    pub(crate) matching: MatchColumns,
    pub(crate) subject: SubjectColumns,
    pub(crate) affected: Vec<SubjectColumns>,
    pub(crate) blocked: Option<Col>,
    pub(crate) fields: BTreeMap<String, FieldPlan>,
}

/// Columns that a query is compared with.
#[derive(Clone, Debug)]
pub(crate) struct MatchColumns {
    pub(crate) idnr: Option<Col>,
    pub(crate) family_name: Option<Col>,
    pub(crate) given_names: Option<Col>,
    pub(crate) birth_date: Col,
    pub(crate) birth_format: DateFormat,
    pub(crate) postcode: Option<Col>,
    pub(crate) place: Option<Col>,
}

/// Columns that name a person in an access record.
#[derive(Clone, Debug)]
pub(crate) struct SubjectColumns {
    pub(crate) idnr: Option<Col>,
    pub(crate) birth_name: Option<Col>,
    pub(crate) given_names: Option<Col>,
    pub(crate) birth_date: Option<Col>,
    pub(crate) birth_place: Option<Col>,
}

#[derive(Clone, Debug)]
pub(crate) enum FieldPlan {
    Part(Part),
    Many(ManyPlan),
}

/// What one row gives.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    Column(Col, Box<Shape>),
    Constant(Value),
}

/// A list of objects.
#[derive(Clone, Debug)]
pub(crate) struct ManyPlan {
    pub(crate) from: ManyRows,
    pub(crate) columns: Vec<String>,
    pub(crate) parts: BTreeMap<String, Part>,
    pub(crate) schema: crate::schema::Schema,
}

/// Where a list's objects are; their cells are named by [`ManyPlan::columns`].
#[derive(Clone, Debug)]
pub(crate) enum ManyRows {
    /// Rows of another table whose `key` is the person's `parent`.
    Table { table: String, key: String, order_by: Option<String>, parent: Col },
    /// A list of the person's own entry, by its name.
    List(String),
}

impl ManyPlan {
    /// The column of the person's row that is read for it.
    fn parent(&self) -> Option<Col> {
        match &self.from {
            ManyRows::Table { parent, .. } => Some(*parent),
            ManyRows::List(_) => None,
        }
    }
}

impl Plan {
    /// The columns that matching reads.
    pub(crate) fn match_columns(&self) -> BTreeSet<Col> {
        let m = &self.matching;
        let optional = [m.idnr, m.family_name, m.given_names, m.postcode, m.place];
        optional.into_iter().flatten().chain([m.birth_date]).collect()
    }

    /// The columns to read for these fields: not more than is asked for.
    pub(crate) fn columns_for(&self, fields: &[String]) -> BTreeSet<Col> {
        let mut columns = self.match_columns();
        columns.extend(self.blocked);
        for subject in std::iter::once(&self.subject).chain(&self.affected) {
            columns.extend(subject.columns());
        }
        for name in fields {
            match self.fields.get(name) {
                Some(FieldPlan::Part(Part::Column(col, _))) => columns.extend([*col]),
                Some(FieldPlan::Many(many)) => columns.extend(many.parent()),
                Some(FieldPlan::Part(Part::Constant(_))) | None => {}
            }
        }
        columns
    }

    pub(crate) fn column_name(&self, col: Col) -> &str {
        self.columns.get(col.0).map_or("", String::as_str)
    }

    pub(crate) fn is_blocked(&self, row: &Row) -> bool {
        self.blocked.is_some_and(|col| row.get(col).blocks())
    }

    /// The other tables that one-to-many fields are read from.
    pub(crate) fn many_tables(&self) -> impl Iterator<Item = &str> {
        self.fields.values().filter_map(|field| match field {
            FieldPlan::Many(ManyPlan { from: ManyRows::Table { table, .. }, .. }) => {
                Some(table.as_str())
            }
            FieldPlan::Many(_) | FieldPlan::Part(_) => None,
        })
    }

    /// The one-to-many fields among these.
    pub(crate) fn many<'a>(
        &'a self,
        fields: &'a [String],
    ) -> impl Iterator<Item = (&'a String, &'a ManyPlan)> {
        fields.iter().filter_map(|name| match self.fields.get(name) {
            Some(FieldPlan::Many(many)) => Some((name, many)),
            _ => None,
        })
    }
}

impl SubjectColumns {
    fn columns(&self) -> impl Iterator<Item = Col> {
        [self.idnr, self.birth_name, self.given_names, self.birth_date, self.birth_place]
            .into_iter()
            .flatten()
    }

    /// The person whom a row names, or nobody; by identification number if there is one. The
    /// error says what is wrong, without the values.
    pub(crate) fn subject(
        &self,
        row: &Row,
        format: &DateFormat,
    ) -> Result<Option<Subject>, &'static str> {
        let birth_date = match self.birth_date.map_or(&Cell::Null, |col| row.get(col)) {
            Cell::Null => None,
            cell => cell.day_or(format).map_err(|()| "its birth date is not in the format")?,
        };
        let mut subject =
            Subject { birth_date: birth_date.unwrap_or_default(), ..Subject::default() };
        if let Some(idnr) = row.text(self.idnr) {
            let idnr = without_spaces(&idnr);
            if !idnr_is_valid(&idnr) {
                return Err("its identification number has a wrong check digit");
            }
            subject.idnr.clone_from(&idnr);
            return Ok(Some(subject));
        }
        let name = |col| row.text(col).map(|text| text.as_str().to_owned()).unwrap_or_default();
        subject.birth_name = name(self.birth_name);
        subject.given_names = name(self.given_names);
        subject.birth_place = name(self.birth_place);
        let nobody = subject.birth_name.is_empty() && subject.given_names.is_empty();
        Ok((!nobody).then_some(subject))
    }
}

impl Part {
    fn value(&self, row: &Row) -> Result<Option<Value>, &'static str> {
        match self {
            Self::Column(col, shape) => shape.value(row.get(*col)),
            Self::Constant(value) => Ok(Some(value.clone())),
        }
    }
}

impl FieldPlan {
    /// The field's value from the person's row and, for one-to-many, from their other rows.
    pub(crate) fn value(
        &self,
        row: &Row,
        many_rows: Option<&Vec<Row>>,
    ) -> Result<Option<Value>, &'static str> {
        let many = match self {
            Self::Part(part) => return part.value(row),
            Self::Many(many) => many,
        };
        let Some(rows) = many_rows else { return Ok(None) };
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            let mut object = Map::new();
            for (name, part) in &many.parts {
                if let Some(value) = part.value(row)? {
                    object.insert(name.clone(), value);
                }
            }
            values.push(Value::Object(object));
        }
        let values = Value::Array(values);
        many.schema.fits(&values)?;
        Ok(Some(values))
    }
}

pub(crate) fn without_spaces(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|char| !char.is_whitespace()).collect())
}
