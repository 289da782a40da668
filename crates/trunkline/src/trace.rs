//! Which trace a call belongs to, as its metadata says, and what of it goes on to the calls made for it.
//!
//! Nothing here runs unless it is asked for: a trace is metadata like any other.

use std::fmt;

use trunkline_wire::Pairs;

use crate::Metadata;
use crate::metadata::{OT_BAGGAGE_PREFIX, OT_SAMPLED, OT_SPAN_ID, OT_TRACE_ID, TRACEPARENT, TRACESTATE};

/// How long a `traceparent` of version 00 is; one of a later version may go on behind a dash.
const TRACEPARENT_LENGTH: usize = 55;

/// The trace that a call belongs to. [`Context::trace`](crate::Context::trace) gives it.
///
/// Its [`Display`](fmt::Display) is a `traceparent` of version 00.
///
/// ```
/// use trunkline::{Metadata, Trace};
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = Trace::of(&Metadata::from_iter([("traceparent", header)])).unwrap();
/// assert_eq!(trace.span_id, 0x00f0_67aa_0ba9_02b7);
/// assert!(trace.sampled);
/// assert_eq!(trace.to_string(), header);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    /// The whole trace; never 0.
    pub trace_id: u128,
    /// The caller's part of it; never 0.
    pub span_id: u64,
    /// Whether the caller may have recorded its part.
    pub sampled: bool,
}

impl Trace {
    /// The trace that metadata names: by W3C's `traceparent`, or else by easymicro's `ot-tracer-traceid`,
    /// `ot-tracer-spanid` and `ot-tracer-sampled`. Of several values of a key the first counts, and keys match in
    /// letters of any case. `None` where there is no such value, or none that can be read.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Option<Self> {
        w3c(metadata.pairs()).or_else(|| easymicro(metadata.pairs()))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

fn value<'a>(pairs: Pairs<'a>, name: &str) -> Option<&'a [u8]> {
    pairs.iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
}

/// Reads `traceparent` as <https://www.w3.org/TR/trace-context/> says: strictly, and of a later version the parts
/// that are the same.
fn w3c(pairs: Pairs<'_>) -> Option<Trace> {
    let (head, rest) = value(pairs, TRACEPARENT)?.split_at_checked(TRACEPARENT_LENGTH)?;
    let mut parts = head.splitn(4, |byte| *byte == b'-');
    let mut part = |length| {
        let digits = parts.next().filter(|digits| digits.len() == length)?;
        hex(digits).filter(|_| !digits.iter().any(u8::is_ascii_uppercase))
    };
    let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let ends = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.first().is_none_or(|byte| *byte == b'-'),
    };
    if ends { trace(trace_id, span_id, flags & 1 == 1) } else { None }
}

/// Reads easymicro's keys: numbers in hex without leading zeros, `true` or `false`.
fn easymicro(pairs: Pairs<'_>) -> Option<Trace> {
    let number = |name, most| hex(value(pairs, name).filter(|digits| digits.len() <= most)?);
    let sampled = match value(pairs, OT_SAMPLED)? {
        b"true" => true,
        b"false" => false,
        _ => return None,
    };
    trace(number(OT_TRACE_ID, 32)?, number(OT_SPAN_ID, 16)?, sampled)
}

fn trace(trace_id: u128, span_id: u128, sampled: bool) -> Option<Trace> {
    let span_id = u64::try_from(span_id).ok()?;
    (trace_id != 0 && span_id != 0).then_some(Trace { trace_id, span_id, sampled })
}

fn hex(digits: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(digits).ok()?;
    // Rust would take a sign, too.
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| plain)
}

/// What goes on to the calls that a call causes: each set of keys that can be read, and the baggage. A broken value
/// ends here: an easymicro server does not even answer a call that has one.
pub(crate) fn carried(context: &Metadata) -> Metadata {
    let pairs = context.pairs();
    if pairs.is_empty() {
        return Metadata::new();
    }
    let (w3c, easymicro) = (w3c(pairs).is_some(), easymicro(pairs).is_some());
    let mut seen: Vec<&[u8]> = Vec::new();
    let mut builder = Metadata::builder();
    for (key, value) in pairs {
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        let prefix = key.get(..OT_BAGGAGE_PREFIX.len()).unwrap_or_default();
        let goes_on = (w3c && (is(TRACEPARENT) || is(TRACESTATE)))
            || (easymicro && (is(OT_TRACE_ID) || is(OT_SPAN_ID) || is(OT_SAMPLED)))
            || prefix.eq_ignore_ascii_case(OT_BAGGAGE_PREFIX.as_bytes());
        if goes_on && !seen.iter().any(|other| other.eq_ignore_ascii_case(key)) {
            seen.push(key);
            builder = builder.with_bytes(key, value);
        }
    }
    builder.build()
}

/// The metadata of a call: its own, and of what it carries on the keys that it has not set itself. The
/// `tracestate` belongs to one trace and goes with no other.
pub(crate) fn merged(own: Metadata, carried: Metadata) -> Metadata {
    if carried.is_empty() || own.is_empty() {
        return if own.is_empty() { carried } else { own };
    }
    let id = |metadata: &Metadata| w3c(metadata.pairs()).map(|trace| trace.trace_id);
    let other_trace = value(own.pairs(), TRACEPARENT).is_some() && id(&own) != id(&carried);
    let mut builder = Metadata::builder().with_all(own.pairs());
    for (key, value) in carried.iter() {
        let set = own.iter().any(|(other, _)| other.eq_ignore_ascii_case(key));
        let misleads = other_trace && key.eq_ignore_ascii_case(TRACESTATE.as_bytes());
        if !set && !misleads {
            builder = builder.with_bytes(key, value);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: Trace = Trace {
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        span_id: 0x00f0_67aa_0ba9_02b7,
        sampled: true,
    };

    fn of(pairs: &[(&str, &str)]) -> Option<Trace> {
        Trace::of(&pairs.iter().copied().collect())
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_says() {
        let read = |text: &str| of(&[("traceparent", text)]);
        let unsampled = Trace { sampled: false, ..TRACE };
        let with = |version: &str, flags: &str| format!("{version}{}{flags}", &VALID[2..53]);
        assert_eq!(read(VALID), Some(TRACE));
        // Only the lowest flag says anything.
        for (flags, trace) in
            [("00", unsampled), ("02", unsampled), ("03", TRACE), ("ff", TRACE), ("fe", unsampled)]
        {
            assert_eq!(read(&with("00", flags)), Some(trace), "{flags}");
        }
        // Later versions may say more behind a dash.
        for flags in ["01", "01-", "01-what-the-future-will-be-like", "09-ö"] {
            for version in ["01", "cc", "fe"] {
                assert_eq!(read(&with(version, flags)), Some(TRACE), "{version} {flags}");
            }
        }
        for flags in ["01.", "011", "010-"] {
            assert_eq!(read(&with("cc", flags)), None, "{flags}");
        }
        for bad in [
            "",
            "00",
            "01-",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}-00"),
            &format!(" {VALID}"),
            &with("ff", "01"),
            &with("0g", "01"),
            &with("0A", "01"),
            &with("00", "0G"),
            &with("00", "0A"),
            &with("00", "+1"),
            &VALID.to_uppercase(),
            &VALID.replace('-', "_"),
            &VALID.replace("4bf9", "+bf9"),
            &VALID.replace("4bf9", "4BF9"),
            &VALID.replace("-00f067", "000-f067"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(of(&[("Traceparent", VALID)]), Some(TRACE));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn keys_of_easymicro_are_read_where_there_is_no_traceparent() {
        let read = |id: &str, span: &str, sampled: &str| {
            of(&[("ot-tracer-spanid", span), ("ot-tracer-traceid", id), ("ot-tracer-sampled", sampled)])
        };
        let trace = |trace_id, span_id, sampled| Some(Trace { trace_id, span_id, sampled });
        assert_eq!(read("1", "ab", "true"), trace(1, 0xab, true));
        assert_eq!(read("7fffffffffffffff", "00F", "false"), trace(0x7fff_ffff_ffff_ffff, 15, false));
        assert_eq!(read(&"f".repeat(32), &"f".repeat(16), "true"), trace(u128::MAX, u64::MAX, true));
        for (id, span, sampled) in [
            ("0", "1", "true"),
            ("1", "0", "true"),
            ("", "1", "true"),
            ("1", "", "true"),
            ("+1", "1", "true"),
            ("x", "1", "true"),
            ("1", "-1", "true"),
            ("1", "1", "1"),
            ("1", "1", ""),
            (&"f".repeat(33), "1", "true"),
            ("1", &"f".repeat(17), "true"),
        ] {
            assert_eq!(read(id, span, sampled), None, "{id} {span} {sampled}");
        }
        assert_eq!(of(&[("ot-tracer-traceid", "1"), ("ot-tracer-spanid", "1")]), None);
        let both = |traceparent| {
            of(&[
                ("ot-tracer-traceid", "1"),
                ("ot-tracer-spanid", "2"),
                ("ot-tracer-sampled", "false"),
                ("traceparent", traceparent),
            ])
        };
        assert_eq!(both(VALID), Some(TRACE));
        assert_eq!(both("broken"), trace(1, 2, false));
    }

    #[test]
    fn what_can_be_read_goes_on_once_and_nothing_else() {
        let names = |pairs: &[(&str, &str)]| {
            let carried = carried(&pairs.iter().copied().collect());
            carried.iter().map(|(key, _)| String::from_utf8(key.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        let ot = [("ot-tracer-traceid", "1"), ("ot-tracer-spanid", "1"), ("ot-tracer-sampled", "true")];
        let more = [("tracestate", "a=1"), ("ot-baggage-user", "x"), ("__AUTH", "secret"), ("tenant", "t")];
        let with = |traceparent| [&ot[..], &[("traceparent", traceparent)], &more].concat();
        let keys = ot.map(|(key, _)| key);
        assert_eq!(
            names(&with(VALID)),
            [&keys[..], &["traceparent", "tracestate", "ot-baggage-user"]].concat()
        );
        assert_eq!(names(&with("broken")), [&keys[..], &["ot-baggage-user"]].concat());
        assert_eq!(names(&[("ot-tracer-traceid", "1"), ("Ot-Baggage-A", "")]), ["Ot-Baggage-A"]);
        assert_eq!(names(&[("traceparent", VALID), ("TRACEPARENT", "second")]), ["traceparent"]);
        assert_eq!(names(&[("ot-baggage", "a"), ("xot-baggage-a", "")]), Vec::<String>::new());
    }

    #[test]
    fn a_key_set_by_hand_wins() {
        let context: Metadata = [("traceparent", VALID), ("tracestate", "a=1")].into_iter().collect();
        let get = |own: &[(&str, &str)], key: &str| {
            let merged = merged(own.iter().copied().collect(), carried(&context));
            merged.get(key).map(str::to_owned)
        };
        let child = VALID.replace("00f067aa0ba902b7", "00000000000000ff");
        let other = VALID.replace("4bf9", "5bf9");
        assert_eq!(get(&[], "traceparent").as_deref(), Some(VALID));
        assert_eq!(get(&[("k", "v")], "traceparent").as_deref(), Some(VALID));
        // Another part of the same trace keeps its state; another trace does not take it over.
        assert_eq!(get(&[("traceparent", &child)], "traceparent"), Some(child.clone()));
        assert_eq!(get(&[("traceparent", &child)], "tracestate").as_deref(), Some("a=1"));
        assert_eq!(get(&[("traceparent", &other)], "tracestate"), None);
        assert_eq!(get(&[("tracestate", "b=2")], "tracestate").as_deref(), Some("b=2"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_none(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..70), 5),
        ) {
            let keys = [TRACEPARENT, TRACESTATE, OT_TRACE_ID, OT_SPAN_ID, OT_SAMPLED];
            let pairs = keys.iter().zip(&values);
            let metadata = pairs.fold(Metadata::builder(), |to, (key, value)| to.with_bytes(key.as_bytes(), value));
            let metadata = metadata.build();
            prop_assert_eq!(Trace::of(&metadata), Trace::of(&carried(&metadata)));
        }

        /// One byte of a right one is another: it is refused, or it says what it then says.
        #[test]
        fn a_changed_byte_is_seen(at in 0usize..55, byte in any::<u8>()) {
            let mut text = VALID.as_bytes().to_vec();
            text[at] = byte;
            let read = Trace::of(&Metadata::builder().with_bytes(b"traceparent", &text).build());
            let hex = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            prop_assert_eq!(read.is_some(), hex && VALID.as_bytes()[at] != b'-' && &text[..2] == b"00"
                || byte == VALID.as_bytes()[at] || (hex && at < 2 && &text[..2] != b"ff"));
        }

        #[test]
        fn what_is_written_is_read(trace_id in 1u128.., span_id in 1u64.., sampled in any::<bool>()) {
            let trace = Trace { trace_id, span_id, sampled };
            prop_assert_eq!(of(&[("traceparent", &trace.to_string())]), Some(trace));
        }
    }
}
