// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench exchange` measures what it says: every path that is installed, each process.

use std::process::Command;

use crate::{crash::process, world::Folder};

#[test]
fn whole_exchanges_are_measured_beside_others() {
    let (program, folder) = (process::built(), Folder::new());
    std::fs::create_dir_all(folder.path()).unwrap();
    let chart = folder.path().join("chart.svg");
    let mut command = Command::new(program);
    command.args(["bench", "exchange", "--json", "--stores", "sqlite", "--evidence", "2"]);
    command.args(["--in-flight", "4", "--per-signature", "1,2", "--rounds", "1"]);
    command.args(["--requests", "40", "--chart"]).arg(&chart);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |path: &str| rows.iter().filter(|row| row["path"] == path).collect::<Vec<_>>();
    assert_eq!((of("direct").len(), of("einmal").len()), (2, 2), "{text}");
    for row in &rows {
        let positive = |key: &str| row[key].as_f64().is_some_and(|figure| figure > 0.0);
        assert!(positive("per_s") && positive("p50_ms") && positive("p99_ms"), "{row}");
        assert!(positive("register_cpu_us") && positive("asking_cpu_us"), "{row}");
        // The system counts in hundredths of a second, which a proxy may not need.
        assert_eq!(row["cpu_us"].is_number(), row["path"] != "direct", "{row}");
        assert!(positive("cpu_us") || row["path"] != "einmal", "{row}");
    }
    let chart = std::fs::read_to_string(chart).unwrap();
    assert!(chart.starts_with("<svg") && chart.contains("einmal"), "{chart}");
}
