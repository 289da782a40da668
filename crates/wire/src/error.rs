//! What a session says when the bytes of a connection cannot be trusted any further.

/// Why a connection has to be closed. The sender alone pays: nothing of the frame is answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes break a rule of the wire.
    #[error("{wire}: {rule} (at offset {offset} of the frame)")]
    Malformed {
        /// The wire that was spoken.
        wire: &'static str,
        /// The rule that was broken.
        rule: &'static str,
        /// Where in the frame, in bytes from its start.
        offset: usize,
    },
    /// A length is over a limit, and the wire cannot answer for it.
    #[error("{wire}: {what} of {got} bytes is over the limit of {limit} ({setting})")]
    TooLarge {
        /// The wire that was spoken.
        wire: &'static str,
        /// What is too large.
        what: &'static str,
        /// Its length in bytes, as announced.
        got: u64,
        /// The limit in bytes.
        limit: u64,
        /// The setting that changes the limit.
        setting: &'static str,
    },
    /// What the caller asked for cannot be said on this wire. Nothing was written.
    #[error("{wire}: {what}")]
    Unsupported {
        /// The wire that was asked.
        wire: &'static str,
        /// What it cannot say.
        what: &'static str,
    },
}
