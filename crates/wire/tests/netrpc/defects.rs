//! Defects of the Go programs, by id, as far as the session decides them.

use trunkline_wire::gob::{Definition, Shape, write_definition};
use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{Limits, Session};

use super::common::{Seen, Stop, bytes, events, head_definition, head_value};

/// Z7: Go takes messages up to 8 GiB, and types nested without end.
#[test]
fn z7_sizes_and_types_have_limits() {
    let request = [head_definition(64, "Request"), head_value(64, "S.M", 1, "")].concat();
    let close = |tail: &[u8]| {
        let (seen, _, stop) = events(&mut NetRpc::server(&Limits::default()), &[&request, tail].concat());
        assert!(seen.is_empty());
        matches!(stop, Stop::Closed(_))
    };
    // 1 GiB, 8 GiB, 2^60.
    for length in [&[0xfc, 0x40, 0, 0, 0][..], &[0xfb, 2, 0, 0, 0, 0], &[0xf8, 0x10, 0, 0, 0, 0, 0, 0, 0]] {
        assert!(close(&[length, &[0x0a, 0]].concat()));
    }
    // [][][]…[]int, 300 deep: more than one value may need. Its call fails, and no other.
    let mut deep = vec![];
    for id in 100..400 {
        let shape = Shape::Slice { element: id + 1 };
        write_definition(id, &Definition { name: "".into(), shape }, |id| id, &mut deep);
    }
    deep.extend([4, 0xff, 0xc8, 0, 0]);
    deep.extend(head_value(64, "S.M", 2, ""));
    deep.extend(bytes(b"x"));
    let (seen, out, stop) = events(&mut NetRpc::server(&Limits::default()), &[&request[..], &deep].concat());
    assert!(matches!(&seen[..], [Seen::Call { head, .. }] if head.id == 2), "{seen:?}");
    assert_eq!(stop, Stop::NeedMore(0));
    let (seen, _, _) = events(&mut NetRpc::client(&Limits::default()), &out);
    assert!(
        matches!(&seen[..], [Seen::Reply { id: 1, failure: Some(text), .. }] if text.starts_with("gob: "))
    );
}
