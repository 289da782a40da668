//! Messages between two actors, and calls, in one process on one core: Trunkline beside ractor and kameo.
//!
//! ```text
//! bench-actors [--rounds N] [--messages N] [--only NAME] [--calls]      the three in turn; medians of N rounds (5)
//! bench-actors timers [--timers N]      what timers cost, and how late they are; Trunkline alone
//! bench-actors idle [--services N]      what an idle service takes; Trunkline alone
//! ```
//!
//! All do the same: one actor sends the other bursts of messages, which the other counts, and the last of a burst is
//! answered by a message that starts the next one. So no mailbox has more than a burst in it, whatever its bound, and a
//! burst of one shows what it costs to wake a service. A call is awaited before the next one;
//! Trunkline's always have a timeout, the others' where it is said. The runtime has one thread.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a benchmark that cannot run says so"
)]

mod figures;
mod kameo_actors;
mod ractor_actors;
mod services;

use std::future::Future;
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy)]
struct Plan {
    messages: u64,
    burst: u64,
}

/// One framework's ways to do it.
struct Runner {
    name: &'static str,
    notify: fn(Plan) -> Duration,
    /// So many calls; with a timeout each, or as they are usually made.
    calls: fn(u64, bool) -> Duration,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: u64| {
        let at = args.iter().position(|arg| arg == name);
        at.map_or(usual, |at| args[at + 1].parse().expect("a number"))
    };
    match args.get(1).map(String::as_str) {
        // Each in a process of its own: memory that one gives back would hide what the next takes.
        Some("idle") => return figures::idle(number("--services", 100_000)),
        Some("timers") => return figures::timers(number("--timers", 1_000_000)),
        _ => {}
    }
    let (rounds, messages) = (number("--rounds", 5), number("--messages", 2_000_000));
    let only = args.iter().position(|arg| arg == "--only").map(|at| args[at + 1].clone());
    let runners = [
        Runner { name: "trunkline", notify: services::notify, calls: services::calls },
        Runner { name: "ractor", notify: ractor_actors::notify, calls: ractor_actors::calls },
        Runner { name: "kameo", notify: kameo_actors::notify, calls: kameo_actors::calls },
    ];
    let runners: Vec<_> =
        runners.into_iter().filter(|runner| only.as_ref().is_none_or(|only| only == runner.name)).collect();
    println!("{:28}{}", "", runners.iter().map(|runner| format!("{:>14}", runner.name)).collect::<String>());
    let bursts: &[u64] = if args.iter().any(|arg| arg == "--calls") { &[] } else { &[512, 16, 1] };
    for &burst in bursts {
        let plan = Plan { messages, burst };
        let figures =
            in_turn(&runners, rounds, |runner| messages as f64 / (runner.notify)(plan).as_secs_f64() / 1e6);
        row(&format!("notify, bursts of {burst}, M/s"), &figures);
    }
    let calls = messages / 4;
    for timeout in [true, false] {
        let call = |runner: &Runner| (runner.calls)(calls, timeout).as_secs_f64() * 1e9 / calls as f64;
        let figures = in_turn(&runners, rounds, call);
        row(if timeout { "call with a timeout, ns" } else { "call as usual, ns" }, &figures);
    }
}

/// The medians of all, each measured once a round, the first one moved on.
fn in_turn(runners: &[Runner], rounds: u64, measure: impl Fn(&Runner) -> f64) -> Vec<f64> {
    let mut all = vec![Vec::new(); runners.len()];
    for round in 0..rounds as usize {
        for place in 0..runners.len() {
            let index = (round + place) % runners.len();
            all[index].push(measure(&runners[index]));
        }
    }
    all.into_iter()
        .map(|mut figures| {
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        })
        .collect()
}

fn row(name: &str, figures: &[f64]) {
    println!("{name:28}{}", figures.iter().map(|figure| format!("{figure:14.2}")).collect::<String>());
}

/// Runs on a runtime with one thread, and says how long the processor worked: other programs do not count so.
fn on_one_thread<F: Future<Output = Begun> + Send + 'static>(future: F) -> Duration {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A task, as callers are: the future of `block_on` itself looks at the sockets at each turn.
    let begun = runtime.block_on(async { tokio::spawn(future).await.unwrap() });
    worked() - begun.0
}

/// How long the processor had worked when the load began.
struct Begun(Duration);

impl Begun {
    fn now() -> Self {
        Self(worked())
    }
}

/// How long the processor has worked for this thread.
fn worked() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(line.split_whitespace().next().unwrap().parse().unwrap())
}
