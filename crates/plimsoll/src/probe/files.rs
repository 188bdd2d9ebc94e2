//! Reads the kernel's small text files under a root, so that tests can show the same code another host.
//!
//! A file that is absent or unreadable is `None`: hosts differ, and no fact is worth an error.

use std::path::{Path, PathBuf};

/// The host's files, or a copy of some of them.
#[derive(Debug, Clone)]
pub(super) struct HostFiles {
    root: PathBuf,
}

impl HostFiles {
    /// This host.
    pub(super) fn here() -> Self {
        Self::under(Path::new("/"))
    }

    /// A host whose files lie under a folder.
    pub(super) fn under(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of a file without white space around it; `None` for an empty one.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.path(path)).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// Names in a directory, sorted.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether there is such a file or directory.
    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }
}

/// The value after `key` and a colon in a file such as /proc/meminfo or /proc/cpuinfo: the first line that has it.
pub(super) fn colon_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// Bytes of a line such as `MemTotal:  24684096 kB`.
pub(super) fn kib_value(text: &str, key: &str) -> Option<u64> {
    let kib: u64 = colon_value(text, key)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The word in brackets of `always [madvise] never`.
pub(super) fn chosen(text: &str) -> Option<&str> {
    text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracketed_word_is_the_chosen_one() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always madvise never"), None);
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn kibibytes_become_bytes() {
        assert_eq!(kib_value("MemTotal:       24684096 kB\nMemFree: 1 kB", "MemFree"), Some(1024));
        assert_eq!(kib_value("HugePages_Total:       0", "HugePages_Total"), None);
        assert_eq!(kib_value("MemFree: 99999999999999999999 kB", "MemFree"), None);
    }

    #[test]
    fn an_absent_file_is_none() {
        let files = HostFiles::under(Path::new("/nonexistent"));
        assert_eq!(files.text("/proc/stat"), None);
        assert!(files.names("/proc").is_empty());
        assert!(!files.exists("/proc"));
    }
}
