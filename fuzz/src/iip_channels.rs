//! What must hold for the table of channels of an IIP server, against a model of it. Used by the fuzz target and by the
//! replay of its corpus.
#![allow(clippy::unwrap_used, reason = "a check fails loudly")]

use std::collections::{BTreeMap, VecDeque};

use trunkline_wire::iip::Iip;
use trunkline_wire::{Compression, Event, Limits, Next, Pairs, ReplyFrame, Session};

use super::iip::{Open, Script};

/// A channel as it has to be: for each request in order its path, and its answer where it is there.
#[derive(Default)]
struct Modelled {
    turns: VecDeque<(u64, &'static str, Option<Vec<u8>>)>,
    deleted: bool,
    /// A streamed request has begun.
    within: bool,
    numbers: u64,
}

/// The whole table as it has to be.
struct Model {
    channels: BTreeMap<u32, Modelled>,
    free: Vec<u32>,
    next: u32,
}

impl Model {
    fn granted(&mut self, most: u32) -> Option<u32> {
        if u32::try_from(self.channels.keys().filter(|id| **id != 0).count()).unwrap() >= most {
            return None;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.channels.insert(id, Modelled::default());
        Some(id)
    }

    /// What is written now on a channel.
    fn flush(&mut self, id: u32, out: &mut Vec<u8>) {
        let Some(channel) = self.channels.get_mut(&id) else { return };
        while let Some((_, path, Some(data))) = channel.turns.front() {
            out.push(5);
            out.extend_from_slice(path.as_bytes());
            out.push(0);
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
            out.extend_from_slice(data);
            let deleted = *path == "/sys/delete_channel";
            channel.turns.pop_front();
            if deleted {
                self.channels.remove(&id);
                if id != 0 {
                    self.free.push(id);
                }
                return;
            }
        }
    }
}

/// Any list of operations on the table of channels, against a model: which ids are granted, which frames are refused,
/// and in which order everything is answered, to the byte.
pub(crate) fn iip_channels(data: &[u8]) {
    let mut limits = Limits::default();
    limits.channels = 4;
    let mut session = Iip::server(&limits);
    let mut model = Model { channels: BTreeMap::from([(0, Modelled::default())]), free: vec![], next: 1 };
    let mut script = Script(data);
    while let Some(what) = script.byte() {
        let (mut out, mut expected) = (vec![], vec![]);
        if what % 8 >= 5 {
            answer_one(&mut session, &mut model, &mut script, what % 8 == 7, &mut out, &mut expected);
            assert_eq!(out, expected);
            continue;
        }
        let id = u32::from(script.byte().unwrap_or(0) % 6);
        let (path, status) = match what % 8 {
            0 => ("/sys/new_channel", 1),
            1 => ("/sys/delete_channel", 1),
            2 => ("/S/M", 1),
            3 => ("/stream", 0),
            _ => ("/stream", 3),
        };
        let frame = [&[status], path.as_bytes(), &[0], &id.to_be_bytes(), &[0, 0, 0, 1, b'x']].concat();
        let received = session.receive(&frame, &mut out);
        let good = model.channels.get(&id).is_some_and(|at| !at.deleted && at.within == (status == 3));
        let Ok(step) = received else {
            assert!(!good, "a good frame is refused");
            return;
        };
        assert!(good && step.consumed == frame.len(), "a frame is taken that breaks a rule");
        if status == 3 {
            model.channels.get_mut(&id).unwrap().within = false;
            assert!(matches!(step.next, Next::Event(Event::Data { end: true, .. })));
        } else {
            let answer = match path {
                "/sys/new_channel" => Some(match model.granted(limits.channels) {
                    Some(id) => format!(r#"{{"code":0,"channel_id":{id}}}"#),
                    None => r#"{"code":106,"message":"channel create limited"}"#.to_owned(),
                }),
                "/sys/delete_channel" => Some(r#"{"code":0}"#.to_owned()),
                _ => None,
            };
            let channel = model.channels.get_mut(&id).unwrap();
            channel.numbers += 1;
            channel.within = status == 0;
            channel.deleted = path == "/sys/delete_channel";
            let call = u64::from(id) << 32 | channel.numbers;
            let is_call = matches!(step.next, Next::Event(Event::Call { head, .. }) if head.id == call);
            assert_eq!(is_call, answer.is_none());
            channel.turns.push_back((call, path, answer.map(String::into_bytes)));
        }
        model.flush(id, &mut expected);
        assert_eq!(out, expected);
        let turns: usize = model.channels.values().map(|channel| channel.turns.len()).sum();
        assert_eq!(session.in_flight(), turns);
        assert!(session.channels().map(|(id, ..)| id).eq(model.channels.keys().copied()));
    }
}

/// One call of those that wait is answered, or forgotten.
fn answer_one(
    session: &mut Iip,
    model: &mut Model,
    script: &mut Script<'_>,
    forget: bool,
    out: &mut Vec<u8>,
    expected: &mut Vec<u8>,
) {
    let waiting = model.channels.iter().flat_map(|(id, channel)| {
        channel
            .turns
            .iter()
            .filter(|(.., answer)| answer.is_none())
            .map(move |(call, path, _)| (*id, *call, *path))
    });
    let waiting: Vec<_> = waiting.collect();
    let Some(at) = script.number().checked_rem(waiting.len()) else { return };
    let (channel, call, path) = waiting[at];
    assert_eq!(session.may_write(call), model.channels[&channel].turns[0].0 == call);
    let data = if forget {
        session.forget(call, out);
        br#"{"code":101,"message":"handle no response"}"#.to_vec()
    } else {
        let open = Open { id: call, service: vec![], method: path.as_bytes().to_vec(), begun: false };
        let body = call.to_string().into_bytes();
        let (metadata, compression) = (Pairs::empty(), Compression::None);
        let reply = ReplyFrame { failure: None, metadata, compression, body: &body, end: true };
        session.reply(&open.head(), &reply, out).unwrap();
        body
    };
    let turns = &mut model.channels.get_mut(&channel).unwrap().turns;
    turns.iter_mut().find(|(other, ..)| *other == call).unwrap().2 = Some(data);
    model.flush(channel, expected);
}
