// SPDX-License-Identifier: EUPL-1.2
//! The report: for people, as JSON, as JUnit XML.

use std::{fmt::Write, time::Duration};

use serde_json::{Value, json};

use crate::case::{Finding, Verdict};

/// What came of all cases.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the list.
    pub findings: Vec<Finding>,
    /// Questions of the file that the rules permit nobody.
    pub left_out: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "pass",
            Self::Failed => "fail",
            Self::NotChecked => "not checked",
        }
    }
}

impl Report {
    /// How many ended so.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Whether nothing failed and something passed.
    pub fn is_good(&self) -> bool {
        self.count(Verdict::Failed) == 0 && self.count(Verdict::Passed) > 0
    }

    /// In one line.
    pub fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} not checked, in {:.0} s",
            self.count(Verdict::Passed),
            self.count(Verdict::Failed),
            self.count(Verdict::NotChecked),
            self.took.as_secs_f64()
        )
    }

    /// For people: what passed in a line each, what did not with what to do.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let Finding { case, seen, .. } = finding;
            let _ = match finding.verdict {
                Verdict::Passed => writeln!(text, "ok           {:<17} {seen}", case.id),
                Verdict::NotChecked => writeln!(text, "not checked  {:<17} {seen}", case.id),
                Verdict::Failed => writeln!(
                    text,
                    "FAIL         {:<17} {seen}\n\
                     \x20            {}: {}\n\
                     \x20            what to do: {}",
                    case.id, case.promise, case.tried, case.advice
                ),
            };
        }
        for question in &self.left_out {
            let _ = writeln!(text, "not asked    {question}");
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let cases = self.findings.iter().map(|finding| {
            json!({
                "id": finding.case.id,
                "promise": finding.case.promise,
                "tried": finding.case.tried,
                "verdict": finding.verdict.as_str(),
                "seen": finding.seen,
                "what_to_do": finding.case.advice,
                "seconds": finding.took.as_secs_f64(),
            })
        });
        json!({
            "passed": self.count(Verdict::Passed),
            "failed": self.count(Verdict::Failed),
            "not_checked": self.count(Verdict::NotChecked),
            "seconds": self.took.as_secs_f64(),
            "not_asked": self.left_out,
            "cases": cases.collect::<Vec<_>>(),
        })
    }

    /// JUnit XML, as build servers read it.
    pub fn to_junit(&self) -> String {
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites>\n<testsuite name=\"einmal adapter check\" tests=\"{}\" failures=\"{}\" \
             skipped=\"{}\" errors=\"0\" time=\"{:.3}\">\n",
            self.findings.len(),
            self.count(Verdict::Failed),
            self.count(Verdict::NotChecked),
            self.took.as_secs_f64()
        );
        for Finding { case, verdict, seen, took } in &self.findings {
            let seconds = took.as_secs_f64();
            let _ = write!(
                xml,
                "<testcase classname=\"{}\" name=\"{}\" time=\"{seconds:.3}\">",
                escaped(case.promise),
                escaped(case.id)
            );
            let seen = escaped(seen);
            let _ = match verdict {
                Verdict::Passed => write!(xml, "<system-out>{seen}</system-out>"),
                Verdict::NotChecked => write!(xml, "<skipped message=\"{seen}\"/>"),
                Verdict::Failed => write!(
                    xml,
                    "<failure message=\"{seen}\">{}\nwhat to do: {}</failure>",
                    escaped(case.tried),
                    escaped(case.advice)
                ),
            };
            xml.push_str("</testcase>\n");
        }
        xml.push_str("</testsuite>\n</testsuites>\n");
        xml
    }
}

/// For text and attributes of XML 1.0, which has no place for control characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn three_forms_say_the_same() {
        let cases: Vec<_> = cases::all().take(3).collect();
        let verdicts = [Verdict::Passed, Verdict::Failed, Verdict::NotChecked];
        let finding = |(case, verdict)| Finding {
            case,
            verdict,
            seen: "a < b & \"c\"\u{1}".to_owned(),
            took: Duration::from_millis(5),
        };
        let findings = cases.iter().copied().zip(verdicts).map(finding).collect();
        let report = Report { findings, left_out: Vec::new(), took: Duration::from_secs(1) };
        assert!(!report.is_good());
        let text = report.to_text();
        assert!(text.contains("1 passed, 1 failed, 1 not checked"), "{text}");
        assert!(text.contains(cases[1].advice), "{text}");
        let json = report.to_json();
        assert_eq!(json["cases"][1]["verdict"], "fail");
        assert_eq!(json["failed"], 1);
        let xml = report.to_junit();
        assert!(xml.contains("failures=\"1\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("a &lt; b &amp; &quot;c&quot;\u{fffd}"), "{xml}");
        let nothing = Report { findings: Vec::new(), left_out: Vec::new(), took: Duration::ZERO };
        assert!(!nothing.is_good(), "nothing tried is not green");
    }
}
