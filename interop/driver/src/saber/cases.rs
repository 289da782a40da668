//! Calls and notifies in all directions.

use std::time::Duration;

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::node::Whom;
use super::world::{Ask, LIMIT, NODES, World};
use crate::suite::{Check, Suite, Told, ensure, poll, same};

/// How many generated messages go from each node to each other one.
const MESSAGES: u64 = 200;

pub(super) async fn cases(suite: &mut Suite, world: &World) {
    suite.case("saber-login", login(world)).await;
    suite.case("saber-notify", notify(world)).await;
    suite.case("saber-errors", errors(world)).await;
    suite.case("saber-unknown-method", unknown_method(world)).await;
    suite.case("saber-side-by-side", side_by_side(world)).await;
    suite.case("saber-large", large(world)).await;
    suite.case("saber-timers", timers(world)).await;
    for from in NODES {
        suite.case(&format!("saber-generated-{from}"), generated(world, from)).await;
    }
}

async fn login(world: &World) -> Check {
    for (from, to) in World::pairs() {
        for id in 101..=104 {
            let body = json!({ "Gid": 10_100_002, "Name": "größer" });
            let ask = Ask { service: ("lobby", id), ..Ask::lobby(to, "ReqLogin", body) };
            let answer = world.ask(from, &ask).await.told(format!("{from} -> {to} {id}"))?;
            same(format!("{from} -> {to} {id}"), &answer, &json!({ "Status": 200 }))?;
        }
        let refused = world.ask(from, &Ask::lobby(to, "ReqLogin", json!({ "Gid": 0, "Name": "" }))).await;
        same(format!("{from} -> {to}"), &refused, &Err("no Gid or no Name".to_owned()))?;
    }
    Ok(())
}

async fn total(world: &World, from: &str, to: &str) -> Check<i64> {
    let answer = world.ask(from, &Ask::count(to, 0)).await.told(format!("{from} -> {to}"))?;
    Ok(answer["Total"].as_i64().unwrap_or(-1))
}

async fn notify(world: &World) -> Check {
    for (from, to) in World::pairs() {
        let before = total(world, from, to).await?;
        for number in 1..=10 {
            world.notify(from, &Ask::count(to, 1)).await.told(format!("{from} -> {to}"))?;
            if to.starts_with("go") {
                // A Go node may read a frame over the body of one that waits (S3): one at a time.
                let so = || async { Ok(total(world, from, to).await? == before + number) };
                poll(LIMIT, "the sum", so).await?;
            }
        }
        // A method or a service that is not there is no reason to stop.
        world.notify(from, &Ask::lobby(to, "Nope", json!(1))).await?;
        world.notify(from, &Ask { service: ("nobody", 1), ..Ask::count(to, 1) }).await?;
        let sum = poll(LIMIT, "the sum", || async { Ok(total(world, from, to).await? == before + 10) }).await;
        let now = total(world, from, to).await?;
        sum.map_err(|why| format!("{from} -> {to}: {why}: {before} became {now}"))?;
    }
    Ok(())
}

async fn errors(world: &World) -> Check {
    for (from, to) in World::pairs() {
        for text in ["refused: größer", &"e".repeat(255)] {
            let failed = world.ask(from, &Ask::lobby(to, "Fail", json!(text))).await;
            same(format!("{from} -> {to}"), &failed, &Err(text.to_owned()))?;
        }
        if to.starts_with("rust") {
            // A Go node does not answer these at all.
            let cut = world.ask(from, &Ask::lobby(to, "Fail", json!(format!("{}ö", "e".repeat(254))))).await;
            same(format!("{from} -> {to}"), &cut, &Err("e".repeat(254)))?;
            let failed = world.ask(from, &Ask::lobby(to, "Panic", json!(1))).await;
            ensure(failed.as_ref().is_err_and(|text| text.contains("failed inside")), || {
                format!("{failed:?}")
            })?;
            let ask = Ask { service: ("nobody", 1), ..Ask::count(to, 1) };
            let failed = world.ask(from, &ask).await;
            ensure(failed.as_ref().is_err_and(|text| text.contains("has the handle")), || {
                format!("{failed:?}")
            })?;
            let failed = world.ask(from, &Ask::lobby(to, "ReqLogin", json!(["no", "login"]))).await;
            ensure(failed.is_err(), || format!("{failed:?}"))?;
        } else {
            for (service, method) in [(("lobby", 101), "Panic"), (("nobody", 1), "Add")] {
                let limit = Duration::from_millis(200);
                let ask = Ask { service, method, limit, ..Ask::lobby(to, "", json!(1)) };
                let failed = world.ask(from, &ask).await;
                let over = |text: &String| text.contains("rpc timeout") || text.contains("deadline exceeded");
                ensure(failed.as_ref().is_err_and(over), || format!("{from} -> {to} {method}: {failed:?}"))?;
            }
        }
        same(
            format!("{from} -> {to} goes on"),
            &world.ask(from, &Ask::lobby(to, "Echo", json!(7))).await,
            &Ok(json!(7)),
        )?;
    }
    Ok(())
}

async fn unknown_method(world: &World) -> Check {
    for (from, to) in World::pairs() {
        let failed = world.ask(from, &Ask::lobby(to, "Nope", json!(1))).await;
        same(format!("{from} -> {to}"), &failed, &Err("unknown rpc func Nope".to_owned()))?;
    }
    Ok(())
}

/// Many calls at once, answered in another order than they were made. (A Go node may read a frame over the body of one
/// that waits, S3, so they go to ours.)
async fn side_by_side(world: &World) -> Check {
    let calls = (0..200_u64).map(|n| async move {
        let service = ("lobby", 101 + u32::try_from(n % 4).unwrap_or(0));
        let ask = Ask { service, ..Ask::lobby("rust2", "Wait", json!((200 - n) / 2)) };
        same(n, &world.ask("rust1", &ask).await, &Ok(ask.body.clone()))
    });
    futures_util::future::try_join_all(calls).await?;
    same("answers that nobody waited for", &world.ours[0].cluster.stats().stray_answers, &0)
}

/// Answers that a Go node could not send, and can read.
async fn large(world: &World) -> Check {
    let echoed = world.ask("rust1", &Ask::lobby("rust2", "Echo", json!("x".repeat(1 << 20)))).await;
    ensure(
        echoed.as_ref().is_ok_and(|text| text.as_str().is_some_and(|text| text.len() == 1 << 20)),
        || "1 MiB did not come back".to_owned(),
    )?;
    for from in ["go1", "go2"] {
        let big = world.relay(from, "Call", &Ask::lobby("rust2", "Big", json!(100_000)), 1).await;
        same(format!("{from} <- 100,000 characters"), &big, &Ok(json!(100_000)))?;
        // The largest that one can send: its frames have at most 8,192 bytes.
        let most = "q".repeat(8192 - 4 - 21 - 1 - 4 - 2);
        let length = u64::try_from(most.len()).unwrap_or(0);
        let relayed = world.ask("rust1", &Ask::lobby(from, "Echo", json!("q".repeat(8000)))).await;
        ensure(relayed.is_ok(), || format!("{relayed:?}"))?;
        ensure(length > 8000, || "the limit moved".to_owned())?;
    }
    Ok(())
}

/// Timers of each side that tell the other side of each tick.
async fn timers(world: &World) -> Check {
    for (from, to) in [("go1", "rust2"), ("go2", "go1")] {
        let before = total(world, "rust1", to).await?;
        let mut ask = Ask::count(to, 1);
        ask.limit = Duration::from_millis(20);
        let relay = json!({ "Cluster": to, "Service": "Count", "ID": 1, "Method": "Add", "Body": {"N": 1}, "Millis": 20, "Times": 5 });
        let tick = Ask { to: from, service: ("Relay", 1), method: "Tick", body: relay, limit: LIMIT };
        world.ask("rust1", &tick).await.told("Tick")?;
        poll(LIMIT, "five ticks", || async { Ok(total(world, "rust1", to).await? == before + 5) }).await?;
    }
    for (from, to) in [(1, "go1"), (1, "rust1")] {
        let before = total(world, "rust1", "go1").await?.max(0);
        let before = if to == "go1" { before } else { total(world, "rust2", to).await? };
        let ticker = &world.ours[from].ticker;
        let timer = ticker.notify().tick(Whom { node: to.to_owned() }).times(5, Duration::from_millis(20));
        let _timer = timer.told("timer")?;
        let asks = if to == "go1" { "rust1" } else { "rust2" };
        poll(LIMIT, "five ticks", || async { Ok(total(world, asks, to).await? == before + 5) }).await?;
    }
    Ok(())
}

/// A JSON value as both sides can hold it: whole numbers up to 2^53, texts of any letters.
fn value(rng: &mut Rng, depth: u32) -> Value {
    match rng.u8(..if depth == 0 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i64(-(1 << 53)..=1 << 53)),
        3 => json!(rng.i32(..) as f64 / 1024.0),
        4 => {
            let letters = rng.usize(..20);
            json!((0..letters).map(|_| rng.char(..)).collect::<String>())
        }
        5 | 6 => (0..rng.usize(..5)).map(|_| value(rng, depth - 1)).collect(),
        _ => {
            let pairs =
                (0..rng.usize(..5)).map(|n| (format!("k{n}{}", rng.alphanumeric()), value(rng, depth - 1)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
    }
}

/// Numbers as Go has them, where 1.0 and 1 are the same.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b)))
        }
        (a, b) => a == b,
    }
}

async fn generated(world: &World, from: &'static str) -> Check {
    for to in NODES.into_iter().filter(|to| *to != from) {
        let mut rng = Rng::with_seed(7);
        for number in 0..MESSAGES {
            let body = value(&mut rng, 4);
            // An answer over 8,192 bytes is not sent by a Go node.
            if body.to_string().len() > 3000 {
                continue;
            }
            let answer = world.ask(from, &Ask::lobby(to, "Echo", body.clone())).await;
            let answer = answer.told(format!("{from} -> {to}, message {number}"))?;
            ensure(same_value(&answer, &body), || {
                format!("{from} -> {to}, message {number}: {body} came back as {answer}")
            })?;
        }
    }
    Ok(())
}
