//! HTTP on the same port: `curl` calls the same methods. Run it: `cargo run --example gateway`

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::{Message, Result, Server, Status};

#[derive(Serialize, Deserialize, Message)]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize, Message)]
struct Quotient {
    c: i64,
}

#[trunkline::service]
trait Arith {
    async fn div(&self, args: Args) -> Result<Quotient>;
}

struct Calculator;

impl Arith for Calculator {
    async fn div(&self, args: Args) -> Result<Quotient> {
        let c = args.a.checked_div(args.b).ok_or_else(|| Status::failed("divide by zero"))?;
        Ok(Quotient { c })
    }
}

/// What `curl -d BODY http://ADDRESS/Arith/Div` does.
async fn post(address: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!("POST /Arith/Div HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(ArithServer::new(Calculator)).listen("127.0.0.1:0").start().await?;
    let address = server.addresses()[0].clone();
    let answer = post(&address, r#"{"a":42,"b":6}"#).await?;
    println!("{answer}\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(r#"{"c":7}"#));
    let answer = post(&address, r#"{"a":42,"b":0}"#).await?;
    println!("{answer}");
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains(r#""message":"divide by zero""#));
    for url in [server.url(), &format!("http://{address}")] {
        let arith = ArithClient::connect(url).await?; // Our own client speaks both: rpcx, and HTTP with JSON.
        assert_eq!(arith.div(Args { a: 42, b: 6 }).await?.c, 7);
    }
    Ok(())
}
