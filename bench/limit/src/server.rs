//! The server: one thread, one epoll, every whole frame back as its own answer.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::Result;
use crate::floor::{Answers, Floor};
use crate::frame::{self, BATCH};
use crate::iip;

/// The listener's place; connections have theirs in the table.
const LISTENER: u64 = u64::MAX;

/// A connection, with what was read and is not whole yet, and what the peer did not take.
struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
    unsent: Vec<u8>,
    /// On IIP: the last channel that was granted, and answers that are not made in their place.
    granted: Option<u32>,
    other: Vec<u8>,
}

pub(crate) fn run(arguments: &[String]) -> Result {
    let listener = TcpListener::bind(crate::option(arguments, "--listen", "127.0.0.1:0".to_owned())?)?;
    listener.set_nonblocking(true)?;
    let granted = crate::is_iip(arguments)?.then_some(0);
    println!("ready {}", listener.local_addr()?);
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 2 * BATCH];
    let answers = crate::option(arguments, "--answers", Answers::InPlace)?;
    let mut floor = Floor::new(answers);
    loop {
        events.clear();
        match epoll::wait(&poll, spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        for event in &events {
            let (place, ready) = (event.data.u64(), event.flags);
            if place == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let place = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                    epoll::add(&poll, &stream, EventData::new_u64(place as u64), EventFlags::IN)?;
                    let connection = Connection {
                        stream,
                        rest: Vec::new(),
                        unsent: Vec::new(),
                        granted,
                        other: Vec::new(),
                    };
                    match connections.get_mut(place) {
                        Some(free) => *free = Some(connection),
                        None => connections.push(Some(connection)),
                    }
                }
            } else if let Some(slot) = connections.get_mut(place as usize)
                && let Some(connection) = slot
            {
                let served = match answers {
                    Answers::InPlace => connection.serve(&mut buffer),
                    _ => floor.serve(&mut connection.stream, &mut connection.rest),
                };
                match served {
                    // Level-triggered: asks for the event that goes on with it.
                    Ok(true) => {
                        let wanted =
                            if connection.unsent.is_empty() { EventFlags::IN } else { EventFlags::OUT };
                        if !connection.unsent.is_empty() || ready.contains(EventFlags::OUT) {
                            epoll::modify(&poll, &connection.stream, EventData::new_u64(place), wanted)?;
                        }
                    }
                    Ok(false) | Err(_) => *slot = None,
                }
            }
        }
    }
}

impl Connection {
    /// One read and one write. Whether the connection goes on.
    fn serve(&mut self, buffer: &mut [u8]) -> std::io::Result<bool> {
        if !self.unsent.is_empty() {
            let written = written(self.stream.write(&self.unsent))?;
            self.unsent.drain(..written);
            return Ok(true);
        }
        let kept = self.rest.len();
        if kept + BATCH > buffer.len() {
            // A frame of more than a batch grows where it is.
            let read = self.stream.read(&mut buffer[..BATCH])?;
            self.rest.extend_from_slice(&buffer[..read]);
            let whole = if self.granted.is_some() { iip::whole } else { frame::whole };
            if whole(&self.rest).is_some() {
                let mut all = std::mem::take(&mut self.rest);
                self.echo(&mut all)?;
            }
            return Ok(read > 0);
        }
        buffer[..kept].copy_from_slice(&self.rest);
        self.rest.clear();
        let read = self.stream.read(&mut buffer[kept..kept + BATCH])?;
        self.echo(&mut buffer[..kept + read])?;
        Ok(read > 0)
    }

    fn echo(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        let mut end = 0;
        if let Some(granted) = &mut self.granted {
            end = iip::answer(bytes, granted, &mut self.other);
        } else {
            while let Some(length) = frame::whole(&bytes[end..]) {
                frame::answer(&mut bytes[end..]);
                end += length;
            }
        }
        let answers = if self.other.is_empty() { &bytes[..end] } else { &self.other[..] };
        if !answers.is_empty() {
            let written = written(self.stream.write(answers))?;
            self.unsent.extend_from_slice(&answers[written..]);
        }
        self.rest.extend_from_slice(&bytes[end..]);
        Ok(())
    }
}

/// A socket that takes nothing now is no failure.
pub(crate) fn written(result: std::io::Result<usize>) -> std::io::Result<usize> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
