//! An endpoint of a client with its connections.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;

use super::channel::{Channel, ChannelBuilder};
use super::dial::ConnectionState;
use super::url::{Url, Wire};
use crate::Result;
use crate::balance::Member;

/// An endpoint of a client with its connections, which are made as calls come.
pub(super) struct Node {
    pub(super) member: Arc<Member>,
    url: Url,
    /// How channels are made.
    builder: ChannelBuilder,
    channels: Box<[ArcSwapOption<Channel>]>,
    next: AtomicUsize,
    /// How many connections the channels had made that are gone.
    forgotten: AtomicU64,
    /// Its last call went well: it is there.
    proven: AtomicBool,
    /// Held while a channel is made, which dials in a task of its own.
    making: Mutex<()>,
}

impl Node {
    pub(super) fn new(member: Arc<Member>, url: Url, builder: ChannelBuilder, connections: usize) -> Self {
        let channels = (0..connections.max(1)).map(|_| ArcSwapOption::empty()).collect();
        Self {
            member,
            url,
            builder,
            channels,
            next: AtomicUsize::new(0),
            forgotten: AtomicU64::new(0),
            proven: AtomicBool::new(false),
            making: Mutex::new(()),
        }
    }

    /// The wire that it is called on.
    pub(super) fn wire(&self) -> Wire {
        self.url.wire
    }

    /// The channel for the next call: one after the other. The first call of each begins to dial.
    ///
    /// # Errors
    /// No channel can be made, whoever is at the address.
    pub(super) fn channel(&self) -> Result<Channel> {
        let turn = match self.channels.len() {
            1 => 0,
            connections => self.next.fetch_add(1, Ordering::Relaxed) % connections,
        };
        self.made(turn).map_or_else(|| self.make(turn), Ok)
    }

    fn made(&self, turn: usize) -> Option<Channel> {
        self.channels.get(turn)?.load().as_deref().cloned()
    }

    #[cold]
    fn make(&self, turn: usize) -> Result<Channel> {
        let making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = self.made(turn) {
            return Ok(channel);
        }
        let channel = self.builder.to(self.url.clone()).lazy()?;
        let place = self.channels.get(turn);
        place.into_iter().for_each(|place| place.store(Some(Arc::new(channel.clone()))));
        drop(making);
        Ok(channel)
    }

    /// Lets the connections go; calls in flight on them go on to their end.
    pub(super) fn forget(&self) {
        for place in &self.channels {
            let channel = place.swap(None);
            // One more for what it may make before it ends.
            let made = channel.map_or(0, |channel| channel.stats().connections + 1);
            self.forgotten.fetch_add(made, Ordering::Relaxed);
        }
    }

    /// How many connections are up.
    pub(super) fn connections(&self) -> usize {
        let channels = self.channels.iter().filter_map(ArcSwapOption::load_full);
        channels.filter(|channel| *channel.state().borrow() == ConnectionState::Connected).count()
    }

    /// How many connections its channels have made.
    #[cfg(feature = "netrpc")]
    pub(super) fn connections_made(&self) -> u64 {
        let made = |place: &ArcSwapOption<Channel>| {
            place.load().as_ref().map_or(0, |channel| channel.stats().connections)
        };
        self.channels.iter().map(made).sum::<u64>() + self.forgotten.load(Ordering::Relaxed)
    }

    /// Whether a paused endpoint may be tried again with a call. Where there are others, its connection is waited for
    /// first, so that no call has to wait for a dial that leads nowhere.
    pub(super) fn is_ready(&self, at: u64, pause: u64, must: bool) -> bool {
        let health = &self.member.health;
        if !health.is_due(at) {
            return false;
        }
        let Ok(channel) = self.channel() else { return true };
        if must || !channel.dials_ahead() {
            return true;
        }
        let state = channel.state().borrow().clone();
        match state {
            ConnectionState::Connected => true,
            ConnectionState::Failed { error } => {
                self.forget();
                health.put_off(at, pause, error);
                false
            }
            ConnectionState::Connecting | ConnectionState::Closed => false,
        }
    }

    /// Whether its last call went well.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    pub(super) fn prove(&self, well: bool) {
        // Mostly nothing changes, and nothing that threads share is written.
        if self.is_proven() != well {
            self.proven.store(well, Ordering::Relaxed);
        }
    }

    /// Whether the last dial of this channel failed.
    pub(super) fn is_lost(channel: &Channel) -> bool {
        matches!(*channel.state().borrow(), ConnectionState::Failed { .. })
    }
}
