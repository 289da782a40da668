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
use crate::server::written;

struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
    unsent: Vec<u8>,
    /// When the call of each place was written.
    begun: Vec<Instant>,
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
    let (service, method) = method.split_once('.').ok_or("--method wants Service.Method")?;
    let file: String = crate::option(arguments, "--body", String::new())?;
    let body = match file.as_str() {
        "" => vec![b'x'; crate::option(arguments, "--size", 581)?],
        file => std::fs::read(file)?,
    };
    let call = frame::call(service, method, crate::option(arguments, "--format", 0)?, &body);

    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut table = Vec::new();
    for place in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, EventData::new_u64(place as u64), EventFlags::IN)?;
        let begun = vec![Instant::now(); in_flight];
        table.push(Connection { stream, rest: Vec::new(), unsent: Vec::new(), begun });
    }
    for (place, connection) in table.iter_mut().enumerate() {
        let mut first = Vec::new();
        for number in 0..in_flight {
            let at = first.len();
            first.extend_from_slice(&call);
            frame::set_number(&mut first[at..], number as u64);
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
        call: &[u8],
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
        while let Some(length) = frame::whole(&bytes[end..]) {
            let answer = &bytes[end..end + length];
            end += length;
            let number = frame::number(answer);
            let begun = self.begun.get_mut(number as usize).ok_or("an answer to no call")?;
            figures.latency.saturating_record((now - *begun).as_nanos() as u64);
            *begun = now;
            figures.calls += 1;
            figures.failed += u64::from(!frame::is_good(answer));
            let at = out.len();
            out.extend_from_slice(call);
            frame::set_number(&mut out[at..], number);
        }
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[end..]);
        self.write(out)?;
        Ok(())
    }
}
