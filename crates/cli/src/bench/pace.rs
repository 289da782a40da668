//! The open loop's pacer: wakes connections when calls are due.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::thread::Thread;

/// The shortest time that it sleeps: calls that are nearer to each other than this start together.
const SHORTEST: u64 = 10_000;

/// Wakes connections for as long as calls may start; a connection takes the calls that are due itself.
pub(super) async fn run(thread: Rc<Thread>) -> std::io::Result<()> {
    let Some(schedule) = &thread.schedule else { return Ok(()) };
    let timer = Timer::new()?;
    loop {
        let now = thread.now();
        if thread.over(now) {
            thread.unpark(u64::MAX);
            return Ok(());
        }
        let due = schedule.borrow().due(now);
        if due > 0 {
            if thread.unpark(due) {
                tokio::task::yield_now().await;
            } else {
                // All places are taken: who has one free again takes what is due, and parks only after that.
                parked(&thread).await;
            }
            continue;
        }
        let next = schedule.borrow().next().unwrap_or(u64::MAX).min(thread.times.end);
        timer.sleep(Duration::from_nanos(next.saturating_sub(now).max(SHORTEST))).await?;
    }
}

/// Waits until a connection parks.
async fn parked(thread: &Thread) {
    let mut asked = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        thread.pacer.set(Some(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// A timer of the kernel: Tokio's own has a granularity of a millisecond, which would all go into the latency. It is
/// read like a pipe, and Tokio's pipe is what waits for any descriptor of that kind without unsafe code.
#[cfg(target_os = "linux")]
struct Timer(tokio::net::unix::pipe::Receiver);

#[cfg(target_os = "linux")]
impl Timer {
    fn new() -> std::io::Result<Self> {
        use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(tokio::net::unix::pipe::Receiver::from_owned_fd_unchecked(timer)?))
    }

    async fn sleep(&self, time: Duration) -> std::io::Result<()> {
        use rustix::time::{Itimerspec, TimerfdTimerFlags, Timespec, timerfd_settime};
        let at = Timespec::try_from(time).map_err(std::io::Error::other)?;
        let once = Itimerspec { it_interval: Timespec::default(), it_value: at };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        loop {
            self.0.readable().await?;
            match self.0.try_read(&mut [0; 8]) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                read => return read.map(drop),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
struct Timer;

#[cfg(not(target_os = "linux"))]
impl Timer {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn sleep(&self, time: Duration) -> std::io::Result<()> {
        tokio::time::sleep(time).await;
        Ok(())
    }
}
