#![allow(unused_imports)]

use trunkline::{Bytes, Result};

#[trunkline::service]
trait Arith {
    type Number;
    const BASE: u32;
    async fn mul(&self, args: Bytes) -> Result<Bytes> {
        Ok(args)
    }
    unsafe fn poke(&self) -> Result<()>;
}

fn main() {}
