//! What the superblock of an ext2, ext3 or ext4 filesystem says: the sizes by which one filesystem is made like another,
//! and the features that are recorded. It reads 1 KiB and never writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where it lies in a filesystem.
const AT: u64 = 1024;
const BYTES: usize = 1024;
/// Features by word and bit (Documentation/filesystems/ext4/super.rst), as `mkfs.ext4 -O` calls them.
const FEATURES: [(usize, &[(u32, &str)]); 3] = [
    (
        92,
        &[
            (0x4, "has_journal"),
            (0x8, "ext_attr"),
            (0x10, "resize_inode"),
            (0x20, "dir_index"),
            (0x200, "sparse_super2"),
            (0x400, "fast_commit"),
            (0x800, "stable_inodes"),
            (0x1000, "orphan_file"),
        ],
    ),
    (
        96,
        &[
            (0x2, "filetype"),
            (0x4, "needs_recovery"),
            (0x10, "meta_bg"),
            (0x40, "extent"),
            (0x80, "64bit"),
            (0x100, "mmp"),
            (0x200, "flex_bg"),
            (0x400, "ea_inode"),
            (0x2000, "metadata_csum_seed"),
            (0x4000, "large_dir"),
            (0x8000, "inline_data"),
            (0x1_0000, "encrypt"),
            (0x2_0000, "casefold"),
        ],
    ),
    (
        100,
        &[
            (0x1, "sparse_super"),
            (0x2, "large_file"),
            (0x8, "huge_file"),
            (0x10, "uninit_bg"),
            (0x20, "dir_nlink"),
            (0x40, "extra_isize"),
            (0x100, "quota"),
            (0x200, "bigalloc"),
            (0x400, "metadata_csum"),
            (0x1000, "read-only"),
            (0x2000, "project"),
            (0x8000, "verity"),
            (0x1_0000, "orphan_present"),
        ],
    ),
];

/// What is read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Size of a block, bytes.
    pub(super) block_bytes: u64,
    /// Size of an inode, bytes.
    pub(super) inode_bytes: u64,
    /// Names of its features; a bit without a name as a number.
    pub(super) features: Vec<String>,
}

impl Superblock {
    /// Reads that of a device or an image.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        File::open(path)?.read_exact_at(&mut bytes, AT)?;
        Self::parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no superblock of ext4"))
    }

    fn parse(bytes: &[u8; BYTES]) -> Option<Self> {
        let two = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if two(56) != 0xef53 {
            return None;
        }
        let is_first_revision = four(76) == 0;
        Some(Self {
            block_bytes: 1024_u64.checked_shl(four(24)).filter(|bytes| *bytes > 0)?,
            inode_bytes: if is_first_revision { 128 } else { u64::from(two(88)) },
            features: FEATURES.iter().flat_map(|(at, names)| features(four(*at), names)).collect(),
        })
    }

    /// By the names under which they are recorded.
    pub(super) fn facts(&self) -> BTreeMap<String, String> {
        let rows = [
            ("ext4_block_bytes", self.block_bytes.to_string()),
            ("ext4_inode_bytes", self.inode_bytes.to_string()),
            ("ext4_features", self.features.join(" ")),
        ];
        rows.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

fn features(word: u32, names: &[(u32, &str)]) -> Vec<String> {
    let mut found: Vec<String> =
        names.iter().filter(|(bit, _)| word & bit != 0).map(|(_, name)| (*name).to_owned()).collect();
    let unnamed = names.iter().fold(word, |word, (bit, _)| word & !bit);
    found.extend((unnamed != 0).then(|| format!("{unnamed:#x}")));
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::super::testing;
    use super::*;
    use crate::launch::process::run_tool_for_its_output;

    fn run(argv: &[&str]) -> String {
        run_tool_for_its_output(argv, Duration::from_secs(20), || false).unwrap()
    }

    #[test]
    fn it_says_what_the_filesystem_s_own_tool_says() {
        if testing::qemu().is_none() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        File::create(&path).unwrap().set_len(32 << 20).unwrap();
        let image = path.display().to_string();
        run(&["mkfs.ext4", "-q", "-F", "-b", "2048", "-I", "512", &image]);
        let found = Superblock::read(&path).unwrap();
        assert_eq!((found.block_bytes, found.inode_bytes), (2048, 512));
        let said = run(&["env", "LC_ALL=C", "dumpe2fs", "-h", &image]);
        let line = said.lines().find_map(|line| line.strip_prefix("Filesystem features:")).unwrap();
        let line: BTreeSet<&str> = line.split_whitespace().collect();
        assert_eq!(found.features.iter().map(String::as_str).collect::<BTreeSet<_>>(), line);
    }

    #[test]
    fn what_is_no_such_filesystem_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        std::fs::write(&path, [0; 4096]).unwrap();
        assert!(Superblock::read(&path).is_err());
        std::fs::write(&path, [0; 100]).unwrap();
        assert!(Superblock::read(&path).is_err());
    }

    #[test]
    fn a_feature_of_a_later_version_is_a_number() {
        assert_eq!(features(0x4000_0004, FEATURES[0].1), ["has_journal", "0x40000000"]);
    }
}
