//! The figures as text and as JSON.

use std::fmt::Write;

use super::plan::Cores;
use super::run::{Cell, Row, Table};

pub(super) fn row(row: &Row, rounds: usize) -> String {
    let mut out = format!("  {}\n", row.load.name());
    let _ = writeln!(
        out,
        "    {:<18}{:>11}{:>8}{:>10}{:>10}{:>12}{:>12}{:>10}",
        "", "rps", "ratio", "p50 µs", "p99 µs", "server µs", "client µs", "cpu ratio"
    );
    for cell in &row.cells {
        let Cell { system, median, ratio, server_ratio, starved } = cell;
        let _ = write!(
            out,
            "    {system:<18}{:>11.0}{ratio:>8.3}{:>10.1}{:>10.1}{:>12.3}{:>12.3}{server_ratio:>10.2}",
            median.rps, median.p50, median.p99, median.server, median.client
        );
        if median.failed > 0.0 {
            let _ = write!(out, "  {} FAILED", median.failed);
        }
        if row.load.cores == Cores::Both {
            let _ = write!(out, "  (second thread {:.2} of the first)", median.balance);
        } else if *starved > 0 && row.load.cores == Cores::Each {
            let _ = write!(out, "  ({starved} of {rounds} rounds without a whole core)");
        }
        out.push('\n');
    }
    out
}

/// All rows as one array; `more` are objects already, of tables of other figures.
pub(super) fn json(tables: &[Table], more: Vec<String>) -> String {
    let mut objects = Vec::new();
    for table in tables {
        for row in &table.rows {
            for cell in &row.cells {
                let Cell { system, median, ratio, server_ratio, starved } = cell;
                objects.push(format!(
                    r#"{{"table":"{}","load":"{}","system":"{system}","rounds":{},"rps":{:.1},"ratio":{ratio:.4},"p50_us":{:.1},"p99_us":{:.1},"server_us":{:.4},"client_us":{:.4},"server_ratio":{server_ratio:.4},"failed":{},"starved":{starved}}}"#,
                    table.name,
                    row.load.name(),
                    table.rounds,
                    median.rps,
                    median.p50,
                    median.p99,
                    median.server,
                    median.client,
                    median.failed,
                ));
            }
        }
    }
    objects.extend(more);
    format!("[\n{}\n]\n", objects.join(",\n"))
}
