#![allow(unused_imports)]

use trunkline::{Annotated, Bytes, Result, Streaming};

#[trunkline::service]
trait Files {
    async fn nested(&self, body: Option<Streaming<Bytes>>) -> Result<()>;
    async fn bare(&self) -> Streaming<Bytes>;
    async fn list(&self) -> Result<Vec<Streaming<Bytes>>>;
    async fn twice(&self) -> Result<Streaming<Streaming<Bytes>>>;
    fn plain(&self, body: Streaming<Bytes>) -> Result<()>;
    fn plain_reply(&self) -> Result<Streaming<Bytes>>;
    async fn two(&self, one: Streaming<Bytes>, two: Streaming<Bytes>) -> Result<()>;
    #[idempotent]
    async fn again(&self, body: Streaming<Bytes>) -> Result<()>;
}

/// An item that cannot travel.
#[trunkline::service]
trait Items {
    async fn get(&self) -> Result<Streaming<u32>>;
}

fn main() {}
