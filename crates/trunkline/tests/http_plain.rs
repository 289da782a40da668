//! HTTP as a user meets it: plain JSON, the page, statuses, deadlines, metadata, the end of connections.

#![cfg(feature = "http")]

mod http_support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use http_support::{PATIENCE, Raw, ask, post, start, until};
use serde_json::json;

#[tokio::test]
async fn a_plain_post_needs_no_header() {
    let server = start(|b| b).await;
    let answer = ask(&server.address, post("/Arith/Mul", "", r#"{"A":6,"B":7}"#)).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"C":42}"#));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-rpcx-meta"), None);
    // Names in other letters, escaped, with a query.
    let answer = ask(&server.address, post("/arith/m%55L?x=/y", "", r#"{"A":6,"B":7}"#)).await;
    assert_eq!((answer.status, answer.text()), (200, r#"{"C":42}"#));
    let answer = ask(&server.address, post("/Arith/Wire", "", "{}")).await;
    assert_eq!(answer.text(), "\"http\"");
}
