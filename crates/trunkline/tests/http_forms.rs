//! The header forms of rpcx and easymicro and JSON-RPC 2.0, on requests that Go programs sent.

#![cfg(feature = "http")]

mod http_support;

use std::sync::atomic::Ordering;

use http_support::{Answer, PATIENCE, Raw, ask, post, start, until};
use serde_json::{Value, json};

const BODY: &str = r#"{"A":10,"B":20}"#;

/// The headers of an answer that begin with `prefix`, sorted, as `name: value`.
fn named(answer: &Answer, prefix: &str) -> Vec<String> {
    let mut found: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    found.sort();
    found
}

/// Golden cases `http-*` of rpcx 1.9.4: request line, headers, then status, headers and body of the answer.
#[tokio::test]
async fn rpcx_headers_are_answered_as_by_go() {
    const ID: &str = "X-RPCX-MessageID: 12345\r\nX-RPCX-MessageType: 0\r\n";
    const MUL: &str = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-ServicePath: Arith\r\n";
    let repeated = |path: &str, method: &str| {
        vec![
            "X-Rpcx-Messageid: 12345".to_owned(),
            "X-Rpcx-Serializetype: 1".to_owned(),
            format!("X-Rpcx-Servicemethod: {method}"),
            format!("X-Rpcx-Servicepath: {path}"),
            "X-Rpcx-Version: ".to_owned(),
        ]
    };
    let with = |mut headers: Vec<String>, more: &[&str], but: &str| {
        headers.retain(|header| but.is_empty() || !header.starts_with(but));
        headers.extend(more.iter().map(|header| (*header).to_owned()));
        headers.sort();
        headers
    };
    let error = |text: &str| format!("X-Rpcx-Errormessage: {text}");
    let failed = "X-Rpcx-Messagestatustype: Error";
    let server = start(|b| b).await;
    for (line, headers, status, expected, body) in [
        (
            "POST /",
            format!("{ID}{MUL}"),
            200,
            with(repeated("Arith", "Mul"), &["X-Rpcx-Meta: "], ""),
            r#"{"C":200}"#,
        ),
        (
            "PUT /Meta",
            format!(
                "{ID}X-RPCX-Meta: k=v&m=%C3%B6\r\nX-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Echo\r\n"
            ),
            200,
            with(repeated("Meta", "Echo"), &["X-Rpcx-Meta: echo-k=v&echo-m=%C3%B6"], ""),
            "{}",
        ),
        (
            "POST /",
            format!("{ID}{}", MUL.replace("Mul", "Fail")),
            500,
            with(repeated("Arith", "Fail"), &[&error("refused 10: größer"), failed], ""),
            "",
        ),
        (
            "POST /",
            format!("{ID}{}", MUL.replace("Arith", "Nope")),
            500,
            with(repeated("Nope", "Mul"), &[&error("rpcx: can't find service Nope"), failed], ""),
            "",
        ),
        (
            "POST /",
            format!("{ID}X-RPCX-ServiceMethod: Mul\r\nX-RPCX-ServicePath: Arith\r\n"),
            200,
            with(
                repeated("Arith", "Mul"),
                &[&error("empty serialized type"), failed],
                "X-Rpcx-Serializetype",
            ),
            "",
        ),
        (
            "POST /",
            format!("{}{MUL}", ID.replace("12345", "x")),
            200,
            with(
                repeated("Arith", "Mul"),
                &["X-Rpcx-Messageid: x", &error("strconv.ParseUint: parsing \"x\": invalid syntax"), failed],
                "X-Rpcx-Messageid",
            ),
            "",
        ),
        (
            "POST /",
            format!("{ID}X-RPCX-SerializeType: 1\r\nX-RPCX-ServicePath: Arith\r\n"),
            200,
            with(repeated("Arith", ""), &[&error("empty servicemethod"), failed], "X-Rpcx-Servicemethod"),
            "",
        ),
        (
            "POST /",
            format!("{ID}X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Mul\r\n"),
            200,
            with(repeated("", "Mul"), &[&error("empty servicepath"), failed], "X-Rpcx-Servicepath"),
            "",
        ),
        (
            "POST /",
            format!("X-RPCX-Heartbeat: 1\r\n{ID}{MUL}"),
            200,
            with(repeated("Arith", "Mul"), &["X-Rpcx-Meta: "], ""),
            r#"{"C":200}"#,
        ),
        (
            "POST /",
            format!("X-RPCX-Oneway: 1\r\n{ID}{MUL}"),
            200,
            with(repeated("Arith", "Mul"), &["X-Rpcx-Meta: "], ""),
            "",
        ),
        (
            "GET /",
            MUL.to_owned(),
            200,
            with(repeated("Arith", "Mul"), &["X-Rpcx-Meta: ", "X-Rpcx-Messageid: "], "X-Rpcx-Messageid"),
            r#"{"C":200}"#,
        ),
        ("DELETE /Arith", format!("{ID}{MUL}"), 405, vec![], "Method Not Allowed\n"),
        (
            "POST /",
            format!("X-RPCX-Meta: a=b%0D%0AX: y\r\n{ID}{MUL}"),
            200,
            with(
                repeated("Arith", "Mul"),
                &[&error("x-rpcx-meta: a key or a value has a line end or NUL in it"), failed],
                "",
            ),
            "",
        ),
    ] {
        let request = format!("{line} HTTP/1.1\r\nContent-Length: 15\r\n{headers}\r\n{BODY}");
        let answer = ask(&server.address, &request).await;
        assert_eq!((answer.status, answer.text()), (status, body), "{request}");
        assert_eq!(named(&answer, "X-Rpcx-"), expected, "{request}");
        let allow = (status == 405).then_some("GET, OPTIONS, POST, PUT");
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test]
async fn a_refused_token_is_401_in_the_header_forms() {
    let server = start(|b| b.token("good")).await;
    let rpcx = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-ServicePath: Arith\r\n";
    let easymicro = "Easymicro-MessageID: 1\r\nEasymicro-SerializeType: 1\r\n";
    for (headers, prefix) in [(rpcx, "x-rpcx-"), (easymicro, "easymicro-")] {
        for (token, status) in [("good", 200), ("bad", 401)] {
            let headers = format!("Authorization: Bearer {token}\r\n{headers}");
            let answer = ask(&server.address, post("/Arith/Mul", &headers, BODY)).await;
            assert_eq!(answer.status, status);
            let text = (status == 401).then_some("invalid token");
            assert_eq!(answer.header(&format!("{prefix}errormessage")), text);
        }
        // E16: easymicro lets a caller set the token, and any other key, as metadata.
        let forged = format!("{prefix}Meta: __AUTH=good\r\n{headers}");
        let answer = ask(&server.address, post("/Arith/Mul", &forged, BODY)).await;
        assert_eq!(answer.status, 401, "{prefix}");
    }
}

/// Golden cases `http-*` of easymicro.
#[tokio::test]
async fn easymicro_headers_are_answered_as_by_go() {
    const ALL: &str = "Easymicro-MessageID: 12345\r\nEasymicro-SerializeType: 1\r\nEasymicro-Version: 0\r\n";
    let server = start(|b| b).await;
    for (line, headers, status, expected, body) in [
        (
            "POST /Arith/Mul",
            ALL.to_owned(),
            200,
            "Messageid: 12345|Meta: |Serializetype: 1|Servicemethod: Mul|Servicepath: Arith|Version: 0",
            r#"{"C":200}"#,
        ),
        (
            "GET /arith/mul",
            ALL.to_owned(),
            200,
            "Messageid: 12345|Meta: |Serializetype: 1|Servicemethod: mul|Servicepath: arith|Version: 0",
            r#"{"C":200}"#,
        ),
        (
            "POST /Meta/Echo",
            format!("Authorization: Bearer x\r\nEasymicro-Meta: k=v&m=%C3%B6\r\n{ALL}"),
            200,
            "Messageid: 12345|Meta: echo-__AUTH=Bearer+x&echo-k=v&echo-m=%C3%B6|Serializetype: 1|\
             Servicemethod: Echo|Servicepath: Meta|Version: 0",
            "{}",
        ),
        (
            "POST /Arith/Fail",
            ALL.to_owned(),
            500,
            "Errormessage: refused 10: größer|Messageid: 12345|Messagestatustype: Error|Serializetype: 1|\
             Servicemethod: Fail|Servicepath: Arith|Version: 0",
            "",
        ),
        (
            "POST /Nope/Mul",
            ALL.to_owned(),
            500,
            "Errormessage: easymicro: can't find service nope|Messageid: 12345|Messagestatustype: Error|\
             Serializetype: 1|Servicemethod: Mul|Servicepath: Nope|Version: 0",
            "",
        ),
        (
            "POST /Arith/Nope",
            ALL.to_owned(),
            500,
            "Errormessage: easymicro: can't find method nope|Messageid: 12345|Messagestatustype: Error|\
             Serializetype: 1|Servicemethod: Nope|Servicepath: Arith|Version: 0",
            "",
        ),
        (
            "POST /Arith/Mul",
            ALL.replace("Easymicro-SerializeType: 1\r\n", ""),
            400,
            "Errormessage: empty serialized type|Messageid: 12345|Messagestatustype: Error|\
             Servicemethod: Mul|Servicepath: Arith|Version: 0",
            "",
        ),
        (
            "POST /Arith/Mul",
            ALL.replace("12345", "x"),
            400,
            "Errormessage: invalid message id|Messageid: x|Messagestatustype: Error|Serializetype: 1|\
             Servicemethod: Mul|Servicepath: Arith|Version: 0",
            "",
        ),
        (
            "POST /Arith/Mul",
            ALL.replace("Easymicro-MessageID: 12345\r\n", ""),
            400,
            "Errormessage: invalid message id|Messageid: |Messagestatustype: Error|Serializetype: 1|\
             Servicemethod: Mul|Servicepath: Arith|Version: 0",
            "",
        ),
        ("POST /Arith", ALL.to_owned(), 404, "", "404 page not found\n"),
        ("PUT /Arith/Mul", ALL.to_owned(), 405, "", "Method Not Allowed\n"),
        (
            "POST /Arith/Mul",
            format!("Easymicro-Oneway: 1\r\n{ALL}"),
            200,
            "Messageid: 12345|Meta: |Serializetype: 1|Servicemethod: Mul|Servicepath: Arith|Version: 0",
            "",
        ),
    ] {
        let request = format!("{line} HTTP/1.1\r\nContent-Length: 15\r\n{headers}\r\n{BODY}");
        let answer = ask(&server.address, &request).await;
        assert_eq!((answer.status, answer.text()), (status, body), "{request}");
        let expected: Vec<_> = expected
            .split('|')
            .filter(|text| !text.is_empty())
            .map(|text| format!("Easymicro-{}", text.trim_start()))
            .collect();
        assert_eq!(named(&answer, "Easymicro-"), expected, "{request}");
    }
}

/// What a handler says cannot end its header and begin another one, or another answer.
#[tokio::test]
async fn an_error_text_cannot_break_out_of_its_header() {
    let server = start(|b| b).await;
    let rpcx = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Evil\r\nX-RPCX-ServicePath: Arith\r\n";
    let easymicro = "Easymicro-MessageID: 1\r\nEasymicro-SerializeType: 1\r\n";
    for headers in [rpcx, easymicro] {
        let answer = ask(&server.address, post("/Arith/Evil", headers, "{}")).await;
        assert_eq!(answer.status, 500);
        assert_eq!(answer.header("x-evil"), None);
        let text = answer.header("x-rpcx-errormessage").or(answer.header("easymicro-errormessage"));
        assert_eq!(text, Some("no  X-Evil: yes    <b>\""));
    }
    let plain = ask(&server.address, post("/Arith/Evil", "", "{}")).await;
    assert_eq!(plain.json()["error"]["message"], "no\r\nX-Evil: yes\r\n\r\n<b>\"\0");
}

#[tokio::test]
async fn a_large_body_is_413_in_the_header_forms() {
    let server = start(|b| b.body_limit(100)).await;
    let rpcx = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Echo\r\nX-RPCX-ServicePath: Echo\r\n";
    let easymicro = "Easymicro-MessageID: 1\r\nEasymicro-SerializeType: 1\r\n";
    for (headers, name) in [(rpcx, "x-rpcx-errormessage"), (easymicro, "easymicro-errormessage")] {
        let answer = ask(&server.address, post("/Echo/Echo", headers, &"x".repeat(101))).await;
        assert_eq!((answer.status, answer.text()), (413, ""));
        let text =
            "the request's body is over the limit of 100 bytes (setting body_limit, flag --body-limit)";
        assert_eq!(answer.header(name), Some(text));
    }
}

/// E1: easymicro's codec brings the process down where the serialisation does not fit; over HTTP it is a header.
#[tokio::test]
async fn e1_a_serialisation_that_does_not_fit_fails_its_call_alone() {
    let server = start(|b| b).await;
    for number in ["0", "2", "4", "5", "15", "255", "32767"] {
        let headers = format!(
            "X-RPCX-SerializeType: {number}\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-ServicePath: Arith\r\n"
        );
        let answer = ask(&server.address, post("/", &headers, "x")).await;
        assert_eq!(answer.status, 500, "{number}");
        assert_eq!(answer.header("x-rpcx-messagestatustype"), Some("Error"));
    }
    assert_eq!(ask(&server.address, post("/Arith/Mul", "", BODY)).await.text(), r#"{"C":200}"#);
}

fn rpc(body: &str) -> String {
    post("/any/path", "X-JSONRPC-2.0: true\r\n", body)
}

#[tokio::test]
async fn json_rpc_answers_by_its_specification() {
    let server = start(|b| b).await;
    let error = |code: i32, message: &str, id: Value| json!({"jsonrpc": "2.0", "error": {"code": code, "message": message, "data": null}, "id": id});
    let no_request = "the request is not an object of JSON-RPC 2.0";
    for (body, expected) in [
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":10,"B":20},"id":1}"#,
            r#"{"jsonrpc":"2.0","result":{"C":200},"id":1}"#.to_owned(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":10,"B":20},"id":"x"}"#,
            r#"{"jsonrpc":"2.0","result":{"C":200},"id":"x"}"#.to_owned(),
        ),
        (
            r#" {"id": 12345678901234567890.50 ,"method":"arith.mul","jsonrpc":"2.0","params":{"A":1,"B":2},"more":0}"#,
            r#"{"jsonrpc":"2.0","result":{"C":2},"id":12345678901234567890.50}"#.to_owned(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Echo.Echo","params":[1, 2],"id":null}"#,
            r#"{"jsonrpc":"2.0","result":[1, 2],"id":null}"#.to_owned(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Echo.Echo","id":6}"#,
            r#"{"jsonrpc":"2.0","result":{},"id":6}"#.to_owned(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Fail","params":{},"id":2}"#,
            r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"refused 10: größer","data":null},"id":2}"#
                .to_owned(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Nope","params":{},"id":3}"#,
            error(-32601, "rpcx: can't find method Nope", json!(3)).to_string(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"No.pe.Mul","params":{},"id":3}"#,
            error(-32601, "rpcx: can't find service No.pe", json!(3)).to_string(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Mul","params":{},"id":4}"#,
            error(-32601, "must contains servicepath and method", json!(4)).to_string(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":1},"id":5}"#,
            error(-32602, "B is missing", json!(5)).to_string(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Fault.Code","params":{"Code":3},"id":5}"#,
            error(-32603, "as not_found", json!(5)).to_string(),
        ),
        ("[]", error(-32600, "the batch is empty", json!(null)).to_string()),
        ("{}", error(-32600, "the member jsonrpc is not \"2.0\"", json!(null)).to_string()),
        (
            r#"{"jsonrpc":"2.0","id":7}"#,
            error(-32600, "the member method is missing or not a string", json!(7)).to_string(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":1,"id":7}"#,
            error(-32600, "the member method is missing or not a string", json!(7)).to_string(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"Arith.Mul","id":{}}"#,
            error(-32600, "the id is not a number, a string or null", json!(null)).to_string(),
        ),
        ("1", error(-32600, no_request, json!(null)).to_string()),
        ("[1]", format!("[{}]", error(-32600, no_request, json!(null)))),
    ] {
        let answer = ask(&server.address, rpc(body)).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{body}");
        assert_eq!(answer.json(), serde_json::from_str::<Value>(&expected).unwrap(), "{body}");
        if !expected.contains("-326") {
            assert_eq!(answer.text(), expected, "{body}");
        }
    }
    for body in ["", "{", "[1", "{}x", "\u{7f}", "nul"] {
        let answer = ask(&server.address, rpc(body)).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(-32700)), "{body}");
        assert_eq!(answer.json()["id"], json!(null));
    }
}

#[tokio::test]
async fn a_batch_is_answered_by_an_array_without_the_notifications() {
    let server = start(|b| b).await;
    let body = r#"[{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":1,"B":2},"id":1},
        {"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":1,"B":2}},
        {"foo": "boo"},
        {"jsonrpc":"2.0","method":"Arith.Fail","id":"9"}]"#;
    let answer = ask(&server.address, rpc(body)).await.json();
    let answers = answer.as_array().unwrap();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0], json!({"jsonrpc": "2.0", "result": {"C": 2}, "id": 1}));
    assert_eq!(answers[1]["error"]["code"], json!(-32600));
    assert_eq!(answers[2]["id"], json!("9"));
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 3);
    let note = r#"{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":1,"B":2}}"#;
    for body in [note.to_owned(), format!("[{note},{note}]")] {
        let answer = ask(&server.address, rpc(&body)).await;
        assert_eq!((answer.status, answer.text()), (200, ""));
    }
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 6);
}

fn sleepers(times: impl Iterator<Item = u64>) -> String {
    let call = |(id, time)| {
        format!(r#"{{"jsonrpc":"2.0","method":"Slow.Sleep","params":{{"Millis":{time}}},"id":{id}}}"#)
    };
    format!("[{}]", times.enumerate().map(call).collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn a_batch_runs_side_by_side_and_is_answered_in_order() {
    let server = start(|b| b).await;
    let answer = ask(&server.address, rpc(&sleepers([40, 20, 1, 30].into_iter()))).await.json();
    let slept: Vec<_> = answer.as_array().unwrap().iter().map(|answer| &answer["result"]["Slept"]).collect();
    assert_eq!(slept, [40, 20, 1, 30]);
    let mut raw = Raw::open(&server.address).await;
    raw.send(rpc(&sleepers([600_000; 20].into_iter()))).await;
    until("all sleep at the same time", || server.seen.sleeping.load(Ordering::SeqCst) == 24).await;
    drop(raw);
    until("all are dropped with their caller", || server.seen.dropped.load(Ordering::SeqCst) == 24).await;
}

#[tokio::test]
async fn a_batch_has_limits() {
    let server = start(|b| b.body_limit(100_000).calls_per_connection(10)).await;
    let batch = |count: usize| {
        let call = r#"{"jsonrpc":"2.0","method":"Fault.Big","params":{"Bytes":30000},"id":1}"#;
        rpc(&format!("[{}]", vec![call; count].join(",")))
    };
    let answer = ask(&server.address, batch(11)).await.json();
    assert_eq!(answer["error"]["code"], json!(-32600));
    assert_eq!(server.seen.calls.load(Ordering::SeqCst), 0);
    let answer = ask(&server.address, batch(10)).await;
    assert!(answer.body.len() < 110_000);
    let answer = answer.json();
    let failed = answer.as_array().unwrap().iter().filter(|answer| answer["error"].is_object());
    let texts: Vec<_> = failed.map(|answer| answer["error"]["message"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 7);
    assert!(texts[0].contains("100000 bytes") && texts[0].contains("--body-limit"), "{}", texts[0]);
}

#[tokio::test]
async fn json_rpc_takes_metadata_token_and_deadline() {
    let server = start(|b| b.token("good")).await;
    let with = |headers: &str, body: &str| post("/", &format!("X-JSONRPC-2.0: true\r\n{headers}"), body);
    let call = r#"{"jsonrpc":"2.0","method":"Slow.Sleep","params":{"Millis":60000},"id":1}"#;
    let answer = ask(&server.address, with("X-Timeout: 10ms\r\n", call)).await;
    assert_eq!((answer.status, &answer.json()["error"]["message"]), (200, &json!("invalid token")));
    let ask = ask(&server.address, with("Authorization: Bearer good\r\nX-Timeout: 10ms\r\n", call));
    let answer = tokio::time::timeout(PATIENCE, ask).await.unwrap().json();
    assert_eq!(
        answer["error"],
        json!({"code": -32603, "message": "context deadline exceeded", "data": null})
    );
    for header in ["X-RPCX-Meta: a=%0a\r\n", "X-Timeout: x\r\n"] {
        let answer = http_support::ask(&server.address, with(header, call)).await;
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (200, &json!(-32600)));
    }
    let get = http_support::ask(&server.address, "GET / HTTP/1.1\r\nX-JSONRPC-2.0: true\r\n\r\n").await;
    assert_eq!(get.status, 405);
}

/// In every form the headers of a trace are metadata of the call; a broken one fails nothing.
#[tokio::test]
async fn a_trace_comes_in_by_its_headers() {
    let server = start(|b| b).await;
    let rpcx = "X-RPCX-SerializeType: 1\r\nX-RPCX-ServiceMethod: Trace\r\nX-RPCX-ServicePath: Meta\r\n";
    let easymicro = "Easymicro-MessageID: 1\r\nEasymicro-SerializeType: 1\r\n";
    let json_rpc = r#"{"jsonrpc":"2.0","method":"Meta.Trace","id":1}"#;
    let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for (trace, seen) in [(valid, json!(valid)), ("00-broken", json!(null))] {
        for (path, headers, body) in [
            ("/Meta/Trace", "", "{}"),
            ("/", rpcx, "{}"),
            ("/Meta/Trace", easymicro, "{}"),
            ("/", "X-JSONRPC-2.0: true\r\n", json_rpc),
        ] {
            let headers = format!("{headers}TraceParent: {trace}\r\ntracestate: a=1\r\nTracestate: b=2\r\n");
            let answer = ask(&server.address, post(path, &headers, body)).await;
            let said = json!([seen, "a=1,b=2"]);
            let expected =
                if body == "{}" { said } else { json!({"jsonrpc": "2.0", "id": 1, "result": said}) };
            assert_eq!((answer.status, answer.json()), (200, expected), "{headers}");
        }
    }
}
