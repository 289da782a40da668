//! The 16 bytes that every frame begins with.

use super::{malformed, unsupported};
use crate::{Compression, Limits, Serialization, WireError};

/// The first byte of every frame.
pub(crate) const MAGIC: u8 = 0x08;
/// Offset of the flags in a frame.
pub(crate) const FLAGS_AT: usize = 2;
/// Offset of the total length in a frame.
pub(crate) const TOTAL_AT: usize = 12;
/// Flag: the frame is a response.
pub(crate) const RESPONSE: u8 = 0x80;
/// Flag: the frame is a heartbeat.
pub(crate) const HEARTBEAT: u8 = 0x40;
/// Flag: no answer is wanted; from a server: it sends of its own accord.
pub(crate) const ONE_WAY: u8 = 0x20;
/// The two bits that hold the status, and the status of a failure.
const STATUS: u8 = 0x03;
pub(crate) const ERROR: u8 = 0x01;

/// The head of a frame: all but the four texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version that the sender wrote; 0 everywhere so far.
    pub version: u8,
    /// Bit 7 response, bit 6 heartbeat, bit 5 one-way, bits 4 to 2 compression, bits 1 and 0 status.
    pub flags: u8,
    /// Bits 7 to 4 serialisation, bits 3 to 0 reserved.
    pub format: u8,
    /// The sequence number, which ties a response to its request.
    pub seq: u64,
    /// How many bytes follow the header.
    pub total: u32,
}

/// What a failure's metadata may have beside the usual limit: 1 MiB, for a text of half of that at most.
const FAILURE: usize = 1 << 20;

impl Header {
    /// How many bytes a header has.
    pub const LENGTH: usize = 16;

    /// How many bytes of metadata the message may have: a failure's text travels there, twice.
    #[inline]
    pub(crate) fn metadata_limit(&self, limits: &Limits) -> usize {
        let fails = self.is_response() && self.status() != 0;
        if fails { limits.metadata.saturating_add(FAILURE) } else { limits.metadata }
    }

    /// Reads a header.
    ///
    /// # Errors
    /// The first byte is not the magic number, or the compression is unknown.
    #[inline]
    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Result<Self, WireError> {
        let [magic, version, flags, format, seq @ .., t0, t1, t2, t3] = *bytes;
        if magic != MAGIC {
            return Err(malformed("the frame does not begin with 08", 0));
        }
        if flags & 0x18 != 0 {
            return Err(malformed("unknown compression", FLAGS_AT));
        }
        let total = u32::from_be_bytes([t0, t1, t2, t3]);
        Ok(Self { version, flags, format, seq: u64::from_be_bytes(seq), total })
    }

    /// Writes the header.
    #[must_use]
    #[inline]
    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.seq.to_be_bytes();
        let [t0, t1, t2, t3] = self.total.to_be_bytes();
        [MAGIC, self.version, self.flags, self.format, s0, s1, s2, s3, s4, s5, s6, s7, t0, t1, t2, t3]
    }

    /// Overwrites the sequence number of the frame that these bytes begin with, so that one encoded call can be made
    /// again; what is shorter than a header stays as it is.
    #[inline]
    pub fn renumber(frame: &mut [u8], seq: u64) {
        if let Some([_, _, _, _, number @ .., _, _, _, _]) = frame.first_chunk_mut::<{ Self::LENGTH }>() {
            *number = seq.to_be_bytes();
        }
    }

    /// Whether the frame is a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// Whether the frame is a heartbeat.
    #[must_use]
    pub fn is_heartbeat(&self) -> bool {
        self.flags & HEARTBEAT != 0
    }

    /// Whether the frame wants no answer.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.flags & ONE_WAY != 0
    }

    /// How the body is compressed. The flags of a header that was read hold no other value.
    #[must_use]
    pub fn compression(&self) -> Compression {
        if self.flags & 0x1c == 0 { Compression::None } else { Compression::Gzip }
    }

    /// The status: 0 normal, 1 error.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.flags & STATUS
    }

    /// How the body is serialised.
    #[must_use]
    pub fn serialization(&self) -> Serialization {
        match self.format >> 4 {
            0 => Serialization::Raw,
            1 => Serialization::Json,
            2 => Serialization::Protobuf,
            3 => Serialization::MessagePack,
            4 => Serialization::Thrift,
            other => Serialization::Other(other),
        }
    }
}

/// The bits of a compression in the flags.
#[inline]
pub(crate) fn compression_flags(compression: Compression) -> u8 {
    match compression {
        Compression::None => 0,
        Compression::Gzip => 1 << 2,
    }
}

/// The bits of a serialisation in the format byte.
#[inline]
pub(crate) fn serialization_bits(serialization: Serialization) -> Result<u8, WireError> {
    Ok(match serialization {
        Serialization::Raw => 0,
        Serialization::Json => 0x10,
        Serialization::Protobuf => 0x20,
        Serialization::MessagePack => 0x30,
        Serialization::Thrift => 0x40,
        Serialization::Other(n) if n < 16 => n << 4,
        Serialization::Gob => return Err(unsupported("gob is no serialisation of this wire")),
        Serialization::Other(_) => return Err(unsupported("the serialisation's number is over 15")),
    })
}
