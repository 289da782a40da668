//! One run of one case under callgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Case, Side};
use crate::process::{Output, Server, run_limited};

/// The programs that take part.
pub(super) struct Programs {
    /// The command: `trunkline demo` is the server that is counted.
    pub(super) trunkline: PathBuf,
    /// The other side.
    pub(super) limit: PathBuf,
    /// The client that is counted: the library with a task a call.
    pub(super) client: PathBuf,
}

/// What one run took.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) instructions: u64,
    pub(super) calls: u64,
}

/// Whether valgrind is installed.
pub(super) fn is_there() -> bool {
    Command::new("valgrind").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Makes so many calls.
pub(super) fn run(
    case: &Case,
    calls: usize,
    programs: &Programs,
    root: &Path,
    out: &Path,
) -> Result<Run, String> {
    let name: String = case.name.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).collect();
    let file = out.join(format!("{name}-{calls}.callgrind"));
    let callgrind = ["--tool=callgrind", &format!("--callgrind-out-file={}", file.display())];
    // What an earlier run left is not taken for what this one counted.
    let _ = std::fs::remove_file(&file);
    let arguments = load(case, calls, root);
    let output = match case.side {
        Side::Server => {
            let demo = ["demo", "--threads", "1", "--no-calls", "--listen", "127.0.0.1:0"];
            let trunkline = programs.trunkline.to_string_lossy();
            let line = [&callgrind[..], &[&*trunkline], &demo].concat();
            let server = Server::start(Path::new("valgrind"), &line, out)?;
            let output = if case.netrpc.is_some() || case.saber {
                run_limited(&mut bench(case, calls, programs, server.addr()))
            } else {
                let mut client = Command::new(&programs.limit);
                run_limited(client.args(["client", server.addr()]).args(&arguments))
            };
            // Callgrind writes what it counted when the process ends.
            server.stop()?;
            output
        }
        Side::Client => {
            let server = Server::start(&programs.limit, &["server", "--listen", "127.0.0.1:0"], out)?;
            let mut client = Command::new("valgrind");
            client.args(callgrind).arg(&programs.client).args(["client", server.addr(), "--threads", "1"]);
            run_limited(client.args(&arguments))
        }
    };
    let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let instructions = instructions(&text).ok_or_else(|| format!("{}: no totals", file.display()))?;
    Ok(Run { instructions, calls: made(case, &output?)? })
}

/// The load tool, where the limit's client does not speak the wire.
fn bench(case: &Case, calls: usize, programs: &Programs, address: &str) -> Command {
    let Case { connections, in_flight, method, .. } = case;
    let line = match case.netrpc {
        Some(body) => {
            format!("netrpc://{address} {method} -d {body} -c {connections} -p {in_flight} -n {calls}")
        }
        // So many calls for each caller.
        None => {
            format!("saber://{address} {method} --services 4 -c {in_flight} -n {}", calls / in_flight)
        }
    };
    let mut client = Command::new(&programs.trunkline);
    client.arg("bench").args(line.split(' ')).args(["--json", "--threads", "1"]);
    client
}

/// What both clients understand.
fn load(case: &Case, calls: usize, root: &Path) -> Vec<String> {
    let Case { connections, in_flight, method, .. } = case;
    let mut line = format!(
        "--connections {connections} --in-flight {in_flight} --calls {calls} --warmup-ms 0 --seconds 600 --size 581"
    );
    if case.side == Side::Server {
        line.push_str(" --method ");
        line.push_str(method);
    }
    if case.batches {
        line.push_str(" --batches");
    }
    if let Some(channels) = case.channels {
        line.push_str(&format!(" --wire iip --channels {channels}"));
    }
    let mut arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    if let Some(body) = case.body {
        let body = root.join(body).to_string_lossy().into_owned();
        arguments.extend(["--format".to_owned(), "2".to_owned(), "--body".to_owned(), body]);
    }
    arguments
}

/// How many calls the client made; none may have failed.
fn made(case: &Case, output: &Output) -> Result<u64, String> {
    let line = output.stdout.lines().last().unwrap_or_default();
    match (output.code, field(line, "n"), field(line, "failed")) {
        (Some(0), Some(calls), Some(0)) => Ok(calls),
        (code, ..) => {
            Err(format!("{}: the client ended with {code:?}: {line} {}", case.name, output.stderr.trim()))
        }
    }
}

/// A whole number in an object of one line.
fn field(line: &str, name: &str) -> Option<u64> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next()?.trim().parse().ok()
}

/// The instructions of a whole run: callgrind's line `totals:`.
fn instructions(text: &str) -> Option<u64> {
    text.lines().rev().find_map(|line| line.strip_prefix("totals:"))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_and_fields_are_found() {
        assert_eq!(instructions("events: Ir\nsummary: 12\n\nfn=(1)\n1 2\n\ntotals: 34\n"), Some(34));
        assert_eq!(instructions("events: Ir\n"), None);
        assert_eq!(field(r#"{"rps":1.5,"n":20000,"failed":0}"#, "failed"), Some(0));
        assert_eq!(field(r#"{"rps":1.5,"n":20000,"failed":0}"#, "n"), Some(20_000));
        assert_eq!(field("begin", "n"), None);
    }
}
