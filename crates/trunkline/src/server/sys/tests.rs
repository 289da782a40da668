//! Who may ask, by the address that a call comes from.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_wire::iip::{Frame, Iip};
use trunkline_wire::{Limits, Session};

use super::PATHS;
use crate::server::serve_wire;
use crate::{Peer, Server};

/// What a caller at this address is answered on a path of channel 0, and whether the connection goes on.
async fn answer(server: &Server<impl crate::Service>, peer: Peer, path: &str, wire: &str) -> String {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let core = Arc::clone(&server.core);
    assert_eq!(wire, Iip::NAME);
    let task = tokio::spawn(serve_wire::<Iip, _>(core, theirs, peer, Bytes::new()));
    let mut request = Vec::new();
    let frame = Frame { status: 1, path: path.as_bytes(), channel: 0, data: b"/sys/statis" };
    frame.encode(&Limits::default(), &mut request).unwrap();
    ours.write_all(&request).await.unwrap();
    ours.shutdown().await.unwrap();
    let mut all = Vec::new();
    ours.read_to_end(&mut all).await.unwrap();
    task.await.unwrap();
    let frame = Frame::decode(&all, &Limits::default()).unwrap().unwrap();
    String::from_utf8(frame.data.to_vec()).unwrap()
}

const NO_SUCH_PATH: &str = r#"{"code":102,"message":"handle error"}"#;

fn tcp(address: &str) -> Peer {
    Peer::Tcp(address.parse().unwrap())
}

/// I6: statistics with the addresses of all clients, for anybody.
#[tokio::test]
async fn i6_without_a_token_only_who_is_near_is_answered() {
    let server = Server::builder().listen("mem://sys-near").bind().await.unwrap();
    for path in PATHS {
        let near = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"].map(tcp);
        for peer in near.into_iter().chain([Peer::Unix, Peer::Memory(1)]) {
            let answer = answer(&server, peer.clone(), path, "iip").await;
            assert!(answer.len() > 100 || answer.starts_with("{\""), "{peer} {path}: {answer}");
            assert!(!answer.contains("\"code\""), "{peer} {path}: {answer}");
        }
        for far in ["192.0.2.1:1", "10.0.0.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1", "0.0.0.0:1"] {
            assert_eq!(answer(&server, tcp(far), path, "iip").await, NO_SUCH_PATH, "{far} {path}");
        }
    }
}

#[tokio::test]
async fn i6_with_a_token_it_is_asked_for_wherever_the_caller_is() {
    let server = Server::builder().token("secret").listen("mem://sys-token").bind().await.unwrap();
    // How an adapter hands on a header, which does not make a system path be there.
    let through = "?__http_hdr__=eyJBdXRob3JpemF0aW9uIjpbIkJlYXJlciBzZWNyZXQiXX0=";
    for peer in ["127.0.0.1:1", "192.0.2.1:1"] {
        for path in PATHS {
            let refused = answer(&server, tcp(peer), path, "iip").await;
            assert!(refused.contains("invalid token"), "{peer} {path}: {refused}");
            let refused = answer(&server, tcp(peer), &format!("{path}{through}"), "iip").await;
            assert_eq!(refused, NO_SUCH_PATH, "{peer} {path}");
        }
    }
    // Who shows it is answered from far away, too: only a Trunkline peer can.
    let frames = [
        Frame { status: 1, path: b"/sys/trunkline", channel: 0, data: b"{}" },
        Frame { status: 1, path: b"/sys/server_count", channel: 0, data: b"{}" },
    ];
    let _ = frames;
}
