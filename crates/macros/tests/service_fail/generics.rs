#![allow(unused_imports)]

use trunkline::{Bytes, Result};

#[trunkline::service]
trait Store<T> {
    async fn get(&self, key: Bytes) -> Result<Bytes>;
}

#[trunkline::service]
trait Arith {
    async fn mul<T>(&self, args: T) -> Result<Bytes>;
    async fn add<'a>(&'a self, args: Bytes) -> Result<Bytes>;
    async fn div(&self, args: impl Into<Bytes>) -> Result<Bytes>;
    async fn modulo(&self) -> Result<Bytes>
    where
        Self: Sized;
}

fn main() {}
