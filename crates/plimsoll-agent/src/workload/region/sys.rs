//! Mapping memory: the unsafe code of [`Region`], behind safe functions.
#![allow(unsafe_code, reason = "mmap, madvise and the slice over what they gave; each use says why it is sound")]

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::c_void;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// A number that any bytes stand for, zeros among them, and that fits any page's alignment.
///
/// # Safety
/// Implement it for primitive numbers only.
pub(in crate::workload) unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: primitive numbers.
unsafe impl Plain for u32 {}
// SAFETY: primitive numbers.
unsafe impl Plain for u64 {}
// SAFETY: primitive numbers.
unsafe impl Plain for f64 {}

/// Zeros in an anonymous mapping of their own: untouched until they are, and given back to the system when dropped.
#[derive(Debug)]
pub(in crate::workload) struct Region<T: Plain> {
    mapping: NonNull<c_void>,
    mapping_bytes: NonZeroUsize,
    /// Where the elements start, in bytes from the start of the mapping.
    offset_bytes: usize,
    elements: usize,
    content: PhantomData<T>,
}

// SAFETY: the region owns its mapping as a `Vec` owns its buffer, and numbers may go to any thread.
unsafe impl<T: Plain> Send for Region<T> {}
// SAFETY: whoever shares a region can only read it.
unsafe impl<T: Plain> Sync for Region<T> {}

impl<T: Plain> Region<T> {
    /// So many elements, the first of them at a multiple of `alignment`, a power of two.
    ///
    /// # Errors
    /// `ENOMEM` where they are more than can be addressed; else what the system says.
    pub(in crate::workload) fn aligned(elements: usize, alignment: usize) -> nix::Result<Self> {
        let bytes = elements.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(alignment));
        let mapping_bytes = bytes.and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: without a fixed address the kernel chooses one that nobody uses.
        let mapping = unsafe { mmap_anonymous(None, mapping_bytes, protection, MapFlags::MAP_PRIVATE) }?;
        let offset_bytes = mapping.as_ptr().addr().next_multiple_of(alignment) - mapping.as_ptr().addr();
        Ok(Self { mapping, mapping_bytes, offset_bytes, elements, content: PhantomData })
    }

    /// Tells the kernel how the first `bytes` of the elements should be kept. `advice` must leave their content alone.
    ///
    /// # Errors
    /// What the system says; `EINVAL` for advice that leaves content alone, but that this function does not know.
    pub(super) fn advise(&mut self, bytes: usize, advice: MmapAdvise) -> nix::Result<()> {
        let harmless = matches!(advice, MmapAdvise::MADV_HUGEPAGE | MmapAdvise::MADV_NOHUGEPAGE);
        if !harmless || bytes > self.mapping_bytes.get() - self.offset_bytes {
            return Err(Errno::EINVAL);
        }
        // SAFETY: the range lies within our mapping, and such advice changes page sizes only.
        unsafe { madvise(self.start().cast(), bytes, advice) }
    }

    fn start(&self) -> NonNull<T> {
        // SAFETY: the offset is less than the alignment, by which the mapping is longer than its elements.
        unsafe { self.mapping.byte_add(self.offset_bytes) }.cast()
    }
}

impl<T: Plain> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: all elements lie within our mapping and any bytes are numbers; mappings start at pages, so they are
        // aligned.
        unsafe { std::slice::from_raw_parts(self.start().as_ptr(), self.elements) }
    }
}

impl<T: Plain> DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start().as_ptr(), self.elements) }
    }
}

impl<T: Plain> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: the whole mapping is ours, and nobody can have borrowed from what is dropped.
        let _ = unsafe { munmap(self.mapping, self.mapping_bytes.get()) };
    }
}
