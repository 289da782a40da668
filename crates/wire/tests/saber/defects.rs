//! The defects of the Go program that concern the wire alone, by their ids.

use trunkline_wire::saber::{
    Decoder, Frame, Handle, Next, Request, Response, begin_request, begin_response, fail, finish,
};
use trunkline_wire::{Limits, WireError};

use crate::check::{Seen, read};

const REQUEST: Request<'_> =
    Request { source: Handle(1), session: 7, destination: Handle(2), method: b"Echo" };
const RESPONSE: Response<'_> =
    Response { source: Handle(2), session: 7, destination: Handle(1), method: b"Echo", failure: None };

fn request(method: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let mark = begin_request(&Request { method, ..REQUEST }, &mut out).unwrap();
    out.extend_from_slice(body);
    finish(mark, usize::MAX, &mut out).unwrap();
    out
}

#[test]
fn s1_a_method_of_255_bytes_ends_the_connection_and_nothing_else() {
    let mut bytes = request(b"Echo", b"\"good\"");
    let good = bytes.len();
    bytes.extend_from_slice(&[0, 0, 1, 0x15, 4]);
    bytes.extend_from_slice(&[0; 20]);
    bytes.push(0xff);
    bytes.extend_from_slice(&[b'm'; 255]);
    for pieces in [&[bytes.len()][..], &[1], &[3, 100]] {
        let (seen, error) = read(&bytes, pieces, &Limits::default());
        assert_eq!(seen.len(), 1);
        assert!(matches!(error, Some(WireError::Malformed { offset: 25, .. })), "{error:?}");
    }
    // As soon as its length is there; nobody waits for the name.
    assert!(read(&bytes[..good + 26], &[1], &Limits::default()).1.is_none());
    let mut small = Limits::default();
    small.body = 0;
    assert!(read(&bytes[good..good + 26], &[1], &small).1.is_some());
}

#[test]
fn s8_a_method_of_65_bytes_is_not_written_and_a_long_text_is_cut() {
    let mut out = vec![1];
    let long = [b'm'; 65];
    assert!(begin_request(&Request { method: &long, ..REQUEST }, &mut out).is_err());
    assert!(begin_response(&Response { method: &long, ..RESPONSE }, &mut out).is_err());
    assert!(fail(&Response { method: &long, ..RESPONSE }, "x", &mut out).is_err());
    assert_eq!(out, [1]);
    assert!(begin_request(&Request { method: &long[..64], ..REQUEST }, &mut out).is_ok());

    for (text, goes) in [
        ("e".repeat(255), 255),
        ("e".repeat(256), 255),
        ("e".repeat(70_000), 255),
        (format!("{}ö", "e".repeat(254)), 254),
        (format!("{}😀", "e".repeat(252)), 252),
    ] {
        let mut out = vec![];
        fail(&RESPONSE, &text, &mut out).unwrap();
        let (seen, error) = read(&out, &[out.len()], &Limits::default());
        let [Seen::Response(2, 7, 1, _, Some((10001, got)), body)] = &*seen else { panic!("{seen:?}") };
        assert_eq!((got.len(), error), (goes, None));
        assert!(text.as_bytes().starts_with(got) && body.is_empty());
    }
}

#[test]
fn s9_a_length_of_4_gib_ends_the_connection_at_once() {
    let (seen, error) = read(&[0xff; 4], &[4], &Limits::default());
    assert!(seen.is_empty());
    assert!(matches!(error, Some(WireError::TooLarge { got: 0xffff_ffff, .. })), "{error:?}");
}

#[test]
fn s9_a_body_over_the_limit_is_told_from_its_head_and_read_past() {
    let mut limits = Limits::default();
    limits.body = 100;
    let mut bytes = request(b"Echo", &[b'x'; 101]);
    let head = 4 + 21 + 1 + 4;
    // Known without the body.
    let mut decoder = Decoder::new(&limits);
    let step = decoder.step(&bytes[..head]).unwrap();
    assert_eq!(step.consumed, head);
    assert_eq!(step.next, Next::RequestTooLarge(REQUEST, 101));
    // The same wherever it is cut, and the next frame is read.
    bytes.extend(request(b"Echo", &[b'x'; 100]));
    let mut out = vec![];
    let mark = begin_response(&RESPONSE, &mut out).unwrap();
    out.extend_from_slice(&[b'x'; 1000]);
    finish(mark, 1000, &mut out).unwrap();
    bytes.extend(out);
    bytes.extend(request(b"Echo", b"1"));
    for pieces in [&[bytes.len()][..], &[1], &[17, 3]] {
        let (seen, error) = read(&bytes, pieces, &limits);
        assert_eq!(error, None);
        assert!(matches!(
            &*seen,
            [
                Seen::RequestTooLarge(7, _, 101),
                Seen::Request(..),
                Seen::ResponseTooLarge(7, _, 1000),
                Seen::Request(..)
            ]
        ));
    }
    // What is over what is read past is not.
    let too_large = request(b"Echo", &vec![b'x'; 100 * 16 + 5000]);
    assert!(matches!(read(&too_large, &[9], &limits).1, Some(WireError::TooLarge { .. })));
}

#[test]
fn s9_a_body_over_the_limit_is_not_written() {
    let mut out = b"before".to_vec();
    let mark = begin_request(&REQUEST, &mut out).unwrap();
    out.extend_from_slice(&[b'x'; 101]);
    let error = finish(mark, 100, &mut out).unwrap_err();
    assert!(error.to_string().contains("101 bytes is over the limit of 100"), "{error}");
    assert_eq!(out, b"before");
}

#[test]
fn s1_heads_that_are_cut_short_are_passed_over() {
    let whole = request(b"Echo", b"");
    for length in 0..whole.len() - 4 {
        let mut bytes = whole[..4 + length].to_vec();
        bytes[3] = u8::try_from(length).unwrap();
        bytes.extend(request(b"Next", b"1"));
        let (seen, error) = read(&bytes, &[5], &Limits::default());
        assert_eq!(error, None);
        assert!(matches!(&*seen, [Seen::PassedOver, Seen::Request(..)]), "{length}: {seen:?}");
    }
}

#[test]
fn a_frame_borrows_from_its_input() {
    let bytes = request(b"Echo", b"body");
    let mut decoder = Decoder::new(&Limits::default());
    let Next::Frame(Frame::Request(request, body)) = decoder.step(&bytes).unwrap().next else { panic!() };
    let inside = |part: &[u8]| bytes.as_ptr_range().contains(&part.as_ptr());
    assert!(inside(request.method) && inside(body));
}
