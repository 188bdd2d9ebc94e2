//! Mapping memory: the unsafe code of it, behind safe functions.
#![allow(unsafe_code, reason = "mmap and its like, and access to what they gave; each use says why it is sound")]

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

/// Anonymous private memory, all of it this value's own; unmapped when this goes.
#[derive(Debug)]
pub(in crate::workload) struct Mapping {
    start: NonNull<c_void>,
    bytes: NonZeroUsize,
}

impl Mapping {
    /// Maps so many bytes and touches none.
    #[inline]
    pub(in crate::workload) fn map(bytes: NonZeroUsize) -> nix::Result<Self> {
        // SAFETY: without MAP_FIXED the kernel chooses a place where nothing is.
        let start =
            unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE) };
        Ok(Self { start: start?, bytes })
    }

    /// Maps so many bytes at a multiple of `alignment`; both are multiples of the page size.
    pub(in crate::workload) fn map_aligned(bytes: NonZeroUsize, alignment: NonZeroUsize) -> nix::Result<Self> {
        let whole = Self::map(bytes.checked_add(alignment.get()).ok_or(Errno::ENOMEM)?)?;
        let from = whole.address().next_multiple_of(alignment.get()) - whole.address();
        let whole = ManuallyDrop::new(whole);
        for (offset, bytes) in [(0, from), (from + bytes.get(), alignment.get() - from)] {
            if bytes > 0 {
                // SAFETY: both ends of the mapping are inside of it, and nobody refers to them.
                unsafe { munmap(whole.start.byte_add(offset), bytes) }?;
            }
        }
        // SAFETY: `from` is at most `alignment`, by which the mapping is longer than what remains of it.
        Ok(Self { start: unsafe { whole.start.byte_add(from) }, bytes })
    }

    /// Where it begins.
    #[inline]
    pub(in crate::workload) fn address(&self) -> usize {
        self.start.as_ptr().addr()
    }

    /// Unmaps it; dropping does the same and keeps silent about a refusal.
    #[inline]
    pub(in crate::workload) fn unmap(self) -> nix::Result<()> {
        let this = ManuallyDrop::new(self);
        // SAFETY: the range is this value's own, nobody can refer to it, and nobody will use it again.
        unsafe { munmap(this.start, this.bytes.get()) }
    }

    /// Whether it should be made of huge pages.
    pub(in crate::workload) fn want_huge_pages(&mut self, wanted: bool) -> nix::Result<()> {
        self.advise(if wanted { MmapAdvise::MADV_HUGEPAGE } else { MmapAdvise::MADV_NOHUGEPAGE })
    }

    /// Gives every page back; it is zeros afterwards.
    pub(in crate::workload) fn give_back(&mut self) -> nix::Result<()> {
        self.advise(MmapAdvise::MADV_DONTNEED)
    }

    fn advise(&mut self, advice: MmapAdvise) -> nix::Result<()> {
        // SAFETY: the range is this value's own and borrowed by nobody else; no advice given here unmaps it, and
        // bytes have no invalid value.
        unsafe { madvise(self.start, self.bytes.get(), advice) }
    }

    /// Writes one byte in every `stride`.
    pub(in crate::workload) fn touch(&mut self, stride: NonZeroUsize, value: u8) {
        for offset in (0..self.bytes.get()).step_by(stride.get()) {
            // SAFETY: the offset is within the mapping, which is writable and this value's own.
            unsafe { self.start.byte_add(offset).cast::<u8>().write_volatile(value) };
        }
    }

    /// Whether one byte in every `stride` is this.
    pub(in crate::workload) fn holds(&self, stride: NonZeroUsize, value: u8) -> bool {
        // SAFETY: the offset is within the mapping, which is readable and zeros at first.
        let at = |offset| unsafe { self.start.byte_add(offset).cast::<u8>().read_volatile() };
        (0..self.bytes.get()).step_by(stride.get()).all(|offset| at(offset) == value)
    }
}

// SAFETY: it owns its memory as a `Box` owns its own, and bytes may go to any thread.
unsafe impl Send for Mapping {}
// SAFETY: whoever shares it can only read.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: as in `unmap`.
        let _ = unsafe { munmap(self.start, self.bytes.get()) };
    }
}

/// Whether there is a page of this process at an address, a multiple of the page size.
pub(in crate::workload) fn is_mapped(address: usize) -> nix::Result<bool> {
    let mut resident = 0_u8;
    // SAFETY: the kernel looks at the address and does not follow it; one byte is written for the one page asked.
    match Errno::result(unsafe { libc::mincore(ptr::without_provenance_mut(address), 1, &raw mut resident) }) {
        Ok(_) => Ok(true),
        Err(Errno::ENOMEM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A number that any bytes stand for, zeros among them, and that fits any page's alignment.
///
/// # Safety
/// Implement it for primitive numbers only.
pub(in crate::workload) unsafe trait Plain: Copy + Send + Sync + 'static {}

// SAFETY: primitive numbers.
unsafe impl Plain for u8 {}
// SAFETY: primitive numbers.
unsafe impl Plain for u32 {}
// SAFETY: primitive numbers.
unsafe impl Plain for u64 {}
// SAFETY: primitive numbers.
unsafe impl Plain for f64 {}

/// Numbers in a mapping of their own: zeros at first, and untouched until they are.
#[derive(Debug)]
pub(in crate::workload) struct Region<T: Plain> {
    mapping: Mapping,
    elements: usize,
    content: PhantomData<T>,
}

impl<T: Plain> Region<T> {
    /// As many as the mapping has room for.
    pub(super) fn over(mapping: Mapping) -> Self {
        Self { elements: mapping.bytes.get() / size_of::<T>(), mapping, content: PhantomData }
    }
}

impl<T: Plain> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: all elements lie within our mapping and any bytes are numbers; mappings start at pages, so they are
        // aligned.
        unsafe { std::slice::from_raw_parts(self.mapping.start.cast().as_ptr(), self.elements) }
    }
}

impl<T: Plain> DerefMut for Region<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.cast().as_ptr(), self.elements) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
    const HUGE: NonZeroUsize = NonZeroUsize::new(2 << 20).unwrap();

    #[test]
    fn a_region_is_aligned_and_writable_to_its_end_and_zeros_when_given_back() {
        let mut region = Mapping::map_aligned(HUGE, HUGE).unwrap();
        assert_eq!(region.address() % HUGE, 0);
        assert!(is_mapped(region.address() + HUGE.get() - PAGE.get()).unwrap());
        region.touch(PAGE, 7);
        assert!(region.holds(PAGE, 7) && !region.holds(PAGE, 0));
        region.give_back().unwrap();
        assert!(region.holds(PAGE, 0));
    }

    #[test]
    fn an_unused_page_far_below_is_not_mapped() {
        // The first page of the address space is kept empty so that null pointers fault.
        assert_eq!(is_mapped(0), Ok(false));
    }
}
