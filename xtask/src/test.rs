//! `cargo xtask test`: all that has to be green, one step after the other, with a table at the end.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// A step: its name, the program with its arguments, and variables of its environment.
struct Step {
    name: &'static str,
    command: Vec<&'static str>,
    environment: &'static [(&'static str, &'static str)],
}

fn step(name: &'static str, command: &str) -> Step {
    let command: &'static str = command.to_owned().leak();
    Step { name, command: command.split(' ').collect(), environment: &[] }
}

/// The feature sets of the library that are linted: the lean core, each feature alone, all of them.
const FEATURES: [&str; 13] = [
    "",
    "http",
    "netrpc",
    "protobuf",
    "thrift",
    "gzip",
    "tower",
    "expressions",
    "file",
    "gateway",
    "node",
    "node,config",
    "http,netrpc,protobuf,thrift,gzip,tower,expressions,file,gateway,node,config",
];

/// The quick tier; with `--long` what takes minutes, too.
fn steps(long: bool) -> Vec<Step> {
    let mut steps = vec![
        step("format", "cargo fmt --all --check"),
        step("golden", "cargo xtask golden --check"),
        step("arrows", "cargo xtask arrows"),
        step("lint", "cargo clippy --workspace --all-targets -- -D warnings"),
    ];
    for features in FEATURES {
        let command =
            format!("cargo clippy -p trunkline --no-default-features --features={features} -- -D warnings");
        steps.push(step("lint features", &command));
    }
    steps.push(step(
        "test",
        "cargo test --workspace --features trunkline/tower,trunkline/expressions,trunkline/file,trunkline/gateway,trunkline/config --no-fail-fast",
    ));
    steps.push(Step {
        environment: &[("RUSTDOCFLAGS", "-D warnings")],
        ..step("docs", "cargo doc --workspace --no-deps")
    });
    steps.push(Step {
        // Another configuration of every crate: in a folder of its own, or each run would build both again.
        environment: &[("RUSTFLAGS", "--cfg trunkline_loom"), ("CARGO_TARGET_DIR", "target/loom")],
        ..step("loom", "cargo test -p trunkline --no-default-features --features=node --lib loom_")
    });
    steps.push(step("crates", "cargo xtask crates"));
    steps.push(step("interop", "cargo xtask interop"));
    steps.push(step("counters", "cargo xtask counters"));
    if long {
        steps.push(step("test long", "cargo test --workspace --release -- --ignored"));
        steps.push(step("interop long", "cargo xtask interop --long"));
    }
    steps
}

/// Runs the steps.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let long = arguments.iter().any(|argument| argument == "--long");
    let mut results: Vec<(&str, bool, Duration)> = Vec::new();
    for step in steps(long) {
        println!("\n==> {}: {}", step.name, step.command.join(" "));
        let begun = Instant::now();
        let ok = run_step(&step);
        results.push((step.name, ok, begun.elapsed()));
        if !ok {
            println!("==> {} FAILED", step.name);
        }
    }
    println!();
    for (name, ok, time) in &results {
        println!("{:<14} {:<6} {:>6.1} s", name, if *ok { "ok" } else { "FAILED" }, time.as_secs_f64());
    }
    let passed = results.iter().filter(|(_, ok, _)| *ok).count();
    let failed = results.len() - passed;
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_step(step: &Step) -> bool {
    let Some((program, arguments)) = step.command.split_first() else { return false };
    let status = Command::new(program).args(arguments).envs(step.environment.iter().copied()).status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            println!("{program} cannot be run: {error}");
            false
        }
    }
}
