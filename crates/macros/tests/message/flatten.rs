//! See the .stderr file of the same name.

use serde::{Deserialize, Serialize};
use trunkline::Message;

#[derive(Serialize, Deserialize, Message)]
struct Inner {
    a: i64,
}

#[derive(Serialize, Deserialize, Message)]
struct Outer {
    #[serde(flatten)]
    inner: Inner,
}

fn main() {}
