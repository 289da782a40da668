//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
struct Pair(i64, i64);

fn main() {}
