//! A client session and a server session that talk to each other: the k-th request of a channel gets the k-th answer,
//! whatever ends when.

use std::collections::BTreeMap;

use proptest::prelude::*;
use trunkline_wire::iip::Iip;
use trunkline_wire::{CallFrame, Failure, Limits, ReplyFrame, Session};

use super::common::{Head, Seen, Stop, call, events, feed, frame, frames, good};

/// A client whose channels are granted by a Go server.
pub(crate) fn ready(channels: u32, limits: &Limits) -> Iip {
    let mut limits = limits.clone();
    limits.client_channels = channels;
    let mut client = Iip::client(&limits);
    client.greet(&mut vec![]);
    let mut answers = frame(5, "/sys/trunkline", 0, r#"{"code":102,"message":"handle error"}"#);
    for id in 1..=channels {
        answers.extend(frame(5, "/sys/new_channel", 0, format!(r#"{{"code":0,"channel_id":{id}}}"#)));
    }
    let (seen, ..) = events(&mut client, &answers);
    assert_eq!(seen, [Seen::Pong]);
    client
}

/// Two sessions and the bytes under way between them.
pub(crate) struct Wires {
    pub(crate) client: Iip,
    pub(crate) server: Iip,
    pub(crate) up: Vec<u8>,
    pub(crate) down: Vec<u8>,
}

impl Wires {
    /// Greeted and answered, by Trunkline or by somebody who does not know it.
    pub(crate) fn new(channels: u32, trunkline: bool, limits: &Limits) -> Self {
        if !trunkline {
            let mut server = Iip::server(limits);
            for _ in 0..channels {
                events(&mut server, &frame(1, "/sys/new_channel", 0, "{}"));
            }
            return Self { client: ready(channels, limits), server, up: vec![], down: vec![] };
        }
        let mut limits = limits.clone();
        limits.client_channels = channels;
        let mut wires =
            Self { client: Iip::client(&limits), server: Iip::server(&limits), up: vec![], down: vec![] };
        wires.client.greet(&mut wires.up);
        assert_eq!(wires.at_server(), []);
        assert_eq!(wires.at_client(), [Seen::Pong]);
        assert!(wires.client.peer_is_trunkline() && wires.server.peer_is_trunkline());
        wires
    }

    pub(crate) fn at_server(&mut self) -> Vec<Seen> {
        let mut seen = vec![];
        let stop = feed(&mut self.server, &mut self.up, &mut self.down, &mut seen);
        assert!(matches!(stop, Stop::NeedMore(0)), "{stop:?}");
        seen
    }

    pub(crate) fn at_client(&mut self) -> Vec<Seen> {
        let mut seen = vec![];
        let stop = feed(&mut self.client, &mut self.down, &mut self.up, &mut seen);
        assert!(matches!(stop, Stop::NeedMore(0)), "{stop:?}");
        seen
    }
}

/// A call as the server has it.
struct Open {
    head: Head,
    /// The client's id, which the body says.
    asked: u64,
    /// Frames of a streamed answer that were written.
    frames: usize,
    ended: bool,
}

/// What the client knows of a call.
#[derive(Default)]
struct Asked {
    /// Frames of a streamed request that are to come.
    left: usize,
    given_up: bool,
    answer: String,
    done: bool,
}

struct World {
    wires: Wires,
    trunkline: bool,
    asked: BTreeMap<u64, Asked>,
    open: Vec<Open>,
    /// The calls of each channel, in the order in which the server saw them.
    order: BTreeMap<u64, Vec<u64>>,
    /// All that the server has written.
    written: Vec<u8>,
    /// What has arrived of both directions.
    at_server: Vec<u8>,
    at_client: Vec<u8>,
}

impl World {
    fn new(channels: u32, trunkline: bool, limits: &Limits) -> Self {
        Self {
            wires: Wires::new(channels, trunkline, limits),
            trunkline,
            asked: BTreeMap::new(),
            open: vec![],
            order: BTreeMap::new(),
            written: vec![],
            at_server: vec![],
            at_client: vec![],
        }
    }

    fn call(&mut self, frames: usize) {
        let id = self.asked.len() as u64;
        let body = format!("c{id}");
        // A stream whose first frame is not there yet, and one whose is.
        let begins = frames == 0 || id.is_multiple_of(2);
        let path = format!("/m?{id}");
        let frame =
            CallFrame { end: frames == 0, ..call(id, "", &path, if begins { body.as_bytes() } else { b"" }) };
        self.wires.client.call(&frame, &mut self.wires.up).unwrap();
        self.asked.insert(id, Asked { left: frames, ..Asked::default() });
    }

    /// One more frame of a streamed request whose turn it is. Whether there was one.
    fn more(&mut self, pick: usize) -> bool {
        let can = |(id, asked): &(&u64, &Asked)| {
            asked.left > 0 && !asked.given_up && self.wires.client.may_write(**id)
        };
        let ids: Vec<_> = self.asked.iter().filter(can).map(|(id, _)| *id).collect();
        let Some(id) = ids.get(pick % ids.len().max(1)).copied() else { return false };
        let asked = self.asked.get_mut(&id).unwrap();
        asked.left -= 1;
        let body = format!("c{id}");
        self.wires.client.data(id, body.as_bytes(), asked.left == 0, &mut self.wires.up).unwrap();
        true
    }

    fn give_up(&mut self, pick: usize, cancel: bool) {
        let waiting = |(_, asked): &(&u64, &Asked)| !asked.given_up && !asked.done;
        let ids: Vec<_> = self.asked.iter().filter(waiting).map(|(id, _)| *id).collect();
        let Some(id) = ids.get(pick % ids.len().max(1)).copied() else { return };
        self.asked.get_mut(&id).unwrap().given_up = true;
        if cancel {
            self.wires.client.cancel(id, &mut self.wires.up);
        } else {
            self.wires.client.forget(id, &mut self.wires.up);
        }
    }

    fn deliver_up(&mut self, most: usize) {
        let n = most.min(self.wires.up.len());
        self.at_server.extend(self.wires.up.drain(..n));
        let (mut seen, mut out) = (vec![], vec![]);
        let stop = feed(&mut self.wires.server, &mut self.at_server, &mut out, &mut seen);
        assert!(matches!(stop, Stop::NeedMore(_) | Stop::Blocked), "{stop:?}");
        for seen in seen {
            match seen {
                Seen::Call { head, body, .. } => {
                    let text = std::str::from_utf8(&head.uri).unwrap();
                    let digits = text.strip_prefix("/m?").unwrap().split('&').next().unwrap();
                    let asked = digits.parse().unwrap();
                    assert!(body.is_empty() || body == format!("c{asked}").into_bytes());
                    self.order.entry(head.place().0).or_default().push(asked);
                    self.open.push(Open { head, asked, frames: 0, ended: false });
                }
                Seen::Data { .. } => {}
                Seen::Cancel(id) => {
                    assert!(self.trunkline);
                    self.wires.server.forget(id, &mut out);
                    self.open.retain(|open| open.head.id != id);
                }
                other => panic!("{other:?}"),
            }
        }
        self.write(&out);
    }

    fn write(&mut self, out: &[u8]) {
        self.written.extend_from_slice(out);
        self.wires.down.extend_from_slice(out);
    }

    /// Answers whole, as a failure, in place, not at all, or one more frame of a stream.
    fn answer(&mut self, pick: usize, how: u8) {
        let Some(at) = pick.checked_rem(self.open.len()) else { return };
        let open = &mut self.open[at];
        let (mut out, server) = (vec![], &mut self.wires.server);
        let text = format!("r{}", open.asked);
        let to = open.head.call();
        match how % 6 {
            _ if open.frames > 0 => {
                if server.may_write(to.id) {
                    open.ended = how.is_multiple_of(2);
                    server.data(to.id, text.as_bytes(), open.ended, &mut out).unwrap();
                }
            }
            0 => {
                let failure = Some(Failure::text(text.as_bytes()));
                server.reply(&to, &ReplyFrame { failure, ..good(b"") }, &mut out).unwrap();
                open.ended = true;
            }
            1 if server.may_write(to.id) => {
                let mark = server.begin(&to, &mut out).unwrap();
                out.extend_from_slice(text.as_bytes());
                server.finish(mark, &mut out);
                open.ended = true;
            }
            2 if server.may_write(to.id) => {
                server.reply(&to, &ReplyFrame { end: false, ..good(text.as_bytes()) }, &mut out).unwrap();
                open.frames += 1;
            }
            _ => {
                server.reply(&to, &good(text.as_bytes()), &mut out).unwrap();
                open.ended = true;
            }
        }
        self.open.retain(|open| !open.ended);
        self.write(&out);
    }

    fn deliver_down(&mut self, most: usize) {
        let n = most.min(self.wires.down.len());
        self.at_client.extend(self.wires.down.drain(..n));
        let mut seen = vec![];
        let stop = feed(&mut self.wires.client, &mut self.at_client, &mut self.wires.up, &mut seen);
        assert!(matches!(stop, Stop::NeedMore(_)), "{stop:?}");
        for seen in seen {
            let (id, body, end) = match seen {
                Seen::Pong | Seen::Draining | Seen::Reply { id: u64::MAX, .. } => continue,
                Seen::Reply { id, failure: Some((text, _)), .. } => (id, text, true),
                Seen::Reply { id, body, end, .. } | Seen::Data { id, body, end } => (id, body, end),
                other => panic!("{other:?}"),
            };
            let asked = self.asked.get_mut(&id).unwrap();
            assert!(!asked.given_up && !asked.done, "nobody waits for {id}");
            asked.answer.push_str(std::str::from_utf8(&body).unwrap());
            asked.done = end;
        }
    }

    /// Everything is sent, answered and delivered.
    fn finish(&mut self) {
        for round in 0..10_000 {
            while self.more(0) {}
            self.deliver_up(usize::MAX);
            for at in (0..self.open.len()).rev() {
                self.answer(at, 4);
            }
            self.deliver_down(usize::MAX);
            let quiet = self.wires.up.is_empty() && self.wires.down.is_empty() && self.open.is_empty();
            if quiet && self.asked.values().all(|asked| asked.done || asked.given_up) {
                return;
            }
            assert!(round < 9_999, "it does not come to an end");
        }
    }

    fn check(&self) {
        for (id, asked) in &self.asked {
            let text = format!("r{id}");
            let whole = !asked.answer.is_empty() && asked.answer.replace(&text, "").is_empty();
            assert!(asked.given_up || asked.done && whole, "{id}: {}", asked.answer);
        }
        // On each channel one answer for each request, in its order.
        let mut answers = BTreeMap::<u64, Vec<String>>::new();
        for (status, _, channel, data) in frames(&self.written) {
            let all = answers.entry(channel.into()).or_default();
            if status & 2 == 0 {
                all.push(String::from_utf8(data).unwrap());
            }
        }
        for (channel, calls) in &self.order {
            let answers = &answers[channel];
            assert_eq!(answers.len(), calls.len());
            for (call, answer) in calls.iter().zip(answers) {
                let good = answer == &format!("r{call}") || answer.contains(&format!("fail:r{call}\""));
                assert!(good || self.asked[call].given_up && answer.contains("101"), "{call}: {answer}");
            }
        }
        assert_eq!(self.wires.server.in_flight(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn p8_the_kth_request_gets_the_kth_answer(
        trunkline: bool,
        channels in 1u32..5,
        most in 1usize..8,
        script in proptest::collection::vec((0u8..14, any::<u8>(), any::<u8>()), 0..160),
    ) {
        let mut limits = Limits::default();
        limits.calls = most;
        let mut world = World::new(channels, trunkline, &limits);
        for (what, a, b) in script {
            let pick = usize::from(a);
            match what {
                0..=2 => world.call(0),
                3 => world.call(1 + pick % 4),
                4 => { world.more(pick); }
                5..=6 => world.deliver_up(usize::from(b)),
                7..=8 => world.deliver_down(usize::from(b)),
                9..=11 => world.answer(pick, b),
                12 => world.give_up(pick, true),
                _ => world.give_up(pick, b > 127),
            }
        }
        world.finish();
        world.check();
    }
}

#[test]
fn calls_that_come_before_channels_wait_for_them_and_spread() {
    let mut limits = Limits::default();
    limits.client_channels = 4;
    let (mut client, mut server) = (Iip::client(&limits), Iip::server(&limits));
    let (mut up, mut down) = (vec![], vec![]);
    client.greet(&mut up);
    let greeting = up.len();
    for id in 0..8 {
        client.call(&call(id, "S", "M", b"x"), &mut up).unwrap();
    }
    assert_eq!(up.len(), greeting);
    assert!(!client.cancel(3, &mut up), "nothing of it was written");
    feed(&mut server, &mut up, &mut down, &mut vec![]);
    // No call goes out before all of the channels are known.
    let (last, mut seen) = (down.split_off(down.len() - 10), vec![]);
    feed(&mut client, &mut down, &mut up, &mut seen);
    assert!(up.is_empty());
    down.extend(last);
    feed(&mut client, &mut down, &mut up, &mut seen);
    let channels: Vec<_> = frames(&up).iter().map(|frame| (frame.1.clone(), frame.2)).collect();
    let expected = [1, 2, 3, 4, 1, 2, 3].map(|channel| ("/S/M".to_owned(), channel));
    assert_eq!((channels, seen), (expected.to_vec(), vec![Seen::Pong]));
}

#[test]
fn where_no_channel_is_granted_channel_0_is_used() {
    let mut limits = Limits::default();
    limits.channels = 0;
    let mut wires = Wires::new(3, true, &limits);
    for id in 0..3 {
        wires.client.call(&call(id, "", "/x", b"x"), &mut wires.up).unwrap();
    }
    let seen = wires.at_server();
    let calls = super::common::calls(&seen);
    assert_eq!(calls.iter().map(|head| head.place().0).collect::<Vec<_>>(), [0, 0, 0]);
    // A heartbeat among them is told from the calls by its path.
    assert!(wires.client.ping(&mut wires.up));
    assert_eq!(wires.at_server(), []);
    assert!(!wires.client.cancel(1, &mut wires.up), "its number is not known for sure");
    for head in calls.iter().rev() {
        wires.server.reply(&head.call(), &good(b"y"), &mut wires.down).unwrap();
    }
    let seen = wires.at_client();
    assert!(
        matches!(
            &seen[..],
            [
                Seen::Reply { id: 0, .. },
                Seen::Reply { id: u64::MAX, .. },
                Seen::Reply { id: 2, .. },
                Seen::Pong
            ]
        ),
        "{seen:?}"
    );
}

/// Channels that the server has under other ids, and fewer than were asked for.
#[test]
fn the_granted_ids_are_used() {
    let mut limits = Limits::default();
    limits.client_channels = 3;
    let mut client = Iip::client(&limits);
    client.greet(&mut vec![]);
    let grant = |id: u32| frame(5, "/sys/new_channel", 0, format!(r#"{{"code":0,"channel_id":{id}}}"#));
    let hello = frame(5, "/sys/trunkline", 0, r#"{"code":102,"message":"handle error"}"#);
    let refused = frame(5, "/sys/new_channel", 0, r#"{"code":106,"message":"channel create limited"}"#);
    let (_, mut out, _) = events(&mut client, &[hello, grant(7), refused, grant(4_000_000_000)].concat());
    for id in 0..3 {
        client.call(&call(id, "", "/x", b"x"), &mut out).unwrap();
    }
    assert_eq!(frames(&out).iter().map(|frame| frame.2).collect::<Vec<_>>(), [7, 4_000_000_000, 7]);
    // One that is there cannot be granted again, nor channel 0.
    for id in [0, 2] {
        let mut limits = Limits::default();
        limits.client_channels = 3;
        let mut client = Iip::client(&limits);
        client.greet(&mut vec![]);
        let (_, _, stop) = events(&mut client, &[grant(2), grant(id)].concat());
        assert!(matches!(stop, Stop::Closed(_)), "{stop:?}");
    }
}

#[test]
fn one_way_calls_are_answered_to_nobody() {
    for trunkline in [true, false] {
        let mut wires = Wires::new(1, trunkline, &Limits::default());
        for id in 0..3 {
            let frame = CallFrame { one_way: id == 1, ..call(id, "", "/x", b"x") };
            wires.client.call(&frame, &mut wires.up).unwrap();
        }
        for head in super::common::calls(&wires.at_server()) {
            wires.server.reply(&head.call(), &good(b"y"), &mut wires.down).unwrap();
        }
        let seen = wires.at_client();
        assert!(matches!(&seen[..], [Seen::Reply { id: 0, .. }, Seen::Reply { id: 2, .. }]), "{seen:?}");
    }
}

#[test]
fn notices_go_to_trunkline_peers_only() {
    let mut wires = Wires::new(1, true, &Limits::default());
    assert!(!wires.server.ping(&mut wires.down), "nobody answers it");
    assert!(wires.server.drain(&mut wires.down));
    assert_eq!(wires.at_client(), [Seen::Draining]);
    let mut wires = Wires::new(1, false, &Limits::default());
    assert!(!wires.server.ping(&mut wires.down) && !wires.server.drain(&mut wires.down));
    assert!(wires.down.is_empty());
    assert!(wires.client.ping(&mut wires.up));
    let (seen, _, _) =
        events(&mut wires.client, &frame(5, "/sys/trunkline", 0, r#"{"code":102,"message":"handle error"}"#));
    assert_eq!(seen, [Seen::Pong], "any answer is one");
    // What looks like a notice is no request of a server that is not known.
    let (_, _, stop) = events(&mut wires.client, &frame(1, "/sys/trunkline?drain", 0, "{}"));
    assert!(matches!(stop, Stop::Closed(_)));
}

#[test]
fn a_role_does_only_its_own() {
    let limits = Limits::default();
    let (mut client, mut server, mut out) = (ready(1, &limits), Iip::server(&limits), vec![]);
    let head = Head { id: 1, method: b"/x".to_vec(), ..Head::default() };
    assert!(client.reply(&head.call(), &good(b"x"), &mut out).is_err());
    assert!(client.begin(&head.call(), &mut out).is_none());
    assert!(server.call(&call(1, "", "/x", b"x"), &mut out).is_err());
    assert!(!server.cancel(1, &mut out) && !client.drain(&mut out) && !client.hold(1));
    assert!(out.is_empty() && client.held().is_none() && client.in_flight() == 0);
}
