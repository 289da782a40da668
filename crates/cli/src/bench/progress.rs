//! One line on a terminal while a run goes on.

use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::plan::{Plan, Stop};
use super::thread::Times;
use super::units;
use crate::refuse;

/// How often it is written.
pub(super) const EVERY: Duration = Duration::from_millis(200);

/// The line, where stderr is a terminal.
pub(super) struct Progress {
    shown: bool,
    colours: bool,
    ended: Arc<Vec<Arc<AtomicU64>>>,
    last: (u64, u64),
}

impl Progress {
    pub(super) fn new(ended: Arc<Vec<Arc<AtomicU64>>>) -> Self {
        Self { shown: std::io::stderr().is_terminal(), colours: !refuse::no_color(), ended, last: (0, 0) }
    }

    /// Writes how far the run is.
    pub(super) fn show(&mut self, plan: &Plan, times: Times) {
        if !self.shown {
            return;
        }
        let now = times.now();
        let ended: u64 = self.ended.iter().map(|ended| ended.load(Ordering::Relaxed)).sum();
        let (then, before) = std::mem::replace(&mut self.last, (now, ended));
        let rate = ended.saturating_sub(before) as f64 / (now.saturating_sub(then).max(1) as f64 / 1e9);
        let part = match plan.stop {
            _ if now < times.begin => 0.0,
            Stop::Calls(all) => ended as f64 / all as f64,
            Stop::After(time) => (now - times.begin) as f64 / 1e9 / time.as_secs_f64(),
        };
        let line = line(part, now as f64 / 1e9, ended, rate, now < times.begin, self.colours);
        self.write(&format!("\r\x1b[K{line}"));
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        self.write("\r\x1b[K");
    }

    fn write(&self, text: &str) {
        if self.shown {
            // Where stderr is gone nobody looks at it.
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

fn line(part: f64, seconds: f64, ended: u64, rate: f64, warming: bool, colours: bool) -> String {
    let width = 24_usize;
    let filled = (0..width).filter(|place| (*place as f64) < part * width as f64).count();
    let (bar, rest) = ("━".repeat(filled), "─".repeat(width - filled));
    let (cyan, dim, plain) = if colours { ("\x1b[36m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    let what = if warming { "warming up" } else { "" };
    let calls = units::count(ended as f64);
    format!("{cyan}{bar}{dim}{rest}{plain} {seconds:.1} s  {calls} calls  {}/s {what}", units::count(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_it_is() {
        let text = line(0.5, 5.0, 12_345, 2469.4, false, false);
        assert!(text.starts_with("━━━━━━━━━━━━────────────"), "{text}");
        assert!(text.contains("5.0 s  12,345 calls  2,469/s") && !text.contains('\x1b'), "{text}");
        assert!(line(9.0, 0.1, 0, 0.0, true, true).contains('\x1b'));
    }
}
