#![allow(unused_imports)]

use trunkline::{Annotated, Bytes, ReplyBuf, Result, Streaming};

#[trunkline::service(mailbox)]
trait Desk {
    async fn notify(&self) -> Result<()>;
    async fn mailbox(&self) -> Result<()>;
    fn borrowed(&self, body: &[u8], reply: &mut ReplyBuf<'_>) -> Result<()>;
    async fn takes(&self, body: Streaming<Bytes>) -> Result<()>;
    async fn gives(&self) -> Result<Streaming<Bytes>>;
    async fn annotated(&self) -> Result<Annotated<Bytes>>;
    #[spawn]
    async fn spawned(&self) -> Result<()>;
    #[rename = "a_name_that_is_longer_than_the_sixty_four_bytes_that_a_frame_carries"]
    async fn long(&self) -> Result<()>;
}

#[trunkline::service(mailbox, name = "desk/1")]
trait Slash {}

#[trunkline::service(mailbox = true)]
trait Value {}

#[trunkline::service(post)]
trait Post {}

fn main() {}
