//! A node against bytes: what a Go node would send, and what nobody should.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use trunkline_wire::saber::{Handle, write_stop};

use super::support::{Member, Raw, Seen, address, ask, hello, listen, request, response, table};
use crate::Code;

fn caller() -> Handle {
    Handle::new("go", "caller", 7)
}

fn puppet(node: &str) -> Handle {
    Handle::new(node, "Puppet", 1)
}

fn body(seen: Option<Seen>) -> (u32, Option<String>, String) {
    match seen {
        Some(Seen::Response { session, failure, body, .. }) => (session, failure, body),
        other => panic!("{other:?}"),
    }
}

/// A node that is in the table is answered over our own connection to it.
#[tokio::test(start_paused = true)]
async fn a_go_node_is_answered_where_it_listens() {
    let mut go = listen(&address("go", "go")).await;
    let b = Member::start("go", "b", &["go"]).await;
    let mut calls = Raw::dial(&address("go", "b")).await;
    let (own, _) = go.accept().await.unwrap();
    let mut own = Raw::new(own);
    assert_eq!(own.next().await, Some(Seen::Hello(true, "b".into())));
    calls.send(&request(caller(), 2, puppet("b"), "Echo", "\"x\"")).await;
    let answer = own.next().await.unwrap();
    let (source, destination) = (puppet("b"), caller());
    let expected = Seen::Response { source, session: 2, destination, failure: None, body: "\"x\"".into() };
    assert_eq!(answer, expected);
    // Ours are called there, too: answers come on the other connection.
    let calling = tokio::spawn({
        let puppet = b.cluster.service("go", "lobby", 101).as_caller("Puppet", 1);
        async move { [ask(&puppet, "Echo", "1").await, ask(&puppet, "Echo", "2").await] }
    });
    assert_eq!(own.next().await, Some(Seen::Hint), "it is not known to be a Go node");
    let lobby = Handle::new("go", "lobby", 101);
    for number in 1..=2 {
        let asked = own.next().await.unwrap();
        let expected = Seen::Request {
            source: puppet("b"),
            session: number,
            destination: lobby,
            method: "Echo".into(),
            body: number.to_string(),
        };
        // Once it has answered without a hello, it gets no more hints.
        assert_eq!(asked, expected);
        calls.send(&response(lobby, number, puppet("b"), "\"y\"")).await;
    }
    assert_eq!(calling.await.unwrap(), [Ok("\"y\"".into()), Ok("\"y\"".into())]);
    b.stop().await;
}

/// S2 to S6: answers that nobody waits for change nothing, and are counted.
#[tokio::test(start_paused = true)]
async fn s2_forged_late_and_doubled_answers_complete_nothing() {
    let mut go = listen(&address("forged", "go")).await;
    let b = Member::start("forged", "b", &["go"]).await;
    let (own, _) = go.accept().await.unwrap();
    let mut own = Raw::new(own);
    let mut calls = Raw::dial(&address("forged", "b")).await;
    let lobby = Handle::new("go", "lobby", 101);
    calls.send(&response(lobby, 0xdead_beef, puppet("b"), "1")).await;
    let calling = tokio::spawn({
        let puppet = b.cluster.service("go", "lobby", 101).as_caller("Puppet", 1);
        async move { ask(&puppet, "Echo", "1").await }
    });
    while !matches!(own.next().await, Some(Seen::Request { .. })) {}
    calls.send(&response(Handle::new("go", "lobby", 102), 1, puppet("b"), "\"forged\"")).await;
    calls.send(&response(lobby, 1, Handle::new("b", "Puppet", 2), "\"forged\"")).await;
    calls.send(&response(lobby, 1, puppet("b"), "\"true\"")).await;
    calls.send(&response(lobby, 1, puppet("b"), "\"doubled\"")).await;
    assert_eq!(calling.await.unwrap(), Ok("\"true\"".into()));
    calls.send(&request(caller(), 5, puppet("b"), "Echo", "1")).await;
    while !matches!(own.next().await, Some(Seen::Response { session: 5, .. })) {}
    assert_eq!(b.cluster.stats().stray_answers, 4);
    b.stop().await;
}

/// S1, S9: what breaks the wire ends its own connection and nothing else.
#[tokio::test(start_paused = true)]
async fn s1_a_long_method_and_s9_a_length_of_4_gib_end_their_connection_alone() {
    let b = Member::start("broken", "b", &[]).await;
    let mut good = Raw::dial(&address("broken", "b")).await;
    let mut long = vec![0, 0, 1, 0x15, 4];
    long.extend_from_slice(&caller().0.to_be_bytes());
    long.extend_from_slice(&[0, 0, 0, 1]);
    long.extend_from_slice(&puppet("b").0.to_be_bytes());
    long.push(0xff);
    long.extend_from_slice(&[b'm'; 255]);
    for broken in [long, vec![0xff; 4]] {
        let mut bad = Raw::dial(&address("broken", "b")).await;
        bad.send(&request(caller(), 1, puppet("b"), "Echo", "1")).await;
        assert_eq!(body(bad.next().await), (1, None, "1".into()));
        bad.send(&broken).await;
        assert_eq!(bad.next().await, None);
        good.send(&request(caller(), 2, puppet("b"), "Echo", "2")).await;
        assert_eq!(body(good.next().await), (2, None, "2".into()));
    }
    b.stop().await;
}

/// S3: a body is not written over by what is read after it.
#[tokio::test(start_paused = true)]
async fn s3_bodies_of_calls_that_wait_stay_what_they_were() {
    let b = Member::start("s3", "b", &[]).await;
    let mut raw = Raw::dial(&address("s3", "b")).await;
    for session in 1..=500_u32 {
        // One read each.
        raw.send(&request(caller(), session, puppet("b"), "Wait", &(10_000 + session).to_string())).await;
        tokio::task::yield_now().await;
    }
    for session in 1..=500 {
        assert_eq!(body(raw.next().await), (session, None, (10_000 + session).to_string()));
    }
    b.stop().await;
}

/// S7: a call gets an answer whatever it is.
#[tokio::test(start_paused = true)]
async fn s7_calls_that_a_go_node_would_not_answer_are_answered() {
    let b = Member::start("answers", "b", &[]).await;
    let mut raw = Raw::dial(&address("answers", "b")).await;
    let nobody = Handle::new("b", "nobody", 1);
    for (to, method, sent, text) in [
        (nobody, "Echo", "1", "no service of the node b has the handle"),
        (puppet("b"), "Nope", "1", "unknown rpc func Nope"),
        (puppet("b"), "Panic", "1", "failed inside"),
        (puppet("b"), "Big", "4194305", "over the limit of 4194304 bytes"),
    ] {
        raw.send(&request(caller(), 9, to, method, sent)).await;
        let (session, failure, _) = body(raw.next().await);
        assert!(session == 9 && failure.as_ref().unwrap().contains(text), "{failure:?}");
    }
    // A notify is not, and what is passed over is counted.
    raw.send(&request(caller(), 0, nobody, "Echo", "1")).await;
    raw.send(&[0, 0, 0, 3, 4, 1, 2]).await;
    raw.send(&[0, 0, 0, 1, 9]).await;
    raw.send(&request(caller(), 3, puppet("b"), "Echo", "1")).await;
    assert_eq!(body(raw.next().await), (3, None, "1".into()));
    assert_eq!(b.cluster.stats().passed_over, 2);
    b.stop().await;
}

/// S9: a peer that does not read is not read from, and what waits for it is bounded.
#[tokio::test(start_paused = true)]
async fn s9_a_caller_that_does_not_read_its_answers_is_not_read_from() {
    let b = Member::start("slow", "b", &[]).await;
    let mut raw = Raw::dial(&address("slow", "b")).await;
    let call = request(caller(), 1, puppet("b"), "Big", "1000000");
    let mut sent = 0;
    // Far more answers than may wait; the sender is stopped long before.
    let stopped = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            raw.send(&call.repeat(100)).await;
            sent += 100;
        }
    });
    assert!(stopped.await.is_err());
    assert!(sent < 20_000, "{sent}");
    // It is given up in the end.
    let mut rest = vec![];
    let _ = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        raw.stream.read_to_end(&mut rest).await
    })
    .await
    .unwrap();
    assert!(rest.len() < 16 << 20, "{}", rest.len());
    assert_eq!(b.cluster.stats().in_work, 0);
    b.stop().await;
}

/// S14: who speaks on a connection is settled by its first frame, and names with the hash of another are refused.
#[tokio::test(start_paused = true)]
async fn s14_a_connection_speaks_for_one_node() {
    let b = Member::start("bound", "b", &[]).await;
    let mut raw = Raw::dial(&address("bound", "b")).await;
    raw.send(&hello("go")).await;
    assert_eq!(raw.next().await, Some(Seen::Hello(false, "b".into())));
    raw.send(&request(caller(), 1, puppet("b"), "Echo", "1")).await;
    assert_eq!(body(raw.next().await), (1, None, "1".into()));
    raw.send(&request(Handle::new("other", "caller", 7), 1, puppet("b"), "Echo", "1")).await;
    assert_eq!(raw.next().await, None);

    let mut seen = std::collections::HashMap::new();
    let pair = (0..1_000_000).find_map(|n| {
        let name = format!("node{n}");
        seen.insert(trunkline_wire::saber::cluster_hash(&name), name.clone()).map(|other| (other, name))
    });
    let (one, other) = pair.unwrap();
    b.cluster.reload(&table("bound", "b", &[&one])).unwrap();
    let mut raw = Raw::dial(&address("bound", "b")).await;
    raw.send(&hello(&other)).await;
    assert_eq!(raw.next().await, None);
    b.stop().await;
}

/// The address of a node is another node's: calls say so.
#[tokio::test(start_paused = true)]
async fn a_node_of_another_name_is_not_taken_for_it() {
    let b = Member::start("wrong", "b", &[]).await;
    let a = Member::start("wrong", "a", &[]).await;
    a.cluster.reload(&crate::node::ClusterTable::new("a").remote("c", &address("wrong", "b"))).unwrap();
    let refused = ask(&a.puppet("c"), "Echo", "1").await.unwrap_err();
    assert!(refused.0 == Code::Unavailable && refused.1.contains("a node of another name"), "{refused:?}");
    a.stop().await;
    b.stop().await;
}

/// S10: the end of one connection does nothing to the next one, and a node that was taken out is dialled no more.
#[tokio::test(start_paused = true)]
async fn s10_each_connection_ends_for_itself() {
    let mut go = listen(&address("s10", "go")).await;
    let b = Member::start("s10", "b", &["go"]).await;
    let lobby = b.cluster.service("go", "lobby", 1);
    for round in 0..5 {
        let (first, _) = go.accept().await.unwrap();
        let mut first = Raw::new(first);
        assert_eq!(first.next().await, Some(Seen::Hello(true, "b".into())));
        let calling = tokio::spawn({
            let lobby = lobby.clone();
            async move { ask(&lobby, "Echo", "1").await }
        });
        while !matches!(first.next().await, Some(Seen::Request { .. })) {}
        drop(first);
        let lost = calling.await.unwrap().unwrap_err();
        assert_eq!(lost.0, Code::Unavailable, "{round}: {lost:?}");
    }
    let (last, _) = go.accept().await.unwrap();
    let mut last = Raw::new(last);
    assert_eq!(last.next().await, Some(Seen::Hello(true, "b".into())));
    // Nothing of the connections before comes after this one.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let calling = tokio::spawn(async move { ask(&lobby, "Echo", "2").await });
    let Some(Seen::Request { source, session, destination, .. }) = ({
        let mut next = last.next().await;
        while next == Some(Seen::Hint) {
            next = last.next().await;
        }
        next
    }) else {
        panic!()
    };
    last.send(&response(destination, session, source, "2")).await;
    assert_eq!(calling.await.unwrap(), Ok("2".into()));
    b.cluster.reload(&table("s10", "b", &[])).unwrap();
    assert_eq!(last.next().await, None);
    drop(last);
    let again = tokio::time::timeout(Duration::from_secs(120), go.accept()).await;
    assert!(again.is_err(), "it was dialled although it is not in the table");
    b.stop().await;
}

/// Who has said hello is told of a stop, and is read on until it says that it has heard; a Go node is not.
#[tokio::test(start_paused = true)]
async fn a_stop_is_told_to_those_who_understand_it() {
    let b = Member::start("told", "b", &[]).await;
    let (mut go, mut ours) = (Raw::dial(&address("told", "b")).await, Raw::dial(&address("told", "b")).await);
    go.send(&request(caller(), 1, puppet("b"), "Echo", "1")).await;
    assert_eq!(body(go.next().await), (1, None, "1".into()));
    ours.send(&hello("ours")).await;
    assert_eq!(ours.next().await, Some(Seen::Hello(false, "b".into())));
    let stopping = tokio::spawn(b.stop());
    assert_eq!(ours.next().await, Some(Seen::Stop));
    assert_eq!(go.next().await, None);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let own = Handle::new("ours", "caller", 1);
    ours.send(&request(own, 1, puppet("b"), "Wait", "100")).await;
    let mut heard = vec![];
    write_stop(&mut heard);
    ours.send(&heard).await;
    assert_eq!(body(ours.next().await), (1, None, "100".into()), "it was on its way");
    let answered = Instant::now();
    assert_eq!(ours.next().await, None);
    assert!(answered.elapsed() < Duration::from_millis(50), "nothing more comes from there");
    stopping.await.unwrap();
}

/// A Go node sends `null` where there is nothing to say, and wants to read as much.
#[tokio::test(start_paused = true)]
async fn nothing_is_null_in_both_directions() {
    let b = Member::start("null", "b", &[]).await;
    let mut raw = Raw::dial(&address("null", "b")).await;
    for sent in ["null", "{}"] {
        raw.send(&request(caller(), 1, puppet("b"), "Nothing", sent)).await;
        let (_, failure, answer) = body(raw.next().await);
        assert_eq!(failure, None);
        assert!(serde_json::from_str::<serde_json::Value>(&answer).is_ok(), "{answer:?} is no JSON");
    }
    b.stop().await;
}

/// A node that calls before ours has reached it is answered where it listens all the same: it reads nothing else.
#[tokio::test(start_paused = true)]
async fn a_node_that_comes_up_and_calls_at_once_is_answered() {
    let b = Member::start("early", "b", &["go"]).await;
    for round in 0..20_u32 {
        // Wherever our dialling stands just then.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 37)).await;
        let mut go = listen(&address("early", "go")).await;
        let mut calls = Raw::dial(&address("early", "b")).await;
        calls.send(&request(caller(), 1, puppet("b"), "Echo", "1")).await;
        let (own, _) = tokio::time::timeout(Duration::from_secs(1), go.accept()).await.unwrap().unwrap();
        let mut own = Raw::new(own);
        while !matches!(own.next().await, Some(Seen::Response { session: 1, .. })) {}
        drop((go, calls, own));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(b.cluster.stats().answers_lost, 0);
    b.stop().await;
}
