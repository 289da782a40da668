//! Plots as SVG: lines over time, and bars. Colours come from the page's style.

use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 28.0;

/// One line of a plot; where there is no value the line is broken.
pub(super) struct Line {
    /// The class that gives it its colour.
    pub(super) class: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
    /// The area below it is filled.
    pub(super) filled: bool,
}

/// One bar, from and to on the x axis in parts of the whole.
pub(super) struct Bar {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) value: f64,
    /// What is shown where the pointer is on it.
    pub(super) title: String,
}

/// How values become heights.
enum Scale {
    Linear { most: f64, step: f64 },
    Log { least: f64, most: f64 },
}

impl Scale {
    /// From 0, in some four steps that are easy to read.
    fn linear(most: f64) -> Self {
        let most = most.max(1e-9);
        let step = round_up(most / 4.0);
        Self::Linear { most: (most / step).ceil() * step, step }
    }

    /// Logarithmic where the values are far apart.
    fn fitting(values: &[f64]) -> Self {
        let most = values.iter().copied().fold(0.0, f64::max);
        let least = values.iter().copied().filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        if values.is_empty() || most / least < 30.0 {
            return Self::linear(most);
        }
        Self::Log { least: 10f64.powf(least.log10().floor()), most: round_up(most) }
    }

    fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { most, step } => {
                let mut ticks = vec![0.0];
                while let Some(last) = ticks.last().copied().filter(|last| *last < most - step / 2.0) {
                    ticks.push(last + step);
                }
                ticks
            }
            Self::Log { least, most } => {
                let mut ticks = vec![least];
                while let Some(last) = ticks.last().copied().filter(|last| *last * 9.99 < most) {
                    ticks.push(last * 10.0);
                }
                ticks
            }
        }
    }

    fn y(&self, value: f64) -> f64 {
        let part = match *self {
            Self::Linear { most, .. } => value / most,
            Self::Log { least, most } => (value.max(least) / least).ln() / (most / least).ln(),
        };
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - part.clamp(0.0, 1.0))
    }
}

/// The next number above that begins with 1, 2 or 5.
fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let factor = value / decade;
    let steps = [1.0, 2.0, 5.0, 10.0];
    decade * steps.into_iter().find(|step| factor <= *step + 1e-9).unwrap_or(10.0)
}

fn x(part: f64) -> f64 {
    LEFT + (WIDTH - LEFT - RIGHT) * part.clamp(0.0, 1.0)
}

/// Lines over the seconds of a run. `label` says a value of the y axis.
pub(super) fn lines(name: &str, lines: &[Line], seconds: f64, label: impl Fn(f64) -> String) -> String {
    let values: Vec<f64> =
        lines.iter().flat_map(|line| &line.points).filter_map(|(_, value)| *value).collect();
    let filled = lines.iter().any(|line| line.filled);
    let most = values.iter().copied().fold(0.0, f64::max);
    let scale = if filled { Scale::linear(most) } else { Scale::fitting(&values) };
    let mut svg = begin(name, &scale, label);
    let seconds = seconds.max(1e-9);
    let step = round_up(seconds / 8.0);
    let mut at = 0.0;
    while at <= seconds {
        let digits = if step < 0.1 { 2 } else { usize::from(step < 1.0) };
        tick(&mut svg, x(at / seconds), &format!("{at:.digits$} s"));
        at += step;
    }
    for line in lines {
        draw(&mut svg, line, seconds, &scale);
    }
    svg + "</svg>"
}

fn draw(svg: &mut String, line: &Line, seconds: f64, scale: &Scale) {
    for run in line.points.split(|(_, value)| value.is_none()) {
        let points: Vec<(f64, f64)> =
            run.iter().filter_map(|(at, value)| Some((x(at / seconds), scale.y((*value)?)))).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { continue };
        let mut path = String::new();
        for (x, y) in &points {
            // Writing to a text cannot fail.
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        let class = line.class;
        if line.filled {
            let bottom = HEIGHT - BOTTOM;
            let (from, to) = (first.0, last.0);
            let _ = write!(
                svg,
                r#"<polygon class="area {class}" points="{from:.1},{bottom} {path}{to:.1},{bottom}"/>"#
            );
        }
        if points.len() == 1 {
            let _ =
                write!(svg, r#"<circle class="dot {class}" cx="{:.1}" cy="{:.1}" r="3"/>"#, first.0, first.1);
        } else {
            let _ = write!(svg, r#"<polyline class="line {class}" points="{}"/>"#, path.trim_end());
        }
    }
}

/// Bars, with texts below at these parts of the x axis.
pub(super) fn bars(
    name: &str,
    bars: &[Bar],
    texts: &[(f64, String)],
    label: impl Fn(f64) -> String,
) -> String {
    let scale = Scale::linear(bars.iter().map(|bar| bar.value).fold(0.0, f64::max));
    let mut svg = begin(name, &scale, label);
    for (part, text) in texts {
        tick(&mut svg, x(*part), text);
    }
    for bar in bars.iter().filter(|bar| bar.value > 0.0) {
        let (from, to) = (x(bar.from) + 1.0, x(bar.to) - 1.0);
        // What is there is seen, however little it is.
        let bottom = HEIGHT - BOTTOM;
        let y = scale.y(bar.value).min(bottom - 1.5);
        let (width, height) = ((to - from).max(1.0), bottom - y);
        let title = escape(&bar.title);
        let _ = write!(
            svg,
            r#"<rect class="bar" x="{from:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="2"><title>{title}</title></rect>"#
        );
    }
    svg + "</svg>"
}

fn begin(name: &str, scale: &Scale, label: impl Fn(f64) -> String) -> String {
    let mut svg = format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#, escape(name));
    for value in scale.ticks() {
        let (y, right) = (scale.y(value), WIDTH - RIGHT);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text class="axis" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            y + 4.0,
            escape(&label(value)),
        );
    }
    svg
}

fn tick(svg: &mut String, x: f64, text: &str) {
    let anchor = match x {
        x if x > WIDTH - RIGHT - 24.0 => "end",
        x if x < LEFT + 10.0 => "start",
        _ => "middle",
    };
    let y = HEIGHT - 8.0;
    let text = escape(text);
    let _ = write!(svg, r#"<text class="axis" x="{x:.1}" y="{y}" text-anchor="{anchor}">{text}</text>"#);
}

/// A text as it stands in HTML and in its attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_steps() {
        assert_eq!(Scale::linear(7.3).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(Scale::linear(100.0).ticks(), [0.0, 50.0, 100.0]);
        assert_eq!(Scale::fitting(&[30.0, 4000.0]).ticks(), [10.0, 100.0, 1000.0]);
        assert_eq!(Scale::fitting(&[]).ticks().first(), Some(&0.0));
        assert_eq!(Scale::fitting(&[0.0]).ticks().first(), Some(&0.0));
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(escape("<a b=\"c\" d='e'>&\n"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp; ");
        let bar = Bar { from: 0.0, to: 1.0, value: 1.0, title: "<x>".to_owned() };
        assert!(!bars("<n>", &[bar], &[(0.0, "<t>".to_owned())], |_| "<l>".to_owned()).contains("<x>"));
    }

    #[test]
    fn a_line_breaks_where_there_is_no_value() {
        let points = vec![(0.0, Some(1.0)), (1.0, Some(2.0)), (2.0, None), (3.0, Some(1.0))];
        let svg = lines("n", &[Line { class: "a", points, filled: false }], 4.0, |v| v.to_string());
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 1));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
