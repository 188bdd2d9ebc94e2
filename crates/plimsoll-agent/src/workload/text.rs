//! Text for the compressor: made from a seed, the same bytes on every machine, and about as hard as English.
//!
//! A made-up vocabulary with Zipf's frequencies; each word has a few favourite followers, and rare words come back soon
//! after they were used. Only whole numbers: a float would differ between machines one day.
//!
//! How hard, measured on 4 MiB of seed 1: `gzip -9` leaves 0.366 of it, and 0.364 of enwik8 (the published 36.4 MB of
//! 100 MB); `xz -9` leaves 0.261, and 0.248 of enwik8. `cpu.lzma`'s blocks of 128 KiB with preset 2 leave 0.364.

use std::io::Write;

use crate::seeded::Seeded;

/// Made up to meet the ratios above, as are the numbers below.
const WORDS: usize = 6000;
/// Followers that a word prefers.
const FAVOURITES: usize = 4;
/// How often a favourite follows, in 1/256.
const FAVOURITE_OF_256: u64 = 136;
/// How often a word comes back that was used shortly before, in 1/256.
const AGAIN_OF_256: u64 = 40;
/// How many words back "shortly before" is.
const MEMORY_WORDS: usize = 256;

/// `bytes` of text like English, the same on every machine for the same seed.
#[must_use]
pub fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let mut writer = Writer::new(seed);
    let mut text = Vec::with_capacity(bytes + 256);
    while text.len() < bytes {
        writer.paragraph(&mut text);
    }
    text.truncate(bytes);
    text
}

/// Words by rank, the most frequent first.
struct Vocabulary {
    words: Vec<String>,
    /// Running sums of Zipf's weights.
    sums: Vec<u64>,
}

impl Vocabulary {
    fn new(seed: u64) -> Self {
        let mut seeded = Seeded::stream(seed, 1);
        let words = (0..WORDS).map(|rank| word(&mut seeded, rank)).collect();
        let weights = (0..WORDS as u64).map(|rank| (1 << 40) / (rank + 3));
        let sums = weights.scan(0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self { words, sums: sums.collect() }
    }

    fn draw(&self, seeded: &mut Seeded) -> usize {
        let total = self.sums.last().copied().unwrap_or(1);
        let point = seeded.below(total);
        self.sums.partition_point(|sum| *sum <= point).min(WORDS - 1)
    }
}

/// Frequent words are short.
fn word(seeded: &mut Seeded, rank: usize) -> String {
    const ONSETS: [&str; 24] = [
        "t", "s", "r", "n", "l", "d", "c", "m", "p", "h", "b", "f", "w", "g", "v", "st", "th", "tr", "ch", "sh", "pr",
        "k", "", "qu",
    ];
    const VOWELS: [&str; 10] = ["e", "a", "i", "o", "e", "u", "a", "io", "ea", "y"];
    const CODAS: [&str; 16] = ["", "n", "", "r", "s", "", "t", "l", "d", "", "nt", "ng", "m", "c", "st", "ck"];
    let syllables = match rank {
        0..200 => 1,
        200..2000 => 1 + seeded.below(2),
        _ => 2 + seeded.below(3),
    };
    let mut word = String::new();
    for _ in 0..syllables {
        word += ONSETS[low(seeded, ONSETS.len())];
        word += VOWELS[low(seeded, VOWELS.len())];
        word += CODAS[low(seeded, CODAS.len())];
    }
    word
}

/// An index, small ones more often.
fn low(seeded: &mut Seeded, length: usize) -> usize {
    let bound = length as u64;
    seeded.below(bound).min(seeded.below(bound)) as usize
}

struct Writer {
    vocabulary: Vocabulary,
    seeded: Seeded,
    seed: u64,
    recent: Vec<usize>,
    last: usize,
    count: usize,
}

impl Writer {
    fn new(seed: u64) -> Self {
        let vocabulary = Vocabulary::new(seed);
        Self { vocabulary, seeded: Seeded::stream(seed, 2), seed, recent: vec![0; MEMORY_WORDS], last: 0, count: 0 }
    }

    fn paragraph(&mut self, text: &mut Vec<u8>) {
        for _ in 0..2 + self.seeded.below(5) {
            self.sentence(text);
        }
        text.extend_from_slice(b"\n\n");
    }

    fn sentence(&mut self, text: &mut Vec<u8>) {
        let words = 4 + self.seeded.below(12) + self.seeded.below(12);
        for position in 0..words {
            let rank = self.next_word();
            let start = text.len() + usize::from(position > 0);
            if position > 0 {
                text.push(b' ');
            }
            match self.seeded.below(64) {
                0 => drop(write!(text, "{}", 1800 + self.seeded.below(220))),
                1 => drop(write!(text, "[[{}]]", self.vocabulary.words[rank])),
                _ => text.extend_from_slice(self.vocabulary.words[rank].as_bytes()),
            }
            if position == 0 || (rank > 2000 && rank.is_multiple_of(5)) {
                text[start].make_ascii_uppercase();
            }
            if position + 1 < words && self.seeded.below(12) == 0 {
                text.push(b',');
            }
        }
        text.extend_from_slice(b". ");
    }

    /// Never the same word twice in a row.
    fn next_word(&mut self) -> usize {
        let next = self.candidate();
        self.last = if next == self.last { (next + 1) % WORDS } else { next };
        self.recent[self.count % MEMORY_WORDS] = self.last;
        self.count += 1;
        self.last
    }

    fn candidate(&mut self) -> usize {
        let dice = self.seeded.below(256);
        if dice < FAVOURITE_OF_256 {
            // What a word prefers depends on seed and word alone, and is drawn anew instead of kept in a table.
            let which = low(&mut self.seeded, FAVOURITES) as u64;
            self.vocabulary.draw(&mut Seeded::stream(self.seed, 3 + self.last as u64 * FAVOURITES as u64 + which))
        } else if dice < FAVOURITE_OF_256 + AGAIN_OF_256 {
            self.recent[self.seeded.below(MEMORY_WORDS as u64) as usize]
        } else {
            self.vocabulary.draw(&mut self.seeded)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn the_same_seed_gives_these_bytes_everywhere() {
        let digest = format!("{:x}", Sha256::digest(text(1, 65_536)));
        assert_eq!(digest, "fc1a3d3f7cc9a794d676ed9234bcf6078127eebac27cb6dbac00c9f6eadd09fd");
    }

    #[test]
    fn a_shorter_text_is_the_beginning_of_a_longer_one_and_another_seed_gives_another() {
        assert_eq!(text(1, 1000), text(1, 5000)[..1000]);
        assert_ne!(text(1, 1000), text(2, 1000));
    }

    #[test]
    fn it_is_printable_lines_of_words() {
        let text = String::from_utf8(text(3, 100_000)).unwrap();
        assert!(text.chars().all(|letter| letter == '\n' || (' '..='~').contains(&letter)));
        let words = text.split_whitespace().count();
        assert!((4.0..8.0).contains(&(text.len() as f64 / words as f64)), "{words} words");
    }
}
