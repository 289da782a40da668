//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
enum Colour {
    Red,
}

fn main() {}
