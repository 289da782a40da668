//! The `trunkline` command.

mod args;
mod bench;
mod call;
mod demo;
mod endpoint;
mod exit;
mod files;
mod inspect;
mod refuse;
mod saber;
mod top;
mod values;

use std::future::Future;
use std::process::ExitCode;

use clap::Parser;

use args::{CommandLine, Verb};
use exit::Failure;

fn main() -> ExitCode {
    let done = match CommandLine::try_parse() {
        Ok(line) => run(line.verb),
        Err(error) => refuse::usage(&error).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|failure| failure.report())
}

fn run(verb: Verb) -> Result<ExitCode, Failure> {
    match verb {
        Verb::Demo(args) => block_on(demo::run(args)),
        Verb::Call(args) => block_on(call::run(args)).map(|()| ExitCode::SUCCESS),
        Verb::Bench(args) => block_on(bench::run(args)),
        Verb::Put(args) => block_on(files::put(args)).map(|()| ExitCode::SUCCESS),
        Verb::Get(args) => block_on(files::get(args)).map(|()| ExitCode::SUCCESS),
        Verb::Ls(args) => block_on(inspect::ls(args)).map(|()| ExitCode::SUCCESS),
        Verb::Describe(args) => block_on(inspect::describe(args)).map(|()| ExitCode::SUCCESS),
        Verb::Top(args) => block_on(top::run(args)).map(|()| ExitCode::SUCCESS),
        Verb::Template(args) => block_on(inspect::template(args)).map(|()| ExitCode::SUCCESS),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::transport(format!("cannot start a runtime: {error}")))?;
    runtime.block_on(work)
}
