//! saber: a cluster of Go nodes and ours, and the Go module's stress test, unchanged, in both directions.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Options, Outcome, Report};
use crate::go::Programs;
use crate::process::{Server, run_limited};

/// The names that the stress test's programs have for themselves.
const CLIENT: &str = "stress_client";
const SERVER: &str = "stress_server";
/// The ports of the profiles that they open on all interfaces, whatever they are told.
const CLIENT_PROFILE: u16 = 8080;
const SERVER_PROFILE: u16 = 9090;
/// Callers and calls of each.
const CALLERS: &str = "50";
const CALLS: &str = "40";
const ALL: &str = "2000";

/// How long the Go server may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Runs the stress test; `folder` is for its configurations.
pub(super) fn stress(
    trunkline: &Path,
    programs: &Programs,
    folder: &Path,
    options: &Options,
    report: &mut Report,
) {
    let pairs = [
        ("saber-stress-client", "Go stress client -> trunkline", CLIENT_PROFILE),
        ("saber-stress-server", "trunkline bench -> Go stress server", SERVER_PROFILE),
    ];
    for (case, pair, profile) in pairs.into_iter().filter(|(case, ..)| options.wants(case)) {
        if TcpListener::bind(("0.0.0.0", profile)).is_err() {
            let why = format!("the port {profile}, which the Go program opens, is taken");
            report.add(pair, case, &Outcome::Skipped(why));
            continue;
        }
        let run = if profile == CLIENT_PROFILE { go_client } else { go_server };
        report.check(pair, case, run(trunkline, programs, folder));
    }
}

fn free_address() -> Result<String, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.to_string())
}

/// Writes `config.json` where a Go program looks for it.
fn configure(folder: &Path, own: (&str, &str), other: (&str, &str)) -> Result<(), String> {
    let told = |e| format!("{}: {e}", folder.display());
    fs::create_dir_all(folder).map_err(told)?;
    let config = format!(
        r#"{{"ClusterName":"{}","LocalAddr":"{}","RemoteAddrs":{{"{}":"{}"}},"TickIntervalMs":1000}}"#,
        own.0, own.1, other.0, other.1
    );
    fs::write(folder.join("config.json"), config).map_err(told)
}

fn go_client(trunkline: &Path, programs: &Programs, folder: &Path) -> Result<(), String> {
    let client = free_address()?;
    let remote = format!("{CLIENT}={client}");
    let demo = ["demo", "--listen", "127.0.0.1:0", "--no-calls", "--node", SERVER, "--remote", &remote];
    let demo = Server::start(trunkline, &demo, folder)?;
    let place = folder.join("saber-stress-client.d");
    configure(&place, (CLIENT, &client), (SERVER, demo.addr()))?;
    let mut command = Command::new(&programs.saber_stress_client);
    let out = run_limited(command.args(["-c", CALLERS, "-n", CALLS, "-svc", "4"]).current_dir(&place))?;
    demo.stop()?;
    // Its report: successes, then failures.
    let row = format!("│{ALL:>7}│{:>7}│", 0);
    let all = format!("{}{}", out.stdout, out.stderr);
    if all.contains(&row) {
        return Ok(());
    }
    let beginning: String = all.trim().chars().take(300).collect();
    Err(format!("no row {row} in its report: {beginning}"))
}

fn go_server(trunkline: &Path, programs: &Programs, folder: &Path) -> Result<(), String> {
    let (client, server) = (free_address()?, free_address()?);
    let place = folder.join("saber-stress-server.d");
    configure(&place, (SERVER, &server), (CLIENT, &client))?;
    let mut command = Command::new(&programs.saber_stress_server);
    let command = command.args(["-svc", "4"]).current_dir(&place);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _running = Running(child.map_err(|e| e.to_string())?);
    let end = Instant::now() + START_LIMIT;
    while TcpStream::connect(&server).is_err() {
        if Instant::now() > end {
            return Err(format!("the Go server does not listen on {server}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let url = format!("saber://{server}/{SERVER}");
    let out = run_limited(Command::new(trunkline).args([
        "bench",
        &url,
        "lobby.ReqLogin",
        "--services",
        "4",
        "-c",
        CALLERS,
        "-n",
        CALLS,
        "--node",
        CLIENT,
        "--listen",
        &client,
        "--json",
    ]))?;
    let wanted = format!("\"ok\":{ALL},\"failed\":0");
    if out.code == Some(0) && out.stdout.contains(&wanted) {
        return Ok(());
    }
    Err(format!("expected {wanted}, got code {:?}, {} {}", out.code, out.stdout.trim(), out.stderr.trim()))
}

/// A program that is killed when it is done with.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
