//! The files that a program needs, so that the same bytes go into every place without a registry.
//!
//! A bundle is a list of files with their paths inside; it is written as a folder (OCI), a tar (Docker import) or a newc
//! initramfs (guest). The agent's bundle is our own executable: static, or with its ELF closure.

mod archive;
mod closure;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use crate::sample::Failure;

/// Where the agent's executable lies in every place that has a root of its own.
pub const AGENT_PATH: &str = "/plimsoll/plimsoll";
/// Where an environment with a root of its own keeps its data.
pub const DATA_PATH: &str = "/plimsoll/data";
/// Directories that every root has beside the agent's, with their permission bits.
const ROOT_DIRECTORIES: [(&str, u32); 7] = [
    ("/proc", 0o555),
    ("/sys", 0o555),
    ("/dev", 0o755),
    ("/tmp", 0o1777),
    ("/run", 0o755),
    ("/etc", 0o755),
    (DATA_PATH, 0o755),
];

/// One file, directory or link of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Absolute path inside.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What an item is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A copy of this file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// A symbolic link to this.
    Link(String),
    /// A character device.
    Device {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// Files with their paths inside; parents come before children; a path stands once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    items: Vec<Item>,
    position: BTreeMap<String, usize>,
}

impl Bundle {
    /// The bundle of a program: it under `inside`, its interpreter and shared libraries at their own paths.
    ///
    /// # Errors
    /// When a library cannot be found or a file is no ELF executable.
    pub fn of_program(program: &Path, inside: &str) -> Result<Self, Failure> {
        let mut bundle = Self::default();
        bundle.add(Item { path: inside.to_owned(), mode: 0o755, content: Content::File(program.to_owned()) });
        for item in closure::libraries(program)? {
            bundle.add(item);
        }
        Ok(bundle)
    }

    /// The agent's bundle: the given copy of our executable at [`AGENT_PATH`], its closure, and the directories that a
    /// root needs (/proc, /sys, /dev, /tmp, /run, /etc, [`DATA_PATH`]).
    ///
    /// # Errors
    /// As [`Bundle::of_program`].
    pub fn of_agent(executable: &Path) -> Result<Self, Failure> {
        let mut bundle = Self::of_program(executable, AGENT_PATH)?;
        for (path, mode) in ROOT_DIRECTORIES {
            bundle.add(Item { path: path.to_owned(), mode, content: Content::Directory });
        }
        Ok(bundle)
    }

    /// Adds an item and the directories above it; a later item of the same path replaces the earlier one. The path is
    /// taken from the root whether or not it begins with `/`; `.` and `..` are not followed but dropped.
    pub fn add(&mut self, mut item: Item) {
        let parts: Vec<String> =
            item.path.split('/').filter(|part| !matches!(*part, "" | "." | "..")).map(str::to_owned).collect();
        for depth in 1..parts.len() {
            let path = format!("/{}", parts[..depth].join("/"));
            if !self.position.contains_key(&path) {
                self.put(Item { path, mode: 0o755, content: Content::Directory });
            }
        }
        item.path = format!("/{}", parts.join("/"));
        if !parts.is_empty() {
            self.put(item);
        }
    }

    fn put(&mut self, item: Item) {
        match self.position.get(&item.path) {
            Some(at) => self.items[*at] = item,
            None => {
                self.position.insert(item.path.clone(), self.items.len());
                self.items.push(item);
            }
        }
    }

    /// The items, parents first.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// The file of this place that is copied to a path inside, if there is one.
    #[must_use]
    pub fn source_of(&self, inside: &str) -> Option<&Path> {
        match &self.items.get(*self.position.get(inside)?)?.content {
            Content::File(source) => Some(source),
            _ => None,
        }
    }

    /// Size of all files, bytes.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn bytes(&self) -> Result<u64, Failure> {
        self.items.iter().map(Item::bytes).sum()
    }

    /// Writes it as a folder.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_folder(&self, folder: &Path) -> Result<(), Failure> {
        std::fs::create_dir_all(folder).map_err(|error| named(folder, error))?;
        for item in &self.items {
            let path = folder.join(item.path.trim_start_matches('/'));
            item.write_to(&path).map_err(|error| named(&path, error))?;
        }
        Ok(())
    }

    /// Writes it as a tar archive.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_tar(&self, writer: &mut dyn Write) -> Result<(), Failure> {
        archive::write_tar(&self.items, writer)
    }

    /// Writes it as a newc archive, as the kernel unpacks it
    /// (Documentation/driver-api/early-userspace/buffer-format.rst).
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_newc(&self, writer: &mut dyn Write) -> Result<(), Failure> {
        archive::write_newc(&self.items, writer)
    }
}

impl Item {
    fn bytes(&self) -> Result<u64, Failure> {
        match &self.content {
            Content::File(source) => Ok(std::fs::metadata(source).map_err(|error| named(source, error))?.len()),
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::Link(_) | Content::Directory | Content::Device { .. } => Ok(0),
        }
    }

    /// Files are copied, never linked: what an environment writes must not reach the original.
    fn write_to(&self, path: &Path) -> std::io::Result<()> {
        match &self.content {
            Content::Directory if path.is_dir() => {}
            Content::Directory => std::fs::create_dir(path)?,
            Content::File(source) => std::fs::copy(source, path).map(|_| ())?,
            Content::Bytes(bytes) => std::fs::write(path, bytes)?,
            Content::Link(target) => return symlink(target, path),
            Content::Device { major, minor } => {
                let device = makedev(u64::from(*major), u64::from(*minor));
                mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(self.mode), device)?;
            }
        }
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(self.mode))
    }
}

fn named(path: &Path, error: std::io::Error) -> Failure {
    Failure::from(error).while_doing(&path.display().to_string())
}

#[cfg(test)]
mod tests;
