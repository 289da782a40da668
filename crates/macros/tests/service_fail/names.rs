#![allow(unused_imports)]

use trunkline::{Bytes, Result};

#[trunkline::service]
trait Arith {
    async fn new(&self, args: Bytes) -> Result<Bytes>;
    async fn get_all(&self) -> Result<Bytes>;
    #[rename = "GetAll"]
    async fn all(&self) -> Result<Bytes>;
}

fn main() {}
