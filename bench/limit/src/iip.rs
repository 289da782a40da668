//! As much of the IIP frame as an echo needs: where it ends, its channel, and what opens channels.
//!
//! A frame is a status, a path and a zero byte, the channel, the length of the data, the data.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::Result;

/// A whole request, and a whole answer.
const REQUEST: u8 = 1;
const ANSWER: u8 = 5;

const NEW_CHANNEL: &[u8] = b"/sys/new_channel";

/// Where the path of the frame ends, once that is there.
fn path_end(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == 0)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The length of the frame that `bytes` begins with, once it is all there.
pub(crate) fn whole(bytes: &[u8]) -> Option<usize> {
    let end = path_end(bytes.get(1..)?)? + 1;
    let length = end + 9 + word(bytes, end + 5)? as usize;
    (bytes.len() >= length).then_some(length)
}

/// A call on this channel.
pub(crate) fn call(path: &str, channel: u32, body: &[u8]) -> Vec<u8> {
    frame(REQUEST, path.as_bytes(), channel, body)
}

fn frame(status: u8, path: &[u8], channel: u32, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![status];
    frame.extend(path);
    frame.push(0);
    frame.extend(channel.to_be_bytes());
    frame.extend((data.len() as u32).to_be_bytes());
    frame.extend(data);
    frame
}

/// The channel of an answer to this call, where it is a good one: without the query of the path, as long as the call, and
/// its data begins as there.
pub(crate) fn answered(answer: &[u8], call: &[u8], path: &str) -> Option<u32> {
    let end = path.find('?').unwrap_or(path.len()) + 1;
    let expected = call.get(path.len() + 1..)?;
    let got = answer.get(end..)?;
    let same = got.len() == expected.len() && got.get(5..10) == expected.get(5..10);
    (same && answer.first() == Some(&ANSWER)).then(|| word(got, 1)).flatten()
}

/// Makes the whole frames that `bytes` begins with their own answers, and says how many bytes they have. Where one is
/// not answered in its place (a query is cut off, a channel is granted) all answers are in `other` instead.
pub(crate) fn answer(bytes: &mut [u8], granted: &mut u32, other: &mut Vec<u8>) -> usize {
    let mut at = 0;
    other.clear();
    while let Some(length) = whole(&bytes[at..]) {
        let frame = &mut bytes[at..at + length];
        let end = path_end(&frame[1..]).unwrap_or_default() + 1;
        let query = frame[1..end].iter().position(|byte| *byte == b'?');
        let grants = frame[1..end] == *NEW_CHANNEL;
        frame[0] = ANSWER;
        if grants || query.is_some() {
            if other.is_empty() {
                other.extend_from_slice(&bytes[..at]);
            }
            let frame = &bytes[at..at + length];
            let path = &frame[1..1 + query.unwrap_or(end - 1)];
            let channel = word(frame, end + 1).unwrap_or_default();
            if grants {
                *granted += 1;
                let text = format!(r#"{{"code":0,"channel_id":{granted}}}"#);
                other.extend(self::frame(ANSWER, path, channel, text.as_bytes()));
            } else {
                other.extend(self::frame(ANSWER, path, channel, &frame[end + 9..]));
            }
        } else if !other.is_empty() {
            other.extend_from_slice(frame);
        }
        at += length;
    }
    at
}

/// Has the server open so many channels: their ids.
pub(crate) fn channels(stream: &mut TcpStream, count: usize) -> Result<Vec<u32>> {
    let ask = frame(REQUEST, NEW_CHANNEL, 0, b"{}");
    let mut channels = Vec::new();
    for _ in 0..count {
        stream.write_all(&ask)?;
        let mut answer = Vec::new();
        while whole(&answer).is_none() {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            answer.extend(byte);
        }
        let text = String::from_utf8_lossy(&answer);
        let id = text
            .rsplit_once("\"channel_id\":")
            .and_then(|(_, id)| id.trim_end_matches('}').trim().parse().ok());
        channels.push(id.ok_or_else(|| format!("no channel was granted: {text}"))?);
    }
    Ok(channels)
}
