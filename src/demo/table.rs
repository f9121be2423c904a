// SPDX-License-Identifier: EUPL-1.2
//! The progress table: on a terminal each line changes as its answer comes; elsewhere a line is
//! printed for each answer.

use std::io::{IsTerminal, Write};

use super::application::Line;

/// Seventeen lines and what became of them.
pub(super) struct Table {
    rows: Vec<(String, String)>,
    live: bool,
}

impl Table {
    /// A table of questions not answered yet.
    pub(super) fn begin(questions: &[(&str, &str)]) -> Self {
        let rows = questions
            .iter()
            .map(|(evidence, register)| (format!("{evidence:<30} {register:<30}"), "…".to_owned()))
            .collect();
        let table = Self { rows, live: std::io::stderr().is_terminal() };
        if table.live {
            table.print();
        }
        table
    }

    /// One answer came.
    pub(super) fn tell(&mut self, number: usize, line: &Line) {
        let Some(row) = self.rows.get_mut(number) else { return };
        row.1 = match &line.answer {
            Ok(received) => format!(
                "{:<14} {:>4} ms   ledger position {}",
                match received.outcome.as_str_name().trim_start_matches("OUTCOME_") {
                    "FOUND" => "delivered",
                    "NOTHING_FOUND" => "nothing found",
                    "AMBIGUOUS" => "ambiguous",
                    _ => "not transmitted",
                },
                line.took.as_millis(),
                received.proven.index()
            ),
            Err(error) => format!("FAILED: {error}"),
        };
        if self.live {
            // Back to the first line, and all of them again.
            eprint!("\x1b[{}A", self.rows.len());
            self.print();
        } else {
            eprintln!("{:>2}  {} {}", number + 1, row.0, row.1);
        }
    }

    fn print(&self) {
        for (number, (question, state)) in self.rows.iter().enumerate() {
            eprintln!("\x1b[2K{:>2}  {question} {state}", number + 1);
        }
        let _ = std::io::stderr().flush();
    }
}
