//! Handles: which service of which node, as 64 bits.

use std::fmt;

/// A service of a node: the hash of the node's name in the upper half, the hash of `{service}/{id}` in the lower one.
///
/// Hashes are FNV-1a of 32 bits, so two names may have the same: whoever keeps names has to look for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Handle(pub u64);

impl Handle {
    /// The handle of the service `name` with this id in the node `cluster`.
    #[must_use]
    pub fn new(cluster: &str, name: &str, id: u64) -> Self {
        Self::of_hash(cluster_hash(cluster), name, id)
    }

    /// The same, of the node whose name has this hash.
    #[must_use]
    pub fn of_hash(cluster: u32, name: &str, id: u64) -> Self {
        let mut digits = [0; 20];
        let service = fnv(&[name.as_bytes(), b"/", decimal(id, &mut digits)]);
        Self(u64::from(cluster) << 32 | u64::from(service))
    }

    /// The hash of the node's name.
    #[must_use]
    pub fn cluster(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The hash of a node's name: the upper half of its handles.
#[must_use]
pub fn cluster_hash(name: &str) -> u32 {
    fnv(&[name.as_bytes()])
}

fn fnv(parts: &[&[u8]]) -> u32 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0'.wrapping_add(u8::try_from(number % 10).unwrap_or(0));
        start = start.saturating_sub(1);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    digits.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for number in [0, 1, 9, 10, 101, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
