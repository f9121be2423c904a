// SPDX-License-Identifier: EUPL-1.2
//! From an answer to the one person who is meant. What the server thinks fits does not count: each
//! candidate is compared as a row of a table would be, birth date included.

use std::collections::{BTreeMap, BTreeSet};

use einmal_adapter_kit::register::Query;

use super::{Problem, tree::Node};
use crate::{
    lookup::{CANDIDATES_MAX, Hit, Lookup, MANY_MAX, Matches, Wanted, birth_date},
    plan::{Col, FieldPlan, ManyPlan, ManyRows, Part, Plan, Row},
    schema::Kind,
};

/// Where in an answer the candidates are, and what says that there are more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// A list of candidates; nothing where the answer is the one candidate.
    pub(crate) rows: Option<String>,
    /// Anything but nothing, no, zero: there are more.
    pub(crate) more: Option<String>,
    /// How many there are.
    pub(crate) total: Option<String>,
    /// Whether a pointer that leads nowhere is like null.
    pub(crate) absent_is_null: bool,
}

impl Form {
    /// The candidates.
    fn candidates<'n>(&self, answer: &'n Node) -> Result<&'n [Node], Problem> {
        let shape = |problem: String| Err(Problem::Shape(problem));
        let candidates = match (&self.rows, answer) {
            (None, Node::Object(_)) => std::slice::from_ref(answer),
            (None, _) => return shape("the answer is no object; write `rows` for a list".into()),
            (Some(rows), _) => match answer.at(rows) {
                Some(Node::List(candidates)) => candidates.as_slice(),
                Some(_) => return shape(format!("there is no list at `{rows}` (`rows`)")),
                None => return shape(format!("there is nothing at `{rows}` (`rows`)")),
            },
        };
        let has_more = |pointer: &String| answer.at(pointer).is_some_and(|more| !more.is_empty());
        if self.more.as_ref().is_some_and(has_more) {
            return shape(MORE.into());
        }
        if let Some(pointer) = &self.total {
            match answer.at(pointer) {
                Some(Node::Integer(total)) => {
                    if usize::try_from(*total).is_ok_and(|total| total > candidates.len()) {
                        return shape(MORE.into());
                    }
                }
                Some(Node::Large(_)) => return shape(MORE.into()),
                _ => return shape(format!("there is no number at `{pointer}` (`total`)")),
            }
        }
        if candidates.len() > CANDIDATES_MAX {
            return shape("it has more than 5000 candidates".into());
        }
        if candidates.iter().any(|candidate| !matches!(candidate, Node::Object(_))) {
            return shape("a candidate is no object".into());
        }
        Ok(candidates)
    }
}

/// Pages are not followed: whoever is on the next one may be meant as well.
pub(crate) const MORE: &str = "it says that there are more candidates than it holds; have the \
                               service answer all of one birth date at once";

/// Who of an answer is meant.
pub(crate) fn select(
    form: &Form,
    plan: &Plan,
    query: &Query,
    wanted: &Wanted,
    answer: &Node,
) -> Result<Lookup, Problem> {
    let candidates = born_then(plan, query, form.candidates(answer)?)?;
    let structured = structured(plan.fields.values().filter_map(|field| match field {
        FieldPlan::Part(part) => Some(part),
        FieldPlan::Many(_) => None,
    }));
    let row = |candidate: &Node, columns: &BTreeSet<Col>| {
        let mut row = Row::empty(plan.columns.len());
        for col in columns {
            let Some(node) = candidate.at(plan.column_name(*col)) else { continue };
            // An empty list of blocks is no block.
            if plan.blocked != Some(*col) || !node.is_empty() {
                row.set(*col, node.cell(structured.contains(col)));
            }
        }
        row
    };
    let to_match = plan.match_columns();
    let to_read = plan.columns_for(&query.fields);
    check_matched(plan, wanted, &candidates)?;
    let mut matches = Matches::default();
    let mut fitting = Vec::new();
    for candidate in candidates {
        if !wanted.fits(&row(candidate, &to_match)) {
            continue;
        }
        // Whether somebody is blocked must be said of each: silence is not "no".
        if let Some(blocked) = plan.blocked.map(|col| plan.column_name(col))
            && candidate.at(blocked).is_none()
        {
            return Err(nothing_at(blocked, "`blocked`"));
        }
        matches.add(plan, row(candidate, &to_read));
        fitting.push(candidate);
    }
    match matches.result() {
        Lookup::One(hit) if !hit.blocked => complete(form, plan, query, hit, &fitting),
        lookup => Ok(lookup),
    }
}

/// Those of the query's birth date.
fn born_then<'n>(
    plan: &Plan,
    query: &Query,
    candidates: &'n [Node],
) -> Result<Vec<&'n Node>, Problem> {
    let pointer = plan.column_name(plan.matching.birth_date);
    let wanted = birth_date(&query.person);
    let mut readable = candidates.is_empty();
    let mut born = Vec::new();
    for candidate in candidates {
        let node = candidate.at(pointer).ok_or_else(|| nothing_at(pointer, "`birth_date`"))?;
        let text = node.cell(false).text();
        // A date that is not fully known is nobody's who is asked about; but where none can be
        // read the format is another one, and "nothing found" would be untrue.
        let Some(date) = text.and_then(|text| plan.matching.birth_format.read(&text)) else {
            continue;
        };
        readable = true;
        if date == wanted {
            born.push(candidate);
        }
    }
    if readable {
        return Ok(born);
    }
    Err(Problem::Shape(format!("no date at `{pointer}` is in `birth_date_format`")))
}

/// What is compared must be there in some candidate, or nobody could ever be found.
fn check_matched(plan: &Plan, wanted: &Wanted, candidates: &[&Node]) -> Result<(), Problem> {
    for col in wanted.columns() {
        let pointer = plan.column_name(col);
        let lacking = candidates.iter().all(|candidate| candidate.at(pointer).is_none());
        if lacking && !candidates.is_empty() {
            return Err(nothing_at(pointer, "`match`"));
        }
    }
    Ok(())
}

fn nothing_at(pointer: &str, key: &str) -> Problem {
    Problem::Shape(format!("a candidate has nothing at `{pointer}` ({key}), not even null"))
}

/// The lists of the person who was found.
fn complete(
    form: &Form,
    plan: &Plan,
    query: &Query,
    mut hit: Hit,
    fitting: &[&Node],
) -> Result<Lookup, Problem> {
    let mut lists: Option<BTreeMap<String, Vec<Row>>> = None;
    for candidate in fitting {
        if !form.absent_is_null {
            for col in plan.columns_for(&query.fields) {
                let pointer = plan.column_name(col);
                if candidate.at(pointer).is_none() {
                    return Err(nothing_at(pointer, "write `absent_is_null` if that is right"));
                }
            }
        }
        let mut own = BTreeMap::new();
        for (name, many) in plan.many(&query.fields) {
            if let Some(rows) = list(form, many, name, candidate)? {
                own.insert(name.clone(), rows);
            }
        }
        match &lists {
            None => lists = Some(own),
            Some(first) if *first != own => return Ok(Lookup::Ambiguous),
            Some(_) => {}
        }
    }
    hit.many = lists.unwrap_or_default();
    Ok(Lookup::One(hit))
}

fn list(
    form: &Form,
    many: &ManyPlan,
    field: &str,
    candidate: &Node,
) -> Result<Option<Vec<Row>>, Problem> {
    let ManyRows::List(pointer) = &many.from else { return Ok(None) };
    let shape = |problem: &str| Problem::Shape(format!("field `{field}`: {problem}"));
    let entries = match candidate.at(pointer) {
        Some(Node::Null) => return Ok(None),
        None if form.absent_is_null => return Ok(None),
        None => return Err(nothing_at(pointer, "`list`")),
        Some(Node::List(entries)) => entries,
        Some(_) => return Err(shape(&format!("there is no list at `{pointer}`"))),
    };
    if entries.len() > MANY_MAX {
        return Err(shape("its list has more than 1000 entries"));
    }
    let structured = structured(many.parts.values());
    let mut rows = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut row = Row::empty(many.columns.len());
        for (place, name) in many.columns.iter().enumerate() {
            match entry.at(name) {
                Some(node) => row.set(Col(place), node.cell(structured.contains(&Col(place)))),
                None if form.absent_is_null => {}
                None => return Err(shape(&format!("an entry has nothing at `{name}`"))),
            }
        }
        rows.push(row);
    }
    Ok(Some(rows))
}

/// Columns whose lists and objects are values.
fn structured<'p>(parts: impl Iterator<Item = &'p Part>) -> BTreeSet<Col> {
    parts
        .filter_map(|part| match part {
            Part::Column(col, shape) => {
                matches!(shape.schema.kind, Kind::Array | Kind::Object).then_some(*col)
            }
            Part::Constant(_) => None,
        })
        .collect()
}
