//! `trunkline ls`, `describe`, `template`.

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Demo, closing_peer, nobody, peer, run, silent_peer};

const METHODS: [&str; 13] = [
    "Arith.Add",
    "Arith.Div",
    "Arith.Mul",
    "Echo.Echo",
    "Echo.Owned",
    "Fault.Big",
    "Fault.Fail",
    "Fault.Panic",
    "Hello.Say",
    "Meta.Echo",
    "Push.Start",
    "Slow.Sleep",
    "Slow.Stats",
];

#[test]
fn ls_lists_the_sample_services_and_nothing_else() {
    let demo = Demo::start();
    for scheme in ["rpcx", "easymicro", "http"] {
        let url = demo.url(scheme);
        run(&["ls", &url]).says(&(METHODS.join("\n") + "\n"));
        let names: Value = serde_json::from_str(&run(&["ls", &url, "--json"]).stdout).unwrap();
        assert_eq!(names, Value::from(METHODS.to_vec()));
    }
}

#[test]
fn describe_names_every_field_with_its_type() {
    let demo = Demo::start();
    let url = demo.url("rpcx");
    let service = run(&["describe", &url, "Arith"]);
    for part in ["Arith.Mul", "Arith.Add", "Arith.Div", "1 A int64", "2 B int64", "1 C int64", "idempotent"] {
        assert!(service.stdout.contains(part), "{part}: {service:?}");
    }
    let method = run(&["describe", &url, "Arith.Div"]).stdout;
    assert!(method.contains("2 B int64") && !method.contains("Mul") && !method.contains("idempotent"));
    let hello = run(&["describe", &url, "Hello.Say"]).stdout;
    for part in ["129 field129 string", "5 field5 list<fixed64>", "280 field280 int32", "12 field12 bool"] {
        assert!(hello.contains(part), "{part}: {hello}");
    }
    assert!(run(&["describe", &url, "Echo.Echo"]).stdout.contains("request bytes"));
    let json: Value = serde_json::from_str(&run(&["describe", &url, "Arith.Mul", "--json"]).stdout).unwrap();
    assert_eq!(json["name"], "Mul");
    assert_eq!(json["request"]["messages"][0]["fields"][1]["name"], "B");
    let json: Value = serde_json::from_str(&run(&["describe", &url, "Arith", "--json"]).stdout).unwrap();
    assert_eq!(json["methods"][2]["name"], "Div");
}

/// What a peer says of itself is shown, and does nothing to the terminal.
#[test]
fn names_and_texts_from_elsewhere_are_shown_without_control_characters() {
    use std::io::{Read, Write};
    let schema = r#"{"kind":"message","name":"Q\u001b","messages":[{"name":"Q","fields":
        [{"name":"f\u009b1m","number":1,"type":"string"}]}]}"#;
    let method = format!(
        r#"{{"name":"M\u0000\n","doc":"d\r\u001b[2J","idempotent":true,"request":{schema},"reply":{schema}}}"#
    );
    let body = format!(r#"{{"services":[{{"name":"A\u001b[2J","doc":"\u0007x","methods":[{method}]}}]}}"#);
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nX-RPCX-Meta: %1B[1m=%1B[2m\r\nContent-Length: {length}\r\n\r\n");
    let url = format!(
        "http://{}",
        peer(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        })
    );
    let shown = |done: support::Done, with: &[&str]| {
        let text = format!("{}{}", done.stdout, done.stderr);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{done:?}");
        for with in with {
            assert!(text.contains(with), "{with}: {done:?}");
        }
    };
    let listed = run(&["ls", &url]);
    assert_eq!(listed.stdout.lines().count(), 1);
    shown(listed, &["A\\u{1b}[2J.M\\u{0}\\n"]);
    shown(run(&["describe", &url, "A\u{1b}[2J"]), &["\\u{7}x", "f\\u{9b}1m", "d\\r"]);
    shown(run(&["describe", &url, "Nope"]), &["no Nope"]);
    shown(run(&["call", &url, "A.B", "-v", "--codec", "msgpack"]), &["metadata: \\u{1b}[1m: \\u{1b}[2m"]);
}

#[test]
fn call_takes_every_template_as_it_is() {
    let demo = Demo::start();
    let url = demo.url("rpcx");
    run(&["template", &url, "Arith.Mul"]).says("{\"A\":0,\"B\":0}\n");
    for name in METHODS {
        let template = run(&["template", &url, name]).stdout;
        for codec in ["json", "msgpack", "protobuf", "thrift"] {
            let done = run(&["call", &url, name, template.trim_end(), "--codec", codec]);
            let fails = matches!(name, "Arith.Div" | "Fault.Fail" | "Fault.Panic");
            assert_eq!(done.code, i32::from(fails), "{name} {codec}: {done:?}");
        }
    }
}

#[test]
fn unknown_names_are_named() {
    let demo = Demo::start();
    let url = demo.url("rpcx");
    for name in ["Nope", "Nope.Mul", "Arith.Nope", "Trunkline.Describe"] {
        run(&["describe", &url, name]).fails(1, name);
    }
    for name in ["Nope.Mul", "Arith.Nope"] {
        run(&["template", &url, name]).fails(1, name);
    }
    run(&["template", &url, "Arith"]).fails(2, "Arith");
}

#[test]
fn a_peer_that_cannot_say_it_is_given_up_in_time() {
    let (silent, closing, gone) = (silent_peer(), closing_peer(), nobody());
    for scheme in ["rpcx", "http"] {
        for verb in [&["ls"][..], &["describe", "A"], &["template", "A.B"]] {
            let at = |address: &str| {
                let url = format!("{scheme}://{address}");
                run(&[&[verb[0], &url], &verb[1..]].concat())
            };
            at(&gone).fails(3, &gone);
            at(&closing).fails(3, &closing);
        }
        let begun = Instant::now();
        run(&["ls", &format!("{scheme}://{silent}")]).fails(1, &silent);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
