//! A cluster of two Go nodes and two of ours, each of which knows the others.

mod cases;
mod node;
mod trouble;
mod world;

use std::path::Path;

use crate::suite::Suite;
use world::World;

pub(crate) async fn cases(suite: &mut Suite, program: &Path) {
    match World::start(program).await {
        Ok(mut world) => {
            cases::cases(suite, &world).await;
            trouble::cases(suite, &mut world).await;
        }
        Err(why) => suite.case("saber-start", async { Err(why) }).await,
    }
}
