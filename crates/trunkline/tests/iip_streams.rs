//! `Streaming<T>` over IIP, between Trunkline peers over real connections, and with a server that is another one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails so")]

mod iip_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use iip_support::{Fake, Frame, PATIENCE, read_frame, until, written};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::timeout;
use trunkline::client::Channel;
use trunkline::server::RunningServer;
use trunkline::{
    Annotated, Bytes, Call, Code, Message, Metadata, Result, Serialization, Server, Service, Status,
    Streaming,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct Number {
    n: i64,
}

fn number(n: i64) -> Number {
    Number { n }
}

#[trunkline::service]
trait Feed {
    async fn count(&self, to: Number) -> Result<Streaming<Number>>;
    async fn breaks(&self, at: Number) -> Result<Streaming<Number>>;
    async fn refuses(&self) -> Result<Streaming<Number>>;
    async fn double(&self, numbers: Streaming<Number>) -> Result<Annotated<Streaming<Number>>>;
    async fn sum(&self, numbers: Streaming<Number>) -> Result<Number>;
    async fn parts(&self, parts: Streaming<Bytes>) -> Result<Streaming<Bytes>>;
    async fn endless(&self) -> Result<Streaming<Bytes>>;
    async fn silent(&self) -> Result<Streaming<Number>>;
    async fn never(&self, numbers: Streaming<Number>) -> Result<Number>;
    async fn whole(&self, n: Number) -> Result<Number>;
}

#[derive(Default)]
struct Seen {
    made: AtomicU64,
    read: AtomicU64,
    ended: AtomicU64,
}

impl Seen {
    fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }
}

struct Ends(Arc<Seen>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

struct Feeder(Arc<Seen>);

impl Feed for Feeder {
    async fn count(&self, to: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::iter((1..=to.n).map(number)))
    }

    async fn breaks(&self, at: Number) -> Result<Streaming<Number>> {
        Ok(Streaming::produce(|out| async move {
            for n in 1..=at.n {
                out.send(number(n)).await?;
            }
            Err(Status::new(Code::Limited, "midway: \"ü\""))
        }))
    }

    async fn refuses(&self) -> Result<Streaming<Number>> {
        Err(Status::new(Code::Limited, "not now"))
    }

    async fn double(&self, mut numbers: Streaming<Number>) -> Result<Annotated<Streaming<Number>>> {
        let ends = Ends(Arc::clone(&self.0));
        let doubled = Streaming::produce(|out| async move {
            let _ends = ends;
            while let Some(next) = numbers.next().await {
                out.send(number(2 * next?.n)).await?;
            }
            Ok(())
        });
        Ok(Annotated::new(doubled, Metadata::builder().with("kind", "double").build()))
    }

    async fn sum(&self, mut numbers: Streaming<Number>) -> Result<Number> {
        let _ends = Ends(Arc::clone(&self.0));
        let mut sum = 0;
        while let Some(next) = numbers.next().await {
            sum += next?.n;
            self.0.read.fetch_add(1, Ordering::SeqCst);
        }
        Ok(number(sum))
    }

    async fn parts(&self, mut parts: Streaming<Bytes>) -> Result<Streaming<Bytes>> {
        Ok(Streaming::produce(|out| async move {
            while let Some(part) = parts.next().await {
                out.send(part?).await?;
            }
            Ok(())
        }))
    }

    async fn endless(&self) -> Result<Streaming<Bytes>> {
        let (seen, ends) = (Arc::clone(&self.0), Ends(Arc::clone(&self.0)));
        Ok(Streaming::produce(|out| async move {
            let _ends = ends;
            loop {
                out.send(vec![b'x'; 4096].into()).await?;
                seen.made.fetch_add(4096, Ordering::SeqCst);
            }
        }))
    }

    async fn silent(&self) -> Result<Streaming<Number>> {
        let ends = Ends(Arc::clone(&self.0));
        Ok(Streaming::produce(|out| async move {
            let _kept = (out, ends);
            std::future::pending().await
        }))
    }

    async fn never(&self, numbers: Streaming<Number>) -> Result<Number> {
        let _ends = (Ends(Arc::clone(&self.0)), numbers);
        std::future::pending().await
    }

    async fn whole(&self, n: Number) -> Result<Number> {
        Ok(n)
    }
}

async fn start() -> (RunningServer, Arc<Seen>, FeedClient) {
    let seen = Arc::<Seen>::default();
    let server = Server::builder().serve(FeedServer::new(Feeder(Arc::clone(&seen)))).listen("127.0.0.1:0");
    let server = server.start().await.unwrap();
    let feed = FeedClient::connect(&server.url().replace("rpcx://", "iip://")).await.unwrap();
    (server, seen, feed)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(PATIENCE, work).await.expect("it ends in time")
}

#[tokio::test]
async fn ten_thousand_items_go_both_ways_in_their_order() {
    let (_server, _, feed) = start().await;
    const MANY: i64 = 10_000;
    let all = within(feed.count(number(MANY)).await.unwrap().all(usize::MAX)).await.unwrap();
    assert!(all.iter().map(|item| item.n).eq(1..=MANY));
    assert_eq!(
        within(feed.sum(Streaming::iter((1..=MANY).map(number))).send()).await.unwrap().n,
        MANY * (MANY + 1) / 2
    );
    let reply = feed.double(Streaming::iter((1..=MANY).map(number))).annotated();
    let reply = within(reply).await.unwrap();
    let all = within(reply.value.all(usize::MAX)).await.unwrap();
    assert!(all.iter().map(|item| item.n).eq((1..=MANY).map(|n| 2 * n)));
    // None and one are streams, too.
    assert!(within(feed.count(number(0)).await.unwrap().all(9)).await.unwrap().is_empty());
    assert_eq!(within(feed.count(number(1)).await.unwrap().all(9)).await.unwrap(), [number(1)]);
    assert_eq!(within(feed.sum(Streaming::iter([])).send()).await.unwrap().n, 0);
}

/// Each item is answered before the next one is sent: nothing waits for more than is there, not even for the first.
#[tokio::test]
async fn a_conversation_item_by_item() {
    let (_server, seen, feed) = start().await;
    // Whether the server is Trunkline is known by the first answer.
    feed.whole(number(1)).await.unwrap();
    let (numbers, sent) = Streaming::channel(1);
    let mut reply = within(feed.double(sent).annotated()).await.unwrap();
    assert_eq!(reply.metadata.get("kind"), Some("double"), "metadata comes with the head");
    for n in 1..=50 {
        numbers.send(number(n)).await.unwrap();
        assert_eq!(within(reply.value.next()).await.unwrap().unwrap().n, 2 * n);
    }
    numbers.finish();
    assert!(within(reply.value.next()).await.is_none());
    until("the handler has ended", || seen.ended() == 1).await;
}

#[tokio::test]
async fn items_of_bytes_come_as_they_are() {
    let (_server, _, feed) = start().await;
    let parts: Vec<Bytes> =
        (1..200_u32).map(|n| vec![n.to_le_bytes()[0]; (n * 331) as usize].into()).collect();
    let echoed = within(feed.parts(Streaming::iter(parts.clone())).send()).await.unwrap();
    assert_eq!(within(echoed.all(usize::MAX)).await.unwrap(), parts);
    let zeros = Bytes::from_static(&[0; 3]);
    let echoed = within(feed.parts(Streaming::iter([zeros.clone(), "{}".into()])).send()).await.unwrap();
    assert_eq!(within(echoed.all(9)).await.unwrap(), [zeros, Bytes::from_static(b"{}")]);
}

#[tokio::test]
async fn an_error_midway_comes_behind_the_items_before_it() {
    let (_server, _, feed) = start().await;
    let mut stream = feed.breaks(number(3)).await.unwrap();
    for n in 1..=3 {
        assert_eq!(within(stream.next()).await.unwrap().unwrap().n, n);
    }
    let status = within(stream.next()).await.unwrap().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Limited, "midway: \"ü\""));
    assert!(within(stream.next()).await.is_none());
    let status = feed.refuses().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Limited, "not now"));
    // A request that fails midway is none: the handler gets no end of it that it could take for the whole.
    let (numbers, sent) = Streaming::channel(1);
    let asked = tokio::spawn({
        let feed = feed.clone();
        async move { feed.sum(sent).await }
    });
    numbers.send(number(1)).await.unwrap();
    numbers.fail(Status::failed("the file is broken"));
    assert_eq!(within(asked).await.unwrap().unwrap_err().message(), "the file is broken");
    assert_eq!(within(feed.whole(number(7)).send()).await.unwrap().n, 7, "the connection goes on");
}

/// The server's handler is dropped: where the reply has begun, where it has not, and while the request goes on.
#[tokio::test]
async fn what_nobody_waits_for_ends_at_the_server() {
    let (_server, seen, feed) = start().await;
    feed.whole(number(1)).await.unwrap();
    let mut stream = feed.endless().await.unwrap();
    assert_eq!(within(stream.next()).await.unwrap().unwrap().len(), 4096);
    drop(stream);
    until("the endless stream ends", || seen.ended() == 1).await;
    drop(within(feed.silent().send()).await.unwrap());
    until("the silent stream ends", || seen.ended() == 2).await;
    let (numbers, sent) = Streaming::channel(1);
    numbers.send(number(1)).await.unwrap();
    let given_up = timeout(Duration::from_millis(50), feed.never(sent).send()).await;
    assert!(given_up.is_err());
    until("the call that was dropped ends", || seen.ended() == 3).await;
    within(numbers.closed()).await;
    let (numbers, sent) = Streaming::channel(1);
    drop(within(feed.double(sent).send()).await.unwrap());
    within(numbers.closed()).await;
    until("both ways end", || seen.ended() == 4).await;
    // All channels are as good as before.
    for n in 0..40 {
        assert_eq!(within(feed.whole(number(n)).send()).await.unwrap().n, n);
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream_at_both_ends() {
    let (_server, seen, feed) = start().await;
    let time = Duration::from_millis(150);
    let mut stream = feed.silent().timeout(time).await.unwrap();
    let status = within(stream.next()).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until("the handler has ended", || seen.ended() == 1).await;
    let (numbers, sent) = Streaming::channel(1);
    let status = within(feed.never(sent).timeout(time).send()).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until("the handler has ended", || seen.ended() == 2).await;
    within(numbers.closed()).await;
    assert_eq!(within(feed.whole(number(7)).send()).await.unwrap().n, 7);
}

/// Nothing runs ahead of a reader that stalls, and a request that nobody reads is not sent.
#[tokio::test]
async fn a_writer_goes_no_faster_than_its_reader() {
    let (_server, seen, feed) = start().await;
    let mut stream = feed.endless().await.unwrap();
    let mut before = u64::MAX;
    until("the handler waits for its reader", || {
        let made = seen.made.load(Ordering::SeqCst);
        let stands = made == before;
        before = made;
        std::thread::sleep(Duration::from_millis(50));
        stands
    })
    .await;
    assert!(before < 32 << 20, "{before} bytes were made for nobody");
    for _ in 0..before / 4096 + 100 {
        assert_eq!(within(stream.next()).await.unwrap().unwrap().len(), 4096);
    }
}

/// A request whose handler does not read it: its channel waits, the others of the connection go on.
#[tokio::test]
async fn a_handler_that_stalls_slows_only_its_channel() {
    let (_server, seen, feed) = start().await;
    feed.whole(number(1)).await.unwrap();
    let (numbers, sent) = Streaming::channel(1);
    let stalled = tokio::spawn({
        let feed = feed.clone();
        async move { feed.never(sent).await }
    });
    let flood = tokio::spawn(async move {
        loop {
            if numbers.send(number(1)).await.is_err() {
                return;
            }
        }
    });
    for n in 0..500 {
        assert_eq!(within(feed.whole(number(n)).send()).await.unwrap().n, n);
    }
    let sum = within(feed.sum(Streaming::iter((1..=5000).map(number))).send()).await.unwrap();
    assert_eq!(sum.n, 5000 * 5001 / 2);
    stalled.abort();
    within(flood).await.unwrap();
    until("the handler has ended", || seen.ended() == 2).await;
}

/// Replies that nobody reads, on the one connection that all calls of a client share: theirs wait, the others go on.
#[tokio::test]
async fn a_reader_that_stalls_slows_only_its_channel() {
    let (_server, seen, feed) = start().await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut stream = feed.endless().await.unwrap();
        assert_eq!(within(stream.next()).await.unwrap().unwrap().len(), 4096);
        stalled.push(stream);
    }
    for n in 0..500 {
        assert_eq!(within(feed.whole(number(n)).send()).await.unwrap().n, n);
    }
    let all = within(feed.count(number(10_000)).await.unwrap().all(usize::MAX)).await.unwrap();
    assert!(all.iter().map(|item| item.n).eq(1..=10_000));
    let made = seen.made.load(Ordering::SeqCst);
    assert!(made < 3 << 20, "{made} bytes were made for three readers that stall");
    // They go on where they were, as fast as they are read, and end.
    for stream in &mut stalled {
        for _ in 0..2000 {
            assert_eq!(within(stream.next()).await.unwrap().unwrap().len(), 4096);
        }
    }
    drop(stalled);
    until("the handlers have ended", || seen.ended() == 3).await;
}

/// Items that are larger than all that may be on its way, with a reader that stalls before each.
#[tokio::test]
async fn large_items_go_through_a_reader_that_is_slow() {
    let (_server, _, feed) = start().await;
    feed.whole(number(1)).await.unwrap();
    let parts: Vec<Bytes> = (0..12_u8).map(|n| vec![n; 700_000].into()).collect();
    let mut echoed = within(feed.parts(Streaming::iter(parts.clone())).send()).await.unwrap();
    for part in parts {
        for n in 0..20 {
            let answer = within(feed.whole(number(n)).send()).await;
            assert_eq!(answer.unwrap_or_else(|e| panic!("{} {n} {e}", part[0])).n, n);
        }
        assert!(within(echoed.next()).await.unwrap().unwrap() == part);
    }
    assert!(within(echoed.next()).await.is_none());
}

/// A server that cannot be told goes on answering; what it sends is read past, and the channel's next answer is
/// still the next call's.
#[tokio::test]
async fn with_other_servers_a_stream_that_nobody_reads_is_read_past() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut granted = 0;
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut stream, 1).await {
            let answer = match frame.path.as_str() {
                "/sys/new_channel" => {
                    granted += 1;
                    written(5, &frame.path, 0, format!(r#"{{"code":0,"channel_id":{granted}}}"#).as_bytes())
                }
                "/sys/trunkline" => written(5, &frame.path, 0, iip_support::UNKNOWN.as_bytes()),
                "/Feed/Count" => {
                    let mut all = written(4, &frame.path, frame.channel, br#"{"n":1}"#);
                    for n in 2..2000 {
                        all.extend(written(
                            6,
                            &frame.path,
                            frame.channel,
                            format!(r#"{{"n":{n}}}"#).as_bytes(),
                        ));
                    }
                    all.extend(written(7, &frame.path, frame.channel, br#"{"n":2000}"#));
                    all
                }
                _ => written(5, &frame.path, frame.channel, &frame.data),
            };
            frames.push(frame);
            if stream.write_all(&answer).await.is_err() {
                break;
            }
        }
        frames
    });
    // One channel: whatever follows is behind the stream.
    let channel = Channel::builder(&format!("iip://{address}")).iip_channels(1).connect().await.unwrap();
    let feed = FeedClient::new(channel.clone());
    for _ in 0..3 {
        let mut stream = feed.count(number(2000)).await.unwrap();
        assert_eq!(within(stream.next()).await.unwrap().unwrap().n, 1);
        drop(stream);
        assert_eq!(within(feed.whole(number(7)).send()).await.unwrap().n, 7);
    }
    let all = within(feed.count(number(2000)).await.unwrap().all(usize::MAX)).await.unwrap();
    assert!(all.iter().map(|item| item.n).eq(1..=2000));
    // What was left of each of the three was counted, and completed nothing.
    assert_eq!(channel.stats().stray_replies, 3);
    drop((feed, channel));
    let asked = within(server).await.unwrap();
    assert_eq!(asked.iter().filter(|frame| frame.path == "/Feed/Whole").count(), 3);
    assert!(
        asked.iter().all(|frame| !frame.path.contains("__trunkline")),
        "nothing of ours is sent to others"
    );
}

/// A request that is given up midway must not be taken for the whole by a server that cannot be told: its channel is
/// used no more.
#[tokio::test]
async fn with_other_servers_a_request_given_up_midway_is_never_ended() {
    let (address, fake) = Fake::start(|frame: &Frame| Some(frame.data.clone())).await;
    let feed = FeedClient::connect(&format!("iip://{address}")).await.unwrap();
    let (numbers, sent) = Streaming::channel(1);
    let asked = tokio::spawn({
        let feed = feed.clone();
        async move { feed.sum(sent).await }
    });
    numbers.send(number(1)).await.unwrap();
    until("the first frame is there", || fake.frames().len() == 1).await;
    asked.abort();
    within(numbers.closed()).await;
    for n in 0..40 {
        assert_eq!(within(feed.whole(number(n)).send()).await.unwrap().n, n);
    }
    let frames = fake.frames();
    let cut = frames[0].channel;
    assert_eq!((frames[0].status, fake.connections()), (0, 1));
    assert!(frames.iter().skip(1).all(|frame| frame.channel != cut && frame.status == 1), "{frames:?}");
}

/// Not even the first item of a stream is needed for the call to fail before anything is sent.
#[tokio::test]
async fn a_path_that_is_none_fails_before_anything_is_sent() {
    let (address, fake) = Fake::start(|frame: &Frame| Some(frame.data.clone())).await;
    let channel = Channel::connect(&format!("iip://{address}")).await.unwrap();
    for (service, method) in
        [("", "no/slash"), ("a/b", "c"), ("a", "b?c"), ("a\0", "b"), ("", "/x\n"), ("a", "")]
    {
        let call = Call::new(service, method, Serialization::Json, "{}");
        let status = channel.call(call).await.unwrap_err();
        assert_eq!(status.code(), Code::Unsupported, "{service} {method}");
        assert!(status.may_retry());
    }
    assert!(fake.frames().is_empty());
}
