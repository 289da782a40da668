//! `cargo xtask crates`: how many crates the lean core builds.

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

/// The most crates in the tree of the lean core: server, client, rpcx, JSON, MessagePack.
const MOST: usize = 60;

/// Counts, and fails over the limit.
pub(crate) fn run() -> ExitCode {
    let arguments =
        ["tree", "-p", "trunkline", "--no-default-features", "-e", "normal,build", "--prefix", "none"];
    let output = match Command::new("cargo").args(arguments).output() {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => {
            println!("cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
            return ExitCode::FAILURE;
        }
        Err(error) => {
            println!("cargo cannot be run: {error}");
            return ExitCode::FAILURE;
        }
    };
    let text = String::from_utf8_lossy(&output);
    let crates: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    println!("crates: the lean core builds {} crates; {MOST} are the limit", crates.len());
    if crates.len() <= MOST { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
