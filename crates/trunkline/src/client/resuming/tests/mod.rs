//! Streams across lost connections: over IIP in memory, through a proxy that cuts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::Resuming;
use crate::client::{Channel, Outgoing};
use crate::layer::{Next, Resume, layer_fn};
use crate::metadata::STREAM;
use crate::net::transport::{Address, Listener, Stream};
use crate::server::RunningServer;
use crate::{Call, Code, Message, Result, Server, Status, Streaming};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Message)]
struct Number {
    n: u64,
}

fn number(n: u64) -> Number {
    Number { n }
}

#[trunkline::service]
trait Feed {
    /// So many numbers from 1, as fast as they are read.
    async fn count(&self, to: Number) -> Result<Streaming<Number>>;
    /// Fails behind so many.
    async fn breaks(&self, at: Number) -> Result<Streaming<Number>>;
    /// One every 100 ms, without an end.
    async fn ticks(&self) -> Result<Streaming<Number>>;
}

#[derive(Default)]
struct Seen {
    made: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Seen {
    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

struct Ends(Arc<Seen>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

struct Feeder(Arc<Seen>);

impl Feeder {
    fn begin(&self) -> Ends {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        Ends(Arc::clone(&self.0))
    }
}

impl Feed for Feeder {
    async fn count(&self, to: Number) -> Result<Streaming<Number>> {
        let ends = self.begin();
        Ok(Streaming::iter((1..=to.n).map(move |n| {
            ends.0.made.fetch_add(1, Ordering::SeqCst);
            number(n)
        })))
    }

    async fn breaks(&self, at: Number) -> Result<Streaming<Number>> {
        let ends = self.begin();
        Ok(Streaming::produce(move |out| async move {
            let _ends = ends;
            for n in 1..=at.n {
                out.send(number(n)).await?;
            }
            // As if it had lost a connection of its own.
            Err(Status::new(Code::Unavailable, "the source is gone").connection_lost())
        }))
    }

    async fn ticks(&self) -> Result<Streaming<Number>> {
        let ends = self.begin();
        Ok(Streaming::produce(move |out| async move {
            let _ends = ends;
            for n in 1.. {
                out.send(number(n)).await?;
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        }))
    }
}

async fn serve_with(name: &str, resume: Resume) -> (RunningServer, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let feed = FeedServer::new(Feeder(Arc::clone(&seen)));
    let builder = Server::builder().serve(feed).layer(resume).listen(format!("mem://{name}"));
    (builder.start().await.unwrap(), seen)
}

async fn serve(name: &str) -> (RunningServer, Arc<Seen>) {
    serve_with(name, Resume::new()).await
}

/// Between `mem://FRONT`, mostly NAME`-proxy`, and `mem://NAME`.
struct Proxy {
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn start(name: &str, budget: impl FnMut() -> u64 + Send + 'static) -> Self {
        Self::between(&format!("{name}-proxy"), name, budget).await
    }

    /// `budget` says after how many bytes to the client a connection is cut.
    async fn between(front: &str, name: &str, budget: impl FnMut() -> u64 + Send + 'static) -> Self {
        let mut listener = Listener::bind(&Address::Memory(front.to_owned())).await.unwrap();
        let (cuts, cut) = watch::channel(0);
        let connections = Arc::<AtomicU64>::default();
        let (count, server) = (Arc::clone(&connections), Address::Memory(name.to_owned()));
        let budget = Mutex::new(budget);
        let task = tokio::spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let left = budget.lock().unwrap()();
                let (server, mut cut) = (server.clone(), cut.clone());
                cut.mark_unchanged();
                passing.spawn(async move {
                    let Ok(far) = Stream::dial(&server).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) =
                        (tokio::io::split(near), tokio::io::split(far));
                    tokio::select! {
                        () = pass(from_near, to_far, u64::MAX) => {}
                        () = pass(from_far, to_near, left) => {}
                        _ = cut.changed() => {}
                    }
                });
                while passing.try_join_next().is_some() {}
            }
        });
        Self { cuts, connections, task }
    }

    async fn plain(name: &str) -> Self {
        Self::start(name, || u64::MAX).await
    }

    /// Cuts all connections.
    fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut left: u64) {
    let mut block = vec![0; 16 << 10];
    while left > 0 {
        let Ok(n @ 1..) = from.read(&mut block).await else { return };
        let n = n.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= u64::try_from(n).unwrap();
        if to.write_all(&block[..n]).await.is_err() {
            return;
        }
    }
}

fn lazy(name: &str) -> Channel {
    Channel::builder(&format!("mem://{name}?wire=iip")).lazy().unwrap()
}

fn feed(name: &str) -> FeedClient<Resuming<Channel>> {
    FeedClient::new(Resuming::new(lazy(&format!("{name}-proxy"))))
}

/// Reads until `to`, and nothing but each number once.
async fn read(stream: &mut Streaming<Number>, from: u64, to: u64) {
    for n in from..=to {
        match stream.next().await {
            Some(Ok(item)) => assert_eq!(item.n, n),
            Some(Err(status)) => panic!("instead of {n}: {status}"),
            None => panic!("the end instead of {n}"),
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come true");
}

/// At every byte of the first fifty frames, which come in one go, so that a cut is within and behind each of them.
#[tokio::test(start_paused = true)]
async fn a_cut_at_every_byte_of_the_first_frames_is_not_noticed() {
    let name = "resuming-first";
    let seen = Arc::<Seen>::default();
    let resumed = Arc::<AtomicU64>::default();
    let count = Arc::clone(&resumed);
    let counts = layer_fn(move |call: Call, next: Next| {
        count.fetch_add(u64::from(call.method().ends_with("/resume")), Ordering::SeqCst);
        async move { next.call(call).await }
    });
    let builder = Server::builder().serve(FeedServer::new(Feeder(Arc::clone(&seen))));
    let builder = builder.layer(Resume::new()).layer(counts).listen(format!("mem://{name}"));
    let _server = builder.start().await.unwrap();
    let (mut cuts, mut place, mut noticed) = (0, 1, 0);
    loop {
        let mut budgets = [place].into_iter();
        // A channel that has nothing to do any more may dial once more, but not here.
        let front = format!("{name}-{place}");
        let proxy = Proxy::between(&front, name, move || budgets.next().unwrap_or(u64::MAX)).await;
        let feed = FeedClient::new(Resuming::new(lazy(&front)));
        let before = Seen::get(&resumed);
        match feed.count(number(50)).await {
            Ok(mut stream) => {
                read(&mut stream, 1, 50).await;
                assert!(stream.next().await.is_none());
                if proxy.connections() == 1 {
                    break;
                }
                // Else the call was not made before the cut.
                cuts += u64::from(Seen::get(&resumed) > before);
            }
            // The reply had not begun: nobody knows its name.
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{place}: {status}");
                noticed += 1;
            }
        }
        place += 1;
    }
    // A frame has some 20 bytes.
    assert!(cuts > 50 * 20 && (1..200).contains(&noticed), "{cuts} {noticed} {place}");
    assert_eq!(Seen::get(&seen.made), 50 * Seen::get(&seen.begun));
}

#[tokio::test(start_paused = true)]
async fn cuts_between_frames_that_come_slowly_are_not_noticed() {
    let name = "resuming-slow";
    let (_server, seen) = serve(name).await;
    let proxy = Proxy::plain(name).await;
    let mut stream = feed(name).ticks().await.unwrap();
    for n in 1..=50 {
        read(&mut stream, n, n).await;
        proxy.cut();
    }
    read(&mut stream, 51, 60).await;
    // Of those that come together only the last one has a cut behind it.
    assert!(proxy.connections() > 25, "{}", proxy.connections());
    assert_eq!(Seen::get(&seen.begun), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_frames_survive_cuts_anywhere() {
    for seed in 0..4 {
        let name = format!("resuming-random-{seed}");
        let (_server, seen) = serve(&name).await;
        let mut chance = fastrand::Rng::with_seed(seed);
        let proxy = Proxy::start(&name, move || chance.u64(500..20_000)).await;
        let feed = FeedClient::new(Resuming::new(lazy(&format!("{name}-proxy"))));
        let mut stream = loop {
            // The first call is not made again by itself.
            if let Ok(stream) = feed.count(number(10_000)).await {
                break stream;
            }
        };
        read(&mut stream, 1, 10_000).await;
        assert!(stream.next().await.is_none());
        assert!(proxy.connections() > 10, "{}", proxy.connections());
        assert!(Seen::get(&seen.made) >= 10_000);
    }
}

#[tokio::test(start_paused = true)]
async fn what_makes_a_stream_and_fails_is_not_asked_again() {
    let name = "resuming-breaks";
    let (_server, seen) = serve(name).await;
    let proxy = Proxy::plain(name).await;
    let feed = feed(name);
    for cut in [false, true] {
        let mut stream = feed.breaks(number(5)).await.unwrap();
        read(&mut stream, 1, 3).await;
        if cut {
            proxy.cut();
        }
        read(&mut stream, 4, 5).await;
        let begun = Instant::now();
        let status = stream.next().await.unwrap().unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "the source is gone"));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert!(stream.next().await.is_none());
    }
    assert_eq!((Seen::get(&seen.begun), Seen::get(&seen.ended)), (2, 2));
}

/// The connection alone says that it was lost; a stream that is cut by its maker is another thing.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_told_apart_from_a_failure() {
    let name = "resuming-told";
    let (_server, _) = serve(name).await;
    let proxy = Proxy::plain(name).await;
    let plain = FeedClient::new(lazy(&format!("{name}-proxy")));
    let mut stream = plain.ticks().await.unwrap();
    read(&mut stream, 1, 3).await;
    proxy.cut();
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.is_connection_lost() && status.origin().is_some(), "{status}");
    let mut stream = plain.breaks(number(2)).await.unwrap();
    read(&mut stream, 1, 2).await;
    let status = stream.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.is_connection_lost(), "what a peer says of its own connections is not ours");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_started_anew_does_not_know_the_stream() {
    let name = "resuming-restart";
    let (server, seen) = serve(name).await;
    let _proxy = Proxy::plain(name).await;
    let mut stream = feed(name).ticks().await.unwrap();
    read(&mut stream, 1, 3).await;
    server.stop(Duration::ZERO).await.unwrap();
    let (_server, _) = serve(name).await;
    let begun = Instant::now();
    let status = loop {
        if let Err(status) = stream.next().await.unwrap() {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().contains("which cannot go on: the server does not know it any more"),
        "{status}"
    );
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(Seen::get(&seen.ended), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_away_is_waited_for_and_no_longer() {
    let name = "resuming-away";
    let (server, _) = serve(name).await;
    let proxy = Proxy::plain(name).await;
    let resuming = Resuming::new(lazy(&format!("{name}-proxy"))).grace(Duration::from_secs(20));
    let feed = FeedClient::new(resuming);
    let mut forever = feed.ticks().await.unwrap();
    let mut timed = feed.ticks().timeout(Duration::from_secs(12)).await.unwrap();
    read(&mut forever, 1, 3).await;
    read(&mut timed, 1, 3).await;
    let begun = Instant::now();
    drop(proxy);
    server.stop(Duration::ZERO).await.unwrap();
    let failure = async |stream: &mut Streaming<Number>| loop {
        if let Err(status) = stream.next().await.unwrap() {
            break (status, begun.elapsed().as_secs());
        }
    };
    let ((status, after), (timed, timed_after)) = tokio::join!(failure(&mut forever), failure(&mut timed));
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("could not go on in 20 s: "), "{status}");
    assert!((19..=21).contains(&after), "{after}");
    assert_eq!(timed.code(), Code::DeadlineExceeded);
    assert!((10..=12).contains(&timed_after), "{timed_after}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_goes_on_across_a_break() {
    let name = "resuming-deadline";
    let (_server, seen) = serve(name).await;
    let proxy = Proxy::plain(name).await;
    let begun = Instant::now();
    let mut stream = feed(name).ticks().timeout(Duration::from_secs(4)).await.unwrap();
    let mut next = 1;
    let status = loop {
        match stream.next().await.unwrap() {
            Ok(item) => assert_eq!(item.n, next),
            Err(status) => break status,
        }
        if next % 10 == 0 {
            proxy.cut();
        }
        next += 1;
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(next > 20, "{next}");
    let took = begun.elapsed();
    assert!((Duration::from_millis(3_990)..Duration::from_millis(4_200)).contains(&took), "{took:?}");
    until(|| Seen::get(&seen.ended) == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_goes_away_ends_what_makes_the_stream() {
    let name = "resuming-dropped";
    let (_server, seen) = serve(name).await;
    let proxy = Proxy::plain(name).await;
    let feed = feed(name);
    let begun = Instant::now();
    let mut stream = feed.ticks().await.unwrap();
    read(&mut stream, 1, 3).await;
    drop(stream);
    until(|| Seen::get(&seen.ended) == 1).await;
    // Within a break, too.
    let mut stream = feed.ticks().await.unwrap();
    read(&mut stream, 1, 3).await;
    proxy.cut();
    drop(stream);
    until(|| Seen::get(&seen.ended) == 2).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_streams_at_once_each_go_on() {
    let name = "resuming-two";
    let (_server, seen) = serve(name).await;
    let mut chance = fastrand::Rng::with_seed(5);
    let _proxy = Proxy::start(name, move || chance.u64(2_000..20_000)).await;
    let feed = feed(name);
    let one = async || {
        let mut stream = loop {
            if let Ok(stream) = feed.count(number(3_000)).await {
                break stream;
            }
        };
        read(&mut stream, 1, 3_000).await;
        assert!(stream.next().await.is_none());
    };
    tokio::join!(one(), one(), one());
    assert!(Seen::get(&seen.begun) >= 3);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_reader_makes_the_maker_wait() {
    let name = "resuming-stalled";
    let (_server, seen) = serve_with(name, Resume::new().buffer(16 << 10)).await;
    let proxy = Proxy::plain(name).await;
    let mut stream = feed(name).count(number(1 << 40)).await.unwrap();
    read(&mut stream, 1, 10).await;
    sleep(Duration::from_secs(60)).await;
    // Each counts 65 bytes or more.
    let made = Seen::get(&seen.made);
    assert!(made <= 10 + (16 << 10) / 65 + 2, "{made}");
    proxy.cut();
    sleep(Duration::from_secs(1)).await;
    read(&mut stream, 11, 5_000).await;
    assert!(Seen::get(&seen.made) >= 5_000);
}

/// On one channel of IIP the answers to acknowledgements wait for the end of the stream.
#[tokio::test(start_paused = true)]
async fn acknowledgements_behind_their_own_stream_do_not_stop_it() {
    let name = "resuming-lane";
    let (_server, seen) = serve(name).await;
    let channel = Channel::builder(&format!("mem://{name}?wire=iip")).iip_channels(1).lazy().unwrap();
    let feed = FeedClient::new(Resuming::new(channel));
    let mut stream = feed.count(number(200_000)).await.unwrap();
    read(&mut stream, 1, 200_000).await;
    assert!(stream.next().await.is_none());
    assert_eq!(Seen::get(&seen.begun), 1);
}

/// Acknowledgements go to the next server then, which does not know the stream.
#[tokio::test(start_paused = true)]
async fn a_server_that_stops_gives_a_stream_to_its_end() {
    let name = "resuming-drain";
    let (server, _) = serve(name).await;
    let feed = FeedClient::new(Resuming::new(lazy(name)));
    let mut stream = feed.count(number(50_000)).await.unwrap();
    read(&mut stream, 1, 10).await;
    let stops = tokio::spawn(server.stop(Duration::from_secs(600)));
    sleep(Duration::from_secs(1)).await;
    read(&mut stream, 11, 50_000).await;
    assert!(stream.next().await.is_none());
    stops.await.unwrap().unwrap();
}

/// A server that refuses to hear an acknowledgement hears the next one.
#[tokio::test(start_paused = true)]
async fn an_acknowledgement_that_was_refused_is_said_again() {
    let name = "resuming-refused";
    let seen = Arc::<Seen>::default();
    let refused = Arc::<AtomicU64>::default();
    let count = Arc::clone(&refused);
    let busy = layer_fn(move |call: Call, next: Next| {
        let count = Arc::clone(&count);
        async move {
            if call.method().ends_with("/ack") && count.fetch_add(1, Ordering::SeqCst) < 6 {
                return Err(Status::new(Code::Limited, "not now").not_begun());
            }
            next.call(call).await
        }
    });
    let builder = Server::builder().serve(FeedServer::new(Feeder(Arc::clone(&seen))));
    let builder = builder.layer(Resume::new().buffer(8 << 10)).layer(busy);
    let _server = builder.listen(format!("mem://{name}")).start().await.unwrap();
    let feed = FeedClient::new(Resuming::new(lazy(name)));
    let mut stream = feed.count(number(1_000)).await.unwrap();
    read(&mut stream, 1, 1_000).await;
    assert!(stream.next().await.is_none());
    assert!(refused.load(Ordering::SeqCst) > 6);
}

#[tokio::test(start_paused = true)]
async fn without_the_layer_a_stream_is_an_ordinary_one() {
    let name = "resuming-none";
    let seen = Arc::<Seen>::default();
    let builder = Server::builder().serve(FeedServer::new(Feeder(Arc::clone(&seen))));
    let _server = builder.listen(format!("mem://{name}")).start().await.unwrap();
    let proxy = Proxy::plain(name).await;
    let feed = feed(name);
    assert_eq!(feed.count(number(3)).await.unwrap().all(3).await.unwrap(), [1, 2, 3].map(number));
    let mut stream = feed.ticks().await.unwrap();
    read(&mut stream, 1, 3).await;
    proxy.cut();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Unavailable);
    until(|| Seen::get(&seen.ended) == 2).await;
}

/// Short ones, and of none; over HTTP they are as they are.
#[tokio::test(start_paused = true)]
async fn streams_that_end_at_once_are_whole() {
    let name = "resuming-short";
    let (server, seen) = serve(name).await;
    for wire in ["iip", "http"] {
        if wire == "http" && !cfg!(feature = "http") {
            continue;
        }
        let channel = Channel::builder(&format!("mem://{name}?wire={wire}")).lazy().unwrap();
        let resuming = Resuming::new(channel);
        let feed = FeedClient::new(resuming.clone());
        for n in [0, 1, 2, 3] {
            let all = feed.count(number(n)).await.unwrap().all(5).await.unwrap();
            assert_eq!(all, (1..=n).map(number).collect::<Vec<_>>());
        }
        let call = Outgoing::<_, _, Streaming<Number>>::new(&resuming, "Feed", "Count", number(3));
        let annotated = call.annotated().await.unwrap();
        assert_eq!(annotated.metadata.get(STREAM).is_some(), wire == "iip");
    }
    assert!(Seen::get(&seen.begun) > 8);
    server.stop(Duration::from_secs(5)).await.unwrap();
}
