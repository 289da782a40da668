//! Go's net/rpc: a service that any Go program can call, and a client that calls as one does.
//! Run it: `cargo run --example netrpc`

use std::time::Duration;

use serde::{Deserialize, Serialize};
use trunkline::{Message, Result, Server, Status};

/// In Go: `type Args struct { A, B int }`. Fields are matched by their names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
#[serde(rename_all = "PascalCase")]
struct Quotient {
    quo: i64,
    rem: i64,
}

#[trunkline::service]
trait Arith {
    async fn divide(&self, args: Args) -> Result<Quotient>;
}

struct Calculator;

impl Arith for Calculator {
    async fn divide(&self, Args { a, b }: Args) -> Result<Quotient> {
        if b == 0 {
            return Err(Status::failed("divide by zero"));
        }
        Ok(Quotient { quo: a / b, rem: a % b })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(ArithServer::new(Calculator)).listen("127.0.0.1:0").start().await?;
    let address = &server.addresses()[0];

    // In Go: `client, err := rpc.Dial("tcp", address)`.
    let arith = ArithClient::connect(&format!("netrpc://{address}")).await?;
    let answer = arith.divide(Args { a: 17, b: 5 }).await?;
    println!("17 / 5 = {} and {} left", answer.quo, answer.rem);
    let error = arith.divide(Args { a: 1, b: 0 }).await.err().ok_or("it divides by zero")?;
    println!("1 / 0: {}", error.message());

    // In Go: `rpc.DialHTTP("tcp", address)`.
    let arith = ArithClient::connect(&format!("netrpc://{address}?connect=/_goRPC_")).await?;
    let call = arith.divide(Args { a: -7, b: 2 }).timeout(Duration::from_secs(1));
    println!("over CONNECT: {:?}", call.await?);
    Ok(())
}
