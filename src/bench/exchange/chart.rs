// SPDX-License-Identifier: EUPL-1.2
//! What an exchange costs the process in the middle, as a picture: one bar a path, in groups of
//! what was measured in turns.

use std::fmt::Write;

/// One row's bar.
pub(super) struct Bar {
    pub(super) store: String,
    pub(super) evidence_kib: u32,
    pub(super) in_flight: usize,
    /// Requests that share one signature.
    pub(super) group: usize,
    pub(super) path: &'static str,
    /// Microseconds of a processor an exchange; nothing where nobody is in the middle.
    pub(super) cpu_us: Option<f64>,
}

impl Bar {
    fn of(&self) -> String {
        let Self { store, evidence_kib, in_flight, group, .. } = self;
        format!("{store}, {evidence_kib} KiB, {in_flight} in flight, {group} a signature")
    }
}

/// All sizes in pixels.
const LABEL: usize = 330;
const WIDTH: usize = 400;
const HEIGHT: usize = 14;
const GAP: usize = 10;

/// Colours that people who see few colours tell apart.
fn colour(path: &str) -> &'static str {
    match path {
        "einmal" => "#0072b2",
        "envoy" => "#e69f00",
        _ => "#999999",
    }
}

/// Draws the bars, in the order that they have, as a picture of its own.
pub(super) fn svg(bars: &[Bar]) -> String {
    let shown: Vec<(&Bar, f64)> = bars.iter().filter_map(|bar| Some((bar, bar.cpu_us?))).collect();
    let most = shown.iter().map(|(_, us)| *us).fold(1.0, f64::max);
    let (mut drawn, mut y, mut group) = (String::new(), GAP, String::new());
    for (bar, us) in shown {
        let of = bar.of();
        if of != group {
            y += if group.is_empty() { 0 } else { GAP };
            let _ = writeln!(drawn, r#"<text x="0" y="{}">{of}</text>"#, y + HEIGHT - 3);
            group = of;
        }
        let (width, text) = (us / most * WIDTH as f64, y + HEIGHT - 3);
        let (path, colour) = (bar.path, colour(bar.path));
        let _ = writeln!(
            drawn,
            "<rect x=\"{LABEL}\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{path} {us:.0} µs</text>",
            HEIGHT - 2,
            LABEL as f64 + width + 4.0,
        );
        y += HEIGHT;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" \
         font-family=\"sans-serif\" font-size=\"11\" role=\"img\">\n\
         <title>Processor time of the process in the middle, an exchange</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{drawn}</svg>\n",
        LABEL + WIDTH + 110,
        y + GAP,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_for_each_path_in_proportion() {
        let bar = |path, cpu_us| Bar {
            store: "sqlite".to_owned(),
            evidence_kib: 2,
            in_flight: 64,
            group: 1,
            path,
            cpu_us,
        };
        let drawn =
            svg(&[bar("direct", None), bar("einmal", Some(200.0)), bar("envoy", Some(50.0))]);
        assert_eq!(drawn.matches("2 KiB, 64 in flight").count(), 1);
        assert!(drawn.contains("width=\"400.0\"") && drawn.contains("width=\"100.0\""), "{drawn}");
        assert!(!drawn.contains("direct"));
    }
}
