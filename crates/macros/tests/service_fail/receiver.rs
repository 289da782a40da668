#![allow(unused_imports)]

use std::sync::Arc;

use trunkline::{Bytes, Result};

#[trunkline::service]
trait Counter {
    async fn add(&mut self, by: Bytes) -> Result<Bytes>;
    async fn take(self) -> Result<Bytes>;
    async fn share(self: Arc<Self>) -> Result<Bytes>;
    async fn make(by: Bytes) -> Result<Bytes>;
    async fn nothing() -> Result<()>;
}

fn main() {}
