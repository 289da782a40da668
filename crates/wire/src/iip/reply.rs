//! Writes answers, each when it is its turn.

use super::channel::{Table, parts};
use super::frame::write;
use super::server::Server;
use super::turn::Turn;
use super::{ANSWER, MOST_DATA, NO_DATA, body_limit, json, path, status, too_large, unsupported, wide};
use crate::metadata::append_pair;
use crate::rpcx::keys;
use crate::{CallHead, Compression, Failure, Limits, Mark, Pairs, ReplyFrame, WireError};

/// What our status is of a name that nobody has, where the call was surely not begun.
pub(super) const NOT_FOUND: u16 = 0x103;

/// The longest text of a failure in bytes.
const MOST_TEXT: usize = 512 << 10;

/// What ends a body of several frames where there is no more data: a blank to whoever reads JSON.
const END: &[u8] = b"\n";

/// One part of an answer.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// With its `?`, or empty.
    query: &'a [u8],
    data: &'a [u8],
    end: bool,
}

impl<'a> Part<'a> {
    fn whole(data: &'a [u8]) -> Self {
        Self { query: &[], data, end: true }
    }
}

impl Server {
    pub(super) fn reply(
        &mut self,
        to: &CallHead<'_>,
        frame: &ReplyFrame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        if frame.compression != Compression::None {
            return Err(unsupported("a body cannot be compressed"));
        }
        let pairs = if self.trunkline { pairs_of(frame, &self.limits)? } else { Vec::new() };
        let query = path::query_of(&pairs);
        let failure;
        let (data, end) = match &frame.failure {
            None => (frame.body, frame.end),
            Some(said) if said.message.len() > MOST_TEXT => {
                return Err(too_large("text of a failure", said.message.len(), MOST_TEXT, "the wire's own"));
            }
            Some(said) => {
                failure = data_of(said);
                (&*failure, true)
            }
        };
        self.answer(to.id, Part { query: &query, data, end }, frame.failure.is_some(), out)
    }

    pub(super) fn data(
        &mut self,
        id: u64,
        data: &[u8],
        end: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        self.answer(id, Part { query: &[], data, end }, false, out)
    }

    /// What stands for an answer that nobody gives.
    pub(super) fn forget(&mut self, id: u64, out: &mut Vec<u8>) {
        let begun = self.turn(id).is_some_and(|turn| turn.begun);
        let cut;
        let data = if begun {
            cut = json::failed(b"the call was given up");
            &cut
        } else {
            json::NO_RESPONSE
        };
        // It is short enough for every limit.
        let _ = self.answer(id, Part::whole(data), true, out);
    }

    /// The session's own answer.
    pub(super) fn answer_system(&mut self, id: u64, data: &[u8], deletes: bool, out: &mut Vec<u8>) {
        if let Some(turn) = self.turn(id) {
            turn.deletes = deletes;
        }
        let _ = self.answer(id, Part::whole(data), true, out);
    }

    fn turn(&mut self, id: u64) -> Option<&mut Turn> {
        let (channel, number) = parts(id);
        let channel = self.table.get_mut(channel)?;
        let place = channel.place(number)?;
        channel.turns.get_mut(place)
    }

    /// Writes a part of an answer, or keeps it until it is its turn. What comes after the end of the answer is left
    /// out: each request has one. `short` answers are never too large.
    fn answer(&mut self, id: u64, part: Part<'_>, short: bool, out: &mut Vec<u8>) -> Result<(), WireError> {
        let (number, at) = parts(id);
        let Table { waiting: all_waiting, .. } = &self.table;
        let mut all_waiting = *all_waiting;
        let Some(channel) = self.table.get_mut(number) else { return Ok(()) };
        let Some(place) = channel.place(at) else { return Ok(()) };
        let Some(turn) = channel.turns.get_mut(place).filter(|turn| !turn.done) else { return Ok(()) };
        let limit = body_limit(turn.path(&channel.last_path), &self.limits);
        if !short && part.data.len() > limit {
            return Err(too_large("reply body", part.data.len(), limit, "body_limit"));
        }
        let has_turn = place == 0;
        if !short && !has_turn && all_waiting.saturating_add(part.data.len()) > self.limits.held {
            let got = all_waiting.saturating_add(part.data.len());
            return Err(too_large("sum of answers that wait for their turn", got, self.limits.held, "held"));
        }
        let path = turn.path(&channel.last_path).clone();
        let begun = turn.begun;
        let to = if has_turn { &mut *out } else { turn.early_mut() };
        let before = to.len();
        let frames = encode(&path, number, part, begun, self.trunkline, to);
        let written = to.len().saturating_sub(before);
        turn.begun |= written > 0;
        turn.done = part.end;
        if !part.end {
            turn.sent(written);
        }
        self.methods.add(turn.counted, frames, part.end, written);
        channel.traffic.sent(frames, part.end, wide(written));
        self.traffic.sent(frames, part.end, wide(written));
        if has_turn {
            if part.end {
                self.table.flush(number, out);
            }
        } else {
            channel.waiting = channel.waiting.saturating_add(written);
            all_waiting = all_waiting.saturating_add(written);
            self.table.waiting = all_waiting;
        }
        Ok(())
    }

    pub(super) fn may_write(&self, id: u64) -> bool {
        let (channel, number) = parts(id);
        let bounded = self.trunkline && channel != 0;
        self.table.get(channel).is_some_and(|channel| {
            let has_room = || !bounded || channel.turns.front().is_some_and(Turn::has_room);
            channel.place(number) == Some(0) && has_room()
        })
    }

    /// The client takes more of an answer.
    pub(super) fn may_send(&mut self, channel: u32, number: u32, bytes: usize) {
        let Some(channel) = self.table.get_mut(channel) else { return };
        let turn = channel.place(number).and_then(|place| channel.turns.get_mut(place));
        if let Some(turn) = turn {
            turn.may_send(bytes);
        }
    }

    #[inline]
    pub(super) fn begin(&mut self, to: &CallHead<'_>, out: &mut Vec<u8>) -> Option<Mark> {
        if !self.may_write(to.id) {
            return None;
        }
        let (channel, _) = parts(to.id);
        let at = self.table.get(channel)?;
        let turn = at.turns.front().filter(|turn| !turn.begun && !turn.done)?;
        let start = out.len();
        write(ANSWER | super::WHOLE, &[turn.path(&at.last_path)], channel, &[], out);
        Some(Mark { start, body: out.len(), id: to.id })
    }

    #[inline]
    pub(super) fn finish(&mut self, mark: Mark, out: &mut Vec<u8>) {
        let body = out.len().saturating_sub(mark.body);
        let (number, _) = parts(mark.id);
        let Some(channel) = self.table.get_mut(number) else { return };
        let Some(turn) = channel.turns.front_mut() else { return };
        if body == 0 || body > body_limit(turn.path(&channel.last_path), &self.limits).min(MOST_DATA) {
            return self.finish_otherwise(mark, out);
        }
        if let (Ok(length), Some(place)) =
            (u32::try_from(body), out.get_mut(mark.body.saturating_sub(4)..mark.body))
        {
            place.copy_from_slice(&length.to_be_bytes());
        }
        turn.begun = true;
        turn.done = true;
        let written = out.len().saturating_sub(mark.start);
        self.methods.add(turn.counted, 1, true, written);
        channel.traffic.sent(1, true, wide(written));
        self.traffic.sent(1, true, wide(written));
        self.table.flush(number, out);
    }

    /// The body that was written is none, too large, or of several frames.
    #[cold]
    fn finish_otherwise(&mut self, mark: Mark, out: &mut Vec<u8>) {
        let data = out.split_off(mark.body.min(out.len()));
        out.truncate(mark.start);
        if let Err(error) = self.answer(mark.id, Part::whole(&data), false, out) {
            let data = json::failed(error.to_string().as_bytes());
            let _ = self.answer(mark.id, Part::whole(&data), true, out);
        }
    }
}

/// What a failure is as data.
fn data_of(failure: &Failure<'_>) -> Vec<u8> {
    if failure.code == Some(NOT_FOUND) { json::UNKNOWN_PATH.to_vec() } else { json::failed(failure.message) }
}

/// What a Trunkline peer is told beside the data: the metadata; of a failure its code, and its value where that fits.
fn pairs_of(frame: &ReplyFrame<'_>, limits: &Limits) -> Result<Vec<u8>, WireError> {
    let mut pairs = Vec::new();
    let Some(failure) = &frame.failure else {
        if Pairs::parse(frame.metadata.as_bytes(), limits).is_err() {
            let got = frame.metadata.as_bytes().len();
            return Err(too_large("metadata", got, limits.metadata, "metadata"));
        }
        pairs.extend_from_slice(frame.metadata.as_bytes());
        return Ok(pairs);
    };
    if let Some(code) = failure.code {
        append_pair(&mut pairs, keys::CODE.as_bytes(), code.to_string().as_bytes());
    }
    let code = pairs.len();
    if let Some(details) = failure.details {
        append_pair(&mut pairs, keys::DETAILS.as_bytes(), details);
    }
    if Pairs::parse(&pairs, limits).is_err() {
        pairs.truncate(code);
    }
    Ok(pairs)
}

/// Appends the frames of a part of an answer; `begun` says that it is not the first one. How many frames.
fn encode(path: &[u8], channel: u32, part: Part<'_>, begun: bool, trunkline: bool, out: &mut Vec<u8>) -> u64 {
    let Part { query, mut data, end } = part;
    if data.is_empty() {
        // A Trunkline peer learns that the answer begins; others do with its first data.
        if !end && (begun || !trunkline) {
            return 0;
        }
        // The wire has no empty data.
        if trunkline {
            let query = match query {
                [] => path::EMPTY_QUERY.to_vec(),
                query => [query, b"&", path::EMPTY_QUERY.get(1..).unwrap_or_default()].concat(),
            };
            write(ANSWER | status(!begun, end), &[path, &query], channel, NO_DATA, out);
        } else {
            let data = if begun { END } else { json::NO_RESPONSE };
            write(ANSWER | status(!begun, true), &[path], channel, data, out);
        }
        return 1;
    }
    let (mut first, mut frames) = (!begun, 0u64);
    loop {
        let (chunk, rest) = data.split_at(data.len().min(MOST_DATA));
        let query = if first || rest.is_empty() { query } else { &[] };
        write(ANSWER | status(first, end && rest.is_empty()), &[path, query], channel, chunk, out);
        (first, data, frames) = (false, rest, frames.saturating_add(1));
        if data.is_empty() {
            return frames;
        }
    }
}
