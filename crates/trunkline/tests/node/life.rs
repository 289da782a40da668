//! Panics, restarts, stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use trunkline::Code;
use trunkline::node::{Mailbox, Node, Restarts, State};

use crate::calls::desk;
use crate::support::{DeskHandle, DeskServer, Office, Probe, n, until};

#[tokio::test]
async fn a_panic_fails_its_own_call_alone() {
    let (_node, desk, probe) = desk(|mailbox| mailbox);
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.wait(n(1)).await }
    });
    until(|| probe.begun() == 1).await;
    desk.add(n(2)).await.unwrap();
    let status = desk.panic().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "the service failed inside; see its log"));
    assert_eq!(desk.add(n(3)).await.unwrap(), 5);
    probe.open(1);
    assert_eq!(waits.await.unwrap().unwrap(), 1);
    assert_eq!(desk.mailbox().view().unwrap().panics, 1);
    assert_eq!(desk.mailbox().restart().await.unwrap_err().code(), Code::Unsupported);
}

/// A desk that is made anew, and how often it was.
fn supervised(snapshot: bool, restarts: Restarts) -> (Node, DeskHandle, Arc<Probe>, Arc<AtomicU32>) {
    let node = Node::builder("here").start().unwrap();
    let (probe, made) = (Arc::<Probe>::default(), Arc::<AtomicU32>::default());
    let make = {
        let (probe, made) = (Arc::clone(&probe), Arc::clone(&made));
        move |sum: Option<u64>| {
            made.fetch_add(1, Ordering::SeqCst);
            DeskServer::new(Office { probe: Arc::clone(&probe), sum: State::new(sum.unwrap_or(0)) })
        }
    };
    let mailbox = if snapshot {
        Mailbox::with_snapshot(make, |desk: &DeskServer<Office>| desk.inner().sum.intact(|sum| *sum))
    } else {
        Mailbox::supervised(move || make(None))
    };
    let desk = node.serve(1, mailbox.restarts(restarts)).unwrap();
    (node, desk, probe, made)
}

const RESTARTS: Restarts =
    Restarts { first: Duration::from_millis(100), longest: Duration::from_secs(1), most: 3 };

#[tokio::test(start_paused = true)]
async fn a_panic_restarts_a_supervised_service_with_its_snapshot() {
    let (_node, desk, probe, made) = supervised(true, RESTARTS);
    desk.add(n(7)).await.unwrap();
    let waits = tokio::spawn({
        let desk = desk.clone();
        async move { desk.wait(n(1)).await }
    });
    until(|| probe.begun() == 1).await;
    desk.panic().await.unwrap_err();
    // What runs ends first; what is sent meanwhile waits.
    let late = tokio::spawn({
        let desk = desk.clone();
        async move { desk.add(n(1)).await }
    });
    until(|| desk.mailbox().view().unwrap().depth == 1).await;
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let begun = tokio::time::Instant::now();
    probe.open(1);
    assert_eq!(waits.await.unwrap().unwrap(), 1);
    assert_eq!(late.await.unwrap().unwrap(), 8);
    let paused = begun.elapsed();
    assert!(paused >= Duration::from_millis(50) && paused < Duration::from_millis(150), "{paused:?}");
    assert_eq!((made.load(Ordering::SeqCst), desk.mailbox().view().unwrap().restarts), (2, 1));
    // A state that is half changed is no snapshot.
    desk.tear().await.unwrap_err();
    assert_eq!(desk.sum().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_breaks_too_often_stops() {
    let (node, desk, _, made) = supervised(false, RESTARTS);
    for _ in 0..4 {
        desk.panic().await.unwrap_err();
    }
    until(|| node.find::<DeskHandle>(1).is_none()).await;
    let status = desk.echo(n(1)).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "desk/1 has stopped"));
    assert_eq!(made.load(Ordering::SeqCst), 4);
}

#[tokio::test(start_paused = true)]
async fn a_restart_can_be_asked_for_and_a_stop_overtakes_its_pause() {
    let (node, desk, _, made) = supervised(true, RESTARTS);
    desk.add(n(7)).await.unwrap();
    desk.mailbox().restart().await.unwrap();
    assert_eq!((desk.sum().await.unwrap().value, made.load(Ordering::SeqCst)), (7, 2));
    desk.panic().await.unwrap_err();
    let begun = tokio::time::Instant::now();
    desk.mailbox().stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(50));
    assert!(node.find::<DeskHandle>(1).is_none());
    assert_eq!(desk.mailbox().restart().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_stop_handles_what_waits() {
    let (node, desk, probe) = desk(Mailbox::serial);
    let calls: Vec<_> = (0..3)
        .map(|number| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.wait(n(number)).await })
        })
        .collect();
    until(|| probe.begun() == 1 && desk.mailbox().view().unwrap().depth == 2).await;
    let stop = tokio::spawn({
        let desk = desk.clone();
        async move { desk.mailbox().stop().await }
    });
    until(|| desk.notify().add(n(1)).now().is_err()).await;
    assert_eq!(desk.echo(n(1)).await.unwrap_err().code(), Code::Unavailable);
    assert!(!stop.is_finished());
    probe.open(3);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    stop.await.unwrap().unwrap();
    // Its name is free again.
    node.serve(1, DeskServer::new(Office::new(&probe))).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_no_longer_than_its_grace() {
    let (_node, desk, probe) = desk(|mailbox| mailbox.serial().grace(Duration::from_secs(2)));
    let calls: Vec<_> = (0..2)
        .map(|number| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.wait(n(number)).await })
        })
        .collect();
    until(|| probe.begun() == 1 && desk.mailbox().view().unwrap().depth == 1).await;
    let begun = tokio::time::Instant::now();
    desk.mailbox().stop().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(2) && begun.elapsed() < Duration::from_secs(3));
    let mut begun = Vec::new();
    for call in calls {
        let status = call.await.unwrap().unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        begun.push(status.may_retry());
    }
    assert_eq!(begun, [false, true], "the second one was surely not begun");
}

#[tokio::test]
async fn a_node_that_stops_lets_its_services_finish() {
    let (node, desk, probe) = desk(|mailbox| mailbox);
    node.serve(2, DeskServer::new(Office::new(&probe))).unwrap();
    let relay = tokio::spawn({
        let desk = desk.clone();
        async move { desk.wait(n(1)).await }
    });
    until(|| probe.begun() == 1).await;
    let stop = tokio::spawn({
        let node = node.clone();
        async move { node.stop().await }
    });
    until(|| desk.notify().add(n(1)).now().is_err()).await;
    assert!(!stop.is_finished());
    probe.open(1);
    assert_eq!(relay.await.unwrap().unwrap(), 1);
    stop.await.unwrap();
    assert_eq!(desk.echo(n(1)).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(node.serve(3, DeskServer::new(Office::new(&probe))).unwrap_err().code(), Code::Draining);
}

#[tokio::test]
async fn two_services_of_one_name_and_number_are_refused() {
    let probe = Arc::<Probe>::default();
    let service = || DeskServer::new(Office::new(&probe));
    let status = Node::builder("here").serve(1, service()).serve(1, service()).start().unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidInput, "the service desk/1 is there already")
    );
    assert_eq!(Node::builder("a/b").start().unwrap_err().code(), Code::InvalidInput);
}
