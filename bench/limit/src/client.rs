//! The client: a closed loop on one thread; an answer's place is called again within the read that brought it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::Result;
use crate::frame::{self, BATCH};
use crate::iip;
use crate::server::written;

struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
    unsent: Vec<u8>,
    places: Places,
}

/// The calls in flight on one connection, by when each was written.
enum Places {
    /// rpcx: by the number of the call.
    Numbered(Vec<Instant>),
    /// IIP: by channel, each in its order. As many are in flight on each all the time, so a ring is enough.
    Ordered(Vec<Ring>),
}

struct Ring {
    channel: u32,
    begun: Vec<Instant>,
    /// Whose answer comes next.
    next: usize,
}

/// What is called: on rpcx the number stands in the call, on IIP the channel.
struct Call {
    bytes: Vec<u8>,
    /// IIP's path.
    path: Option<String>,
}

impl Call {
    fn whole(&self, bytes: &[u8]) -> Option<usize> {
        if self.path.is_some() { iip::whole(bytes) } else { frame::whole(bytes) }
    }

    /// Appends the call with this number or on this channel.
    fn append(&self, number: u64, out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(&self.bytes);
        match &self.path {
            None => frame::set_number(&mut out[at..], number),
            Some(path) => {
                let at = at + path.len() + 2;
                out[at..at + 4].copy_from_slice(&(number as u32).to_be_bytes());
            }
        }
    }
}

impl Places {
    /// When the call of the answer was written, and now it is written again; its number or channel.
    fn take(&mut self, answer: &[u8], call: &Call, now: Instant) -> Result<(Instant, u64, bool)> {
        match self {
            Self::Numbered(begun) => {
                let number = frame::number(answer);
                let begun = begun.get_mut(number as usize).ok_or("an answer to no call")?;
                Ok((std::mem::replace(begun, now), number, frame::is_good(answer)))
            }
            Self::Ordered(rings) => {
                let path = call.path.as_deref().unwrap_or_default();
                let channel = iip::answered(answer, &call.bytes, path).ok_or("not the answer to the call")?;
                let ring = rings.iter_mut().find(|ring| ring.channel == channel).ok_or("no such channel")?;
                let begun = std::mem::replace(&mut ring.begun[ring.next], now);
                ring.next = (ring.next + 1) % ring.begun.len();
                Ok((begun, u64::from(channel), true))
            }
        }
    }

    /// The numbers or channels of all calls, in turn.
    fn all(&self) -> Vec<u64> {
        match self {
            Self::Numbered(begun) => (0..begun.len() as u64).collect(),
            Self::Ordered(rings) => {
                let depth = rings.first().map_or(0, |ring| ring.begun.len());
                (0..depth).flat_map(|_| rings.iter().map(|ring| u64::from(ring.channel))).collect()
            }
        }
    }
}

/// What is counted between the end of the warm-up and the end.
struct Figures {
    latency: Histogram<u64>,
    calls: u64,
    failed: u64,
}

pub(crate) fn run(arguments: &[String]) -> Result {
    let address = arguments.first().ok_or(crate::USAGE)?;
    let connections: usize = crate::option(arguments, "--connections", 1)?;
    let in_flight: usize = crate::option(arguments, "--in-flight", 1)?;
    let seconds: f64 = crate::option(arguments, "--seconds", 1.0)?;
    let calls: u64 = crate::option(arguments, "--calls", u64::MAX)?;
    let warmup = Duration::from_millis(crate::option(arguments, "--warmup-ms", 120)?);
    let method: String = crate::option(arguments, "--method", "Echo.Echo".to_owned())?;
    let iip = crate::is_iip(arguments)?;
    let channels: usize = crate::option(arguments, "--channels", 1)?;
    if iip && (channels == 0 || !in_flight.is_multiple_of(channels)) {
        return Err("--in-flight wants to be the same on each of --channels".into());
    }
    let file: String = crate::option(arguments, "--body", String::new())?;
    let body = match file.as_str() {
        "" => vec![b'x'; crate::option(arguments, "--size", 581)?],
        file => std::fs::read(file)?,
    };
    let call = if iip {
        Call { bytes: iip::call(&method, 0, &body), path: Some(method) }
    } else {
        let (service, method) = method.split_once('.').ok_or("--method wants Service.Method")?;
        let format = crate::option(arguments, "--format", 0)?;
        Call { bytes: frame::call(service, method, format, &body), path: None }
    };

    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut table = Vec::new();
    for place in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let places = if iip {
            let granted = iip::channels(&mut stream, channels)?.into_iter();
            let ring = |channel| Ring { channel, begun: vec![Instant::now(); in_flight / channels], next: 0 };
            Places::Ordered(granted.map(ring).collect())
        } else {
            Places::Numbered(vec![Instant::now(); in_flight])
        };
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, EventData::new_u64(place as u64), EventFlags::IN)?;
        table.push(Connection { stream, rest: Vec::new(), unsent: Vec::new(), places });
    }
    for (place, connection) in table.iter_mut().enumerate() {
        let mut first = Vec::new();
        for number in connection.places.all() {
            call.append(number, &mut first);
        }
        connection.write(&first)?;
        if !connection.unsent.is_empty() {
            epoll::modify(
                &poll,
                &connection.stream,
                EventData::new_u64(place as u64),
                EventFlags::OUT | EventFlags::IN,
            )?;
        }
    }

    let mut figures =
        Figures { latency: Histogram::new_with_bounds(100, 60_000_000_000, 2)?, calls: 0, failed: 0 };
    let mut events = Vec::with_capacity(1024);
    let mut buffer = vec![0; 2 * BATCH];
    let mut out = Vec::with_capacity(2 * BATCH);
    let mut begun = Instant::now();
    let mut warm = false;
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    loop {
        events.clear();
        epoll::wait(&poll, spare_capacity(&mut events), Some(&patience))?;
        if events.is_empty() {
            return Err("no answer for 5 s".into());
        }
        let now = Instant::now();
        if !warm && now - begun >= warmup {
            println!("begin");
            (warm, begun) = (true, Instant::now());
            figures.latency.reset();
            (figures.calls, figures.failed) = (0, 0);
        } else if warm && (now - begun).as_secs_f64() >= seconds || figures.calls >= calls {
            break;
        }
        for event in &events {
            let place = event.data.u64();
            let connection = &mut table[place as usize];
            let before = connection.unsent.is_empty();
            connection.turn(now, event.flags, &call, &mut buffer, &mut out, &mut figures)?;
            if connection.unsent.is_empty() != before {
                let more = if before { EventFlags::OUT } else { EventFlags::empty() };
                epoll::modify(&poll, &connection.stream, EventData::new_u64(place), EventFlags::IN | more)?;
            }
        }
    }
    report(&figures, begun.elapsed());
    Ok(())
}

fn report(figures: &Figures, duration: Duration) {
    let at = |quantile| figures.latency.value_at_quantile(quantile) as f64 / 1000.0;
    println!(
        r#"{{"rps":{:.1},"n":{},"failed":{},"duration_s":{:.6},"p50_us":{:.1},"p99_us":{:.1},"p999_us":{:.1}}}"#,
        figures.calls as f64 / duration.as_secs_f64(),
        figures.calls,
        figures.failed,
        duration.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
    );
}

impl Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.unsent.is_empty() {
            let written = written(self.stream.write(bytes))?;
            self.unsent.extend_from_slice(&bytes[written..]);
        } else {
            self.unsent.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// One read, one write: every answer that came makes the next call of its place.
    fn turn(
        &mut self,
        now: Instant,
        ready: EventFlags,
        call: &Call,
        buffer: &mut Vec<u8>,
        out: &mut Vec<u8>,
        figures: &mut Figures,
    ) -> Result {
        if ready.contains(EventFlags::OUT) {
            let written = written(self.stream.write(&self.unsent))?;
            self.unsent.drain(..written);
        }
        if !ready.contains(EventFlags::IN) {
            return Ok(());
        }
        let kept = self.rest.len();
        if buffer.len() < kept + BATCH {
            buffer.resize(kept + BATCH, 0);
        }
        buffer[..kept].copy_from_slice(&self.rest);
        let read = self.stream.read(&mut buffer[kept..kept + BATCH])?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        out.clear();
        let bytes = &buffer[..kept + read];
        let mut end = 0;
        while let Some(length) = call.whole(&bytes[end..]) {
            let answer = &bytes[end..end + length];
            end += length;
            let (begun, number, good) = self.places.take(answer, call, now)?;
            figures.latency.saturating_record((now - begun).as_nanos() as u64);
            figures.calls += 1;
            figures.failed += u64::from(!good);
            call.append(number, out);
        }
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[end..]);
        self.write(out)?;
        Ok(())
    }
}
