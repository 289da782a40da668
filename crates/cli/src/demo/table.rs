//! The demo's calls to itself, as a table.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use trunkline::client::{Url, Wire};
use trunkline::codec::dynamic;
use trunkline::node::{Cluster, ClusterTable, Node};
use trunkline::{Address, Call, Metadata, Result, Serialization, Service, Status, metadata};

use crate::endpoint::{self, REPLY_LIMIT};

/// How long one of the calls may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One call and what came of it.
pub(crate) struct Row {
    wire: &'static str,
    call: &'static str,
    /// The answer that it must be.
    right: Value,
    answer: Result<Value, String>,
    took: Duration,
}

impl Row {
    /// Whether the answer is the one that it must be.
    pub(crate) fn is_right(&self) -> bool {
        self.answer.as_ref().is_ok_and(|answer| *answer == self.right)
    }

    fn answer(&self) -> String {
        match &self.answer {
            Ok(answer) if self.is_right() => answer.to_string(),
            Ok(answer) => format!("WRONG: {answer}"),
            Err(error) => format!("FAILED: {error}"),
        }
    }
}

/// Calls `Arith.Mul` at this address, on each wire once, and on saber, which carries no token, a mailbox service of the
/// node of this name. The time is that of the connection and the call.
pub(crate) async fn call_each_wire(address: &str, token: Option<&str>, node: &str) -> Vec<Row> {
    let address = &dialled(address);
    let mut rows = vec![
        row("rpcx", "Arith.Mul {\"A\":6,\"B\":7}", service_call(address, "rpcx", token)).await,
        row("http", "POST /Arith/Mul {\"A\":6,\"B\":7}", service_call(address, "http", token)).await,
        row("iip", "/Arith/Mul {\"A\":6,\"B\":7}", service_call(address, "iip", token)).await,
        row("json-rpc", "Arith.Mul {\"A\":6,\"B\":7}", json_rpc(address, token)).await,
    ];
    // That wire has nowhere to show a token.
    if token.is_none() {
        let call = "Arith.Mul {\"A\":6,\"B\":7}";
        rows.push(row("netrpc", call, service_call(address, "netrpc", None)).await);
        let call = "lobby/101.ReqLogin {\"Gid\":10100002,\"Name\":\"demo\"}";
        let saber = row("saber", call, node_call(address, node)).await;
        rows.push(Row { right: json!({ "Status": 200 }), ..saber });
    }
    rows
}

/// Calls as another node does, which is in nobody's table.
async fn node_call(address: &str, node: &str) -> Result<Value, String> {
    let text = |status: Status| status.message().to_owned();
    let caller = format!("{node}_demo");
    let own = Node::builder(&caller).start().map_err(text)?;
    let table = ClusterTable::new(&caller).remote(node, address);
    let cluster = Cluster::start(&own, &table).map_err(text)?;
    let call = Call::new("lobby", "ReqLogin", Serialization::Json, r#"{"Gid":10100002,"Name":"demo"}"#);
    let called = cluster.service(node, "lobby", 101).call(call).await;
    cluster.stop(PATIENCE).await;
    own.stop().await;
    let body = called.map_err(text)?.into_body().whole(REPLY_LIMIT).await.map_err(text)?;
    serde_json::from_slice(&body).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// Where to dial a server that listens on all addresses.
fn dialled(address: &str) -> String {
    let all = [("0.0.0.0:", "127.0.0.1:"), ("[::]:", "[::1]:")];
    let local = all.iter().find_map(|(from, to)| Some(format!("{to}{}", address.strip_prefix(from)?)));
    local.unwrap_or_else(|| address.to_owned())
}

async fn row(
    wire: &'static str,
    call: &'static str,
    work: impl Future<Output = Result<Value, String>>,
) -> Row {
    let begun = Instant::now();
    let answer = timeout(PATIENCE, work).await.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    Row { wire, call, right: json!({ "C": 42 }), answer, took: begun.elapsed() }
}

async fn service_call(address: &str, wire: &str, token: Option<&str>) -> Result<Value, String> {
    let text = |status: Status| status.to_string();
    let scheme = if address.contains("://") { "" } else { "tcp://" };
    let url: Url = format!("{scheme}{address}?wire={wire}").parse().map_err(|error| format!("{error}"))?;
    let channel = endpoint::connect(&url, Instant::now() + PATIENCE).await.map_err(text)?;
    let pairs = token.into_iter().fold(Metadata::builder(), |all, token| all.with(metadata::AUTH, token));
    let codec = if url.wire == Wire::Netrpc { Serialization::Gob } else { Serialization::Json };
    let mut body = Vec::new();
    dynamic::encode(codec, r#"{"A":6,"B":7}"#, None, &mut body).map_err(|error| error.to_string())?;
    let call = Call::new("Arith", "Mul", codec, body).with_metadata(pairs.build());
    let body = channel.call(call).await.map_err(text)?.into_body().whole(REPLY_LIMIT).await.map_err(text)?;
    let json = dynamic::decode(codec, &body, None).map_err(|error| error.to_string())?;
    serde_json::from_str(&json).map_err(|error| format!("the answer is not JSON: {error}"))
}

/// Calls by JSON-RPC 2.0, which the library has no client for, as anybody may: one request written by hand.
async fn json_rpc(address: &str, token: Option<&str>) -> Result<Value, String> {
    let body =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "Arith.Mul", "params": { "A": 6, "B": 7 } }).to_string();
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-JSONRPC-2.0: true\r\n{authorization}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let address: Address = address.parse().map_err(|error| format!("{error}"))?;
    let answer = match &address {
        Address::Tcp(address) => asked(TcpStream::connect(address.as_str()).await, &request).await,
        Address::Unix(path) => asked(UnixStream::connect(path).await, &request).await,
        other => return Err(format!("{other} is not dialled by hand")),
    };
    let answer = answer.map_err(|error| error.to_string())?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let mut answer: Value =
        serde_json::from_str(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
    match answer.pointer("/error/message").and_then(Value::as_str) {
        Some(message) => Err(message.to_owned()),
        None => Ok(answer.get_mut("result").map(Value::take).unwrap_or_default()),
    }
}

/// Writes a request and reads to the end of the connection, up to 64 KiB.
async fn asked<S: AsyncRead + AsyncWrite + Unpin>(
    connected: std::io::Result<S>,
    request: &str,
) -> std::io::Result<String> {
    let mut stream = connected?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(64 << 10).read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The table, or one JSON object a line.
pub(crate) fn render(rows: &[Row], json: bool) -> String {
    let mut text = String::new();
    if json {
        for row in rows {
            let (took, right) = (row.took.as_micros(), row.is_right());
            let call = json!({
                "event": "call", "wire": row.wire, "call": row.call, "answer": row.answer(), "right": right,
                "time_us": u64::try_from(took).unwrap_or(u64::MAX),
            });
            _ = writeln!(text, "{call}");
        }
        return text;
    }
    let wide = |column: fn(&Row) -> String, least: usize| {
        rows.iter().map(|row| column(row).chars().count()).max().unwrap_or_default().max(least)
    };
    let (wires, calls) = (wide(|row| row.wire.to_owned(), 4), wide(|row| row.call.to_owned(), 4));
    let answers = wide(Row::answer, 6);
    _ = writeln!(text, "{:wires$}  {:calls$}  {:answers$}  time", "wire", "call", "answer");
    for row in rows {
        let millis = row.took.as_secs_f64() * 1000.0;
        _ = writeln!(
            text,
            "{:wires$}  {:calls$}  {:answers$}  {millis:.2} ms",
            row.wire,
            row.call,
            row.answer()
        );
    }
    text
}
