//! Streamed bodies: both ways at once, slow readers, and every way to end in the middle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::support::{Counters, call, client, full, serve, serve_service, stream};
use crate::describe::{MethodInfo, ServiceInfo};
use crate::{Body, BodyStream, Call, Code, NamedService, Reply, Result, Service, Status};

/// Lets everything happen that can.
async fn settle() {
    sleep(Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn frames_are_answered_as_they_arrive() {
    let (server, name) = serve("ordered-upper").await;
    let client = client(&name);
    let (mut sender, body) = BodyStream::channel();
    // A reply begins with its first frame: where the body fails before it, the call does.
    let (reply, sent) = tokio::join!(client.call(call("upper", body)), sender.send("first"));
    sent.unwrap();
    let mut answer = stream(reply.unwrap());
    assert_eq!(answer.next().await.unwrap().unwrap(), "FIRST");
    for n in 0..1_000 {
        sender.send(format!("frame {n}")).await.unwrap();
        // The next frame is sent only when this one's answer is there.
        assert_eq!(answer.next().await.unwrap().unwrap(), format!("FRAME {n}"));
    }
    sender.finish();
    assert!(answer.next().await.is_none());
    assert_eq!(Counters::get(&server.whole), 1);
    assert_eq!(full(client.call(call("echo", "after")).await.unwrap()), "after");
}

/// Streams and whole bodies in turns, begun side by side: each keeps to itself and to the order.
#[tokio::test(start_paused = true)]
async fn streams_wait_for_their_turn() {
    let (_server, name) = serve("ordered-turns").await;
    let client = client(&name);
    let calls = (0..300u64).map(|n| {
        let client = client.clone();
        async move {
            match n % 3 {
                0 => {
                    let reply = client.call(call("late", format!("{} {n}", n % 20))).await.unwrap();
                    assert_eq!(full(reply), format!("{} {n}", n % 20));
                }
                1 => {
                    // A body of one frame is whole.
                    let reply = client.call(call("count", n.to_string())).await.unwrap();
                    if n == 1 {
                        return assert_eq!(full(reply), "1");
                    }
                    let mut body = stream(reply);
                    for k in 1..=n {
                        assert_eq!(body.next().await.unwrap().unwrap(), k.to_string());
                    }
                    assert!(body.next().await.is_none());
                }
                _ => {
                    let (mut sender, body) = BodyStream::channel();
                    let frames = async move {
                        for _ in 0..n {
                            sleep(Duration::from_millis(1)).await;
                            sender.send("abc").await.unwrap();
                        }
                        sender.finish();
                    };
                    let (reply, ()) = tokio::join!(client.call(call("sum", body)), frames);
                    assert_eq!(full(reply.unwrap()), (3 * n).to_string());
                }
            }
        }
    });
    futures_util::future::join_all(calls).await;
}

/// Nobody keeps what a slow reader does not read: the writer waits.
#[tokio::test(start_paused = true)]
async fn a_slow_reader_stops_the_writer() {
    let (server, name) = serve("ordered-slow").await;
    let client = client(&name);
    let mut body = stream(client.call(call("endless", "")).await.unwrap());
    settle().await;
    let made = Counters::get(&server.made);
    // Both ends of the stream, two batches, and the pipe between them; with a frame on the way at each.
    let most = 2 * BodyStream::CREDIT as u64 + 4 * (64 << 10) + (256 << 10);
    assert!(made <= most, "{made} bytes were made, {most} fit");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(Counters::get(&server.made), made, "nothing was read, and more was made");
    for _ in 0..2_000 {
        assert_eq!(body.next().await.unwrap().unwrap().len(), 1024);
    }
    settle().await;
    let read = 2_000 * 1024;
    let made = Counters::get(&server.made);
    assert!(made >= read && made <= read + most, "{made}");
}

/// The same the other way: a handler that does not read stops the caller's body.
#[tokio::test(start_paused = true)]
async fn a_slow_handler_stops_the_caller() {
    let (_server, name) = serve("ordered-slow-server").await;
    let client = client(&name);
    // The first call has not ended, so the second one's stream cannot be answered and is not read for long.
    let blocker = {
        let client = client.clone();
        tokio::spawn(async move { client.call(call("late", "5000 x")).await })
    };
    settle().await;
    let (mut sender, body) = BodyStream::channel();
    let upper = {
        let client = client.clone();
        tokio::spawn(async move { client.call(call("upper", body)).await })
    };
    let mut sent = 0u64;
    let most = 4 * BodyStream::CREDIT as u64 + 6 * (64 << 10) + (256 << 10);
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(100), sender.send(vec![b'x'; 1024])).await
    {
        result.unwrap();
        sent += 1024;
        assert!(sent <= most, "{sent} bytes were taken, {most} fit");
    }
    assert!(sent >= BodyStream::CREDIT as u64);
    blocker.await.unwrap().unwrap();
    let mut answer = stream(upper.await.unwrap().unwrap());
    let mut got = 0;
    let read = async {
        while let Some(frame) = answer.next().await {
            got += frame.unwrap().len() as u64;
        }
    };
    let finish = async {
        sender.send("end").await.unwrap();
        sender.finish();
    };
    tokio::join!(read, finish);
    // The frame that was being sent when the time was over went nowhere.
    assert_eq!(got, sent + 3);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_fails_midway_says_so() {
    let (_server, name) = serve("ordered-breaks").await;
    let client = client(&name);
    for n in [0, 1, 10, 10_000] {
        let begun = client.call(call("breaks", n.to_string())).await;
        let Ok(reply) = begun else {
            // Nothing of it was sent: the call itself fails.
            let status = begun.unwrap_err();
            assert_eq!((n, status.message()), (0, "midway"));
            assert_eq!(status.details_bytes().unwrap(), "its value");
            continue;
        };
        let mut body = stream(reply);
        for k in 1..=n {
            assert_eq!(body.next().await.unwrap().unwrap(), k.to_string());
        }
        let status = body.next().await.unwrap().unwrap_err();
        assert_eq!(status.message(), "midway");
        // The service's own error value comes as it does with a whole reply.
        assert_eq!(status.details_bytes().unwrap(), "its value");
        assert!(body.next().await.is_none());
        assert_eq!(full(client.call(call("echo", "after")).await.unwrap()), "after");
    }
    assert_eq!(client.strays(), 0);
}

/// A request whose body fails midway fails at its caller with that failure, and is never whole at the server.
#[tokio::test(start_paused = true)]
async fn a_request_that_fails_midway_says_so() {
    let (server, name) = serve("ordered-request-fails").await;
    let client = client(&name);
    let (mut sender, body) = BodyStream::channel();
    let summed = {
        let client = client.clone();
        tokio::spawn(async move { client.call(call("sum", body)).await })
    };
    sender.send("abc").await.unwrap();
    settle().await;
    let begun = Instant::now();
    sender.fail(Status::failed("the file is gone"));
    let status = summed.await.unwrap().unwrap_err();
    assert_eq!(status.message(), "the file is gone");
    assert!(begun.elapsed() < Duration::from_secs(1));
    settle().await;
    assert_eq!((Counters::get(&server.whole), Counters::get(&server.dropped)), (0, 1));
    // And dropped without a word.
    let (sender, body) = BodyStream::channel();
    drop(sender);
    assert_eq!(client.call(call("sum", body)).await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(full(client.call(call("echo", "after")).await.unwrap()), "after");
    assert_eq!(Counters::get(&server.whole), 0);
}

/// A caller that goes away within its own body, and one that goes away within the answer.
#[tokio::test(start_paused = true)]
async fn giving_up_midway_stops_the_other_end() {
    let (server, name) = serve("ordered-cancel").await;
    let client = client(&name);
    let (mut sender, body) = BodyStream::channel();
    sender.send("abc").await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(20), client.call(call("sum", body))).await;
    assert!(given_up.is_err());
    settle().await;
    assert_eq!(Counters::get(&server.dropped), 1, "the handler goes on");
    assert_eq!(sender.send("more").await.unwrap_err().code(), Code::Cancelled);
    assert_eq!(full(client.call(call("echo", "after")).await.unwrap()), "after");
    // The answer of a call whose body was cut comes, is consumed, and is nobody's.
    let (_sender, body) = BodyStream::channel();
    let deadline = Instant::now() + Duration::from_millis(20);
    let status = client.call(call("sum", body).with_deadline(deadline)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(full(client.call(call("echo", "after")).await.unwrap()), "after");
    assert_eq!((Counters::get(&server.whole), Counters::get(&server.dropped)), (0, 2));
}

/// Neither side takes a cut body for a whole one.
#[tokio::test(start_paused = true)]
async fn a_connection_lost_midway_is_a_failure_at_both_ends() {
    let (server, name) = serve("ordered-lost").await;
    let client = client(&name);
    let (mut sender, body) = BodyStream::channel();
    let (reply, sent) = tokio::join!(client.call(call("upper", body)), sender.send("abc"));
    sent.unwrap();
    let mut answer = stream(reply.unwrap());
    assert_eq!(answer.next().await.unwrap().unwrap(), "ABC");
    let counters = server.kill().await;
    assert!(answer.next().await.unwrap().is_err());
    settle().await;
    assert_eq!((Counters::get(&counters.whole), Counters::get(&counters.cut)), (0, 1));
    assert!(sender.send("more").await.is_err());

    // The same from the other side: the server loses its caller within the body.
    let (server, name) = serve("ordered-lost-caller").await;
    {
        let mut stream =
            crate::net::transport::Stream::dial(&format!("mem://{name}").parse().unwrap()).await.unwrap();
        let mut bytes = vec![1, 0, 0, 0, 7, 3];
        bytes.extend_from_slice(b"sumabc");
        bytes.extend_from_slice(&[2, 0, 0, 0, 2, b'd', b'e']);
        tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
        settle().await;
    }
    sleep(Duration::from_secs(2)).await;
    assert_eq!(Counters::get(&server.whole), 0);
    assert_eq!(Counters::get(&server.dropped), 1);
}

/// A stop does not cut a body that has begun to arrive, however long it takes.
#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_across_a_stop_is_whole() {
    let (server, name) = serve("ordered-stop").await;
    let client = client(&name);
    let (mut sender, body) = BodyStream::channel();
    let summed = tokio::spawn(async move { client.call(call("sum", body)).await });
    sender.send("abc").await.unwrap();
    settle().await;
    server.stop();
    for _ in 0..100 {
        settle().await;
        sender.send("defg").await.unwrap();
    }
    sender.finish();
    let reply = tokio::time::timeout(Duration::from_secs(10), summed).await.expect("it is answered");
    assert_eq!(full(reply.unwrap().unwrap()), "403");
    assert_eq!(Counters::get(&server.whole), 1);
}

#[crate::service]
trait Typed {
    async fn length(&self, body: Bytes) -> Result<Bytes>;
}

struct Measure;

impl Typed for Measure {
    async fn length(&self, body: Bytes) -> Result<Bytes> {
        Ok(body.len().to_string().into())
    }
}

/// A typed method takes a streamed body up to its server's limit, be it more or less than the usual one.
#[tokio::test(start_paused = true)]
async fn a_typed_method_gathers_up_to_its_servers_limit() {
    const MIB: usize = 1 << 20;
    for (limit, frame) in [(6 * MIB, MIB / 2), (1_000, 100)] {
        let name = format!("ordered-typed-{limit}");
        let service = TypedServer::new(Measure);
        let (_server, name) =
            serve_service(&name, service, Arc::default(), |limits| limits.body = limit).await;
        let client = client(&name);
        for more in [0, 1] {
            let (mut sender, body) = BodyStream::channel();
            let frames = async move {
                for _ in 0..limit / frame {
                    sender.send(vec![0; frame]).await.unwrap();
                }
                // Over the limit nobody reads to the end.
                let _ = sender.send(vec![0; more]).await;
                sender.finish();
            };
            let (reply, ()) = tokio::join!(client.call(call("Length", body)), frames);
            if more == 0 {
                assert_eq!(full(reply.unwrap()), limit.to_string());
            } else {
                let status = reply.unwrap_err();
                assert_eq!(
                    status.message(),
                    format!("a streamed body is over the limit of {limit} bytes (body_limit)")
                );
            }
        }
    }
}

struct Streams;

impl NamedService for Streams {
    fn describe(&self) -> ServiceInfo {
        ServiceInfo { name: "Streams".into(), doc: "", methods: vec![MethodInfo::new("Any")] }
    }
}

impl Service for Streams {
    async fn call(&self, _: Call) -> Result<Reply> {
        Ok(Reply::new(BodyStream::channel().1))
    }
}

/// rpcx has no streams: the call fails before anything is sent, and names the wire.
#[tokio::test(start_paused = true)]
async fn a_wire_without_streams_says_so_before_it_sends_anything() {
    let server = crate::Server::builder().serve(Streams).listen("mem://ordered-rpcx").bind().await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.run());
    let channel = crate::client::Channel::connect("mem://ordered-rpcx?wire=rpcx").await.unwrap();
    let (_sender, body) = BodyStream::channel();
    let call = Call::new("Streams", "Any", crate::Serialization::Raw, body);
    let status = channel.call(call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unsupported);
    assert!(status.message().contains("rpcx") && status.may_retry(), "{status}");
    let calls: u64 = handle.counters().iter().map(|(_, _, counters)| counters.calls).sum();
    assert_eq!(calls, 0);
    // The other way: a handler that streams its reply.
    let call = Call::new("Streams", "Any", crate::Serialization::Raw, Body::default());
    let status = channel.call(call).await.unwrap_err();
    assert_eq!(status.code(), Code::Unsupported);
    assert!(status.message().contains("rpcx"), "{status}");
}
