// SPDX-License-Identifier: EUPL-1.2
//! What the three SQL databases do differently: names, placeholders, types, connections, errors.

use std::time::{Duration, Instant};

use einmal_adapter_kit::register::async_trait;
use sqlx::{ColumnIndex, Decode, Row, ValueRef};
use tokio_stream::{Stream, StreamExt};
use zeroize::Zeroizing;

use crate::{kinds::BadName, plan::Plan, values::Cell};

/// Characters of one cell that a server sends at most; a longer value is refused by its length.
pub(super) const CELL_MAX: usize = 64 * 1024 + 1;

const NAME_MAX: usize = 64;

pub(super) fn check_name(name: &str) -> Result<(), BadName> {
    let plain = BadName {
        problem: "this is no plain name",
        instead: "write letters, digits and underscores, at most 64, not a digit first; make a \
                  view for other names",
    };
    if is_plain(name) { Ok(()) } else { Err(plain) }
}

/// Whether a name may stand, quoted, in a statement.
pub(super) fn is_plain(name: &str) -> bool {
    name.chars().count() <= NAME_MAX
        && name.starts_with(|char: char| char.is_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_alphanumeric() || char == '_')
}

/// What kind of values a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    /// Each value has a type of its own.
    Native,
    Text,
    Integer,
    Decimal,
    Real,
    Bool,
    Date,
    /// A date with a time of day.
    Moment,
    /// A number, written in bits.
    Bits,
    /// A list that the server can write as JSON.
    List,
    Bytes,
}

/// A column as the database has it now.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: Type,
    /// The type that a value compared with it is cast to; empty where none is.
    pub(super) cast: String,
}

/// A table as the database has it now.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
}

/// The tables that a configuration names, and the names of all.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) names: Vec<String>,
    pub(super) tables: Vec<Table>,
    pub(super) read: Instant,
}

/// Why a database did not answer; no personal data.
#[derive(Debug)]
pub(super) struct Failure {
    /// Tables or columns are not as they were when the catalog was read.
    pub(super) schema: bool,
    /// Nobody answers; later somebody may.
    pub(super) away: bool,
    pub(super) problem: String,
}

impl Failure {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self { schema: false, away: false, problem: problem.into() }
    }

    pub(super) fn away(problem: impl Into<String>) -> Self {
        Self { away: true, ..Self::new(problem) }
    }

    pub(super) fn schema(problem: impl Into<String>) -> Self {
        Self { schema: true, ..Self::new(problem) }
    }
}

/// A statement, the values bound to it and the types of its columns.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) binds: Vec<Cell>,
    pub(super) types: Vec<Type>,
}

impl Statement {
    /// One whose columns are all text.
    pub(super) fn of_texts(sql: impl Into<String>, binds: &[&str], columns: usize) -> Self {
        Self {
            sql: sql.into(),
            binds: binds.iter().map(|text| Cell::from_text((*text).to_owned())).collect(),
            types: vec![Type::Text; columns],
        }
    }
}

/// What is done with each row; says whether more are wanted.
pub(super) type Sink<'a> = dyn FnMut(Vec<Cell>) -> bool + Send + 'a;

/// A mistake about an account, and what to do instead.
pub(super) struct Objection {
    pub(super) problem: String,
    pub(super) instead: String,
}

/// One database.
#[async_trait]
pub(super) trait Database: Send + Sync {
    /// A connection in a read-only transaction of its own.
    async fn begin(&self) -> Result<Box<dyn Session>, Failure>;

    /// All table names, and the columns of these tables.
    async fn catalog(
        &self,
        session: &mut dyn Session,
        tables: &[String],
    ) -> Result<Catalog, Failure>;

    /// How long a catalog is believed while no statement fails.
    fn catalog_lasts(&self) -> Duration;

    /// What the account may do with these tables that it must not, or may not do that it must.
    async fn objections(
        &self,
        session: &mut dyn Session,
        tables: &[String],
    ) -> Result<Vec<Objection>, Failure>;

    /// The placeholder of the bound value of this number, counted from 1.
    fn placeholder(&self, number: usize) -> String;

    /// A plain name, quoted.
    fn quoted(&self, name: &str) -> String;

    /// A table's name as a statement has it.
    fn table(&self, name: &str) -> String {
        self.quoted(name)
    }

    /// How a column is selected.
    fn selected(&self, column: &str, of: Type) -> String;

    /// The condition that a column equals a value; nothing where it never can. A date comes as
    /// YYYY-MM-DD for columns of dates and moments.
    fn equals(
        &self,
        column: &str,
        of: &Column,
        value: &Cell,
        binds: &mut Vec<Cell>,
    ) -> Option<String>;
}

/// A connection in a transaction. Dropped, it is closed at once, and the server ends by itself
/// what it is doing.
#[async_trait]
pub(super) trait Session: Send {
    /// Runs a statement.
    async fn rows(&mut self, statement: &Statement, sink: &mut Sink<'_>) -> Result<(), Failure>;

    /// Has the database check a statement.
    async fn check(&mut self, statement: &Statement) -> Result<(), Failure>;

    /// Ends the transaction, and gives the connection back.
    async fn end(self: Box<Self>) -> Result<(), Failure>;
}

/// All rows of a statement whose columns are texts.
pub(super) async fn texts(
    session: &mut dyn Session,
    statement: &Statement,
) -> Result<Vec<Vec<String>>, Failure> {
    let mut rows = Vec::new();
    let mut sink = |row: Vec<Cell>| {
        let text = |cell: &Cell| cell.text().map(|text| text.to_string()).unwrap_or_default();
        rows.push(row.iter().map(text).collect());
        true
    };
    session.rows(statement, &mut sink).await?;
    Ok(rows)
}

/// Gives the rows of a stream to a sink.
pub(super) async fn pour<R: Row>(
    mut rows: impl Stream<Item = Result<R, sqlx::Error>> + Unpin + Send,
    types: &[Type],
    sink: &mut Sink<'_>,
    read: fn(&R, usize, Type) -> Result<Cell, sqlx::Error>,
    failure: fn(&sqlx::Error) -> Failure,
) -> Result<(), Failure> {
    while let Some(row) = rows.next().await {
        let row = row.map_err(|error| failure(&error))?;
        let cells = types.iter().enumerate().map(|(index, of)| read(&row, index, *of));
        let cells: Result<Vec<Cell>, sqlx::Error> = cells.collect();
        if !sink(cells.map_err(|error| failure(&error))?) {
            break;
        }
    }
    Ok(())
}

/// A cell that the server wrote as text.
pub(super) fn text_cell<R>(row: &R, index: usize, of: Type) -> Result<Cell, sqlx::Error>
where
    R: Row,
    usize: ColumnIndex<R>,
    for<'r> String: Decode<'r, R::Database>,
{
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    // A text that is not UTF-8 cannot be decoded; it is bytes, and fits no field.
    let Ok(text) = <String as Decode<R::Database>>::decode(value) else { return Ok(Cell::Bytes) };
    let text = Zeroizing::new(text);
    Ok(match of {
        Type::Bytes => Cell::Bytes,
        Type::Integer | Type::Bits => {
            text.parse().map_or_else(|_| Cell::Decimal(text.clone()), Cell::Integer)
        }
        Type::Decimal => Cell::Decimal(text),
        Type::Real => text.parse().map_or(Cell::Bytes, Cell::Real),
        Type::Date | Type::Moment => Cell::Time(text),
        Type::Native | Type::Text | Type::Bool | Type::List => Cell::Text(text),
    })
}

/// Whether a text can be compared with numbers of a column.
pub(super) fn is_number(text: &str, of: Type) -> bool {
    match of {
        Type::Integer => text.parse::<i64>().is_ok(),
        Type::Decimal => {
            let unsigned = text.strip_prefix('-').unwrap_or(text);
            let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            text.len() <= 40 && digits(whole) && digits(fraction)
        }
        Type::Real => text.parse::<f64>().is_ok_and(f64::is_finite),
        _ => true,
    }
}

/// The tables that a plan reads.
pub(super) fn tables_of(plan: &Plan) -> impl Iterator<Item = &str> {
    std::iter::once(plan.table.as_str()).chain(plan.many_tables())
}
