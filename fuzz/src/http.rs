//! What must hold for all bytes that a connection of HTTP brings, before hyper sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a check fails loudly")]

use httparse::Status::Complete;
use trunkline::__private::http::{Frames, FramesEnd, frames};

/// However the bytes come, the same passes, and what passes has the same ends for another reader.
pub(crate) fn http(data: &[u8]) {
    let whole = frames(data, usize::MAX);
    for piece in [1, 7, 100] {
        assert_eq!(frames(data, piece), whole, "in pieces of {piece}");
    }
    let left = data.len().checked_sub(whole.passed).unwrap();
    match whole.end {
        FramesEnd::NeedMore => {}
        FramesEnd::Leave(length) => assert!(length > 0 && length <= left),
        FramesEnd::Refused(status, at) => {
            assert!(matches!(status, 400 | 414 | 431));
            assert!(at <= u64::try_from(left).unwrap(), "it blames what has not come");
        }
    }
    for (index, &at) in whole.heads.iter().enumerate() {
        if !request(data, &whole, at, whole.heads.get(index + 1).copied()) {
            break;
        }
    }
}

/// One request, read by httparse, that hyper reads heads with. Whether that reader goes on behind it.
fn request(data: &[u8], whole: &Frames, at: usize, next: Option<usize>) -> bool {
    let passed = &data[..whole.passed];
    let mut headers = [httparse::EMPTY_HEADER; 101];
    let mut request = httparse::Request::new(&mut headers);
    // What it refuses goes no further.
    let Ok(head) = request.parse(&passed[at..]) else { return false };
    let Complete(head) = head else { panic!("a head at {at} is passed that is not whole") };
    assert!(request.headers.len() <= 100 && head <= 64 << 10);
    let value = |name: &str| {
        let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        let mut values = request.headers.iter().filter(named).map(|header| header.value);
        let first = values.next();
        let number = |value: &[u8]| std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
        assert!(values.all(|other| number(other) == first.and_then(number)), "two values of {name}");
        first
    };
    let end = match (value("content-length"), value("transfer-encoding")) {
        (Some(_), Some(_)) => panic!("a length beside an encoding"),
        (None, None) => Some(at + head),
        (Some(length), None) => {
            let length: u64 = std::str::from_utf8(length).unwrap().parse().unwrap();
            usize::try_from(length).ok().and_then(|length| (at + head).checked_add(length))
        }
        (None, Some(encoding)) => {
            assert!(request.version == Some(1) && encoding.eq_ignore_ascii_case(b"chunked"));
            chunked(passed, at + head)
        }
    };
    let Some(end) = end.filter(|end| *end <= passed.len()) else {
        assert_eq!(next, None, "a request is passed behind a body that is not whole");
        return false;
    };
    if let Some(next) = next {
        // One empty line may stand before it.
        assert!(next == end || next == end + 2 && &passed[end..next] == b"\r\n", "{end} {next}");
    } else {
        assert!(passed.len() <= end + 2, "bytes are passed behind the last request");
    }
    true
}

/// The end of a chunked body, where it is whole.
fn chunked(passed: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let Ok(Complete((line, size))) = httparse::parse_chunk_size(&passed[at..]) else { return None };
        at += line;
        if size == 0 {
            let mut trailers = [httparse::EMPTY_HEADER; 4096];
            return match httparse::parse_headers(&passed[at..], &mut trailers) {
                Ok(Complete((length, _))) => Some(at + length),
                _ => None,
            };
        }
        at = usize::try_from(size).ok().and_then(|size| at.checked_add(size)?.checked_add(2))?;
        assert_eq!(passed.get(at - 2..at)?, b"\r\n", "a chunk ends elsewhere");
    }
}
