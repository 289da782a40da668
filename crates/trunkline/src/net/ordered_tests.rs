//! A second shape of session on the one driver: strict order, no ids on the wire, bodies streamed both ways.
//!
//! It has little in common with rpcx, and shows that the session trait, the call model and the driver carry a
//! wire like IIP. Everything but the session below is what rpcx runs on.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests may fail loudly"
)]

mod session;
mod streams;
mod support;
mod typed;

use std::time::Duration;

use tokio::time::Instant;

use self::support::{call, client, full, serve};
use crate::{Code, random};

/// A number from 0 to below `limit`, from the seeded source.
fn chance(limit: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let number = (random::fraction() * limit as f64) as u64;
    number
}

/// Handlers end in any order; the k-th answer is the k-th request's all the same.
#[tokio::test(start_paused = true)]
async fn answers_keep_the_order_of_the_requests() {
    for seed in 1..=5 {
        random::seed(seed);
        let (_server, name) = serve(&format!("ordered-order-{seed}")).await;
        let client = client(&name);
        let mut calls = Vec::new();
        for n in 0..2_000 {
            let client = client.clone();
            let (method, body) = match chance(4) {
                0 => ("echo", format!("{n}")),
                1 => ("fail", format!("{n}")),
                _ => ("late", format!("{} {n}", chance(50))),
            };
            calls.push(tokio::spawn(async move {
                match (method, client.call(call(method, body.clone())).await) {
                    ("fail", Err(status)) => assert_eq!(status.message(), body),
                    (_, Ok(reply)) => assert_eq!(full(reply), body),
                    (_, Err(status)) => panic!("{method} {body}: {status}"),
                }
            }));
            if chance(20) == 0 {
                tokio::time::sleep(Duration::from_millis(chance(30))).await;
            }
        }
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(client.strays(), 0);
    }
}

/// The answer of a call that was given up still comes, is taken off the wire, and nobody else gets it.
#[tokio::test(start_paused = true)]
async fn a_late_answer_shifts_nobody() {
    for seed in 1..=5 {
        random::seed(seed);
        let (_server, name) = serve(&format!("ordered-late-{seed}")).await;
        let client = client(&name);
        let mut calls = Vec::new();
        for n in 0..2_000 {
            let client = client.clone();
            let (wait, patience) = (chance(40), 1 + chance(60));
            calls.push(tokio::spawn(async move {
                let body = format!("{wait} {n}");
                let deadline = Instant::now() + Duration::from_millis(patience);
                // Half of them by their deadline, half by dropping the call.
                let made = client.call(call("late", body.clone()));
                let result = if n % 2 == 0 {
                    client.call(call("late", body.clone()).with_deadline(deadline)).await
                } else {
                    match tokio::time::timeout_at(deadline, made).await {
                        Ok(result) => result,
                        Err(_) => return 1,
                    }
                };
                match result {
                    Ok(reply) => assert_eq!(full(reply), body),
                    Err(status) => {
                        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
                        return 1;
                    }
                }
                0
            }));
            if chance(4) == 0 {
                tokio::time::sleep(Duration::from_millis(chance(20))).await;
            }
        }
        let mut given_up = 0;
        for call in calls {
            given_up += call.await.unwrap();
        }
        // One more goes through behind them all, so that every late answer has come.
        assert_eq!(full(client.call(call("echo", "last")).await.unwrap()), "last");
        assert!(given_up > 200, "{given_up} calls were given up");
        assert!(client.strays() > 0 && client.strays() <= given_up, "{} of {given_up}", client.strays());
    }
}

/// What the session keeps by itself while calls are at their limit comes out again, in order.
#[tokio::test(start_paused = true)]
async fn what_was_held_back_is_emitted_later() {
    let (server, name) = support::serve_with("ordered-parked", |limits| limits.calls = 2).await;
    let client = client(&name);
    let begun = Instant::now();
    let calls = (0..20).map(|n| {
        let client = client.clone();
        async move { full(client.call(call("late", format!("100 {n}"))).await.unwrap()) }
    });
    for (n, body) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(body, format!("100 {n}"));
    }
    assert!(server.most() <= 2, "{} at once", server.most());
    assert_eq!(begun.elapsed().as_millis() / 100, 10);
}
