// SPDX-License-Identifier: EUPL-1.2
//! Checks a configuration against evidence types and real tables, and makes the plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use einmal_policy::rules_document::EvidenceType;
use serde_json::Value;

use crate::{
    codes,
    config::{
        ColumnConfig, EvidenceConfig, FieldConfig, ManyConfig, ManyFrom, MatchConfig, SubjectConfig,
    },
    dates::DateFormat,
    draft::UNDECIDED,
    kinds::{BadName, Listing, Many, Missing, Naming},
    mistake::{Mistakes, choices},
    numbers::NumberFormat,
    plan::{Col, FieldPlan, ManyPlan, ManyRows, MatchColumns, Part, Plan, SubjectColumns},
    schema::{Kind, Schema},
    values::Shape,
};

/// The columns of one table that a plan reads.
struct Columns<'a> {
    naming: &'static Naming,
    folder: &'a Path,
    known: Option<&'a [String]>,
    names: Vec<String>,
}

impl Columns<'_> {
    fn col(&mut self, at: &str, name: &str, mistakes: &mut Mistakes) -> Col {
        self.check(at, name, mistakes);
        let place = self.names.iter().position(|known| known == name);
        Col(place.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        }))
    }

    fn check(&self, at: &str, name: &str, mistakes: &mut Mistakes) {
        if name == UNDECIDED {
            mistakes.add(at, "it is not decided yet", "write the column's name instead of `?`");
            return;
        }
        if let Err(BadName { problem, instead }) = (self.naming.check)(name) {
            mistakes.add(at, problem, instead);
            return;
        }
        let Some(known) = self.known else { return };
        if known.iter().any(|column| (self.naming.same)(column, name)) {
            return;
        }
        match self.naming.missing {
            Missing::Choices => {
                let names = choices(known.iter().map(String::as_str));
                let instead = format!("write one of {names}");
                mistakes.add(at, format!("there is no column `{name}`"), instead);
            }
            Missing::Text { problem, instead } => {
                mistakes.add(at, format!("{problem} `{name}`"), instead);
            }
        }
    }
}

/// A source as the planner sees it.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) naming: &'static Naming,
    pub(crate) listing: &'a Listing,
    /// Code lists are seen from here.
    pub(crate) folder: &'a Path,
}

impl<'a> Ground<'a> {
    fn table(&self, table: &str) -> Option<&'a [String]> {
        self.listing
            .tables
            .iter()
            .flatten()
            .find(|(name, _)| (self.naming.same)(name, table))
            .map(|(_, columns)| columns.as_slice())
    }

    /// To read from one of its tables.
    fn columns(&self, table: &str) -> Columns<'a> {
        let (naming, folder) = (self.naming, self.folder);
        Columns { naming, folder, known: self.table(table), names: Vec::new() }
    }
}

/// Plans one evidence type. The plan is of use only if there were no mistakes.
pub(crate) fn plan(
    config: &EvidenceConfig,
    ground: Ground<'_>,
    evidence_type: &EvidenceType,
    mistakes: &mut Mistakes,
) -> Plan {
    let at = format!("evidence.{}", config.evidence_type);
    let table = table(config, ground, &at, mistakes);
    let mut columns = ground.columns(&table);
    let matching = matching(&config.matching, &at, &mut columns, mistakes);
    let mut subject = subject(&config.subject, &format!("{at}.subject"), &mut columns, mistakes);
    check_subject(config, &at, mistakes);
    subject.birth_date = subject.birth_date.or(Some(matching.birth_date));
    let affected = config.affected.iter().enumerate().map(|(number, person)| {
        let at = format!("{at}.affected.{}", number + 1);
        if person.idnr.is_none() && person.birth_name.is_none() && person.given_names.is_none() {
            mistakes.add(&at, "it names nobody", "write `idnr` or `birth_name` and `given_names`");
        }
        self::subject(person, &at, &mut columns, mistakes)
    });
    let affected: Vec<SubjectColumns> = affected.collect();
    let slots = evidence_type.slots as usize;
    if affected.len() + 1 > slots {
        mistakes.add(
            format!("{at}.affected"),
            format!("the evidence type has {slots} record slots, one of them for the subject"),
            "name fewer persons, or have the rules give the type more slots",
        );
    }
    let blocked =
        config.blocked.as_ref().map(|name| columns.col(&format!("{at}.blocked"), name, mistakes));
    let mut fields = BTreeMap::new();
    check_fields(config, evidence_type, &at, mistakes);
    for field in &evidence_type.fields {
        let Some(field_config) = config.fields.get(&field.name) else { continue };
        let at = format!("{at}.fields.{}", field.name);
        match Schema::parse(&field.schema) {
            Ok(schema) => {
                let planned = field_plan(field_config, schema, &at, ground, &mut columns, mistakes);
                fields.extend(planned.map(|planned| (field.name.clone(), planned)));
            }
            Err(problem) => mistakes.add(&at, problem, "have the rules corrected"),
        }
    }
    let source = config.source.clone();
    Plan { source, table, columns: columns.names, matching, subject, affected, blocked, fields }
}

fn table(config: &EvidenceConfig, ground: Ground<'_>, at: &str, mistakes: &mut Mistakes) -> String {
    let at = format!("{at}.table");
    match &config.table {
        None if ground.naming.tables => {
            let names = choices(ground.listing.names.iter().map(String::as_str));
            mistakes.add(at, "it is missing", format!("write one of {names}"));
            String::new()
        }
        None => String::new(),
        Some(table) if ground.naming.tables => {
            check_table(table, ground, &at, mistakes);
            table.clone()
        }
        Some(_) => {
            let problem = format!("{} has no tables to choose from", ground.naming.called);
            mistakes.add(at, problem, "leave `table` out");
            String::new()
        }
    }
}

fn check_table(table: &str, ground: Ground<'_>, at: &str, mistakes: &mut Mistakes) {
    if let Err(BadName { problem, instead }) = (ground.naming.check)(table) {
        mistakes.add(at, problem, instead);
    } else if ground.listing.tables.is_some() {
        match ground.table(table) {
            None => {
                let names = choices(ground.listing.names.iter().map(String::as_str));
                let problem = format!("there is no table or view `{table}`");
                mistakes.add(at, problem, format!("write one of {names}"));
            }
            Some([]) => mistakes.add(
                at,
                format!("`{table}` cannot be read"),
                "repair the view, or name another table",
            ),
            Some(_) => {}
        }
    }
}

fn matching(
    config: &MatchConfig,
    at: &str,
    columns: &mut Columns<'_>,
    mistakes: &mut Mistakes,
) -> MatchColumns {
    let at = format!("{at}.match");
    let mut col = |key: &str, name: &Option<String>| {
        name.as_ref().map(|name| columns.col(&format!("{at}.{key}"), name, mistakes))
    };
    let idnr = col("idnr", &config.idnr);
    let family_name = col("family_name", &config.family_name);
    let given_names = col("given_names", &config.given_names);
    let postcode = col("postcode", &config.postcode);
    let place = col("place", &config.place);
    let birth_date = columns.col(&format!("{at}.birth_date"), &config.birth_date, mistakes);
    let named =
        family_name.is_some() && (given_names.is_some() || (postcode.is_some() && place.is_some()));
    if idnr.is_none() && !named {
        mistakes.add(
            &at,
            "no permitted query can be answered with these columns (IDNrG § 6 (3))",
            "write `idnr`, or `family_name` and `given_names`, or `family_name`, `postcode` and \
             `place`",
        );
    }
    let birth_format = config.birth_date_format.as_ref().map_or_else(DateFormat::iso, |format| {
        let at = format!("{at}.birth_date_format");
        let read = date_format(format, &at, mistakes);
        if read.is_cut() {
            let problem = "people are looked up by this date, so nothing may be left open";
            mistakes.add(at, problem, "leave `%*` out; make a view, or a column of type DATE");
        }
        read
    });
    MatchColumns { idnr, family_name, given_names, birth_date, birth_format, postcode, place }
}

fn date_format(format: &str, at: &str, mistakes: &mut Mistakes) -> DateFormat {
    DateFormat::parse(format).unwrap_or_else(|problem| {
        mistakes.add(at, problem, "write for example `%d.%m.%Y`; %Y, %m and %d are known");
        DateFormat::iso()
    })
}

fn subject(
    config: &SubjectConfig,
    at: &str,
    columns: &mut Columns<'_>,
    mistakes: &mut Mistakes,
) -> SubjectColumns {
    let mut col = |key: &str, name: &Option<String>| {
        name.as_ref().map(|name| columns.col(&format!("{at}.{key}"), name, mistakes))
    };
    SubjectColumns {
        idnr: col("idnr", &config.idnr),
        birth_name: col("birth_name", &config.birth_name),
        given_names: col("given_names", &config.given_names),
        birth_date: col("birth_date", &config.birth_date),
        birth_place: col("birth_place", &config.birth_place),
    }
}

/// The access record is filed under the subject, so it must name somebody.
fn check_subject(config: &EvidenceConfig, at: &str, mistakes: &mut Mistakes) {
    let subject = &config.subject;
    let named = subject.birth_name.is_some() && subject.given_names.is_some();
    if config.matching.idnr.is_some() && subject.idnr.is_none() {
        mistakes.add(
            format!("{at}.subject.idnr"),
            "it is missing, though the table knows the number",
            "write the column of `match.idnr`",
        );
    } else if config.matching.idnr.is_some() && config.matching.idnr != subject.idnr {
        mistakes.add(
            format!("{at}.subject.idnr"),
            "it is not the column of `match.idnr`, so the record would be somebody else's",
            "write the same column in both places",
        );
    } else if subject.idnr.is_none() && !named {
        mistakes.add(
            format!("{at}.subject"),
            "it names nobody",
            "write `idnr`, or `birth_name` and `given_names`",
        );
    }
}

fn check_fields(
    config: &EvidenceConfig,
    evidence_type: &EvidenceType,
    at: &str,
    mistakes: &mut Mistakes,
) {
    let known: BTreeSet<&str> =
        evidence_type.fields.iter().map(|field| field.name.as_str()).collect();
    for name in config.fields.keys().filter(|name| !known.contains(name.as_str())) {
        mistakes.add(
            format!("{at}.fields.{name}"),
            "the evidence type has no such field",
            format!("write one of {}", choices(known.iter().copied())),
        );
    }
    for name in &config.absent {
        if config.fields.contains_key(name) {
            let problem = format!("`{name}` is mapped as well");
            mistakes.add(format!("{at}.absent"), problem, "leave it out in one place");
        } else if !known.contains(name.as_str()) {
            mistakes.add(
                format!("{at}.absent"),
                format!("the evidence type has no field `{name}`"),
                "leave it out",
            );
        }
    }
    for name in known {
        if !config.fields.contains_key(name) && !config.absent.iter().any(|absent| absent == name) {
            mistakes.add(
                format!("{at}.fields.{name}"),
                "this field of the evidence type is not mapped",
                format!("map it, or write `absent = [\"{name}\"]`"),
            );
        }
    }
}

fn field_plan(
    config: &FieldConfig,
    schema: Schema,
    at: &str,
    ground: Ground<'_>,
    columns: &mut Columns<'_>,
    mistakes: &mut Mistakes,
) -> Option<FieldPlan> {
    match config {
        FieldConfig::Many(many) => many_plan(many, schema, at, ground, columns, mistakes),
        part => self::part(part, schema, at, columns, mistakes).map(FieldPlan::Part),
    }
}

fn part(
    config: &FieldConfig,
    schema: Schema,
    at: &str,
    columns: &mut Columns<'_>,
    mistakes: &mut Mistakes,
) -> Option<Part> {
    match config {
        FieldConfig::Column(column) => {
            let col = columns.col(&format!("{at}.column"), &column.column, mistakes);
            let shape = shape(column, schema, at, columns.folder, mistakes);
            Some(Part::Column(col, Box::new(shape)))
        }
        FieldConfig::Constant(value) => {
            check_value(value, &schema, &format!("{at}.constant"), mistakes);
            Some(Part::Constant(value.clone()))
        }
        FieldConfig::Many(_) => {
            mistakes.add(at, "a table inside a table is not read", "write `column` or `constant`");
            None
        }
    }
}

fn check_value(value: &Value, schema: &Schema, at: &str, mistakes: &mut Mistakes) {
    if let Err(problem) = schema.fits(value) {
        let instead = "write a value that the field's schema allows";
        mistakes.add(at, format!("{value} does not fit the field: {problem}"), instead);
    }
}

fn shape(
    config: &ColumnConfig,
    schema: Schema,
    at: &str,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> Shape {
    let date = config.date_format.as_ref().map(|format| {
        let at = format!("{at}.date_format");
        if schema.kind != Kind::String {
            mistakes.add(&at, "the field is no text, so it is no date", "leave it out");
        }
        date_format(format, &at, mistakes)
    });
    let number = config.number_format.as_ref().map(|format| {
        let at = format!("{at}.number_format");
        if !matches!(schema.kind, Kind::Number | Kind::Integer) {
            mistakes.add(&at, "the field is no number", "leave it out");
        }
        NumberFormat::parse(format).unwrap_or_else(|| {
            let problem = format!("`{format}` is not known");
            mistakes.add(&at, problem, "write `de`, or leave it out for 1234.56");
            NumberFormat::Plain
        })
    });
    for (code, value) in config.codes.iter().flatten() {
        check_value(value, &schema, &format!("{at}.codes.{code}"), mistakes);
    }
    if config.codes.as_ref().is_some_and(BTreeMap::is_empty) {
        mistakes.add(format!("{at}.codes"), "it is empty", "list the codes, or leave it out");
    }
    if let Some(default) = &config.default {
        check_value(default, &schema, &format!("{at}.default"), mistakes);
    }
    let mut shape = Shape {
        schema,
        date,
        number: number.unwrap_or_default(),
        codes: config.codes.clone(),
        default: config.default.clone(),
    };
    if let Some(file) = &config.codes_file {
        match codes::read(file, folder, &shape) {
            Ok(codes) => shape.codes = Some(codes),
            Err(problem) => {
                let problem = format!("`{}`: {problem}", file.path.display());
                mistakes.add(format!("{at}.codes_file"), problem, "mend the file, or name another");
            }
        }
    }
    shape
}

fn many_plan(
    config: &ManyConfig,
    schema: Schema,
    at: &str,
    ground: Ground<'_>,
    columns: &mut Columns<'_>,
    mistakes: &mut Mistakes,
) -> Option<FieldPlan> {
    let naming = ground.naming;
    let from = match (&config.from, naming.many) {
        (ManyFrom::Table { table, key, parent, order_by }, Many::Table) => ManyRows::Table {
            table: table.clone(),
            key: key.clone(),
            order_by: order_by.clone(),
            parent: columns.col(&format!("{at}.parent"), parent, mistakes),
        },
        (ManyFrom::List(list), Many::List) => {
            columns.check(&format!("{at}.list"), list, mistakes);
            ManyRows::List(list.clone())
        }
        (_, form) => {
            let instead = match form {
                Many::Never => "write `column` or `constant`, or use a database",
                Many::Table => "write `table` with `key`, `parent` and `columns`",
                Many::List => "write `list` with `columns`",
            };
            mistakes.add(at, format!("{} has no such lists", naming.called), instead);
            return None;
        }
    };
    let items = schema.items.as_deref().filter(|items| items.kind == Kind::Object);
    let (Kind::Array, Some(items)) = (schema.kind, items) else {
        let instead = "write `column` or `constant`";
        mistakes.add(at, "the field is not a list of objects", instead);
        return None;
    };
    let mut inner = match &config.from {
        ManyFrom::Table { table, key, order_by, .. } => {
            check_table(table, ground, &format!("{at}.table"), mistakes);
            let inner = ground.columns(table);
            inner.check(&format!("{at}.key"), key, mistakes);
            if let Some(order) = order_by {
                inner.check(&format!("{at}.order_by"), order, mistakes);
            }
            inner
        }
        // What the entries of a list have is known only when there are some.
        ManyFrom::List(_) => {
            Columns { naming, folder: ground.folder, known: None, names: Vec::new() }
        }
    };
    let mut parts = BTreeMap::new();
    for (name, part_config) in &config.columns {
        let at = format!("{at}.columns.{name}");
        let Some(schema) = items.properties.get(name) else {
            let names = choices(items.properties.keys().map(String::as_str));
            mistakes.add(
                at,
                "the field's objects have no such part",
                format!("write one of {names}"),
            );
            continue;
        };
        let planned = part(part_config, schema.clone(), &at, &mut inner, mistakes);
        parts.extend(planned.map(|planned| (name.clone(), planned)));
    }
    for name in items.required.iter().filter(|name| !config.columns.contains_key(*name)) {
        let at = format!("{at}.columns.{name}");
        mistakes.add(at, "this required part is not mapped", "map it to a column or a constant");
    }
    if inner.names.is_empty() {
        mistakes.add(format!("{at}.columns"), "no column is read", "map at least one column");
    }
    Some(FieldPlan::Many(ManyPlan { from, columns: inner.names, parts, schema }))
}
