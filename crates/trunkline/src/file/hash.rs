//! The hash of a file: BLAKE3, of which every block of 256 KiB is a branch. So blocks are hashed as they pass, in any
//! order and on any thread, and the hash of the whole is made of theirs without a second read.

use std::fmt::Write as _;

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// How many bytes a block has; the last of a file may have fewer. It is a power of two, as branches are. Blocks of
/// 1 MiB are slower by a third and take twice the memory: they fall out of the caches, and their room is given back
/// to the kernel each time.
pub(crate) const BLOCK: u64 = 256 << 10;

/// The hash of one block at its place in a file.
pub(crate) type BlockHash = [u8; 32];

/// How many bytes the hash of a block has.
pub(crate) const HASH: usize = 32;

/// How many blocks a file of this size has.
pub(crate) fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK)
}

/// Where a block begins and how many bytes it has, in a file of this size; no bytes beyond its end.
pub(crate) fn block_at(size: u64, index: u64) -> (u64, u64) {
    let offset = index.saturating_mul(BLOCK).min(size);
    (offset, (size - offset).min(BLOCK))
}

/// The hash of one block of a file of this size: its branch of the tree, or the root where it is the whole file.
pub(crate) fn block_hash(size: u64, index: u64, bytes: &[u8]) -> BlockHash {
    if size <= BLOCK || bytes.is_empty() {
        return *blake3::hash(bytes).as_bytes();
    }
    let offset = index.checked_mul(BLOCK).unwrap_or(0);
    Hasher::new().set_input_offset(offset).update(bytes).finalize_non_root()
}

/// The hash of a whole file of those of all of its blocks.
pub(crate) fn root(hashes: &[BlockHash]) -> BlockHash {
    match hashes {
        [] => *blake3::hash(b"").as_bytes(),
        [whole] => *whole,
        blocks => {
            let (left, right) = halves(blocks);
            *merge_subtrees_root(&branch(left), &branch(right), Mode::Hash).as_bytes()
        }
    }
}

fn branch(blocks: &[BlockHash]) -> BlockHash {
    match blocks {
        [] => BlockHash::default(),
        [block] => *block,
        blocks => {
            let (left, right) = halves(blocks);
            merge_subtrees_non_root(&branch(left), &branch(right), Mode::Hash)
        }
    }
}

/// The left half of a tree is the largest power of two that leaves something for the right one.
fn halves(blocks: &[BlockHash]) -> (&[BlockHash], &[BlockHash]) {
    blocks.split_at(blocks.len().div_ceil(2).next_power_of_two())
}

/// The hash as `b3sum` prints it.
pub(crate) fn hex(hash: &BlockHash) -> String {
    hash.iter().fold(String::with_capacity(2 * HASH), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_is_blake3_of_the_file() {
        let block = usize::try_from(BLOCK).unwrap();
        for size in [
            0,
            1,
            block - 1,
            block,
            block + 1,
            2 * block,
            3 * block - 7,
            5 * block + 1,
            8 * block,
            9 * block + 5,
        ] {
            let file: Vec<u8> = (0..size).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
            let hashes: Vec<_> = (0_u64..)
                .zip(file.chunks(block))
                .map(|(index, bytes)| block_hash(size.try_into().unwrap(), index, bytes))
                .collect();
            assert_eq!(u64::try_from(hashes.len()).unwrap(), blocks(size.try_into().unwrap()));
            assert_eq!(root(&hashes), *blake3::hash(&file).as_bytes(), "{size}");
        }
    }

    #[test]
    fn the_same_bytes_elsewhere_have_another_hash() {
        let bytes = vec![7; usize::try_from(BLOCK).unwrap()];
        assert_ne!(block_hash(4 * BLOCK, 0, &bytes), block_hash(4 * BLOCK, 1, &bytes));
        assert_eq!(block_at(BLOCK + 5, 1), (BLOCK, 5));
        assert_eq!(block_at(BLOCK + 5, 9), (BLOCK + 5, 0));
    }
}
