//! The report as one page with plots, that needs nothing but itself.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::chart::{self, Bar, Line, escape};
use super::figures::{Figures, Slices};
use super::plan::Plan;
use super::report::{Summary, distribution};
use super::units;
use crate::exit::Failure;

/// Where the page goes.
pub(super) struct Page {
    file: File,
    path: PathBuf,
}

/// Opens the file; what is in it stays until the page is written.
pub(super) fn create(path: &Path) -> Result<Page, Failure> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(|error| unwritable(path, &error))?;
    Ok(Page { file, path: path.to_owned() })
}

impl Page {
    pub(super) fn write(mut self, page: &str) -> Result<(), Failure> {
        let written = self.file.set_len(0).and_then(|()| self.file.write_all(page.as_bytes()));
        written.map_err(|error| unwritable(&self.path, &error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot write {}: {error}", path.display()))
}

/// The page.
pub(super) fn page(plan: &Plan, summary: &Summary, figures: &Figures) -> String {
    let command = command_line(std::env::args_os().map(|word| word.to_string_lossy().into_owned()));
    let date = httpdate::fmt_http_date(SystemTime::now());
    render(plan.title().as_str(), &command, &date, summary, figures)
}

fn render(title: &str, command: &str, date: &str, summary: &Summary, figures: &Figures) -> String {
    let mut page = String::new();
    let style = include_str!("page.css");
    // Writing to a text cannot fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n<header>\n<h1>{title}</h1>\n\
         <p class=\"soft\">trunkline {version}, {date}</p>\n<pre>{command}</pre>\n</header>\n",
        title = escape(title),
        version = env!("CARGO_PKG_VERSION"),
        date = escape(date),
        command = escape(command),
    );
    tiles(&mut page, summary);
    for note in summary.notes(figures) {
        let _ = writeln!(page, "<section class=\"note\">{}</section>", escape(&note));
    }
    if let Some(slices) = figures.slices.as_ref().filter(|slices| !slices.all.is_empty()) {
        over_time(&mut page, summary, slices);
    }
    shares(&mut page, figures);
    table(&mut page, summary);
    page + "</main>\n</body>\n</html>\n"
}

fn tiles(page: &mut String, summary: &Summary) {
    let time = |micros: f64| units::time(micros * 1e3);
    let failed = if summary.failed > 0 { " class=\"bad\"" } else { "" };
    page.push_str("<div class=\"tiles\">\n");
    for (class, value, name) in [
        ("", units::count(summary.rps), "calls/s"),
        ("", units::count(summary.n as f64), "calls"),
        (failed, units::count(summary.failed as f64), "failed"),
        ("", time(summary.p50_us), "p50"),
        ("", time(summary.p99_us), "p99"),
        ("", time(summary.max_us), "max"),
    ] {
        let _ = writeln!(page, "<div{class}><b>{value}</b><span>{name}</span></div>");
    }
    page.push_str("</div>\n");
}

fn over_time(page: &mut String, summary: &Summary, slices: &Slices) {
    let length = slices.length as f64 / 1e9;
    let duration = summary.duration_s;
    let mut rate = Vec::new();
    let mut latency = [(0.5, Vec::new()), (0.99, Vec::new())];
    for (number, slice) in slices.all.iter().enumerate() {
        let from = number as f64 * length;
        // The last part may be shorter; where it is very short it says nothing.
        let covered = (duration - from).min(length);
        if covered < length * 0.2 && number > 0 {
            continue;
        }
        let middle = from + covered / 2.0;
        rate.push((middle, Some(slice.len() as f64 / covered.max(1e-9))));
        for (quantile, points) in &mut latency {
            let value = (!slice.is_empty()).then(|| slice.value_at_quantile(*quantile) as f64);
            points.push((middle, value));
        }
    }
    let [(_, p50), (_, p99)] = latency;
    let from = if summary.asked_rps.is_some() { ", from the intended start" } else { "" };
    let name = format!("Latency over time{from}");
    let plots = [
        Line { class: "first", points: p50, filled: false },
        Line { class: "second", points: p99, filled: false },
    ];
    let plot =
        chart::lines(
            &name,
            &plots,
            duration,
            |nanos| {
                if nanos > 0.0 { units::time(nanos) } else { "0".to_owned() }
            },
        );
    let key = "<span class=\"key\"><i class=\"first\"></i>p50<i class=\"second\"></i>p99</span>";
    let _ = writeln!(page, "<section>\n<h2>{name}{key}</h2>\n{plot}\n</section>");
    let plot = [Line { class: "first", points: rate, filled: true }];
    let plot = chart::lines("Throughput over time", &plot, duration, units::count);
    let _ = writeln!(page, "<section>\n<h2>Throughput over time, calls/s</h2>\n{plot}\n</section>");
}

fn shares(page: &mut String, figures: &Figures) {
    let rows = distribution(figures, 40);
    let all = figures.n().max(1) as f64;
    let parts = rows.len().max(1) as f64;
    let bars: Vec<Bar> = rows
        .iter()
        .enumerate()
        .map(|(number, row)| {
            let share = row.count as f64 / all * 100.0;
            let (from, to) = (units::time(row.from), units::time(row.to));
            Bar {
                from: number as f64 / parts,
                to: (number + 1) as f64 / parts,
                value: share,
                title: format!("{from} – {to}: {share:.2} % ({})", units::count(row.count as f64)),
            }
        })
        .collect();
    let mut texts: Vec<(f64, String)> = rows
        .iter()
        .enumerate()
        .step_by(8)
        .map(|(number, row)| (number as f64 / parts, units::time(row.from)))
        .collect();
    texts.extend(rows.last().map(|row| (1.0, units::time(row.to))));
    let plot = chart::bars("Distribution of the latency", &bars, &texts, |share| format!("{share} %"));
    let _ = writeln!(page, "<section>\n<h2>Distribution of the latency</h2>\n{plot}\n</section>");
}

fn table(page: &mut String, summary: &Summary) {
    let count = |number: u64| units::count(number as f64);
    let mut left = vec![
        ("Calls".to_owned(), count(summary.n)),
        ("Answered".to_owned(), count(summary.ok)),
        ("Failed".to_owned(), count(summary.failed)),
        ("Duration".to_owned(), format!("{:.2} s", summary.duration_s)),
        ("Connections".to_owned(), count(summary.connections as u64)),
        ("In flight on each".to_owned(), count(u64::from(summary.in_flight))),
    ];
    let mut right = vec![("Rate".to_owned(), format!("{}/s", units::count(summary.rps)))];
    for (name, rate) in [("Rate asked", summary.asked_rps), ("Rate started", summary.started_rps)] {
        right.extend(rate.map(|rate| (name.to_owned(), format!("{}/s", units::count(rate)))));
    }
    for (name, value) in summary.percentiles() {
        right.push((format!("Latency {name}"), units::time(value * 1e3)));
    }
    left.push(("Received".to_owned(), units::bytes(summary.bytes_in as f64)));
    left.push(("Sent".to_owned(), units::bytes(summary.bytes_out as f64)));
    page.push_str("<section>\n<h2>Figures</h2>\n<div class=\"two\">\n");
    rows(page, &left);
    rows(page, &right);
    page.push_str("</div>\n</section>\n");
    if !summary.errors.is_empty() {
        page.push_str("<section>\n<h2>Errors</h2>\n");
        let errors: Vec<_> =
            summary.errors.iter().map(|(kind, times)| (kind.clone(), count(*times))).collect();
        rows(page, &errors);
        page.push_str("</section>\n");
    }
}

fn rows(page: &mut String, rows: &[(String, String)]) {
    page.push_str("<table>\n");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value));
    }
    page.push_str("</table>\n");
}

/// The command as it was given, but for the values of headers, which may be secret, and for what is very long.
fn command_line(words: impl Iterator<Item = String>) -> String {
    let mut line = String::from("trunkline");
    let mut header = false;
    for word in words.skip(1) {
        let attached =
            ["--header=", "-H"].into_iter().find(|flag| word.len() > flag.len() && word.starts_with(flag));
        let hides = header || attached.is_some();
        header = word == "-H" || word == "--header";
        let word = match word.split_once(':') {
            Some((key, _)) if hides => format!("{key}:…"),
            _ => word,
        };
        let word = match word.char_indices().nth(200) {
            Some((at, _)) => format!("{}…", word.get(..at).unwrap_or_default()),
            None => word,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,%+".contains(c);
        let quoted = if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        };
        line.push(' ');
        line.push_str(&quoted);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Fault;

    fn summary(figures: &Figures) -> Summary {
        Summary {
            rps: 1.0,
            n: figures.n(),
            ok: figures.ok,
            failed: figures.failed(),
            p50_us: 1.0,
            p90_us: 1.0,
            p99_us: 1.0,
            p999_us: 1.0,
            max_us: 1.0,
            duration_s: 1.0,
            connections: 1,
            in_flight: 1,
            bytes_in: 0,
            bytes_out: 0,
            errors: figures.errors.clone(),
            asked_rps: None,
            started_rps: None,
        }
    }

    #[test]
    fn nothing_from_outside_is_markup_and_nothing_is_loaded() {
        let mut figures = Figures::new(0, true);
        figures.answered(0, 5_000);
        figures.failed_call(0, 60_000_000, Fault::Service, "<script>alert('1')</script>&");
        let evil = "<img src=x onerror=\"1\">";
        let page = render(evil, evil, evil, &summary(&figures), &figures);
        assert!(!page.contains("<script") && !page.contains("<img"));
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;"));
        for loads in ["http://", "https://", "url(", "@import", "src=", "<link"] {
            assert!(!page.replace("src=x onerror", "").contains(loads), "{loads}");
        }
        assert!(!page.contains("NaN") && page.contains("prefers-color-scheme"));
        assert_eq!(page.matches("<svg").count(), 3);
    }

    #[test]
    fn a_run_without_a_call_has_a_page_too() {
        let figures = Figures::new(0, true);
        let page = render("t", "c", "d", &summary(&figures), &figures);
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn the_command_line_keeps_secrets() {
        let words =
            ["x", "bench", "-H", "Authorization: Bearer s", "-Ha:s", "--header=b:s", "-d", "{\"it's\":1}"];
        let line = command_line(words.into_iter().map(str::to_owned));
        assert_eq!(line, r#"trunkline bench -H 'Authorization:…' '-Ha:…' '--header=b:…' -d '{"it'\''s":1}'"#);
    }
}
