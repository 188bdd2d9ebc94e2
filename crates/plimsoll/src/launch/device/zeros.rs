//! The places where a device is looked at to tell whether it is empty. The same places are filled with zeros when a run is
//! over, so that a device which was taken once is taken again. It knows nothing of what lies there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// What is looked at: this much of the start and of the end, bytes, where signatures lie,
const END_BYTES: u64 = 1 << 20;
/// and so many samples between them,
const SAMPLES: u64 = 64;
/// of so many bytes each. A device that is not larger than all of that is looked at as a whole.
const SAMPLE_BYTES: u64 = 64 << 10;
const WHOLE_BYTES_MAX: u64 = 2 * END_BYTES + SAMPLES * SAMPLE_BYTES;
/// Samples begin at a multiple of this, bytes: a page.
const PAGE_BYTES: u64 = 4096;
/// The first bytes of a device, with the superblock by which a filesystem is known.
const SUPERBLOCK_END: u64 = 4096;

/// Ranges of bytes within a device of this size; the samples do not reach into [`SUPERBLOCK_END`].
fn places(bytes: u64) -> Vec<Range<u64>> {
    if bytes <= WHOLE_BYTES_MAX {
        return std::iter::once(0..bytes).collect();
    }
    let step = (bytes - SAMPLE_BYTES) / (SAMPLES + 1);
    let samples = (1..=SAMPLES).map(|number| number * step / PAGE_BYTES * PAGE_BYTES);
    let samples = samples.map(|start| start..start + SAMPLE_BYTES);
    [0..END_BYTES, bytes - END_BYTES..bytes].into_iter().chain(samples).collect()
}

/// Where one of these places of a device of this size holds something else than zeros: a byte's offset.
///
/// # Errors
/// When it cannot be read.
pub(in crate::launch) fn find_other(device: &File, bytes: u64) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; WHOLE_BYTES_MAX.min(bytes) as usize];
    for place in places(bytes) {
        let read = &mut buffer[..(place.end - place.start) as usize];
        device.read_exact_at(read, place.start)?;
        if let Some(at) = read.iter().position(|byte| *byte != 0) {
            return Ok(Some(place.start + at as u64));
        }
    }
    Ok(None)
}

/// Fills these places with zeros, down to the device. The superblock goes last: where this was cut off, the filesystem is
/// still known, and it can be done again.
///
/// # Errors
/// When it cannot be written.
pub(in crate::launch) fn fill(device: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; WHOLE_BYTES_MAX.min(bytes) as usize];
    let put =
        |place: Range<u64>| device.write_all_at(&zeros[..place.end.saturating_sub(place.start) as usize], place.start);
    for place in places(bytes) {
        put(place.start.max(SUPERBLOCK_END)..place.end)?;
    }
    device.sync_all()?;
    put(0..SUPERBLOCK_END.min(bytes))?;
    device.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_device_is_looked_at_as_a_whole() {
        for bytes in [0, 512, WHOLE_BYTES_MAX] {
            assert_eq!(places(bytes), std::iter::once(0..bytes).collect::<Vec<_>>());
        }
    }

    #[test]
    fn both_ends_and_even_samples_of_a_large_one_are_looked_at() {
        for bytes in [WHOLE_BYTES_MAX + 512, 64 << 20, (10 << 40) + 512] {
            let places = places(bytes);
            assert_eq!(places[..2], [0..1 << 20, bytes - (1 << 20)..bytes]);
            assert_eq!(places.len(), 66);
            let step = bytes / 65;
            for (number, place) in places[2..].iter().enumerate() {
                assert!(place.start >= SUPERBLOCK_END && place.end <= bytes, "{place:?}");
                assert_eq!(place.end - place.start, 64 << 10);
                assert!(place.start.abs_diff((number as u64 + 1) * step) < 2 * SAMPLE_BYTES, "{place:?} of {bytes}");
            }
        }
    }

    #[test]
    fn what_is_found_is_gone_when_it_is_filled() {
        let bytes = 64 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(bytes).unwrap();
        assert_eq!(find_other(&file, bytes).unwrap(), None);
        let sample = places(bytes)[40].start + 17;
        for at in [bytes - 1, sample, 4095, 4096] {
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(find_other(&file, bytes).unwrap(), Some(at));
            fill(&file, bytes).unwrap();
            assert_eq!(find_other(&file, bytes).unwrap(), None);
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_empty() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        assert!(find_other(&file, 2 << 20).is_err());
    }
}
