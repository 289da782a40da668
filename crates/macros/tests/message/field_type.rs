//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
struct Args {
    at: std::time::Duration,
}

fn main() {}
