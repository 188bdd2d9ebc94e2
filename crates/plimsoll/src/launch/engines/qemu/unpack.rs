//! Kernels and modules as distributions pack them, told apart by how their bytes begin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes that are unpacked: a kernel with everything built in has about 100 MiB.
const UNPACKED_BYTES_MAX: u64 = 512 << 20;
/// LZ4's legacy format, as kernels' builds write it: blocks of this size, each after its packed length.
const LZ4_BLOCK_BYTES: usize = 8 << 20;

/// A whole file of at most 512 MiB.
///
/// # Errors
/// When it is no regular file, is longer, or cannot be read.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > UNPACKED_BYTES_MAX {
        return Err(wrong("no regular file of at most 512 MiB"));
    }
    all(file)
}

/// How bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Xz,
    Zstd,
    Lz4Legacy,
}

const MAGICS: [(&[u8], Packing); 5] = [
    (b"\x7fELF", Packing::None),
    (b"\x1f\x8b\x08", Packing::Gzip),
    (b"\xfd7zXZ\0", Packing::Xz),
    (b"\x28\xb5\x2f\xfd", Packing::Zstd),
    (b"\x02\x21\x4c\x18", Packing::Lz4Legacy),
];

/// An ELF file as it is, or out of what it is packed in. What follows the packed part (a kernel's build appends the
/// unpacked length) is left alone.
///
/// # Errors
/// When the bytes begin like none of these, are damaged, or unpack to more than 512 MiB.
pub(super) fn elf(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let packing = MAGICS.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, packing)| *packing);
    let unpacked = match packing.ok_or_else(|| wrong("neither ELF nor packed with gzip, xz, zstd or LZ4"))? {
        Packing::None => bytes.to_vec(),
        Packing::Gzip => all(flate2::read::GzDecoder::new(bytes))?,
        Packing::Xz => all(liblzma::read::XzDecoder::new(bytes))?,
        Packing::Zstd => all(ruzstd::decoding::StreamingDecoder::new(bytes).map_err(wrong)?)?,
        Packing::Lz4Legacy => lz4_legacy(&bytes[4..])?,
    };
    if unpacked.starts_with(b"\x7fELF") { Ok(unpacked) } else { Err(wrong("no ELF file is packed in it")) }
}

fn wrong(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn all(packed: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    packed.take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    within_bounds(bytes)
}

fn within_bounds(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 > UNPACKED_BYTES_MAX { Err(wrong("unpacks to more than 512 MiB")) } else { Ok(bytes) }
}

/// Blocks until one is not full: that is the last.
fn lz4_legacy(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(|| wrong("an LZ4 block is cut off"))?;
        let piece = lz4_flex::block::decompress(block, LZ4_BLOCK_BYTES).map_err(wrong)?;
        let is_last = piece.len() < LZ4_BLOCK_BYTES;
        unpacked.extend(piece);
        unpacked = within_bounds(unpacked)?;
        if is_last {
            break;
        }
        rest = after;
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Longer than one LZ4 block, and packable.
    fn file() -> Vec<u8> {
        let text = (0..9 << 20).map(|index: u32| (index / 64 % 251) as u8);
        b"\x7fELF".iter().copied().chain(text).collect()
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut packed = b"\x02\x21\x4c\x18".to_vec();
        for block in bytes.chunks(LZ4_BLOCK_BYTES) {
            let block = lz4_flex::block::compress(block);
            packed.extend((block.len() as u32).to_le_bytes());
            packed.extend(block);
        }
        packed
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(bytes, 0).read_to_end(&mut packed).unwrap();
        packed
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn every_packing_gives_the_file_back_and_ignores_what_follows() {
        let file = file();
        for pack in [<[u8]>::to_vec, lz4, gzip, xz, zstd] {
            let mut packed = pack(&file);
            assert!(elf(&packed).unwrap() == file);
            if packed.len() < file.len() {
                packed.extend(0x0090_0004_u32.to_le_bytes());
                assert!(elf(&packed).unwrap() == file);
            }
        }
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        assert!(read(Path::new("/dev/zero")).unwrap_err().to_string().contains("no regular file"));
    }

    #[test]
    fn damage_and_other_content_are_errors() {
        for pack in [lz4, gzip, xz, zstd] {
            let packed = pack(&file());
            assert!(elf(&packed[..packed.len() / 2]).is_err());
            let text = pack(b"no ELF file");
            assert!(elf(&text).unwrap_err().to_string().contains("no ELF file is packed in it"));
        }
        assert!(elf(b"BZh91AY").unwrap_err().to_string().contains("neither ELF nor packed"));
    }
}
