//! What went wrong with a body: which codec, where in the message, and what.

use std::fmt;

/// A body could not be read or written. It names the codec, the path of the field and what is wrong, for
/// example `json: field B: invalid type: string "x", expected i64`.
///
/// The text is for people and may change; ask the predicates.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    codec: &'static str,
    /// Inner segments first: it is filled while the error travels outwards.
    path: Vec<String>,
    what: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unsupported,
    Body,
    TooLarge,
    Encode,
}

impl Error {
    fn new(kind: Kind, codec: &'static str, what: impl fmt::Display) -> Self {
        Self(Box::new(Inner { kind, codec, path: Vec::new(), what: what.to_string() }))
    }

    /// The bytes are not a message of this type in this codec.
    #[cold]
    pub(crate) fn body(codec: &'static str, what: impl fmt::Display) -> Self {
        Self::new(Kind::Body, codec, what)
    }

    /// The value cannot be said in this codec.
    #[cold]
    pub(crate) fn encode(codec: &'static str, what: impl fmt::Display) -> Self {
        Self::new(Kind::Encode, codec, what)
    }

    /// The body is over a limit once it is inflated.
    #[cfg(feature = "gzip")]
    #[cold]
    pub(crate) fn too_large(codec: &'static str, what: impl fmt::Display) -> Self {
        Self::new(Kind::TooLarge, codec, what)
    }

    /// The codec is not there, or not for this type.
    #[cold]
    pub(crate) fn unsupported(codec: &'static str, what: impl fmt::Display) -> Self {
        Self::new(Kind::Unsupported, codec, what)
    }

    /// What is wrong, without codec and path.
    #[cfg(feature = "netrpc")]
    pub(crate) fn what(&self) -> &str {
        &self.0.what
    }

    /// The same error; where it does not know yet which codec it came from, it is this one.
    #[cfg(any(feature = "protobuf", feature = "thrift", feature = "netrpc"))]
    #[cold]
    pub(crate) fn in_codec(mut self, codec: &'static str) -> Self {
        if self.0.codec.is_empty() {
            self.0.codec = codec;
        }
        self
    }

    /// The same error, one field further out.
    #[cold]
    pub(crate) fn in_field(mut self, name: &str) -> Self {
        self.0.path.push(name.to_owned());
        self
    }

    /// The same error, one list or map further out.
    #[cold]
    pub(crate) fn at_index(mut self, index: usize) -> Self {
        self.0.path.push(format!("[{index}]"));
        self
    }

    /// The serialisation is unknown, not built in, or cannot carry this type. The body was not looked at.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        self.0.kind == Kind::Unsupported
    }

    /// The bytes are not a message of the type that was asked for.
    #[must_use]
    pub fn is_body(&self) -> bool {
        self.0.kind == Kind::Body
    }

    /// The body is larger than the limit after inflation.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        self.0.kind == Kind::TooLarge
    }

    /// Where in the message it failed, for example `Items[3].Name`; empty where no field is to blame.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        for segment in self.0.path.iter().rev() {
            if !path.is_empty() && !segment.starts_with('[') {
                path.push('.');
            }
            path.push_str(segment);
        }
        path
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { codec, path, what, .. } = &*self.0;
        if !codec.is_empty() {
            write!(f, "{codec}: ")?;
        }
        if !path.is_empty() {
            write!(f, "field {}: ", self.path())?;
        }
        f.write_str(what)
    }
}

impl std::error::Error for Error {}
