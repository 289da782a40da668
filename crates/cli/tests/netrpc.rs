//! The command on Go's net/rpc: the demo serves it, and every verb speaks it.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::{Demo, run, run_with};

#[test]
fn every_verb_speaks_it() {
    let demo = Demo::start();
    let url = &demo.url("netrpc");
    run(&["call", url, "Arith.Mul", r#"{"A":6,"B":7}"#]).says("{\"C\":42}\n");
    let connect = format!("{url}?connect=/_goRPC_");
    run(&["call", &connect, "Arith.Mul", r#"{"A":6,"B":7}"#]).says("{\"C\":42}\n");
    run(&["call", url, "Arith.Mul"]).says("{\"C\":0}\n");
    run_with(&["call", url, "Echo.Echo", "@-", "--codec", "raw"], b"bytes").says("bytes");
    run(&["call", url, "Echo.Owned", "x", "--codec", "raw", "--json"]).says("\"x\"\n");
    run(&["call", url, "Slow.Sleep", r#"{"Millis":1}"#]).says("{\"Slept\":1}\n");
    run(&["call", url, "Meta.Echo"]).says("{}\n");
    run(&["call", url, "Arith.Div", r#"{"A":1}"#]).fails(1, "divide by zero");
    run(&["call", url, "Fault.Fail", r#"{"Message":"exactly"}"#]).fails(1, "exactly");
    run(&["call", url, "Nope.Mul"]).fails(1, "rpc: can't find service Nope.Mul");
    run(&["call", url, "Arith.Nope"]).fails(1, "rpc: can't find method Arith.Nope");
    run(&["call", url, "Slow.Sleep", r#"{"Millis":9000}"#, "--timeout", "100ms"]).fails(4, "deadline");
    run(&["call", "netrpc://127.0.0.1:1", "Arith.Mul"]).fails(3, "127.0.0.1:1");
    let lines = "Arith.Mul {\"A\":2,\"B\":3}\nArith.Div {\"A\":1}\n";
    let batch = run_with(&["call", url, "--batch", "-"], lines.as_bytes());
    assert_eq!((batch.code, &*batch.stdout), (1, "{\"C\":6}\n{\"error\":\"divide by zero\"}\n"), "{batch:?}");
    for verb in [&["ls", url][..], &["describe", url, "Arith.Mul"], &["template", url, "Hello.Say"]] {
        let mut rpcx = verb.to_vec();
        let other = demo.url("rpcx");
        rpcx[1] = &other;
        let expected = run(&rpcx);
        assert_eq!(expected.code, 0, "{expected:?}");
        run(verb).says(&expected.stdout);
    }
    let listed = run(&["ls", url]).stdout;
    assert!(listed.contains("Arith.Mul\n") && !listed.contains("Consumer"), "{listed}");
    let done = run(&[
        "bench",
        url,
        "Arith.Mul",
        "-d",
        r#"{"A":6,"B":7}"#,
        "-n",
        "500",
        "-c",
        "5",
        "-p",
        "4",
        "--json",
    ]);
    assert!(done.stdout.contains("\"ok\":500,\"failed\":0"), "{done:?}");
    // The same behind a CONNECT, on rpcx, too; and a server that does not leave HTTP is one that cannot be called.
    for url in [connect, format!("{}?connect=/_goRPC_", demo.url("rpcx"))] {
        let args = ["Arith.Mul", "-d", r#"{"A":6,"B":7}"#, "-n", "500", "-c", "5", "-p", "4", "--json"];
        let done = run(&[&["bench", &url], &args[..]].concat());
        assert!(done.stdout.contains("\"ok\":500,\"failed\":0"), "{done:?}");
    }
    let done = run(&["bench", url, "Arith.Div", "-d", r#"{"A":{{seq}}}"#, "-n", "50", "--json"]);
    assert!(done.stdout.contains("\"failed\":50") && done.stdout.contains("divide by zero"), "{done:?}");
}

#[test]
fn what_it_cannot_carry_is_refused() {
    let url = "netrpc://127.0.0.1:1";
    for codec in ["msgpack", "protobuf", "thrift"] {
        run(&["call", url, "A.B", "--codec", codec]).fails(2, "gob");
        run(&["bench", url, "A.B", "--codec", codec]).fails(2, "gob");
    }
    run(&["call", url, "A.B", "-H", "a:b"]).fails(2, "no metadata");
    run(&["ls", url, "-H", "a:b"]).fails(2, "no metadata");
    run(&["bench", url, "A.B", "-H", "a:b"]).fails(2, "no metadata");
    run(&["call", "netrpc://127.0.0.1:1,rpcx://127.0.0.1:1", "A.B"]).fails(2, "mixed");
    run(&["call", "netrpc://127.0.0.1:1?connect=/x", "A.B"]).fails(2, "CONNECT");
}

/// Z3: zrpc goes on with a connection that it could not accept, and dies of it.
#[test]
#[cfg(target_os = "linux")]
fn z3_what_cannot_be_accepted_ends_nothing() {
    use std::process::{Command, Stdio};
    let run_with_few = "ulimit -n 40 && exec \"$0\" demo --listen 127.0.0.1:0 --no-calls --threads 1";
    let mut command = Command::new("sh");
    command.args(["-c", run_with_few, env!("CARGO_BIN_EXE_trunkline")]);
    let demo = Demo::of(command.stdin(Stdio::null()).stderr(Stdio::null()));
    // More than it may open: some are accepted, the others wait or are closed.
    let address = demo.url("netrpc").replace("netrpc://", "");
    let mut all: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(&*address).unwrap()).collect();
    let request = b"\x2e\x7f\x03\x01\x01\x07Request\x01\xff\x80\x00\x01\x02\x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x00\x00\
                    \x0f\xff\x80\x01\x0aSlow.Stats\x00\x03\x02\x00\x00";
    let mut first = all.remove(0);
    first.write_all(request).unwrap();
    assert!(first.read(&mut [0; 100]).unwrap() > 0, "one that was accepted is answered");
    drop((first, all));
    let url = demo.url("netrpc");
    run(&["call", &url, "Arith.Mul", r#"{"A":6,"B":7}"#]).says("{\"C\":42}\n");
}
