//! One thread of the run: an epoll loop over its connections, and its figures at the end.
//!
//! Level-triggered, and each socket that is ready has one turn: one read, one write. No runtime is between the kernel
//! and the session, since it would cost more than the session does.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::sync::mpsc::Sender;
use trunkline::wire::iip::Iip;
use trunkline::wire::netrpc::NetRpc;
use trunkline::wire::rpcx::Rpcx;

use super::exchange::Exchange;
use super::figures::Figures;
use super::http::Http;
use super::place::Place;
use super::plan::{Plan, Protocol};
use super::saber::Saber;
use super::schedule::Schedule;
use super::thread::{Thread, Times, nanos};

/// What waits for the sockets of a thread.
pub(super) type Epoll = OwnedFd;

/// The most sockets that have a turn before the clock is looked at again.
const EVENTS: usize = 256;
/// How often timeouts are looked for, in nanoseconds: a tenth of the timeout within these; where a connection is not
/// there, the shortest.
const TICKS: (u64, u64) = (5_000_000, 250_000_000);
/// What epoll calls the timer; places are called by their index.
const TIMER: u64 = u64::MAX;
/// The shortest time that the open loop sleeps: calls that are nearer to each other than this start together.
const SHORTEST: u64 = 10_000;

/// What a thread tells.
pub(super) enum Told {
    /// How many connections were made, and what went wrong with another.
    Dialled(usize, Option<String>),
    /// It is done.
    Done(Box<Figures>),
    /// It could not begin or go on, and why.
    Failed(String),
}

/// What a thread is told by.
pub(super) struct Orders {
    /// The run begins.
    pub(super) begin: mpsc::Receiver<Times>,
    /// The user has seen enough: what is in flight is not waited for.
    pub(super) stop: Arc<AtomicBool>,
}

/// Runs one thread to its end.
pub(super) fn run(
    plan: Arc<Plan>,
    number: usize,
    progress: Arc<AtomicU64>,
    tell: &Sender<Told>,
    orders: &Orders,
) {
    let load = match plan.protocol {
        Protocol::Http => load::<Http>,
        Protocol::Iip => load::<Iip>,
        Protocol::NetRpc => load::<NetRpc>,
        Protocol::Saber => load::<Saber>,
        Protocol::Rpcx => load::<Rpcx>,
    };
    // Nobody listens any more where the run was called off.
    let _ = match load(plan, number, progress, tell, orders) {
        Ok(Some(figures)) => tell.blocking_send(Told::Done(Box::new(figures))),
        Ok(None) => Ok(()),
        Err(why) => tell.blocking_send(Told::Failed(why)),
    };
}

fn load<X: Exchange>(
    plan: Arc<Plan>,
    number: usize,
    progress: Arc<AtomicU64>,
    tell: &Sender<Told>,
    orders: &Orders,
) -> Result<Option<Figures>, String> {
    let cannot = |error: std::io::Error| format!("cannot wait for sockets: {error}");
    // Dials have a clock of their own.
    let before = Times::start(plan.stop);
    let mut worker = Worker::<X>::new(Thread::new(Arc::clone(&plan), before, number, Arc::clone(&progress)))
        .map_err(cannot)?;
    let (made, failure) =
        worker.dial((number..plan.connections).step_by(plan.threads).len()).map_err(cannot)?;
    if tell.blocking_send(Told::Dialled(made, failure)).is_err() {
        return Ok(None);
    }
    let Ok(times) = orders.begin.recv() else { return Ok(None) };
    worker.thread = Thread::new(plan, times, number, progress);
    worker.begun = true;
    worker.run(&orders.stop).map_err(cannot)?;
    match worker.thread.stranger {
        None => Ok(Some(worker.thread.figures)),
        Some(why) => Err(why),
    }
}

struct Worker<X> {
    epoll: Epoll,
    /// Wakes the open loop for the next start, and when that is: epoll's own time is in milliseconds.
    timer: Option<(OwnedFd, u64)>,
    thread: Thread,
    places: Vec<Place<X>>,
    events: Vec<Event>,
    /// The places that could take a call, who has waited longest first.
    waiting: VecDeque<usize>,
    /// When all places look at the clock next.
    next_tick: u64,
    /// The run has begun; before that there are only dials.
    begun: bool,
}

impl<X: Exchange> Worker<X> {
    fn new(thread: Thread) -> std::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut timer = None;
        if thread.schedule.is_some() {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let made = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            // Once each time that it goes off, so that nobody has to read it.
            epoll::add(&epoll, &made, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
            timer = Some((made, 0));
        }
        let (events, waiting) = (Vec::with_capacity(EVENTS), VecDeque::new());
        Ok(Self { epoll, timer, thread, places: Vec::new(), events, waiting, next_tick: 0, begun: false })
    }

    /// Dials so many connections: how many were made, and what went wrong with another.
    fn dial(&mut self, connections: usize) -> std::io::Result<(usize, Option<String>)> {
        for number in (0..).take(connections) {
            let mut place = Place::new(number);
            place.dial(&self.epoll, &self.thread, 0, self.thread.now());
            self.places.push(place);
        }
        while self.places.iter().any(Place::is_dialling) {
            self.turns(TICKS.0)?;
            let now = self.thread.now();
            for place in self.places.iter_mut().filter(|place| place.is_dialling()) {
                place.look_at_the_clock(&self.epoll, &mut self.thread, now);
            }
        }
        let made = self.places.iter().filter(|place| place.is_open()).count();
        Ok((made, self.places.iter().find_map(Place::failure).map(str::to_owned)))
    }

    /// Makes calls until all is done.
    fn run(&mut self, stop: &AtomicBool) -> std::io::Result<()> {
        let mut was_over = false;
        loop {
            let now = self.thread.now();
            let over = self.thread.over(now);
            if now >= self.next_tick || over != was_over {
                was_over = over;
                self.look_at_the_clock(now);
                if stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            self.begin_calls();
            if self.places.iter().all(Place::is_done) {
                return Ok(());
            }
            let pause = self.pause()?;
            self.turns(pause)?;
        }
    }

    /// Waits for sockets, so many nanoseconds at most, and gives each its turn.
    fn turns(&mut self, most: u64) -> std::io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let most = timespec(most)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&most)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let now = self.thread.now();
        for event in &events {
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(place) = self.places.get_mut(index).filter(|place| self.begun || place.is_dialling())
            {
                place.ready(&self.epoll, &mut self.thread, event.flags);
                self.had_turn(index, now);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Has the places that wait make the calls that may start, as many each.
    fn begin_calls(&mut self) {
        for left in (1..=self.waiting.len() as u64).rev() {
            let now = self.thread.now();
            let due = self.thread.due(now);
            let Some(index) = self.waiting.pop_front_if(|_| due > 0) else { return };
            let Some(place) = self.places.get_mut(index) else { continue };
            place.queued = false;
            place.begin(&self.epoll, &mut self.thread, now, due.div_ceil(left));
            self.had_turn(index, now);
        }
    }

    /// A place that could take one more call waits for it, and one without a connection for the clock.
    #[inline]
    fn had_turn(&mut self, index: usize, now: u64) {
        let Some(place) = self.places.get_mut(index) else { return };
        match place.has_room() {
            Some(false) => {}
            Some(true) if place.queued || self.thread.over(now) => {}
            Some(true) => {
                place.queued = true;
                self.waiting.push_back(index);
            }
            None => self.next_tick = self.next_tick.min(now.saturating_add(TICKS.0)),
        }
    }

    /// How long nothing is to be done but for sockets and the timer, which is set where a call can start next.
    fn pause(&mut self) -> std::io::Result<u64> {
        let now = self.thread.now();
        let to_tick = self.next_tick.saturating_sub(now);
        if self.waiting.is_empty() || self.thread.over(now) {
            return Ok(to_tick);
        }
        let Some((timer, set_to)) = &mut self.timer else { return Ok(0) };
        let Some(next) = self.thread.schedule.as_ref().and_then(Schedule::next) else { return Ok(to_tick) };
        if next <= now {
            return Ok(0);
        }
        if next != *set_to {
            *set_to = next;
            let it_value = timespec((next - now).max(SHORTEST))?;
            let once = Itimerspec { it_interval: Timespec::default(), it_value };
            timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
        }
        Ok(to_tick)
    }

    /// What is to be done from time to time at all places.
    fn look_at_the_clock(&mut self, now: u64) {
        let end = Some(self.thread.times.end).filter(|end| *end > now).unwrap_or(u64::MAX);
        let tick = nanos(self.thread.plan.timeout) / 10;
        self.next_tick = now.saturating_add(tick.clamp(TICKS.0, TICKS.1)).min(end);
        for index in 0..self.places.len() {
            if let Some(place) = self.places.get_mut(index).filter(|place| !place.is_done()) {
                place.look_at_the_clock(&self.epoll, &mut self.thread, now);
                self.had_turn(index, now);
            }
        }
        self.thread.publish();
    }
}

fn timespec(nanos: u64) -> std::io::Result<Timespec> {
    Timespec::try_from(Duration::from_nanos(nanos)).map_err(std::io::Error::other)
}
