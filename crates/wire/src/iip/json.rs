//! The little JSON that the wire itself says: failures, and the answers of system paths.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What a handler's own failure begins with.
const HANDLER: &str = "handler fail:";

/// The codes of the wire.
pub(crate) const OF_HANDLER: i64 = -1;
pub(crate) const NO_RESPONSE: &[u8] = br#"{"code":101,"message":"handle no response"}"#;
pub(crate) const UNKNOWN: i64 = 102;
pub(crate) const UNKNOWN_PATH: &[u8] = br#"{"code":102,"message":"handle error"}"#;
pub(crate) const NO_MORE_CHANNELS: &[u8] = br#"{"code":106,"message":"channel create limited"}"#;
pub(crate) const DONE: &[u8] = br#"{"code":0}"#;
pub(crate) const HELLO: &[u8] = br#"{"code":0,"trunkline":2}"#;

/// The data of a failure of the handler's own. What is no text is replaced.
pub(crate) fn failed(message: &[u8]) -> Vec<u8> {
    let text = format!("{HANDLER}{}", String::from_utf8_lossy(message));
    // A text can always be written.
    let text = serde_json::to_string(&text).unwrap_or_default();
    format!(r#"{{"code":{OF_HANDLER},"message":{text}}}"#).into_bytes()
}

/// The data that grants a channel.
pub(crate) fn granted(channel: u32) -> Vec<u8> {
    format!(r#"{{"code":0,"channel_id":{channel}}}"#).into_bytes()
}

/// Code and text of data that is a failure: a JSON object of exactly a code that is not 0 and a text. The text is
/// still escaped, and has no `handler fail:` before it.
pub(crate) fn failure(data: &[u8]) -> Option<(i64, &[u8])> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Said<'a> {
        code: i64,
        #[serde(borrow)]
        message: &'a RawValue,
    }
    // Most data is something else, and need not be read to its end to see that.
    let begin = data.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
    if !begin.starts_with(br#""code""#) && !begin.starts_with(br#""message""#) {
        return None;
    }
    let Said { code, message } = serde_json::from_slice(data).ok()?;
    let text = message.get().strip_prefix('"')?.strip_suffix('"')?;
    let text = if code == OF_HANDLER { text.strip_prefix(HANDLER).unwrap_or(text) } else { text };
    (code != 0).then_some((code, text.as_bytes()))
}

/// The text with its escapes taken out.
pub(crate) fn unescaped(text: &[u8]) -> Cow<'_, str> {
    let plain = String::from_utf8_lossy(text);
    if !text.contains(&b'\\') {
        return plain;
    }
    serde_json::from_str(&format!("\"{plain}\"")).map(Cow::Owned).unwrap_or(plain)
}

/// The channel that an answer to `/sys/new_channel` grants.
pub(crate) fn grant(data: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Grant {
        code: i64,
        channel_id: u32,
    }
    let Grant { code, channel_id } = serde_json::from_slice(data).ok()?;
    (code == 0).then_some(channel_id)
}

/// Whether an answer to `/sys/trunkline` is Trunkline's.
pub(crate) fn is_hello(data: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Hello {
        code: i64,
        trunkline: u64,
    }
    serde_json::from_slice(data).is_ok_and(|Hello { code, trunkline }| code == 0 && trunkline >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_from_other_objects() {
        assert_eq!(failure(UNKNOWN_PATH), Some((102, &b"handle error"[..])));
        assert_eq!(failure(NO_RESPONSE), Some((101, &b"handle no response"[..])));
        assert_eq!(failure(br#" { "message" : "a\"b" , "code" : 7 } "#), Some((7, &br#"a\"b"#[..])));
        for other in [
            &br#"{"code":0,"message":"x"}"#[..],
            br#"{"code":1,"message":2}"#,
            br#"{"code":1,"message":"x","more":1}"#,
            br#"{"code":1}"#,
            br#"{"code":"1","message":"x"}"#,
            br#"{"code":1.5,"message":"x"}"#,
            br#"{"code":1,"message":"x"}{}"#,
            br#"{"code":1,"code":2,"message":"x"}"#,
            br#"[{"code":1,"message":"x"}]"#,
            br#"{"C":42}"#,
            b"{}",
            b"",
            b"{\"code\":1,\"message\":\"\xff\"}",
        ] {
            assert_eq!(failure(other), None, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn texts_come_back_as_they_were() {
        for text in ["", "divide by zero", "größer", "a\"b\\c\n\u{1}", "handler fail:twice", "\\u0041"] {
            let data = failed(text.as_bytes());
            let (code, raw) = failure(&data).unwrap();
            assert_eq!((code, &*unescaped(raw)), (-1, text));
        }
        assert_eq!(failed(b"refused"), br#"{"code":-1,"message":"handler fail:refused"}"#);
        assert_eq!(unescaped(br#"\u00"#), r#"\u00"#);
    }

    #[test]
    fn grants_and_hellos() {
        assert_eq!(grant(&granted(7)), Some(7));
        for refused in [NO_MORE_CHANNELS, UNKNOWN_PATH, b"{}", br#"{"code":0,"channel_id":-1}"#] {
            assert_eq!(grant(refused), None);
        }
        assert!(is_hello(HELLO) && !is_hello(UNKNOWN_PATH) && !is_hello(br#"{"code":0,"trunkline":1}"#));
    }
}
