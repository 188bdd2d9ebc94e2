//! The files that a program needs, so that the same bytes go into every place without a registry.
//!
//! A bundle is a list of files with their paths inside; it is written as a folder (OCI), a tar (Docker import) or a newc
//! initramfs (guest). The agent's bundle is our own executable: static, or with its ELF closure.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::sample::Failure;

/// Where the agent's executable lies in every place that has a root of its own.
pub const AGENT_PATH: &str = "/plimsoll/plimsoll";
/// Where an environment with a root of its own keeps its data.
pub const DATA_PATH: &str = "/plimsoll/data";

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
}

impl Bundle {
    /// The bundle of a program: it under `inside`, its interpreter and shared libraries at their own paths.
    ///
    /// # Errors
    /// When a library cannot be found or a file is no ELF executable.
    pub fn of_program(_program: &Path, _inside: &str) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    /// The agent's bundle: the given copy of our executable at [`AGENT_PATH`], its closure, and the directories that a
    /// root needs (/proc, /sys, /dev, /tmp, /run, /etc, [`DATA_PATH`]).
    ///
    /// # Errors
    /// As [`Bundle::of_program`].
    pub fn of_agent(_executable: &Path) -> Result<Self, Failure> {
        Ok(Self::default())
    }

    /// Adds an item and the directories above it; a later item of the same path replaces the earlier one.
    pub fn add(&mut self, item: Item) {
        self.items.push(item);
    }

    /// The items, parents first.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Size of all files, bytes.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn bytes(&self) -> Result<u64, Failure> {
        Ok(0)
    }

    /// Writes it as a folder.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_folder(&self, _folder: &Path) -> Result<(), Failure> {
        Ok(())
    }

    /// Writes it as a tar archive.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_tar(&self, _writer: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }

    /// Writes it as a newc archive, as the kernel unpacks it
    /// (Documentation/driver-api/early-userspace/buffer-format.rst).
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_newc(&self, _writer: &mut dyn Write) -> Result<(), Failure> {
        Ok(())
    }
}
