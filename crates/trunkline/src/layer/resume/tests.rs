//! The layer by itself, without a network.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::*;
use crate::metadata::AUTH;
use crate::{Streaming, service_fn};

/// What the service has done.
#[derive(Default)]
struct Seen {
    made: AtomicU64,
    dropped: AtomicU64,
}

impl Seen {
    fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }
}

/// Makes `to` frames of this size, whose first 8 bytes are their number.
struct Frames {
    seen: Arc<Seen>,
    next: u64,
    to: u64,
    size: usize,
}

impl Iterator for Frames {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let number = self.next;
        self.next += 1;
        (number <= self.to).then(|| {
            self.seen.made.fetch_add(1, Ordering::SeqCst);
            let mut frame = number.to_be_bytes().to_vec();
            frame.resize(self.size.max(8), 0);
            frame
        })
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.seen.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn served(resume: Resume, to: u64, size: usize) -> (Resumable<impl Service>, Arc<Seen>) {
    let seen = Arc::<Seen>::default();
    let makes = Arc::clone(&seen);
    let service = service_fn(move |_: Call| {
        let frames = Frames { seen: Arc::clone(&makes), next: 1, to, size };
        async move { Ok(Reply::new(Streaming::iter(frames).into_frames(Serialization::Raw))) }
    });
    (resume.layer(service), seen)
}

fn asking(token: &str) -> Call {
    let metadata = Metadata::builder().with(STREAM, NEW).with(AUTH, token).build();
    Call::new("Feed", "Count", Serialization::Raw, "").with_metadata(metadata)
}

fn control(path: &'static str, stream: &str, after: u64, token: &str) -> Call {
    let body = serde_json::to_vec(&Control { stream: stream.to_owned(), after }).unwrap();
    let metadata = Metadata::builder().with(AUTH, token).build();
    Call::new("", path, Serialization::Json, body).with_metadata(metadata)
}

async fn begin(service: &impl Service, call: Call) -> (BodyStream, String) {
    let (body, metadata) = service.call(call).await.unwrap().into_parts();
    let Body::Stream(stream) = body else { panic!("no stream") };
    (stream, metadata.get(STREAM).unwrap().to_owned())
}

async fn go_on(service: &impl Service, name: &str, after: u64) -> Result<BodyStream> {
    let Body::Stream(mut stream) = service.call(control(RESUME, name, after, "a")).await?.into_body() else {
        panic!("no stream")
    };
    let head = stream.next().await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Resumed>(&head).unwrap(), Resumed { next: after + 1 });
    Ok(stream)
}

fn number(frame: &Bytes) -> u64 {
    u64::from_be_bytes(frame[..8].try_into().unwrap())
}

async fn next(stream: &mut BodyStream) -> u64 {
    number(&stream.next().await.unwrap().unwrap())
}

/// Whether nothing is there for the reader now.
async fn waits(stream: &mut BodyStream) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(stream.poll_next(cx).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_behind_any_frame_that_is_not_acknowledged() {
    let (service, seen) = served(Resume::new(), 10, 8);
    let (mut stream, name) = begin(&service, asking("a")).await;
    for n in 1..=6 {
        assert_eq!(next(&mut stream).await, n);
    }
    service.call(control(ACK, &name, 3, "a")).await.unwrap();
    drop(stream);
    assert_eq!(service.table.counts(), (1, 1));
    for after in [3, 5, 4] {
        // `take_over` acknowledges as well: 4 is gone then.
        let result = go_on(&service, &name, after).await;
        if after == 4 {
            assert_eq!(result.unwrap_err().code(), Code::InvalidInput);
            continue;
        }
        let mut stream = result.unwrap();
        assert_eq!(next(&mut stream).await, after + 1);
    }
    // One frame is asked for early, by each of the two streams.
    assert_eq!(seen.made(), 8);
    assert_eq!(go_on(&service, &name, 8).await.unwrap_err().code(), Code::InvalidInput);
    let mut stream = go_on(&service, &name, 6).await.unwrap();
    for n in 7..=10 {
        assert_eq!(next(&mut stream).await, n);
    }
    assert!(stream.next().await.is_none());
    drop(stream);
    // The end may have been lost: it is said again, until the caller knows.
    let mut stream = go_on(&service, &name, 10).await.unwrap();
    assert!(stream.next().await.is_none());
    service.call(control(END, &name, 10, "a")).await.unwrap();
    assert_eq!(service.table.counts(), (0, 0));
    assert_eq!(seen.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn its_maker_waits_for_acknowledgements_and_no_more_is_held() {
    // Each frame counts 1,000 bytes.
    let (service, seen) = served(Resume::new().buffer(10_000), 1_000, 936);
    let (mut stream, name) = begin(&service, asking("a")).await;
    for n in 1..=10 {
        assert_eq!(next(&mut stream).await, n);
    }
    assert!(waits(&mut stream).await);
    sleep(Duration::from_secs(60)).await;
    assert!(waits(&mut stream).await);
    // One is asked for early, where it is made.
    assert_eq!(seen.made(), 11);
    service.call(control(ACK, &name, 4, "a")).await.unwrap();
    for n in 11..=14 {
        assert_eq!(next(&mut stream).await, n);
    }
    assert!(waits(&mut stream).await);
    assert_eq!(seen.made(), 15);
    // A reader that waits is woken by an acknowledgement.
    let (read, acknowledged) = tokio::join!(next(&mut stream), service.call(control(ACK, &name, 5, "a")));
    acknowledged.unwrap();
    assert_eq!(read, 15);
    // Nobody acknowledges what was not made.
    let status = service.call(control(ACK, &name, 16, "a")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
    // One frame of any size fits.
    let (service, _) = served(Resume::new().buffer(1), 2, 100_000);
    let (mut stream, name) = begin(&service, asking("a")).await;
    assert_eq!(next(&mut stream).await, 1);
    assert!(waits(&mut stream).await);
    service.call(control(ACK, &name, 1, "a")).await.unwrap();
    assert_eq!(next(&mut stream).await, 2);
}

#[tokio::test(start_paused = true)]
async fn it_is_dropped_when_its_time_is_over() {
    let (service, seen) = served(Resume::new().grace(Duration::from_secs(5)), 100, 8);
    let (mut stream, name) = begin(&service, asking("a")).await;
    assert_eq!(next(&mut stream).await, 1);
    drop(stream);
    sleep(Duration::from_secs(4)).await;
    // Whoever goes on has all the time again.
    let mut stream = go_on(&service, &name, 1).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(next(&mut stream).await, 2);
    drop(stream);
    sleep(Duration::from_secs(4)).await;
    assert_eq!(seen.dropped(), 0);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(seen.dropped(), 1);
    assert_eq!(service.table.counts(), (0, 0));
    let status = go_on(&service, &name, 2).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.may_retry() && status.message().contains("no such stream"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn its_deadline_goes_on() {
    let (service, seen) = served(Resume::new(), 100, 8);
    let begun = Instant::now();
    let call = asking("a").with_deadline(begun + Duration::from_secs(10));
    let (mut stream, name) = begin(&service, call).await;
    assert_eq!(next(&mut stream).await, 1);
    drop(stream);
    // The call that goes on says none itself.
    let mut stream = go_on(&service, &name, 1).await.unwrap();
    assert_eq!(next(&mut stream).await, 2);
    sleep(Duration::from_secs(11)).await;
    // One frame was asked for early.
    assert_eq!(next(&mut stream).await, 3);
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    drop(stream);
    assert_eq!((service.table.counts(), seen.dropped()), ((0, 0), 1));
    // Nor is it kept longer than it.
    let call = asking("a").with_deadline(Instant::now() + Duration::from_secs(3));
    let (mut stream, _) = begin(&service, call).await;
    assert_eq!(next(&mut stream).await, 1);
    drop(stream);
    assert_eq!(service.table.counts(), (1, 1));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(service.table.counts(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn it_is_there_for_its_own_caller_alone() {
    let (service, seen) = served(Resume::new(), 100, 8);
    let (mut stream, name) = begin(&service, asking("a")).await;
    assert_eq!(next(&mut stream).await, 1);
    let (id, _) = name.split_once('/').unwrap();
    assert_eq!(id.len(), 32);
    let foreign =
        [(name.clone(), "b"), (name.clone(), ""), (format!("{id}/Feed.Other"), "a"), (id.to_owned(), "a")];
    for (name, token) in foreign {
        for path in [RESUME, ACK, END] {
            let status = service.call(control(path, &name, 1, token)).await.unwrap_err();
            assert_eq!(status.code(), Code::NotFound, "{path} {name} {token}");
        }
    }
    assert_eq!(next(&mut stream).await, 2);
    assert_eq!(seen.dropped(), 0);
    // Names are not alike.
    let (_other, other) = begin(&service, asking("a")).await;
    assert_ne!(name, other);
    for body in ["", "{}", "[]", r#"{"stream":1,"after":1}"#, r#"{"stream":"x","after":-1}"#] {
        let call = Call::new("", RESUME, Serialization::Json, body);
        assert_eq!(service.call(call).await.unwrap_err().code(), Code::InvalidInput, "{body}");
    }
    let long = control(RESUME, &"x".repeat(5_000), 1, "a");
    assert_eq!(service.call(long).await.unwrap_err().code(), Code::InvalidInput);
    let odd = control(RESUME, &format!("+{}", &name[1..]), 1, "a");
    assert_eq!(service.call(odd).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_on_takes_it_from_a_reader_that_is_still_there() {
    let (service, _) = served(Resume::new(), 100, 8);
    let (mut old, name) = begin(&service, asking("a")).await;
    assert_eq!(next(&mut old).await, 1);
    let mut new = go_on(&service, &name, 1).await.unwrap();
    // It has the one that was asked for early.
    assert_eq!(next(&mut old).await, 2);
    assert_eq!(old.next().await.unwrap().unwrap_err().code(), Code::Cancelled);
    drop(old);
    assert_eq!(service.table.counts(), (1, 0));
    for n in 2..=100 {
        assert_eq!(next(&mut new).await, n);
        service.call(control(ACK, &name, n, "a")).await.unwrap();
    }
    assert!(new.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_end_drops_what_makes_it() {
    let (service, seen) = served(Resume::new(), 1 << 40, 8);
    let (mut stream, name) = begin(&service, asking("a")).await;
    assert_eq!(next(&mut stream).await, 1);
    service.call(control(END, &name, 1, "a")).await.unwrap();
    assert_eq!((service.table.counts(), seen.dropped()), ((0, 0), 1));
    assert_eq!(next(&mut stream).await, 2);
    assert_eq!(stream.next().await.unwrap().unwrap_err().code(), Code::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn streams_are_bounded_in_number() {
    let (service, seen) = served(Resume::new().parked(2).streams(4), 100, 8);
    let mut names = Vec::new();
    for _ in 0..3 {
        let (mut stream, name) = begin(&service, asking("a")).await;
        assert_eq!(next(&mut stream).await, 1);
        names.push(name);
    }
    // The one that waited longest had to go.
    assert_eq!((service.table.counts(), seen.dropped()), ((2, 2), 1));
    assert_eq!(go_on(&service, &names[0], 1).await.unwrap_err().code(), Code::NotFound);
    let mut stream = go_on(&service, &names[1], 1).await.unwrap();
    assert_eq!(next(&mut stream).await, 2);
    let (_third, _) = begin(&service, asking("a")).await;
    let (_fourth, _) = begin(&service, asking("a")).await;
    assert_eq!(service.table.counts(), (4, 1));
    let reply = service.call(asking("a")).await.unwrap();
    assert!(reply.metadata().is_empty(), "the fifth is an ordinary one");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_which_nothing_was_sent_is_not_kept() {
    let (service, seen) = served(Resume::new(), 100, 8);
    let (stream, _) = begin(&service, asking("a")).await;
    drop(stream);
    assert_eq!((service.table.counts(), seen.dropped()), ((0, 0), 1));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_ask_gets_an_ordinary_stream() {
    let (service, _) = served(Resume::new(), 3, 8);
    let plain = Call::new("Feed", "Count", Serialization::Raw, "");
    let (_sender, body) = BodyStream::channel();
    let streamed = Call { body: body.into(), ..asking("a") };
    for call in [plain, asking("a").one_way(), streamed] {
        let reply = service.call(call).await.unwrap();
        assert!(reply.metadata().is_empty());
    }
    assert_eq!(service.table.counts(), (0, 0));
}
