//! Connections that others make: a Go node answers over one of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::exchange::{Exchange, Heard};
use super::plan::Target;
use super::stream::Stream;
use super::thread::BATCH;

/// So many connections are taken; a node makes one.
const MOST: usize = 64;
/// What epoll calls the listener; connections are called by their index.
const LISTENER: u64 = u64::MAX;

/// A listener with its connections, and the epoll set that has them all: it is waited for as one.
pub(super) struct Inlet<X> {
    epoll: OwnedFd,
    listener: OwnedFd,
    all: Vec<Option<One<X>>>,
}

struct One<X> {
    exchange: X,
    stream: Stream,
    /// A frame that is not all there.
    rest: Vec<u8>,
}

impl<X: Exchange> Inlet<X> {
    /// Takes connections from this listener, which does not wait.
    pub(super) fn new(listener: OwnedFd) -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        Ok(Self { epoll, listener, all: Vec::new() })
    }

    /// Reads once what each has that is ready; what was read and what it says is given to `hear`.
    pub(super) fn turn(
        &mut self,
        target: &Target,
        input: &mut Vec<u8>,
        mut hear: impl FnMut(usize, Heard),
    ) -> std::io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(MOST);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::default())) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            if event.data.u64() == LISTENER {
                self.accept(target);
                continue;
            }
            let place = usize::try_from(event.data.u64()).ok().and_then(|index| self.all.get_mut(index));
            // What breaks or ends is let go: whoever made it makes another.
            if let Some(place) = place
                && let Some(one) = place
                && one.read(input, &mut hear).is_none()
            {
                *place = None;
            }
        }
        Ok(())
    }

    /// How many bytes of bodies came since that was asked last.
    pub(super) fn take_bodies(&mut self) -> u64 {
        self.all.iter_mut().flatten().map(|one| one.exchange.take_bodies()).sum()
    }

    fn accept(&mut self, target: &Target) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let Ok(stream) = accept_with(&self.listener, flags).map(Stream::from) else { return };
        let free = self.all.iter().position(Option::is_none);
        let index = match free {
            Some(index) => index,
            None if self.all.len() < MOST => {
                self.all.push(None);
                self.all.len() - 1
            }
            None => return,
        };
        let data = EventData::new_u64(index as u64);
        if epoll::add(&self.epoll, &stream, data, EventFlags::IN).is_ok()
            && let Some(place) = self.all.get_mut(index)
        {
            *place = Some(One { exchange: X::new(target), stream, rest: Vec::new() });
        }
    }
}

impl<X: Exchange> One<X> {
    /// Reads once. Nothing where the connection is of no use any more.
    fn read(&mut self, input: &mut Vec<u8>, hear: &mut impl FnMut(usize, Heard)) -> Option<()> {
        input.resize(input.len().max(BATCH), 0);
        let Some(length) = self.stream.read(input.get_mut(..BATCH)?).ok()? else { return Some(()) };
        if length == 0 {
            return None;
        }
        self.rest.extend_from_slice(input.get(..length)?);
        let mut used = 0;
        loop {
            let (more, heard) = self.exchange.receive(self.rest.get(used..)?, &mut Vec::new()).ok()?;
            used += more;
            let done = matches!(heard, Heard::NeedMore(_));
            hear(if done { length } else { 0 }, heard);
            if done {
                self.rest.drain(..used);
                return Some(());
            }
        }
    }
}

impl<X> AsFd for Inlet<X> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
