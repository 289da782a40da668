//! Generated frames, cut anywhere.

use proptest::prelude::*;
use trunkline_wire::Limits;
use trunkline_wire::saber::{Handle, Request, Response, begin_request, begin_response, fail, finish};

use crate::check::{Seen, read, saber};

fn frames() -> impl Strategy<Value = Seen> {
    let method = || proptest::collection::vec(any::<u8>(), 0..=64);
    let body = || proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (any::<u64>(), any::<u32>(), any::<u64>(), method(), body())
            .prop_map(|(from, session, to, method, body)| Seen::Request(from, session, to, method, body)),
        (any::<u64>(), any::<u32>(), any::<u64>(), method(), body()).prop_map(
            |(from, session, to, method, body)| Seen::Response(from, session, to, method, None, body)
        ),
        (any::<u64>(), any::<u32>(), any::<u64>(), method(), "[a-zöß]{0,120}", 1..u32::MAX).prop_map(
            |(from, session, to, method, text, code)| Seen::Response(
                from,
                session,
                to,
                method,
                Some((code, text.into_bytes())),
                vec![]
            )
        ),
    ]
}

fn write(frame: &Seen, out: &mut Vec<u8>) {
    match frame {
        Seen::Request(source, session, destination, method, body) => {
            let (source, destination) = (Handle(*source), Handle(*destination));
            let head = Request { source, session: *session, destination, method };
            let mark = begin_request(&head, out).unwrap();
            out.extend_from_slice(body);
            finish(mark, body.len(), out).unwrap();
        }
        Seen::Response(source, session, destination, method, failure, body) => {
            let (source, destination) = (Handle(*source), Handle(*destination));
            let failure = failure.as_ref().map(|(code, text)| (*code, &**text));
            let head = Response { source, session: *session, destination, method, failure };
            if let Some((_, text)) = failure {
                return fail(&head, std::str::from_utf8(text).unwrap(), out).unwrap();
            }
            let mark = begin_response(&head, out).unwrap();
            out.extend_from_slice(body);
            finish(mark, body.len(), out).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        frames in proptest::collection::vec(frames(), 0..8),
        pieces in proptest::collection::vec(1..64_usize, 1..8),
    ) {
        let mut bytes = vec![];
        for frame in &frames {
            write(frame, &mut bytes);
        }
        let (seen, error) = read(&bytes, &pieces, &Limits::default());
        prop_assert_eq!(error, None);
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn frames_with_a_broken_byte_are_read_the_same_however_they_are_cut(
        frames in proptest::collection::vec(frames(), 1..5),
        cuts in any::<[u8; 4]>(),
        broken in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = cuts.to_vec();
        for frame in &frames {
            write(frame, &mut bytes);
        }
        let at = broken.index(bytes.len());
        bytes[at] = byte;
        saber(&bytes);
    }
}
