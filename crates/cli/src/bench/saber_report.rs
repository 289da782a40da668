//! The report of saber's own stress test: its table, its histogram of equal parts, its distribution.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use trunkline::wire::saber::FAILED;

use super::figures::Figures;
use super::plan::Plan;
use super::report::Summary;

/// The histogram has so many equal parts, and a last row for the longest.
const PARTS: usize = 10;
/// The percentages of the distribution.
const PERCENTAGES: [u32; 7] = [10, 25, 50, 75, 90, 95, 99];
/// What the stress test calls a call that failed otherwise than by its service.
const LOST: i64 = -1001;

const COLUMNS: [&str; 11] = [
    "elapsed",
    "callers",
    "ok",
    "failed",
    "qps",
    "longest",
    "shortest",
    "mean",
    "bytes",
    "bytes/s",
    "error codes",
];

pub(super) fn text(plan: &Plan, summary: &Summary, figures: &Figures) -> String {
    let per_second = |number: f64| if summary.duration_s > 0.0 { number / summary.duration_s } else { 0.0 };
    let latency = &figures.latency;
    let (shortest, longest) = if latency.is_empty() { (0, 0) } else { (latency.min(), latency.max()) };
    let cells = [
        format!("{:.2}s", summary.duration_s),
        plan.in_flight.to_string(),
        figures.ok.to_string(),
        figures.failed().to_string(),
        format!("{:.2}", per_second(figures.ok as f64)),
        format!("{:.2}ms", millis(longest as f64)),
        format!("{:.2}ms", millis(shortest as f64)),
        format!("{:.2}ms", millis(latency.mean())),
        format!("{}B", figures.bodies_in),
        format!("{:.0}B/s", per_second(figures.bodies_in as f64)),
        codes(figures),
    ];
    let mut text = format!("SABER | {}\n", plan.target.method);
    // Writing to a text cannot fail.
    let width =
        |index: usize, text: &str| COLUMNS.get(index).map_or(0, |name| name.len()).max(text.chars().count());
    let widths: Vec<usize> = cells.iter().enumerate().map(|(index, cell)| width(index, cell)).collect();
    for row in [COLUMNS.map(str::to_owned), cells] {
        let row: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}")).collect();
        let _ = writeln!(text, "  {}", row.join(" │ "));
    }
    let _ = writeln!(text, "Latency histogram:");
    for (mark, count) in histogram(figures, shortest, longest) {
        let share = count as f64 / latency.len().max(1) as f64 * 100.0;
        let _ = writeln!(text, "{:>10.2}ms │ {count:>9} │ {share:>6.2}%", millis(mark));
    }
    let _ = writeln!(text, "Latency distribution:");
    for percentage in PERCENTAGES {
        let value = latency.value_at_quantile(f64::from(percentage) / 100.0);
        let _ = writeln!(text, "{percentage:>7}% in {:>10.2}ms", millis(value as f64));
    }
    text
}

/// How often each code came; 0 is a good answer.
fn codes(figures: &Figures) -> String {
    let counts =
        [(0, figures.ok), (i64::from(FAILED), figures.service), (LOST, figures.timeouts + figures.transport)];
    let some: BTreeMap<_, _> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    some.iter().map(|(code, count)| format!("{code}:{count}")).collect::<Vec<_>>().join(";")
}

/// How many calls took as long as each mark and longer than the one before it.
fn histogram(figures: &Figures, shortest: u64, longest: u64) -> Vec<(f64, u64)> {
    let part = longest.saturating_sub(shortest) as f64 / PARTS as f64;
    let mut rows: Vec<_> = (0..PARTS).map(|index| (shortest as f64 + part * index as f64, 0)).collect();
    rows.push((longest as f64, 0));
    for recorded in figures.latency.iter_recorded() {
        let value = figures.latency.lowest_equivalent(recorded.value_iterated_to()) as f64;
        if let Some((_, count)) = rows.iter_mut().find(|(mark, _)| value <= *mark) {
            *count += recorded.count_since_last_iteration();
        }
    }
    rows
}

fn millis(nanos: f64) -> f64 {
    nanos / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Fault;

    #[test]
    fn every_call_is_in_one_row() {
        let mut figures = Figures::new(0, false);
        for number in 1..=1000_u64 {
            figures.answered(0, number * 1_000_000);
        }
        figures.failed_call(0, 500_000, Fault::Service, "no");
        figures.failed_call(0, 5_000_000, Fault::Timeout, "timeout");
        let rows = histogram(&figures, figures.latency.min(), figures.latency.max());
        assert_eq!(rows.len(), PARTS + 1);
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<u64>(), 1002);
        assert_eq!(rows.first().unwrap().1, 1, "the shortest");
        assert!(rows.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a < b)));
        assert_eq!(codes(&figures), "-1001:1;0:1000;10001:1");
    }
}
