//! IIP's system paths: the recorded shapes with the right numbers, and who may ask.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use support::iip::Raw;
use support::{Test, bytes, serve};
use trunkline::client::Channel;
use trunkline::{Call, Metadata, Serialization, Server, Service, metadata};
use trunkline_wire::Limits;
use trunkline_wire::iip::Frame;

const UNKNOWN: &str = r#"{"code":102,"message":"handle error"}"#;

const PATHS: [&str; 6] =
    ["server_count", "path_count", "server_measure", "path_measure", "statis", "connection_statis"];

fn server() -> trunkline::server::ServerBuilder {
    Server::builder().serve(Test::default()).path("/echo", "Test", "Owned")
}

/// What the Go server answered last in a recorded case.
fn recorded(case: &str) -> String {
    let name = format!("../wire/testdata/iip/{case}.s2c.bin");
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), &name].iter().collect();
    let bytes = std::fs::read(path).unwrap();
    let (mut rest, mut last) = (&*bytes, String::new());
    while !rest.is_empty() {
        let frame = Frame::decode(rest, &Limits::default()).unwrap().unwrap();
        last = String::from_utf8(frame.data.to_vec()).unwrap();
        rest = &rest[frame.length()..];
    }
    last
}

/// Names, their order and the kinds of all values, without the numbers; arrays with their lengths.
fn shape(json: &str) -> String {
    let mut shape = String::new();
    for char in json.chars() {
        match char {
            '0'..='9' if shape.ends_with('9') => {}
            '0'..='9' => shape.push('9'),
            char => shape.push(char),
        }
    }
    shape
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Counts as the Go program has them for a path: of what was received whole messages alone.
fn count(messages: u64, bytes: u64) -> Value {
    json!({
        "PacketsSent": messages, "PacketReceived": 0, "WholePacketSent": messages,
        "WholePacketReceived": messages, "BytesSent": bytes, "BytesReceived": 0,
    })
}

#[tokio::test]
async fn counts_are_those_of_the_frames() {
    let (_, address) = serve(server().listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 2).await;
    // The second of these stands for the method of the first.
    for n in 0..9 {
        let channel = 1 + n % 2;
        assert_eq!(raw.ask("/Test/Owned", channel, "x").await, "x");
        assert_eq!(raw.ask("/echo", channel, "x").await, "x");
    }
    assert!(raw.ask("/Test/Fail", 1, "why").await.contains("handler fail:why"));
    assert_eq!(raw.ask("/nope", 1, "x").await, UNKNOWN);
    let of_path = raw.ask("/sys/path_count", 2, "/echo").await;
    assert_eq!(shape(&of_path), shape(&recorded("sys-path_count")));
    let (owned, echo) = (9 * (1 + 11 + 1 + 8 + 1), 9 * (1 + 5 + 1 + 8 + 1));
    assert_eq!(parsed(&of_path), count(18, owned + echo));
    let failure = r#"{"code":-1,"message":"handler fail:why"}"#.len();
    let failed = parsed(&raw.ask("/sys/path_count", 1, "/Test/Fail").await);
    assert_eq!(failed, count(1, u64::try_from(1 + 11 + 8 + failure).unwrap()));
    // What the connection sent does not end with it, and another one counts too.
    drop(raw);
    let mut raw = Raw::with_channels(&address, 1).await;
    raw.ask("/echo", 1, "x").await;
    assert_eq!(parsed(&raw.ask("/sys/path_count", 1, "/echo").await), count(19, owned + echo + 16));
    let of_itself = parsed(&raw.ask("/sys/path_count", 1, "/sys/path_count").await);
    assert_eq!(of_itself["PacketsSent"], 3);
    let all = raw.ask("/sys/server_count", 1, "{}").await;
    assert_eq!(shape(&all), shape(&recorded("sys-server_count")));
    assert_eq!(parsed(&all)["PacketsSent"], 19 + 1 + 4);
}

#[tokio::test]
async fn connections_say_what_went_over_their_channels() {
    let (_, address) = serve(server().listen("127.0.0.1:0")).await;
    let mut other = Raw::with_channels(&address, 1).await;
    // A request that is not answered yet.
    other.send(&support::iip::frame(1, "/Test/Sleep", 1, "9000")).await;
    let mut raw = Raw::with_channels(&address, 1).await;
    raw.ask("/echo", 1, "x").await;
    let answer = raw.ask("/sys/connection_statis", 1, "{}").await;
    let (all, local) = (parsed(&answer), raw.stream.local_addr().unwrap().to_string());
    assert_eq!(all.as_object().unwrap().len(), 2);
    let golden = recorded("sys-connection_statis");
    let (_, golden) = golden.split_once("\":").unwrap();
    let (_, mine) = answer.split_once(&format!("\"{local}\":")).unwrap();
    assert_eq!(shape(&mine[..shape_end(mine)]), shape(golden.strip_suffix('}').unwrap()));
    // As recorded but for the lengths of the paths: the request that asks has come, and is not answered.
    let sent = |bytes: u64| {
        json!({
            "PacketsSent": 1, "PacketReceived": 1, "WholePacketSent": 1, "WholePacketReceived": 1,
            "BytesSent": bytes, "BytesReceived": 28,
        })
    };
    assert_eq!(all[&local]["Channels"]["0"], json!({"ReceiveQueue": 0, "Count": sent(51)}));
    assert_eq!(
        all[&local]["Channels"]["1"],
        json!({"ReceiveQueue": 0, "Count": {
            "PacketsSent": 1, "PacketReceived": 2, "WholePacketSent": 1, "WholePacketReceived": 1,
            "BytesSent": 16, "BytesReceived": 16 + 34,
        }})
    );
    assert_eq!((&all[&local]["WriteQueue"], &all[&local]["Count"]), (&json!(0), &count(2, 67)));
    let other = &all[other.stream.local_addr().unwrap().to_string()]["Channels"]["1"]["Count"];
    assert_eq!((&other["PacketReceived"], &other["WholePacketReceived"]), (&json!(1), &json!(0)));
}

/// Where the object ends that the text begins with.
fn shape_end(text: &str) -> usize {
    let mut depth = 0;
    let end = text.char_indices().find(|(_, char)| {
        depth += i32::from(*char == '{') - i32::from(*char == '}');
        depth == 0
    });
    end.unwrap().0 + 1
}

#[tokio::test]
async fn a_path_without_handler_and_an_unknown_system_path_are_answered_as_recorded() {
    let (_, address) = serve(server().listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 1).await;
    let no = |path: &str| format!(r#"{{"code":-1,"message":"handler fail:path [{path}] not support"}}"#);
    for data in ["/nope", "{}", "/sys/new_channel", "Test"] {
        assert_eq!(raw.ask("/sys/path_count", 1, data).await, no("/sys/path_count"));
        assert_eq!(raw.ask("/sys/path_measure", 1, data).await, no("/sys/path_measure"));
    }
    assert_eq!(raw.ask("/sys/nope", 1, "{}").await, UNKNOWN);
    assert_eq!(recorded("sys-unknown"), UNKNOWN);
}

async fn channel(address: &str) -> Channel {
    Channel::connect(address).await.unwrap()
}

async fn ask(channel: &Channel, path: &str, data: &str) -> String {
    let call = Call::new("", path, Serialization::Json, data.to_owned());
    String::from_utf8(bytes(channel.call(call).await.unwrap()).to_vec()).unwrap()
}

/// The numbers of an array that are not 0, with their places.
fn some(numbers: &Value) -> Vec<(usize, u64)> {
    let numbers = numbers.as_array().unwrap().iter().map(|number| number.as_u64().unwrap());
    numbers.enumerate().filter(|(_, number)| *number > 0).collect()
}

fn ranges(count: &Value) -> Vec<u64> {
    count["range_count"].as_array().unwrap().iter().map(|range| range["Count"].as_u64().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn measures_have_seconds_and_ranges() {
    let (_, _) = serve(server().listen("mem://sys-measures")).await;
    let client = channel("mem://sys-measures?wire=iip").await;
    for _ in 0..5 {
        ask(&client, "/echo", "x").await;
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // They end in the third second after the first one.
    for milliseconds in ["150", "100", "300"] {
        ask(&client, "/Test/Sleep", milliseconds).await;
    }
    tokio::time::sleep(Duration::from_millis(2_000)).await;
    let text = ask(&client, "/sys/path_measure", "/Test/Sleep").await;
    let sleep = parsed(&text);
    assert_eq!(sleep["all_requests"], 3);
    assert_eq!(some(&sleep["five_minute_requests"]), [(2, 2), (3, 1)]);
    assert_eq!(ranges(&sleep["all_timecount"]), [1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(ranges(&sleep["five_minute_timecount"][3]), [0, 0, 1, 0, 0, 0, 0, 0]);
    let durations = some(&sleep["five_minute_duration"]);
    assert!(durations[0].1 / 1_000_000 == 250 && durations[1].1 / 1_000_000 == 300, "{durations:?}");
    assert_eq!(sleep["all_duration"], durations[0].1 + durations[1].1);
    let golden = recorded("sys-path_measure");
    assert_eq!(shape(&text), shape(&golden));
    let echo = parsed(&ask(&client, "/sys/path_measure", "/Test/Owned").await);
    assert_eq!(some(&echo["five_minute_requests"]), [(0, 5)]);
    assert_eq!(ranges(&echo["all_timecount"]), [5, 0, 0, 0, 0, 0, 0, 0]);
    let text = ask(&client, "/sys/server_measure", "{}").await;
    assert_eq!(shape(&text), shape(&recorded("sys-server_measure")));
    // The two measures before it are of the server, too.
    assert_eq!(
        (some(&parsed(&text)["five_minute_requests"])[0], &parsed(&text)["all_requests"]),
        ((0, 5), &json!(10))
    );
    // 300 seconds later nothing is left of them but the whole.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let sleep = parsed(&ask(&client, "/sys/path_measure", "/Test/Sleep").await);
    assert_eq!((some(&sleep["five_minute_requests"]), &sleep["all_requests"]), (vec![], &json!(3)));
    // A second later in the ring's second round a call has its place again.
    ask(&client, "/Test/Sleep", "1").await;
    let sleep = parsed(&ask(&client, "/sys/path_measure", "/Test/Sleep").await);
    let places = some(&sleep["five_minute_requests"]);
    assert!(places.len() == 1 && places[0].0 < 10 && places[0].1 == 1, "{places:?}");
}

#[tokio::test(start_paused = true)]
async fn the_text_is_the_go_programs() {
    let (_, _) = serve(server().listen("mem://sys-statis")).await;
    let client = channel("mem://sys-statis?wire=iip").await;
    ask(&client, "/echo", "x").await;
    for milliseconds in ["150", "150", "300"] {
        ask(&client, "/Test/Sleep", milliseconds).await;
    }
    let text = ask(&client, "/sys/statis", r#"{"time_unit":"millisecond"}"#).await;
    let golden = recorded("sys-statis");
    let total = |text: &str| shape(text.split("-----").next().unwrap());
    assert_eq!(total(&text), total(&golden));
    let block = |text: &str, path: &str| {
        let (_, block) = text.split_once(&format!("\n{path} count")).unwrap();
        shape(block.split("\n\n\n").next().unwrap()).replace(path, "PATH")
    };
    assert_eq!(block(&text, "/Test/Sleep"), block(&golden, "/slow"));
    assert_eq!(shape(&text[text.len() - 20..]), shape(&golden[golden.len() - 20..]));
    assert!(text.contains("all requests          : 4, average duration: 150\n"), "{text}");
    assert!(text.contains("range1(1,25%, average 0), range2(2,50%, average 15"), "{text}");
    for (data, average) in [("{}", "2000"), (r#"{"time_unit":"second"}"#, "0"), ("x", "2000")] {
        let text = ask(&client, "/sys/statis", data).await;
        let (_, sleep) = text.split_once("/Test/Sleep measure").unwrap();
        let (_, found) = sleep.split_once("all requests          : 3, average duration: ").unwrap();
        let found = found.split('\n').next().unwrap();
        assert!(found.len() == if average == "0" { 1 } else { 6 }, "{data}: {found}");
    }
}

/// I6: all of it is for anybody, and through the gateway.
#[tokio::test]
async fn i6_who_is_near_is_answered_but_not_through_a_gateway() {
    let (_, address) = serve(server().listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 1).await;
    for path in PATHS {
        let path = format!("/sys/{path}");
        assert!(!raw.ask(&path, 1, "/echo").await.contains("\"code\""), "{path}");
        let through = format!("{path}?__http_hdr__=e30=");
        assert_eq!(raw.ask(&through, 1, "/echo").await, UNKNOWN, "{through}");
    }
}

#[tokio::test]
async fn i6_with_a_token_everybody_needs_it() {
    let (_, address) = serve(server().token("secret").listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 1).await;
    let refused = raw.ask("/sys/server_count", 1, "{}").await;
    assert_eq!(refused, r#"{"code":-1,"message":"handler fail:invalid token"}"#);
    assert_eq!(raw.next().await, None);
    let client = channel(&format!("iip://{address}")).await;
    let token = Metadata::builder().with(metadata::AUTH, "secret").build();
    let call = Call::new("", "/sys/server_count", Serialization::Json, "{}").with_metadata(token);
    assert!(client.call(call).await.is_ok());
}

/// They are of IIP, and nobody lists them.
#[tokio::test]
async fn other_wires_have_no_such_thing() {
    let server = server().with_describe().listen("mem://sys-others").bind().await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.run());
    let client = channel("mem://sys-others?wire=rpcx").await;
    let call = Call::new("", "/sys/server_count", Serialization::Json, "{}");
    assert_eq!(client.call(call).await.unwrap_err().code(), trunkline::Code::NotFound);
    assert!(handle.counters().iter().all(|(_, method, _)| !method.starts_with("/sys/")));
    let client = channel("mem://sys-others?wire=iip").await;
    let described = ask(&client, "/Trunkline/Describe", "{}").await;
    assert!(described.contains("Sleep") && !described.contains("/sys/"), "{described}");
}
