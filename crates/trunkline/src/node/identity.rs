//! Who a mailbox service is: its name, its number and the handle that frames carry.

use std::fmt;

use crate::{Code, Name, Result, Status};

/// The longest method name that a frame of saber carries, in bytes. A longer one breaks a Go node.
pub const METHOD_LIMIT: usize = 64;

/// FNV-1a over 32 bits, by which saber's nodes find each other's services.
#[must_use]
pub(crate) fn fnv32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The handle of a service: the hash of its cluster's name above the hash of `{service}/{id}`.
#[must_use]
pub fn handle_of(cluster: &str, service: &str, id: u32) -> u64 {
    let own = fnv32(format!("{service}/{id}").as_bytes());
    u64::from(fnv32(cluster.as_bytes())) << 32 | u64::from(own)
}

/// Who a mailbox service of this node is.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    handle: u64,
    name: Name,
    id: u32,
}

impl Identity {
    /// The service of this name and number in a cluster.
    ///
    /// # Errors
    /// [`Code::InvalidInput`]: the name is empty, is longer than 255 bytes or has something else in it than ASCII
    /// letters, digits, `_`, `-` and `.`.
    pub fn new(cluster: &str, name: Name, id: u32) -> Result<Self> {
        check_name("a service's name", &name)?;
        Ok(Self { handle: handle_of(cluster, &name, id), name, id })
    }

    /// What frames name it by: see [`handle_of`].
    #[must_use]
    pub fn handle(&self) -> u64 {
        self.handle
    }

    /// The name that it shares with the others of its kind.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared and not copied.
    pub(crate) fn name_shared(&self) -> Name {
        self.name.clone()
    }

    /// Its number among those of its name.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.id)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:016x})", self.handle)
    }
}

/// Whether this can be the name of a service or a cluster.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        let text = format!("{what} has 1 to 255 ASCII letters, digits, `_`, `-` and `.`: {name:?}");
        return Err(Status::new(Code::InvalidInput, text));
    }
    Ok(())
}

/// Whether a frame can carry this as the name of a method (defect S8).
pub(crate) fn check_method(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > METHOD_LIMIT {
        let text = format!("a method's name has 1 to {METHOD_LIMIT} bytes, and {name:?} has {}", name.len());
        return Err(Status::new(Code::InvalidInput, text).not_begun());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_those_of_go() {
        // The published test vectors of FNV-1a.
        assert_eq!(fnv32(b""), 0x811c_9dc5);
        assert_eq!(fnv32(b"a"), 0xe40c_292c);
        assert_eq!(fnv32(b"foobar"), 0xbf9c_f968);
        let handle = handle_of("foobar", "a", 7);
        assert_eq!((handle >> 32, handle & 0xffff_ffff), (0xbf9c_f968, u64::from(fnv32(b"a/7"))));
    }

    #[test]
    fn names_are_checked() {
        assert!(Identity::new("c", "lobby".into(), 1).is_ok());
        for bad in ["", "a/b", "a b", &"x".repeat(256)] {
            assert_eq!(Identity::new("c", bad.into(), 1).unwrap_err().code(), Code::InvalidInput);
        }
        assert!(check_method(&"m".repeat(64)).is_ok());
        assert!(check_method(&"m".repeat(65)).is_err() && check_method("").is_err());
    }
}
