//! What is counted: latency, outcomes by kind, bytes; by thread, and added up at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// So many kinds of errors are told apart; further ones are counted together.
const MOST_KINDS: usize = 20;
/// A kind's name has at most so many characters.
const LONGEST_KIND: usize = 200;
/// The kind of the further ones.
const OTHER: &str = "other errors";

/// Latencies are recorded between these, in nanoseconds: below 0.1 µs nothing is answered, over an hour nobody waits.
const SHORTEST: u64 = 100;
const LONGEST: u64 = 3_600_000_000_000;

/// The parts of the time for the plots: at most so many; then two become one.
const MOST_SLICES: usize = 200;
/// How long a part is at first, in nanoseconds.
const SLICE: u64 = 50_000_000;

/// Whose fault a failed call is; the exit code depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Service,
    Timeout,
    Transport,
}

/// The figures of one thread, or of the whole run. Times are nanoseconds on the clock of the run.
pub(super) struct Figures {
    /// Calls that began before this count for nothing.
    begin: u64,
    /// Of all calls, failed ones too.
    pub(super) latency: Histogram<u64>,
    pub(super) ok: u64,
    pub(super) service: u64,
    pub(super) timeouts: u64,
    pub(super) transport: u64,
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    /// Bytes of the bodies of answers, on a wire that counts them.
    pub(super) bodies_in: u64,
    /// When the last call that counts ended.
    pub(super) last_end: u64,
    /// How many calls were started, and when the last was.
    pub(super) started: u64,
    pub(super) last_start: u64,
    /// Answers that belong to no call.
    pub(super) strays: u64,
    /// Calls were left over because no connection could be made any more.
    pub(super) gave_up: bool,
    pub(super) slices: Option<Slices>,
}

/// Latency over time, for the plots.
pub(super) struct Slices {
    /// How long each is, in nanoseconds.
    pub(super) length: u64,
    pub(super) all: Vec<Histogram<u32>>,
}

impl Figures {
    pub(super) fn new(begin: u64, slices: bool) -> Self {
        Self {
            begin,
            latency: histogram(3),
            ok: 0,
            service: 0,
            timeouts: 0,
            transport: 0,
            errors: BTreeMap::new(),
            bytes_in: 0,
            bytes_out: 0,
            bodies_in: 0,
            last_end: begin,
            started: 0,
            last_start: begin,
            strays: 0,
            gave_up: false,
            slices: slices.then(|| Slices { length: SLICE, all: Vec::new() }),
        }
    }

    /// How many calls ended.
    pub(super) fn n(&self) -> u64 {
        self.ok + self.failed()
    }

    pub(super) fn failed(&self) -> u64 {
        self.service + self.timeouts + self.transport
    }

    #[inline]
    pub(super) fn started(&mut self, begun: u64, now: u64) {
        if begun >= self.begin {
            self.started += 1;
            self.last_start = now;
        }
    }

    /// A call that began then was answered well now.
    #[inline]
    pub(super) fn answered(&mut self, begun: u64, now: u64) {
        if begun >= self.begin {
            self.ok += 1;
            self.ended(begun, now);
        }
    }

    /// A call that began then has failed now.
    #[cold]
    pub(super) fn failed_call(&mut self, begun: u64, now: u64, fault: Fault, kind: &str) {
        if begun < self.begin {
            return;
        }
        *match fault {
            Fault::Service => &mut self.service,
            Fault::Timeout => &mut self.timeouts,
            Fault::Transport => &mut self.transport,
        } += 1;
        self.count(kind, 1);
        self.ended(begun, now);
    }

    #[inline]
    fn ended(&mut self, begun: u64, now: u64) {
        let latency = now.saturating_sub(begun);
        self.latency.saturating_record(latency);
        self.last_end = now;
        if let Some(slices) = &mut self.slices {
            slices.record(now.saturating_sub(self.begin), latency);
        }
    }

    fn count(&mut self, kind: &str, times: u64) {
        let kind = match kind.char_indices().nth(LONGEST_KIND) {
            Some((at, _)) => kind.get(..at).unwrap_or_default(),
            None => kind,
        };
        let kind =
            if self.errors.contains_key(kind) || self.errors.len() < MOST_KINDS { kind } else { OTHER };
        match self.errors.get_mut(kind) {
            Some(count) => *count += times,
            None => _ = self.errors.insert(kind.to_owned(), times),
        }
    }

    #[inline]
    pub(super) fn moved(&mut self, now: u64, bytes_in: usize, bytes_out: usize) {
        if now >= self.begin {
            self.bytes_in += bytes_in as u64;
            self.bytes_out += bytes_out as u64;
        }
    }

    /// Adds the figures of another thread.
    pub(super) fn add(&mut self, other: &Self) {
        // They have the same bounds, so that nothing can be out of them.
        let added = self.latency.add(&other.latency);
        debug_assert!(added.is_ok());
        self.ok += other.ok;
        self.service += other.service;
        self.timeouts += other.timeouts;
        self.transport += other.transport;
        for (kind, times) in &other.errors {
            self.count(kind, *times);
        }
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.bodies_in += other.bodies_in;
        self.last_end = self.last_end.max(other.last_end);
        self.started += other.started;
        self.last_start = self.last_start.max(other.last_start);
        self.strays += other.strays;
        self.gave_up |= other.gave_up;
        if let (Some(slices), Some(others)) = (&mut self.slices, &other.slices) {
            slices.add(others);
        }
    }
}

impl Slices {
    fn record(&mut self, at: u64, latency: u64) {
        let mut index = at / self.length;
        while index >= MOST_SLICES as u64 {
            self.halve();
            index = at / self.length;
        }
        // Below the most.
        let index = usize::try_from(index).unwrap_or_default();
        while self.all.len() <= index {
            self.all.push(histogram(2));
        }
        if let Some(slice) = self.all.get_mut(index) {
            slice.saturating_record(latency);
        }
    }

    /// Two slices become one.
    fn halve(&mut self) {
        self.length *= 2;
        let mut all = std::mem::take(&mut self.all).into_iter();
        while let Some(mut first) = all.next() {
            if let Some(second) = all.next() {
                let added = first.add(second);
                debug_assert!(added.is_ok());
            }
            self.all.push(first);
        }
    }

    fn add(&mut self, other: &Self) {
        while self.length < other.length {
            self.halve();
        }
        let part = usize::try_from(self.length / other.length).unwrap_or(1);
        for (index, slice) in other.all.iter().enumerate() {
            let index = index / part;
            while self.all.len() <= index {
                self.all.push(histogram(2));
            }
            if let Some(to) = self.all.get_mut(index) {
                let added = to.add(slice);
                debug_assert!(added.is_ok());
            }
        }
    }
}

#[expect(clippy::expect_used, reason = "the bounds are constants that fit")]
fn histogram<T: hdrhistogram::Counter>(digits: u8) -> Histogram<T> {
    Histogram::new_with_bounds(SHORTEST, LONGEST, digits).expect("the bounds fit")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn every_call_that_counts_is_in_the_histogram_once() {
        let mut figures = Figures::new(10 * MS, true);
        figures.answered(9 * MS, 11 * MS);
        figures.failed_call(9 * MS, 11 * MS, Fault::Service, "before the begin");
        figures.answered(10 * MS, 12 * MS);
        figures.failed_call(11 * MS, 13 * MS, Fault::Timeout, "timeout");
        figures.failed_call(11 * MS, 14 * MS, Fault::Transport, "connection closed");
        let mut all = Figures::new(10 * MS, true);
        all.add(&figures);
        all.add(&figures);
        assert_eq!((all.n(), all.ok, all.failed()), (6, 2, 4));
        assert_eq!(all.latency.len(), 6);
        assert_eq!(all.errors.values().sum::<u64>(), 4);
        assert_eq!(all.errors.get("timeout"), Some(&2));
        assert_eq!(all.slices.unwrap().all.iter().map(Histogram::len).sum::<u64>(), 6);
        assert_eq!(all.last_end, 14 * MS);
    }

    #[test]
    fn kinds_and_slices_are_bounded() {
        let mut figures = Figures::new(0, true);
        for number in 0..10_000 {
            let kind = format!("{number} {}", "x".repeat(1000));
            figures.failed_call(0, number * 1000 * MS, Fault::Service, &kind);
        }
        assert_eq!(figures.errors.len(), MOST_KINDS + 1);
        assert_eq!(figures.errors.values().sum::<u64>(), 10_000);
        assert!(figures.errors.keys().all(|kind| kind.chars().count() <= LONGEST_KIND));
        let slices = figures.slices.unwrap();
        assert!(slices.all.len() <= MOST_SLICES);
        assert_eq!(slices.all.iter().map(Histogram::len).sum::<u64>(), 10_000);
    }
}
