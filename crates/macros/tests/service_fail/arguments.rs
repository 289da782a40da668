#![allow(unused_imports)]

use trunkline::{Annotated, Bytes, Context, ReplyBuf, Result};

#[trunkline::service]
trait Arith {
    async fn mul(&self, a: Bytes, b: Bytes) -> Result<Bytes>;
    async fn late(&self, a: Bytes, cx: &Context) -> Result<Bytes>;
    async fn borrowed(&self, body: &[u8]) -> Result<Bytes>;
    async fn text(&self, body: &str) -> Result<Bytes>;
    async fn fast(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    fn half(&self, body: &[u8]) -> Result<Bytes>;
    fn where_am_i(&self, cx: &Context, body: Bytes) -> Result<Bytes>;
    fn annotated(&self, body: Bytes) -> Result<Annotated<Bytes>>;
}

fn main() {}
