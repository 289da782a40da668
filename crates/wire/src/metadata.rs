//! Metadata: text pairs that travel beside a call or a reply.
//!
//! In memory they are what rpcx sends: for each pair a big-endian length and the key, a length and the value.
//! So the wire that is used most copies nothing, and a clone is a reference count.

use std::fmt;

use bytes::Bytes;

use crate::Limits;

/// Why bytes are no metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{rule} (at offset {offset} of the metadata)")]
pub struct InvalidMetadata {
    /// The rule that was broken.
    pub rule: &'static str,
    /// Where, in bytes from the start of the metadata.
    pub offset: usize,
}

/// Borrowed metadata whose structure has been checked.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    /// No pairs.
    #[must_use]
    pub const fn empty() -> Self {
        Self(&[])
    }

    /// Checks that the bytes are whole pairs within the limits.
    ///
    /// # Errors
    /// A length is cut or runs past the end, or there are more pairs or bytes than the limits allow.
    pub fn parse(bytes: &'a [u8], limits: &Limits) -> Result<Self, InvalidMetadata> {
        if bytes.len() > limits.metadata {
            return Err(InvalidMetadata { rule: "metadata is over the limit of bytes", offset: 0 });
        }
        let mut rest = bytes;
        let mut pairs = 0usize;
        while !rest.is_empty() {
            let offset = bytes.len().saturating_sub(rest.len());
            let (_, after_key) =
                split_text(rest).ok_or(InvalidMetadata { rule: "metadata key is cut", offset })?;
            let (_, after_value) =
                split_text(after_key).ok_or(InvalidMetadata { rule: "metadata value is cut", offset })?;
            pairs = pairs.saturating_add(1);
            if pairs > limits.metadata_pairs {
                return Err(InvalidMetadata { rule: "metadata is over the limit of pairs", offset });
            }
            rest = after_value;
        }
        Ok(Self(bytes))
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs as rpcx sends them.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The first value of a key, as bytes.
    #[must_use]
    pub fn get_bytes(&self, key: &[u8]) -> Option<&'a [u8]> {
        self.iter().find_map(|(k, v)| (k == key).then_some(v))
    }

    /// The first value of a key, where it is UTF-8.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.get_bytes(key.as_bytes()).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// All pairs in the order in which they came.
    #[must_use]
    pub fn iter(&self) -> PairsIter<'a> {
        PairsIter(self.0)
    }

    /// The pairs whose key and value are UTF-8, in the order in which they came.
    pub fn texts(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        self.iter().filter_map(move |(key, value)| Some((text(key)?, text(value)?)))
    }

    /// The same pairs as a value of its own, with `share` making owned bytes of borrowed ones: by a reference
    /// count where the caller knows whose they are.
    #[must_use]
    pub fn share(&self, share: impl FnOnce(&'a [u8]) -> Bytes) -> Metadata {
        if self.is_empty() { Metadata::default() } else { Metadata(share(self.0)) }
    }

    /// The same pairs as a value of its own; copies the bytes.
    #[must_use]
    pub fn to_owned(&self) -> Metadata {
        if self.is_empty() { Metadata::default() } else { Metadata(Bytes::copy_from_slice(self.0)) }
    }
}

impl<'a> IntoIterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = PairsIter<'a>;

    fn into_iter(self) -> PairsIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Pairs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(k, v)| (String::from_utf8_lossy(k), String::from_utf8_lossy(v))))
            .finish()
    }
}

/// Walks metadata pair by pair.
#[derive(Debug, Clone)]
pub struct PairsIter<'a>(&'a [u8]);

impl<'a> Iterator for PairsIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, rest) = split_text(self.0)?;
        let (value, rest) = split_text(rest)?;
        self.0 = rest;
        Some((key, value))
    }
}

/// A length and so many bytes, and what follows.
fn split_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Metadata as a value of its own. It does not change; a clone is cheap.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(Bytes);

impl Metadata {
    /// No pairs.
    #[must_use]
    pub const fn new() -> Self {
        Self(Bytes::new())
    }

    /// Begins a new value.
    #[must_use]
    pub fn builder() -> MetadataBuilder {
        MetadataBuilder::default()
    }

    /// Takes bytes that are whole pairs, without copying them.
    ///
    /// # Errors
    /// As for [`Pairs::parse`].
    pub fn from_bytes(bytes: Bytes, limits: &Limits) -> Result<Self, InvalidMetadata> {
        Pairs::parse(&bytes, limits)?;
        Ok(Self(bytes))
    }

    /// The pairs, borrowed.
    #[must_use]
    pub fn pairs(&self) -> Pairs<'_> {
        Pairs(&self.0)
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first value of a key, where it is UTF-8.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().get(key)
    }

    /// All pairs, in order, as bytes.
    #[must_use]
    pub fn iter(&self) -> PairsIter<'_> {
        self.pairs().iter()
    }

    /// The pairs whose key and value are UTF-8, in order.
    ///
    /// ```
    /// let metadata: trunkline_wire::Metadata = [("tenant", "a"), ("zone", "b")].into_iter().collect();
    /// let texts: Vec<_> = metadata.texts().collect();
    /// assert_eq!(texts, [("tenant", "a"), ("zone", "b")]);
    /// ```
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs().texts()
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pairs().fmt(f)
    }
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut builder = Self::builder();
        for (key, value) in pairs {
            builder = builder.with(key.as_ref(), value.as_ref());
        }
        builder.build()
    }
}

/// Makes a [`Metadata`].
#[derive(Debug, Clone, Default)]
pub struct MetadataBuilder(Vec<u8>);

impl MetadataBuilder {
    /// Adds a pair.
    #[must_use]
    pub fn with(self, key: &str, value: &str) -> Self {
        self.with_bytes(key.as_bytes(), value.as_bytes())
    }

    /// Adds a pair of bytes. A text of 4 GiB or more, which no wire can carry, is left out.
    #[must_use]
    pub fn with_bytes(mut self, key: &[u8], value: &[u8]) -> Self {
        append_pair(&mut self.0, key, value);
        self
    }

    /// Adds all pairs of another value.
    #[must_use]
    pub fn with_all(mut self, pairs: Pairs<'_>) -> Self {
        self.0.extend_from_slice(pairs.as_bytes());
        self
    }

    /// The finished value.
    #[must_use]
    pub fn build(self) -> Metadata {
        Metadata(self.0.into())
    }
}

/// Appends one pair as rpcx sends it. A text of 4 GiB or more is left out with its partner.
pub(crate) fn append_pair(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let (Ok(key_length), Ok(value_length)) = (u32::try_from(key.len()), u32::try_from(value.len())) else {
        return;
    };
    out.extend_from_slice(&key_length.to_be_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(&value_length.to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_in_order() {
        let metadata = Metadata::builder().with("a", "1").with("", "").with("ü", "ß").build();
        let limits = Limits::default();
        let parsed = Pairs::parse(metadata.pairs().as_bytes(), &limits).unwrap();
        let all: Vec<_> = parsed.iter().collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"", b""), ("ü".as_bytes(), "ß".as_bytes())]);
        let mixed =
            Metadata::builder().with_bytes(b"\xff", b"1").with("ü", "ß").with_bytes(b"2", b"\xff").build();
        assert_eq!(mixed.texts().collect::<Vec<_>>(), [("ü", "ß")]);
        assert_eq!(parsed.get("a"), Some("1"));
        assert_eq!(parsed.get("b"), None);
    }

    /// E3: easymicro reads a length of 4 bytes without looking, and wraps around at a key of 4 GiB.
    #[test]
    fn e3_cut_and_huge_lengths_are_refused() {
        let limits = Limits::default();
        for bytes in [&b"\0\0"[..], b"\0\0\0\x01", b"\xff\xff\xff\xffab", b"\0\0\0\x01a\0\0\0\x05b"] {
            assert!(Pairs::parse(bytes, &limits).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn limits_are_exact() {
        let limits = Limits { metadata_pairs: 2, metadata: 20, ..Limits::default() };
        let two = Metadata::builder().with("a", "b").with("c", "d").build();
        assert!(Pairs::parse(two.pairs().as_bytes(), &limits).is_ok());
        let three = Metadata::builder().with_all(two.pairs()).with("", "").build();
        assert!(Pairs::parse(three.pairs().as_bytes(), &limits).is_err());
        let over = Metadata::builder().with("a", "bcdefghijklmn").build();
        assert_eq!(over.pairs().as_bytes().len(), 22);
        assert!(Pairs::parse(over.pairs().as_bytes(), &limits).is_err());
    }
}
