//! `Hello`: the message of rpcx's benchmark, decoded and encoded in full.

use serde::{Deserialize, Serialize};
use trunkline::{Message, Result, service};

/// The benchmark message; a filled one has 581 bytes in protobuf.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Message)]
pub(crate) struct BenchmarkMessage {
    field1: String,
    field2: i32,
    field3: i32,
    field4: String,
    #[message(kind = "fixed")]
    field5: Vec<u64>,
    field6: i32,
    field7: String,
    #[message(number = 9)]
    field9: String,
    #[message(number = 12)]
    field12: bool,
    field13: bool,
    field14: bool,
    #[message(number = 16)]
    field16: i32,
    field17: bool,
    field18: String,
    #[message(number = 22)]
    field22: i64,
    field23: i32,
    field24: bool,
    field25: i32,
    #[message(number = 29)]
    field29: i32,
    field30: bool,
    #[message(number = 59)]
    field59: bool,
    field60: i32,
    #[message(number = 67)]
    field67: i32,
    field68: i32,
    #[message(number = 78)]
    field78: bool,
    #[message(number = 80)]
    field80: bool,
    field81: bool,
    #[message(number = 100)]
    field100: i32,
    field101: i32,
    field102: String,
    field103: String,
    field104: i32,
    #[message(number = 128)]
    field128: i32,
    field129: String,
    field130: i32,
    field131: i32,
    #[message(number = 150)]
    field150: i32,
    #[message(number = 271)]
    field271: i32,
    field272: i32,
    #[message(number = 280)]
    field280: i32,
}

/// The service of rpcx's benchmark.
#[service]
pub(crate) trait Hello {
    /// The same message with field1 = `OK` and field2 = 100.
    fn say(&self, message: BenchmarkMessage) -> Result<BenchmarkMessage>;
}

/// Says OK.
pub(crate) struct Greeter;

impl Hello for Greeter {
    fn say(&self, message: BenchmarkMessage) -> Result<BenchmarkMessage> {
        Ok(BenchmarkMessage { field1: "OK".to_owned(), field2: 100, ..message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use trunkline::Serialization::Protobuf;
    use trunkline::codec::Payload;

    #[test]
    fn the_recorded_message_is_answered_to_the_byte() {
        let request = include_bytes!("../../../wire/testdata/say-request.bin");
        let message = BenchmarkMessage::decode(Protobuf, request).unwrap();
        let mut bytes = Vec::new();
        message.encode(Protobuf, &mut bytes).unwrap();
        assert_eq!(bytes, request);
        bytes.clear();
        Greeter.say(message).unwrap().encode(Protobuf, &mut bytes).unwrap();
        assert_eq!(bytes, include_bytes!("../../../wire/testdata/say-reply.bin"));
    }
}
