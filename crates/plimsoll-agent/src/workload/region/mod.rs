//! Memory of a workload's own: mapped by itself, so that no allocator hands it out a second time with pages that are
//! already there, and with pages of a stated size where that matters.

mod sys;

use std::num::NonZeroUsize;

use nix::errno::Errno;
use nix::unistd::{SysconfVar, sysconf};

use super::words::Words;
use super::{WorkloadError, mib};
pub(super) use sys::{Mapping, Plain, Region, is_mapped};

const SMALL_BYTES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const HUGE_BYTES: NonZeroUsize = NonZeroUsize::new(2 << 20).unwrap();
const SMAPS: &str = "/proc/self/smaps";

/// Sizes of pages that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// 4 KiB each.
    Small,
    /// 2 MiB each, by the kernel's transparent huge pages.
    Huge,
}

impl Pages {
    /// As plans name them.
    pub(super) const WORDS: &Words<Self> = &[("4k", Self::Small), ("huge", Self::Huge)];

    pub(super) const fn bytes(self) -> NonZeroUsize {
        match self {
            Self::Small => SMALL_BYTES,
            Self::Huge => HUGE_BYTES,
        }
    }

    /// Some kernels for ARM have larger ones, and then their huge ones are larger too.
    ///
    /// # Errors
    /// [`WorkloadError::Missing`] where the kernel's pages are not small ones.
    pub(super) fn small_is_base() -> Result<(), WorkloadError> {
        let small = Self::Small.bytes();
        match sysconf(SysconfVar::PAGE_SIZE) {
            Ok(Some(bytes)) if bytes != small.get() as i64 => {
                Err(WorkloadError::Missing(format!("the kernel has pages of {bytes} bytes, none of {small}")))
            }
            _ => Ok(()),
        }
    }
}

impl<T: Plain> Region<T> {
    /// Zeros in pages as this environment gives them to any program.
    pub(super) fn new(elements: usize) -> Result<Self, WorkloadError> {
        let bytes = bytes_of::<T>(elements)?;
        Ok(Self::over(Mapping::map(bytes).map_err(|error| no_room(bytes, error))?))
    }

    /// Zeros in touched pages of this size; as many elements as fill huge pages.
    ///
    /// # Errors
    /// [`WorkloadError::Missing`] where such pages cannot be had, or cannot be seen to be had.
    pub(super) fn paged(elements: usize, pages: Pages) -> Result<Self, WorkloadError> {
        Pages::small_is_base()?;
        let huge = Pages::Huge.bytes();
        let bytes = bytes_of::<T>(elements)?.get().checked_next_multiple_of(huge.get()).and_then(NonZeroUsize::new);
        let bytes = bytes.ok_or_else(|| WorkloadError::no_memory("a region"))?;
        let mut mapping = Mapping::map_aligned(bytes, huge).map_err(|error| no_room(bytes, error))?;
        let advised = mapping.want_huge_pages(pages == Pages::Huge);
        mapping.touch(Pages::Small.bytes(), 0);
        let start = mapping.address();
        let huge = std::fs::read_to_string(SMAPS).map(|smaps| huge_bytes(&smaps, start, start + bytes.get()));
        check(pages, advised, huge, bytes.get() as u64)?;
        Ok(Self::over(mapping))
    }
}

/// A byte at least: nothing cannot be mapped.
fn bytes_of<T>(elements: usize) -> Result<NonZeroUsize, WorkloadError> {
    let bytes = elements.checked_mul(size_of::<T>()).and_then(|bytes| NonZeroUsize::new(bytes.max(1)));
    bytes.ok_or_else(|| WorkloadError::no_memory("a region"))
}

fn no_room(bytes: NonZeroUsize, error: Errno) -> WorkloadError {
    WorkloadError::system(format!("mapping {} MiB of memory", mib(bytes.get() as u64)), error)
}

/// Whether the pages are what was asked for, from the kernel's answer to the advice and what it shows of the mapping.
fn check(
    pages: Pages,
    advised: nix::Result<()>,
    huge: std::io::Result<u64>,
    wanted_bytes: u64,
) -> Result<(), WorkloadError> {
    let missing = |why: String| Err(WorkloadError::Missing(why));
    match (pages, advised, huge) {
        // A kernel that does not know the advice has no huge pages, and one without the file cannot be asked.
        (Pages::Small, _, Ok(0) | Err(_)) => Ok(()),
        (Pages::Small, _, Ok(huge)) => missing(format!("{} MiB lie in huge pages that were refused", mib(huge))),
        (Pages::Huge, Err(error), _) => missing(format!("the kernel gives no transparent huge pages: {error}")),
        (Pages::Huge, _, Err(error)) => missing(format!("huge pages cannot be verified here: {SMAPS}: {error}")),
        (Pages::Huge, _, Ok(huge)) if huge < wanted_bytes => missing(format!(
            "{} of {} MiB lie in huge pages by {SMAPS}: if the kernel can give them, set \
             /sys/kernel/mm/transparent_hugepage/enabled to `madvise` or free memory",
            huge >> 20,
            mib(wanted_bytes),
        )),
        (Pages::Huge, _, Ok(_)) => Ok(()),
    }
}

/// Bytes of huge pages in mappings that overlap with this range of addresses.
fn huge_bytes(smaps: &str, from: usize, to: usize) -> u64 {
    let (mut within, mut bytes) = (false, 0);
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap_or_default();
        if let Some((start, end)) = addresses(first) {
            within = start < to && end > from;
        } else if within && first == "AnonHugePages:" {
            bytes += words.next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10;
        }
    }
    bytes
}

/// The range that a mapping's first line begins with, such as `7f00a000-7f00b000`.
fn addresses(word: &str) -> Option<(usize, usize)> {
    let (start, end) = word.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "\
7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \nSize:               2048 kB\nAnonHugePages:      2048 kB\n\
VmFlags: rd wr mr mw me ac sd hg \n\
7f0000200000-7f0000600000 rw-p 00000000 00:00 0 \nAnonHugePages:      4096 kB\nShmemPmdMapped:        0 kB\n\
7f0000600000-7f0000601000 rw-p 00000000 00:00 0 [stack]\nAnonHugePages:         0 kB\n";

    #[test]
    fn huge_pages_are_counted_where_the_mappings_overlap() {
        let bytes = |from, to| huge_bytes(SHOWN, from, to);
        assert_eq!(bytes(0x7f00_0020_0000, 0x7f00_0060_0000), 4 << 20);
        assert_eq!(bytes(0x7f00_0000_0000, 0x7f00_0060_0000), 6 << 20);
        assert_eq!(bytes(0x7f00_0060_0000, 0x7f00_0060_1000), 0);
        assert_eq!(bytes(0, 0x7f00_0000_0000), 0);
    }

    #[test]
    fn pages_that_are_not_what_was_asked_for_are_missing_and_not_wrong() {
        let nobody = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let words = |pages, advised, huge| match check(pages, advised, huge, 4 << 20) {
            Ok(()) => String::new(),
            Err(WorkloadError::Missing(words)) => words,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(words(Pages::Small, Err(Errno::EINVAL), Err(nobody())), "");
        assert_eq!(words(Pages::Small, Ok(()), Ok(0)), "");
        assert_eq!(words(Pages::Small, Ok(()), Ok(2 << 20)), "2 MiB lie in huge pages that were refused");
        assert_eq!(words(Pages::Huge, Ok(()), Ok(4 << 20)), "");
        assert!(words(Pages::Huge, Ok(()), Ok(2 << 20)).starts_with("2 of 4 MiB lie in huge pages"));
        assert!(words(Pages::Huge, Ok(()), Err(nobody())).contains("cannot be verified here"));
        assert!(words(Pages::Huge, Err(Errno::EINVAL), Ok(0)).contains("no transparent huge pages"));
    }

    #[test]
    fn a_region_is_aligned_zero_and_written_to_its_end() {
        let mut region = Region::<u64>::paged(1000, Pages::Small).unwrap();
        assert!(region.as_ptr().addr().is_multiple_of(Pages::Huge.bytes().get()));
        assert!(region.len() >= 1000 && region.iter().all(|word| *word == 0));
        region.fill(u64::MAX);
        assert!(region.iter().all(|word| *word == u64::MAX));
        assert!(Region::<u64>::new(usize::MAX / 8).is_err() && Region::<u64>::new(usize::MAX).is_err());
        assert!(Region::<u64>::paged(usize::MAX / 8, Pages::Huge).is_err());
        assert!(Region::<u64>::new(0).unwrap().is_empty());
    }

    #[test]
    fn small_pages_are_small_whatever_the_system_prefers() {
        let region = Region::<u64>::paged(8 << 20, Pages::Small).unwrap();
        let start = region.as_ptr().addr();
        let smaps = std::fs::read_to_string(SMAPS).unwrap();
        assert!(smaps.contains("AnonHugePages:"));
        assert_eq!(huge_bytes(&smaps, start, start + (64 << 20)), 0);
    }
}
