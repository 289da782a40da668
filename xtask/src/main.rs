//! Developer commands: `cargo xtask COMMAND`.

mod golden;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "golden" => golden::run(rest),
        _ => {
            eprintln!("usage: cargo xtask golden [--check]");
            ExitCode::from(2)
        }
    }
}
