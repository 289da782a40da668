//! The defects of Go's saber that a node could have (the others are the cluster's).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trunkline::describe::ServiceInfo;
use trunkline::node::{Mailbox, MailboxService, Node};
use trunkline::{Bytes, Call, Code, NamedService, Reply, Result, Serialization, Service};

use crate::calls::desk;
use crate::support::{DeskHandle, DeskMessage, DeskServer, Office, Probe, n, until};

/// S2, the node's part: a call that nobody waits for any more is not begun, is counted, and leaves the turns as they are.
#[tokio::test(start_paused = true)]
async fn s2_what_comes_too_late_touches_no_turn() {
    let (_node, desk, probe) = desk(Mailbox::serial);
    desk.notify().wait(n(0)).await.unwrap();
    until(|| probe.begun() == 1).await;
    let late = desk.add(n(1)).timeout(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    probe.open(1);
    assert_eq!(desk.add(n(2)).await.unwrap(), 2);
    assert_eq!((probe.order(), desk.mailbox().view().unwrap().late), (vec![2], 1));
}

/// S8: a name that a frame cannot carry is refused as its service starts.
#[tokio::test]
async fn s8_a_name_that_no_frame_carries_is_refused_at_the_start() {
    struct Long;

    impl Service for Long {
        async fn call(&self, _: Call) -> Result<Reply> {
            Ok(Reply::default())
        }
    }

    impl NamedService for Long {
        fn describe(&self) -> ServiceInfo {
            ServiceInfo { name: "Long".into(), doc: "", methods: Vec::new() }
        }
    }

    impl MailboxService for Long {
        type Message = DeskMessage;
        type Handle = DeskHandle;
        const METHODS: &'static [&'static str] =
            &["a_method_whose_name_has_sixty_five_bytes_which_is_one_byte_too_many"];

        async fn handle(&self, _: DeskMessage) {}
    }

    let node = Node::builder("here").start().unwrap();
    assert!(Long::METHODS[0].len() > trunkline::node::METHOD_LIMIT);
    assert_eq!(node.serve(1, Long).unwrap_err().code(), Code::InvalidInput);
    assert!(node.find::<DeskHandle>(1).is_none());
}

/// S4, S5: calls that time out while their answers come, many at once from many threads: each gets its own answer or
/// its timeout, and nothing is shared that could break.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s4_s5_answers_about_the_deadline_reach_nobody_else() {
    let (_node, desk, probe) = desk(|mailbox| mailbox.capacity(100_000).in_flight(100_000));
    let mut tasks = Vec::new();
    for task in 0..8_u64 {
        let desk = desk.clone();
        tasks.push(tokio::spawn(async move {
            let (mut answered, mut expired) = (0, 0);
            for round in 0..200 {
                let number = task * 1_000_000 + round;
                match desk.wait(n(number)).timeout(Duration::from_millis(round % 20)).await {
                    Ok(answer) => {
                        assert_eq!(answer, number, "a stranger's answer");
                        answered += 1;
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::DeadlineExceeded);
                        expired += 1;
                    }
                }
                assert_eq!(desk.echo(n(number)).await.unwrap(), number);
            }
            (answered, expired)
        }));
    }
    let opens = tokio::spawn(async move {
        loop {
            probe.open(1);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let (mut answered, mut expired) = (0, 0);
    for task in tasks {
        let (one, other) = task.await.unwrap();
        answered += one;
        expired += other;
    }
    opens.abort();
    assert_eq!(answered + expired, 8 * 200);
    assert!(answered > 0 && expired > 0, "{answered} {expired}");
}

/// S6: a handler whose own call times out goes on in its turn; afterwards still only one handler runs at a time.
#[tokio::test(start_paused = true)]
async fn s6_a_timeout_gives_nobody_a_second_turn() {
    let (node, desk, probe) = desk(Mailbox::serial);
    let other = Arc::<Probe>::default();
    node.serve(2, DeskServer::new(Office::new(&other))).unwrap();
    // The desk waits for one that never answers.
    let never = node.find::<DeskHandle>(2).unwrap();
    assert_eq!(
        never.wait(n(1)).timeout(Duration::from_millis(50)).await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
    let calls: Vec<_> = (0..50)
        .map(|number| {
            let desk = desk.clone();
            let time = Duration::from_millis(if number % 2 == 0 { 10 } else { 5_000 });
            tokio::spawn(async move { desk.wait(n(number)).timeout(time).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    probe.open(50);
    for call in calls {
        let _either = call.await.unwrap();
    }
    assert_eq!(probe.most.load(Ordering::SeqCst), 1);
    assert!(probe.begun() > 20);
}

/// S7, the node's part: a body that does not decode, a panic, a failure: each is an answer.
#[tokio::test]
async fn s7_whatever_happens_is_an_answer() {
    let (node, _desk, _) = desk(|mailbox| mailbox);
    let call = |method: &'static str, body: &'static str| {
        let call = Call::new("desk", method, Serialization::Json, Bytes::from_static(body.as_bytes()));
        let node = node.clone();
        async move { node.call("desk", 1, call).await.unwrap_err() }
    };
    assert_eq!(call("Echo", "no number").await.code(), Code::InvalidInput);
    assert_eq!(call("Panic", "{}").await.code(), Code::Internal);
    assert_eq!(call("Fail", "{}").await.message(), "no");
    assert_eq!(call("Nothing", "{}").await.message(), "call unknown func Nothing");
}

/// S15: a service that stands still for an hour with a timer of 10 ms has one tick waiting, and goes on in step.
#[tokio::test(start_paused = true)]
async fn s15_missed_ticks_are_one() {
    let (_node, desk, probe) = desk(Mailbox::serial);
    desk.notify().wait(n(0)).await.unwrap();
    until(|| probe.begun() == 1).await;
    let timer = desk.notify().add(n(1)).every(Duration::from_millis(10)).unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(desk.mailbox().view().unwrap().depth, 1);
    probe.open(1);
    until(|| !probe.order().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    timer.cancel();
    let ticks = probe.order().len();
    assert!((9..=13).contains(&ticks), "{ticks}");
    // A process that stood still: the clock jumps.
    let _timer = desk.notify().add(n(2)).every(Duration::from_millis(10)).unwrap();
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let late = probe.order().iter().filter(|number| **number == 2).count();
    assert!(late <= 2, "{late}");
}

/// S15: what a burst has taken is given back.
#[tokio::test]
async fn s15_a_mailbox_is_bounded_and_shrinks() {
    let node = Node::builder("here").start().unwrap();
    let probe = Arc::<Probe>::default();
    let mailbox = Mailbox::new(DeskServer::new(Office::new(&probe))).capacity(1000);
    let desk = node.serve(1, mailbox).unwrap();
    // Nothing is handled while this task runs.
    let refused = (0..2000).filter(|number| desk.notify().add(n(*number)).now().is_err()).count();
    assert_eq!(refused, 1000);
    until(|| probe.order().len() == 1000).await;
    let view = desk.mailbox().view().unwrap();
    assert_eq!((view.depth, view.refused), (0, 1000));
}
