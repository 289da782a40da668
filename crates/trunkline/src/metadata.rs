//! Metadata keys that have a meaning. Reserved ones are not handed on to services as metadata of their callers;
//! those of a trace are ([`Trace`](crate::Trace)).

/// The caller's token.
pub const AUTH: &str = "__AUTH";
/// How many milliseconds the call has left, as decimal text.
pub const SERVER_TIMEOUT: &str = "__ServerTimeout";
/// rpcx's key for the text of a failure.
pub const RPCX_ERROR: &str = "__rpcx_error__";
/// easymicro's key for the text of a failure.
pub const EASYMICRO_ERROR: &str = "easymicro_error__";
/// The prefix of the keys that Trunkline peers use among themselves.
pub const TRUNKLINE_PREFIX: &str = "__trunkline";
/// Where a caller asks for a stream that goes on over the next connection (`new`), and the reply names it: the
/// layer `Resume`.
pub const STREAM: &str = "__trunkline_stream";
/// How many bytes of such a stream wait for their acknowledgement, as decimal text.
pub const STREAM_WINDOW: &str = "__trunkline_stream_window";
/// Where an rpcx client's reply metadata names the server; never on the wire.
pub const SERVER_ADDRESS: &str = "__ServerAddress";

/// The path of a call with its query, as its caller wrote it, where the wire has one and there is a query (IIP).
pub const URI: &str = "__uri";

/// W3C's key for the trace that a call belongs to.
pub const TRACEPARENT: &str = "traceparent";
/// W3C's key for what tracing systems keep beside the trace.
pub const TRACESTATE: &str = "tracestate";
/// easymicro's key for the trace, in hex without leading zeros.
pub const OT_TRACE_ID: &str = "ot-tracer-traceid";
/// easymicro's key for the caller's part of the trace, in hex without leading zeros.
pub const OT_SPAN_ID: &str = "ot-tracer-spanid";
/// easymicro's key for whether the trace is recorded: `true` or `false`.
pub const OT_SAMPLED: &str = "ot-tracer-sampled";
/// The prefix of easymicro's keys for what travels with a trace.
pub const OT_BAGGAGE_PREFIX: &str = "ot-baggage-";

/// Whether a key is one that the wires and the framework use themselves.
#[must_use]
pub fn is_reserved(key: &[u8]) -> bool {
    [AUTH, SERVER_TIMEOUT, RPCX_ERROR, EASYMICRO_ERROR, SERVER_ADDRESS, URI]
        .iter()
        .any(|reserved| key == reserved.as_bytes())
        || key.starts_with(TRUNKLINE_PREFIX.as_bytes())
}
