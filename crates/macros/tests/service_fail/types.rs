use trunkline::Result;

struct Args;

struct Reply;

#[derive(Debug)]
struct MyError;

#[trunkline::service]
trait Arith {
    async fn mul(&self, args: Args) -> Result<Reply>;
    async fn div(&self) -> Result<(), MyError>;
}

fn main() {}
