//! What stands in the files: pages that say which they are, and noise that does not compress.
//!
//! ```text
//! page number | seed | generation | spot || noise of the pool from `spot` on, to the end of the page
//! ```
//!
//! The generation is 0 when the file is laid out and rises with each write of the page, so that a write that was lost
//! shows. The noise is whatever the buffer held before: the header says where in the pool it came from.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::seeded::Seeded;

/// Granularity of the content, and of every block.
pub(in crate::workload) const PAGE_BYTES: usize = 4096;
const HEADER_BYTES: usize = 32;
const POOL_BYTES: usize = 1 << 20;
/// Files are written in pieces of this many pages.
const PIECE_PAGES: u64 = 256;

/// The noise, and the seed of the run.
#[derive(Debug, Clone)]
pub(in crate::workload) struct Content {
    seed: u64,
    pool: std::sync::Arc<[u8]>,
}

impl Content {
    pub(in crate::workload) fn new(seed: u64) -> Self {
        let mut noise = Seeded::new(seed);
        let pool = (0..(POOL_BYTES + PAGE_BYTES) / 8).flat_map(|_| noise.next().to_le_bytes()).collect();
        Self { seed, pool }
    }

    /// Writes the file whole, down to the device and out of the page cache.
    pub(in crate::workload) fn lay_out(&self, path: &Path, pages: u64) -> io::Result<()> {
        let mut file = File::create(path)?;
        let mut piece = vec![0; PIECE_PAGES.min(pages) as usize * PAGE_BYTES];
        for first in (0..pages).step_by(PIECE_PAGES as usize) {
            let piece = &mut piece[..(pages - first).min(PIECE_PAGES) as usize * PAGE_BYTES];
            self.fill(piece, first);
            file.write_all(piece)?;
        }
        file.sync_all()?;
        // A filesystem without a page cache may refuse.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        Ok(())
    }

    /// The pages from `first` on, as they are laid out.
    pub(in crate::workload) fn fill(&self, bytes: &mut [u8], first: u64) {
        for (number, page) in (first..).zip(bytes.chunks_exact_mut(PAGE_BYTES)) {
            let spot = Seeded::stream(self.seed, number).below(POOL_BYTES as u64 / 8) as usize * 8;
            page.copy_from_slice(&self.pool[spot..spot + PAGE_BYTES]);
            put(page, 3, spot as u64);
        }
        self.stamp(bytes, first, 0);
    }

    /// Makes pages of what a buffer holds: a content that was filled or read before.
    pub(in crate::workload) fn stamp(&self, bytes: &mut [u8], first: u64, generation: u32) {
        for (number, page) in (first..).zip(bytes.chunks_exact_mut(PAGE_BYTES)) {
            put(page, 0, number);
            put(page, 1, self.seed);
            put(page, 2, u64::from(generation));
        }
    }

    /// Whether these are the pages from `first` on, of this generation; else what is wrong.
    pub(in crate::workload) fn check(&self, bytes: &[u8], first: u64, generation: u32) -> Result<(), String> {
        for (number, page) in (first..).zip(bytes.chunks_exact(PAGE_BYTES)) {
            let found = [0, 1, 2].map(|word| get(page, word));
            if found != [number, self.seed, u64::from(generation)] {
                let [found_number, found_seed, found_generation] = found;
                return Err(format!(
                    "page {number} of seed {}, generation {generation}, holds page {found_number} of seed {found_seed}, \
                     generation {found_generation}",
                    self.seed
                ));
            }
            let spot = usize::try_from(get(page, 3)).ok().filter(|spot| *spot < POOL_BYTES);
            if spot.is_none_or(|spot| page[HEADER_BYTES..] != self.pool[spot + HEADER_BYTES..spot + PAGE_BYTES]) {
                return Err(format!("page {number} holds other bytes than were written to it"));
            }
        }
        Ok(())
    }
}

fn put(page: &mut [u8], word: usize, value: u64) {
    page[word * 8..][..8].copy_from_slice(&value.to_le_bytes());
}

fn get(page: &[u8], word: usize) -> u64 {
    page[word * 8..][..8].try_into().map_or(u64::MAX, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_differ_and_each_says_which_it_is() {
        let content = Content::new(7);
        let mut bytes = vec![0; 3 * PAGE_BYTES];
        content.fill(&mut bytes, 5);
        content.check(&bytes, 5, 0).unwrap();
        assert!(content.check(&bytes, 6, 0).unwrap_err().starts_with("page 6 of seed 7, generation 0, holds page 5"));
        assert!(content.check(&bytes, 5, 1).is_err() && Content::new(8).check(&bytes, 5, 0).is_err());
        assert_ne!(bytes[HEADER_BYTES..PAGE_BYTES], bytes[PAGE_BYTES + HEADER_BYTES..2 * PAGE_BYTES]);
    }

    #[test]
    fn any_changed_byte_is_found() {
        let content = Content::new(7);
        let mut bytes = vec![0; PAGE_BYTES];
        content.fill(&mut bytes, 0);
        for place in 0..PAGE_BYTES {
            bytes[place] ^= 1;
            assert!(content.check(&bytes, 0, 0).is_err(), "byte {place}");
            bytes[place] ^= 1;
        }
    }

    #[test]
    fn what_was_read_is_written_again_as_another_page() {
        let content = Content::new(7);
        let mut bytes = vec![0; 2 * PAGE_BYTES];
        content.fill(&mut bytes, 10);
        content.stamp(&mut bytes, 99, 4);
        content.check(&bytes, 99, 4).unwrap();
    }

    #[test]
    fn a_file_has_all_of_its_pages() {
        let folder = tempfile::tempdir().unwrap();
        let (path, content) = (folder.path().join("x"), Content::new(1));
        for pages in [1, 256, 300] {
            content.lay_out(&path, pages).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len() as u64, pages * PAGE_BYTES as u64);
            content.check(&bytes, 0, 0).unwrap();
        }
    }
}
