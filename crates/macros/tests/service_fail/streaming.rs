#![allow(unused_imports)]

use trunkline::{Bytes, Result};

#[trunkline::service]
trait Files {
    async fn put(&self, body: Streaming<Bytes>) -> Result<()>;
    async fn get(&self, name: Bytes) -> Result<Streaming<Bytes>>;
}

fn main() {}
