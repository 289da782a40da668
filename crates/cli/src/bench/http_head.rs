//! The head of an HTTP request, as the library's own client writes it: `POST /Service/Method`, and rpcx's headers where
//! the serialisation has to be said.

use std::fmt::Write as _;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use trunkline::{Address, Metadata, Serialization, metadata};

/// What stands in a path and in a pair as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The head up to the length of the body.
///
/// # Errors
/// Something does not fit into a head, and what.
pub(super) fn head(
    address: &Address,
    (service, method): (&str, &str),
    codec: Serialization,
    metadata: &Metadata,
    timeout: Option<Duration>,
) -> Result<Vec<u8>, String> {
    let host = match address {
        Address::Tcp(address) => address.as_str(),
        _ => "localhost",
    };
    let kind = if codec == Serialization::Json { "application/json" } else { "application/octet-stream" };
    let escaped = |bytes| percent_encode(bytes, ESCAPED);
    let (path, name) = (escaped(service.as_bytes()), escaped(method.as_bytes()));
    let mut head = format!("POST /{path}/{name} HTTP/1.1\r\nhost: {host}\r\ncontent-type: {kind}\r\n");
    let mut header = |name: &str, value: &str| {
        if value.chars().any(char::is_control) {
            return Err(format!("{name} does not fit into a head"));
        }
        // Writing to a text cannot fail.
        let _ = write!(head, "{name}: {value}\r\n");
        Ok(())
    };
    let number = match codec {
        Serialization::Protobuf => Some("2"),
        Serialization::MessagePack => Some("3"),
        Serialization::Thrift => Some("4"),
        _ => None,
    };
    if let Some(number) = number {
        header("x-rpcx-servicepath", service)?;
        header("x-rpcx-servicemethod", method)?;
        header("x-rpcx-serializetype", number)?;
        header("x-rpcx-messageid", "1")?;
    }
    let mut pairs = Vec::new();
    for (key, value) in metadata.iter() {
        if key == metadata::AUTH.as_bytes() {
            let token = String::from_utf8_lossy(value);
            header("authorization", &format!("Bearer {}", token.strip_prefix("Bearer ").unwrap_or(&token)))?;
        } else {
            pairs.push(format!("{}={}", escaped(key), escaped(value)));
        }
    }
    if !pairs.is_empty() {
        header("x-rpcx-meta", &pairs.join("&"))?;
    }
    if let Some(timeout) = timeout {
        header("x-timeout", &format!("{}ms", timeout.as_millis().max(1)))?;
    }
    Ok(head.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(codec: Serialization, pairs: &[(&str, &str)]) -> Result<String, String> {
        let begun = Metadata::builder();
        let metadata = pairs.iter().fold(begun, |all, (key, value)| all.with(key, value)).build();
        let address: Address = "127.0.0.1:80".parse().unwrap();
        let head = head(&address, ("Ari th", "Mul"), codec, &metadata, Some(Duration::from_millis(200)))?;
        Ok(String::from_utf8(head).unwrap())
    }

    #[test]
    fn the_head_says_it_all() {
        let plain = text(Serialization::Json, &[("__AUTH", "t"), ("a b", "c&d"), ("e", "f")]).unwrap();
        assert_eq!(
            plain,
            "POST /Ari%20th/Mul HTTP/1.1\r\nhost: 127.0.0.1:80\r\ncontent-type: application/json\r\n\
             authorization: Bearer t\r\nx-rpcx-meta: a%20b=c%26d&e=f\r\nx-timeout: 200ms\r\n"
        );
        let rpcx = text(Serialization::MessagePack, &[]).unwrap();
        assert!(rpcx.contains("x-rpcx-servicepath: Ari th\r\n") && rpcx.contains("serializetype: 3\r\n"));
        assert!(text(Serialization::Json, &[("__AUTH", "a\r\nb: c")]).is_err());
    }
}
