//! How large the futures of calls are: there may be a hundred thousand of them.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly")]

use std::mem::{size_of, size_of_val};

use super::{Channel, Client, Outgoing};
use crate::peer::NamedPeer;
use crate::{Bytes, Call, Serialization, Service};

/// Each holds its call once, and little beside it.
#[tokio::test]
async fn the_futures_of_calls_are_small() {
    let channel = Channel::builder("netrpc://127.0.0.1:1").lazy().unwrap();
    let client = Client::builder("netrpc://127.0.0.1:1,127.0.0.1:2").lazy().unwrap();
    let call = || Call::new("Echo", "Echo", Serialization::Gob, "x");
    assert!(size_of::<Call>() <= 120, "a call has {} bytes", size_of::<Call>());
    let size = size_of_val(&channel.call(call()));
    assert!(size <= 152, "a channel's call has {size} bytes");
    let size = size_of_val(&client.call(call()));
    assert!(size <= 208, "a client's call has {size} bytes");
    let typed: Outgoing<'_, _, Bytes, Bytes> = Outgoing::new(&client, "Echo", "Echo", Bytes::new());
    let size = size_of_val(&typed.send());
    assert!(size <= 264, "a client's typed call has {size} bytes");

    let peer = NamedPeer::builder("a").listen("127.0.0.1:0").peer("b", "127.0.0.1:1").start().await.unwrap();
    let size = size_of_val(&peer.call("b", "echo", "x"));
    assert!(size <= 264, "a named peer's call has {size} bytes");
}
