//! `cargo xtask bench`: Trunkline, the limit and the peers side by side in one run, as ratios.
//!
//! Server and client are processes of their own, each on a core. In a round every system runs once, in an order that
//! moves on from round to round; a figure is the median over the rounds of the ratio to the limit in the same round,
//! since the speed of the machine changes from one second to the next. A run in which neither side had 85 % of its core
//! is repeated: somebody else had it.

mod build;
mod chart;
mod files;
mod plan;
mod report;
mod run;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask bench [--quick] [--only TEXT] [--rounds N] [--seconds S] [--mebibytes N] [--out DIR]
  --quick     Trunkline and the limit alone, one size, under two minutes
  --mebibytes size of the file that is sent and fetched; default 1024
  --seconds   how long a run lasts; default 0.4, with --quick 0.25
  --only      tables and systems whose name has this text (the limit always runs)
  --out       where the figures go as JSON and SVG; default target/bench";

/// What the command line says.
pub(crate) struct Options {
    quick: bool,
    only: Option<String>,
    rounds: usize,
    seconds: f64,
    mebibytes: usize,
    out: PathBuf,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let out = target().0.join("bench");
        let mut options = Self { quick: false, only: None, rounds: 5, seconds: 0.0, mebibytes: 1024, out };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--only" => options.only = Some(value()?.clone()),
                "--rounds" => options.rounds = number(value()?)?,
                "--mebibytes" => options.mebibytes = number(value()?)?,
                "--seconds" => options.seconds = number(value()?)?,
                "--out" => options.out = PathBuf::from(value()?),
                other => return Err(format!("{other}: not known")),
            }
        }
        if options.seconds == 0.0 {
            options.seconds = if options.quick { 0.25 } else { 0.4 };
        }
        Ok(options)
    }

    /// Whether `--only` lets this through.
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| name.contains(only.as_str()))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text}: not a number"))
}

/// Where the programs are built: those of the project, and those of `bench/`.
fn target() -> (PathBuf, PathBuf) {
    match std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(target) => (target.clone(), target.join("bench")),
        None => (root().join("target"), root().join("bench/target")),
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs the command.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match bench(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(options: &Options) -> Result<(), String> {
    let programs = build::build(options)?;
    let mut tables = Vec::new();
    let mut plans: VecDeque<plan::Plan> = plan::plans(options, &programs).into();
    while let Some(plan) = plans.pop_front() {
        println!("\n{}", plan.name);
        let table = run::measure(&plan, options)?;
        if plan.name == plan::SERVER_ALONE
            && let Some(lower) = table.lowest(plan::MANY, &["limit", plan::OWNED])
        {
            plans.push_back(plan::open_loop(&programs, lower / 2.0));
        }
        tables.push(table);
    }
    let files = if options.wants(files::NAME) { files::measure(options, &programs)? } else { Vec::new() };
    std::fs::create_dir_all(&options.out).map_err(|error| format!("{}: {error}", options.out.display()))?;
    for (name, content) in [("bench.json", report::json(&tables, files)), ("bench.svg", chart::svg(&tables))]
    {
        let path = options.out.join(name);
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
