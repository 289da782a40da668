//! `trunkline call`: bodies, codecs, exit codes.

mod support;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use support::{Demo, Folder, closing_peer, nobody, peer, run, run_with, silent_peer, undescribed_server};

const CODECS: [&str; 4] = ["json", "msgpack", "protobuf", "thrift"];

#[test]
fn every_codec_on_every_wire() {
    let demo = Demo::start();
    for scheme in ["rpcx", "easymicro", "http"] {
        let url = demo.url(scheme);
        for codec in CODECS {
            let call = |method: &str, body: &str| run(&["call", &url, method, body, "--codec", codec]);
            call("Arith.Mul", r#"{"A":6,"B":7}"#).says("{\"C\":42}\n");
            call("Arith.Add", r#"{"A":-6,"B":-7}"#).says("{\"C\":-13}\n");
            call("Arith.Div", r#"{"A":1,"B":0}"#).fails(1, "divide by zero");
            call("Arith.Mul", r#"{"A":9223372036854775807,"B":2}"#).fails(1, "64 bits");
            call("Fault.Fail", r#"{"Message":"it is so"}"#).fails(1, "it is so");
            call("Fault.Big", r#"{"Bytes":5}"#).says("{\"Data\":\"xxxxx\"}\n");
            call("Slow.Sleep", r#"{"Millis":0}"#).says("{\"Slept\":0}\n");
            call("Meta.Echo", "{}").says("{}\n");
            assert_eq!(call("Hello.Say", r#"{"field1":"a","field280":7}"#).code, 0);
        }
    }
}

#[test]
fn the_message_of_a_failure_is_exactly_the_services() {
    let demo = Demo::start();
    for scheme in ["rpcx", "http"] {
        let url = demo.url(scheme);
        assert_eq!(run(&["call", &url, "Arith.Div", r#"{"A":1}"#]).stderr, "divide by zero\n");
        let done = run(&["call", &url, "Fault.Fail", r#"{"Message":"a\u001b[31m\u0000\rb\u009b"}"#]);
        done.fails(1, r"a\u{1b}[31m\u{0}\rb\u{9b}");
        run(&["call", &url, "Fault.Fail"]).fails(1, "without a text");
        run(&["call", &url, "Fault.Fail", "--codec", "msgpack"]).fails(1, "without a text");
        let done = run(&["call", &url, "Fault.Panic"]);
        assert_eq!(done.code, 1);
        assert!(!done.stderr.contains("Fault.Panic"), "{done:?}");
        run(&["call", &url, "Nope.Mul"]).fails(1, "rpcx: can't find service Nope");
        run(&["call", &url, "Arith.Nope"]).fails(1, "rpcx: can't find method Nope");
        run(&["call", &url, "Arith.Nope", "--codec", "protobuf"]).fails(1, "rpcx: can't find method Nope");
        run(&["call", &url, "Arith.Mul", r#"{"A":"x"}"#]).fails(1, "field A");
    }
    demo.call("Arith.Mul", r#"{"A":6,"B":7}"#).says("{\"C\":42}\n");
}

#[test]
fn bodies_come_from_the_line_a_file_and_standard_input() {
    let demo = Demo::start();
    let folder = Folder::new("bodies");
    let file = folder.path("args.json");
    std::fs::write(&file, r#"{"A":6,"B":7}"#).unwrap();
    let url = demo.url("rpcx");
    run(&["call", &url, "Arith.Mul", &format!("@{file}")]).says("{\"C\":42}\n");
    run_with(&["call", &url, "Arith.Mul", "@-"], br#"{"A":6,"B":7}"#).says("{\"C\":42}\n");
    run(&["call", &url, "Arith.Mul"]).says("{\"C\":0}\n");
    run(&["call", &url, "Arith.Mul", "@/nowhere/at-all"]).fails(2, "/nowhere/at-all");
    run(&["call", &url, "Arith.Mul", "@"]).fails(2, "name is missing");
    for codec in CODECS {
        run(&["call", &url, "Arith.Mul", "{", "--codec", codec]).fails(2, "json");
    }
    for codec in ["protobuf", "thrift"] {
        run(&["call", &url, "Arith.Mul", r#"{"A":"x"}"#, "--codec", codec]).fails(2, "field A");
    }
    run_with(&["call", &url, "Arith.Mul", "@-"], b"\xff").fails(2, "UTF-8");
}

#[test]
fn bytes_go_through_as_they_are() {
    let demo = Demo::start();
    let bytes = String::from_utf8((0..=127).collect()).unwrap().repeat(2000);
    for scheme in ["rpcx", "http"] {
        let url = demo.url(scheme);
        for method in ["Echo.Echo", "Echo.Owned"] {
            for codec in ["raw", "protobuf", "thrift"] {
                run_with(&["call", &url, method, "@-", "--codec", codec], bytes.as_bytes()).says(&bytes);
            }
            run(&["call", &url, method, "--codec", "raw"]).says("");
            run(&["call", &url, method, r#"{"a":[1,null]}"#, "--codec", "msgpack"])
                .says("{\"a\":[1,null]}\n");
            run(&["call", &url, method, "-1", "--codec", "json"]).says("-1\n");
        }
    }
    let url = demo.url("rpcx");
    run(&["call", &url, "Echo.Echo", "a\"b", "--codec", "raw", "--json"]).says("\"a\\\"b\"\n");
    run_with(&["call", &url, "Echo.Echo", "@-", "--codec", "raw", "--json"], b"\xff\x00").says("\"/wA=\"\n");
}

#[test]
fn metadata_goes_out_and_comes_back() {
    let demo = Demo::start();
    for scheme in ["rpcx", "http"] {
        let url = demo.url(scheme);
        let done = run(&["call", &url, "Meta.Echo", "-v", "-H", "k y: a & b+c", "-H", "ü:ö"]);
        assert_eq!((done.code, done.stdout.as_str()), (0, "{}\n"), "{done:?}");
        assert!(done.stderr.contains("metadata: k y: a & b+c\n"), "{done:?}");
        assert!(done.stderr.contains(": ö\n"), "{done:?}");
        for part in [&format!("address: {}\n", demo.address), "attempts: 1\n", "time: "] {
            assert!(done.stderr.contains(part), "{done:?}");
        }
        run(&["call", &url, "Meta.Echo", "-H", "no colon"]).fails(2, "key:value");
    }
}

#[test]
fn a_deadline_ends_the_call_here_and_there() {
    let demo = Demo::start();
    for (number, scheme) in ["rpcx", "http"].iter().enumerate() {
        let begun = Instant::now();
        let url = demo.url(scheme);
        let done = run(&["call", &url, "Slow.Sleep", r#"{"Millis":60000}"#, "--timeout", "200ms"]);
        done.fails(4, "deadline");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let stats = format!(r#""Running":0,"Completed":0,"Cancelled":{}"#, number + 1);
        demo.call_until("Slow.Stats", &stats);
    }
    run(&["call", &demo.url("rpcx"), "Slow.Sleep", r#"{"Millis":1}"#, "--timeout", "5s"])
        .says("{\"Slept\":1}\n");
    for bad in ["5", "0s", "-1s", "x"] {
        run(&["call", &demo.url("rpcx"), "Slow.Stats", &format!("--timeout={bad}")]).fails(2, "--timeout");
    }
    let silent = silent_peer();
    for scheme in ["rpcx", "http"] {
        let url = format!("{scheme}://{silent}");
        run(&["call", &url, "A.B", "--timeout", "100ms"]).fails(4, "deadline");
    }
}

#[test]
fn a_one_way_call_arrives_without_an_answer() {
    let demo = Demo::start();
    let large = format!(r#"{{"Millis":1,"Padding":"{}"}}"#, "x".repeat(3 << 20));
    for (number, scheme) in ["rpcx", "http"].iter().enumerate() {
        let call = ["call", &demo.url(scheme), "Slow.Sleep", "@-", "--oneway"];
        run_with(&call, br#"{"Millis":1}"#).says("");
        run_with(&call, large.as_bytes()).says("");
        demo.call_until("Slow.Stats", &format!(r#""Completed":{}"#, 2 * (number + 1)));
    }
}

#[test]
fn a_one_way_call_does_not_wait_for_its_end() {
    let demo = Demo::start();
    for scheme in ["http", "rpcx"] {
        run(&["call", &demo.url(scheme), "Slow.Sleep", r#"{"Millis":8000}"#, "--oneway"]).says("");
    }
    demo.call_until("Slow.Stats", r#""Running":2"#);
}

/// The header of a reply that claims 4 GiB, and nothing behind it.
#[test]
fn a_reply_that_claims_too_much_fails_the_call_at_once() {
    let huge = peer(|mut stream| {
        std::thread::spawn(move || {
            // The client's first frame is its heartbeat, numbered by itself; the call is the second.
            let mut seq = [0; 8];
            for _ in 0..2 {
                let mut header = [0; 16];
                stream.read_exact(&mut header).unwrap();
                seq.copy_from_slice(&header[4..12]);
                let rest = u32::from_be_bytes(*header[12..].first_chunk().unwrap());
                stream.read_exact(&mut vec![0; rest.try_into().unwrap()]).unwrap();
            }
            let reply = [&[8, 0, 0x80, 0x10][..], &seq, &[0xff; 4]].concat();
            stream.write_all(&reply).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
    });
    let begun = Instant::now();
    run(&["call", &format!("rpcx://{huge}"), "Arith.Mul", "{}"])
        .fails(1, "over the limit of 268435456 bytes");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn pushes_come_before_the_answer_and_do_not_disturb_it() {
    let demo = Demo::start();
    demo.call("Push.Start", r#"{"Count":3}"#).says("{\"Started\":3}\n");
    demo.call("Push.Start", r#"{"Count":-3}"#).fails(1, "negative");
    run(&["call", &demo.url("http"), "Push.Start", r#"{"Count":3}"#]).fails(1, "http");
}

#[test]
fn transport_failures_name_the_address() {
    let (gone, closing) = (nobody(), closing_peer());
    for scheme in ["rpcx", "easymicro", "http"] {
        run(&["call", &format!("{scheme}://{gone}"), "A.B"]).fails(3, &gone);
        run(&["call", &format!("{scheme}://{closing}"), "A.B"]).fails(3, &closing);
        run(&["call", &format!("{scheme}://{gone}"), "A.B", "--codec", "thrift"]).fails(3, &gone);
    }
    run(&["call", "unix:///nowhere/demo.sock?wire=rpcx", "A.B"]).fails(3, "/nowhere/demo.sock");
}

#[test]
fn without_a_schema_the_codecs_with_numbers_are_refused() {
    let (undescribed, silent) = (undescribed_server(), silent_peer());
    for scheme in ["rpcx", "http"] {
        let url = format!("{scheme}://{undescribed}");
        for codec in ["protobuf", "thrift"] {
            let done = run(&["call", &url, "Own.Mul", "{}", "--codec", codec]);
            done.fails(2, "schema of Own.Mul");
            done.fails(2, &undescribed);
            // The sample services are known without asking.
            run(&["call", &url, "Arith.Mul", "{}", "--codec", codec]).fails(1, "can't find service Arith");
            run(&["call", &url, "Arith.Mul", "[]", "--codec", codec]).fails(2, "Args is expected");
        }
        run(&["call", &url, "Own.Mul", "{}", "--codec", "msgpack"]).fails(1, "can't find service Own");
        run(&["ls", &url]).fails(1, &undescribed);
    }
    // easymicro's server says nothing at all.
    let url = format!("easymicro://{silent}");
    run(&["call", &url, "Own.Mul", "{}", "--codec", "thrift"]).fails(2, "schema of Own.Mul");
    run(&["call", &url, "Own.Mul", "{}", "--codec", "thrift", "--timeout", "1s"]).fails(4, "deadline");
}

#[test]
fn a_batch_is_answered_line_by_line_in_order() {
    let demo = Demo::start();
    let lines = "Slow.Sleep {\"Millis\":50}\n\nArith.Mul {\"A\":6,\"B\":7}\n  Arith.Div {\"A\":1,\"B\":0}\nMeta.Echo\n";
    let answers = "{\"Slept\":50}\n{\"C\":42}\n{\"error\":\"divide by zero\"}\n{}\n";
    for scheme in ["rpcx", "http", "easymicro"] {
        for codec in CODECS {
            let done =
                run_with(&["call", &demo.url(scheme), "--batch", "-", "--codec", codec], lines.as_bytes());
            assert_eq!((done.code, done.stdout.as_str()), (1, answers), "{scheme} {codec}: {done:?}");
        }
    }
    let folder = Folder::new("batch");
    let file = folder.path("calls");
    std::fs::write(&file, "Arith.Add {\"A\":1,\"B\":2}\n".repeat(2500)).unwrap();
    let url = demo.url("rpcx");
    run(&["call", &url, "--batch", &file]).says(&"{\"C\":3}\n".repeat(2500));
    run_with(&["call", &url, "--batch", "-", "--codec", "raw"], b"Echo.Echo a b\n").says("\"a b\"\n");
    let late = run_with(
        &["call", &url, "--batch", "-", "--timeout", "50ms"],
        b"Slow.Sleep {\"Millis\":9000}\nFault.Fail\n",
    );
    assert_eq!(late.code, 4, "the worst of a deadline and a failure: {late:?}");
    assert_eq!(late.stdout.lines().count(), 2);
    let dead = nobody();
    let failed = run_with(&["call", &format!("rpcx://{dead}"), "--batch", "-"], b"Arith.Mul\n");
    failed.fails(3, &dead);
}

#[test]
fn a_bad_line_of_a_batch_is_named_before_any_call() {
    let demo = Demo::start();
    let url = demo.url("rpcx");
    run_with(&["call", &url, "--batch", "-"], b"Arith.Mul {}\nArith {}\n").fails(2, "line 2");
    run_with(&["call", &url, "--batch", "-"], b"Arith.Mul {\n").fails(2, "line 1");
    run(&["call", &url, "--batch", "/nowhere/at/all"]).fails(2, "/nowhere/at/all");
    run(&["call", &url, "Arith.Mul", "--batch", "-"]).fails(2, "--batch");
}

#[test]
fn several_endpoints_are_called_by_the_one_command() {
    let (one, other) = (Demo::start(), Demo::start());
    let mul = r#"{"A":6,"B":7}"#;
    let selects = ["round-robin", "random", "weighted", "least-pending", "p2c-ewma", "consistent-hash"];
    let urls = format!("{}#3,{}", one.url("rpcx"), other.address);
    for select in selects {
        run(&["call", &urls, "Arith.Mul", mul, "--select", select]).says("{\"C\":42}\n");
    }
    for codec in CODECS {
        run(&["call", &urls, "Arith.Mul", mul, "--codec", codec]).says("{\"C\":42}\n");
    }
    // Wires may be mixed; the message of a failure is the service's.
    let mixed = format!("{},{}", one.url("http"), other.url("rpcx"));
    run(&["call", &mixed, "Arith.Mul", mul]).says("{\"C\":42}\n");
    run(&["call", &mixed, "Arith.Div", r#"{"A":1}"#]).fails(1, "divide by zero");
    run(&["call", &urls, "Slow.Sleep", r#"{"Millis":60000}"#, "--timeout", "200ms"]).fails(4, "deadline");
    let done =
        run_with(&["call", &urls, "--batch", "-"], b"Arith.Mul {\"A\":6,\"B\":7}\nArith.Div {\"A\":1}\n");
    assert_eq!((done.code, done.stdout.as_str()), (1, "{\"C\":42}\n{\"error\":\"divide by zero\"}\n"));
    let batch: String = (0..50).map(|n| format!("Arith.Add {{\"A\":{n},\"B\":1}}\n")).collect();
    let answers: String = (0..50).map(|n| format!("{{\"C\":{}}}\n", n + 1)).collect();
    run_with(&["call", &urls, "--batch", "-"], batch.as_bytes()).says(&answers);
}

#[test]
fn a_dead_endpoint_of_two_is_told_and_costs_nothing_else() {
    let demo = Demo::start();
    let dead = nobody();
    let urls = format!("rpcx://{dead},{}", demo.address);
    let done = run(&["call", &urls, "Arith.Mul", r#"{"A":6,"B":7}"#, "-v"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "{\"C\":42}\n"), "{done:?}");
    for part in [&format!("attempt 1: {dead}: "), &format!("address: {}\n", demo.address), "attempts: 2\n"] {
        assert!(done.stderr.contains(part), "{done:?}");
    }
    run(&["call", &urls, "Arith.Mul"]).says("{\"C\":0}\n");
    let done = run(&["call", &format!("rpcx://{dead},{}", nobody()), "Arith.Mul"]);
    done.fails(3, "no endpoint can be called");
    done.fails(3, &format!("rpcx://{dead}: "));
}
