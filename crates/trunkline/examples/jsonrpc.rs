//! JSON-RPC 2.0 on the same port: one call, a batch, a notification, a failure.
//! Run it: `cargo run --example jsonrpc`

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::{Message, Result, Server};

#[derive(Serialize, Deserialize, Message)]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize, Message)]
struct Sum {
    c: i64,
}

#[trunkline::service]
trait Arith {
    async fn add(&self, args: Args) -> Result<Sum>;
}

struct Calculator;

impl Arith for Calculator {
    async fn add(&self, args: Args) -> Result<Sum> {
        Ok(Sum { c: args.a.saturating_add(args.b) })
    }
}

/// Posts a body and gives the answer's.
async fn post(address: &str, body: &str) -> Result<String, Box<dyn std::error::Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-JSONRPC-2.0: true\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    assert!(head.starts_with("HTTP/1.1 200 OK"));
    Ok(body.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(ArithServer::new(Calculator)).listen("127.0.0.1:0").start().await?;
    let address = server.addresses()[0].clone();

    let call = r#"{"jsonrpc":"2.0","method":"Arith.Add","params":{"a":1,"b":2},"id":1}"#;
    let notification = r#"{"jsonrpc":"2.0","method":"Arith.Add","params":{"a":1,"b":2}}"#;
    let unknown = r#"{"jsonrpc":"2.0","method":"Arith.Sub","id":"x"}"#;
    let answer = post(&address, call).await?;
    println!("{answer}");
    println!("{}", post(&address, &format!("[{call},{notification},{unknown}]")).await?);
    assert!(answer.contains(r#""result":{"c":3}"#) && post(&address, notification).await?.is_empty());
    Ok(())
}
