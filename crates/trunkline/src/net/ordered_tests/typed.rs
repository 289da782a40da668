//! `Streaming<T>` on a wire that streams: both ways, back-pressure, and every way to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::session::Ordered;
use super::support::{Serving, client, serve_service};
use crate::net::tests_support::Client;
use crate::{BodyStream, Code, Context, Result, Status, StreamSender, Streaming};

#[crate::service]
trait Feed {
    async fn upper(&self, words: Streaming<String>) -> Result<Streaming<String>>;
    async fn count(&self, n: String) -> Result<Streaming<String>>;
    async fn breaks(&self, n: String) -> Result<Streaming<String>>;
    async fn endless(&self, cx: &Context) -> Result<Streaming<Vec<u8>>>;
    async fn silent(&self) -> Result<Streaming<String>>;
    async fn length(&self, body: Streaming<Vec<u8>>) -> Result<String>;
    async fn first(&self, body: Streaming<String>) -> Result<String>;
    async fn big(&self, n: String) -> Result<Streaming<Vec<u8>>>;
    async fn panics(&self) -> Result<Streaming<String>>;
}

/// What has become of the handlers.
#[derive(Default)]
struct Seen {
    made: AtomicU64,
    ended: AtomicU64,
}

impl Seen {
    fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

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

fn numbers(n: &str) -> impl Iterator<Item = String> + Send + use<> {
    (1..=n.parse::<u64>().unwrap()).map(|n| n.to_string())
}

impl Feed for Feeder {
    async fn upper(&self, mut words: Streaming<String>) -> Result<Streaming<String>> {
        let ends = Ends(Arc::clone(&self.0));
        Ok(Streaming::produce(|out| async move {
            let _ends = ends;
            while let Some(word) = words.next().await {
                out.send(word?.to_uppercase()).await?;
            }
            Ok(())
        }))
    }

    async fn count(&self, n: String) -> Result<Streaming<String>> {
        Ok(Streaming::iter(numbers(&n)))
    }

    async fn breaks(&self, n: String) -> Result<Streaming<String>> {
        Ok(Streaming::produce(|out| async move {
            for number in numbers(&n) {
                out.send(number).await?;
            }
            Err(Status::failed("midway"))
        }))
    }

    async fn endless(&self, _: &Context) -> Result<Streaming<Vec<u8>>> {
        let (seen, ends) = (Arc::clone(&self.0), Ends(Arc::clone(&self.0)));
        Ok(Streaming::produce(|out| async move {
            let _ends = ends;
            loop {
                out.send(vec![b'x'; 1024]).await?;
                seen.made.fetch_add(1024, Ordering::SeqCst);
            }
        }))
    }

    async fn silent(&self) -> Result<Streaming<String>> {
        let (sender, stream) = Streaming::channel(1);
        let ends = Ends(Arc::clone(&self.0));
        tokio::spawn(async move {
            let _ends = ends;
            sender.send("one".to_owned()).await?;
            sender.closed().await;
            sender.send("never".to_owned()).await
        });
        Ok(stream)
    }

    async fn length(&self, mut body: Streaming<Vec<u8>>) -> Result<String> {
        let _ends = Ends(Arc::clone(&self.0));
        let mut length = 0;
        while let Some(part) = body.next().await {
            length += part?.len();
        }
        Ok(length.to_string())
    }

    async fn first(&self, mut body: Streaming<String>) -> Result<String> {
        let first = body.next().await.unwrap_or_else(|| Ok(String::new()))?;
        if first == "fail" { Err(Status::failed("as was wished")) } else { Ok(first) }
    }

    async fn big(&self, n: String) -> Result<Streaming<Vec<u8>>> {
        Ok(Streaming::iter([vec![1], vec![0; n.parse().unwrap()], vec![2]]))
    }

    async fn panics(&self) -> Result<Streaming<String>> {
        Ok(Streaming::iter((0..).map(|n| {
            assert!(n < 3, "its own text");
            n.to_string()
        })))
    }
}

async fn start(name: &str) -> (Serving, Arc<Seen>, FeedClient<Client<Ordered>>) {
    let seen = Arc::<Seen>::default();
    let service = FeedServer::new(Feeder(Arc::clone(&seen)));
    let (server, name) = serve_service(name, service, Arc::default(), |_| {}).await;
    (server, seen, FeedClient::new(client(&name)).named("Ordered"))
}

async fn rest<T: crate::codec::Payload>(mut stream: Streaming<T>) -> (Vec<T>, Option<Status>) {
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => items.push(item),
            Err(status) => return (items, Some(status)),
        }
    }
    (items, None)
}

/// Polls until something is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("{what}");
}

#[tokio::test(start_paused = true)]
async fn items_are_answered_as_they_arrive() {
    let (_server, seen, client) = start("typed-upper").await;
    let (sender, words) = Streaming::channel(4);
    sender.send("first".to_owned()).await.unwrap();
    let mut answer = client.upper(words).await.unwrap();
    assert_eq!(answer.next().await.unwrap().unwrap(), "FIRST");
    for n in 0..1_000 {
        sender.send(format!("word {n}")).await.unwrap();
        assert_eq!(answer.next().await.unwrap().unwrap(), format!("WORD {n}"));
    }
    sender.finish();
    assert!(answer.next().await.is_none());
    assert_eq!(seen.ended(), 1);
}

#[tokio::test(start_paused = true)]
async fn streams_of_every_length_come_whole() {
    let (_server, _, client) = start("typed-count").await;
    for n in [0, 1, 2, 5, 1_000, 100_000] {
        let (items, status) = rest(client.count(n.to_string()).await.unwrap()).await;
        assert!(status.is_none(), "{n}: {status:?}");
        assert!(items.into_iter().eq(numbers(&n.to_string())), "{n}");
    }
    for n in [0, 1, 2, 5_000] {
        let body = Streaming::iter((0..n).map(|_| vec![b'x'; 100]));
        assert_eq!(client.length(body).await.unwrap(), (100 * n).to_string());
    }
    // A stream that one service gives goes on to another as it is.
    let (items, _) = rest(client.upper(client.count("3".to_owned()).await.unwrap()).await.unwrap()).await;
    assert_eq!(items, ["1", "2", "3"]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_midway_is_the_last_item() {
    let (_server, _, client) = start("typed-breaks").await;
    for n in [1, 10, 10_000] {
        let (items, status) = rest(client.breaks(n.to_string()).await.unwrap()).await;
        assert_eq!(items.len(), n);
        assert_eq!(status.unwrap().message(), "midway");
    }
    // Nothing has begun: the call fails.
    assert_eq!(client.breaks("0".to_owned()).await.unwrap_err().message(), "midway");
    // The caller's own stream fails: so does the call, with that.
    let body = Streaming::produce(|out| async move {
        out.send(vec![1]).await?;
        Err(Status::failed("the file is gone"))
    });
    assert_eq!(client.length(body).await.unwrap_err().message(), "the file is gone");
    let (items, status) = rest(client.panics().await.unwrap()).await;
    assert_eq!(items, ["0", "1", "2"]);
    assert!(status.unwrap().message().contains("see its log"));
    assert_eq!(rest(client.count("2".to_owned()).await.unwrap()).await.0, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn an_item_over_the_limit_fails_its_stream() {
    let (_server, _, client) = start("typed-big").await;
    let limit = crate::Limits::default().body;
    let (items, status) = rest(client.big(limit.to_string()).await.unwrap()).await;
    assert!(items.len() == 3 && status.is_none(), "{status:?}");
    let (items, status) = rest(client.big((limit + 1).to_string()).await.unwrap()).await;
    assert!(items.len() == 1 && status.unwrap().message().contains("body_limit"));
}

#[tokio::test(start_paused = true)]
async fn who_makes_items_waits_for_who_reads_them() {
    let (_server, seen, client) = start("typed-slow").await;
    let mut stream = client.endless().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let made = seen.made();
    // Both ends of the connection, two batches, the pipe between them, and what the function may send ahead.
    let most = 2 * BodyStream::CREDIT as u64 + 4 * (64 << 10) + (256 << 10) + (32 << 10);
    assert!(made <= most, "{made} bytes were made, {most} fit");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(seen.made(), made, "nothing was read, and more was made");
    for _ in 0..2_000 {
        assert_eq!(stream.next().await.unwrap().unwrap().len(), 1024);
    }
    assert!(seen.made() >= 2_000 << 10);

    // The same the other way: the handler of an earlier call keeps this one from being answered and read.
    let (sender, words) = Streaming::channel(4);
    let begun = client.upper(words);
    let begun = std::pin::pin!(begun.send());
    let mut sent = 0u64;
    let write = async {
        loop {
            sender.send("x".repeat(1024)).await.unwrap();
            sent += 1024;
        }
    };
    let over = tokio::time::timeout(Duration::from_secs(2), async { tokio::join!(begun, write) }).await;
    assert!(over.is_err());
    let most = 4 * BodyStream::CREDIT as u64 + 6 * (64 << 10) + (256 << 10) + (32 << 10);
    assert!(sent >= BodyStream::CREDIT as u64 && sent <= most, "{sent} bytes were taken, {most} fit");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_ends_the_handler() {
    let (_server, seen, client) = start("typed-gone").await;
    let mut stream = client.endless().await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    drop(stream);
    until("the handler goes on", || seen.ended() == 1).await;
    // Also where nothing more comes that could not be delivered.
    let mut stream = client.silent().await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), "one");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(seen.ended(), 1);
    drop(stream);
    until("the handler waits for nobody", || seen.ended() == 2).await;
    assert_eq!(rest(client.count("2".to_owned()).await.unwrap()).await.0, ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_sender_learns_that_its_reader_is_gone() {
    let (_server, _, client) = start("typed-unread").await;
    // The call has failed before its request was whole.
    let (sender, words) = Streaming::channel(4);
    sender.send("fail".to_owned()).await.unwrap();
    assert_eq!(client.first(words).await.unwrap_err().message(), "as was wished");
    let told: Result<()> = tokio::time::timeout(Duration::from_secs(5), flood(&sender)).await.unwrap();
    assert_eq!(told.unwrap_err().code(), Code::Cancelled);
    // The wire goes on behind it.
    assert_eq!(client.first(Streaming::iter(["ok".to_owned()])).await.unwrap(), "ok");
    // The call was dropped.
    let (sender, words) = Streaming::channel(4);
    let given_up = tokio::time::timeout(Duration::from_millis(20), client.first(words).send()).await;
    assert!(given_up.is_err());
    sender.closed().await;
    assert_eq!(client.first(Streaming::iter(["ok".to_owned()])).await.unwrap(), "ok");
    // The reply's reader is gone while the request goes on.
    let (sender, words) = Streaming::channel(4);
    sender.send("first".to_owned()).await.unwrap();
    drop(client.upper(words).await.unwrap());
    sender.closed().await;
}

async fn flood(sender: &StreamSender<String>) -> Result<()> {
    loop {
        sender.send("more".to_owned()).await?;
        tokio::task::yield_now().await;
    }
}

/// What a channel gives a call covers the time until its stream begins; what the call says itself covers all of it.
#[tokio::test(start_paused = true)]
async fn a_deadline_of_its_own_covers_a_stream_to_its_end() {
    let (_server, seen, client) = start("typed-deadline").await;
    let mut stream = client.silent().await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let waits = tokio::time::timeout(Duration::from_secs(60), stream.next()).await;
    assert!(waits.is_err(), "a stream has no end by itself");
    drop(stream);
    until("the handler goes on", || seen.ended() == 1).await;

    let begun = Instant::now();
    let mut stream = client.silent().timeout(Duration::from_secs(2)).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(begun.elapsed().as_secs(), 2);
    until("the handler goes on", || seen.ended() == 2).await;

    // A stream that is never silent ends as well.
    let mut stream = client.endless().timeout(Duration::from_millis(50)).await.unwrap();
    let status = loop {
        match stream.next().await.unwrap() {
            Ok(_) => sleep(Duration::from_millis(1)).await,
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    until("the handler goes on", || seen.ended() == 3).await;
}

/// A client that is dropped does not take the stream with it.
#[tokio::test(start_paused = true)]
async fn a_stream_outlives_its_client() {
    let (_server, seen, client) = start("typed-outlives").await;
    let mut stream = client.endless().await.unwrap();
    drop(client);
    sleep(Duration::from_secs(5)).await;
    for _ in 0..1_000 {
        assert!(stream.next().await.unwrap().is_ok());
    }
    drop(stream);
    until("the handler goes on", || seen.ended() == 1).await;
}
