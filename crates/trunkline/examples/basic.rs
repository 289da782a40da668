//! A service, its server and its client: the smallest whole program. Run it: `cargo run --example basic`

use serde::{Deserialize, Serialize};
use trunkline::{Message, Result, Server, Status};

#[derive(Serialize, Deserialize, Message)]
struct Args {
    a: i64,
    b: i64,
}

#[derive(Serialize, Deserialize, Message)]
struct Product {
    c: i64,
}

/// The attribute makes `ArithServer`, `ArithClient` and `ArithMock` out of the trait.
#[trunkline::service]
trait Arith {
    /// Product of the two.
    async fn mul(&self, args: Args) -> Result<Product>;
}

struct Calculator;

impl Arith for Calculator {
    async fn mul(&self, args: Args) -> Result<Product> {
        let c = args.a.checked_mul(args.b).ok_or_else(|| Status::failed("overflow"))?;
        Ok(Product { c })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::builder().serve(ArithServer::new(Calculator)).listen("127.0.0.1:0").start().await?;
    println!("serving on {}", server.url());

    let arith = ArithClient::connect(server.url()).await?;
    let product = arith.mul(Args { a: 6, b: 7 }).await?;
    println!("6 * 7 = {}", product.c);
    assert_eq!(product.c, 42);

    let status = arith.mul(Args { a: i64::MAX, b: 2 }).await.err().ok_or("it fits into 64 bits")?;
    println!("failed: {}", status.message());
    assert_eq!(status.message(), "overflow");

    // A graceful stop: the server finishes what it has, and ends the moment it is done.
    server.stop(std::time::Duration::from_secs(5)).await?;
    println!("stopped");
    Ok(())
}
