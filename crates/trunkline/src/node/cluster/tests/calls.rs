//! Calls between two nodes of ours.

use std::time::Duration;

use trunkline_wire::Limits;

use super::support::{Member, address, ask, call_of, table};
use crate::node::ClusterTable;
use crate::{Code, Serialization, Service};

#[tokio::test(start_paused = true)]
async fn nodes_that_know_each_other_call_each_other() {
    let a = Member::start("calls", "a", &["b"]).await;
    let b = Member::start("calls", "b", &["a"]).await;
    a.connected("b").await;
    b.connected("a").await;
    for (from, to) in [(&a, "b"), (&b, "a")] {
        let puppet = from.puppet(to);
        assert_eq!(ask(&puppet, "Echo", "\"hi\"").await, Ok("\"hi\"".into()));
        assert_eq!(ask(&puppet, "Fail", "\"no\"").await, Err((Code::Failed, "\"no\"".into())));
        let unknown = ask(&puppet, "Nope", "1").await;
        assert_eq!(unknown, Err((Code::NotFound, "unknown rpc func Nope".into())));
        let panicked = ask(&puppet, "Panic", "1").await.unwrap_err();
        assert!(panicked.0 == Code::Internal && !panicked.1.contains("told"), "{panicked:?}");
        let nobody = from.cluster.service(to, "nobody", 1);
        let unknown = ask(&nobody, "Echo", "1").await.unwrap_err();
        assert!(unknown.0 == Code::NotFound && unknown.1.contains("no service of the node"), "{unknown:?}");
        let elsewhere = from.cluster.service("elsewhere", "Puppet", 1);
        assert_eq!(ask(&elsewhere, "Echo", "1").await.unwrap_err().1, "no node elsewhere is known here");
    }
    // Many at once, answered in another order than they were made.
    let puppet = a.puppet("b");
    let waits = (0..100).map(|n| {
        let puppet = puppet.clone();
        async move { (n, ask(&puppet, "Wait", &(100 - n).to_string()).await) }
    });
    for (n, answer) in futures_util::future::join_all(waits).await {
        assert_eq!(answer, Ok((100 - n).to_string()));
    }
    assert_eq!((a.cluster.stats().stray_answers, b.cluster.stats().in_work), (0, 0));
    a.stop().await;
    b.stop().await;
}

/// A node that stops says so: calls to it fail at once where they are made, and those that it has are answered.
#[tokio::test(start_paused = true)]
async fn a_stop_is_announced_to_nodes_that_call() {
    let b = Member::start("stop", "b", &[]).await;
    let a = Member::start("stop", "a", &["b"]).await;
    let puppet = a.puppet("b");
    assert_eq!(ask(&puppet, "Echo", "1").await, Ok("1".into()));
    let running = tokio::spawn({
        let puppet = puppet.clone();
        async move { ask(&puppet, "Wait", "3000").await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let stopping = tokio::spawn(b.stop());
    tokio::time::sleep(Duration::from_millis(10)).await;
    let refused = puppet.call(call_of("Echo", "2")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Draining, "the node b stops"));
    assert!(refused.may_retry());
    let [state] = &*a.cluster.remotes() else { panic!("there is one") };
    assert_eq!((state.connected, state.reason.as_deref()), (true, Some("it stops")));
    assert_eq!(running.await.unwrap(), Ok("3000".into()));
    stopping.await.unwrap();
    a.stop().await;
}

/// A node that stops is still answered: where it called, as it does not listen any more.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gets_its_own_answers() {
    let a = Member::start("stops", "a", &["b"]).await;
    let b = Member::start("stops", "b", &["a"]).await;
    let c = Member::start("stops", "c", &["b"]).await;
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await, Ok("1".into()));
    // The one is what the node stops for only when it has ended; the other is its own.
    let [last, own] = [(c.puppet("b"), "1500"), (b.puppet("a"), "700")]
        .map(|(puppet, millis)| tokio::spawn(async move { ask(&puppet, "Wait", millis).await }));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stopping = tokio::spawn(b.stop());
    assert_eq!(own.await.unwrap(), Ok("700".into()));
    assert_eq!(last.await.unwrap(), Ok("1500".into()));
    stopping.await.unwrap();
    a.stop().await;
    c.stop().await;
}

/// The caller's node is in no table: the answer comes back over the connection of the call.
#[tokio::test(start_paused = true)]
async fn a_node_that_nobody_knows_is_answered_where_it_called() {
    let b = Member::start("back", "b", &[]).await;
    let a = Member::start("back", "a", &["b"]).await;
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await, Ok("1".into()));
    assert!(b.cluster.remotes().is_empty());
    a.stop().await;
    b.stop().await;
}

/// A connection remembers which services were called on it, and not beyond their end.
#[tokio::test(start_paused = true)]
async fn a_service_that_came_in_the_place_of_another_is_the_one_that_is_called() {
    let b = Member::start("again", "b", &[]).await;
    let a = Member::start("again", "a", &["b"]).await;
    let third = a.cluster.service("b", "Puppet", 3);
    for _ in 0..2 {
        let unknown = ask(&third, "Echo", "1").await.unwrap_err();
        assert!(unknown.0 == Code::NotFound && unknown.1.contains("no service of the node"), "{unknown:?}");
        let puppet = b.serve(3);
        assert_eq!(ask(&third, "Echo", "1").await, Ok("1".into()));
        // Methods are found with letters of another case, too.
        assert_eq!(ask(&third, "eCHO", "2").await, Ok("2".into()));
        puppet.mailbox().stop().await.unwrap();
    }
    a.stop().await;
    b.stop().await;
}

/// S7: whatever becomes of a call, its caller learns it.
#[tokio::test(start_paused = true)]
async fn s7_bodies_over_the_limit_are_answered_in_both_directions() {
    let mut limits = Limits::default();
    limits.body = 10_000;
    let a = Member::start("s7", "a", &["b"]).await;
    let b = Member::start_with("s7", "b", &["a"], limits).await;
    let puppet = a.puppet("b");
    // What a Go node would not send at all.
    let nine = ask(&puppet, "Big", "9216").await.unwrap();
    assert_eq!(nine.len(), 9216);
    let over = ask(&puppet, "Big", "10001").await.unwrap_err();
    assert!(over.1.contains("over the limit of 10000 bytes"), "{over:?}");
    let over = ask(&puppet, "Echo", &"1".repeat(10_001)).await.unwrap_err();
    assert!(over.1.contains("request's body of 10001 bytes is over the limit of 10000"), "{over:?}");
    assert_eq!(ask(&puppet, "Echo", &"1".repeat(10_000)).await.unwrap().len(), 10_000);
    // A reply that the caller's own limit refuses.
    let over = ask(&b.puppet("a"), "Big", "10001").await.unwrap_err();
    assert!(over.0 == Code::TooLarge && over.1.contains("reply's body of 10001 bytes"), "{over:?}");
    assert_eq!(ask(&b.puppet("a"), "Echo", "1").await, Ok("1".into()));
    a.stop().await;
    b.stop().await;
}

/// S8: the name of a method that would crash a Go node is refused here.
#[tokio::test(start_paused = true)]
async fn s8_a_long_name_of_a_method_is_refused_before_it_leaves() {
    let a = Member::start("s8", "a", &["b"]).await;
    let b = Member::start("s8", "b", &["a"]).await;
    let puppet = a.puppet("b");
    let refused = ask(&puppet, &"m".repeat(65), "1").await.unwrap_err();
    assert!(refused.0 == Code::Unsupported && refused.1.contains("at most 64 bytes"), "{refused:?}");
    assert_eq!(ask(&puppet, &"m".repeat(64), "1").await.unwrap_err().0, Code::NotFound);
    let long = format!("{}ö", "x".repeat(254));
    assert_eq!(ask(&puppet, "Fail", &long).await.unwrap_err().1, "x".repeat(254));
    assert_eq!(a.cluster.remotes()[0].calls, 0);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_time_left_and_the_chain_travel() {
    let a = Member::start("travel", "a", &["b"]).await;
    let b = Member::start("travel", "b", &["a"]).await;
    let deadline = tokio::time::Instant::now() + Duration::from_millis(750);
    let call = call_of("Left", "1").with_deadline(deadline);
    let reply = a.puppet("b").call(call).await.unwrap();
    let left: u32 =
        std::str::from_utf8(&reply.into_body().whole(100).await.unwrap()).unwrap().parse().unwrap();
    assert!((600..=750).contains(&left), "{left}");
    // Serial services that wait are said, re-entrant ones are not.
    let asked = ask(&a.puppet("b"), "Ask", "a/2 b/1 b/2 a/1").await;
    assert_eq!(asked, Ok("a/Puppet/2 b/Puppet/2".into()));
    // One that would wait for itself learns it at once.
    let begun = tokio::time::Instant::now();
    let cycle = ask(&a.puppet("a"), "Ask", "a/2 b/2 a/2 b/1").await.unwrap_err();
    assert_eq!(cycle, (Code::Failed, "cycle: Puppet/2 → b/Puppet/2 → Puppet/2".into()));
    let cycle = ask(&a.puppet("b"), "Ask", "b/2 a/2 b/2").await.unwrap_err();
    assert_eq!(cycle, (Code::Failed, "cycle: Puppet/2 → a/Puppet/2 → Puppet/2".into()));
    assert!(begun.elapsed() < Duration::from_secs(1));
    // A call that waits too long ends at its caller, and its answer completes nothing when it comes.
    let call = call_of("Wait", "500").with_deadline(tokio::time::Instant::now() + Duration::from_millis(100));
    let status = a.puppet("b").call(call).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(a.cluster.remotes()[0].calls, 0);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(a.cluster.stats().stray_answers, 1);
    a.stop().await;
    b.stop().await;
}

/// S11: a node that cannot be reached slows nobody; a call to it fails at once, with the reason.
#[tokio::test(start_paused = true)]
async fn s11_a_node_that_is_down_fails_calls_at_once_and_comes_back() {
    let a = Member::start("down", "a", &["b", "c"]).await;
    let c = Member::start("down", "c", &[]).await;
    let refused = ask(&a.puppet("b"), "Echo", "1").await.unwrap_err();
    assert!(
        refused.0 == Code::Unavailable && refused.1.contains("the node b cannot be reached"),
        "{refused:?}"
    );
    let begun = tokio::time::Instant::now();
    for _ in 0..1000 {
        assert_eq!(ask(&a.puppet("b"), "Echo", "1").await.unwrap_err().0, Code::Unavailable);
        let notify = call_of("Echo", "1").one_way();
        assert_eq!(a.puppet("b").call(notify).await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(ask(&a.puppet("c"), "Echo", "1").await, Ok("1".into()));
    }
    assert!(begun.elapsed() < Duration::from_secs(1));
    let b = Member::start("down", "b", &[]).await;
    a.connected("b").await;
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await, Ok("1".into()));
    // Lost while a call waits: the call ends, and the next connection is made.
    let puppet = a.puppet("b");
    let waits = tokio::spawn(async move { ask(&puppet, "Wait", "60000").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    b.server.stop(Duration::ZERO).await.unwrap();
    let lost = waits.await.unwrap().unwrap_err();
    assert!(lost.0 == Code::Unavailable && lost.1.contains("connection was lost"), "{lost:?}");
    let b = Member::start("down", "b", &[]).await;
    a.connected("b").await;
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await, Ok("1".into()));
    for member in [a, b, c] {
        member.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_is_reloaded_while_the_nodes_run() {
    let a = Member::start("reload", "a", &["b"]).await;
    let b = Member::start("reload", "b", &["a"]).await;
    let moved = Member::start("reload2", "b", &[]).await;
    a.connected("b").await;
    let puppet = a.puppet("b");
    let waits = tokio::spawn(async move { ask(&puppet, "Wait", "60000").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Taken out: the connection ends, and calls with it.
    a.cluster.reload(&table("reload", "a", &[])).unwrap();
    let lost = waits.await.unwrap().unwrap_err();
    assert!(lost.1.contains("the node b was taken out of the table"), "{lost:?}");
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await.unwrap_err().1, "no node b is known here");
    // Put in again, elsewhere.
    a.cluster.reload(&ClusterTable::new("a").remote("b", &address("reload2", "b"))).unwrap();
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await, Ok("1".into()));
    assert_eq!(a.cluster.remotes()[0].address, address("reload2", "b"));
    // A table that cannot be one changes nothing.
    assert!(a.cluster.reload(&ClusterTable::new("other")).is_err());
    assert!(a.cluster.reload(&ClusterTable::new("a").remote("b", "?")).is_err());
    assert_eq!(ask(&a.puppet("b"), "Echo", "1").await, Ok("1".into()));
    for member in [a, b, moved] {
        member.stop().await;
    }
}

/// S12: what was begun is answered before anything is closed.
#[tokio::test(start_paused = true)]
async fn s12_a_node_that_stops_answers_what_it_has() {
    for others in [&["a"][..], &[]] {
        let scope = format!("stop{}", others.len());
        let a = Member::start(&scope, "a", &["b"]).await;
        let b = Member::start(&scope, "b", others).await;
        let calls: Vec<_> = (0..50)
            .map(|n| {
                let puppet = a.puppet("b");
                tokio::spawn(async move { ask(&puppet, "Wait", &(n * 10).to_string()).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let begun = tokio::time::Instant::now();
        b.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        for (n, call) in calls.into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), Ok((n * 10).to_string()));
        }
        a.stop().await;
    }
}

#[derive(Debug, Clone, Default, PartialEq, trunkline::Message, serde::Serialize, serde::Deserialize)]
struct Number {
    n: i64,
}

#[trunkline::service]
trait Plain {
    async fn twice(&self, number: Number) -> crate::Result<Number>;
}

struct Doubling;

impl Plain for Doubling {
    async fn twice(&self, number: Number) -> crate::Result<Number> {
        Ok(Number { n: number.n * 2 })
    }
}

#[tokio::test(start_paused = true)]
async fn services_without_a_mailbox_are_reached_under_number_1() {
    let node = crate::node::Node::builder("b").start().unwrap();
    let cluster = crate::node::Cluster::start(&node, &ClusterTable::new("b")).unwrap();
    let server = crate::Server::builder()
        .serve(PlainServer::new(Doubling))
        .with_describe()
        .cluster(&cluster)
        .listen(address("plain", "b"))
        .start()
        .await
        .unwrap();
    let a = Member::start("plain", "a", &["b"]).await;
    let plain = a.cluster.service("b", "Plain", 1);
    assert_eq!(ask(&plain, "Twice", "{\"n\":21}").await, Ok("{\"n\":42}".into()));
    assert_eq!(ask(&plain, "Twice", "{").await.unwrap_err().0, Code::InvalidInput);
    assert_eq!(ask(&plain, "Nope", "1").await.unwrap_err().1, "unknown rpc func Nope");
    assert_eq!(ask(&a.cluster.service("b", "Plain", 2), "Twice", "1").await.unwrap_err().0, Code::NotFound);
    let typed = PlainClient::new(plain);
    assert_eq!(typed.twice(Number { n: 4 }).await.unwrap().n, 8);
    let describe = a.cluster.service("b", "Trunkline", 1);
    assert!(ask(&describe, "Describe", "{}").await.unwrap().contains("\"Plain\""));
    assert_eq!(describe.serialization(), Serialization::Json);
    a.stop().await;
    server.stop(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_a_token_keeps_its_mailboxes_to_itself() {
    let b = Member::start("token", "b", &[]).await;
    let address = address("token2", "b");
    let server = crate::Server::builder().token("secret").cluster(&b.cluster).listen(&address);
    let server = server.start().await.unwrap();
    let a = Member::start("token", "a", &[]).await;
    a.cluster.reload(&ClusterTable::new("a").remote("b", &address)).unwrap();
    let refused = ask(&a.puppet("b"), "Echo", "1").await.unwrap_err();
    assert!(refused.0 == Code::Unauthenticated, "{refused:?}");
    server.stop(Duration::from_secs(1)).await.unwrap();
    a.stop().await;
    b.stop().await;
}
