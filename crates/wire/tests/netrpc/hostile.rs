//! What no Go program would send.

use trunkline_wire::gob::{Definition, Field, Shape, builtin, write_definition};
use trunkline_wire::netrpc::NetRpc;
use trunkline_wire::{Limits, Session};

use super::common::{Seen, Stop, bytes, definition, events, head_definition, head_value, small, value};

fn server(parts: &[Vec<u8>]) -> (Vec<Seen>, Vec<u8>, Stop) {
    events(&mut NetRpc::server(&small()), &parts.concat())
}

fn closes(what: &str, parts: &[Vec<u8>]) {
    let (seen, out, stop) = server(parts);
    assert!(
        matches!(stop, Stop::Closed(_)) && out.is_empty() && seen.is_empty(),
        "{what}: {stop:?} {seen:?}"
    );
}

fn request() -> Vec<u8> {
    [head_definition(64, "Request"), head_value(64, "S.M", 1, "")].concat()
}

#[test]
fn a_head_that_is_none_ends_the_connection() {
    closes("an undefined type", &[head_value(64, "S.M", 1, "")]);
    closes("a number", &[vec![3, 4, 0, 2]]);
    closes("another struct", &[definition(64, "Args", &["A"]), value(64, &[1])]);
    closes("other types", &[definition(64, "Request", &["ServiceMethod", "Seq"]), value(64, &[1, 1])]);
    closes(
        "a name over the limit",
        &[head_definition(64, "Request"), head_value(64, &"x".repeat(300), 1, "")],
    );
    closes("bytes behind it", &[head_definition(64, "Request"), vec![5, 0xff, 0x80, 0, 1, 2]]);
    closes("a field too many", &[head_definition(64, "Request"), vec![5, 0xff, 0x80, 9, 1, 0]]);
    closes("a name that is cut", &[head_definition(64, "Request"), vec![5, 0xff, 0x80, 1, 9, 65]]);
}

#[test]
fn a_broken_definition_ends_the_connection() {
    closes("twice", &[request(), definition(70, "A", &["A"]), definition(70, "A", &["A"]), value(70, &[1])]);
    closes("of a built-in type", &[request(), definition(5, "A", &["A"]), bytes(b"x")]);
    closes("of nothing", &[request(), vec![3, 0xff, 0x8b, 0], bytes(b"x")]);
    let many: Vec<_> = (70..90).flat_map(|id| definition(id, "A", &["A"])).collect();
    closes("too many", &[request(), many.clone()]);
    closes("too many before a head", &[many]);
    closes("too long", &[request(), vec![0xfd, 1, 0, 0, 0xff, 0x8b]]);
}

#[test]
fn lengths_that_cannot_be_are_refused_before_memory_is_taken() {
    for length in [
        &[0xf8, 0x10, 0, 0, 0, 0, 0, 0, 0][..],
        &[0xf8; 9],
        &[0xf7; 12],
        &[0x80; 4],
        &[0xfc, 0xff, 0xff, 0xff, 0xff],
    ] {
        closes("of the body", &[request(), length.to_vec(), vec![5; 20]]);
        closes("of the head", &[length.to_vec(), vec![5; 20]]);
    }
    closes("no type id", &[request(), vec![0, 0, 0]]);
    closes("a type id that is cut", &[request(), vec![1, 0xf8, 1, 1, 1, 1, 1, 1, 1, 1, 1]]);
}

/// The head of another implementation: its fields in another order and more of them, as gob lets it.
#[test]
fn a_head_with_other_fields_is_understood() {
    let field = |name: &str, id| Field { name: name.into(), id };
    let fields = [
        field("Trace", builtin::BYTES),
        field("Seq", builtin::UINT),
        field("ServiceMethod", builtin::STRING),
    ];
    let mut head = vec![];
    let shape = Shape::Struct(fields.into());
    write_definition(64, &Definition { name: "".into(), shape }, |id| id, &mut head);
    head.extend([0x0d, 0xff, 0x80, 1, 2, 9, 9, 1, 7, 1, 3, b'S', b'.', b'M', 0]);
    let length = head.len();
    head[length - 15] = 14;
    let (seen, _, stop) = server(&[head, bytes(b"x")]);
    assert_eq!(stop, Stop::NeedMore(0));
    let [Seen::Call { head, .. }] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((head.id, &*head.service, &*head.method), (7, "S", "M"));
    assert!(head.repeats.is_empty(), "the answer does not begin so");
}

#[test]
fn names_are_cut_at_the_last_dot() {
    for (name, service, method) in [("a.b.c", "a.b", "c"), ("S.", "S", ""), ("..", ".", "")] {
        let (seen, _, _) =
            server(&[head_definition(64, "Request"), head_value(64, name, 0, ""), bytes(b"x")]);
        let [Seen::Call { head, .. }] = &seen[..] else { panic!("{seen:?}") };
        assert_eq!((&*head.service, &*head.method), (service, method));
    }
    for (name, text) in [
        ("", "rpc: service/method request ill-formed: "),
        ("Mul", "rpc: service/method request ill-formed: Mul"),
        (".Mul", "rpc: can't find service .Mul"),
        ("./sys/statis", "rpc: can't find service ./sys/statis"),
    ] {
        let parts = [head_definition(64, "Request"), head_value(64, name, 3, ""), bytes(b"x")];
        let (seen, out, _) = server(&parts);
        assert!(seen.is_empty());
        let (seen, _, _) = events(&mut NetRpc::client(&Limits::default()), &out);
        assert_eq!(seen, [Seen::Reply { id: 3, failure: Some(text.into()), body: vec![] }]);
        // And with a body over the limit.
        let parts =
            [head_definition(64, "Request"), head_value(64, name, 3, ""), bytes(&[1; 100]), request()];
        let (seen, out, _) = server(&parts);
        assert!(seen.is_empty() && !out.is_empty());
    }
}

/// A server that answers what was not asked, or says nothing that could be told, does no harm to a client.
#[test]
fn a_client_believes_no_server() {
    let client = |parts: &[Vec<u8>]| events(&mut NetRpc::client(&small()), &parts.concat());
    let (seen, _, stop) = client(&[head_definition(64, "Response"), head_value(64, "", 99, ""), bytes(b"x")]);
    assert_eq!((seen.len(), stop), (1, Stop::NeedMore(0)));
    for bad in
        [vec![0xf7; 10], bytes(b"x"), [head_definition(64, "Response"), definition(64, "A", &[])].concat()]
    {
        assert!(matches!(client(&[bad]).2, Stop::Closed(_)));
    }
    let (seen, _, _) = client(&[head_definition(64, "Response"), head_value(64, "", 1, ""), value(70, &[1])]);
    assert!(
        matches!(&seen[..], [Seen::Reply { id: 1, failure: Some(text), .. }] if text.starts_with("gob: "))
    );
}
