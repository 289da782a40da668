//! Developer commands: `cargo xtask COMMAND`.

mod arrows;
mod bench;
mod counters;
mod crates;
mod go;
mod golden;
mod interop;
mod process;
mod test;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND
  test [--long]     all that has to be green: format, lints, tests, docs, interop, counters
  golden [--check]  copies the recorded bytes of the Go programs, or compares them
  interop [--go-only] [--long] [--only NAME]
                    the Go programs against ours, and ours against them
  bench [--quick]   Trunkline beside the limit and its peers, as ratios
  counters          instructions a request, by callgrind, each with a bound
  arrows            parts name only parts below them; files are short
  crates            how many crates the lean core builds";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match command.as_str() {
        "test" => test::run(rest),
        "golden" => golden::run(rest),
        "interop" => interop::run(rest.iter().cloned()),
        "bench" => bench::run(rest),
        "counters" => counters::run(rest),
        "arrows" => arrows::run(),
        "crates" => crates::run(),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
