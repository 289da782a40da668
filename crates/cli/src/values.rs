//! What stands on the command line, as values.

use std::io::Read;
use std::time::Duration;

use trunkline::{Limits, Metadata, Pairs, Serialization, balance, metadata};

use crate::exit::Failure;

/// A time such as `200ms`, `1.5s` or `2m`; more than none.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time has a unit, as in 200ms, 1.5s or 2m".to_owned()),
    };
    let number = number.parse::<f64>().ok().filter(|number| *number > 0.0);
    let time = number.and_then(|number| Duration::try_from_secs_f64(number * seconds).ok());
    time.filter(|time| !time.is_zero())
        .ok_or_else(|| "no time above 0 that can be waited for, as in 200ms or 5s".to_owned())
}

/// The codec's name.
pub(crate) fn codec(text: &str) -> Result<Serialization, String> {
    match text {
        "json" => Ok(Serialization::Json),
        "msgpack" => Ok(Serialization::MessagePack),
        "protobuf" => Ok(Serialization::Protobuf),
        "thrift" => Ok(Serialization::Thrift),
        "raw" => Ok(Serialization::Raw),
        _ => Err("one of json, msgpack, protobuf, thrift, raw".to_owned()),
    }
}

/// What bodies are serialised in on a wire that has gob (`gob`) or any other, and whether they are bytes as they are.
pub(crate) fn on_wire(
    codec: Serialization,
    gob: bool,
    metadata: &Metadata,
) -> Result<(Serialization, bool), Failure> {
    if !gob {
        return Ok((codec, codec == Serialization::Raw));
    }
    if !metadata.is_empty() {
        return Err(Failure::usage("net/rpc carries no metadata: there is nowhere for -H to go"));
    }
    match codec {
        Serialization::Json => Ok((Serialization::Gob, false)),
        Serialization::Raw => Ok((Serialization::Gob, true)),
        _ => Err(Failure::usage("net/rpc carries gob: --codec json says it in JSON, raw sends bytes")),
    }
}

/// How calls are spread over several endpoints.
pub(crate) fn select(text: &str) -> Result<String, String> {
    let names = balance::NAMES.join(", ");
    match text {
        "ping" | "geo" => Err(format!("--select {text} is not built yet; one of {names}")),
        _ if balance::NAMES.contains(&text) => Ok(text.to_owned()),
        _ => Err(format!("one of {names}")),
    }
}

/// `key:value` as a pair; blanks before the value do not count. `Authorization` is the token's key on every wire.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("a header is key:value")?;
    let key = key.trim();
    if key.is_empty() {
        return Err("the key before the colon is empty".to_owned());
    }
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err("a key or a value has a line end or another control character in it".to_owned());
    }
    let key = if key.eq_ignore_ascii_case("authorization") { metadata::AUTH } else { key };
    Ok((key.to_owned(), value.trim_start().to_owned()))
}

/// `NAME=HOST:PORT`.
pub(crate) fn remote(text: &str) -> Result<(String, String), String> {
    let (name, address) = text.split_once('=').ok_or("another node is NAME=HOST:PORT")?;
    Ok((name.to_owned(), address.to_owned()))
}

/// The headers as metadata, within the limits that every peer of ours has.
pub(crate) fn metadata_of(headers: &[(String, String)]) -> Result<Metadata, Failure> {
    let begun = Metadata::builder();
    let metadata = headers.iter().fold(begun, |all, (key, value)| all.with(key, value)).build();
    let limits = Limits::default();
    match Pairs::parse(metadata.pairs().as_bytes(), &limits) {
        Ok(_) => Ok(metadata),
        Err(_) => Err(Failure::usage(format!(
            "the metadata (-H) has {} pairs and {} bytes; {} pairs and {} bytes can be sent",
            headers.len(),
            metadata.pairs().as_bytes().len(),
            limits.metadata_pairs,
            limits.metadata
        ))),
    }
}

/// `Service.Method`, cut at the last dot.
pub(crate) fn method(text: &str) -> Result<(&str, &str), Failure> {
    let names = text.rsplit_once('.').filter(|(service, method)| !service.is_empty() && !method.is_empty());
    names.filter(|_| !text.contains(char::is_control)).ok_or_else(|| {
        Failure::usage(format!("'{text}' is no method; write Service.Method, for example Arith.Mul"))
    })
}

/// The body: as it stands there, the bytes of `@FILE`, or standard input for `@-`.
pub(crate) fn body(argument: &str) -> Result<Vec<u8>, Failure> {
    let unreadable = |what: &str, error| Failure::usage(format!("cannot read {what}: {error}"));
    match argument.strip_prefix('@') {
        None => Ok(argument.as_bytes().to_vec()),
        Some("-") => {
            let mut all = Vec::new();
            std::io::stdin().read_to_end(&mut all).map_err(|error| unreadable("standard input", error))?;
            Ok(all)
        }
        Some("") => {
            Err(Failure::usage("the file's name is missing after @ (@FILE, or @- for standard input)"))
        }
        Some(path) => std::fs::read(path).map_err(|error| unreadable(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_are_above_zero() {
        assert_eq!(duration("200ms").unwrap(), Duration::from_millis(200));
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert_eq!(duration("50us").unwrap(), Duration::from_micros(50));
        for bad in ["", "5", "ms", "0s", "-1s", "1e400s", "1x", "NaNs", "infs", "5 s", "1s2"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_are_pairs() {
        assert_eq!(header("a:b:c").unwrap(), ("a".to_owned(), "b:c".to_owned()));
        assert_eq!(header("a: b").unwrap(), ("a".to_owned(), "b".to_owned()));
        assert_eq!(header("authorization: Bearer t").unwrap().0, "__AUTH");
        for bad in ["a:b\r\nc", "a\n:b", "a:\0", "a:\x1b[1m"] {
            assert!(header(bad).unwrap_err().contains("control character"), "{bad:?}");
        }
        assert!(header("a").is_err() && header(":b").is_err());
    }
}
