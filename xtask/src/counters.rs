//! `cargo xtask counters`: instructions a request, by callgrind, each with a bound.
//!
//! The programs are those that users run, built in release. Each case runs twice, with few and with many calls: the
//! difference of the instructions by the difference of the calls is what one call costs, without what the start and
//! the end of the process cost. Instructions have hardly any noise (a percent at most, on a busy machine, too), so a
//! change that makes the path longer fails here. Only what runs in the process is counted, not the kernel: reads,
//! writes, wake-ups and allocations have their bounds in `crates/trunkline/src/server/counters_tests.rs`.

mod callgrind;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use callgrind::{Programs, Run};

const USAGE: &str = "usage: cargo xtask counters [--only TEXT]
  --only      cases whose name has this text";

/// The side that is counted; the other one is the limit's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Server,
    Client,
}

/// A load, and the most instructions that a request of it may cost.
struct Case {
    name: &'static str,
    side: Side,
    /// As `Service.Method`, or as a path. The client's program calls `Echo.Owned`.
    method: &'static str,
    connections: usize,
    in_flight: usize,
    /// A file below the project whose bytes are the body, in protobuf; else it is 581 bytes without a format.
    body: Option<&'static str>,
    /// The client makes its calls as batches.
    batches: bool,
    /// The calls go over IIP, on so many channels of each connection.
    channels: Option<usize>,
    /// The calls go over Go's net/rpc with this body, in JSON, and are made by `trunkline bench`.
    netrpc: Option<&'static str>,
    /// The calls go over saber's wire, from so many callers in flight that share the connection, and are made by
    /// `trunkline bench`.
    saber: bool,
    /// How many calls the two runs make.
    calls: [usize; 2],
    /// Instructions a request.
    bound: f64,
}

impl Case {
    const fn of(name: &'static str, side: Side, method: &'static str, bound: f64) -> Self {
        let calls = [20_000, 220_000];
        Self {
            name,
            side,
            method,
            connections: 10,
            in_flight: 100,
            body: None,
            batches: false,
            channels: None,
            netrpc: None,
            saber: false,
            calls,
            bound,
        }
    }
}

/// Every bound is what was measured and 8 % more: what another compiler or another C library makes of the same code.
///
/// Where a case is over its bound, find what grew (CONTRIBUTING.md says how) and make it shorter. A bound is raised
/// only for something that is worth its price, with the reason in the message of the commit; it is lowered whenever the
/// path has become shorter by more than 8 %, so that what was won is kept: `cargo xtask counters` says so.
const CASES: [Case; 10] = [
    Case::of("server Echo.Owned 10x100", Side::Server, "Echo.Owned", 1_230.0),
    Case::of("server Echo.Echo 10x100", Side::Server, "Echo.Echo", 766.0),
    Case {
        body: Some("crates/wire/testdata/say-request.bin"),
        ..Case::of("server Hello.Say 10x100", Side::Server, "Hello.Say", 16_950.0)
    },
    Case {
        connections: 100,
        in_flight: 1,
        ..Case::of("server Echo.Owned 100x1", Side::Server, "Echo.Owned", 3_281.0)
    },
    Case {
        channels: Some(4),
        ..Case::of("server IIP /Echo/Owned 10x4x25", Side::Server, "/Echo/Owned", 1_614.0)
    },
    Case {
        netrpc: Some(ARGS),
        ..Case::of("server net/rpc Arith.Mul 10x100", Side::Server, "Arith.Mul", 2_050.0)
    },
    Case {
        netrpc: Some(ARGS),
        connections: 100,
        in_flight: 1,
        ..Case::of("server net/rpc Arith.Mul 100x1", Side::Server, "Arith.Mul", 4_292.0)
    },
    Case {
        saber: true,
        connections: 1,
        in_flight: 200,
        ..Case::of("server saber lobby.ReqLogin 1x200", Side::Server, "lobby.ReqLogin", 4_750.0)
    },
    Case::of("client Echo.Owned 10x100", Side::Client, "Echo.Owned", 1_885.0),
    Case { batches: true, ..Case::of("client in batches 10x100", Side::Client, "Echo.Owned", 935.0) },
];

/// The body of a call with two numbers.
const ARGS: &str = r#"{"A":6,"B":7}"#;

/// How far below its bound a figure may be before the bound is to be lowered.
const SLACK: f64 = 0.16;

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let only = match arguments {
        [] => "",
        [flag, text] if flag == "--only" => text.as_str(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !callgrind::is_there() {
        if env::var("CI").is_ok_and(|ci| ci == "true") {
            eprintln!("counters: valgrind is not installed, and CI=true lets nothing be skipped");
            return ExitCode::FAILURE;
        }
        println!("SKIPPED: valgrind is not installed, so that no instructions are counted");
        return ExitCode::SUCCESS;
    }
    match count(only) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("counters: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Counts all cases whose name has the text; whether all are within their bounds.
fn count(only: &str) -> Result<bool, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.name.contains(only)).collect();
    if cases.is_empty() {
        return Err(format!("no case has {only:?} in its name"));
    }
    let (programs, out) = build(&root)?;
    println!("{:<32}{:>14}{:>10}", "instructions a request", "", "bound");
    let mut over = 0;
    for case in cases {
        let cost = cost(case, &programs, &root, &out)?;
        let verdict = verdict(cost, case.bound);
        println!("{:<32}{cost:>14.1}{:>10}  {verdict}", case.name, case.bound);
        over += usize::from(verdict == OVER);
    }
    println!("callgrind's files: {}", out.display());
    if over > 0 {
        println!(
            "counters: {over} over the bound; CONTRIBUTING.md, \"What a request costs\", says how to find why"
        );
    }
    Ok(over == 0)
}

const OVER: &str = "OVER";

fn verdict(cost: f64, bound: f64) -> &'static str {
    if cost > bound {
        OVER
    } else if cost < bound * (1.0 - SLACK) {
        "ok; the bound should be lowered"
    } else {
        "ok"
    }
}

/// Instructions of one call.
fn cost(case: &Case, programs: &Programs, root: &Path, out: &Path) -> Result<f64, String> {
    let [few, many] = case.calls;
    let few = callgrind::run(case, few, programs, root, out)?;
    let many = callgrind::run(case, many, programs, root, out)?;
    a_call(few, many).ok_or_else(|| format!("{}: more calls did not cost more", case.name))
}

fn a_call(few: Run, many: Run) -> Option<f64> {
    let instructions = many.instructions.checked_sub(few.instructions)?;
    let calls = many.calls.checked_sub(few.calls).filter(|calls| *calls > 0)?;
    Some(instructions as f64 / calls as f64)
}

/// Builds what runs, in release, as users do; and makes the folder for callgrind's files.
fn build(root: &Path) -> Result<(Programs, PathBuf), String> {
    let bench = root.join("bench");
    let (target, bench_target) = match env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(target) => (target.clone(), target.join("bench")),
        None => (root.join("target"), bench.join("target")),
    };
    cargo(root, &target, &["-p", "trunkline-cli"])?;
    cargo(&bench, &bench_target, &["-p", "limit", "-p", "bench-trunkline"])?;
    let programs = Programs {
        trunkline: target.join("release/trunkline"),
        limit: bench_target.join("release/limit"),
        client: bench_target.join("release/peer-trunkline"),
    };
    let out = target.join("counters");
    std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    Ok((programs, out))
}

fn cargo(folder: &Path, target: &Path, packages: &[&str]) -> Result<(), String> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "--locked", "--target-dir"])
        .arg(target)
        .args(packages)
        .current_dir(folder)
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo build {} failed", packages.join(" "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_costs_what_more_calls_cost_more() {
        let run = |instructions, calls| Run { instructions, calls };
        assert_eq!(a_call(run(3_000, 10), run(13_000, 20)), Some(1_000.0));
        assert_eq!(a_call(run(3_000, 10), run(13_000, 10)), None);
        assert_eq!(a_call(run(3_000, 10), run(2_000, 20)), None);
    }

    #[test]
    fn a_figure_over_its_bound_fails_and_one_far_below_asks_for_another() {
        assert_eq!(verdict(101.0, 100.0), OVER);
        assert_eq!(verdict(92.0, 100.0), "ok");
        assert_ne!(verdict(80.0, 100.0), "ok");
        assert_ne!(verdict(80.0, 100.0), OVER);
    }
}
