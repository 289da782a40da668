//! `trunkline bench`: what it counts, what it says, how it ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "it is a test that ends there")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Demo, Done, Folder, nobody, peer, run, silent_peer};

const KEYS: [&str; 15] = [
    "rps",
    "n",
    "ok",
    "failed",
    "p50_us",
    "p90_us",
    "p99_us",
    "p999_us",
    "max_us",
    "duration_s",
    "connections",
    "in_flight",
    "bytes_in",
    "bytes_out",
    "errors",
];
const MUL: [&str; 3] = ["Arith.Mul", "-d", r#"{"A":6,"B":7}"#];

/// Runs a bench with --json; how it ended, and its object.
#[track_caller]
fn bench(url: &str, args: &[&str]) -> (Done, Value) {
    let all: Vec<&str> = ["bench", url].iter().chain(args).chain(&["--json"]).copied().collect();
    let done = run(&all);
    assert_eq!(done.stdout.lines().count(), 1, "{done:?}");
    let value = serde_json::from_str(&done.stdout).unwrap();
    (done, value)
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key}: {value}"))
}

/// The names of the object in their order: serde_json's map would sort them.
fn keys(object: &str) -> Vec<&str> {
    let outer = object.split_once("\"errors\":").map_or(object, |(before, _)| before);
    let after = object.rsplit_once('}').unwrap().0.rsplit_once("},").map_or("", |(_, after)| after);
    let mut found: Vec<&str> = outer.split('"').skip(1).step_by(2).collect();
    found.push("errors");
    found.extend(after.split('"').skip(1).step_by(2));
    found
}

/// A peer that answers rpcx frames by this: what it writes for each call.
fn rpcx_peer(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    peer(move |stream| {
        let answer = Arc::clone(&answer);
        std::thread::spawn(move || serve(stream, &*answer));
    })
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(&[u8]) -> Vec<u8>) {
    let mut head = [0; 16];
    while stream.read_exact(&mut head).is_ok() {
        let length = u32::from_be_bytes(head[12..].try_into().unwrap());
        let mut frame = head.to_vec();
        frame.resize(16 + length as usize, 0);
        if stream.read_exact(&mut frame[16..]).is_err() || stream.write_all(&answer(&frame)).is_err() {
            return;
        }
    }
}

fn echo(frame: &[u8]) -> Vec<u8> {
    let mut answer = frame.to_vec();
    answer[2] |= 0x80;
    answer
}

#[test]
fn the_object_has_exactly_these_keys_and_n_is_exact() {
    let demo = Demo::start();
    for scheme in ["rpcx", "easymicro", "http", "iip"] {
        let url = demo.url(scheme);
        for (load, connections) in
            [(&["-n", "1"][..], 1), (&["-n", "1k", "-c", "7", "-p", "3", "--threads", "2"], 7)]
        {
            let (done, value) = bench(&url, &[&MUL, load].concat());
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
            assert_eq!(keys(done.stdout.trim()), KEYS);
            let n = if connections == 1 { 1 } else { 1000 };
            assert_eq!((number(&value, "n"), number(&value, "ok"), number(&value, "failed")), (n, n, 0));
            assert_eq!(number(&value, "connections"), connections);
            assert_eq!(value["errors"], serde_json::json!({}));
            let seconds = value["duration_s"].as_f64().unwrap();
            let rps = value["rps"].as_f64().unwrap();
            assert!((rps - n as f64 / seconds).abs() < 1e-6 * rps, "{value}");
            let order: Vec<f64> = KEYS[4..9].iter().map(|key| value[*key].as_f64().unwrap()).collect();
            assert!(order.is_sorted() && order[0] > 0.0, "{value}");
            assert!(number(&value, "bytes_out") > 25 * n && number(&value, "bytes_in") > 25 * n, "{value}");
        }
    }
}

#[test]
fn a_run_of_a_time_leaves_its_warm_up_out() {
    let demo = Demo::start();
    let (done, value) = bench(&demo.url("rpcx"), &[&MUL[..], &["-z", "400ms", "-c", "2"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    let seconds = value["duration_s"].as_f64().unwrap();
    assert!((0.4..5.0).contains(&seconds), "{value}");
    assert!(number(&value, "n") > 10);
}

#[test]
fn n_calls_are_made_and_no_more() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let address = rpcx_peer(move |frame| {
        if frame[2] & 0x40 == 0 {
            let text = String::from_utf8_lossy(frame).into_owned();
            seen.lock().unwrap().push(text[text.find('{').unwrap()..].to_owned());
        }
        echo(frame)
    });
    let url = format!("rpcx://{address}");
    let bodies = ["-d", r#"{"A":{{seq}}}"#, "-d", r#"{"B":1}"#, "-d", r#"{"C":{{rand}},"D":"{{seq}}-"}"#];
    let args = [&["X.Y"][..], &bodies, &["-n", "9", "-c", "2", "--threads", "2"]].concat();
    let (done, value) = bench(&url, &args);
    assert_eq!((done.code, number(&value, "n")), (0, 9), "{done:?}");
    let mut seen = calls.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen.len(), 9, "{seen:?}");
    assert_eq!(seen[..3], [r#"{"A":0}"#, r#"{"A":3}"#, r#"{"A":6}"#]);
    assert_eq!(seen[3..6], [r#"{"B":1}"#; 3]);
    for (text, seq) in seen[6..].iter().zip(0..) {
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(value["C"].as_u64().unwrap() < 1 << 31, "{text} {seq}");
        assert!(["2-", "5-", "8-"].contains(&value["D"].as_str().unwrap()), "{text}");
    }
}

#[test]
fn every_codec_and_every_wire() {
    let demo = Demo::start();
    for scheme in ["rpcx", "easymicro", "http"] {
        for codec in ["json", "msgpack", "protobuf", "thrift"] {
            for method in ["Arith.Add", "Echo.Echo"] {
                let body = if method == "Arith.Add" { r#"{"A":{{seq}},"B":1}"# } else { "{}" };
                let args = [method, "-d", body, "--codec", codec, "-n", "20", "-c", "2", "-p", "4"];
                let (done, value) = bench(&demo.url(scheme), &args);
                assert_eq!((done.code, number(&value, "ok")), (0, 20), "{scheme} {codec} {done:?}");
            }
        }
    }
    let folder = Folder::new("bench-bodies");
    let file = folder.path("body.bin");
    std::fs::write(&file, vec![0xff; 300_000]).unwrap();
    let at_file = format!("@{file}");
    for scheme in ["rpcx", "http", "iip"] {
        let args = ["Echo.Owned", "-d", &at_file, "--codec", "raw", "-n", "50", "-c", "3", "-p", "5"];
        let (done, value) = bench(&demo.url(scheme), &args);
        assert_eq!((done.code, number(&value, "ok")), (0, 50), "{done:?}");
        assert!(number(&value, "bytes_in") > 50 * 300_000 && number(&value, "bytes_out") > 50 * 300_000);
    }
}

#[test]
#[cfg(unix)]
fn unix_sockets_work_too() {
    let folder = Folder::new("bench-unix");
    let path = folder.path("demo.sock");
    let _demo = Demo::with(&["--listen", &format!("unix://{path}"), "--no-calls"]);
    for wire in ["rpcx", "http"] {
        let (done, value) = bench(&format!("unix://{path}?wire={wire}"), &[&MUL[..], &["-n", "30"]].concat());
        assert_eq!((done.code, number(&value, "ok")), (0, 30), "{done:?}");
    }
}

#[test]
fn calls_that_the_service_fails_are_told_by_its_message() {
    let demo = Demo::start();
    for scheme in ["rpcx", "http", "iip"] {
        let bodies = ["-d", r#"{"A":1,"B":0}"#, "-d", r#"{"A":1,"B":1}"#];
        let args = [&["Arith.Div"][..], &bodies, &["-n", "10", "-c", "2"]].concat();
        let (done, value) = bench(&demo.url(scheme), &args);
        assert_eq!((done.code, number(&value, "n"), number(&value, "failed")), (1, 10, 5), "{done:?}");
        assert_eq!(value["errors"], serde_json::json!({"divide by zero": 5}));
        assert_eq!(done.stderr, "trunkline: the service failed 5 of 10 calls\n");
        let (done, _) = bench(&demo.url(scheme), &["Nope.X", "-n", "2", "-c", "1"]);
        let unknown = if scheme == "iip" { "handle error" } else { "can't find service Nope" };
        assert!(done.code == 1 && done.stdout.contains(unknown), "{done:?}");
    }
}

#[test]
fn iip_calls_paths_on_several_channels_and_reads_answers_of_several_frames() {
    let demo = Demo::start();
    let url = demo.url("iip");
    for (path, body) in [("/echo", "{{seq}}"), ("/upper", r#""a""#), ("/count?n=5", "{}")] {
        let args = [path, "-d", body, "-n", "200", "-c", "3", "-p", "9", "--threads", "2", "--timeout", "5s"];
        let (done, value) = bench(&url, &args);
        assert_eq!((done.code, number(&value, "ok")), (0, 200), "{path} {done:?}");
    }
    let (done, value) = bench(&url, &["/nothing", "-n", "3", "-c", "1"]);
    assert_eq!((done.code, number(&value, "failed")), (1, 3), "{done:?}");
    // Nobody grants a channel, so the calls wait.
    let url = format!("iip://{}", silent_peer());
    let (done, value) = bench(&url, &["/echo", "-n", "4", "-c", "2", "--timeout", "100ms"]);
    assert_eq!((done.code, &value["errors"]), (4, &serde_json::json!({"timeout": 4})), "{done:?}");
}

#[test]
fn calls_that_time_out_are_counted_and_end() {
    let url = format!("rpcx://{}", silent_peer());
    let (done, value) = bench(&url, &["A.B", "-n", "4", "-c", "1", "-p", "2", "--timeout", "100ms"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert_eq!(value["errors"], serde_json::json!({"timeout": 4}));
    assert!(value["p50_us"].as_f64().unwrap() >= 99_000.0);
    let url = format!("http://{}", silent_peer());
    let (done, value) = bench(&url, &["A.B", "-n", "3", "-c", "1", "--timeout", "100ms"]);
    assert_eq!((done.code, &value["errors"]), (4, &serde_json::json!({"timeout": 3})));
}

#[test]
fn a_server_that_dies_ends_in_a_report() {
    for (load, json) in [(["-z", "2s"], true), (["-n", "1M"], false)] {
        let demo = Demo::start();
        let url = demo.url("rpcx");
        let address = demo.address.clone();
        let bench = std::thread::spawn(move || {
            let body = r#"{"Millis":100}"#;
            let json: &[&str] = if json { &["--json"] } else { &[] };
            run(&[&["bench", &url, "Slow.Sleep", "-d", body, "-c", "5"], &load[..], json].concat())
        });
        // The first calls may be of the warm-up; those after them are not.
        let completed = || serde_json::from_str::<Value>(&demo.call("Slow.Stats", "{}").stdout).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while number(&completed(), "Completed") < 10 {
            assert!(Instant::now() < end);
        }
        drop(demo);
        let done = bench.join().unwrap();
        assert_eq!(done.code, 3, "{address} {done:?}");
        assert!(done.stdout.contains("connection refused"), "{done:?}");
        assert!(["connection closed", "connection reset"].iter().any(|kind| done.stdout.contains(kind)));
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
        if json {
            let value: Value = serde_json::from_str(&done.stdout).unwrap();
            let errors = value["errors"].as_object().unwrap();
            let counted: u64 = errors.values().filter_map(Value::as_u64).sum();
            assert_eq!(counted, number(&value, "failed"));
            assert!(counted < 500, "dials that spin: {value}");
        } else {
            assert!(done.stdout.contains("no connection could be made for 5 s"), "{done:?}");
        }
    }
}

#[test]
fn a_server_that_comes_back_gets_its_load() {
    let number_of = Arc::new(Mutex::new(0));
    let address = peer(move |mut stream| {
        let mut number = number_of.lock().unwrap();
        *number += 1;
        // The first three connections are lost with what was sent.
        if *number <= 3 {
            let _ = stream.read(&mut [0; 1000]);
            return;
        }
        std::thread::spawn(move || serve(stream, &echo));
    });
    let (done, value) = bench(&format!("rpcx://{address}"), &["A.B", "-n", "100", "-c", "1", "-p", "2"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert_eq!(
        (number(&value, "n"), number(&value, "ok"), number(&value, "failed")),
        (100, 94, 6),
        "{value}"
    );
}

#[test]
fn answers_that_belong_to_no_call_complete_none() {
    // Each answer comes twice, and once with a number that nobody sent.
    let address = rpcx_peer(|frame| {
        let mut strange = echo(frame);
        strange[4] = 9;
        [echo(frame), echo(frame), strange].concat()
    });
    let url = format!("rpcx://{address}");
    let (done, value) = bench(&url, &["A.B", "-n", "10", "-c", "1"]);
    assert_eq!((done.code, number(&value, "n")), (0, 10), "{done:?}");
    let done = run(&["bench", &url, "A.B", "-n", "10", "-c", "1"]);
    assert!(done.stdout.contains("answers came to no call"), "{done:?}");
}

#[test]
fn a_peer_of_another_protocol_is_not_dialled_in_a_spin() {
    let dialled = Arc::new(Mutex::new(0));
    let count = Arc::clone(&dialled);
    let address = peer(move |mut stream| {
        *count.lock().unwrap() += 1;
        let _ = stream.write_all(b"SSH-2.0-nothing of yours\r\n");
        let _ = stream.read(&mut [0; 100]);
    });
    let (done, value) = bench(&format!("rpcx://{address}"), &["A.B", "-z", "500ms", "-c", "1"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(value["errors"].to_string().contains("does not begin with 08"), "{value}");
    assert!(*dialled.lock().unwrap() < 40);
}

#[test]
fn nobody_there_is_one_line() {
    for scheme in ["rpcx", "http"] {
        for json in [&[][..], &["--json"]] {
            let url = format!("{scheme}://{}", nobody());
            run(&[&["bench", &url, "A.B", "-z", "1s"], json].concat()).fails(3, "connection refused");
        }
    }
    run(&["bench", "unix:///nowhere/at-all?wire=rpcx", "A.B"]).fails(3, "no such socket");
}

#[test]
fn a_rate_is_held_or_it_is_said() {
    let demo = Demo::start();
    let (done, value) = bench(
        &demo.url("rpcx"),
        &[&MUL[..], &["-q", "500", "-n", "250", "-c", "4", "--threads", "2"]].concat(),
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(keys(done.stdout.trim()), [&KEYS[..], &["asked_rps", "started_rps"]].concat());
    assert_eq!((number(&value, "n"), value["asked_rps"].as_f64()), (250, Some(500.0)));
    assert!(value["duration_s"].as_f64().unwrap() >= 249.0 / 500.0, "{value}");

    // One call of 20 ms at a time where 1,000/s are asked: each next one starts later than it was meant to, and
    // its latency says by how much.
    let args = ["Slow.Sleep", "-d", r#"{"Millis":20}"#, "-c", "1", "-q", "1k"];
    let done = run(&[&["bench", &demo.url("rpcx")], &args[..], &["-z", "600ms"]].concat());
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stdout.contains("The rate was not held: asked 1,000/s, started "), "{done:?}");
    let (_, value) = bench(&demo.url("rpcx"), &[&args[..], &["-n", "20"]].concat());
    assert_eq!(number(&value, "n"), 20);
    assert!(value["max_us"].as_f64().unwrap() >= 20.0 * 20_000.0 - 19_000.0, "{value}");
}

#[test]
fn the_page_is_whole_and_escaped() {
    let demo = Demo::start();
    let folder = Folder::new("bench-html");
    let file = folder.path("report.html");
    let message = r#"{"Message":"<b onclick=\"x\">&'"}"#;
    let args = ["Fault.Fail", "-d", message, "-n", "200", "-c", "2", "--html", &file];
    let done = run(&[&["bench", &demo.url("rpcx")], &args[..]].concat());
    assert_eq!(done.code, 1, "{done:?}");
    let page = std::fs::read_to_string(&file).unwrap();
    assert!(page.contains("&lt;b onclick=&quot;x&quot;&gt;&amp;&#39;") && !page.contains("<b onclick"));
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"));
    assert_eq!(page.matches("<svg").count(), 3);
    balanced(&page);
    run(&["bench", &demo.url("rpcx"), "A.B", "-n", "1", "--html", "/nowhere/x"]).fails(2, "/nowhere/x");
}

/// Every element that begins ends, in order.
fn balanced(page: &str) {
    let mut open = Vec::new();
    for tag in page.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else if !tag.ends_with('/') && !matches!(name, "!doctype" | "meta") {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn the_report_says_it_all() {
    let demo = Demo::start();
    let done = run(&[&["bench", &demo.url("rpcx")], &MUL[..], &["-n", "300", "-c", "3"]].concat());
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    for part in [
        "3 connections × 1 in flight",
        "calls/s",
        "300 in ",
        "p50",
        "p99.9",
        "max",
        "Distribution",
        "received",
    ] {
        assert!(done.stdout.contains(part), "{part}: {done:?}");
    }
    assert!(!done.stdout.contains('\x1b'));
}

#[test]
fn what_is_wrong_gets_one_line() {
    let url = "rpcx://127.0.0.1:1";
    for (args, with) in [
        (&["bench"][..], "URL"),
        (&["bench", url], "SERVICE.METHOD"),
        (&["bench", url, "Mul"], "Mul"),
        (&["bench", url, "A.B", "-c", "0"], "--connections"),
        (&["bench", url, "A.B", "-p", "x"], "--in-flight"),
        (&["bench", url, "A.B", "-c", "100000", "-p", "1000000"], "in flight"),
        (&["bench", url, "A.B", "-n", "0"], "--calls"),
        (&["bench", url, "A.B", "-n", "1.5"], "--calls"),
        (&["bench", url, "A.B", "-z", "10"], "--duration"),
        (&["bench", url, "A.B", "-z", "1s", "-n", "1"], "cannot be used with"),
        (&["bench", url, "A.B", "-q", "0"], "--rate"),
        (&["bench", url, "A.B", "-q", "fast"], "--rate"),
        (&["bench", url, "A.B", "--threads", "0"], "--threads"),
        (&["bench", url, "A.B", "--codec", "xml"], "xml"),
        (&["bench", url, "A.B", "-d", "{"], "json"),
        (&["bench", url, "A.B", "-d", r#"{"A":{{seq}}"#], "does not fit"),
        (&["bench", url, "A.B", "-d", "@/nowhere/at-all"], "/nowhere/at-all"),
        (&["bench", url, "A.B", "-H", "x"], "key:value"),
        (&["bench", "127.0.0.1:1", "A.B"], "127.0.0.1:1"),
        (&["bench", "nope://127.0.0.1:1", "A.B"], "nope"),
        (&["bench", "etcd://127.0.0.1:1/a", "A.B"], "not built yet"),
        (&["bench", "iip://127.0.0.1:1", "A.B", "--codec", "msgpack"], "JSON or bytes"),
        (&["bench", "https://127.0.0.1:1", "A.B"], "not built yet"),
        (&["bench", "mem://a?wire=rpcx", "A.B"], "mem://"),
    ] {
        let done = run(args);
        done.fails(2, with);
        assert!(done.stderr.starts_with("trunkline: "), "{done:?}");
    }
}

#[test]
fn the_help_begins_with_what_the_figures_mean() {
    for flag in ["--help", "-h"] {
        let done = run(&["bench", flag]);
        assert_eq!(done.code, 0);
        assert!(done.stdout.contains("coordinated omission"), "{done:?}");
    }
    let top = run(&["bench", "--help"]).stdout;
    assert!(top.find("coordinated omission").unwrap() < top.find("Usage:").unwrap());
    let metadata = run(&["bench", "rpcx://127.0.0.1:1", "A.B", "-H", "a:b"]);
    assert_eq!(metadata.code, 3);
}
