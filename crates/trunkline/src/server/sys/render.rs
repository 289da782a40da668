//! The figures as the Go program writes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use trunkline_wire::{Report, Traffic};

use super::measure::{Figures, Measure, PLACES};
use crate::layer::{RANGES, Range};

/// What was counted. Of paths, the server and a connection the Go program leaves `PacketReceived` and `BytesReceived`
/// at 0; of channels it fills all.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Count {
    packets_sent: u64,
    packet_received: u64,
    whole_packet_sent: u64,
    whole_packet_received: u64,
    bytes_sent: u64,
    bytes_received: u64,
}

impl Count {
    /// Of a path or the server. A request counts when it is answered, and each has one answer.
    pub(super) fn of_sent(sent: &Traffic) -> Self {
        Self {
            packets_sent: sent.frames_sent,
            packet_received: 0,
            whole_packet_sent: sent.messages_sent,
            whole_packet_received: sent.messages_sent,
            bytes_sent: sent.bytes_sent,
            bytes_received: 0,
        }
    }

    /// Of a channel. A whole request counts when it is answered, as there.
    fn of_channel(traffic: &Traffic, unanswered: u64) -> Self {
        Self {
            packets_sent: traffic.frames_sent,
            packet_received: traffic.frames_received,
            whole_packet_sent: traffic.messages_sent,
            whole_packet_received: traffic.messages_received.saturating_sub(unanswered),
            bytes_sent: traffic.bytes_sent,
            bytes_received: traffic.bytes_received,
        }
    }

    /// Of a connection.
    fn of_connection(traffic: &Traffic, unanswered: u64) -> Self {
        Self { packet_received: 0, bytes_received: 0, ..Self::of_channel(traffic, unanswered) }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Connection {
    channels: BTreeMap<String, Channel>,
    write_queue: u64,
    count: Count,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Channel {
    receive_queue: u64,
    count: Count,
}

impl Connection {
    /// There is no queue of packets before the socket here, so `WriteQueue` is 0.
    pub(super) fn of(report: &Report) -> Self {
        let channel = |channel: &trunkline_wire::ChannelReport| Channel {
            receive_queue: u64::try_from(channel.waiting).unwrap_or(u64::MAX),
            count: Count::of_channel(&channel.traffic, channel.unanswered),
        };
        Self {
            channels: report.channels.iter().map(|of| (of.id.to_string(), channel(of))).collect(),
            write_queue: 0,
            count: Count::of_connection(&report.total, report.unanswered),
        }
    }
}

#[derive(Serialize)]
struct MeasureJson {
    five_minute_requests: Vec<u64>,
    five_minute_duration: Vec<u64>,
    all_requests: u64,
    all_duration: u64,
    five_minute_timecount: Vec<TimeCount>,
    all_timecount: TimeCount,
}

#[derive(Serialize)]
struct TimeCount {
    range_count: [RangeJson; RANGES],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RangeJson {
    duration: u64,
    count: u64,
}

impl From<&Figures> for TimeCount {
    fn from(figures: &Figures) -> Self {
        let range = |range: Range| RangeJson { duration: range.nanoseconds, count: range.count };
        Self { range_count: figures.ranges.map(range) }
    }
}

/// A measure as JSON, at the second `now`. A second stands at its number modulo 301.
pub(super) fn measure_json(measure: &Measure, now: u64) -> Vec<u8> {
    let places = usize::try_from(PLACES).unwrap_or_default();
    let mut seconds = vec![Figures::default(); places];
    for (second, figures) in measure.recent(now) {
        if let Some(place) = usize::try_from(second % PLACES).ok().and_then(|at| seconds.get_mut(at)) {
            *place = *figures;
        }
    }
    json(&MeasureJson {
        five_minute_requests: seconds.iter().map(Figures::requests).collect(),
        five_minute_duration: seconds.iter().map(Figures::duration).collect(),
        all_requests: measure.all.requests(),
        all_duration: measure.all.duration(),
        five_minute_timecount: seconds.iter().map(TimeCount::from).collect(),
        all_timecount: TimeCount::from(&measure.all),
    })
}

/// JSON of what cannot fail to be JSON: numbers, and maps of texts.
pub(super) fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// How many nanoseconds the unit of time has that `/sys/statis` is asked for, as its data says: microseconds where it
/// says nothing, or something else.
pub(super) fn unit(data: &[u8]) -> u64 {
    let asked: Option<serde_json::Value> = serde_json::from_slice(data).ok();
    match asked.as_ref().and_then(|asked| asked.get("time_unit")?.as_str()) {
        Some("nanosecond") => 1,
        Some("millisecond") => 1_000_000,
        Some("second") => 1_000_000_000,
        _ => 1_000,
    }
}

/// What `/sys/statis` answers: the server and each path, in the order of the table.
pub(super) struct Statis {
    text: String,
    unit: u64,
    now: u64,
}

impl Statis {
    pub(super) fn new(unit: u64, now: u64) -> Self {
        Self { text: String::new(), unit, now }
    }

    /// The server as a whole.
    pub(super) fn total(&mut self, count: &Count, measure: &Measure) {
        let line = "-----------------------------------";
        self.text += &format!("total count: {}\ntotal measure: \n", text(count));
        self.measure(measure);
        self.text += &format!("\n{line}\n");
    }

    /// One path.
    pub(super) fn path(&mut self, path: &str, count: &Count, measure: &Measure) {
        self.text += &format!("{path} count: {}\n{path} measure: \n", text(count));
        self.measure(measure);
        self.text += "\n\n";
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }

    fn measure(&mut self, measure: &Measure) {
        let mut recent = Figures::default();
        for (_, figures) in measure.recent(self.now) {
            recent.add(figures);
        }
        let average = |figures: &Figures| figures.duration() / figures.requests().max(1) / self.unit;
        let rows = [("5 minute", &recent), ("all", &measure.all)];
        self.text.push('\n');
        for (name, of) in rows {
            let name = format!("{name} requests");
            let (requests, average) = (of.requests(), average(of));
            self.text += &format!("{name:<22}: {requests}, average duration: {average}\n");
        }
        for (name, of) in rows {
            let name = format!("{name} timecount");
            let ranges = self.ranges(of);
            self.text += &format!("{name:<22}: {ranges}\n");
        }
    }

    fn ranges(&self, figures: &Figures) -> String {
        let all = figures.requests().max(1);
        let mut text = String::new();
        for (index, range) in figures.ranges.iter().enumerate() {
            let name = if index + 1 < RANGES { format!("range{}", index + 1) } else { "other".to_owned() };
            let percent = range.count.saturating_mul(100) / all;
            let average = range.nanoseconds / range.count.max(1) / self.unit;
            let between = if index == 0 { "" } else { ", " };
            // Writing to a text does not fail.
            let _ = write!(text, "{between}{name}({},{percent}%, average {average})", range.count);
        }
        text
    }
}

fn text(count: &Count) -> String {
    String::from_utf8(json(count)).unwrap_or_default()
}
