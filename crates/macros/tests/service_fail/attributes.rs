#![allow(unused_imports)]

use trunkline::{Bytes, Result};

#[trunkline::service(rename = "X")]
trait Named {
    #[retry(3)]
    async fn mul(&self, args: Bytes) -> Result<Bytes>;
    #[service(rename = "Plus")]
    async fn add(&self, args: Bytes) -> Result<Bytes>;
    #[rename("Minus")]
    async fn sub(&self, args: Bytes) -> Result<Bytes>;
    #[rename = "two words"]
    async fn div(&self, args: Bytes) -> Result<Bytes>;
    #[idempotent(yes)]
    async fn modulo(&self, args: Bytes) -> Result<Bytes>;
    #[spawn]
    fn heavy(&self, args: Bytes) -> Result<Bytes>;
}

fn main() {}
