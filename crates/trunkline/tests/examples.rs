//! Runs every example: it ends by itself, with exit code 0, and says what it promises.

#![allow(clippy::unwrap_used, reason = "a test says so by panicking")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long an example may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most lines that an example may have: a newcomer reads it in one go.
const LINES: usize = 60;

/// An example, the features that it is built with, and what stands in its output.
struct Example(&'static str, bool, &'static [&'static str]);

const EXAMPLES: &[Example] = &[
    Example(
        "auth",
        cfg!(feature = "http"),
        &["a stranger: unauthenticated: invalid token", "a friend: I like tea"],
    ),
    Example(
        "balance",
        true,
        &[
            "by weight: paris 3, oslo 1",
            "ann is always at ",
            "without paris: oslo",
            "nobody: no endpoint can be called",
        ],
    ),
    Example("basic", true, &["serving on rpcx://127.0.0.1:", "6 * 7 = 42", "failed: overflow", "stopped"]),
    Example(
        "cluster",
        true,
        &["five nodes: 300 s", "half the time: context deadline exceeded", "4410 s, of which"],
    ),
    Example("compress", cfg!(feature = "gzip"), &["compressed: false: 42", "compressed: true: "]),
    Example(
        "download",
        cfg!(feature = "file"),
        &["broken off; the file shows: false", "more than a third were here: true", "the same: true"],
    ),
    Example("error", true, &["for everybody: 200 cents are missing", "for Rust: NotEnough { missing: 200 }"]),
    Example("gateway", cfg!(feature = "http"), &["HTTP/1.1 200 OK", r#"{"c":7}"#, "divide by zero"]),
    Example(
        "iip_balance",
        true,
        &[
            r#"by weight: {"oslo": 10, "paris": 30}"#,
            "the same: true",
            "without paris: all at oslo",
            "nobody: no endpoint can be called",
        ],
    ),
    Example(
        "iip_echo",
        true,
        &[
            "serving on iip://127.0.0.1:",
            "by its names: hello",
            "by its path: hello",
            "each with its own answer: true",
            "an unknown path: not_found: ",
        ],
    ),
    Example(
        "iip_gateway",
        cfg!(feature = "gateway"),
        &[
            "HTTP/1.1 200 OK rain in Oslo, Ann",
            r#"no such method: HTTP/1.1 200 OK {"code":102,"message":"handle error"}"#,
            "no route: HTTP/1.1 501 ",
            "not for callers: HTTP/1.1 403 ",
            "removed: HTTP/1.1 501 ",
        ],
    ),
    Example(
        "iip_stream",
        true,
        &["who: WHO", "there: THERE", "the end: true", "the first number: 1", "not many: true"],
    ),
    Example("jsonrpc", cfg!(feature = "http"), &[r#"{"jsonrpc":"2.0","result":{"c":3},"id":1}"#, "-32601"]),
    Example("keepalive", true, &["ms: Failed { error: ", "connected again", "healthy"]),
    Example("layer", true, &["ann called Weather.Report: answered", "refused: eve is no tenant"]),
    Example("metadata", true, &["Helo Ann", "language = cy", "wire = rpcx"]),
    Example("mock", true, &["unknown items cost nothing", "a failure is handed on", "5 calls were made"]),
    Example(
        "netrpc",
        cfg!(feature = "netrpc") && cfg!(feature = "http"),
        &["17 / 5 = 3 and 2 left", "1 / 0: divide by zero", "over CONNECT: Quotient { quo: -3, rem: -1 }"],
    ),
    Example(
        "node_cluster",
        cfg!(feature = "node"),
        &["hello Ada, guest number 1", "hello Edsger, guest number 3"],
    ),
    Example(
        "node_hello",
        cfg!(feature = "node"),
        &[
            "hello Ada, you are number 1",
            "hello Bob, you are number 1",
            r#"as JSON: {"name":"hello Eve, you are number 2"}"#,
            "stopped: true",
        ],
    ),
    Example(
        "node_lobby",
        cfg!(feature = "node"),
        &[
            "bob: table 0, place 1",
            "bot 7: internal",
            "cid: table 1, place 0",
            "handled 4, panics 1, restarts 1",
        ],
    ),
    Example(
        "node_timers",
        cfg!(feature = "node"),
        &[
            "taken back: true",
            "no more tea: true, the eggs are done: true",
            r#"rung: {"now": 1, "stir": 3, "tea": 4, "the eggs": 1}"#,
            "pending: 0",
        ],
    ),
    Example("oneway", true, &[r#"written: ["one", "two"]"#, "refused: nothing to write"]),
    Example(
        "peers",
        cfg!(feature = "netrpc"),
        &[
            "the shop offers order, s",
            "s: world",
            "order: 3 x tea",
            "nothing: nothing is ordered",
            "nope: Function Name Not Find  (begun: false)",
            "the desk offers 0 functions",
        ],
    ),
    Example("push", true, &["Market.Price: Price { cents: 100 }", "Market.Price: Price { cents: 300 }"]),
    Example("resume", true, &["line 1", "the connection is cut", "line 9", "each came once"]),
    Example(
        "serialize",
        cfg!(all(feature = "protobuf", feature = "thrift")),
        &["Json: ", "Protobuf: 18 bytes", "Thrift: "],
    ),
    Example("streaming", cfg!(feature = "http"), &["it has 13 degrees", "the warmest of three: 21"]),
    Example("timeout", true, &["context deadline exceeded", "the work was stopped both times"]),
    Example("tower", cfg!(feature = "tower"), &["bread: limited: ", "hurried: deadline_exceeded: "]),
    Example("unix", true, &["unix:///", "three transports, one service", "the socket file is gone"]),
    Example(
        "upload",
        cfg!(feature = "file"),
        &[
            "broken off; the file shows: false",
            "more than a third were there: true",
            "the same: true",
            "refused file name",
            "no such folder",
        ],
    ),
    Example("websocket", cfg!(feature = "http"), &["HTTP/1.1 101 Switching Protocols", "reply 7: hello"]),
];

/// `cargo test` builds the examples, too: into a folder beside that of the tests.
fn binary(name: &str) -> io::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(2).ok_or(io::ErrorKind::NotFound)?;
    Ok(target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// Runs an example to its end; what it wrote.
fn run(name: &str) -> io::Result<String> {
    let program = binary(name)?;
    if !program.exists() {
        let text = format!("{} is not there: cargo build -p trunkline --examples", program.display());
        return Err(io::Error::other(text));
    }
    let mut command = Command::new(program);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let begun = Instant::now();
    // What it writes is little and stays in the pipes until it has ended.
    while child.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            let output = child.wait_with_output()?;
            return Err(io::Error::other(format!("not done after {PATIENCE:?}: {output:?}")));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{}: {text}", output.status)))
    }
}

fn problem(Example(name, _, expected): &Example) -> Option<String> {
    match run(name) {
        Ok(text) => {
            let missing = expected.iter().find(|part| !text.contains(**part))?;
            Some(format!("{name}: {missing:?} is missing in its output: {text}"))
        }
        Err(error) => Some(format!("{name}: {error}")),
    }
}

#[test]
fn every_example_runs_and_says_what_it_promises() {
    let built = EXAMPLES.iter().filter(|Example(_, built, _)| *built);
    let problems: Vec<_> = built.filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_example_is_in_the_table_short_and_says_how_to_run_it() {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(path.extension(), Some(OsStr::new("rs")), "{}: an example is one file", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= LINES, "{name} has {lines} lines; an example may have {LINES}");
        let head: String = text.lines().take_while(|line| line.starts_with("//! ")).collect();
        assert!(head.contains(&format!(" --example {name}`")), "{name} does not say how to run it");
        found.insert(name);
    }
    let table: BTreeSet<_> = EXAMPLES.iter().map(|Example(name, ..)| (*name).to_owned()).collect();
    assert_eq!(found, table, "left: the examples that are there; right: those in the table");
}
