//! The memory of one buffer: a mapping of its own when it is large, else from the allocator.
//!
//! An allocator keeps what it is given back for who asks next, and the C library keeps the more the larger it was: after
//! the first free of a megabyte, megabytes stay. Nobody asks next when the peers fall silent, so what is large goes past
//! it. What is small stays with it: a page is the least that can be mapped, a call each time, and a process has only so
//! many mappings (65,530 on Linux).
//!
//! Always holds:
//! 1. From [`MAPPED_BYTES_MIN`] on, memory that is dropped is the system's again when `drop` returns.
//! 2. New memory is zero, and takes no page before it is written.
//! 3. A mapping that is refused is `None`, not the end of the process.
//!
//! Never: a file behind it, memory that two share, a size that changes.

use memmap2::MmapMut;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The least that is mapped, in bytes: where the C library, too, begins to map before the first large free tells it not
/// to (`M_MMAP_THRESHOLD` in mallopt(3)).
pub(super) const MAPPED_BYTES_MIN: usize = 128 << 10;

/// Bytes of a fixed number.
pub(super) enum Storage {
    Allocated(Box<[u8]>),
    Mapped(MmapMut),
}

impl Storage {
    /// So many bytes, all zero. `None` if they would have to be mapped and the system refuses.
    pub(super) fn zeroed(bytes: usize) -> Option<Storage> {
        if bytes < MAPPED_BYTES_MIN {
            Some(Storage::Allocated(vec![0; bytes].into_boxed_slice()))
        } else {
            MmapMut::map_anon(bytes).ok().map(Storage::Mapped)
        }
    }
}

impl Deref for Storage {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Storage::Allocated(bytes) => bytes,
            Storage::Mapped(bytes) => bytes,
        }
    }
}

impl DerefMut for Storage {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Storage::Allocated(bytes) => bytes,
            Storage::Mapped(bytes) => bytes,
        }
    }
}

/// Without the contents.
impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("bytes", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_storage_is_mapped_and_small_is_not_and_both_are_zero() {
        #[rustfmt::skip]
        let table = [
            ("nothing",         0,                    false),
            ("a page",          4 << 10,              false),
            ("one byte less",   MAPPED_BYTES_MIN - 1, false),
            ("the least",       MAPPED_BYTES_MIN,     true),
            ("a frame's class", (1 << 20) + (4 << 10), true),
        ];
        for (name, bytes, is_mapped) in table {
            let mut storage = Storage::zeroed(bytes).expect("little is asked for");
            assert_eq!(matches!(storage, Storage::Mapped(_)), is_mapped, "case: {name}");
            assert!(storage.len() == bytes && storage.iter().all(|byte| *byte == 0), "case: {name}");
            storage.fill(7);
            assert!(storage.iter().all(|byte| *byte == 7), "case: {name}");
        }
    }

    #[test]
    fn a_mapping_that_the_system_refuses_is_none() {
        assert!(Storage::zeroed(1 << 60).is_none(), "no address space is so large");
    }
}
