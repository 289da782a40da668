//! Generated messages: what one session writes, the other one reads.

use proptest::collection::vec;
use proptest::prelude::*;
use trunkline_wire::iip::{Frame, Iip, bare, metadata};
use trunkline_wire::{CallFrame, Failure, Limits, Metadata, ReplyFrame, Session};

use super::common::{Seen, call, calls, good};
use super::pair::Wires;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn pairs() -> impl Strategy<Value = Metadata> {
    vec((bytes(12), bytes(40)), 0..5).prop_map(|pairs| {
        let add = |all: trunkline_wire::MetadataBuilder, (key, value): &(Vec<u8>, Vec<u8>)| {
            all.with_bytes(key, value)
        };
        pairs.iter().fold(Metadata::builder(), add).build()
    })
}

/// Service and method, or a plain path with a query or without.
fn names() -> impl Strategy<Value = (String, String)> {
    let name = "[^/?\\x00-\\x1f\\x7f]{1,20}";
    prop_oneof![
        (name, name).prop_map(|(service, method)| (service, method)),
        "(/[^/?\\x00-\\x1f\\x7f]{0,8}){1,4}(\\?[a-c=&%]{1,10})?".prop_map(|path| (String::new(), path)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn frames(status in 0u8..8, path in "/[^\\x00]{0,60}", channel: u32, data in vec(any::<u8>(), 1..300)) {
        let limits = Limits::default();
        let frame = Frame { status, path: path.as_bytes(), channel, data: &data };
        let mut out = vec![1, 2, 3];
        frame.encode(&limits, &mut out).unwrap();
        prop_assert_eq!(frame.length(), out.len() - 3);
        prop_assert_eq!(Frame::decode(&out[3..], &limits), Ok(Some(frame)));
        for end in 3..out.len() {
            prop_assert_eq!(Frame::decode(&out[3..end], &limits), Ok(None));
        }
    }

    #[test]
    fn calls_and_replies(
        (service, method) in names(),
        sent in pairs(),
        extra in vec(("[a-z]{1,5}", "[0-9]{0,5}"), 0..3),
        body in bytes(100),
        answer in bytes(100),
        back in pairs(),
        failure in proptest::option::of((".{0,40}", any::<u16>(), proptest::option::of(bytes(50)))),
    ) {
        let limits = Limits::default();
        let mut wires = Wires::new(2, true, &limits);
        let extra: Vec<_> = extra.iter().map(|(key, value)| (&**key, &**value)).collect();
        let frame = CallFrame {
            metadata: sent.pairs(),
            extra: &extra,
            ..call(77, &service, &method, &body)
        };
        wires.client.call(&frame, &mut wires.up).unwrap();
        let seen = wires.at_server();
        let Seen::Call { body: got, end: true, .. } = &seen[0] else { panic!("{seen:?}") };
        prop_assert_eq!(got, &body);
        let head = calls(&seen).remove(0);
        let (path, _) = method.split_once('?').unwrap_or((&method, ""));
        let two = service.is_empty() && path.matches('/').count() == 2 && !path.contains("//") && !path.ends_with('/');
        if two {
            prop_assert_eq!([&b"/"[..], &head.service, b"/", &head.method].concat(), path.as_bytes());
        } else {
            prop_assert_eq!((&head.service[..], &head.method[..]), (service.as_bytes(), path.as_bytes()));
        }
        let whole = extra.iter().fold(Metadata::builder(), |all, (key, value)| all.with(key, value));
        prop_assert_eq!(metadata(&head.uri, &limits).unwrap(), whole.with_all(sent.pairs()).build());
        let uri = if service.is_empty() { method.clone() } else { format!("/{service}/{method}") };
        if !uri.contains("?&") && !uri.contains("&&") && !uri.contains('=') && !uri.ends_with(['?', '&']) {
            let own = bare(&head.uri).into_owned();
            prop_assert_eq!(String::from_utf8(own).unwrap(), uri);
        }

        let failed = failure.as_ref().map(|(text, code, details)| Failure {
            message: text.as_bytes(),
            code: Some(*code),
            details: details.as_deref(),
        });
        let reply = ReplyFrame { failure: failed, metadata: back.pairs(), ..good(&answer) };
        wires.server.reply(&head.call(), &reply, &mut wires.down).unwrap();
        let seen = wires.at_client();
        let Seen::Reply { id: 77, failure: got, uri, body, end: true } = &seen[0] else { panic!("{seen:?}") };
        let told = metadata(uri, &limits).unwrap();
        match &failure {
            None => {
                prop_assert_eq!((got, body, told), (&None, &answer, back));
            }
            Some((text, code, details)) => {
                let text = if *code == 0x103 { "handle error" } else { text };
                prop_assert_eq!(got, &Some((text.as_bytes().to_vec(), Some(*code))));
                prop_assert_eq!(told.pairs().get_bytes(b"__trunkline_details"), details.as_deref());
                prop_assert_eq!(told.get("__trunkline_code"), Some(&*code.to_string()));
            }
        }
    }

    /// Bytes that chance makes neither panic nor spin, at either side.
    #[test]
    fn any_bytes(data in bytes(300), server: bool) {
        let mut session = if server { Iip::server(&super::common::small()) } else { super::pair::ready(2, &super::common::small()) };
        super::common::events(&mut session, &data);
    }
}
