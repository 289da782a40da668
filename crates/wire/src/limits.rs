//! Every limit of a connection, on by default.

/// What one connection may ask for. All are checked before memory is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest body of a request or a reply in bytes, before inflation as the frame announces it and after.
    /// Default 4 MiB. Setting: `body_limit`, flag `--body-limit`.
    pub body: usize,
    /// Largest service name plus method name in bytes. Default 4 KiB.
    pub names: usize,
    /// Largest metadata of one message in bytes, lengths included. Default 16 KiB.
    pub metadata: usize,
    /// Most metadata pairs of one message. Default 128.
    pub metadata_pairs: usize,
    /// Most calls that a connection may have in flight, or each of its channels on a wire that has them; the next
    /// one waits unread. Default 1,024.
    pub calls: usize,
    /// Most channels that a server grants on one connection, on a wire that has them; one more is refused and the
    /// connection goes on. Default 4,096.
    pub channels: u32,
    /// How many channels a client asks for on each of its connections, on a wire that has them. Default 8.
    pub client_channels: u32,
    /// Most types that either side may define on one connection, on a wire whose streams do. Default 1,024.
    pub types: usize,
    /// Most bytes of bodies of the calls that a connection has in flight and that had to wait, after inflation; the
    /// next call waits unread. Default 64 MiB. A call that is alone may be larger.
    pub held: usize,
    /// How often its own limit a body that is too large is read past before the connection is closed.
    /// Default 16.
    pub skip_factor: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            names: 4 << 10,
            metadata: 16 << 10,
            metadata_pairs: 128,
            calls: 1024,
            channels: 4096,
            client_channels: 8,
            types: 1024,
            held: 64 << 20,
            skip_factor: 16,
        }
    }
}

impl Limits {
    /// The most bytes of one body that are read past without being kept.
    #[must_use]
    pub fn skip(&self) -> usize {
        self.body.saturating_mul(self.skip_factor)
    }
}
