//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
struct Args {
    a: i64,
    #[message(number = 1)]
    b: i64,
}

fn main() {}
