//! Help, and what is refused: one line that names it, exit 2.

mod support;

use support::run;

#[test]
fn what_comes_later_is_refused_by_its_name() {
    let url = "rpcx://127.0.0.1:1";
    let demo = [
        "--console=127.0.0.1:0",
        "--register=etcd://a:1/b",
        "--advertise=a:1",
        "--pid-file=x",
        "--log-file=x",
        "start",
        "stop",
        "reload",
        "status",
        "connections",
        "socket",
    ];
    for word in demo {
        let name = word.split('=').next().unwrap();
        let done = run(&["demo", word]);
        done.fails(2, name);
        done.fails(2, "not built yet");
    }
    let call = ["--fail", "--retry", "--hedge", "--explain"];
    for flag in call {
        for args in [&["call", url, "A.B", flag, "x"][..], &["call", url, flag, "x"], &["call", flag]] {
            let done = run(args);
            done.fails(2, flag);
            done.fails(2, "not built yet");
        }
    }
    for verb in ["gateway", "start", "stop", "reload", "status", "connections"] {
        let done = run(&[verb, "x", "--y"]);
        done.fails(2, verb);
        done.fails(2, "not built yet");
    }
    for scheme in ["etcd", "tls", "udp", "https", "ws"] {
        let url = format!("{scheme}://127.0.0.1:1/x?wire=rpcx");
        for args in
            [&["call", &url, "A.B"][..], &["ls", &url], &["describe", &url, "A"], &["template", &url, "A.B"]]
        {
            run(args).fails(2, &format!("{scheme}://"));
        }
        let file = format!("{scheme}://127.0.0.1:1/x");
        run(&["put", "Cargo.toml", &file]).fails(2, &format!("{scheme}://"));
        run(&["get", &file, "/nowhere/x"]).fails(2, &format!("{scheme}://"));
    }
    for scheme in ["tls", "udp", "mem", "quic"] {
        run(&["demo", "--listen", &format!("{scheme}://127.0.0.1:0")]).fails(2, &format!("{scheme}://"));
    }
    run(&["ls", "rpcx://127.0.0.1:1,127.0.0.1:2"]).fails(2, "several endpoints");
    run(&["bench", "rpcx://127.0.0.1:1,127.0.0.1:2", "A.B"]).fails(2, "several endpoints");
    run(&["call", "rpcx://127.0.0.1:1,saber://127.0.0.1:2", "A.B"]).fails(2, "saber://");
    for how in ["ping", "geo"] {
        run(&["call", url, "A.B", "--select", how]).fails(2, "not built yet");
    }
}

#[test]
fn what_is_wrong_gets_one_line() {
    let url = "rpcx://127.0.0.1:1";
    let long = format!("a:{}", "x".repeat(20_000));
    for (args, with) in [
        (&[][..], "demo, call, bench, put, get, ls, describe, template or top"),
        (&["nope"], "nope"),
        (&["demo", "--nope"], "--nope"),
        (&["demo", "nope"], "nope"),
        (&["demo", "--threads", "0"], "--threads"),
        (&["demo", "--threads", "x"], "--threads"),
        (&["demo", "--threads", "-1"], "--threads"),
        (&["demo", "--body-limit", "0"], "--body-limit"),
        (&["demo", "--body-limit", "-1"], "--body-limit"),
        (&["demo", "--body-limit=-1"], "--body-limit"),
        (&["demo", "--body-limit", "1\n\n2"], "--body-limit"),
        (&["demo", "--listen", "\u{1b}[1m\n\nx"], "\\u{1b}[1m"),
        (&["demo", "--\n\n\u{1b}[1m"], "not known"),
        (&["\n\u{1b}\n"], "no command"),
        (&["demo", "--listen"], "--listen"),
        (&["demo", "--listen", "here"], "here"),
        (&["demo", "--listen", "127.0.0.1:99999"], "127.0.0.1:99999"),
        (&["demo", "--token", ""], "--token"),
        (&["demo", "--once", "--no-calls"], "--once"),
        (&["call"], "URL"),
        (&["call", url], "SERVICE.METHOD"),
        (&["call", url, "Mul"], "Mul"),
        (&["call", url, "Arith."], "Arith."),
        (&["call", url, "A.B", "{}", "{}"], "{}"),
        (&["call", url, "A.B", "--codec", "xml"], "xml"),
        (&["call", url, "A\n\nx.B"], "no method"),
        (&["call", url, "A.B", "--timeout", "-1s"], "--timeout"),
        (&["call", url, "A.B", "-H", "a:b\r\nc: d"], "--header"),
        (&["call", "http://127.0.0.1:1", "A.B", "-H", "a:b\n\nc"], "--header"),
        (&["call", "http://127.0.0.1:1", "A.B", "-H", "a"], "key:value"),
        (&["call", "rpcx://a\n\nb:1", "A.B"], "rpcx://a"),
        (&["call", url, "A.B", "-H", &long], "16384 bytes"),
        (&["ls", "http://127.0.0.1:1", "-H", &long], "16384 bytes"),
        // Nobody is there: what is wrong here is said before anybody is asked.
        (&["call", url, "A.B", "{"], "json"),
        (&["call", url, "A.B", "{", "--codec", "msgpack"], "json"),
        (&["call", url, "Arith.Mul", "{", "--codec", "protobuf"], "json"),
        (&["call", url, "Arith.Mul", "{", "--codec", "thrift"], "json"),
        (&["call", "http://127.0.0.1:1", "A.B", "{}x"], "json"),
        (&["call", "127.0.0.1:1", "A.B"], "127.0.0.1:1"),
        (&["call", "rpcx://127.0.0.1", "A.B"], "port"),
        (&["call", "rpcx://127.0.0.1:1?x=y", "A.B"], "x=y"),
        (&["call", "nope://127.0.0.1:1", "A.B"], "nope"),
        (&["call", "rpcx://127.0.0.1:1#0,127.0.0.1:2", "A.B"], "weight 0"),
        (&["call", "rpcx://127.0.0.1:1,", "A.B"], "comma"),
        (&["call", "rpcx://127.0.0.1:1,127.0.0.1", "A.B"], "port"),
        (&["call", url, "A.B", "--select", "first"], "round-robin"),
        (&["call", "mem://a?wire=rpcx", "A.B"], "mem://"),
        (&["ls"], "URL"),
        (&["ls", url, "x"], "x"),
        (&["describe", url], "SERVICE"),
    ] {
        let done = run(args);
        done.fails(2, with);
        assert!(done.stderr.starts_with("trunkline: "), "{done:?}");
        assert!(!done.stderr.trim_end_matches('\n').contains(char::is_control), "{done:?}");
    }
}

#[test]
#[cfg(unix)]
fn what_is_not_utf8_gets_one_line_too() {
    use std::os::unix::ffi::OsStrExt;
    let word = std::ffi::OsStr::from_bytes(b"\xff");
    for args in [&[word][..], &["ls".as_ref(), word]] {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_trunkline")).args(args).output().unwrap();
        assert_eq!(done.status.code(), Some(2));
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(text.starts_with("trunkline: ") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn help_has_examples_and_no_colours_in_a_pipe() {
    for args in [
        &["--help"][..],
        &["help"],
        &["help", "call"],
        &["-h"],
        &["demo", "--help"],
        &["call", "--help"],
        &["ls", "-h"],
        &["describe", "--help"],
        &["bench", "--help"],
        &["template", "--help"],
    ] {
        let done = run(args);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
        assert!(done.stdout.contains("Examples:\n  trunkline "), "{done:?}");
        assert!(!done.stdout.contains('\x1b'), "{done:?}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.stdout, concat!("trunkline ", env!("CARGO_PKG_VERSION"), "\n"));
}
