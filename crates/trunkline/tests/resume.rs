//! Streams that go on over TCP, through a proxy that cuts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use support::proxy::{Cut, Fault, Proxy};
use trunkline::client::{Channel, Resuming};
use trunkline::layer::Resume;
use trunkline::{Bytes, Code, Result, Server, Status, Streaming};

#[trunkline::service]
trait Blocks {
    /// So many blocks, each with its number and of any length.
    async fn all(&self, count: String) -> Result<Streaming<Bytes>>;
}

struct Store(Arc<AtomicU64>);

/// The block of a number, the same each time.
fn block(number: u64) -> Bytes {
    let mut chance = fastrand::Rng::with_seed(number);
    let mut block = number.to_be_bytes().to_vec();
    let length = chance.usize(..4_000);
    block.extend(std::iter::repeat_with(|| chance.u8(..)).take(length));
    block.into()
}

impl Blocks for Store {
    async fn all(&self, count: String) -> Result<Streaming<Bytes>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        let count: u64 = count.parse().map_err(|_| Status::new(Code::InvalidInput, "no number"))?;
        Ok(Streaming::iter((1..=count).map(block)))
    }
}

#[tokio::test]
async fn every_block_comes_once_through_a_proxy_that_cuts() {
    let begun = Arc::<AtomicU64>::default();
    let blocks = BlocksServer::new(Store(Arc::clone(&begun)));
    let builder = Server::builder().serve(blocks).layer(Resume::new().buffer(64 << 10)).threads(2);
    let server = builder.listen("127.0.0.1:0").start().await.unwrap();
    let address = server.url().replace("rpcx://", "");
    let proxy = Proxy::start(address, |connection| {
        let mut chance = fastrand::Rng::with_seed(connection);
        let after = chance.u64(20_000..1_000_000);
        let cut = if chance.bool() { Cut::Fin(after) } else { Cut::Reset(after) };
        (Fault::default(), Fault { cut: Some(cut), ..Fault::default() })
    })
    .await;
    let channel = Channel::connect(&format!("iip://{}", proxy.address)).await.unwrap();
    let blocks = BlocksClient::new(Resuming::new(channel));
    let one = async || {
        let mut stream = blocks.all("2000".into()).await.unwrap();
        for number in 1..=2_000 {
            assert_eq!(stream.next().await.unwrap().unwrap(), block(number));
        }
        assert!(stream.next().await.is_none());
    };
    let both = async { tokio::join!(one(), one()) };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    assert_eq!(begun.load(Ordering::SeqCst), 2);
    let connections = proxy.connections.load(Ordering::SeqCst);
    assert!(connections > 8, "{connections}");
    server.stop(Duration::from_secs(5)).await.unwrap();
}
