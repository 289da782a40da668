//! Heartbeats, and what Trunkline peers say to each other in them.
//!
//! A Go peer echoes every heartbeat, so the question `__trunkline` = `1` costs nothing there: its answer comes
//! back as it was. Only a Trunkline server answers `2`, and only after that do the two use more.

use super::frame::Head;
use super::header::{FLAGS_AT, HEARTBEAT, Header, ONE_WAY, RESPONSE, serialization_bits};
use super::session::Rpcx;
use super::{encode, keys};
use crate::role::Role;
use crate::{Event, Limits, Next, Pairs, Serialization};

/// A MessagePack int64, as rpcx sends the time in nanoseconds. Nothing here reads a clock.
const PAYLOAD: [u8; 9] = [0xd3, 0, 0, 0, 0, 0, 0, 0, 0];

/// How many cancelled calls are kept till it is known whether the server understands a cancel.
const UNSAID: usize = 1024;

impl Rpcx {
    /// Appends a heartbeat; the first of a client asks whether the peer is Trunkline.
    pub(super) fn heartbeat(&mut self, out: &mut Vec<u8>) {
        let ask = self.role == Role::Client && !self.asked;
        self.asked = true;
        let seq = self.take_seq();
        write(HEARTBEAT, seq, ask.then_some((keys::TRUNKLINE, "1")), &PAYLOAD, out);
    }

    /// A heartbeat frame came. `frame` is the whole of it.
    pub(super) fn heard<'a>(
        &mut self,
        head: &Head<'a>,
        metadata: Pairs<'a>,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Next<'a> {
        let header = &head.header;
        if header.is_response() {
            if self.role == Role::Client {
                self.answered(metadata.get_bytes(keys::TRUNKLINE.as_bytes()), out);
            }
            return Next::Event(Event::Pong);
        }
        if self.trunkline && header.is_one_way() {
            if self.role == Role::Server && metadata.get_bytes(keys::CANCEL.as_bytes()).is_some() {
                return Next::Event(Event::Cancel { id: header.seq });
            }
            if self.role == Role::Client && metadata.get_bytes(keys::DRAIN.as_bytes()).is_some() {
                return Next::Event(Event::Draining);
            }
        }
        let start = out.len();
        out.extend_from_slice(frame);
        encode::patch(out, start.saturating_add(FLAGS_AT), &[header.flags | RESPONSE]);
        if self.role == Role::Server && metadata.get_bytes(keys::TRUNKLINE.as_bytes()) == Some(b"1") {
            self.trunkline = true;
            if let Some(at) = head.value_at(metadata, keys::TRUNKLINE) {
                encode::patch(out, start.saturating_add(at), b"2");
            }
        }
        Next::Again
    }

    /// The server answered a heartbeat. Where that says what it is, the calls that ended before are told it or, at
    /// a Go server, forgotten.
    fn answered(&mut self, says: Option<&[u8]>, out: &mut Vec<u8>) {
        if says.is_none() {
            return;
        }
        self.trunkline |= says == Some(b"2");
        let unsaid = self.client.as_mut().and_then(|client| client.unsaid.take());
        for id in unsaid.into_iter().flatten() {
            self.encode_cancel(id, out);
        }
    }

    /// Tells the server that nobody waits for the call. Before it is known what the server is, the id is kept, up
    /// to [`UNSAID`] of them; further calls run there to their end.
    pub(super) fn encode_cancel(&mut self, id: u64, out: &mut Vec<u8>) -> bool {
        let understood = self.role == Role::Client && self.trunkline;
        let unsaid = self.client.as_mut().and_then(|client| client.unsaid.as_mut());
        if understood {
            write(HEARTBEAT | ONE_WAY, id, Some((keys::CANCEL, "")), &[], out);
        } else if let Some(unsaid) = unsaid.filter(|unsaid| unsaid.len() < UNSAID) {
            unsaid.push(id);
        }
        understood
    }

    pub(super) fn encode_drain(&mut self, out: &mut Vec<u8>) -> bool {
        let understood = self.role == Role::Server && self.trunkline;
        if understood {
            write(HEARTBEAT | ONE_WAY, 0, Some((keys::DRAIN, "")), &[], out);
        }
        understood
    }
}

/// Appends a heartbeat frame. It is small and of this file's making, so the user's limits do not apply.
fn write(flags: u8, seq: u64, pair: Option<(&str, &str)>, body: &[u8], out: &mut Vec<u8>) {
    let format = serialization_bits(Serialization::MessagePack).unwrap_or_default();
    let parts = encode::Parts {
        header: Header { version: 0, flags, format, seq, total: 0 },
        service: b"",
        method: b"",
        metadata: Pairs::empty(),
        body: body.len(),
    };
    let pairs = pair.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
    let written = encode::head(&parts, pairs, &Limits::default(), out);
    debug_assert!(written.is_ok());
    out.extend_from_slice(body);
}
