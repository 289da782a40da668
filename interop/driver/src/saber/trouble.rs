//! Nodes that go, come back, and leave the table.

use std::time::Duration;

use serde_json::json;
use trunkline::Code;

use super::world::{Ask, LIMIT, World, call};
use crate::suite::{Check, Suite, Told, ensure, poll, same};

pub(super) async fn cases(suite: &mut Suite, world: &mut World) {
    suite.case("saber-reload", reload(world)).await;
    suite.case("saber-down", down(world)).await;
}

async fn echoes(world: &World, from: &str, to: &str) -> Check {
    let answer = world.ask(from, &Ask::lobby(to, "Echo", json!("here"))).await;
    same(format!("{from} -> {to}"), &answer, &Ok(json!("here")))
}

/// A node that is taken out of the table is called no more, and not answered where it listens.
async fn reload(world: &World) -> Check {
    let [rust1, rust2] = &world.ours;
    echoes(world, "go2", "rust2").await?;
    rust2.cluster.reload(&world.table("rust2", &["go2"])).told("reload")?;
    let gone = world.ask("rust2", &Ask::lobby("go2", "Echo", json!(1))).await;
    same("rust2 -> go2", &gone, &Err("no node go2 is known here".to_owned()))?;
    // It is answered on the connection that it called on, which a Go node does not read.
    let lost = Ask { limit: Duration::from_millis(300), ..Ask::lobby("rust2", "Echo", json!(1)) };
    let lost = world.ask("go2", &lost).await;
    ensure(lost.as_ref().is_err_and(|text| text.contains("rpc timeout")), || format!("{lost:?}"))?;
    // One of ours reads it.
    rust2.cluster.reload(&world.table("rust2", &["rust1"])).told("reload")?;
    echoes(world, "rust1", "rust2").await?;
    rust2.cluster.reload(&world.table("rust2", &[])).told("reload")?;
    echoes(world, "rust2", "go2").await?;
    echoes(world, "go2", "rust2").await?;
    same("stray answers", &rust1.cluster.stats().stray_answers, &0)
}

/// A node that is gone fails calls at once, and is called again when it is back.
async fn down(world: &mut World) -> Check {
    echoes(world, "rust1", "go2").await?;
    world.go[1].kill()?;
    let ask = Ask::lobby("go2", "Echo", json!(1));
    poll(LIMIT, "the loss is noticed", || async { Ok(call(&world.ours[0], &ask).await.is_err()) }).await?;
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        let Err(status) = call(&world.ours[0], &ask).await else { return Err("it answered".to_owned()) };
        same("code", &status.code(), &Code::Unavailable)?;
        ensure(status.message().contains("cannot be reached"), || status.message().to_owned())?;
        echoes(world, "rust1", "go1").await?;
    }
    ensure(begun.elapsed() < LIMIT, || format!("it took {:?}", begun.elapsed()))?;
    world.restart_go2().await?;
    poll(LIMIT * 2, "it is back", || async { Ok(call(&world.ours[0], &ask).await.is_ok()) }).await?;
    echoes(world, "go2", "rust1").await
}
