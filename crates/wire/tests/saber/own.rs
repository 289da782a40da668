//! Frames of type 6: what Trunkline nodes say to each other.

use trunkline_wire::Limits;
use trunkline_wire::saber::{Hello, Hint, write_code, write_stop};

use crate::check::{Seen, read};

fn seen(bytes: &[u8]) -> Vec<Seen> {
    let (seen, error) = read(bytes, &[1], &Limits::default());
    assert_eq!(error, None);
    assert_eq!(seen, read(bytes, &[bytes.len()], &Limits::default()).0);
    seen
}

#[test]
fn hellos_and_hints_are_read_as_they_were_written() {
    let mut out = vec![];
    Hello { asks: true, cluster: "größer" }.encode(&mut out);
    Hello { asks: false, cluster: "" }.encode(&mut out);
    Hint::write(Some(1500), [].into_iter(), &mut out);
    Hint::write(None, ["c/lobby/1", ""].into_iter(), &mut out);
    write_code(0x103, &mut out);
    write_stop(&mut out);
    let chain = vec!["c/lobby/1".to_owned(), String::new()];
    assert_eq!(
        seen(&out),
        [
            Seen::Hello(true, "größer".into()),
            Seen::Hello(false, String::new()),
            Seen::Hint(Some(1500), vec![]),
            Seen::Hint(None, chain),
            Seen::Code(0x103),
            Seen::Stop,
        ]
    );
    assert_eq!(out[4], 6);
}

#[test]
fn a_long_chain_and_long_names_are_cut() {
    let names: Vec<_> = (0..1000).map(|n| format!("{n}{}", "ö".repeat(400))).collect();
    let mut out = vec![];
    Hint::write(Some(0), names.iter().map(|name| &**name), &mut out);
    let [Seen::Hint(Some(0), chain)] = &*seen(&out) else { panic!() };
    assert_eq!(chain.len(), 64);
    assert_eq!(chain.last().unwrap(), &format!("999{}", "ö".repeat(298)));
}

#[test]
fn broken_ones_are_passed_over_and_longer_ones_understood() {
    let mut good = vec![];
    Hint::write(Some(5), ["c/lobby/1"].into_iter(), &mut good);
    let body = &good[5..];
    for end in 0..body.len() {
        let mut frame = u32::try_from(end + 1).unwrap().to_be_bytes().to_vec();
        frame.push(6);
        frame.extend_from_slice(&body[..end]);
        assert_eq!(seen(&frame), [Seen::PassedOver], "{end}");
    }
    let mut later = good.clone();
    later.extend_from_slice(b"more");
    later[3] += 4;
    assert_eq!(seen(&later), seen(&good));
    // No text, a kind of a later version, a count that is not true, too long.
    assert_eq!(seen(&[0, 0, 0, 5, 6, 1, 1, 1, 0xff]), [Seen::PassedOver]);
    assert_eq!(seen(&[0, 0, 0, 3, 6, 9, 1]), [Seen::PassedOver]);
    assert_eq!(seen(&[0, 0, 0, 7, 6, 2, 0, 0, 0, 0, 0xff]), [Seen::PassedOver]);
    let mut long = vec![0, 1, 0, 1, 6, 1];
    long.resize(5 + 65536, 0);
    assert_eq!(seen(&long), [Seen::PassedOver]);
}
