//! saber: the demo's node, called by the command.

mod support;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{Demo, run};

fn url(demo: &Demo) -> String {
    format!("saber://{}", demo.address)
}

#[test]
fn mailbox_services_are_called() {
    let demo = Demo::start();
    let url = url(&demo);
    let login = r#"{"Gid":10100002,"Name":"ada"}"#;
    for id in ["lobby/101", "lobby/104"] {
        run(&["call", &url, &format!("{id}.ReqLogin"), login]).says("{\"Status\":200}\n");
    }
    run(&["call", &url, "lobby/101.Echo", r#"[1,{"a":null}]"#]).says("[1,{\"a\":null}]\n");
    run(&["call", &format!("{url}/trunkline"), "Count.Add", r#"{"N":2}"#]).says("{\"Total\":2}\n");
    run(&["call", &url, "Count/1.Add", r#"{"N":3}"#, "--oneway"]).says("");
    run(&["call", &url, "Count.Add", r#"{"N":0}"#, "--node", "other", "--listen", "127.0.0.1:0"])
        .says("{\"Total\":5}\n");
    // Services without a mailbox have the number 1.
    run(&["call", &url, "Arith.Mul", r#"{"A":6,"B":7}"#]).says("{\"C\":42}\n");
    run(&["call", &url, "Arith/1.Div", r#"{"A":6,"B":0}"#]).fails(1, "divide by zero");
    let said = run(&["call", &url, "lobby/101.Echo", "1", "-v"]);
    assert!(said.code == 0 && said.stderr.contains(&format!("url: {url}/trunkline")), "{said:?}");
}

#[test]
fn what_cannot_be_called_says_why() {
    let demo = Demo::start();
    let url = url(&demo);
    run(&["call", &url, "lobby/101.Nope"]).fails(1, "unknown rpc func Nope");
    run(&["call", &url, "lobby/1.Echo"]).fails(1, "no service of the node trunkline has the handle");
    run(&["call", &url, "lobby/101.Echo", "{", "--codec", "raw"]).fails(1, "no JSON");
    run(&["call", &url, "lobby/101.ReqLogin", r#"{"Gid":"x"}"#]).fails(1, "Gid");
    run(&["call", &format!("{url}/else"), "lobby/101.Echo"]).fails(3, "a node of another name");
    run(&["call", &url, "Slow.Sleep", r#"{"Millis":60000}"#, "--timeout", "100ms"]).fails(4, "deadline");
    run(&["call", "saber://127.0.0.1:1", "lobby/101.Echo"]).fails(3, "cannot reach 127.0.0.1:1");
    run(&["call", "saber://127.0.0.1:1", "lobby/101.Echo", "--oneway"]).fails(3, "cannot reach");
    run(&["call", &url, "lobby/x.Echo"]).fails(2, "the id is no number");
    run(&["call", &url, &format!("lobby.{}", "m".repeat(65))]).fails(1, "at most 64 bytes");
    run(&["call", &url, "lobby/101.Echo", "-H", "a:b"]).fails(2, "not built yet");
    run(&["call", &demo.url("rpcx"), "Echo.Echo", "--node", "a"]).fails(2, "saber:// alone");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(&["call", &url, "lobby/101.Echo", "--listen", &address]).fails(2, &address);
    run(&["demo", "--listen", "127.0.0.1:0", "--node", "a b"]).fails(2, "a node's name");
    run(&["demo", "--listen", "127.0.0.1:0", "--remote", "a"]).fails(2, "NAME=HOST:PORT");
}

#[test]
fn a_node_of_the_table_is_answered_where_it_listens() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let remote = format!("gate={port}");
    let demo = Demo::with(&["--listen", "127.0.0.1:0", "--no-calls", "--node", "game", "--remote", &remote]);
    let url = format!("{}/game", url(&demo));
    for _ in 0..3 {
        let call = ["call", &url, "lobby/101.Echo", "7", "--node", "gate", "--listen", &port];
        run(&call).says("7\n");
    }
}

#[test]
fn a_node_says_what_it_serves() {
    let demo = Demo::start();
    let (saber, rpcx) = (run(&["ls", &url(&demo)]), run(&["ls", &demo.url("rpcx")]));
    assert!(saber.code == 0 && saber.stdout.contains("Arith.Mul"), "{saber:?}");
    assert_eq!(saber.stdout, rpcx.stdout);
    run(&["template", &url(&demo), "Arith.Mul"]).says("{\"A\":0,\"B\":0}\n");
}

#[test]
fn top_shows_what_the_services_do() {
    let demo = Demo::start();
    run(&["call", &url(&demo), "Count.Add", r#"{"N":2}"#]).says("{\"Total\":2}\n");
    for url in [url(&demo), demo.url("rpcx")] {
        let shown = run(&["top", &url]);
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(shown.stdout.starts_with("node trunkline: 5 services"), "{shown:?}");
        for service in ["Count/1", "lobby/101", "lobby/104"] {
            assert!(shown.stdout.lines().any(|line| line.starts_with(service)), "{shown:?}");
        }
        let view: Value = serde_json::from_str(&run(&["top", &url, "--json"]).stdout).unwrap();
        let count = view["services"].as_array().unwrap().iter().find(|one| one["name"] == "Count").unwrap();
        assert_eq!((&count["id"], &count["handled"], &count["depth"]), (&1.into(), &1.into(), &0.into()));
        assert!(view["timers"].is_u64() && view["remotes"].is_array() && view["cluster"].is_object());
    }
    // Nobody knows who is behind an HTTP proxy.
    run(&["top", &demo.url("http")]).fails(1, "can't find service TrunklineNode");
    run(&["top", "rpcx://127.0.0.1:1"]).fails(3, "127.0.0.1:1");
    let ls = run(&["ls", &demo.url("rpcx")]);
    assert!(!ls.stdout.contains("TrunklineNode"), "{ls:?}");
    let asks = Demo::with(&["--listen", "127.0.0.1:0", "--no-calls", "--token", "secret"]);
    run(&["top", &asks.url("rpcx")]).fails(1, "token");
    assert_eq!(run(&["top", &asks.url("http"), "-H", "Authorization: Bearer secret"]).code, 0);
}

/// S13: descriptors that are short end neither the process nor the node.
#[test]
#[cfg(target_os = "linux")]
fn s13_a_node_without_descriptors_goes_on_when_there_are_some() {
    let script = "ulimit -Sn 40 && ulimit -Hn 40 && exec \"$0\" demo --listen 127.0.0.1:0 --no-calls";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_trunkline")]);
    let demo = Demo::of(command.stdin(Stdio::null()));
    let mut held: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(&demo.address).ok()).collect();
    assert!(held.len() > 40);
    for stream in &mut held {
        let _ = stream.write_all(&[0, 0, 0, 30]);
    }
    drop(held);
    run(&["call", &url(&demo), "lobby/101.Echo", "1"]).says("1\n");
}
