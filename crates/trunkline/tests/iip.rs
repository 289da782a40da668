//! IIP at a whole server: known defects of the Go program by their ids, order, and streams beside a stalled reader.
//! Those of the wire alone stand with its tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use support::iip::{Raw, decode, frame};
use support::{Test, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::describe::{MethodInfo, ServiceInfo};
use trunkline::{Body, BodyStream, Call, NamedService, Reply, Result, Server, Service};

const GENEROUS: Duration = Duration::from_secs(60);

/// I6: the channel is closed before its deletion is answered, and the adapter's connection with it.
#[tokio::test]
async fn i6_a_deleted_channel_is_answered_and_the_others_go_on() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 2).await;
    assert_eq!(raw.ask("/sys/delete_channel", 1, "{}").await, r#"{"code":0}"#);
    assert_eq!(raw.ask("/Test/Owned", 2, "x").await, "x");
    // Over HTTP there is no such path, so the channel that the adapter shares out stays.
    let through = raw.ask("/sys/delete_channel?__http_hdr__=e30=", 2, "{}").await;
    assert_eq!(through, r#"{"code":102,"message":"handle error"}"#);
    assert_eq!(raw.ask("/Test/Owned", 2, "y").await, "y");
}

/// I7: a connection that ends while channels are made ends the whole server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i7_a_reset_while_channels_are_made_costs_its_own_connection_alone() {
    let (handle, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let requests = frame(1, "/sys/new_channel", 0, "{}").repeat(10_000);
    for round in 0..20 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // Some of it is written when the connection is reset: with unread answers, or by a linger of 0.
        let part = requests.len() * (round + 1) / 20;
        let _ = tokio::time::timeout(Duration::from_millis(20), stream.write_all(&requests[..part])).await;
        stream.set_zero_linger().unwrap();
        drop(stream);
    }
    let mut raw = Raw::with_channels(&address, 1).await;
    assert_eq!(raw.ask("/Test/Owned", 1, "alive").await, "alive");
    drop(raw);
    tokio::time::timeout(GENEROUS, async {
        while handle.report().connections > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("no connection is left");
}

/// I10: nothing limits the channels of a connection.
#[tokio::test]
async fn i10_the_4097th_channel_is_refused_and_the_connection_goes_on() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 4096).await;
    for _ in 0..3 {
        let refused = raw.ask("/sys/new_channel", 0, "{}").await;
        assert!(refused.starts_with(r#"{"code":106,"#), "{refused}");
    }
    for channel in [0, 1, 4096] {
        assert_eq!(raw.ask("/Test/Owned", channel, "x").await, "x");
    }
    // One that is given back is granted again.
    assert_eq!(raw.ask("/sys/delete_channel", 77, "{}").await, r#"{"code":0}"#);
    assert_eq!(raw.ask("/sys/new_channel", 0, "{}").await, r#"{"code":0,"channel_id":77}"#);
}

/// I12: 101 requests to a handler that sleeps stop the whole connection.
#[tokio::test]
async fn i12_a_slow_handler_holds_back_its_own_channel_alone() {
    let (_, address) = serve(Server::builder().serve(Test::default()).listen("127.0.0.1:0")).await;
    let mut raw = Raw::with_channels(&address, 2).await;
    raw.send(&frame(1, "/Test/Sleep", 1, "60000").repeat(2_000)).await;
    for n in 0..100 {
        let data = n.to_string();
        // The connection still reads, and nothing but these is answered.
        assert_eq!(raw.ask("/Test/Owned", 2, &data).await, data);
    }
}

/// `Slow.Id`: answers its body after a time that nobody can foresee.
struct Slow;

impl NamedService for Slow {
    fn describe(&self) -> ServiceInfo {
        ServiceInfo { name: "Slow".into(), doc: "", methods: vec![MethodInfo::new("Id")] }
    }
}

impl Service for Slow {
    async fn call(&self, call: Call) -> Result<Reply> {
        let body = call.into_parts().1.whole(64).await?;
        match fastrand::u8(..) {
            0..16 => tokio::time::sleep(Duration::from_micros(fastrand::u64(..3_000))).await,
            16..128 => tokio::task::yield_now().await,
            _ => {}
        }
        Ok(Reply::new(body))
    }
}

/// So many ids through one channel, as many in flight as the server takes; a part of the answers is read late.
async fn ids_come_back_in_order(count: u64, pause: Duration) {
    let (_, address) = serve(Server::builder().serve(Slow).listen("127.0.0.1:0")).await;
    let raw = Raw::with_channels(&address, 1).await;
    let (mut read, mut write) = raw.stream.into_split();
    let sender = tokio::spawn(async move {
        let mut batch = Vec::new();
        for id in 0..count {
            batch.extend(frame(1, "/Slow/Id", 1, id.to_string()));
            if batch.len() > 8_000 || id + 1 == count {
                write.write_all(&batch).await.unwrap();
                batch.clear();
            }
        }
        write
    });
    let (mut bytes, mut next) = (Vec::new(), 0);
    while next < count {
        if next == count / 2 {
            tokio::time::sleep(pause).await;
        }
        assert!(read.read_buf(&mut bytes).await.unwrap() > 0, "ended after {next}");
        let mut at = 0;
        while let Some(((status, _, _, data), length)) = decode(&bytes[at..]) {
            assert!(status == 5 && data == next.to_string().as_bytes(), "{data:?} is not {next}");
            at += length;
            next += 1;
        }
        bytes.drain(..at);
    }
    drop(sender.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_of_20_000_ids_on_one_channel() {
    ids_come_back_in_order(20_000, Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn order_of_1_000_000_ids_on_one_channel_with_a_reader_that_stalls() {
    ids_come_back_in_order(1_000_000, Duration::from_secs(10)).await;
}

/// `/stream`: answers so many frames of 4 KiB as its body says.
struct Streams;

impl NamedService for Streams {
    fn describe(&self) -> ServiceInfo {
        ServiceInfo { name: "".into(), doc: "", methods: vec![MethodInfo::new("/stream")] }
    }
}

impl Service for Streams {
    async fn call(&self, call: Call) -> Result<Reply> {
        let body = call.into_parts().1.whole(64).await?;
        let frames: u32 = std::str::from_utf8(&body).unwrap().parse().unwrap();
        let (mut sender, stream) = BodyStream::channel();
        tokio::spawn(async move {
            for n in 0..frames {
                if sender.send(vec![u8::try_from(n % 251).unwrap(); 4096]).await.is_err() {
                    return;
                }
            }
            sender.finish();
        });
        Ok(Reply::new(Body::Stream(stream)))
    }
}

const CONNECTIONS: u32 = 10;

/// So many streams on as many channels of 10 connections, of which one does not read.
async fn others_finish_beside_a_stalled_reader(streams: u32, frames: u32) {
    let (_, address) = serve(Server::builder().serve(Streams).listen("127.0.0.1:0")).await;
    let each = streams / CONNECTIONS;
    let mut stalled = Raw::with_channels(&address, each).await;
    let requests: Vec<u8> =
        (1..=each).flat_map(|channel| frame(1, "/stream", channel, frames.to_string())).collect();
    stalled.send(&requests).await;
    let mut readers = Vec::new();
    for _ in 1..CONNECTIONS {
        let (address, requests) = (address.clone(), requests.clone());
        readers.push(tokio::spawn(async move {
            let mut raw = Raw::with_channels(&address, each).await;
            raw.send(&requests).await;
            whole_streams(&mut raw, each, frames).await;
        }));
    }
    for reader in readers {
        tokio::time::timeout(GENEROUS, reader).await.expect("nobody waits for the stalled one").unwrap();
    }
    // The stalled one has lost nothing.
    whole_streams(&mut stalled, each, frames).await;
}

/// Reads streams to their ends, each in its order.
async fn whole_streams(raw: &mut Raw, streams: u32, frames: u32) {
    let mut came: HashMap<u32, u32> = HashMap::new();
    let mut open = streams;
    while open > 0 {
        let (status, _, channel, data) = raw.next().await.unwrap();
        let n = came.entry(channel).or_default();
        let expected = if *n == 0 {
            4
        } else if *n + 1 == frames {
            7
        } else {
            6
        };
        assert!(status == expected && data == vec![u8::try_from(*n % 251).unwrap(); 4096], "{channel}: {n}");
        *n += 1;
        open -= u32::from(status == 7);
    }
    assert!(came.len() == usize::try_from(streams).unwrap() && came.values().all(|n| *n == frames));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_100_with_one_stalled_reader() {
    others_finish_beside_a_stalled_reader(100, 256).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn streams_1_000_with_one_stalled_reader() {
    others_finish_beside_a_stalled_reader(1_000, 256).await;
}
