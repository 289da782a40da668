#![allow(unused_imports)]

use trunkline::Bytes;

#[trunkline::service]
trait Arith {
    async fn mul(&self, args: Bytes) -> Bytes;
    async fn notify(&self, args: Bytes);
    async fn maybe(&self, args: Bytes) -> Option<Bytes>;
}

fn main() {}
