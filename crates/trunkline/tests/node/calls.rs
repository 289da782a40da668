//! Calls, notifies, modes, full mailboxes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trunkline::node::{Mailbox, Mode, Node, Overflow};
use trunkline::{Bytes, Call, Code, Serialization};

use crate::support::{DeskHandle, DeskServer, Office, Probe, n, path, until};

pub fn desk(
    settings: impl FnOnce(Mailbox<DeskServer<Office>>) -> Mailbox<DeskServer<Office>>,
) -> (Node, DeskHandle, Arc<Probe>) {
    let node = Node::builder("here").start().unwrap();
    let probe = Arc::<Probe>::default();
    let mailbox = settings(Mailbox::new(DeskServer::new(Office::new(&probe))));
    let desk = node.serve(1, mailbox).unwrap();
    (node, desk, probe)
}

#[tokio::test]
async fn calls_and_notifies_are_handled_in_their_order() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    assert_eq!(desk.echo(n(7)).await.unwrap(), 7);
    for number in 1..=100 {
        desk.notify().add(n(number)).await.unwrap();
    }
    assert_eq!(desk.sum().await.unwrap(), 5050);
    assert_eq!(probe.order(), (1..=100).collect::<Vec<_>>());
    let status = desk.fail().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "no"));
    let view = desk.mailbox().view().unwrap();
    assert_eq!((view.handled, view.sent, view.failed, view.depth), (103, 103, 1, 0));
    assert_eq!(desk.mailbox().name(), "desk/1");
    assert!(node.find::<DeskHandle>(2).is_none());
}

#[tokio::test]
async fn calls_through_the_codec_reach_the_same_service() {
    let (node, desk, _) = desk(|mailbox| mailbox);
    desk.add(n(5)).await.unwrap();
    let call = |method: &str, body: &'static str| {
        Call::new("desk", method, Serialization::Json, Bytes::from_static(body.as_bytes()))
    };
    let reply = node.call("desk", 1, call("Add", r#"{"value":6}"#)).await.unwrap();
    assert_eq!(reply.into_body().whole(100).await.unwrap(), r#"{"value":11}"#);
    let status = node.call("desk", 1, call("Nothing", "")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "call unknown func Nothing"));
    assert!(status.may_retry());
    let status = node.call("desk", 2, call("Add", r#"{"value":6}"#)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::NotFound, "no service desk/2"));
    let status = node.call("desk", 1, call("Add", "{")).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidInput);
    let status = node.call("desk", 1, call("Panic", "{}")).await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    let waits =
        call("Wait", r#"{"value":1}"#).with_deadline(tokio::time::Instant::now() + Duration::from_millis(20));
    assert_eq!(node.call("desk", 1, waits).await.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_handler_that_awaits_lets_the_next_message_in() {
    let (_node, desk, probe) = desk(|mailbox| mailbox);
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.wait(n(1)).await }
    });
    until(|| probe.begun() == 1).await;
    assert_eq!(desk.add(n(3)).await.unwrap(), 3);
    probe.open(1);
    assert_eq!(waits.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_serial_service_handles_one_after_the_other() {
    let (_node, desk, probe) = desk(Mailbox::serial);
    let calls: Vec<_> = (0..5)
        .map(|number| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.wait(n(number)).await })
        })
        .collect();
    until(|| probe.begun() == 1 && desk.mailbox().view().unwrap().depth == 4).await;
    probe.open(5);
    for (number, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), number);
    }
    assert_eq!(probe.most.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_service_uses_more_than_one_thread() {
    let (_node, desk, probe) = desk(|mailbox| mailbox.mode(Mode::Parallel).in_flight(3));
    let calls: Vec<_> = (0..5)
        .map(|number| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.wait(n(number)).await })
        })
        .collect();
    until(|| probe.begun() == 3).await;
    probe.open(5);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(probe.most.load(Ordering::SeqCst), 3);
    assert_eq!(desk.panic().await.unwrap_err().code(), Code::Internal);
    assert_eq!(desk.echo(n(1)).await.unwrap(), 1);
}

/// A service that is kept busy by one handler, so that what follows waits in the mailbox.
async fn blocked(overflow: Overflow) -> (Node, DeskHandle, Arc<Probe>) {
    let (node, desk, probe) = desk(|mailbox| mailbox.serial().capacity(2).overflow(overflow));
    desk.notify().wait(n(0)).await.unwrap();
    until(|| probe.begun() == 1).await;
    desk.notify().add(n(1)).await.unwrap();
    desk.notify().add(n(2)).await.unwrap();
    (node, desk, probe)
}

#[tokio::test]
async fn a_full_mailbox_refuses_calls_and_notifies() {
    let (node, desk, probe) = blocked(Overflow::Refuse).await;
    let text = "the mailbox of desk/1 is full (2 messages; setting capacity)";
    for status in [desk.echo(n(1)).await.unwrap_err(), desk.notify().add(n(3)).await.unwrap_err()] {
        assert_eq!((status.code(), status.message(), status.may_retry()), (Code::Limited, text, true));
    }
    let call = Call::new("desk", "Echo", Serialization::Json, Bytes::from_static(br#"{"value":1}"#));
    assert_eq!(node.call("desk", 1, call).await.unwrap_err().code(), Code::Limited);
    assert_eq!(desk.mailbox().view().unwrap().refused, 3);
    probe.open(1);
    assert_eq!(desk.mailbox().view().unwrap().depth, 2);
    until(|| probe.order() == [1, 2]).await;
}

#[tokio::test]
async fn a_full_mailbox_drops_the_oldest_notify() {
    let (_node, desk, probe) = blocked(Overflow::DropOldest).await;
    desk.notify().add(n(3)).await.unwrap();
    assert_eq!(desk.echo(n(1)).await.unwrap_err().code(), Code::Limited);
    probe.open(1);
    until(|| probe.order() == [2, 3]).await;
    assert_eq!(desk.mailbox().view().unwrap().dropped, 1);
}

#[tokio::test]
async fn a_notify_waits_for_room() {
    let (_node, desk, probe) = blocked(Overflow::Wait).await;
    assert_eq!(desk.notify().add(n(3)).now().unwrap_err().code(), Code::Limited);
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.notify().add(n(4)).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waits.is_finished());
    probe.open(1);
    waits.await.unwrap().unwrap();
    until(|| probe.order() == [1, 2, 4]).await;
}

/// A sender that is waited for by nobody any more leaves nothing behind in the mailbox.
#[tokio::test]
async fn senders_that_stop_to_wait_are_forgotten() {
    struct Nobody;
    impl std::task::Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }
    let (_node, desk, probe) = blocked(Overflow::Wait).await;
    let wakers: Vec<_> = (0..100).map(|_| Arc::new(Nobody)).collect();
    let begin = |waker: &Arc<Nobody>| {
        let mut notify = Box::pin(desk.notify().add(n(3)));
        let waker = std::task::Waker::from(Arc::clone(waker));
        assert!(notify.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        notify
    };
    let mut waiting: Vec<_> = wakers.iter().map(begin).collect();
    assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 2));
    // In no order, and one of them stays.
    let last = waiting.remove(57);
    drop(waiting.remove(98));
    drop(waiting);
    assert_eq!(wakers.iter().filter(|waker| Arc::strong_count(waker) > 1).count(), 1);
    probe.open(1);
    until(|| probe.order() == [1, 2]).await;
    last.await.unwrap();
    until(|| probe.order() == [1, 2, 3]).await;
    assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_at_its_time_and_so_does_its_handler() {
    let (_node, desk, probe) = desk(|mailbox| mailbox);
    let begun = tokio::time::Instant::now();
    let status = desk.wait(n(1)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::DeadlineExceeded, "desk/1 did not answer in time"));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(10) && took < Duration::from_millis(10_020), "{took:?}");
    until(|| probe.dropped.load(Ordering::SeqCst) == 1).await;
    let status = desk.wait(n(1)).timeout(Duration::from_millis(30)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(desk.mailbox().view().unwrap().expired, 2);
}

#[tokio::test]
async fn a_call_that_is_dropped_stops_its_handler() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    let call = tokio::spawn({
        let desk = desk.clone();
        async move { desk.wait(n(1)).await }
    });
    until(|| probe.begun() == 1).await;
    call.abort();
    until(|| probe.dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(node.view().await.timers, 0);
}

#[tokio::test]
async fn a_broadcast_reaches_all_of_a_name() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    for id in 2..=4 {
        node.serve(id, DeskServer::new(Office::new(&probe))).unwrap();
    }
    node.serve(9, Mailbox::new(DeskServer::new(Office::new(&probe))).named("other")).unwrap();
    let sent = node.broadcast(|desk: &DeskHandle| desk.notify().add(n(1)).now());
    assert_eq!((sent.sent, sent.refused), (4, 0));
    until(|| probe.order().len() == 4).await;
    assert_eq!(desk.sum().await.unwrap(), 1);
    assert!(node.find_named::<DeskHandle>("other", 9).is_some());
}

#[tokio::test]
async fn a_cycle_of_serial_services_fails_at_once() {
    let (node, desk, probe) = desk(Mailbox::serial);
    node.serve(2, Mailbox::new(DeskServer::new(Office::new(&probe))).serial()).unwrap();
    node.serve(3, DeskServer::new(Office::new(&probe))).unwrap();
    assert_eq!(desk.relay(path(&[2, 3])).await.unwrap(), 2);
    let status = desk.relay(path(&[2, 1])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Failed, "cycle: desk/1 → desk/2 → desk/1"));
    // A re-entrant service in between passes the chain on, and may itself be called again.
    assert_eq!(desk.relay(path(&[3, 2, 1])).await.unwrap_err().message(), "cycle: desk/1 → desk/2 → desk/1");
    assert_eq!(desk.relay(path(&[1])).await.unwrap_err().message(), "cycle: desk/1 → desk/1");
    let reentrant = node.find::<DeskHandle>(3).unwrap();
    assert_eq!(reentrant.relay(path(&[3, 3, 2, 3])).await.unwrap(), 4);
    assert_eq!(desk.mailbox().view().unwrap().cycles, 3);
}

#[tokio::test]
async fn a_view_says_who_waits_for_whom() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    let other = node.serve(2, Mailbox::new(DeskServer::new(Office::new(&probe))).serial()).unwrap();
    other.notify().wait(n(1)).await.unwrap();
    until(|| probe.begun() == 1).await;
    desk.notify().relay(path(&[2])).await.unwrap();
    until(|| other.mailbox().view().unwrap().depth == 1).await;
    let view = node.view().await;
    let [one, two] = &*view.services else { panic!("two services") };
    let handlers = one.handlers.as_ref().unwrap();
    assert_eq!(handlers.len(), 1);
    assert_eq!(handlers[0].waits_for.as_deref(), Some("desk/2"));
    assert_eq!((two.depth, two.running, two.mode), (1, 1, "serial"));
    assert_eq!(two.handlers.as_ref().unwrap()[0].waits_for, None);
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(json["services"][0]["handlers"][0]["waits_for"], "desk/2");
    assert_eq!(view.timers, 1);
}

#[tokio::test]
async fn a_view_says_whom_parallel_handlers_wait_for() {
    let (node, desk, probe) = desk(Mailbox::parallel);
    let other = node.serve(2, Mailbox::new(DeskServer::new(Office::new(&probe))).serial()).unwrap();
    other.notify().wait(n(1)).await.unwrap();
    until(|| probe.begun() == 1).await;
    desk.notify().wait(n(1)).await.unwrap();
    until(|| probe.begun() == 2).await;
    desk.notify().relay(path(&[2])).await.unwrap();
    until(|| other.mailbox().view().unwrap().depth == 1).await;
    let view = node.view().await;
    let handlers = view.services[0].handlers.as_ref().unwrap();
    let mut waits: Vec<_> = handlers.iter().map(|handler| handler.waits_for.as_deref()).collect();
    waits.sort_unstable();
    assert_eq!(waits, [None, Some("desk/2")]);
    probe.open(2);
    until(|| node.find::<DeskHandle>(1).unwrap().mailbox().view().unwrap().running == 0).await;
}
