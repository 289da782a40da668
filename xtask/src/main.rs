//! Developer commands.

use std::process::ExitCode;

mod go;
mod interop;

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("interop") => interop::run(args),
        _ => {
            eprintln!("usage: cargo xtask interop [--go-only] [--long] [--only NAME]");
            ExitCode::from(2)
        }
    }
}
