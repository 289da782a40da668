//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
struct File {
    data: Vec<u8>,
}

fn main() {}
