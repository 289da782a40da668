//! When calls start in the open loop: arithmetic on a number and a rate, so that no start waits in any memory.

/// The starts of one of several threads: of n threads each has every n-th of all starts.
///
/// Times are nanoseconds on the clock of the run.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    origin: u64,
    /// Starts in a second, of all threads together.
    rate: f64,
    thread: u64,
    threads: u64,
    /// How many of this thread's starts were taken.
    taken: u64,
    /// How many starts this thread has.
    most: u64,
}

impl Schedule {
    pub(super) fn new(origin: u64, rate: f64, thread: u64, threads: u64, most: u64) -> Self {
        Self { origin, rate, thread, threads, taken: 0, most }
    }

    /// When the next call is meant to start; nothing where all have.
    pub(super) fn next(&self) -> Option<u64> {
        (self.taken < self.most).then(|| self.at(self.taken))
    }

    /// Takes the next start if it is due: when it was meant to be.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        let at = self.next().filter(|at| *at <= now)?;
        self.taken += 1;
        Some(at)
    }

    /// How many starts are due and were not taken.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of starts, from 0 up"
    )]
    pub(super) fn due(&self, now: u64) -> u64 {
        let Some(passed) = now.checked_sub(self.origin) else { return 0 };
        let mut all = (passed as f64 * self.rate / 1e9) as u64 / self.threads;
        // The division above is of floats and of whole rounds: the exact number is at most a few further.
        all = all.saturating_sub(1).min(self.most);
        while all < self.most && self.at(all) <= now {
            all += 1;
        }
        all.saturating_sub(self.taken)
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds, from 0 up")]
    fn at(&self, number: u64) -> u64 {
        let start = number.saturating_mul(self.threads).saturating_add(self.thread);
        self.origin.saturating_add((start as f64 / self.rate * 1e9) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_come_at_the_rate_and_are_late_from_when_they_were_meant() {
        let mut schedule = Schedule::new(1000, 1e6, 0, 1, u64::MAX);
        assert_eq!(schedule.next(), Some(1000));
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1000), Some(1000));
        assert_eq!(schedule.take(1999), None);
        // Nobody looked for 4 µs: the starts of that time are due, each from its own moment.
        assert_eq!(schedule.due(6000), 5);
        let late: Vec<u64> = std::iter::from_fn(|| schedule.take(6000)).collect();
        assert_eq!(late, [2000, 3000, 4000, 5000, 6000]);
        assert_eq!(schedule.due(6000), 0);
        assert_eq!(schedule.next(), Some(7000));
    }

    #[test]
    fn a_schedule_of_an_hour_that_nobody_served_takes_no_memory_and_no_time() {
        let mut schedule = Schedule::new(0, 5e6, 0, 1, u64::MAX);
        let hour = 3_600_000_000_000;
        assert_eq!(schedule.due(hour), 18_000_000_001);
        assert_eq!(schedule.take(hour), Some(0));
        assert_eq!(schedule.due(hour), 18_000_000_000);
        assert_eq!(schedule.take(hour), Some(200));
    }

    #[test]
    fn threads_share_the_starts_and_stop_at_the_number_asked_for() {
        let mut first = Schedule::new(0, 1e3, 0, 2, 3);
        let mut second = Schedule::new(0, 1e3, 1, 2, 2);
        let all = |schedule: &mut Schedule| -> Vec<u64> {
            std::iter::from_fn(|| schedule.take(u64::MAX)).collect()
        };
        assert_eq!(first.due(u64::MAX), 3);
        assert_eq!(all(&mut first), [0, 2_000_000, 4_000_000]);
        assert_eq!(all(&mut second), [1_000_000, 3_000_000]);
        assert_eq!((first.next(), first.due(u64::MAX)), (None, 0));
    }

    #[test]
    fn due_agrees_with_take_at_odd_rates() {
        for rate in [0.5, 3.0, 7.0, 333.3, 48_000.0, 1_234_567.0] {
            for now in [0, 1, 999_999, 1_000_000_000, 12_345_678_901] {
                let mut schedule = Schedule::new(0, rate, 1, 3, 100_000);
                let due = schedule.due(now);
                let mut taken = 0;
                while schedule.take(now).is_some() {
                    taken += 1;
                }
                assert_eq!(due, taken, "{rate} {now}");
            }
        }
    }
}
