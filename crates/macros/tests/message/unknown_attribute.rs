//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
struct Args {
    #[message(tag = 1)]
    a: i64,
}

fn main() {}
