//! The demo as a process: its log, its signals, its limits.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing_subscriber::filter::LevelFilter;
use trunkline::server::ServerHandle;

use crate::exit::Failure;
use crate::refuse::no_color;

/// The most connections, where the process may open as many files.
const MOST_CONNECTIONS: usize = 65_536;
/// Files that are not connections: listeners, the runtimes' own, the log.
const OTHER_FILES: usize = 64;

/// Logs to stderr, from `info` up or as `RUST_LOG` says with one word (`debug`, `warn`, `off` …).
pub(crate) fn log_to_stderr() {
    let asked = std::env::var("RUST_LOG").ok().and_then(|level| level.parse::<LevelFilter>().ok());
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color())
        .with_max_level(asked.unwrap_or(LevelFilter::INFO))
        .try_init();
}

/// One thread a core.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the limit of open files as far as it goes; how many connections that admits.
pub(crate) fn most_connections() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let files = if raised { maximum } else { current };
    let files = files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    files.saturating_sub(OTHER_FILES).clamp(1, MOST_CONNECTIONS)
}

/// INT and TERM.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From here on the two no longer end the process by themselves.
    pub(crate) fn install() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| Failure::transport(format!("cannot listen for signals: {error}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The next of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for a server that drains and says what for. `None` when a signal cuts it short.
pub(crate) async fn wait_for_end<T>(
    handle: &ServerHandle,
    running: &mut JoinHandle<T>,
    signals: &mut Signals,
) -> Option<Result<T, tokio::task::JoinError>> {
    let mut said = None;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    // What can end at once is let go without a word.
    look.reset_after(Duration::from_millis(50));
    loop {
        tokio::select! {
            biased;
            result = &mut *running => return Some(result),
            () = signals.next() => {
                let _ = writeln!(io::stderr(), "trunkline: stopped at once");
                return None;
            }
            _ = look.tick() => {
                let report = handle.report();
                if said.replace(report) != Some(report) {
                    let (calls, connections) = (report.calls, report.connections);
                    let _ = writeln!(
                        io::stderr(),
                        "trunkline: stopping; waits for {calls} calls on {connections} connections \
                         (once more to stop at once)"
                    );
                }
            }
        }
    }
}
