//! What a run says in the end: a report as text, or one JSON object.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::figures::Figures;
use super::plan::{Plan, Stop};
use super::thread::{Times, nanos};
use super::units;

/// The result of a run. Its JSON is what `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    pub(super) rps: f64,
    pub(super) n: u64,
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
    /// From the begin (after the warm-up) to the end, or to the answer of the last call where that is later.
    pub(super) duration_s: f64,
    pub(super) connections: usize,
    /// On each connection.
    pub(super) in_flight: u32,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// How often, by what went wrong.
    pub(super) errors: BTreeMap<String, u64>,
    /// The rate of `-q`, and the one that it came to; only with `-q`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) asked_rps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) started_rps: Option<f64>,
}

impl Summary {
    /// `ended` is when the run was over, in nanoseconds on its clock.
    pub(super) fn new(plan: &Plan, times: Times, figures: &Figures, ended: u64) -> Self {
        let at = |quantile| micros(figures.latency.value_at_quantile(quantile));
        let end = match plan.stop {
            Stop::Calls(_) => figures.last_end,
            Stop::After(_) => figures.last_end.max(times.end.min(ended)),
        };
        let duration_s = seconds(end.saturating_sub(times.begin));
        // A run is never shorter than its one call; where there was none at all the rate is 0.
        let rps = if duration_s > 0.0 { figures.n() as f64 / duration_s } else { 0.0 };
        let started_rps = plan.rate.map(|rate| {
            let time = match plan.stop {
                Stop::After(time) => seconds(nanos(time).min(ended.saturating_sub(times.begin))),
                Stop::Calls(_) => seconds(figures.last_start.saturating_sub(times.begin)) + 1.0 / rate,
            };
            if time > 0.0 { figures.started as f64 / time } else { 0.0 }
        });
        Self {
            rps,
            n: figures.n(),
            ok: figures.ok,
            failed: figures.failed(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(figures.latency.max()),
            duration_s,
            connections: plan.connections,
            in_flight: plan.in_flight,
            bytes_in: figures.bytes_in,
            bytes_out: figures.bytes_out,
            errors: figures.errors.clone(),
            asked_rps: plan.rate,
            started_rps,
        }
    }

    /// The JSON object, as one line.
    pub(super) fn json(&self) -> String {
        // Numbers and texts only: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// What a reader should know beside the figures, one sentence each.
    pub(super) fn notes(&self, figures: &Figures) -> Vec<String> {
        let mut notes = Vec::new();
        if let (Some(asked), Some(started)) = (self.asked_rps, self.started_rps)
            && started < asked * 0.99
        {
            let (asked, started) = (units::count(asked), units::count(started));
            notes.push(format!("The rate was not held: asked {asked}/s, started {started}/s."));
        }
        if figures.gave_up {
            notes.push("Calls are missing: no connection could be made for 5 s.".to_owned());
        }
        if figures.strays > 0 {
            notes.push(format!("{} answers came to no call.", units::count(figures.strays as f64)));
        }
        if self.failed > 0 && self.ok > 0 {
            notes.push("The latency is of all calls, failed ones too.".to_owned());
        }
        notes
    }

    /// The report as text.
    pub(super) fn text(&self, plan: &Plan, figures: &Figures) -> String {
        self.text_of(&plan.title(), plan.rate.is_some(), figures)
    }

    /// The report as text, below this line; of an open loop or a closed one.
    pub(super) fn text_of(&self, title: &str, open: bool, figures: &Figures) -> String {
        let count = |number: u64| units::count(number as f64);
        let time = |micros: f64| units::time(micros * 1e3);
        let bytes = |bytes: u64| {
            let rate = if self.duration_s > 0.0 { bytes as f64 / self.duration_s } else { 0.0 };
            format!("{} ({}/s)", units::bytes(bytes as f64), units::bytes(rate))
        };
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{title}\n");
        let _ = writeln!(text, "  rate      {} calls/s", units::count(self.rps));
        let _ = writeln!(text, "  calls     {} in {:.2} s", count(self.n), self.duration_s);
        let _ = writeln!(text, "  answered  {}", count(self.ok));
        let _ = writeln!(text, "  failed    {}", count(self.failed));
        let _ = writeln!(text, "  received  {}", bytes(self.bytes_in));
        let _ = writeln!(text, "  sent      {}", bytes(self.bytes_out));
        let from = if open { ", from the intended start" } else { "" };
        let _ = writeln!(text, "\nLatency{from}");
        for (name, value) in self.percentiles() {
            let _ = writeln!(text, "  {name:<9} {:>10}", time(value));
        }
        let rows = distribution(figures, 12);
        if !rows.is_empty() {
            let _ = writeln!(text, "\nDistribution");
        }
        let most = rows.iter().map(|row| row.count).max().unwrap_or(1).max(1);
        for row in rows {
            let bar = "█".repeat(usize::try_from(row.count * 40 / most).unwrap_or(0));
            let share = row.count as f64 / self.n.max(1) as f64 * 100.0;
            let (from, to) = (units::time(row.from), units::time(row.to));
            let _ = writeln!(text, "  {from:>9} – {to:<9} {share:>6.2} %  {bar}");
        }
        if !self.errors.is_empty() {
            let _ = writeln!(text, "\nErrors");
        }
        for (kind, times) in &self.errors {
            let _ = writeln!(text, "  {:>9}  {}", count(*times), printable(kind));
        }
        for note in self.notes(figures) {
            let _ = write!(text, "\n{note}");
        }
        text.trim_end().to_owned() + "\n"
    }

    /// The percentiles by their names, in microseconds.
    pub(super) fn percentiles(&self) -> [(&'static str, f64); 5] {
        [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
            ("max", self.max_us),
        ]
    }
}

impl Plan {
    /// What is run, in one line.
    pub(super) fn title(&self) -> String {
        let s = |n: usize| if n == 1 { "" } else { "s" };
        let rate = self.rate.map(|rate| format!(", {} calls/s asked", units::count(rate)));
        format!(
            "{} {}: {} connection{} × {} in flight, {} thread{}{}",
            printable(&self.url),
            printable(&self.method),
            units::count(self.connections as f64),
            s(self.connections),
            units::count(f64::from(self.in_flight)),
            self.threads,
            s(self.threads),
            rate.unwrap_or_default(),
        )
    }
}

/// One part of the distribution, in nanoseconds.
pub(super) struct Row {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) count: u64,
}

/// So many parts between the shortest and the longest, each as many times as long as the one before.
pub(super) fn distribution(figures: &Figures, parts: i32) -> Vec<Row> {
    let latency = &figures.latency;
    if latency.is_empty() {
        return Vec::new();
    }
    let (least, most) = (latency.min().max(1) as f64, latency.max().max(1) as f64);
    let factor = (most / least).max(1.01).powf(1.0 / f64::from(parts));
    let mut rows: Vec<Row> = (0..parts)
        .map(|part| Row { from: least * factor.powi(part), to: least * factor.powi(part + 1), count: 0 })
        .collect();
    for recorded in latency.iter_recorded() {
        let value = recorded.value_iterated_to() as f64;
        let last = rows.len().saturating_sub(1);
        let index = rows.iter().position(|row| value <= row.to).unwrap_or(last);
        if let Some(row) = rows.get_mut(index) {
            row.count += recorded.count_since_last_iteration();
        }
    }
    rows
}

/// What came from outside, with nothing in it that a terminal obeys.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
