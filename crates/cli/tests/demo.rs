//! `trunkline demo`: its first line, its table, its end.

mod support;

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::Value;
use support::{Demo, Folder, run};

#[test]
fn the_first_line_names_every_listener() {
    let folder = Folder::new("ready");
    let socket = format!("unix://{}", folder.path("demo.sock"));
    let demo = Demo::with(&["--listen", "127.0.0.1:0", "--listen", &socket, "--no-calls"]);
    let words: Vec<&str> = demo.ready.split(' ').collect();
    assert_eq!((words.len(), words[0], words[2]), (3, "ready", socket.as_str()));
    let url = format!("{socket}?wire=rpcx");
    run(&["call", &url, "Arith.Mul", r#"{"A":6,"B":7}"#]).says("{\"C\":42}\n");
    demo.call("Arith.Mul", r#"{"A":6,"B":7}"#).says("{\"C\":42}\n");
    demo.signal(Signal::TERM);
    assert_eq!(demo.end().code, 0);
    assert!(!folder.0.join("demo.sock").exists(), "the socket's file is left");
}

#[test]
fn json_says_the_same() {
    let mut demo = Demo::with(&["--listen", "tcp://127.0.0.1:0", "--json"]);
    let ready: Value = serde_json::from_str(&demo.ready).unwrap();
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["listen"].as_array().unwrap().len(), 1);
    assert_eq!(ready.as_object().unwrap().len(), 2);
    for (wire, answer) in [
        ("rpcx", r#"{"C":42}"#),
        ("http", r#"{"C":42}"#),
        ("iip", r#"{"C":42}"#),
        ("json-rpc", r#"{"C":42}"#),
        ("netrpc", r#"{"C":42}"#),
        ("saber", r#"{"Status":200}"#),
    ] {
        let row: Value = serde_json::from_str(&demo.line()).unwrap();
        assert_eq!((&row["event"], &row["wire"]), (&"call".into(), &wire.into()));
        assert_eq!((&row["right"], &row["answer"]), (&true.into(), &answer.into()));
        assert!(row["time_us"].is_u64());
    }
}

#[test]
fn once_calls_every_wire_and_ends() {
    for more in [&["--token", "secret"][..], &["--threads", "3"], &[]] {
        let args = [&["demo", "--listen", "127.0.0.1:0", "--once"], more].concat();
        let done = run(&args);
        assert_eq!(done.code, 0, "{done:?}");
        let lines: Vec<&str> = done.stdout.lines().collect();
        assert!(lines[0].starts_with("ready 127.0.0.1:"), "{done:?}");
        let right = |wire| if wire == "saber" { r#"{"Status":200}"# } else { r#"{"C":42}"# };
        let all = ["rpcx", "http", "iip", "json-rpc", "netrpc", "saber"];
        // The last two carry no token.
        let rows = if more.first() == Some(&"--token") { 4 } else { all.len() };
        for (line, wire) in lines[2..].iter().zip(all) {
            assert!(line.starts_with(wire) && line.contains(right(wire)), "{done:?}");
        }
        assert_eq!(lines.len(), 2 + rows, "{done:?}");
    }
}

#[test]
fn once_fails_where_an_answer_is_wrong() {
    // A body limit that no answer fits in.
    let done = run(&["demo", "--listen", "127.0.0.1:0", "--once", "--body-limit", "5"]);
    assert_eq!(done.code, 1, "{done:?}");
    assert!(done.stdout.contains("FAILED"), "{done:?}");
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["demo", "--listen", &address]).fails(2, &address);
    run(&["demo", "--listen", "127.0.0.1:0", "--listen", &address]).fails(2, &address);
}

#[test]
fn only_a_dead_socket_is_replaced() {
    let folder = Folder::new("replace");
    let path = folder.path("demo.sock");
    let socket = format!("unix://{path}");
    std::fs::write(&path, "mine").unwrap();
    run(&["demo", "--listen", &socket]).fails(2, &path);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    std::fs::remove_file(&path).unwrap();
    let args = ["--listen", &socket, "--no-calls"];
    let first = Demo::with(&args);
    run(&["demo", "--listen", &socket]).fails(2, &path);
    first.signal(Signal::KILL);
    first.end();
    assert!(std::path::Path::new(&path).exists());
    assert_eq!(Demo::with(&args).address, socket);
}

#[test]
fn a_signal_drains() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut demo = Demo::start();
        let call = std::thread::scope(|scope| {
            let call = scope.spawn(|| run(&["call", &demo.url("rpcx"), "Slow.Sleep", r#"{"Millis":1500}"#]));
            demo.call_until("Slow.Stats", r#""Running":1"#);
            demo.signal(signal);
            call.join().unwrap()
        });
        assert_eq!(call.code, 0, "{call:?}");
        let line = demo.error_line("waits for");
        assert!(line.contains("1 calls on 1 connections"), "{line}");
        assert_eq!(demo.end().code, 0);
    }
}

#[test]
fn an_idle_server_stops_at_once() {
    let demo = Demo::start();
    let idle = std::net::TcpStream::connect(&demo.address).unwrap();
    let begun = std::time::Instant::now();
    demo.signal(Signal::TERM);
    let done = demo.end();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    assert!(begun.elapsed().as_secs() < 10);
    drop(idle);
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut demo = Demo::start();
    std::thread::scope(|scope| {
        let url = demo.url("rpcx");
        let call = scope.spawn(move || run(&["call", &url, "Slow.Sleep", r#"{"Millis":60000}"#]));
        demo.call_until("Slow.Stats", r#""Running":1"#);
        demo.signal(Signal::TERM);
        demo.error_line("waits for");
        demo.signal(Signal::TERM);
        demo.error_line("stopped at once");
        let call = call.join().unwrap();
        call.fails(3, "connection was lost");
    });
    assert_eq!(demo.end().code, 1);
}

#[test]
fn the_token_is_asked_for_on_every_wire() {
    let demo = Demo::with(&["--listen", "127.0.0.1:0", "--no-calls", "--token", "secret"]);
    for scheme in ["rpcx", "http"] {
        let url = demo.url(scheme);
        let call = ["call", &url, "Arith.Mul", r#"{"A":6,"B":7}"#];
        run(&call).fails(1, "token");
        run(&[&call[..], &["-H", "Authorization: Bearer other"]].concat()).fails(1, "token");
        run(&[&call[..], &["-H", "Authorization: Bearer secret"]].concat()).says("{\"C\":42}\n");
        run(&[&call[..], &["-H", "__AUTH:secret"]].concat()).says("{\"C\":42}\n");
        run(&["ls", &url]).fails(1, &demo.address);
        assert_eq!(run(&["ls", &url, "-H", "Authorization:Bearer secret"]).code, 0);
    }
}

#[test]
fn the_body_limit_is_named_and_the_server_goes_on() {
    let demo = Demo::with(&["--listen", "127.0.0.1:0", "--no-calls", "--body-limit", "100"]);
    let exact = "x".repeat(100);
    for scheme in ["rpcx", "http"] {
        let echo = |body: &str| run(&["call", &demo.url(scheme), "Echo.Echo", body, "--codec", "raw"]);
        echo(&exact).says(&exact);
        let over = echo(&(exact.clone() + "x"));
        over.fails(1, "100");
        over.fails(1, "--body-limit");
        let call = |bytes: &str| run(&["call", &demo.url(scheme), "Fault.Big", bytes]);
        assert_eq!(call(r#"{"Bytes":89}"#).stdout.len(), 101);
        call(r#"{"Bytes":90}"#).fails(1, "--body-limit");
        call(r#"{"Bytes":9000000000000000000}"#).fails(1, "--body-limit");
        call(r#"{"Bytes":-1}"#).fails(1, "negative");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    use std::process::{Command, Stdio};
    let run = "ulimit -Sn 100 && exec \"$0\" demo --listen 127.0.0.1:0 --no-calls";
    let mut command = Command::new("sh");
    command.args(["-c", run, env!("CARGO_BIN_EXE_trunkline")]);
    let demo = Demo::of(command.stdin(Stdio::null()));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", demo.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "{line}");
    assert_ne!(words[3], "100", "the test needs a hard limit above 100");
}
