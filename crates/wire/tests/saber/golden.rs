//! Every recorded case, frame by frame, read and written again.

use std::path::PathBuf;

use serde_json::Value;
use trunkline_wire::Limits;
use trunkline_wire::saber::{Handle, cluster_hash};

use crate::check::{Seen, read};

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "testdata/saber"].iter().collect()
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap(), 16).unwrap()
}

/// Checks one frame against what its description says.
fn compare(seen: &Seen, fields: &Value, name: &str) {
    let method = fields["method"].as_str().unwrap_or_default().as_bytes();
    let text = fields["body_text"].as_str().unwrap_or_default().as_bytes();
    let same_body = |body: &[u8]| {
        assert_eq!(body.len() as u64, fields["body_length"].as_u64().unwrap(), "{name}");
        assert!(body.starts_with(text), "{name}");
    };
    let (source, session, destination, seen_method, kind) = match seen {
        Seen::Request(source, session, destination, method, body) => {
            same_body(body);
            (source, session, destination, method, 4)
        }
        Seen::Response(source, session, destination, method, failure, body) => {
            same_body(body);
            let code = failure.as_ref().map_or(0, |(code, _)| *code);
            assert_eq!(u64::from(code), fields["error_code"].as_u64().unwrap(), "{name}");
            let text = failure.as_ref().map(|(_, text)| String::from_utf8(text.clone()).unwrap());
            let stated = fields["error_text"].as_str().unwrap_or_default();
            assert_eq!(text.unwrap_or_default(), stated, "{name}");
            (source, session, destination, method, 5)
        }
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(kind, fields["type"].as_u64().unwrap(), "{name}");
    assert_eq!(*source, hex(&fields["source"]), "{name}");
    assert_eq!(u64::from(*session), fields["session"].as_u64().unwrap(), "{name}");
    assert_eq!(*destination, hex(&fields["destination"]), "{name}");
    assert_eq!(seen_method, method, "{name}");
}

#[test]
fn every_frame_is_read_as_stated_and_written_to_the_same_bytes() {
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(folder().join("cases.json")).unwrap()).unwrap();
    let (mut count, mut passed) = (0, 0);
    for case in &cases {
        let name = case["name"].as_str().unwrap();
        for direction in ["c2s", "s2c"] {
            let bytes = std::fs::read(folder().join(format!("{name}.{direction}.bin"))).unwrap();
            let frames = case["frames"].as_array().unwrap().iter().filter(|frame| frame["dir"] == direction);
            // `read` writes every frame again and compares.
            let (seen, error) = read(&bytes, &[bytes.len()], &Limits::default());
            assert_eq!(error, None, "{name}");
            assert_eq!(read(&bytes, &[1], &Limits::default()).0, seen, "{name}");
            assert_eq!(read(&bytes, &[7, 30, 1, 2], &Limits::default()).0, seen, "{name}");
            let mut seen = seen.into_iter();
            for frame in frames {
                let fields = &frame["fields"];
                let read = seen.next().unwrap();
                if read == Seen::PassedOver {
                    let kind = fields["type"].as_u64();
                    assert!(fields["malformed"] == true || kind.is_some_and(|kind| !(4..=5).contains(&kind)));
                    passed += 1;
                    continue;
                }
                compare(&read, fields, name);
                count += 1;
            }
            // The description of a recording ends at a frame that is malformed.
            assert!(name.starts_with("raw-short") || seen.next().is_none(), "{name}");
        }
    }
    assert_eq!((cases.len(), count, passed), (40, 61, 5));
}

#[test]
fn handles_are_those_of_the_go_program() {
    let text = std::fs::read(folder().join("handles.json")).unwrap();
    let handles: serde_json::Map<String, Value> = serde_json::from_slice(&text).unwrap();
    assert_eq!(handles.len(), 4);
    for (name, stated) in handles {
        let (cluster, service) = name.split_once(' ').unwrap();
        let (service, id) = service.split_once('/').unwrap();
        let handle = Handle::new(cluster, service, id.parse().unwrap());
        assert_eq!(handle.0, hex(&stated), "{name}");
        assert_eq!(handle.cluster(), cluster_hash(cluster));
        assert_eq!(format!("{handle}"), stated.as_str().unwrap());
    }
}
