//! The report of saber's own stress test: its table, histogram and distribution.

use std::fmt::Write as _;

use super::load::Done;

/// The parts of the histogram, all as long; the longest has a row of its own.
const BUCKETS: usize = 10;
const PERCENT: [usize; 7] = [10, 25, 50, 75, 90, 95, 99];

pub(super) fn text(method: &str, callers: u32, seconds: f64, done: &Done) -> String {
    let mut all: Vec<f64> = done.latencies.iter().map(|nanos| f64::from(*nanos) / 1e3).collect();
    all.sort_unstable_by(f64::total_cmp);
    let (least, most) = (all.first().copied().unwrap_or(0.0), all.last().copied().unwrap_or(0.0));
    let mean = if all.is_empty() { 0.0 } else { all.iter().sum::<f64>() / all.len() as f64 };
    let figures = &done.figures;
    let rate = |number: u64| if seconds > 0.0 { number as f64 / seconds } else { 0.0 };
    let mut codes = String::new();
    for (code, times) in [("0", figures.ok), ("-1001", figures.failed())] {
        if times > 0 {
            let gap = if codes.is_empty() { "" } else { ";" };
            let _ = write!(codes, "{gap}{code}:{times}");
        }
    }
    let rule = |corner: &str| {
        let cells = [5, 7, 8, 8, 10, 10, 10, 10, 10, 11, 12].map(|wide| "─".repeat(wide));
        cells.join(corner)
    };
    let (bytes, speed) = (format!("{}B", done.body_bytes), format!("{:.0}B/s", rate(done.body_bytes)));
    // Writing to a text cannot fail.
    let mut text = format!("\nSABER | {method}\n{}\n", rule("┬"));
    text += " time│callers│ success│ failure│       qps│   longest│  shortest│      mean│     bytes│  bytes/sec│ error codes\n";
    let _ = writeln!(text, "{}", rule("┼"));
    let _ = writeln!(
        text,
        "{seconds:4.0}s│{callers:7}│{:8}│{:8}│{:10.2}│{most:8.2}ms│{least:8.2}ms│{mean:8.2}ms│{bytes:>10}│{speed:>11}│{codes}",
        figures.ok,
        figures.failed(),
        rate(figures.ok),
    );
    text += "Latency histogram:\n";
    for (mark, count) in histogram(&all, least, most) {
        let share = count as f64 / all.len().max(1) as f64 * 100.0;
        let _ = writeln!(text, "{mark:8.2}ms|{count:7}|{share:8.2}%");
    }
    text += "Latency distribution:\n";
    for percent in PERCENT {
        let at = (all.len() * percent / 100).min(all.len().saturating_sub(1));
        let _ = writeln!(text, "{percent:7}%     in {:8.2}ms", all.get(at).copied().unwrap_or(0.0));
    }
    text
}

/// How many took at most so long, and longer than the mark before.
fn histogram(sorted: &[f64], least: f64, most: f64) -> Vec<(f64, usize)> {
    let size = (most - least) / BUCKETS as f64;
    let mut rows = Vec::with_capacity(BUCKETS + 1);
    let mut before = 0;
    for bucket in 0..=BUCKETS {
        let mark = if bucket == BUCKETS { most } else { size.mul_add(bucket as f64, least) };
        let until = if bucket == BUCKETS { sorted.len() } else { sorted.partition_point(|ms| *ms <= mark) };
        rows.push((mark, until - before));
        before = until;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figures;

    #[test]
    fn every_call_is_in_one_row() {
        let all: Vec<f64> = (0..=100).map(f64::from).collect();
        let rows = histogram(&all, 0.0, 100.0);
        assert_eq!(rows.len(), 11);
        assert_eq!(rows.iter().map(|(_, count)| count).sum::<usize>(), 101);
        assert_eq!((rows[0], rows[1], rows[10]), ((0.0, 1), (10.0, 10), (100.0, 10)));
    }

    #[test]
    fn the_report_has_its_three_parts() {
        let mut figures = Figures::new(0, false);
        figures.answered(0, 1_000_000);
        figures.answered(0, 3_000_000);
        let done = Done { figures, latencies: vec![1000, 3000], body_bytes: 28 };
        let text = text("ReqLogin", 2, 2.0, &done);
        assert!(text.contains("│      2│       2│       0│      1.00│    3.00ms│    1.00ms│    2.00ms│       28B│     14B/s│0:2"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("ms|")).count(), 11);
        assert_eq!(text.lines().filter(|line| line.contains("%     in")).count(), 7);
    }
}
