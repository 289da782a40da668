//! As much of the rpcx frame as an echo needs: where it ends, its number, and that it is an answer.

/// How much is read or written at once: more does not stay in the cache.
pub(crate) const BATCH: usize = 64 << 10;

/// The bytes before the lengths.
const HEADER: usize = 16;

/// The length of the frame that `bytes` begins with, once it is all there.
pub(crate) fn whole(bytes: &[u8]) -> Option<usize> {
    let total = u32::from_be_bytes(bytes.get(12..HEADER)?.try_into().ok()?);
    let length = HEADER + total as usize;
    (bytes.len() >= length).then_some(length)
}

/// What stands before the body of a whole frame, and the body.
pub(crate) fn split(frame: &[u8]) -> (&[u8], &[u8]) {
    let mut at = HEADER;
    for _ in 0..3 {
        let length = u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
        at += 4 + length as usize;
    }
    frame.split_at(at + 4)
}

/// The number that ties an answer to its call.
pub(crate) fn number(frame: &[u8]) -> u64 {
    u64::from_be_bytes(frame[4..12].try_into().expect("eight bytes"))
}

/// Writes the number.
pub(crate) fn set_number(frame: &mut [u8], number: u64) {
    frame[4..12].copy_from_slice(&number.to_be_bytes());
}

/// Makes a call its own answer.
pub(crate) fn answer(frame: &mut [u8]) {
    frame[2] |= 0x80;
}

/// Whether the frame is the answer to a call, and a good one.
pub(crate) fn is_good(frame: &[u8]) -> bool {
    frame[0] == 8 && frame[2] & 0x83 == 0x80
}

/// A call. `format` is the number of the serialisation.
pub(crate) fn call(service: &str, method: &str, format: u8, body: &[u8]) -> Vec<u8> {
    let texts = [service.as_bytes(), method.as_bytes(), b"", body];
    let total: usize = texts.iter().map(|text| 4 + text.len()).sum();
    let mut frame = vec![8, 0, 0, format << 4];
    frame.extend([0; 8]);
    frame.extend((total as u32).to_be_bytes());
    for text in texts {
        frame.extend((text.len() as u32).to_be_bytes());
        frame.extend(text);
    }
    frame
}
