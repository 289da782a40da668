//! How many calls there were and how long they took: in each of the last 300 seconds, and in all.
//!
//! The counters only grow. What came since the last look is put to the second that has gone by, by a task that looks
//! once a second, so a call costs nothing here.

use std::collections::VecDeque;

use crate::layer::{RANGES, Range, Times};

/// How many seconds are remembered, the one that runs included.
const SECONDS: u64 = 300;

/// How many places the seconds are shown in: the one after the running second is always empty.
pub(super) const PLACES: u64 = SECONDS + 1;

/// What the counters of a method say at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Calls that ended.
    pub(super) ended: u64,
    /// Those of them that were timed.
    pub(super) times: Times,
}

/// Calls of some time, each in its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Figures {
    pub(super) ranges: [Range; RANGES],
}

impl Figures {
    /// How many calls.
    pub(super) fn requests(&self) -> u64 {
        self.ranges.iter().map(|range| range.count).sum()
    }

    /// How long they took together, in nanoseconds.
    pub(super) fn duration(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, range| sum.saturating_add(range.nanoseconds))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (range, other) in self.ranges.iter_mut().zip(&other.ranges) {
            range.count = range.count.saturating_add(other.count);
            range.nanoseconds = range.nanoseconds.saturating_add(other.nanoseconds);
        }
    }
}

/// The calls of one method, or of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Measure {
    times: Times,
    /// Calls that ended without having waited.
    quick: u64,
    /// Since the server began.
    pub(super) all: Figures,
    /// The seconds that had calls, in ascending order.
    seconds: VecDeque<(u64, Figures)>,
}

impl Measure {
    /// Takes over what was counted before seconds were: it is in `all` alone.
    pub(super) fn begin(&mut self, seen: &Seen) {
        let figures = self.difference(seen);
        self.all.add(&figures);
    }

    /// Puts what came since the last time to this second.
    pub(super) fn update(&mut self, seen: &Seen, second: u64) {
        while self.seconds.front().is_some_and(|(old, _)| old.saturating_add(SECONDS) <= second) {
            self.seconds.pop_front();
        }
        let figures = self.difference(seen);
        if figures == Figures::default() {
            return;
        }
        self.all.add(&figures);
        match self.seconds.back_mut() {
            Some((last, all)) if *last == second => all.add(&figures),
            _ => self.seconds.push_back((second, figures)),
        }
    }

    /// Adds those of another method.
    pub(super) fn add(&mut self, other: &Self) {
        self.all.add(&other.all);
        for (second, figures) in &other.seconds {
            let at = self.seconds.partition_point(|(other, _)| other < second);
            match self.seconds.get_mut(at) {
                Some((there, all)) if there == second => all.add(figures),
                _ => self.seconds.insert(at, (*second, *figures)),
            }
        }
    }

    /// The seconds that are remembered at the second `now`, and the calls of each.
    pub(super) fn recent(&self, now: u64) -> impl Iterator<Item = (u64, &Figures)> {
        let kept = self.seconds.iter().filter(move |(second, _)| second.saturating_add(SECONDS) > now);
        kept.map(|(second, figures)| (*second, figures))
    }

    /// What came since the last time. Calls that waited were all timed. Of the others one in 16 was: those of this time
    /// stand for all, or those of all times where none was.
    fn difference(&mut self, seen: &Seen) -> Figures {
        let mut figures = Figures { ranges: since(&seen.times.waited, &self.times.waited) };
        let waited: u64 = seen.times.waited.iter().map(|range| range.count).sum();
        // A call may be seen in one place and not yet in the other.
        let quick = seen.ended.saturating_sub(waited).max(self.quick);
        let now = since(&seen.times.quick, &self.times.quick);
        let sample = if now.iter().any(|range| range.count > 0) { now } else { seen.times.quick };
        figures.add(&estimate(quick - self.quick, &sample));
        self.quick = quick;
        self.times = seen.times;
        figures
    }
}

/// What is more than it was.
fn since(now: &[Range; RANGES], before: &[Range; RANGES]) -> [Range; RANGES] {
    std::array::from_fn(|index| {
        let (now, before) =
            (now.get(index).copied().unwrap_or_default(), before.get(index).copied().unwrap_or_default());
        Range {
            nanoseconds: now.nanoseconds.saturating_sub(before.nanoseconds),
            count: now.count.saturating_sub(before.count),
        }
    })
}

/// So many calls, in the ranges of the sample and as long as those took in the mean. Without a sample they were short.
fn estimate(calls: u64, sample: &[Range; RANGES]) -> Figures {
    let mut figures = Figures::default();
    let sampled: u64 = sample.iter().map(|range| range.count).sum();
    let part = |whole: u64, count: u64, of: u64| {
        let share = u128::from(whole) * u128::from(count) / u128::from(of.max(1));
        u64::try_from(share).unwrap_or(u64::MAX)
    };
    for (range, sample) in figures.ranges.iter_mut().zip(sample) {
        range.count = part(calls, sample.count, sampled);
    }
    // What the divisions left over goes where most of them are.
    let left = calls.saturating_sub(figures.requests());
    let most = sample.iter().enumerate().max_by_key(|(index, range)| (range.count, RANGES - index));
    if let Some(range) = most.and_then(|(index, _)| figures.ranges.get_mut(index)) {
        range.count = range.count.saturating_add(left);
    }
    for (range, sample) in figures.ranges.iter_mut().zip(sample) {
        range.nanoseconds = part(sample.nanoseconds, range.count, sample.count);
    }
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Counters of so many calls; `sampled` and `waited` are (range, how many, milliseconds together).
    fn seen(ended: u64, sampled: &[(usize, u64, u64)], waited: &[(usize, u64, u64)]) -> Seen {
        let mut seen = Seen { ended, ..Seen::default() };
        for (ranges, of) in [(&mut seen.times.quick, sampled), (&mut seen.times.waited, waited)] {
            for (index, count, milliseconds) in of {
                ranges[*index] = Range { count: *count, nanoseconds: milliseconds * MS };
            }
        }
        seen
    }

    fn counts(figures: &Figures) -> [u64; RANGES] {
        figures.ranges.map(|range| range.count)
    }

    #[test]
    fn calls_stand_in_the_second_that_they_ended_in() {
        let mut measure = Measure::default();
        measure.begin(&seen(3, &[], &[]));
        measure.update(&seen(3, &[], &[]), 0);
        measure.update(&seen(8, &[], &[(1, 2, 300)]), 1);
        measure.update(&seen(9, &[], &[(1, 3, 450)]), 1);
        measure.update(&seen(10, &[], &[(1, 3, 450), (7, 1, 2000)]), 4);
        let recent: Vec<_> = measure.recent(4).map(|(second, figures)| (second, counts(figures))).collect();
        assert_eq!(recent, [(1, [3, 3, 0, 0, 0, 0, 0, 0]), (4, [0, 0, 0, 0, 0, 0, 0, 1])]);
        assert_eq!((measure.all.requests(), measure.all.duration()), (10, 2450 * MS));
    }

    #[test]
    fn what_is_older_than_300_seconds_is_in_the_whole_alone() {
        let mut measure = Measure::default();
        for second in 0..1000 {
            measure.update(&seen(second + 1, &[], &[]), second);
        }
        let seconds: Vec<_> = measure.recent(999).map(|(second, _)| second).collect();
        assert_eq!(seconds, (700..1000).collect::<Vec<_>>());
        assert_eq!(measure.recent(1100).count(), 199);
        assert_eq!(measure.all.requests(), 1000);
        // No two of them have one place, and the place after the running second is empty.
        let places: std::collections::HashSet<_> = seconds.iter().map(|second| second % PLACES).collect();
        assert_eq!((places.len(), places.contains(&(1000 % PLACES))), (300, false));
    }

    #[test]
    fn the_sample_stands_for_all_and_their_number_is_right() {
        let mut measure = Measure::default();
        // 2 of 33 were timed: 10 ms and 150 ms.
        measure.update(&seen(33, &[(0, 1, 10), (1, 1, 150)], &[]), 0);
        assert_eq!(counts(&measure.all), [17, 16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(measure.all.duration(), (17 * 10 + 16 * 150) * MS);
        // None of the next 4 was: they are as those before.
        measure.update(&seen(37, &[(0, 1, 10), (1, 1, 150)], &[]), 1);
        let (_, last) = measure.recent(1).last().unwrap();
        assert_eq!((counts(last), last.duration()), ([2, 2, 0, 0, 0, 0, 0, 0], 320 * MS));
    }

    /// The counters are read while calls go on: one is seen as timed before it is seen as ended.
    #[test]
    fn a_call_that_is_seen_early_is_counted_once() {
        let mut measure = Measure::default();
        measure.update(&seen(5, &[], &[(0, 2, 2)]), 0);
        measure.update(&seen(5, &[], &[(0, 3, 3)]), 1);
        measure.update(&seen(6, &[], &[(0, 3, 3)]), 2);
        assert_eq!(measure.all.requests(), 6);
    }

    #[test]
    fn methods_together_are_the_server() {
        let mut first = Measure::default();
        let mut second = first.clone();
        first.update(&seen(1, &[], &[]), 2);
        first.update(&seen(2, &[], &[]), 5);
        second.update(&seen(4, &[], &[]), 3);
        second.update(&seen(5, &[], &[]), 5);
        let mut all = Measure::default();
        all.add(&first);
        all.add(&second);
        let recent: Vec<_> = all.recent(5).map(|(second, figures)| (second, figures.requests())).collect();
        assert_eq!((recent, all.all.requests()), (vec![(2, 1), (3, 4), (5, 2)], 7));
    }
}
