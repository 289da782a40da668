//! Who may ask, by the address that a call comes from.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use trunkline_wire::Limits;
use trunkline_wire::iip::{Frame, Iip};

use super::PATHS;
use crate::server::serve::serve_wire;
use crate::{Metadata, Peer, Server, metadata};

/// What a caller at this address is answered on channel 0, to the last of these paths.
async fn answer<S: crate::Service>(server: &Server<S>, peer: Peer, paths: &[&str]) -> String {
    let (mut ours, theirs) = tokio::io::duplex(1 << 20);
    let task = tokio::spawn(serve_wire::<Iip, _>(Arc::clone(&server.core), theirs, peer, Bytes::new()));
    let (mut request, limits) = (Vec::new(), Limits::default());
    for path in paths {
        let frame = Frame { status: 1, path: path.as_bytes(), channel: 0, data: b"/sys/statis" };
        frame.encode(&limits, &mut request).unwrap();
    }
    ours.write_all(&request).await.unwrap();
    ours.shutdown().await.unwrap();
    let (mut all, mut last) = (Vec::new(), String::new());
    ours.read_to_end(&mut all).await.unwrap();
    task.await.unwrap();
    let mut rest = &*all;
    while let Some(frame) = Frame::decode(rest, &limits).unwrap() {
        last = String::from_utf8(frame.data.to_vec()).unwrap();
        rest = &rest[frame.length()..];
    }
    last
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
            let answer = answer(&server, peer.clone(), &[path]).await;
            assert!(answer.len() > 100 && !answer.contains("code"), "{peer} {path}: {answer}");
        }
        for far in ["192.0.2.1:1", "10.0.0.1:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1", "0.0.0.0:1"] {
            assert_eq!(answer(&server, tcp(far), &[path]).await, NO_SUCH_PATH, "{far} {path}");
        }
    }
}

#[tokio::test]
async fn i6_with_a_token_it_is_asked_for_wherever_the_caller_is() {
    let server = Server::builder().token("secret").listen("mem://sys-token").bind().await.unwrap();
    let token = Metadata::builder().with(metadata::AUTH, "secret").build();
    let token = URL_SAFE_NO_PAD.encode(token.pairs().as_bytes());
    for path in PATHS {
        // As an adapter hands on the header with the right token: a system path is not there all the same.
        let through = format!("{path}?__http_hdr__=eyJBdXRob3JpemF0aW9uIjpbIkJlYXJlciBzZWNyZXQiXX0=");
        let shown = format!("{path}?__trunkline={token}");
        for peer in ["127.0.0.1:1", "192.0.2.1:1"].map(tcp) {
            let refused = answer(&server, peer.clone(), &[path]).await;
            assert_eq!(refused, r#"{"code":-1,"message":"handler fail:invalid token"}"#, "{peer} {path}");
            assert_eq!(answer(&server, peer.clone(), &[&through]).await, NO_SUCH_PATH, "{peer} {path}");
            let answer = answer(&server, peer.clone(), &["/sys/trunkline", &shown]).await;
            assert!(answer.len() > 100 && !answer.contains("code"), "{peer} {path}: {answer}");
        }
    }
}
