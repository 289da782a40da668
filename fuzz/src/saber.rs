//! What must hold for all bytes on the saber wire. Used by the fuzz target and by the replay of its corpus.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each target uses a part; a check fails loudly"
)]

use trunkline_wire::saber::{
    Decoder, Frame, METHOD, Next, Request, Response, TEXT, begin_request, begin_response, fail, finish,
};
use trunkline_wire::{Limits, WireError};

/// Small limits, so that short inputs reach them.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.body = 64;
    limits.names = 48;
    limits.skip_factor = 4;
    limits
}

/// What was read, as values of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Request(u64, u32, u64, Vec<u8>, Vec<u8>),
    Response(u64, u32, u64, Vec<u8>, Option<(u32, Vec<u8>)>, Vec<u8>),
    RequestTooLarge(u32, Vec<u8>, usize),
    ResponseTooLarge(u32, Vec<u8>, usize),
    Hello(bool, String),
    Hint(Option<u32>, Vec<String>),
    Code(u16),
    Stop,
    PassedOver,
}

fn seen(next: &Next<'_>) -> Option<Seen> {
    Some(match next {
        Next::Frame(Frame::Request(request, body)) => Seen::Request(
            request.source.0,
            request.session,
            request.destination.0,
            request.method.to_vec(),
            body.to_vec(),
        ),
        Next::Frame(Frame::Response(response, body)) => Seen::Response(
            response.source.0,
            response.session,
            response.destination.0,
            response.method.to_vec(),
            response.failure.map(|(code, text)| (code, text.to_vec())),
            body.to_vec(),
        ),
        Next::Frame(Frame::Hello(hello)) => Seen::Hello(hello.asks, hello.cluster.to_owned()),
        Next::Frame(Frame::Hint(hint)) => {
            let chain = hint.chain.iter().map(str::to_owned);
            Seen::Hint(hint.left, chain.collect())
        }
        Next::Frame(Frame::Code(code)) => Seen::Code(*code),
        Next::Frame(Frame::Stop) => Seen::Stop,
        Next::RequestTooLarge(request, got) => {
            Seen::RequestTooLarge(request.session, request.method.to_vec(), *got)
        }
        Next::ResponseTooLarge(response, got) => {
            Seen::ResponseTooLarge(response.session, response.method.to_vec(), *got)
        }
        Next::PassedOver => Seen::PassedOver,
        _ => return None,
    })
}

/// Feeds the bytes in pieces of these lengths, in turn; what was read, and why it ended, if it did.
pub(crate) fn read(bytes: &[u8], pieces: &[usize], limits: &Limits) -> (Vec<Seen>, Option<WireError>) {
    let mut decoder = Decoder::new(limits);
    let (mut all, mut fed, mut at) = (vec![], 0, 0);
    let mut pieces = pieces.iter().cycle();
    loop {
        let input = &bytes[at..fed];
        let step = match decoder.step(input) {
            Ok(step) => step,
            Err(error) => return (all, Some(error)),
        };
        assert!(step.consumed <= input.len(), "it consumed more than there was");
        if let Next::NeedMore(n) = step.next {
            assert_eq!(step.consumed, 0, "what waits is not consumed");
            assert!(n == 0 || n > input.len(), "it waits for what is there");
            if fed == bytes.len() {
                return (all, None);
            }
            fed = bytes.len().min(fed + (*pieces.next().unwrap_or(&1)).max(1));
            continue;
        }
        assert!(step.consumed > 0, "it would spin");
        at += step.consumed;
        all.extend(seen(&step.next));
        write_again(&step.next, &bytes[at - step.consumed..at], limits);
    }
}

/// What is understood is written as it came.
fn write_again(next: &Next<'_>, frame: &[u8], limits: &Limits) {
    let mut out = b"before".to_vec();
    match next {
        Next::Frame(Frame::Request(request, body)) => {
            assert!(request.method.len() <= METHOD && body.len() <= limits.body);
            let mark = begin_request(&Request { ..*request }, &mut out).unwrap();
            out.extend_from_slice(body);
            finish(mark, limits.body, &mut out).unwrap();
        }
        Next::Frame(Frame::Response(response @ Response { failure: None, .. }, body)) => {
            assert!(response.method.len() <= METHOD && body.len() <= limits.body);
            let mark = begin_response(response, &mut out).unwrap();
            out.extend_from_slice(body);
            finish(mark, limits.body, &mut out).unwrap();
        }
        Next::Frame(Frame::Response(response @ Response { failure: Some((_, text)), .. }, body)) => {
            assert!(text.len() <= TEXT);
            let Ok(text) = std::str::from_utf8(text) else { return };
            if !body.is_empty() {
                return; // We write none behind a failure.
            }
            fail(response, text, &mut out).unwrap();
        }
        _ => return,
    }
    assert_eq!(out.strip_prefix(b"before").unwrap(), frame, "it is written otherwise than it came");
}

/// The same is read however the bytes are cut, and whatever was understood is written the same.
pub(crate) fn saber(data: &[u8]) {
    let (cuts, bytes) = data.split_at(data.len().min(4));
    let cuts: Vec<usize> = cuts.iter().map(|cut| usize::from(*cut)).collect();
    for limits in [limits(), Limits::default()] {
        let whole = read(bytes, &[bytes.len()], &limits);
        assert_eq!(read(bytes, &cuts, &limits), whole);
        assert_eq!(read(bytes, &[1], &limits), whole);
    }
}
