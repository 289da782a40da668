//! Runs named cases one after the other, each bounded in time, and prints a line for each as the Go clients do.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

/// No case may take longer, and none that waits for a limit of the Go side.
const CASE_LIMIT: Duration = Duration::from_secs(20);
const LONG_LIMIT: Duration = Duration::from_secs(40);

/// What a check gives; the text says what was wrong.
pub(crate) type Check<T = ()> = Result<T, String>;

/// A known deviation of the Go side.
pub(crate) struct Difference {
    pub(crate) id: &'static str,
    pub(crate) why: &'static str,
    /// What the failure of the case must say.
    pub(crate) seen: &'static str,
}

/// The cases that were asked for, and how many failed.
pub(crate) struct Suite {
    only: String,
    long: bool,
    ran: usize,
    failed: usize,
}

impl Suite {
    pub(crate) fn new(only: String, long: bool) -> Self {
        Self { only, long, ran: 0, failed: 0 }
    }

    fn wants(&mut self, name: &str) -> bool {
        let wants = name.starts_with(&self.only);
        self.ran += usize::from(wants);
        wants
    }

    fn print(&mut self, word: &str, name: &str, why: &str) {
        self.failed += usize::from(word == "FAIL");
        let why: String = why.replace('\n', "\\n").chars().take(300).collect();
        println!("{}", format!("{word} {name}: {why}").trim_end_matches(": "));
    }

    /// A case that the Go server has to pass.
    pub(crate) async fn case(&mut self, name: &str, run: impl Future<Output = Check>) {
        if self.wants(name) {
            match limited(CASE_LIMIT, run).await {
                Ok(()) => self.print("ok", name, ""),
                Err(why) => self.print("FAIL", name, &why),
            }
        }
    }

    /// As [`case`](Self::case), for what takes more than ten seconds.
    pub(crate) async fn long(&mut self, name: &str, run: impl Future<Output = Check>) {
        if self.long && self.wants(name) {
            match limited(LONG_LIMIT, run).await {
                Ok(()) => self.print("ok", name, ""),
                Err(why) => self.print("FAIL", name, &why),
            }
        }
    }

    /// A case that the Go server is known to fail. That it passes, or fails in another way, is a failure, so that
    /// the list cannot go stale.
    pub(crate) async fn differs(
        &mut self,
        name: &str,
        difference: &Difference,
        run: impl Future<Output = Check>,
    ) {
        if self.wants(name) {
            let Difference { id, why, seen } = difference;
            match limited(CASE_LIMIT, run).await {
                Ok(()) => self.print("FAIL", name, &format!("passed, though {id} is listed as a difference")),
                Err(got) if got.contains(seen) => {
                    self.print("expected", name, &format!("{id} {why} ({got})"));
                }
                Err(got) => self.print("FAIL", name, &got),
            }
        }
    }

    /// A case that would end the Go server.
    pub(crate) fn not_run(&mut self, name: &str, difference: &Difference) {
        if self.wants(name) {
            let Difference { id, why, .. } = difference;
            self.print("expected", name, &format!("{id} {why} (not run)"));
        }
    }

    pub(crate) fn close(mut self) -> ExitCode {
        if self.ran == 0 {
            let only = std::mem::take(&mut self.only);
            self.print("FAIL", &only, "no such case");
        }
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

async fn limited(limit: Duration, run: impl Future<Output = Check>) -> Check {
    let run = Box::pin(run);
    tokio::time::timeout(limit, run).await.unwrap_or_else(|_| Err(format!("not done after {limit:?}")))
}

/// Says of an error what it was that failed.
pub(crate) trait Told<T> {
    fn told(self, what: impl Display) -> Check<T>;
}

impl<T, E: Display> Told<T> for Result<T, E> {
    fn told(self, what: impl Display) -> Check<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}

/// Wants two values to be the same.
pub(crate) fn same<T: PartialEq + Debug>(what: impl Display, got: &T, expected: &T) -> Check {
    ensure(got == expected, || format!("{what}: got {got:?}, expected {expected:?}"))
}

/// Wants something to be so.
pub(crate) fn ensure(so: bool, why: impl FnOnce() -> String) -> Check {
    if so { Ok(()) } else { Err(why()) }
}

/// Asks until it is so; the limit only bounds a failure.
pub(crate) async fn poll<F: Future<Output = Check<bool>>>(
    limit: Duration,
    what: &str,
    so: impl Fn() -> F,
) -> Check {
    let end = Instant::now() + limit;
    while !so().await? {
        ensure(Instant::now() < end, || format!("{what}: not so after {limit:?}"))?;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
