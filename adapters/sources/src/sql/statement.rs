// SPDX-License-Identifier: EUPL-1.2
//! The two statements there are: candidates by birth date, and rows that belong to a person.
//!
//! Names from the configuration are plain identifiers, quoted and always written `t."name"`:
//! SQLite takes a lone `"name"` that is no column for a text, and would answer with it.

use super::database::{Catalog, Column, Database, Failure, Statement, Table, Type, is_plain};
use crate::{
    dates::DateFormat,
    lookup::{CANDIDATES_MAX, MANY_MAX},
    plan::{Col, ManyPlan, ManyRows, Plan},
    values::Cell,
};

impl Catalog {
    /// The table that a configuration means: the one of exactly this name, or else the one that
    /// differs in case only.
    pub(super) fn table(&self, name: &str) -> Result<&Table, Failure> {
        let exact = self.tables.iter().find(|table| table.name == name);
        let alike = || self.tables.iter().find(|table| table.name.eq_ignore_ascii_case(name));
        exact.or_else(alike).filter(|table| is_plain(&table.name)).ok_or_else(|| {
            Failure::schema(format!("there is no table or view `{name}` any more; {MEND}"))
        })
    }
}

impl Table {
    fn column(&self, name: &str) -> Result<&Column, Failure> {
        let exact = self.columns.iter().find(|column| column.name == name);
        let alike = || self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        exact.or_else(alike).filter(|column| is_plain(&column.name)).ok_or_else(|| {
            let table = &self.name;
            Failure::schema(format!("the table `{table}` has no column `{name}` any more; {MEND}"))
        })
    }
}

const MEND: &str = "mend the database or the register's file";

/// Writes statements for one table.
struct Writer<'a> {
    database: &'a dyn Database,
    table: &'a Table,
    binds: Vec<Cell>,
}

impl Writer<'_> {
    fn named(&self, column: &Column) -> String {
        format!("t.{}", self.database.quoted(&column.name))
    }

    fn equals(&mut self, name: &str, value: &Cell) -> Result<Option<String>, Failure> {
        let column = self.table.column(name)?;
        let named = self.named(column);
        Ok(self.database.equals(&named, column, value, &mut self.binds))
    }

    fn statement<'n>(
        self,
        names: impl Iterator<Item = &'n str>,
        tail: &str,
    ) -> Result<Statement, Failure> {
        let (mut selected, mut types) = (Vec::new(), Vec::new());
        for name in names {
            let column = self.table.column(name)?;
            selected.push(self.database.selected(&self.named(column), column.of));
            types.push(column.of);
        }
        let from = self.database.table(&self.table.name);
        let sql = format!("SELECT {} FROM {from} AS t WHERE {tail}", selected.join(", "));
        Ok(Statement { sql, binds: self.binds, types })
    }
}

/// The statement that finds candidates: people born on a day (YYYY-MM-DD), or the one of them
/// who has a number. Nothing where no row can fit.
pub(super) fn people(
    database: &dyn Database,
    catalog: &Catalog,
    plan: &Plan,
    columns: &[Col],
    (born, idnr): (&str, Option<&str>),
) -> Result<Option<Statement>, Failure> {
    let table = catalog.table(&plan.table)?;
    let mut writer = Writer { database, table, binds: Vec::new() };
    let birth_column = plan.column_name(plan.matching.birth_date);
    let born = match table.column(birth_column)?.of {
        // There is no year 0 in a column of dates.
        Type::Date | Type::Moment => {
            DateFormat::iso().write(born).filter(|day| !day.starts_with("0000"))
        }
        _ => plan.matching.birth_format.write(born),
    };
    let Some(born) = born else { return Ok(None) };
    let Some(mut condition) = writer.equals(birth_column, &Cell::from_text(born))? else {
        return Ok(None);
    };
    if let (Some(col), Some(idnr)) = (plan.matching.idnr, idnr) {
        // Only digits are numbers; a server would refuse to compare all else with some columns.
        if idnr.is_empty() || !idnr.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(None);
        }
        let idnr = Cell::from_text(idnr.to_owned());
        let Some(own) = writer.equals(plan.column_name(col), &idnr)? else { return Ok(None) };
        condition += &format!(" AND {own}");
    }
    let names = columns.iter().map(|col| plan.column_name(*col));
    let tail = format!("{condition} LIMIT {}", CANDIDATES_MAX + 1);
    writer.statement(names, &tail).map(Some)
}

/// The statement that finds the rows of a one-to-many field. Nothing where no row can fit.
pub(super) fn rows_of(
    database: &dyn Database,
    catalog: &Catalog,
    many: &ManyPlan,
    parent: &Cell,
) -> Result<Option<Statement>, Failure> {
    let ManyRows::Table { table, key, order_by, .. } = &many.from else { return Ok(None) };
    if matches!(parent, Cell::Null | Cell::Bytes) {
        return Ok(None);
    }
    let table = catalog.table(table)?;
    let mut writer = Writer { database, table, binds: Vec::new() };
    let Some(mut tail) = writer.equals(key, parent)? else { return Ok(None) };
    if let Some(order_by) = order_by {
        tail += &format!(" ORDER BY {}", writer.named(table.column(order_by)?));
    }
    tail += &format!(" LIMIT {}", MANY_MAX + 1);
    writer.statement(many.columns.iter().map(String::as_str), &tail).map(Some)
}
