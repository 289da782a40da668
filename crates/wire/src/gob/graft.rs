//! Values from a connection's stream into self-contained ones, and back.

use std::collections::HashMap;

use super::Error;
use super::builtin::{FIRST_DEFINED, FIRST_LOCAL, INTERFACE};
use super::define::write_definition;
use super::message::{Message, Rename};
use super::types::{Definition, Types, is_builtin};
use crate::scratch::Scratch;
use crate::{Limits, Payload};

/// Most bytes of definitions that [`Incoming`] keeps ready to be copied. Past it they are put together anew.
const READY_BYTES: usize = 256 << 10;

/// Most bytes of definitions that [`Outgoing`] remembers: each type with those that it uses.
const SENT_BYTES: usize = 2 << 20;

/// How many of the types that were sent last [`Outgoing`] compares before it looks in its table.
const RECENT: usize = 4;

/// A self-contained stream in its parts: the bytes of the definitions, and the value.
///
/// # Errors
/// Where it has no value, or something behind it.
pub fn split(stream: &[u8]) -> Result<(&[u8], Message<'_>), Error> {
    let mut rest = stream;
    loop {
        let message = Message::first(rest, rest.len())?;
        let message = message.ok_or(Error::Malformed("the stream ends before its value"))?;
        let (head, behind) = rest.split_at_checked(message.length()).unwrap_or((rest, &[]));
        if message.is_definition() {
            rest = behind;
            continue;
        }
        if !behind.is_empty() {
            return Err(Error::Malformed("bytes behind the value of a stream"));
        }
        let definitions = stream.len().saturating_sub(head.len());
        return Ok((stream.get(..definitions).unwrap_or_default(), message));
    }
}

/// The value of a self-contained stream that has exactly these definitions; `None` for any other stream. It costs a
/// comparison, where [`split`] goes through all definitions.
#[inline(always)]
#[must_use]
pub fn value_behind<'a>(definitions: &[u8], stream: &'a [u8]) -> Option<Message<'a>> {
    let rest = stream.strip_prefix(definitions)?;
    let value = match Message::usual(rest) {
        Some(value) => value,
        None => Message::first(rest, rest.len()).ok().flatten()?,
    };
    (!value.is_definition() && value.length() == rest.len()).then_some(value)
}

/// The types that a peer has defined on its connection, and how bodies are made of its values.
#[derive(Debug)]
pub struct Incoming {
    types: Types,
    /// Sorted by the connection's id: what a value gets in front of it, or why it cannot be a body. That is kept, too:
    /// a value of a few bytes is not to cost a walk through many types each time.
    ready: Vec<(i64, Result<Ready, Error>)>,
    ready_bytes: usize,
}

/// The definitions as bodies have them, and the id that the value gets.
#[derive(Debug)]
struct Ready {
    local: i64,
    /// The same instead of the connection's, where that can be done in its place.
    rename: Option<Rename>,
    definitions: Box<[u8]>,
}

impl Incoming {
    /// Before the first message. The limit is [`Limits::types`].
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { types: Types::new(limits.types), ready: Vec::new(), ready_bytes: 0 }
    }

    /// What the peer has defined.
    #[must_use]
    pub fn types(&self) -> &Types {
        &self.types
    }

    /// Takes a definition.
    ///
    /// # Errors
    /// As [`Types::define`]: the stream cannot be trusted any further.
    pub fn define(&mut self, message: &Message<'_>) -> Result<(), Error> {
        self.types.define(message)?;
        // What was missing may be there now.
        self.ready.retain(|(_, ready)| ready.is_ok());
        Ok(())
    }

    /// Appends the value of a message to `out` as a self-contained stream. The value itself is not looked at.
    ///
    /// # Errors
    /// Where its type was not defined whole, or is too large for a body; only this value is lost by it. `out` is as it
    /// was.
    pub fn graft(&mut self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Error> {
        let id = message.id();
        if is_builtin(id) {
            message.put_as(id, out);
            return Ok(());
        }
        let Ready { local, definitions, .. } = self.ready(id)?;
        // To the byte: memory of this length becomes a body without another step.
        out.reserve_exact(definitions.len().saturating_add(message.length_as(*local)));
        out.extend_from_slice(definitions);
        message.put_as(*local, out);
        Ok(())
    }

    /// The same as an event has it.
    ///
    /// # Errors
    /// As [`graft`](Self::graft).
    #[inline]
    pub(crate) fn body<'a>(&mut self, message: &Message<'a>) -> Result<Payload<'a>, Error> {
        let id = message.id();
        if is_builtin(id) && id != INTERFACE {
            return Ok(Payload::Input(message.raw()));
        }
        if id != INTERFACE
            && let Ready { definitions, rename: Some(Rename { width, byte }), .. } = self.ready(id)?
            && let Some(place) = message.place_of_id(*width)
            && let Some(mut body) = Scratch::of([definitions, message.raw()])
        {
            if let Some(place) = body.get_mut(definitions.len().saturating_add(place)) {
                *place = *byte;
            }
            return Ok(Payload::Scratch(body));
        }
        let mut body = Vec::new();
        self.graft(message, &mut body)?;
        Ok(Payload::Owned(body.into()))
    }

    /// What a value of this type gets in front of it.
    #[inline]
    fn ready(&mut self, id: i64) -> Result<&Ready, Error> {
        let place = match self.ready.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(place) => place,
            Err(place) => self.prepare(id, place),
        };
        let (_, ready) = self.ready.get(place).ok_or(Error::UnknownType(id))?;
        ready.as_ref().map_err(Clone::clone)
    }

    #[cold]
    fn prepare(&mut self, id: i64, place: usize) -> usize {
        let mut definitions = Vec::new();
        let ready = self.types.closure(id, &mut definitions);
        let ready = ready.map(|local| Ready {
            local,
            rename: Rename::of(id, local),
            definitions: definitions.into(),
        });
        // An entry takes memory even where it has failed.
        let size = ready.as_ref().map_or(0, |ready| ready.definitions.len()).saturating_add(64);
        let mut place = place;
        if self.ready_bytes.saturating_add(size) > READY_BYTES {
            (self.ready, self.ready_bytes, place) = (Vec::new(), 0, 0);
        }
        self.ready_bytes = self.ready_bytes.saturating_add(size);
        self.ready.insert(place, (id, ready));
        place
    }
}

/// The types that a connection was sent, and how the values of bodies are put onto it.
#[derive(Debug)]
pub struct Outgoing {
    /// The id on the connection, by the definitions in the form of a self-contained stream.
    sent: HashMap<Box<[u8]>, i64>,
    bytes: usize,
    /// Those that were looked up last, in turns.
    recent: Vec<Recent>,
    turn: usize,
    most: usize,
}

/// The definitions of a stream, the id of its value in it, and the id that the value gets on the connection.
#[derive(Debug)]
struct Recent {
    definitions: Box<[u8]>,
    local: i64,
    id: i64,
    /// The one instead of the other, where that can be done in its place.
    rename: Option<Rename>,
}

impl Outgoing {
    /// Before the first message. The limit is [`Limits::types`].
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self { sent: HashMap::new(), bytes: 0, recent: Vec::new(), turn: 0, most: limits.types }
    }

    /// Appends the value of a self-contained stream to `out`, behind those definitions that the connection has not had
    /// yet.
    ///
    /// # Errors
    /// Where it is no such stream, or the connection has no room for its types. `out` is as it was, and so is what the
    /// connection was sent.
    pub fn graft(&mut self, stream: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if let Some((value, known)) = self.known(stream) {
            value.put_as(known.id, out);
            return Ok(());
        }
        let (definitions, value) = split(stream)?;
        let id = self.declare_as(definitions, value.id(), out)?;
        value.put_as(id, out);
        Ok(())
    }

    /// The value of a stream whose definitions were looked up lately.
    #[inline(always)]
    fn known<'a>(&self, stream: &'a [u8]) -> Option<(Message<'a>, &Recent)> {
        for recent in &self.recent {
            if let Some(value) = value_behind(&recent.definitions, stream)
                && value.id() == recent.local
            {
                return Some((value, recent));
            }
        }
        None
    }

    /// The same for a self-contained stream that stands at the end of `out` already, from `at` on: where the connection
    /// has had its types, it is changed where it stands.
    ///
    /// # Errors
    /// As [`graft`](Self::graft).
    pub fn graft_in_place(&mut self, at: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let stream = out.get(at..).unwrap_or_default();
        if let Some(value) = value_behind(&[], stream)
            && value.id() != INTERFACE
            && is_builtin(value.id())
        {
            return Ok(());
        }
        if let Some((value, known)) = self.known(stream)
            && let Some(Rename { width, byte }) = known.rename
            && let Some(place) = value.place_of_id(width)
        {
            // The definitions go, and the value takes their place.
            let (value, length) = (at.saturating_add(known.definitions.len()), value.length());
            out.copy_within(value.., at);
            out.truncate(at.saturating_add(length));
            if let Some(place) = out.get_mut(at.saturating_add(place)) {
                *place = byte;
            }
            return Ok(());
        }
        let stream = out.split_off(at);
        let grafted = self.graft(&stream, out);
        if grafted.is_err() {
            out.extend_from_slice(&stream);
        }
        grafted
    }

    /// Appends what the connection has not had yet of a row of definitions, and gives the id that values of the first
    /// of them have on it: for a message that is written by hand.
    ///
    /// # Errors
    /// As [`graft`](Self::graft).
    pub fn declare(&mut self, definitions: &[u8], out: &mut Vec<u8>) -> Result<i64, Error> {
        let first = Message::first(definitions, definitions.len())?;
        let first = first.filter(Message::is_definition).ok_or(Error::Malformed("no definition"))?;
        self.declare_as(definitions, first.id().saturating_neg(), out)
    }

    fn declare_as(&mut self, definitions: &[u8], local: i64, out: &mut Vec<u8>) -> Result<i64, Error> {
        if definitions.is_empty() {
            return match local {
                INTERFACE => Err(Error::Unsupported("a value of an interface cannot be sent")),
                _ if is_builtin(local) => Ok(local),
                _ => Err(Error::UnknownType(local)),
            };
        }
        // What was sent is known by the definitions of which the first is the value's.
        let sent = self.sent.get(definitions).filter(|_| local == FIRST_LOCAL);
        let id = match sent {
            Some(id) => *id,
            None => self.send(definitions, local, out)?,
        };
        let recent = Recent { definitions: definitions.into(), local, id, rename: Rename::of(local, id) };
        match self.recent.get_mut(self.turn) {
            Some(place) => *place = recent,
            None => self.recent.push(recent),
        }
        self.turn = self.turn.saturating_add(1) % RECENT;
        Ok(id)
    }

    /// Sends those of the definitions that are new; each is known by its own definitions in the form of
    /// [`Types::closure`].
    #[cold]
    fn send(&mut self, definitions: &[u8], root: i64, out: &mut Vec<u8>) -> Result<i64, Error> {
        let no_room = |bytes| Error::too_large("types sent on one connection in bytes", bytes, SENT_BYTES);
        if self.bytes > SENT_BYTES {
            return Err(no_room(self.bytes));
        }
        let types = Types::of(definitions)?;
        let mut wanted = vec![root];
        let mut ids: HashMap<i64, i64> = HashMap::new();
        let mut fresh: Vec<(Box<[u8]>, i64, i64, &Definition)> = Vec::new();
        let mut bytes = self.bytes;
        while let Some(id) = wanted.pop() {
            if ids.contains_key(&id) || (is_builtin(id) && id != INTERFACE) {
                continue;
            }
            if id == INTERFACE {
                return Err(Error::Unsupported("a type that holds an interface cannot be sent"));
            }
            let mut key = Vec::new();
            types.closure(id, &mut key)?;
            if let Some(known) = self.sent.get(&key[..]) {
                ids.insert(id, *known);
                continue;
            }
            let definition = types.get(id).ok_or(Error::UnknownType(id))?;
            let count = self.sent.len().saturating_add(fresh.len());
            bytes = bytes.saturating_add(key.len());
            if bytes > SENT_BYTES {
                // It is paid for, so that the attempt is not made again and again.
                self.bytes = bytes;
                return Err(no_room(bytes));
            }
            if count >= self.most {
                return Err(Error::too_large("types sent on one connection", count, self.most));
            }
            let new = FIRST_DEFINED.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
            ids.insert(id, new);
            fresh.push((key.into(), id, new, definition));
            let at = wanted.len();
            definition.shape.ids(|id| wanted.push(id));
            // The first field's type is sent first.
            wanted.get_mut(at..).unwrap_or_default().reverse();
        }
        let rename = |id: i64| ids.get(&id).copied().unwrap_or(id);
        for (_, _, new, definition) in &fresh {
            write_definition(*new, definition, rename, out);
        }
        let id = rename(root);
        self.bytes = bytes;
        self.sent.extend(fresh.into_iter().map(|(key, _, new, _)| (key, new)));
        Ok(id)
    }
}
