//! `cargo xtask interop`: the Go clients against `trunkline demo`; `trunkline call` and the library against the Go servers.
//!
//! With `--go-only` the Go clients run against the Go servers, which checks the suite itself and needs no Rust build.
//! `--only NAME` runs the cases whose name begins with NAME, `--long` those too that wait more than ten seconds.

mod calls;
mod saber;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

use crate::go::{Go, Programs};
use crate::process::{Server, run_limited};

/// The token of the servers that ask for one.
const TOKEN: &str = "interop-token";

/// How the demo is started.
const DEMO: [&str; 4] = ["demo", "--listen", "127.0.0.1:0", "--no-calls"];
/// The most data of a frame of IIP, as a limit of bodies.
const MOST_DATA: &str = "16777216";

struct Options {
    go_only: bool,
    long: bool,
    only: Option<String>,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Options> {
        let mut options = Options { go_only: false, long: false, only: None };
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--go-only" => options.go_only = true,
                "--long" => options.long = true,
                "--only" => options.only = Some(args.next()?),
                _ => return None,
            }
        }
        Some(options)
    }

    fn wants(&self, case: &str) -> bool {
        self.only.as_ref().is_none_or(|only| case.starts_with(only.as_str()))
    }
}

/// How one case ended.
enum Outcome {
    Passed,
    /// The Go side differs in the way that is listed, with the id of the difference.
    Expected(String),
    Failed(String),
    Skipped(String),
}

/// All results so far, by pair of caller and server.
#[derive(Default)]
struct Report {
    pairs: BTreeMap<String, [usize; 4]>,
}

impl Report {
    fn add(&mut self, pair: &str, case: &str, outcome: &Outcome) {
        let (at, word, why) = match outcome {
            Outcome::Passed => (0, "ok", ""),
            Outcome::Expected(why) => (1, "expected", why.as_str()),
            Outcome::Failed(why) => (2, "FAIL", why.as_str()),
            Outcome::Skipped(why) => (3, "SKIPPED", why.as_str()),
        };
        println!("{}", format!("{word:<8}  {pair}  {case}  {why}").trim_end());
        self.pairs.entry(pair.to_owned()).or_default()[at] += 1;
    }

    fn check(&mut self, pair: &str, case: &str, result: Result<(), String>) {
        self.add(pair, case, &result.map_or_else(Outcome::Failed, |()| Outcome::Passed));
    }

    /// Prints the table and the closing line. An expected difference of the Go side counts as passed.
    fn close(&self) -> ExitCode {
        let mut sum = [0; 4];
        println!("\n{:<48}{:>8}{:>10}{:>8}{:>9}", "caller -> server", "ok", "expected", "failed", "skipped");
        for (pair, n) in &self.pairs {
            println!("{pair:<48}{:>8}{:>10}{:>8}{:>9}", n[0], n[1], n[2], n[3]);
            for (total, n) in sum.iter_mut().zip(n) {
                *total += n;
            }
        }
        println!("{} passed, {} failed, {} skipped", sum[0] + sum[1], sum[2], sum[3]);
        if sum[2] == 0 && sum[0] + sum[1] > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs the suite; the arguments are those behind `interop`.
pub(crate) fn run(args: impl Iterator<Item = String>) -> ExitCode {
    let Some(options) = Options::parse(args) else {
        eprintln!("usage: cargo xtask interop [--go-only] [--long] [--only NAME]");
        return ExitCode::from(2);
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    match suite(&options, &root, &target) {
        Ok(Some(report)) => report.close(),
        Ok(None) => {
            println!("0 passed, 0 failed, 1 skipped");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("interop: {why}");
            ExitCode::FAILURE
        }
    }
}

fn suite(options: &Options, root: &Path, target: &Path) -> Result<Option<Report>, String> {
    let Some(go) = Go::find(root)? else { return Ok(None) };
    let out = target.join("interop");
    let programs = go.build(root, &out)?;
    let mut suite = Suite { options, programs: &programs, logs: &out, report: Report::default() };
    if options.go_only {
        suite.go_only()?;
    } else {
        let ours = build_ours(root, target)?;
        suite.go_clients(&ours.trunkline);
        suite.iip_clients(&ours)?;
        suite.netrpc_clients(&ours)?;
        suite.go_servers(&ours)?;
        suite.gob(&ours.driver);
        suite.saber(&ours);
    }
    Ok(Some(suite.report))
}

/// Our programs: the command, and the one that calls Go servers through the library.
struct Ours {
    trunkline: PathBuf,
    driver: PathBuf,
}

fn build_ours(root: &Path, target: &Path) -> Result<Ours, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "trunkline-cli", "-p", "trunkline-interop"])
        .current_dir(root)
        .status()
        .map_err(|e| format!("cargo build: {e}"))?;
    if !status.success() {
        return Err("cargo build --release -p trunkline-cli -p trunkline-interop failed".to_owned());
    }
    let program = |name: &str| target.join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    Ok(Ours { trunkline: program("trunkline"), driver: program("trunkline-interop") })
}

struct Suite<'a> {
    options: &'a Options,
    programs: &'a Programs,
    logs: &'a Path,
    report: Report,
}

impl Suite<'_> {
    fn go_only(&mut self) -> Result<(), String> {
        let p = self.programs;
        let rpcx = Server::start(&p.rpcx_server, &[], self.logs)?;
        self.go_client("rpcx -> Go rpcx", &p.rpcx_client, &rpcx, &["-peer", "go"]);
        self.stop("rpcx -> Go rpcx", rpcx);
        let asks = Server::start(&p.rpcx_server, &["-token", TOKEN], self.logs)?;
        self.go_client("rpcx -> Go rpcx (token)", &p.rpcx_client, &asks, &["-peer", "go", "-token", TOKEN]);
        self.stop("rpcx -> Go rpcx (token)", asks);
        let easymicro = Server::start(&p.easymicro_server, &[], self.logs)?;
        self.go_client("easymicro -> Go easymicro", &p.easymicro_client, &easymicro, &["-peer", "go"]);
        self.stop("easymicro -> Go easymicro", easymicro);
        let files = self.folder("go-files")?;
        let iip = Server::start(&p.iip_server, &["-files", &files], self.logs)?;
        self.go_client("iip -> Go iip", &p.iip_client, &iip, &["-peer", "go"]);
        self.go_client(
            "iip -> Go iip (16 MiB)",
            &p.iip_client,
            &iip,
            &["-peer", "go", "-body-limit", MOST_DATA],
        );
        self.stop("iip -> Go iip", iip);
        let netrpc = Server::start(&p.netrpc_server, &[], self.logs)?;
        let zrpc = netrpc.other("zrpc").unwrap_or_default().to_owned();
        self.go_client(
            "netrpc -> Go netrpc",
            &p.netrpc_client,
            &netrpc,
            &["-peer", "go", "-zrpc-addr", &zrpc],
        );
        self.stop("netrpc -> Go netrpc", netrpc);
        Ok(())
    }

    /// The Go clients of net/rpc and zrpc against the demo, and against our own server for what that does not show.
    fn netrpc_clients(&mut self, ours: &Ours) -> Result<(), String> {
        let p = self.programs;
        let demo = Server::start(&ours.trunkline, &DEMO, self.logs)?;
        let own = Server::start(&ours.driver, &["serve"], self.logs)?;
        self.go_client("netrpc -> trunkline", &p.netrpc_client, &demo, &["-own-addr", own.addr()]);
        self.stop("netrpc -> trunkline", own);
        self.stop("netrpc -> trunkline", demo);
        Ok(())
    }

    /// An empty folder beside the logs.
    fn folder(&self, name: &str) -> Result<String, String> {
        let path = self.logs.join(name);
        let told = |e| format!("{}: {e}", path.display());
        if path.exists() {
            fs::remove_dir_all(&path).map_err(told)?;
        }
        fs::create_dir_all(&path).map_err(told)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The Go client of IIP against the demo, with its files, and against our own server for what that does not show.
    fn iip_clients(&mut self, ours: &Ours) -> Result<(), String> {
        let p = self.programs;
        let files = self.folder("files")?;
        let demo = Server::start(&ours.trunkline, &[&DEMO[..], &["--files", &files]].concat(), self.logs)?;
        let own = Server::start(&ours.driver, &["serve"], self.logs)?;
        self.go_client("iip -> trunkline", &p.iip_client, &demo, &["-own-addr", own.addr()]);
        self.stop("iip -> trunkline", own);
        self.stop("iip -> trunkline", demo);
        let large = [&DEMO[..], &["--body-limit", MOST_DATA]].concat();
        let demo = Server::start(&ours.trunkline, &large, self.logs)?;
        self.go_client("iip -> trunkline (16 MiB)", &p.iip_client, &demo, &["-body-limit", MOST_DATA]);
        self.stop("iip -> trunkline (16 MiB)", demo);
        Ok(())
    }

    /// The Go clients against our server. Where it does not come up that is one failure, and the rest goes on.
    fn go_clients(&mut self, trunkline: &Path) {
        let p = self.programs;
        match Server::start(trunkline, &DEMO, self.logs) {
            Ok(demo) => {
                self.go_client("rpcx -> trunkline", &p.rpcx_client, &demo, &[]);
                self.go_client("easymicro -> trunkline", &p.easymicro_client, &demo, &[]);
                self.stop("rpcx -> trunkline", demo);
            }
            Err(why) => self.report.add("rpcx -> trunkline", "start", &Outcome::Failed(why)),
        }
        match Server::start(trunkline, &[&DEMO[..], &["--token", TOKEN]].concat(), self.logs) {
            Ok(demo) => {
                self.go_client("rpcx -> trunkline (token)", &p.rpcx_client, &demo, &["-token", TOKEN]);
                self.stop("rpcx -> trunkline (token)", demo);
            }
            Err(why) => self.report.add("rpcx -> trunkline (token)", "start", &Outcome::Failed(why)),
        }
    }

    /// The command and the library against the Go servers.
    fn go_servers(&mut self, ours: &Ours) -> Result<(), String> {
        let p = self.programs;
        let rpcx = Server::start(&p.rpcx_server, &[], self.logs)?;
        calls::rpcx(&ours.trunkline, &rpcx, self.logs, self.options, &mut self.report);
        self.library("rpcx", &ours.driver, &rpcx, &p.rpcx_server, &[]);
        self.stop("trunkline -> Go rpcx", rpcx);
        let asks = Server::start(&p.rpcx_server, &["-token", TOKEN], self.logs)?;
        calls::token(&ours.trunkline, &asks, self.options, &mut self.report);
        self.library("rpcx", &ours.driver, &asks, &p.rpcx_server, &["-token", TOKEN]);
        self.stop("trunkline -> Go rpcx", asks);
        let easymicro = Server::start(&p.easymicro_server, &[], self.logs)?;
        calls::easymicro(&ours.trunkline, &easymicro, self.options, &mut self.report);
        self.library("easymicro", &ours.driver, &easymicro, &p.easymicro_server, &[]);
        self.stop("trunkline -> Go easymicro", easymicro);
        let files = self.folder("go-files")?;
        let iip = Server::start(&p.iip_server, &["-files", &files], self.logs)?;
        calls::iip(&ours.trunkline, &iip, Path::new(&files), self.options, &mut self.report);
        let frames = iip.other("frames").unwrap_or_default().to_owned();
        self.library("iip", &ours.driver, &iip, &p.iip_server, &["-frames", &frames]);
        let gateway = Server::start(&ours.driver, &["gateway", "-addr", iip.addr()], self.logs)?;
        let pair = "HTTP -> trunkline gateway -> Go iip";
        self.go_client(pair, &p.iip_client, &iip, &["-web", gateway.addr()]);
        self.stop(pair, gateway);
        self.stop("trunkline -> Go iip", iip);
        let netrpc = Server::start(&p.netrpc_server, &[], self.logs)?;
        calls::netrpc(&ours.trunkline, &netrpc, self.options, &mut self.report);
        let other = |name| netrpc.other(name).unwrap_or_default().to_owned();
        let (connect, zrpc) = (other("connect"), other("zrpc"));
        let more = ["-connect", &connect, "-zrpc", &zrpc];
        self.library("netrpc", &ours.driver, &netrpc, &p.netrpc_server, &more);
        self.stop("trunkline -> Go netrpc", netrpc);
        Ok(())
    }

    /// Values of gob between the library and Go, without a connection.
    fn gob(&mut self, driver: &Path) {
        let mut command = Command::new(driver);
        command.args(["gob", "-server"]).arg(&self.programs.gob);
        self.client("trunkline library <-> Go encoding/gob", command);
    }

    /// A cluster of two Go nodes and two of ours, and the stress test.
    fn saber(&mut self, ours: &Ours) {
        let mut command = Command::new(&ours.driver);
        command.args(["saber", "-server"]).arg(&self.programs.saber_node);
        self.client("saber: two Go nodes and two of ours", command);
        saber::stress(&ours.trunkline, self.programs, self.logs, self.options, &mut self.report);
    }

    /// The library against a Go server; `program` is for the cases that kill one.
    fn library(&mut self, peer: &str, driver: &Path, server: &Server, program: &Path, args: &[&str]) {
        let mut command = Command::new(driver);
        command.args([peer, "-addr", server.addr(), "-server"]).arg(program).args(args);
        self.client(&format!("trunkline library -> Go {peer}"), command);
    }

    /// A Go client against a server.
    fn go_client(&mut self, pair: &str, client: &Path, server: &Server, args: &[&str]) {
        let mut command = Command::new(client);
        command.args(["-addr", server.addr()]).args(args);
        for (flag, name) in [("-connect-addr", "connect"), ("-ws-addr", "ws")] {
            if let Some(addr) =
                server.other(name).filter(|_| client == self.programs.rpcx_client || name != "ws")
            {
                command.args([flag, addr]);
            }
        }
        self.client(pair, command);
    }

    /// Runs a client and takes its lines over. A client that ends without a verdict is a failure of its own.
    fn client(&mut self, pair: &str, mut command: Command) {
        if self.options.long {
            command.arg("-long");
        }
        if let Some(only) = &self.options.only {
            command.args(["-case", only]);
        }
        let output = match run_limited(&mut command) {
            Ok(output) => output,
            Err(why) => return self.report.add(pair, "program", &Outcome::Failed(why)),
        };
        let (mut lines, mut failed) = (0, false);
        for line in output.stdout.lines() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (case, why) = rest.split_once(": ").unwrap_or((rest, ""));
            let outcome = match word {
                "ok" => Outcome::Passed,
                "expected" => Outcome::Expected(why.to_owned()),
                // Another client of the suite may have the case that was asked for.
                "FAIL" if why == "no such case" => Outcome::Skipped(why.to_owned()),
                _ => Outcome::Failed(if word == "FAIL" { why.to_owned() } else { line.to_owned() }),
            };
            lines += 1;
            failed |= matches!(outcome, Outcome::Failed(_) | Outcome::Skipped(_));
            self.report.add(pair, case, &outcome);
        }
        if lines == 0 || (output.code != Some(0)) != failed {
            let why =
                format!("ended with code {:?} after {lines} lines: {}", output.code, output.stderr.trim());
            self.report.add(pair, "program", &Outcome::Failed(why));
        }
    }

    fn stop(&mut self, pair: &str, server: Server) {
        if let Err(why) = server.stop() {
            self.report.add(pair, "stop", &Outcome::Failed(why));
        }
    }
}
